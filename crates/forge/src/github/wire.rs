//! Requests to GitHub's API and what its statuses mean.
//!
//! Invariant: the token is only ever in a header marked sensitive; a status that is not expected is an error, with GitHub's own words.

use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::GitHub;
use crate::credentials::{basic, bearer};
use crate::error::ForgeError;
use crate::http_client::{Outgoing, Reply, join};
use crate::text;

const API_VERSION: &str = "2022-11-28";
/// Pages of 100 that are read for one list.
pub(super) const MAX_PAGES: usize = 10;

/// A list, and whether there would have been more.
pub(super) struct Listing<T> {
    pub(super) items: Vec<T>,
    pub(super) truncated: bool,
}

impl GitHub {
    pub(super) fn api_address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        join(&self.provider.api_url, parts)
    }

    /// Sends a request with the person's token; any status but 2xx is an error.
    pub(super) async fn call(
        &self,
        token: &SecretString,
        method: Method,
        url: Url,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, ForgeError> {
        let mut request = Outgoing::new(method, url, api_headers(bearer(token)?));
        if let Some(body) = body {
            request = request.with_body("application/json", body.to_string());
        }
        let reply = self.http.send(request).await?;
        check(reply, &[token.expose_secret(), self.provider.client_secret.expose_secret()])
    }

    /// Sends a request with our application's own credentials.
    pub(super) async fn call_as_application(
        &self,
        method: Method,
        url: Url,
        body: &serde_json::Value,
        sent: &SecretString,
    ) -> Result<Reply, ForgeError> {
        let request =
            Outgoing::new(method, url, api_headers(basic(&self.provider.client_id, &self.provider.client_secret)?)).with_body("application/json", body.to_string());
        let reply = self.http.send(request).await?;
        check(reply, &[sent.expose_secret(), self.provider.client_secret.expose_secret()])
    }

    pub(super) async fn get(&self, token: &SecretString, url: Url) -> Result<Reply, ForgeError> {
        self.call(token, Method::GET, url, None).await
    }

    /// Reads a list to its end, at most [`MAX_PAGES`] pages. A page that fails fails the list.
    pub(super) async fn list<T: DeserializeOwned>(&self, token: &SecretString, mut url: Url) -> Result<Listing<T>, ForgeError> {
        url.query_pairs_mut().append_pair("per_page", "100");
        let mut items = Vec::new();
        for _ in 0..MAX_PAGES {
            let reply = self.get(token, url).await?;
            items.extend(reply.json::<Vec<T>>()?);
            match reply.next_page()? {
                Some(next) => url = next,
                None => return Ok(Listing { items, truncated: false }),
            }
        }
        Ok(Listing { items, truncated: true })
    }
}

fn api_headers(authorization: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([
        (AUTHORIZATION, authorization),
        (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
        (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static(API_VERSION)),
    ])
}

/// The body of an error, as far as it is there.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    message: String,
    errors: Vec<serde_json::Value>,
    block: Option<Block>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Block {
    reason: String,
}

impl Problem {
    fn words(&self) -> String {
        let mut words = self.message.clone();
        for error in self.errors.iter().take(5) {
            let word = error.as_str().or_else(|| error.get("message").and_then(serde_json::Value::as_str));
            if let Some(word) = word {
                words.push_str("; ");
                words.push_str(word);
            }
        }
        if let Some(block) = &self.block {
            words.push_str(&format!(" (reason `{}`)", block.reason));
        }
        words
    }
}

/// Makes an error of every status but 2xx.
pub(super) fn check(reply: Reply, secrets: &[&str]) -> Result<Reply, ForgeError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let problem: Problem = serde_json::from_slice(&reply.body).unwrap_or_default();
    let detail = match problem.words() {
        words if words.is_empty() => "no words came with it".to_owned(),
        words => text::remote(&words, secrets),
    };
    Err(match reply.status.as_u16() {
        401 => ForgeError::Unauthorized { detail },
        // An organization's refusal may come with the last request of the hour; waiting would not help.
        403 => match restriction(&reply, &problem.message) {
            Some(organization) => ForgeError::Restricted { organization, grant_url: None },
            None if is_rate_limit(&reply, &problem.message) => ForgeError::RateLimited { retry_after: reply.pause() },
            None => ForgeError::Forbidden { detail },
        },
        404 => ForgeError::NotFound,
        429 => ForgeError::RateLimited { retry_after: reply.pause() },
        451 => ForgeError::Forbidden { detail },
        _ => reply.unexpected(detail),
    })
}

fn is_rate_limit(reply: &Reply, message: &str) -> bool {
    reply.headers.contains_key(RETRY_AFTER)
        || reply.header("x-ratelimit-remaining") == Some("0")
        || message.to_ascii_lowercase().contains("rate limit")
}

/// Whether an organization keeps us out, and which. Of an OAuth app restriction nothing but the English words tells.
fn restriction(reply: &Reply, message: &str) -> Option<Option<String>> {
    if let Some(sso) = reply.header("x-github-sso") {
        let name = sso.split_once("/orgs/").and_then(|(_, rest)| rest.split('/').next());
        return Some(name.filter(|name| super::is_name(name)).map(str::to_owned));
    }
    let keeps_out = ["OAuth App access restrictions", "organization SAML enforcement", "has an IP allow list enabled"];
    if !keeps_out.iter().any(|words| message.contains(words)) {
        return None;
    }
    let name = message.split_once("` organization").and_then(|(before, _)| before.rsplit('`').next());
    Some(name.filter(|name| super::is_name(name)).map(str::to_owned))
}
