//! Faults on purpose: what a provider, a proxy or an attacker between may answer instead of the truth.
//! Invariant: a fault is drawn by path and count and nothing else, so that a test says exactly which requests it hits.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with a page of the provider's proxy.
    Outage(u16),
    /// The right answer, this much later.
    Latency(Duration),
    /// 200 and an HTML page.
    Html,
    /// 200 and the provider's error body.
    ErrorBody,
    /// The right answer, cut in the middle of its JSON.
    Truncated,
    /// Every page of a list names a next one.
    EndlessPages,
    /// A redirect to the same path below this address.
    RedirectTo(String),
    /// The request is taken and never answered.
    Silence,
    /// 429: nothing is done for this long.
    RateLimited(Duration),
    /// The provider does what it is asked, and the connection breaks before the answer.
    AnswerLost,
}

/// How many requests a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hits {
    /// The next so many.
    Next(u32),
    /// All until faults are cleared.
    All,
}

/// The faults that wait for requests.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(String, Fault, Hits)>);

impl Faults {
    /// Adds a fault for every path that begins with `prefix`.
    pub(crate) fn add(&mut self, prefix: &str, fault: Fault, hits: Hits) {
        self.0.push((prefix.to_owned(), fault, hits));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for a request; the newest one that fits wins and is used up by one.
    pub(crate) fn draw(&mut self, path: &str) -> Option<Fault> {
        let index = self.0.iter().rposition(|(prefix, _, _)| path.starts_with(prefix.as_str()))?;
        let (_, fault, hits) = &mut self.0[index];
        let fault = fault.clone();
        match hits {
            Hits::Next(0) => {
                self.0.remove(index);
                return self.draw(path);
            }
            Hits::Next(1) => {
                self.0.remove(index);
            }
            Hits::Next(left) => *left -= 1,
            Hits::All => {}
        }
        Some(fault)
    }
}

const PAGE: &str = "<!doctype html><html><body><h1>We will be right back</h1></body></html>";

/// Answers a request with its fault in place.
pub(crate) async fn answer(fault: Fault, mut request: Request, next: Next) -> Response {
    match fault {
        Fault::Outage(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
        }
        Fault::Latency(latency) => {
            tokio::time::sleep(latency).await;
            next.run(request).await
        }
        Fault::Html => (StatusCode::OK, [(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response(),
        Fault::ErrorBody => axum::Json(json!({ "type": "error", "error": { "message": "Something went wrong" } })).into_response(),
        Fault::Truncated => {
            rewritten(next.run(request).await, |text| {
                let half = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                text[..half].to_owned()
            })
            .await
        }
        Fault::EndlessPages => {
            let page = first_page_of(&mut request);
            let address = address_without_page(&request);
            let mut response = rewritten(next.run(request).await, |text| endless(&text, &address, page)).await;
            // A list whose body has no place for it names its next page in a header.
            if let Ok(link) = HeaderValue::from_str(&format!("<{address}{}>; rel=\"next\"", page + 1)) {
                response.headers_mut().insert(LINK, link);
            }
            response
        }
        Fault::RedirectTo(base) => {
            let tail = request.uri().path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
            match HeaderValue::from_str(&format!("{}{tail}", base.trim_end_matches('/'))) {
                Ok(location) => (StatusCode::FOUND, [(LOCATION, location)]).into_response(),
                Err(_) => StatusCode::BAD_GATEWAY.into_response(),
            }
        }
        Fault::Silence => std::future::pending().await,
        Fault::RateLimited(pause) => {
            (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, pause.as_secs().to_string())], "Too many requests").into_response()
        }
        Fault::AnswerLost => {
            next.run(request).await;
            broken_off()
        }
    }
}

/// An answer whose connection is closed in its middle.
fn broken_off() -> Response {
    let broken = futures_util::stream::once(async { Err::<String, _>(std::io::Error::other("broken off on purpose")) });
    Response::new(Body::from_stream(broken))
}

/// Asks for the first page whatever page was asked for, so that no page is ever empty; returns the number that was asked for.
fn first_page_of(request: &mut Request) -> u64 {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let page = pairs.iter().find(|(name, _)| name == "page").and_then(|(_, value)| value.parse().ok()).unwrap_or(1);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs.iter().filter(|(name, _)| name != "page")).finish();
    if let Ok(uri) = format!("{}?{query}", request.uri().path()).parse() {
        *request.uri_mut() = uri;
    }
    page
}

fn address_without_page(request: &Request) -> String {
    let host = request.headers().get("host").and_then(|value| value.to_str().ok()).unwrap_or("127.0.0.1");
    let query = request.uri().query().filter(|query| !query.is_empty()).map_or_else(String::new, |query| format!("{query}&"));
    format!("http://{host}{}?{query}page=", request.uri().path())
}

fn endless(text: &str, address: &str, page: u64) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut body)) if body.contains_key("values") => {
            body.insert("next".to_owned(), json!(format!("{address}{}", page + 1)));
            body.insert("page".to_owned(), json!(page));
            Value::Object(body).to_string()
        }
        _ => text.to_owned(),
    }
}

async fn rewritten(response: Response, change: impl FnOnce(String) -> String) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(change(String::from_utf8_lossy(&bytes).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_drawn_by_path_and_count() {
        let mut faults = Faults::default();
        faults.add("/2.0", Fault::Html, Hits::All);
        faults.add("/2.0/user", Fault::Silence, Hits::Next(2));
        assert_eq!(faults.draw("/other"), None);
        assert_eq!(faults.draw("/2.0/repositories"), Some(Fault::Html));
        assert_eq!(faults.draw("/2.0/user"), Some(Fault::Silence));
        assert_eq!(faults.draw("/2.0/user/workspaces"), Some(Fault::Silence));
        assert_eq!(faults.draw("/2.0/user"), Some(Fault::Html), "used up");
        faults.clear();
        assert_eq!(faults.draw("/2.0/user"), None);
    }
}
