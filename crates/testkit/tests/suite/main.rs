//! The fakes held against their providers' own descriptions and the real Gitea, used as their callers will use them.
//! Invariant: only HTTP, git and the public functions; a test reads as a script of what people do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod access;
mod apps;
mod bitbucket;
mod contract;
mod gitea;
mod hooks;
mod keys;
mod moves;
mod oauth;
mod organizations;
mod postgres;
mod push;
mod receiver;
mod shapes;
mod tokens;
mod trouble;

use reqwest::{Method, Response};
use serde_json::Value;
use slipway_testkit::github::{FakeGitHub, OAuthApp, OrgRole, Visibility};

/// A provider with a person, an organization, an app and a token that the person granted.
struct World {
    github: FakeGitHub,
    app: OAuthApp,
    token: String,
    http: reqwest::Client,
}

const CALLBACK: &str = "http://127.0.0.1:9/oauth/github/callback";

impl World {
    async fn new() -> Self {
        let github = FakeGitHub::start().await.unwrap();
        github.user("octo");
        github.user("hubot");
        github.organization("acme", &[("octo", OrgRole::Admin), ("hubot", OrgRole::Member)]);
        github.repository("octo/hello", Visibility::Private).await.unwrap();
        github.repository("acme/site", Visibility::Private).await.unwrap();
        github.repository("acme/open", Visibility::Public).await.unwrap();
        let app = github.oauth_app("Slipway", CALLBACK).unwrap();
        let mut world = Self { github, app, token: String::new(), http: slipway_testkit::http_client().unwrap() };
        world.token = world.link("octo", "repo read:org").await;
        world
    }

    fn authorize_url(&self, scope: &str, extra: &str) -> String {
        let scope = scope.replace(' ', "+");
        format!("{}/login/oauth/authorize?client_id={}&scope={scope}&state=s3cret{extra}", self.github.web_url(), self.app.client_id)
    }

    async fn exchange(&self, fields: &[(&str, &str)]) -> Value {
        let mut form = vec![("client_id", self.app.client_id.as_str()), ("client_secret", self.app.client_secret.as_str())];
        form.retain(|(name, _)| !fields.iter().any(|(other, _)| other == name));
        form.extend_from_slice(fields);
        let url = format!("{}/login/oauth/access_token", self.github.web_url());
        let answer = self.http.post(url).header("accept", "application/json").form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 200, "errors too come with 200");
        answer.json().await.unwrap()
    }

    async fn link(&self, login: &str, scope: &str) -> String {
        let back = self.github.approve_oauth(&self.authorize_url(scope, ""), login).await.unwrap();
        let answer = self.exchange(&[("code", &query(&back, "code"))]).await;
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        self.call_as(&self.token, method, path, body).await
    }

    async fn call_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.http.request(method, format!("{}{path}", self.github.api_url())).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path, None).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }
}

fn query(url: &str, name: &str) -> String {
    let url: url::Url = url.parse().unwrap();
    let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.unwrap_or_else(|| panic!("no `{name}` in `{url}`"))
}

/// An ed25519 public key; each number is another one.
fn key(number: u8) -> String {
    use base64::Engine as _;
    let mut body = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    body.extend([number; 32]);
    format!("ssh-ed25519 {}", base64::engine::general_purpose::STANDARD.encode(body))
}
