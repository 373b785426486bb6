//! Signing in: Basic, or a token from the place that the registry names (Docker token specification).
//!
//! Invariant: the password goes to the registry's own origin, and to the realm of its challenge, which is encrypted or a host that the
//! administrator named. A token is asked for anew before it ends, and once when the registry no longer takes it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use slipway_oci::Challenge;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::answer::Reply;
use crate::connection::{Ask, Connections};
use crate::trouble::Trouble;
use crate::{Credentials, Remote};

/// Longest token that is sent back as a header.
const MAX_TOKEN: usize = 32 * 1024;
/// What is usual when nothing is said.
const USUAL_LIFE: Duration = Duration::from_secs(60);
/// So long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(10);

/// What is asked for at the place where tokens are given out.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    Push,
    Pull,
}

/// How the registry lets us in.
#[derive(Clone)]
enum Way {
    /// It did not ask yet.
    Open,
    Basic(HeaderValue),
    Bearer {
        token: HeaderValue,
        until: Instant,
        realm: Url,
        service: Option<String>,
    },
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
    expires_in: Option<u64>,
}

pub(crate) struct SignIn {
    path: String,
    credentials: Option<Credentials>,
    way: Mutex<Way>,
}

impl SignIn {
    pub(crate) fn new(path: &str, credentials: Option<Credentials>) -> Self {
        Self { path: path.to_owned(), credentials, way: Mutex::new(Way::Open) }
    }

    /// The password, and as it is sent.
    pub(crate) fn secrets(&self) -> Arc<[SecretString]> {
        let password = self.credentials.as_ref().map(|credentials| credentials.password.clone());
        password.into_iter().chain(self.encoded()).filter(|secret| !secret.expose_secret().is_empty()).collect()
    }

    fn encoded(&self) -> Option<SecretString> {
        let Credentials { username, password } = self.credentials.as_ref()?;
        Some(base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.expose_secret())).into())
    }

    fn basic(&self) -> Result<Option<HeaderValue>, Trouble> {
        self.encoded().map(|encoded| secret_header(&format!("Basic {}", encoded.expose_secret()))).transpose()
    }

    /// What goes with a request to the registry now.
    pub(crate) async fn header(&self, connections: &Connections) -> Result<Option<HeaderValue>, Trouble> {
        let mut way = self.way.lock().await;
        if let Way::Bearer { until, realm, service, .. } = &*way
            && *until <= Instant::now()
        {
            *way = self.token(connections, realm.clone(), service.clone(), Wanted::Push).await?;
        }
        Ok(match &*way {
            Way::Open => None,
            Way::Basic(value) | Way::Bearer { token: value, .. } => Some(value.clone()),
        })
    }

    /// Does what a challenge asks for.
    pub(crate) async fn answer(&self, connections: &Connections, reply: &Reply, wanted: Wanted) -> Result<(), Trouble> {
        let challenges = reply.challenges();
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm.clone(), service.clone())),
            Challenge::Basic => None,
        });
        let mut way = self.way.lock().await;
        *way = match (bearer, challenges.contains(&Challenge::Basic)) {
            (Some((realm, service)), _) => {
                let realm = Url::parse(&realm)
                    .map_err(|_| Trouble::NotARegistry("the address that it names for tokens cannot be read".to_owned()))?;
                self.token(connections, realm, service, wanted).await?
            }
            (None, true) => match (&*way, self.basic()?) {
                (Way::Basic(_), _) => return Err(Trouble::WrongPassword),
                (_, Some(value)) => Way::Basic(value),
                (_, None) => return Err(Trouble::NeedsPassword),
            },
            (None, false) => return Err(Trouble::NotARegistry("it asks for a way to sign in that is none of a registry's".to_owned())),
        };
        Ok(())
    }

    async fn token(&self, connections: &Connections, realm: Url, service: Option<String>, wanted: Wanted) -> Result<Way, Trouble> {
        if connections.base().scheme() == "https" && realm.scheme() != "https" {
            return Err(Trouble::NotARegistry("it is encrypted, and the address that it names for tokens is not".to_owned()));
        }
        let actions = match wanted {
            Wanted::Push => "pull,push",
            Wanted::Pull => "pull",
        };
        let mut url = realm.clone();
        if let Some(service) = &service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &format!("repository:{}:{actions}", self.path));
        let reply = connections.send(&Ask::new(Method::GET, url), self.basic()?.as_ref()).await?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.credentials.is_none() => return Err(Trouble::NeedsPassword),
            StatusCode::UNAUTHORIZED => return Err(Trouble::WrongPassword),
            _ => return Err(reply.checked().map_or_else(|trouble| trouble, |reply| reply.unexpected("a token was asked for"))),
        }
        let asked = Instant::now();
        let Ok(answer) = serde_json::from_slice::<TokenAnswer>(&reply.body) else {
            return Err(Trouble::NotARegistry("what it gives as a token cannot be read".to_owned()));
        };
        let token = answer.token.or(answer.access_token).filter(|token| token.expose_secret().len() <= MAX_TOKEN);
        let Some(token) = token else { return Err(Trouble::NotARegistry("it gives no token, or too long a one".to_owned())) };
        let life = answer.expires_in.map_or(USUAL_LIFE, Duration::from_secs).clamp(Duration::from_secs(1), Duration::from_secs(24 * 3600));
        let until = asked + life.saturating_sub(MARGIN).max(life / 2);
        Ok(Way::Bearer { token: secret_header(&format!("Bearer {}", token.expose_secret()))?, until, realm, service })
    }
}

fn secret_header(text: &str) -> Result<HeaderValue, Trouble> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Trouble::NotARegistry(format!("what is to be sent as `{AUTHORIZATION}` has characters that no header can hold")))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Remote {
    /// Asks, and signs in when that is asked for: once anew when what was used is no longer taken.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Reply, Trouble> {
        self.ask_for(ask, Wanted::Push).await
    }

    pub(crate) async fn ask_for(&self, ask: &Ask, wanted: Wanted) -> Result<Reply, Trouble> {
        let authorization = self.sign_in.header(&self.connections).await?;
        let reply = self.connections.send(ask, authorization.as_ref()).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return reply.checked();
        }
        self.sign_in.answer(&self.connections, &reply, wanted).await?;
        let authorization = self.sign_in.header(&self.connections).await?;
        let reply = self.connections.send(ask, authorization.as_ref()).await?;
        if reply.status == StatusCode::UNAUTHORIZED && reply.challenges() == [Challenge::Basic] {
            return Err(Trouble::WrongPassword);
        }
        reply.checked()
    }
}
