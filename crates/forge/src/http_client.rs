//! The HTTP client that every provider's implementation speaks through.
//!
//! Invariant: a request with its credentials goes to one origin only. Redirects are followed by hand, at most three, and only
//! where the origin is the same; answers are capped in size and time.
//! Deliberately elsewhere: what a status means (each provider), and the choice of addresses: they come from the configuration,
//! whose hosts may well be private, so no list of forbidden networks applies here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::IgnoredAny;
use slipway_model::Clock;
use url::Url;

use crate::error::ForgeError;
use crate::scripted;
use crate::text;
use crate::types::Removal;

const MAX_BODY: usize = 8 * 1024 * 1024;
const MAX_REDIRECTS: usize = 3;
/// They have about seventy characters.
const MAX_ETAG: usize = 200;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// What is usual when a provider wants us to wait and does not say how long.
const USUAL_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// One request. Its headers may hold credentials, so it has no `Debug`.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Outgoing {
    pub(crate) fn new(method: Method, url: Url, headers: HeaderMap) -> Self {
        Self { method, url, headers, body: None }
    }

    pub(crate) fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = Some(body.into());
        self
    }
}

/// One whole answer.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where the answer came from, after redirects.
    pub(crate) url: Url,
}

impl Reply {
    /// A header as text; `None` when it is missing or no visible ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The address of the next page by the `Link` header, only ever at the origin that answered.
    pub(crate) fn next_page(&self) -> Result<Option<Url>, ForgeError> {
        self.next_address().map(|address| self.page_at(address)).transpose()
    }

    fn next_address(&self) -> Option<&str> {
        self.headers.get_all(LINK).iter().find_map(|value| value.to_str().ok().and_then(next_link))
    }

    /// The address of another page, as this answer names it; only ever at the origin that answered.
    pub(crate) fn page_at(&self, address: &str) -> Result<Url, ForgeError> {
        let page = self.url.join(address).map_err(|error| self.unexpected(format!("the address of the next page is invalid: {error}")))?;
        if is_elsewhere(&self.url, &page) {
            return Err(self.unexpected("the next page is said to be at another origin, or has credentials in it".to_owned()));
        }
        Ok(page)
    }

    /// Whether the `Link` header tells of a next page, for who counts the pages and does not follow its addresses.
    pub(crate) fn has_next_page(&self) -> bool {
        self.next_address().is_some()
    }

    /// Reads the body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ForgeError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unexpected(text::json_problem(&error)))
    }

    /// The `ETag`, when it is fit to be stored in a marker.
    pub(crate) fn etag(&self) -> Option<String> {
        let etag = self.header(ETAG.as_str())?;
        let fits = (1..=MAX_ETAG).contains(&etag.len()) && etag.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| etag.to_owned())
    }

    /// How long the provider wants us to be quiet.
    pub(crate) fn pause(&self) -> Duration {
        let seconds = |name| self.header(name).and_then(|text| text.trim().parse::<u64>().ok());
        // With requests left it is another limit than the hourly one, and the end of the hour says nothing of it.
        let used_up = seconds("x-ratelimit-remaining").is_none_or(|left| left == 0);
        let pause = match (seconds("retry-after"), seconds("x-ratelimit-reset").filter(|_| used_up)) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, Some(reset)) => Duration::from_secs(reset.saturating_sub(u64::try_from(Clock::System.now().as_seconds()).unwrap_or(0))),
            (None, None) => USUAL_PAUSE,
        };
        pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// What a 404 says: that something is not there, when it is a JSON object and so the API's own. The page of a proxy, or of a server
    /// that is no provider at all, says nothing of what was asked for.
    pub(crate) fn not_found(&self) -> ForgeError {
        let content_type = self.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_json = media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"));
        if is_json && serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&self.body).is_ok() {
            return ForgeError::NotFound;
        }
        self.unexpected("this is no answer of the API, expected a JSON object".to_owned())
    }

    /// Whether an error of OAuth in this answer counts. A server that fails, or that wants us to wait, says nothing about a grant,
    /// whatever it writes.
    pub(crate) fn may_refuse(&self) -> bool {
        self.status.is_success() || (self.status.is_client_error() && self.status != StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the body begins as a JSON object does: the parser would take the fields from an array, too.
    pub(crate) fn begins_as_object(&self) -> bool {
        self.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
    }

    /// What an answer to a removal says: only 204 is one. A page for people with status 200 is no removal, and a receipt must not say so.
    pub(crate) fn removed(&self) -> Result<Removal, ForgeError> {
        if self.status == StatusCode::NO_CONTENT {
            return Ok(Removal::Removed);
        }
        Err(self.unexpected("it does not say that it was removed, expected status 204".to_owned()))
    }

    pub(crate) fn unexpected(&self, detail: String) -> ForgeError {
        ForgeError::Unexpected { status: self.status.as_u16(), detail }
    }
}

/// What every client of ours has in common: it follows no redirect by itself.
pub(crate) fn client_builder(timeout: Duration) -> reqwest::ClientBuilder {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread was faster, and then there is one.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    reqwest::Client::builder()
        .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
}

tokio::task_local! {
    /// Requests that the step under way has sent.
    static SENT: AtomicU32;
}

/// A step, and how many requests it sent to providers: with all pages, redirects and attempts, whatever came of them.
pub async fn counting<T>(step: impl Future<Output = T>) -> (T, u32) {
    let counted = async {
        let value = step.await;
        (value, SENT.with(|sent| sent.load(Ordering::Relaxed)))
    };
    SENT.scope(AtomicU32::new(0), counted).await
}

/// The connection pool of one provider.
#[derive(Debug)]
pub(crate) struct HttpClient {
    inner: reqwest::Client,
}

impl HttpClient {
    pub(crate) fn new() -> Result<Self, ForgeError> {
        let inner = client_builder(TIMEOUT).build().map_err(|error| ForgeError::Misconfigured { detail: describe(&error) })?;
        Ok(Self { inner })
    }

    /// Sends the request and reads the whole answer, following redirects within the origin.
    pub(crate) async fn send(&self, mut request: Outgoing) -> Result<Reply, ForgeError> {
        let mut redirects = 0;
        loop {
            let reply = self.send_once(&request).await?;
            match redirect_target(&request, &reply)? {
                None => return Ok(reply),
                Some(_) if redirects == MAX_REDIRECTS => {
                    return Err(reply.unexpected(format!("more than {MAX_REDIRECTS} redirects in a row")));
                }
                Some(target) => request.url = target,
            }
            redirects += 1;
        }
    }

    async fn send_once(&self, request: &Outgoing) -> Result<Reply, ForgeError> {
        if let Some(reply) = scripted::answer(request) {
            return Ok(reply);
        }
        let mut builder = self.inner.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        SENT.try_with(|sent| sent.fetch_add(1, Ordering::Relaxed)).ok();
        let mut response = builder.send().await.map_err(|error| ForgeError::Unreachable { detail: describe(&error) })?;
        let status = response.status();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| ForgeError::Unreachable { detail: describe(&error) })? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(ForgeError::Unexpected {
                    status: status.as_u16(),
                    detail: format!("the answer is longer than {MAX_BODY} bytes"),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers: std::mem::take(response.headers_mut()), body: body.freeze(), url: request.url.clone() })
    }
}

