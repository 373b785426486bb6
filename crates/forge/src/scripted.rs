//! Answers that come from a function and not from the network: how the fuzz targets reach every parser of what a provider says, and how what
//! is ours is measured without the provider.
//!
//! Invariant: only within [`answering`], which nothing of the product calls, is a request answered here. What an answer becomes is the same
//! code as ever: nothing is parsed in this file.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::http_client::{Outgoing, Reply};

/// A request that would have left.
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Where it would have gone.
    pub url: &'a Url,
    /// All that it would have carried, credentials too.
    pub headers: &'a HeaderMap,
}

/// What comes back.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Who answers.
pub type Script = Arc<dyn Fn(&Asked<'_>) -> Answer + Send + Sync>;

tokio::task_local! {
    static SCRIPT: Script;
}

/// A step in which `script` answers every request of every client, but those for pictures.
pub async fn answering<T>(script: Script, step: impl Future<Output = T>) -> T {
    SCRIPT.scope(script, step).await
}

/// The answer to a request, when there is a script.
pub(crate) fn answer(request: &Outgoing) -> Option<Reply> {
    let asked = Asked { method: &request.method, url: &request.url, headers: &request.headers };
    let Answer { status, headers, body } = SCRIPT.try_with(|script| script(&asked)).ok()?;
    Some(Reply { status, headers, body, url: request.url.clone() })
}
