//! The client of Gitea against the real Gitea, and against answers that no Gitea should give.
//! Invariant: every request of the client goes through `Front`, which holds it against the descriptions of Gitea's and Forgejo's API.

#![allow(clippy::unwrap_used)]

mod front;
mod hooks;
mod keys;
mod odd;
mod refs;
mod statuses;
mod whole;

use std::sync::Arc;

use front::Front;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use slipway_forge::{AuthorizeRequest, Forge, ForgeError, Grant, Offer, Provider};
use slipway_model::{AccessLevel, ProviderKind};
use slipway_testkit::gitea::{Contents, Gitea, Settings};
use slipway_testkit::github::{OAuthApp, Visibility};
use url::Url;

const CALLBACK: &str = "https://slipway.example/oauth/gitea/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk-0123456789";

fn provider(origin: &Url, app: &OAuthApp) -> Provider {
    Provider {
        id: "gitea-test".parse().unwrap(),
        kind: ProviderKind::Gitea,
        web_url: origin.clone(),
        api_url: origin.join("api/v1").unwrap(),
        client_id: app.client_id.clone(),
        client_secret: app.client_secret.clone().into(),
        app: None,
        ssh: None,
    }
}

/// A Gitea with a person, an organization of the person, a private repository and our application.
struct World {
    gitea: Gitea,
    front: Front,
    client: Arc<dyn Forge>,
    app: OAuthApp,
    /// The id of `octo/hello`.
    hello: String,
}

impl World {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let gitea = Gitea::start_with(settings).await.unwrap();
        gitea.user("octo").await.unwrap();
        gitea.organization("acme", "octo", Visibility::Private).await.unwrap();
        let hello = gitea.repository("octo/hello", Visibility::Private, Contents::FirstCommit).await.unwrap().to_string();
        let app = gitea.oauth_app("Slipway", CALLBACK).await.unwrap();
        let front = Front::to(gitea.web_url()).await;
        let client = slipway_forge::open(provider(&front.origin, &app)).unwrap();
        Self { gitea, front, client, app, hello }
    }

    fn offer(&self, level: AccessLevel) -> &'static Offer {
        self.client.offers().iter().find(|offer| offer.level == level).unwrap()
    }

    /// Where `login` comes back to after granting the offer.
    async fn approve(&self, login: &str, level: AccessLevel) -> Url {
        let callback: Url = CALLBACK.parse().unwrap();
        let challenge = base64_url(&Sha256::digest(VERIFIER));
        let request =
            AuthorizeRequest { redirect_uri: &callback, state: "s3cret", challenge: &challenge, scopes: self.offer(level).scopes };
        let back = self.gitea.approve_oauth(self.client.authorize_url(&request).as_str(), login).await.unwrap();
        back.parse().unwrap()
    }

    async fn exchange(&self, back: &Url, verifier: &str) -> Result<Grant, ForgeError> {
        assert!(back.as_str().starts_with(CALLBACK) && query(back, "state").as_deref() == Some("s3cret"), "{back}");
        let code = query(back, "code").unwrap();
        self.client.exchange_code(&code, &CALLBACK.parse().unwrap(), &verifier.into()).await
    }

    /// Links a person's account as the product does.
    async fn grant(&self, login: &str, level: AccessLevel) -> Grant {
        self.exchange(&self.approve(login, level).await, VERIFIER).await.unwrap()
    }

    async fn token(&self) -> SecretString {
        self.grant("octo", AccessLevel::Full).await.access_token
    }
}

fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// For `assert_eq!` on what has secrets in it.
fn secret(text: &SecretString) -> &str {
    text.expose_secret()
}
