//! Requests to Bitbucket's API and what its statuses mean.
//!
//! Invariant: the token is only ever in a header marked sensitive; a status that is not expected is an error, with Bitbucket's own words;
//! so is an error that comes with status 200.

use http::header::{ACCEPT, AUTHORIZATION, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{Bitbucket, is_name};
use crate::credentials::bearer;
use crate::error::ForgeError;
use crate::http_client::{Outgoing, Reply, join};
use crate::listing::Listing;
use crate::text;
use crate::types::Fresh;

/// The version of the API; it may stand in the configured address or not.
const VERSION: &str = "2.0";
/// The longest that Bitbucket makes a page.
const PAGE_LENGTH: &str = "100";

/// One page of a list.
#[derive(Deserialize)]
struct Values<T> {
    values: Vec<T>,
    next: Option<String>,
}

impl Bitbucket {
    pub(super) fn api_address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let base = &self.provider.api_url;
        let versioned = base.path().trim_end_matches('/').rsplit('/').next() == Some(VERSION);
        join(base, (!versioned).then_some(VERSION).into_iter().chain(parts))
    }

    /// The address of a list with the longest pages.
    pub(super) fn list_address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.api_address(parts);
        url.query_pairs_mut().append_pair("pagelen", PAGE_LENGTH);
        url
    }

    /// Sends a request with the person's token; any status but 2xx is an error.
    pub(super) async fn call(&self, token: &SecretString, method: Method, url: Url, body: Option<&Value>) -> Result<Reply, ForgeError> {
        let mut request = Outgoing::new(method, url, api_headers(token)?);
        if let Some(body) = body {
            request = request.with_body("application/json", body.to_string());
        }
        check(self.http.send(request).await?, &self.secrets(token))
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, token: &SecretString, url: Url) -> Result<T, ForgeError> {
        let reply = self.call(token, Method::GET, url, None).await?;
        self.read_object(token, &reply)
    }

    /// Asks whether something changed since `known` was given; where Bitbucket sends no `ETag`, it always says that it did.
    pub(super) async fn get_fresh(&self, token: &SecretString, url: Url, known: Option<&str>) -> Result<Fresh<Reply>, ForgeError> {
        let mut headers = api_headers(token)?;
        if let Some(known) = known.and_then(|known| HeaderValue::from_str(known).ok()) {
            headers.insert(IF_NONE_MATCH, known);
        }
        let asked = headers.contains_key(IF_NONE_MATCH);
        let reply = self.http.send(Outgoing::new(Method::GET, url, headers)).await?;
        if reply.status.as_u16() == 304 && asked {
            return Ok(Fresh::Unchanged);
        }
        let reply = check(reply, &self.secrets(token))?;
        Ok(Fresh::Changed { marker: reply.etag(), value: reply })
    }

    /// Reads the body as the JSON object that it must be.
    pub(super) fn read_object<T: DeserializeOwned>(&self, token: &SecretString, reply: &Reply) -> Result<T, ForgeError> {
        // The parser would take the fields from an array, too.
        if reply.body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
            return Err(reply.unexpected("the body is no JSON object".to_owned()));
        }
        let problem = Problem::of(reply);
        if problem.is_error() {
            return Err(reply.unexpected(problem.words(&self.secrets(token))));
        }
        reply.json()
    }

    /// One page and the address of the next one, which is only ever at the origin that answered.
    pub(super) fn read_page<T: DeserializeOwned>(&self, token: &SecretString, reply: &Reply) -> Result<(Vec<T>, Option<Url>), ForgeError> {
        let page: Values<T> = self.read_object(token, reply)?;
        let Some(next) = page.next.filter(|next| !next.is_empty()) else { return Ok((page.values, None)) };
        let next = reply.page_at(&next)?;
        if next == reply.url {
            return Err(reply.unexpected("a page says that it is followed by itself".to_owned()));
        }
        Ok((page.values, Some(next)))
    }

    /// Reads a list to its end, at most `pages` pages. A page that fails fails the list.
    pub(super) async fn list<T: DeserializeOwned>(&self, token: &SecretString, url: Url, pages: usize) -> Result<Listing<T>, ForgeError> {
        self.list_on(token, Vec::new(), Some(url), pages).await
    }

    /// As [`Bitbucket::list`], with some items at hand already.
    pub(super) async fn list_on<T: DeserializeOwned>(
        &self,
        token: &SecretString,
        mut items: Vec<T>,
        mut next: Option<Url>,
        pages: usize,
    ) -> Result<Listing<T>, ForgeError> {
        for _ in 0..pages {
            let Some(url) = next else { break };
            let reply = self.call(token, Method::GET, url, None).await?;
            let (more, after) = self.read_page(token, &reply)?;
            items.extend(more);
            next = after;
        }
        Ok(Listing { items, truncated: next.is_some() })
    }

    /// What must not be repeated in the words of an error.
    fn secrets<'a>(&'a self, token: &'a SecretString) -> [&'a str; 2] {
        [token.expose_secret(), self.provider.client_secret.expose_secret()]
    }
}

