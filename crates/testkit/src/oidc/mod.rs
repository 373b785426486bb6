//! A fake OpenID Connect provider that behaves, until it is told to lie: discovery, keys, sign-in page, codes, ID tokens.
//! Invariant: what it answers comes from its state; a [`Lie`] bends one thing of an answer that is right otherwise.
//! Source: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, RFC 7636. Deliberately absent: every type of the product.

mod keys;
mod server;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

pub use keys::Algorithm;
use state::{App, State};

/// One way in which an answer is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// The ID token carries another nonce.
    WrongNonce,
    /// The ID token carries no nonce.
    NoNonce,
    /// The ID token is for another client.
    WrongAudience,
    /// The ID token is for us and for somebody else.
    SecondAudience,
    /// The ID token says that another client asked for it.
    OtherParty,
    /// The ID token ended an hour ago.
    Expired,
    /// The ID token says that it is from tomorrow.
    FromTheFuture,
    /// The ID token is signed by a key that is not published, under the id of the one that is.
    WrongKey,
    /// The ID token is signed by nobody: `alg` is `none`.
    NoSignature,
    /// The ID token is signed with the client's secret.
    SharedSecret,
    /// The ID token says another issuer.
    OtherIssuer,
    /// The discovery document says another issuer.
    OtherIssuerInDiscovery,
    /// No ID token comes with the access token.
    NoIdToken,
    /// The ID token is no token at all.
    Rubbish,
    /// The token endpoint answers more than anybody shall read.
    Endless,
    /// The token endpoint sends the request, with the client's secret in it, to another address.
    Redirect,
    /// The subject is empty.
    NoSubject,
    /// The subject is longer than the specification's 255 characters.
    LongSubject,
}

/// How the token endpoint wants to be told who the client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuthentication {
    /// In the header.
    Basic,
    /// In the body.
    Post,
}

/// A person at the provider.
#[derive(Clone, Debug)]
pub struct Person {
    /// `sub`.
    pub subject: String,
    /// `name`.
    pub name: String,
    /// `preferred_username`.
    pub preferred_username: String,
    /// `email`; said to be verified, unless [`FakeOidc::set_email_verified`] said otherwise.
    pub email: String,
}

/// A client that was registered.
#[derive(Clone, Debug)]
pub struct OidcClient {
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`.
    pub client_secret: String,
}

pub(crate) struct Inner {
    state: Mutex<State>,
    issuer: String,
    http: reqwest::Client,
}

impl Inner {
    /// The data. Never held across an await: the guard is not `Send`.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A running provider. Clones are handles to the same one; the last handle takes the server down.
#[derive(Clone)]
pub struct FakeOidc {
    inner: Arc<Inner>,
    _server: Arc<Server>,
}

struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FakeOidc {
    /// Starts one on a free loopback port.
    pub async fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one on a given address.
    pub async fn start_on(address: SocketAddr) -> Result<Self> {
        let listener =
            tokio::net::TcpListener::bind(address).await.with_context(|| format!("the sample sign-in cannot listen on `{address}`"))?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let inner = Arc::new(Inner { state: Mutex::new(State::new()?), issuer, http: crate::http_client()? });
        let router = server::router(Arc::clone(&inner));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the sample sign-in stopped");
            }
        });
        Ok(Self { inner, _server: Arc::new(Server(server)) })
    }

    /// Its issuer, without a slash at the end.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// Registers a client with its one address.
    pub fn client(&self, redirect_uri: &str) -> OidcClient {
        self.client_with("slipway", "a-client's secret/with+odd=characters", redirect_uri)
    }

    /// Registers a client under a given id and secret.
    pub fn client_with(&self, client_id: &str, client_secret: &str, redirect_uri: &str) -> OidcClient {
        let client = OidcClient { client_id: client_id.to_owned(), client_secret: client_secret.to_owned() };
        self.inner.state().apps.push(App { client: client.clone(), redirect_uri: redirect_uri.to_owned() });
        client
    }

    /// Adds a person who is called by the same word everywhere; the subject is another.
    pub fn person(&self, name: &str) -> Person {
        let person = Person {
            subject: format!("subject-of-{name}"),
            name: name.to_owned(),
            preferred_username: name.to_owned(),
            email: format!("{name}@users.example"),
        };
        self.add(person.clone());
        person
    }

    /// Adds a person, or replaces the one of the same subject.
    pub fn add(&self, person: Person) {
        let mut state = self.inner.state();
        state.people.retain(|other| other.subject != person.subject);
        state.people.push(person);
    }

    /// Lies like this from now on; `None` ends it.
    pub fn lie(&self, lie: Option<Lie>) {
        self.inner.state().lie = lie;
    }

    /// Signs with this algorithm from now on.
    pub fn sign_with(&self, algorithm: Algorithm) -> Result<()> {
        self.inner.state().signing = keys::SigningKey::generate(algorithm)?;
        Ok(())
    }

    /// Signs with another key from now on; only the new one is published.
    pub fn rotate_key(&self) -> Result<()> {
        let mut state = self.inner.state();
        state.signing = keys::SigningKey::generate(state.signing.algorithm())?;
        Ok(())
    }

    /// What it says of everybody's address from now on; `None`: whether it is verified is not said.
    pub fn set_email_verified(&self, verified: Option<bool>) {
        self.inner.state().email_verified = verified;
    }

    /// How the token endpoint wants to be told who the client is, from now on.
    pub fn set_client_authentication(&self, way: ClientAuthentication) {
        self.inner.state().authentication = way;
    }

    /// Everything answers with this status from now on; `None` ends it.
    pub fn set_outage(&self, status: Option<u16>) {
        self.inner.state().outage = status;
    }

    /// The provider's clock stands at this second since 1970 from now on.
    pub fn set_time(&self, seconds: i64) {
        self.inner.state().stands_at = Some(seconds);
    }

    /// How often a path was asked.
    pub fn asked(&self, path: &str) -> usize {
        self.inner.state().requests.iter().filter(|seen| *seen == path).count()
    }

    /// Opens an authorization address as this person, agrees, and returns where the browser is sent back to.
    pub async fn approve(&self, authorize_url: &str, subject: &str) -> Result<String> {
        self.answer(authorize_url, subject).await
    }

    /// Opens an authorization address, says no, and returns where the browser is sent back to.
    pub async fn deny(&self, authorize_url: &str) -> Result<String> {
        self.answer(authorize_url, "").await
    }

    async fn answer(&self, authorize_url: &str, subject: &str) -> Result<String> {
        let page = self.inner.http.get(authorize_url).send().await?;
        let (status, query) = (page.status(), page.url().query().unwrap_or_default().to_owned());
        let text = page.text().await?;
        if !status.is_success() {
            bail!("the provider answered {status}: {text}");
        }
        if !subject.is_empty() && !text.contains(&format!("value=\"{}\"", server::escape(subject))) {
            bail!("the sign-in page offers nobody with the subject `{subject}`: {text}");
        }
        let answer = self.inner.http.post(format!("{}/authorize?{query}", self.inner.issuer)).form(&[("subject", subject)]).send().await?;
        let status = answer.status();
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        location.with_context(|| format!("the provider answered {status} without a redirect"))
    }

    /// The ID tokens that were given out, as their claims.
    pub fn given_out(&self) -> Vec<Value> {
        self.inner.state().given_out.clone()
    }
}
