//! Slipway's REST API by a personal access token.
//! Invariant: a problem's `detail` and `hint` are shown as they came, so that a failing demo explains itself.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Method, Response};
use serde_json::Value;
use slipway_testkit::wait;

/// The API as one account uses it.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    /// The API below `base` with a token.
    pub fn new(http: &reqwest::Client, site: &str, token: &str) -> Self {
        Self { http: http.clone(), base: format!("{site}/api/v1"), token: token.to_owned() }
    }

    /// A request whose answer is wanted as it comes.
    pub async fn raw(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.send().await?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let what = format!("{method} /api/v1{path}");
        let answer = self.raw(method, path, body).await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("`{what}` answered {status}: {text}");
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("`{what}` answered no JSON: {text}"))
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `PUT`.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// The items of a list's first page.
    pub async fn items(&self, path: &str) -> Result<Vec<Value>> {
        let list = self.get(path).await?;
        list["items"].as_array().cloned().with_context(|| format!("`{path}` is a list: {list}"))
    }

    /// Waits until an item of a list is as wanted.
    pub async fn item(&self, path: &str, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let wanted = &wanted;
        wait::until(what, limit, || async move { Ok(self.items(path).await?.into_iter().find(|item| wanted(item))) }).await
    }

    /// Waits until a resource is as wanted.
    pub async fn until(&self, path: &str, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let wanted = &wanted;
        wait::until(what, limit, || async move { Ok(Some(self.get(path).await?).filter(|found| wanted(found))) }).await
    }
}

/// A text field that must be there.
pub fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("`{name}` is missing in {value}"))
}
