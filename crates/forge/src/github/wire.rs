//! Requests to GitHub's API.
//!
//! Invariant: the token is only ever in a header marked sensitive; a status that is not expected is an error (`refusals` says which).

use http::header::{ACCEPT, AUTHORIZATION, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::GitHub;
use super::refusals::Absence;
use super::remembered::{Remembered, SSO};
use crate::credentials::{basic, bearer};
use crate::error::ForgeError;
use crate::http_client::{Outgoing, Reply, join};
use crate::listing::Listing;

const API_VERSION: &str = "2022-11-28";
/// Pages of 100 that are read for one list.
pub(super) const FEW_PAGES: usize = 10;

/// A list with what the headers of its pages said.
pub(super) struct Pages<T> {
    pub(super) list: Listing<T>,
    /// The ETag, when one page was all.
    pub(super) etag: Option<String>,
    /// What `X-GitHub-SSO` said with the pages: lists that leave out organizations.
    pub(super) sso: Vec<String>,
}

impl<T> Pages<T> {
    /// An empty list.
    pub(super) fn none() -> Self {
        Self { list: Listing { items: Vec::new(), truncated: false }, etag: None, sso: Vec::new() }
    }
}

/// A request of the API.
pub(super) struct Call<'a> {
    method: Method,
    url: Url,
    body: Option<&'a Value>,
    known: Option<&'a str>,
    remembered: bool,
    absence: Absence,
}

impl<'a> Call<'a> {
    /// A read, of what anybody may lack: 404 says nothing about scopes.
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: None, known: None, remembered: false, absence: Absence::Plain }
    }

    /// Managing something of a repository: 404 may mean that a scope is missing.
    pub(super) fn manage(method: Method, url: Url) -> Self {
        Self { method, url, body: None, known: None, remembered: false, absence: Absence::MaybeScope }
    }

    pub(super) fn body(mut self, body: &'a Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Answered with 304 when it still has this ETag.
    pub(super) fn unless(mut self, etag: Option<&'a str>) -> Self {
        self.known = etag;
        self
    }

    /// A read that is repeated at every check: asked for by the ETag of its last answer, which is given again when it still holds.
    pub(super) fn remembered(mut self) -> Self {
        self.remembered = true;
        self
    }
}

impl GitHub {
    pub(super) fn api_address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        join(&self.provider.api_url, parts)
    }

    /// Sends a request with a token; any status but 2xx (and 304, when asked for) is an error.
    pub(super) async fn call(&self, token: &SecretString, call: Call<'_>) -> Result<Reply, ForgeError> {
        if !call.remembered {
            return self.ask(token, call).await;
        }
        let plain = || Call { absence: call.absence, ..Call::get(call.url.clone()) };
        let key = Remembered::key(token, &call.url);
        if let Some(known) = self.remembered.get(&key) {
            let reply = self.ask(token, plain().unless(known.etag().as_deref())).await?;
            if reply.status != StatusCode::NOT_MODIFIED {
                self.remembered.keep(key, &reply);
                return Ok(reply);
            }
            if reply.header(SSO).is_none() {
                return Ok(known);
            }
        }
        let reply = self.ask(token, plain()).await?;
        self.remembered.keep(key, &reply);
        Ok(reply)
    }

    async fn ask(&self, token: &SecretString, call: Call<'_>) -> Result<Reply, ForgeError> {
        let mut headers = api_headers(bearer(token)?);
        if let Some(etag) = call.known
            && let Ok(etag) = HeaderValue::from_str(etag)
        {
            headers.insert(IF_NONE_MATCH, etag);
        }
        let mut request = Outgoing::new(call.method, call.url, headers);
        if let Some(body) = call.body {
            request = request.with_body("application/json", body.to_string());
        }
        let reply = self.http.send(request).await?;
        if reply.status == StatusCode::NOT_MODIFIED && call.known.is_some() {
            return Ok(reply);
        }
        let reply = self.judge(reply, call.absence, &[token.expose_secret(), self.provider.client_secret.expose_secret()]);
        match (reply, &self.app) {
            (Err(error), Some(app)) => Err(app.after(token, error)),
            (reply, _) => reply,
        }
    }

    /// Sends a request with our application's own credentials.
    pub(super) async fn call_as_application(
        &self,
        method: Method,
        url: Url,
        body: &Value,
        sent: &SecretString,
    ) -> Result<Reply, ForgeError> {
        let request = Outgoing::new(method, url, api_headers(basic(&self.provider.client_id, &self.provider.client_secret)?))
            .with_body("application/json", body.to_string());
        let reply = self.http.send(request).await?;
        self.judge(reply, Absence::Plain, &[sent.expose_secret(), self.provider.client_secret.expose_secret()])
    }

    pub(super) async fn get(&self, token: &SecretString, url: Url) -> Result<Reply, ForgeError> {
        self.call(token, Call::get(url)).await
    }

    /// Reads a list to its end, at most this many pages. A page that fails fails the list.
    pub(super) async fn list<T: DeserializeOwned + Send>(
        &self,
        token: &SecretString,
        call: Call<'_>,
        pages: usize,
    ) -> Result<Pages<T>, ForgeError> {
        self.list_of(token, call, pages, Reply::json::<Vec<T>>).await
    }

    /// As [`Self::list`], where the pages are objects with a list in them.
    pub(super) async fn list_of<T: Send>(
        &self,
        token: &SecretString,
        mut call: Call<'_>,
        pages: usize,
        read: fn(&Reply) -> Result<Vec<T>, ForgeError>,
    ) -> Result<Pages<T>, ForgeError> {
        call.url.query_pairs_mut().append_pair("per_page", "100");
        let (mut url, absence, remembered) = (call.url, call.absence, call.remembered);
        let mut found = Pages::none();
        for page in 0..pages {
            let reply = self.call(token, Call { method: Method::GET, url, body: None, known: None, remembered, absence }).await?;
            found.list.items.extend(read(&reply)?);
            found.sso.extend(reply.header(SSO).map(str::to_owned));
            match reply.next_page()? {
                Some(next) => url = next,
                None => {
                    found.etag = reply.etag().filter(|_| page == 0);
                    return Ok(found);
                }
            }
        }
        found.list.truncated = true;
        Ok(found)
    }
}

fn api_headers(authorization: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([
        (AUTHORIZATION, authorization),
        (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
        (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static(API_VERSION)),
    ])
}
