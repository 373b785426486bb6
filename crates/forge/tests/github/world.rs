//! A fake GitHub with people, an organization, sources and our application, and a client for it. Every exchange is held against
//! GitHub's own description.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use secrecy::SecretString;
use sha2::Digest;
use slipway_forge::{AppCredentials, AuthorizeRequest, Forge, ForgeError, Grant, Provider, SourceKey, open};
use slipway_model::ProviderKind;
use slipway_testkit::github::{FakeGitHub, GitHubApp, NewGitHubApp, OrgRole, Visibility};
use slipway_testkit::openapi::Description;
use url::Url;

use crate::fake::shared;

pub const CALLBACK: &str = "http://127.0.0.1:9/link/github/callback";
const VERIFIER: &str = "a-verifier-of-the-length-that-the-rfc-demands-43";

static DESCRIPTION: LazyLock<Arc<Description>> =
    LazyLock::new(|| Arc::new(Description::read(&shared("openapi/github.api.github.com.json")).unwrap()));

/// The fake GitHub of a test. Unless the test failed, nothing that either side said may have been against GitHub's description, and no secret
/// may have stood in an address: it is looked at in the end, so that no test has to think of it.
pub struct Held(FakeGitHub);

impl Deref for Held {
    type Target = FakeGitHub;

    fn deref(&self) -> &FakeGitHub {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.violations(), Vec::<String>::new());
            assert_eq!(self.secrets_in_addresses(), Vec::new());
        }
    }
}

/// `octo` owns `octo/hello` and the organization `acme` with `acme/site`; `stranger` owns nothing.
pub async fn world() -> (Held, Arc<dyn Forge>) {
    let github = people().await;
    let app = github.oauth_app("Slipway", CALLBACK).unwrap();
    let client = open(provider(&github, &app.client_id, &app.client_secret)).unwrap();
    (github, client)
}

/// As [`world`], with a GitHub App instead of an OAuth app.
pub async fn world_with_app(permissions: &[(&str, &str)]) -> (Held, GitHubApp, Arc<dyn Forge>) {
    let github = people().await;
    let new = NewGitHubApp { owner: "acme", name: "Slip Way", callback: CALLBACK, hook_url: None, permissions, events: &["push"] };
    let app = github.github_app(&new).unwrap();
    let client = client_of(&github, &app);
    (github, app, client)
}

pub fn client_of(github: &FakeGitHub, app: &GitHubApp) -> Arc<dyn Forge> {
    let credentials = AppCredentials { app_id: app.app_id.to_string(), private_key: app.private_key.clone().into() };
    open(Provider { app: Some(credentials), ..provider(github, &app.client_id, &app.client_secret) }).unwrap()
}

async fn people() -> Held {
    let github = Held(FakeGitHub::start().await.unwrap());
    github.hold_against(DESCRIPTION.clone());
    github.user("octo");
    github.user("stranger");
    github.organization("acme", &[("octo", OrgRole::Admin)]);
    github.repository("octo/hello", Visibility::Private).await.unwrap();
    github.repository("acme/site", Visibility::Private).await.unwrap();
    github
}

fn provider(github: &FakeGitHub, client_id: &str, client_secret: &str) -> Provider {
    Provider {
        id: "github".parse().unwrap(),
        kind: ProviderKind::GitHub,
        web_url: github.web_url().parse().unwrap(),
        api_url: github.api_url().parse().unwrap(),
        client_id: client_id.to_owned(),
        client_secret: client_secret.to_owned().into(),
        app: None,
        ssh: None,
    }
}

/// Links with the first offer.
pub async fn link(github: &FakeGitHub, client: &Arc<dyn Forge>, login: &str) -> Grant {
    link_with(github, client, login, client.offers()[0].scopes).await
}

pub async fn link_with(github: &FakeGitHub, client: &Arc<dyn Forge>, login: &str, scopes: &[&str]) -> Grant {
    let callback: Url = CALLBACK.parse().unwrap();
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(VERIFIER));
    let request = AuthorizeRequest { redirect_uri: &callback, state: "st4te", challenge: &challenge, scopes };
    let back: Url = github.approve_oauth(client.authorize_url(&request).as_str(), login).await.unwrap().parse().unwrap();
    let query = |name: &str| back.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned();
    assert_eq!(query("state"), "st4te");
    let wrong = client.exchange_code("no-such-code", &callback, &VERIFIER.into()).await.unwrap_err();
    assert!(matches!(&wrong, ForgeError::Refused { code, .. } if code == "bad_verification_code"), "{wrong}");
    client.exchange_code(&query("code"), &callback, &VERIFIER.into()).await.unwrap()
}

pub async fn token(github: &FakeGitHub, client: &Arc<dyn Forge>, login: &str) -> SecretString {
    link(github, client, login).await.access_token
}

/// A source by its id, as the caller last knew it.
pub fn source<'a>(id: &'a str, full_name: &'a str) -> SourceKey<'a> {
    SourceKey { id, full_name }
}

/// An OpenSSH public key like no other.
pub fn public_key(seed: u8) -> String {
    let body = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &[seed; 32]].concat();
    format!("ssh-ed25519 {}", base64::engine::general_purpose::STANDARD.encode(body))
}
