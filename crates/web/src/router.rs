//! Every address of the web room, with its limits.
//!
//! Invariant: every route has a limit for its body and for the time until it answers; unknown addresses answer in the form that
//! their neighbours speak. Deliberately elsewhere: `/v2/` and `/auth/token` (`slipway-registry`).

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::edge::headers::{self, SecurityHeaders};
use crate::edge::routes::{Routes, get, post};
use crate::edge::{panic, request_id};
use crate::error::{ApiError, Code};
use crate::state::WebState;
use crate::{builder_api, hooks, oauth, openapi, operations, pages, session, triggers};

/// Settings with 100 variables of 32 KiB are the largest body of the API.
const API_BODY: usize = 4 * 1024 * 1024;
/// Until the answer begins. Routes that ask a provider take the longest; a claim is held for 20 s.
const ANSWER_TIME: Duration = Duration::from_secs(90);
/// Between two pieces of a body.
const BODY_PAUSE: Duration = Duration::from_secs(30);

/// The routes by what stands around them.
struct Groups {
    api: Routes,
    builders: Routes,
    machines: Routes,
    pages: Routes,
}

impl Groups {
    fn new() -> Self {
        let description = Bytes::from(openapi::document());
        let described = move || std::future::ready(([(header::CONTENT_TYPE, "application/json")], description.clone()));
        let machines = Routes::new()
            .route("/hooks/{provider}/{hook_id}", post(hooks::receive))
            .route("/triggers/{id}", post(triggers::call))
            .route("/oauth/{provider}/callback", get(oauth::callback))
            .route("/healthz", get(operations::healthz))
            .route("/readyz", get(operations::readyz))
            .route("/metrics", get(operations::metrics));
        Self {
            api: openapi::routes().route("/api/openapi.json", get(described)),
            builders: builder_api::routes(),
            machines,
            pages: pages::routes(),
        }
    }
}

/// Method and address of every route, as the router is made of them; parts in braces are names and ids.
#[must_use]
pub fn routes() -> Vec<(Method, String)> {
    let Groups { api, builders, machines, pages } = Groups::new();
    let (router, list) = api.merge(builders).merge(machines).merge(pages).into_parts();
    drop(router);
    list
}

/// All routes of the web room.
pub fn router(state: WebState) -> Router {
    let providers: Vec<url::Url> = state.app().providers().map(|forge| forge.provider().web_url.clone()).collect();
    let security = SecurityHeaders::new(state.public_url(), &providers);
    let Groups { api, builders, machines, pages } = Groups::new();
    let api = api.within(|api| api.layer(DefaultBodyLimit::max(API_BODY)));
    let machines = machines.within(|machines| machines.layer(DefaultBodyLimit::max(64 * 1024)));
    let pages = pages.within(|pages| {
        // Writes to pages are forms of people, a few kilobytes.
        pages
            .layer(DefaultBodyLimit::max(API_BODY))
            .layer(middleware::from_fn_with_state(state.clone(), session::renew))
            .layer(middleware::from_fn_with_state(state.clone(), session::guard_pages))
            .layer(CatchPanicLayer::custom(|words| pages::error_page(panic::note(words))))
    });
    let (router, list) = api.merge(builders).merge(machines).merge(pages).into_parts();
    drop(list);
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(time_limit))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .layer(CatchPanicLayer::custom(|words| panic::note(words).into_response()))
        .layer(middleware::from_fn_with_state(security, headers::add))
        .layer(middleware::from_fn(request_id::assign))
        .with_state(state)
}

/// A handler that hangs must not hold its client for ever. Bodies that stream are not meant: they begin in time and last as long as they last.
async fn time_limit(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match tokio::time::timeout(ANSWER_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(&path, ApiError::new(Code::Timeout, format!("no answer within {} seconds", ANSWER_TIME.as_secs()))),
    }
}

async fn nothing_here(OriginalUri(uri): OriginalUri) -> Response {
    refuse(uri.path(), ApiError::not_found())
}

async fn wrong_method(method: Method, OriginalUri(uri): OriginalUri) -> Response {
    // Browsers ask with OPTIONS before a request to another site; there are no such requests here.
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    refuse(uri.path(), ApiError::new(Code::MethodNotAllowed, format!("`{method}` is not for this address")))
}

/// In the form that the address's neighbours speak.
fn refuse(path: &str, error: ApiError) -> Response {
    let machine = ["/api/", "/builder/", "/hooks/", "/triggers/"].iter().any(|prefix| path.starts_with(prefix));
    if machine { error.into_response() } else { pages::error_page(error) }
}
