//! Requests to Gitea's API and what its statuses mean.
//!
//! Invariant: the token is only ever in a header marked sensitive; a status that is not expected is an error, with Gitea's own words.
//! So is a list that ends before it says that it does.

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::Gitea;
use crate::credentials::bearer;
use crate::error::ForgeError;
use crate::http_client::{Outgoing, Reply, join};
use crate::listing::Listing;
use crate::text;

/// Any user name does, for git and with a token as the password.
pub(super) const GIT_USER: &str = "oauth2";
/// What a server gives at most, unless its administrator raised it.
const PAGE: u32 = 50;
const MAX_ITEMS: usize = 1000;

impl Gitea {
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
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer(token)?), (ACCEPT, HeaderValue::from_static("application/json"))]);
        let mut request = Outgoing::new(method, url, headers);
        if let Some(body) = body {
            request = request.with_body("application/json", body.to_string());
        }
        let reply = self.http.send(request).await?;
        check(reply, &[token.expose_secret(), self.provider.client_secret.expose_secret()])
    }

    pub(super) async fn get(&self, token: &SecretString, url: Url) -> Result<Reply, ForgeError> {
        self.call(token, Method::GET, url, None).await
    }

    /// Reads a list to its end, or to 1,000 items. A page that fails, or is not there, fails the list.
    ///
    /// Pages are counted here: the addresses in Gitea's `Link` header are those that its administrator gave it, which need not be
    /// those under which we reach it.
    pub(super) async fn list<T: DeserializeOwned>(&self, token: &SecretString, url: &Url) -> Result<Listing<T>, ForgeError> {
        let mut items: Vec<T> = Vec::new();
        let mut page = 1;
        loop {
            let reply = self.get(token, page_address(url.clone(), page)).await?;
            let found: Vec<T> = reply.json()?;
            let was_empty = found.is_empty();
            items.extend(found);
            let total = reply.header("x-total-count").and_then(|text| text.parse().ok()).unwrap_or(0);
            let goes_on = items.len() < total || reply.has_next_page();
            if !goes_on || items.len() >= MAX_ITEMS {
                let truncated = goes_on || items.len() > MAX_ITEMS;
                items.truncate(MAX_ITEMS);
                return Ok(Listing { items, truncated });
            }
            if was_empty {
                return Err(reply.unexpected(format!("page {page} of the list is empty, but the list is said to go on")));
            }
            page += 1;
        }
    }
}

/// The address of one page of a list.
pub(super) fn page_address(mut url: Url, page: u32) -> Url {
    url.query_pairs_mut().append_pair("limit", &PAGE.to_string()).append_pair("page", &page.to_string());
    url
}

/// The body of an error, as far as it is there.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    message: String,
}

/// Makes an error of every status but 2xx.
pub(super) fn check(reply: Reply, secrets: &[&str]) -> Result<Reply, ForgeError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let problem: Problem = serde_json::from_slice(&reply.body).unwrap_or_default();
    let detail = match problem.message {
        words if words.is_empty() => "no words came with it".to_owned(),
        words => text::remote(&words, secrets),
    };
    Err(match reply.status.as_u16() {
        401 => ForgeError::Unauthorized { detail },
        403 => refusal(detail),
        // "APINotFound is a not found empty response", says the description; most of them have words all the same.
        404 if reply.body.is_empty() => ForgeError::NotFound,
        404 => reply.not_found(),
        423 | 451 => ForgeError::Forbidden { detail },
        429 => ForgeError::RateLimited { retry_after: reply.pause() },
        _ => reply.unexpected(detail),
    })
}

/// What a 403 means. Nothing but the English words tells (Gitea's `routers/api/v1/api.go`).
fn refusal(detail: String) -> ForgeError {
    if detail.contains("prohibited from signing in") || detail.contains("is not activated") {
        return ForgeError::Suspended { detail };
    }
    if let Some((_, rest)) = detail.split_once("required=[") {
        let scopes = rest.split(']').next().unwrap_or_default().split_whitespace().take(10).map(str::to_owned).collect();
        return ForgeError::MissingScope { scopes, detail };
    }
    ForgeError::Forbidden { detail }
}
