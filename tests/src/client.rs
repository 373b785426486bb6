//! Slipway over HTTP, as a program with a token, a browser with a session, or a stranger.
//! Invariant: redirects are shown, not followed; an answer that was not expected is told with its body.

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, SET_COOKIE};
use serde_json::Value;

/// A sender of requests.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    site: String,
    headers: HeaderMap,
}

/// An answer, whatever it is.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body; bytes that are no text are replaced.
    pub text: String,
}

impl Answer {
    /// Takes a response to its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn of(response: reqwest::Response) -> Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, text: String::from_utf8_lossy(&response.bytes().await?).into_owned() })
    }

    /// The body of a success as JSON; null when it is empty.
    ///
    /// # Errors
    /// When the status is no success, or the body no JSON.
    pub fn json(&self) -> Result<Value> {
        ensure!((200..300).contains(&self.status), "answered {}: {}", self.status, self.text);
        if self.text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.text).with_context(|| format!("no JSON: {}", self.text))
    }

    /// The body of a refusal: its status must be this one, and it must be a problem with a code.
    ///
    /// # Errors
    /// When it is not.
    pub fn problem(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "answered {}, expected {status}: {}", self.status, self.text);
        ensure!(self.header("content-type") == "application/problem+json", "a refusal of type `{}`", self.header("content-type"));
        let problem: Value = serde_json::from_str(&self.text)?;
        for field in ["code", "title", "detail", "request_id"] {
            ensure!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "a problem without `{field}`: {problem}");
        }
        Ok(problem)
    }

    /// The body of a refusal, of whichever 4xx.
    ///
    /// # Errors
    /// When it is none.
    pub fn json_of_refusal(&self) -> Result<Value> {
        ensure!((400..500).contains(&self.status), "answered {}: {}", self.status, self.text);
        self.problem(self.status)
    }

    /// A header's value, empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it leads, empty when nowhere.
    #[must_use]
    pub fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// `name=value` of the cookie that it sets.
    #[must_use]
    pub fn cookie(&self) -> Option<String> {
        Some(self.headers.get(SET_COOKIE)?.to_str().ok()?.split(';').next()?.to_owned())
    }
}

impl Client {
    /// A stranger.
    #[must_use]
    pub fn new(http: &reqwest::Client, site: &str) -> Self {
        Self { http: http.clone(), site: site.to_owned(), headers: HeaderMap::new() }
    }

    /// With one more header in every request.
    ///
    /// # Panics
    /// When it is no header: a mistake of the test.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("tests write valid headers"));
        self
    }

    /// The same sender on connections of its own: a server may close one whose body it did not read to the end.
    ///
    /// # Errors
    /// When there can be no client.
    pub fn apart(&self) -> Result<Self> {
        Ok(Self { http: slipway_testkit::http_client()?, ..self.clone() })
    }

    /// The same sender at another server.
    #[must_use]
    pub fn at(&self, site: &str) -> Self {
        Self { site: site.to_owned(), ..self.clone() }
    }

    /// A program with an access token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// A browser with a session, on one of our own pages.
    #[must_use]
    pub fn with_cookie(self, cookie: &str) -> Self {
        self.with_header("cookie", cookie)
    }

    /// The token that it sends, empty without one.
    #[must_use]
    pub fn token(&self) -> &str {
        let value = self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.strip_prefix("Bearer ").unwrap_or_default()
    }

    /// The cookie that it sends.
    #[must_use]
    pub fn cookie(&self) -> &str {
        self.headers.get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Begins a request; `address` is a path of the site or a whole address.
    pub fn request(&self, method: Method, address: &str) -> reqwest::RequestBuilder {
        let url = if address.starts_with('/') { format!("{}{address}", self.site) } else { address.to_owned() };
        let mut headers = self.headers.clone();
        // What a browser adds to a write from one of our pages.
        if method != Method::GET && !headers.contains_key(AUTHORIZATION) && !headers.contains_key(ORIGIN) {
            headers.insert(ORIGIN, HeaderValue::from_str(&self.site).expect("an address of digits is a valid header"));
        }
        self.http.request(method, url).headers(headers)
    }

    /// Sends a request with or without a JSON body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, method: Method, address: &str, body: Option<&Value>) -> Result<Answer> {
        let mut request = self.request(method.clone(), address);
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.with_context(|| format!("{method} {address}"))?).await
    }

    /// `GET` of a page or any other address.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(&self, address: &str) -> Result<Answer> {
        self.send(Method::GET, address, None).await
    }

    /// Sends a form.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn form(&self, address: &str, fields: &[(&str, &str)]) -> Result<Answer> {
        Answer::of(self.request(Method::POST, address).form(fields).send().await?).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let what = format!("{method} {path}");
        self.send(method, &format!("/api/v1{path}"), body).await?.json().context(what)
    }

    /// `GET` of the API; it must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// `POST` of the API; it must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `PUT` of the API; it must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// `PATCH` of the API; it must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// `DELETE` of the API; it must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    /// A request to the API whose answer is wanted as it comes.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.send(method, &format!("/api/v1{path}"), body).await
    }

    /// All items of a list, page by page.
    ///
    /// # Errors
    /// When a page does not come.
    pub async fn items(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{separator}limit=100{cursor}")).await?;
            all.extend(page["items"].as_array().with_context(|| format!("`{path}` is a list: {page}"))?.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }
}