/// Refuses addresses of a provider that requests cannot be built on.
pub(crate) fn check_base(what: &str, url: &Url) -> Result<(), ForgeError> {
    let refuse = |why: &str| Err(ForgeError::Misconfigured { detail: format!("{what} {why}") });
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return refuse("is no `http://` or `https://` address with a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("has a user name or password in it");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("has a query or a fragment");
    }
    if url.scheme() == "http" && !is_loopback(url) {
        tracing::warn!(%url, "{what} of a provider is not `https`: tokens travel unprotected");
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The base address with these path parts behind it, each percent-encoded.
pub(crate) fn join<'a>(base: &Url, parts: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    url.path_segments_mut().expect("check_base refused addresses that cannot have a path").pop_if_empty().extend(parts);
    url
}

/// Whether an address that an answer names leads away from where the answer came from, or has credentials that would take the place of ours.
fn is_elsewhere(from: &Url, to: &Url) -> bool {
    to.origin() != from.origin() || !to.username().is_empty() || to.password().is_some()
}

/// Where to ask again, when the answer is a redirect that we follow. A redirect elsewhere is an error: following it would hand over the credentials.
fn redirect_target(request: &Outgoing, reply: &Reply) -> Result<Option<Url>, ForgeError> {
    let follows = match reply.status.as_u16() {
        301 | 302 => request.method == Method::GET,
        307 | 308 => true,
        _ => false,
    };
    if !follows {
        return Ok(None);
    }
    let location = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok()).and_then(|text| request.url.join(text).ok());
    match location {
        Some(target) if !is_elsewhere(&request.url, &target) => Ok(Some(target)),
        Some(target) => {
            let host = text::line(target.host_str().unwrap_or("(no host)"), 100);
            Err(reply.unexpected(format!("it redirects to `{host}`, to another origin or with credentials, which is not followed")))
        }
        None => Err(reply.unexpected("it redirects without a usable address".to_owned())),
    }
}

/// The target of `rel="next"` in one `Link` header. Targets cannot hold `>`, so a comma within one does no harm.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, tail) = after.split_once('>')?;
        let parameters = tail.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).filter_map(|parameter| parameter.trim().split_once('=')).any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|word| word.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = tail;
    }
    None
}

/// The words of a network error with their causes, without the address: a query may hold secrets.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} seconds", TIMEOUT.as_secs());
    }
    let mut words = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    if words.is_empty() { "the request failed".to_owned() } else { text::line(&words, 300) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_any_order() {
        let first = r#"<https://h/x?page=1>; rel="prev", <https://h/x?page=3&q=a,b>; rel="next", <https://h/x?page=9>; rel="last""#;
        assert_eq!(next_link(first), Some("https://h/x?page=3&q=a,b"));
        assert_eq!(next_link(r#"<https://h/x>; rel="last first""#), None);
        assert_eq!(next_link("<https://h/x>; title=a; REL=next"), Some("https://h/x"));
        for odd in ["", "<", "<>", "rel=next", "<a; rel=next", ">; rel=next<"] {
            assert_eq!(next_link(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_next_page_stays_at_the_origin() {
        let reply = |link: &str| Reply {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(LINK, HeaderValue::from_str(link).unwrap())]),
            body: Bytes::new(),
            url: "https://api.example/v3/x".parse().unwrap(),
        };
        assert_eq!(reply("</v3/x?page=2>; rel=next").next_page().unwrap().unwrap().as_str(), "https://api.example/v3/x?page=2");
        for elsewhere in [
            "<https://evil.example/x>; rel=next",
            "<http://api.example/x>; rel=next",
            "<//api.example:444/x>; rel=next",
            "<https://u:p@api.example/x>; rel=next",
        ] {
            assert!(matches!(reply(elsewhere).next_page(), Err(ForgeError::Unexpected { .. })), "{elsewhere}");
        }
    }
}
