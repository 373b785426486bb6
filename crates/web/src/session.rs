//! Who sends a request: a browser with a session cookie, or a program with a token.
//!
//! Invariant: a token that is not valid is never forgiven because of a cookie beside it, and a write by cookie needs the proof of
//! `edge::origin`. Deliberately elsewhere: what the sender may do (`slipway-app`).

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use slipway_app::{Caller, SignIn};
use slipway_model::{SecretToken, TokenKind};

use crate::edge::origin;
use crate::edge::peer::ClientAddress;
use crate::error::{ApiError, Code};
use crate::state::WebState;

/// The caller of an API route: by `Authorization: Bearer` or by session cookie.
#[derive(Debug, Clone)]
pub struct ApiCaller(pub Caller);

impl FromRequestParts<WebState> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, ApiError> {
        let found = api_caller(parts, state).await?;
        found.map(Self).ok_or_else(|| {
            ApiError::new(Code::Unauthorized, "no valid credentials came with the request")
                .hint("send `Authorization: Bearer <token>`; make a token under Settings, Access tokens")
        })
    }
}

/// For addresses that strangers may ask too.
impl OptionalFromRequestParts<WebState> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Option<Self>, ApiError> {
        Ok(api_caller(parts, state).await?.map(Self))
    }
}

async fn api_caller(parts: &mut Parts, state: &WebState) -> Result<Option<Caller>, ApiError> {
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let Ok(address) = <ClientAddress as FromRequestParts<WebState>>::from_request_parts(parts, state).await;
        return by_token(&parts.headers, state, address).await.map(Some);
    }
    let Some(caller) = by_cookie(&parts.headers, state).await? else { return Ok(None) };
    if !origin::is_safe(&parts.method) {
        origin::check(&parts.headers, state.public_url())?;
    }
    Ok(Some(caller))
}

async fn by_token(headers: &HeaderMap, state: &WebState, address: ClientAddress) -> Result<Caller, ApiError> {
    let refused = || {
        ApiError::new(Code::Unauthorized, "the token is not valid: unknown, revoked or expired")
            .hint("make a new one under Settings, Access tokens")
    };
    let token = bearer(headers).and_then(|text| SecretToken::presented(TokenKind::Personal, text)).ok_or_else(refused)?;
    let caller = state.app().caller_by_token(&token, &address.0.to_string()).await?;
    caller.ok_or_else(refused)
}

/// The credential of `Authorization: Bearer`; the scheme's case does not matter (RFC 9110 §11.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credential) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

async fn by_cookie(headers: &HeaderMap, state: &WebState) -> Result<Option<Caller>, ApiError> {
    let token = state.cookie().read(headers).and_then(|text| SecretToken::presented(TokenKind::Session, text));
    match token {
        Some(token) => Ok(state.app().caller_by_session(&token).await?),
        None => Ok(None),
    }
}

/// The signed-in person of a page; `Option<Session>` for pages that strangers see too. Without a session: the sign-in page.
///
/// Writes need no further check: `guard_pages` stands before every page.
#[derive(Debug, Clone)]
pub struct Session(pub Caller);

/// Why a page has no session.
#[derive(Debug)]
pub enum NoSession {
    /// The person must sign in and comes back to this address.
    SignIn(String),
    /// The session could not be looked up.
    Failed(ApiError),
}

impl IntoResponse for NoSession {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(next) => {
                let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", &next).finish();
                Redirect::to(&format!("/signin?{query}")).into_response()
            }
            Self::Failed(error) => crate::pages::error_page(error),
        }
    }
}

impl FromRequestParts<WebState> for Session {
    type Rejection = NoSession;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, NoSession> {
        match by_cookie(&parts.headers, state).await {
            Ok(Some(caller)) => Ok(Self(caller)),
            // A form that was sent cannot be sent again after the sign-in, so only what was looked at is remembered.
            Ok(None) if origin::is_safe(&parts.method) => {
                Err(NoSession::SignIn(parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()))
            }
            Ok(None) => Err(NoSession::SignIn("/".to_owned())),
            Err(error) => Err(NoSession::Failed(error)),
        }
    }
}

impl OptionalFromRequestParts<WebState> for Session {
    type Rejection = NoSession;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Option<Self>, NoSession> {
        by_cookie(&parts.headers, state).await.map(|caller| caller.map(Self)).map_err(NoSession::Failed)
    }
}

/// Every write to a page must come from one of our pages, signed in or not: signing somebody in unasked is an attack too.
pub(crate) async fn guard_pages(State(state): State<WebState>, request: Request, next: Next) -> Response {
    if !origin::is_safe(request.method())
        && let Err(error) = origin::check(request.headers(), state.public_url())
    {
        return crate::pages::error_page(error);
    }
    next.run(request).await
}

/// The `Set-Cookie` value of a session that was just made.
#[must_use]
pub fn session_cookie(state: &WebState, sign_in: &SignIn) -> HeaderValue {
    state.cookie().set(sign_in.token.expose(), sign_in.life.as_secs())
}

/// The `Set-Cookie` value that ends the session in the browser.
#[must_use]
pub fn ended_cookie(state: &WebState) -> HeaderValue {
    state.cookie().clear()
}

/// Where to go after signing in: a path of ours, or the start page for anything that could lead elsewhere.
#[must_use]
pub fn safe_next(next: Option<&str>) -> &str {
    let path = next.unwrap_or("/");
    let ours = path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\r', '\n', '\t']) && path.len() <= 2000;
    if ours { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away() {
        assert_eq!(safe_next(Some("/demo/hello?tab=builds")), "/demo/hello?tab=builds");
        for bad in ["https://evil.example", "//evil.example", "/\\evil.example", "\\/evil", "javascript:x", "/a\r\nb"] {
            assert_eq!(safe_next(Some(bad)), "/", "{bad}");
        }
    }
}
