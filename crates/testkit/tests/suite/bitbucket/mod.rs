//! The fake Bitbucket held against Bitbucket's own description, and used as its callers will use it.
//! Invariant: only HTTP, git and the public functions. A test whose requests are all right ends with `unviolated`.

mod api;
mod contract;
mod faults;
mod hooks;
mod large;
mod oauth;
mod push;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use slipway_testkit::bitbucket::{Consumer, FakeBitbucket, Visibility, WorkspaceRole};

use crate::query;

const CALLBACK: &str = "http://127.0.0.1:9/oauth/bitbucket/callback";
const ALL_SCOPES: &[&str] = &["account", "repository", "repository:admin", "webhook", "pullrequest"];

/// A provider with people, a workspace, a consumer and a token that one person granted.
struct World {
    bitbucket: FakeBitbucket,
    consumer: Consumer,
    token: String,
    http: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        let bitbucket = FakeBitbucket::start().await.unwrap();
        for nickname in ["emma", "hugo", "mallory"] {
            bitbucket.add_user(nickname);
        }
        bitbucket.add_workspace("acme", &[("emma", WorkspaceRole::Owner), ("hugo", WorkspaceRole::Member)]);
        bitbucket.add_repository("emma/hello", Visibility::Private);
        bitbucket.add_repository("acme/site", Visibility::Private);
        bitbucket.add_repository("acme/open", Visibility::Public);
        let consumer = bitbucket.add_consumer("Slipway", CALLBACK, ALL_SCOPES).unwrap();
        let mut world = Self { bitbucket, consumer, token: String::new(), http: slipway_testkit::http_client().unwrap() };
        world.token = world.link("emma").await;
        world
    }

    fn authorize_url(&self, extra: &str) -> String {
        let (web, key) = (self.bitbucket.web_url(), &self.consumer.key);
        format!("{web}/site/oauth2/authorize?client_id={key}&response_type=code&state=s3cret{extra}")
    }

    /// Status and body of the token endpoint.
    async fn exchange(&self, fields: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/site/oauth2/access_token", self.bitbucket.web_url());
        let request = self.http.post(url).basic_auth(&self.consumer.key, Some(&self.consumer.secret)).form(fields);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn tokens(&self, nickname: &str) -> Value {
        let back = self.bitbucket.approve_oauth(&self.authorize_url(""), nickname).await.unwrap();
        let (status, answer) = self.exchange(&[("grant_type", "authorization_code"), ("code", &query(&back, "code"))]).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn refresh(&self, token: &Value) -> (u16, Value) {
        self.exchange(&[("grant_type", "refresh_token"), ("refresh_token", token.as_str().unwrap())]).await
    }

    async fn link(&self, nickname: &str) -> String {
        self.tokens(nickname).await["access_token"].as_str().unwrap().to_owned()
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        self.call_as(&self.token, method, path, body).await
    }

    async fn call_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.http.request(method, format!("{}/2.0{path}", self.bitbucket.api_url())).bearer_auth(token);
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

    async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.call(method, path, body).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    fn unviolated(&self) {
        assert_eq!(self.bitbucket.violations(), Vec::<String>::new());
    }
}

fn fixture(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/bitbucket-cloud/");
    serde_json::from_str(&std::fs::read_to_string(format!("{folder}{name}")).unwrap()).unwrap()
}

fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort_unstable();
    keys
}

fn error(message: &str) -> Value {
    json!({ "type": "error", "error": { "message": message } })
}

/// A path segment, encoded.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