fn api_headers(token: &SecretString) -> Result<HeaderMap, ForgeError> {
    Ok(HeaderMap::from_iter([(AUTHORIZATION, bearer(token)?), (ACCEPT, HeaderValue::from_static("application/json"))]))
}

/// The body of an error, as far as it is there: `{"type": "error", "error": {"message", "detail", "fields"}}`.
struct Problem(Value);

impl Problem {
    fn of(reply: &Reply) -> Self {
        Self(serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    fn is_error(&self) -> bool {
        self.0["type"] == "error" || !matches!(self.0["error"], Value::Null)
    }

    fn message(&self) -> &str {
        self.0["error"]["message"].as_str().unwrap_or_default()
    }

    fn words(&self, secrets: &[&str]) -> String {
        let mut words = vec![self.message()];
        words.extend(self.0["error"]["detail"].as_str());
        let fields = self.0["error"]["fields"].as_object();
        words.extend(fields.into_iter().flatten().take(5).filter_map(|(_, why)| why.as_str().or_else(|| why[0].as_str())));
        words.retain(|word| !word.is_empty());
        if words.is_empty() { "no words came with it".to_owned() } else { text::remote(&words.join("; "), secrets) }
    }

    /// The scopes that the call needs, when their lack is the reason.
    fn required_scopes(&self) -> Option<Vec<String>> {
        let required = self.0["error"]["detail"]["required"].as_array()?;
        Some(required.iter().take(10).filter_map(Value::as_str).map(|scope| text::line(scope, 100)).collect())
    }

    /// Whether the workspace keeps out who comes from our address or has no second factor; nothing but the English words tells.
    fn is_restriction(&self) -> bool {
        let message = self.message().to_ascii_lowercase();
        ["whitelist your ip", "allowlist your ip", "enable two-step"].iter().any(|words| message.contains(words))
    }
}

/// Makes an error of every status but 2xx.
pub(super) fn check(reply: Reply, secrets: &[&str]) -> Result<Reply, ForgeError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let problem = Problem::of(&reply);
    let detail = problem.words(secrets);
    Err(match reply.status.as_u16() {
        401 => ForgeError::Unauthorized { detail },
        403 => match problem.required_scopes() {
            Some(scopes) => ForgeError::MissingScope { scopes, detail },
            None if problem.is_restriction() => ForgeError::Restricted { organization: workspace_of(&reply.url), grant_url: None },
            None => ForgeError::Forbidden { detail },
        },
        // 402: the workspace's plan does not allow it; 451: Bitbucket may not show it.
        402 | 451 => ForgeError::Forbidden { detail },
        404 => reply.not_found(),
        429 => ForgeError::RateLimited { retry_after: reply.pause() },
        _ => reply.unexpected(detail),
    })
}

/// The workspace that a request was about.
fn workspace_of(url: &Url) -> Option<String> {
    let mut parts = url.path_segments()?;
    parts.find(|part| *part == "repositories")?;
    parts.next().filter(|name| is_name(name)).map(str::to_owned)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
