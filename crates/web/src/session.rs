//! Who sends a request: a browser with a session cookie, or a program with a token.
//!
//! Invariant: a token that is not valid is never forgiven because of a cookie beside it, and a write by cookie needs the proof of
//! `edge::origin`. Deliberately elsewhere: what the sender may do (`slipway-app`).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use slipway_app::{Caller, ClientInfo, PendingSignIn, SignIn};
use slipway_model::{SecretToken, TokenKind};

use crate::edge::cookie::SecretCookie;
use crate::edge::json::cut;
use crate::edge::origin;
use crate::edge::peer::ClientAddress;
use crate::edge::rate::Counted;
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

/// Every request to the API is counted, for the credential that it came with or, without a valid one, for its address.
async fn api_caller(parts: &mut Parts, state: &WebState) -> Result<Option<Caller>, ApiError> {
    let address = address(parts).await;
    let found = if parts.headers.contains_key(header::AUTHORIZATION) {
        by_token(&parts.headers, state, address).await?
    } else {
        by_cookie(parts, state).await?
    };
    let Some(caller) = found else {
        state.api_rate().count(&Counted::address(address.0))?;
        return if parts.headers.contains_key(header::AUTHORIZATION) { Err(invalid_token()) } else { Ok(None) };
    };
    state.api_rate().count(&Counted::Credential(caller.initiator()))?;
    if caller.session().is_some() && !origin::is_safe(&parts.method) {
        origin::check(&parts.headers, state.public_url())?;
    }
    Ok(Some(caller))
}

/// Counts the address of a request that costs much and that strangers may send, as the API counts its own.
#[derive(Debug, Clone, Copy)]
pub struct CountedAddress;

impl FromRequestParts<WebState> for CountedAddress {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Response> {
        let address = address(parts).await;
        state.api_rate().count(&Counted::address(address.0)).map_err(crate::pages::error_page)?;
        Ok(Self)
    }
}

async fn address(parts: &mut Parts) -> ClientAddress {
    let Ok(address) = <ClientAddress as FromRequestParts<()>>::from_request_parts(parts, &()).await;
    address
}

fn invalid_token() -> ApiError {
    ApiError::new(Code::Unauthorized, "the token is not valid: unknown, revoked or expired")
        .hint("make a new one under Settings, Access tokens")
}

async fn by_token(headers: &HeaderMap, state: &WebState, address: ClientAddress) -> Result<Option<Caller>, ApiError> {
    match bearer(headers).and_then(|text| SecretToken::presented(TokenKind::Personal, text)) {
        Some(token) => Ok(state.app().caller_by_token(&token, &address.0.to_string()).await?),
        None => Ok(None),
    }
}

/// The credential of `Authorization: Bearer`; the scheme's case does not matter (RFC 9110 §11.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credential) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// What a layer found out about the cookie of a request, for the extractors behind it.
#[derive(Debug, Clone)]
struct Known(Option<Caller>);

async fn by_cookie(parts: &mut Parts, state: &WebState) -> Result<Option<Caller>, ApiError> {
    if let Some(Known(caller)) = parts.extensions.get::<Known>() {
        return Ok(caller.clone());
    }
    let cookie = SecretCookie::session(state.public_url());
    let Some(token) = cookie.read(&parts.headers).and_then(|text| SecretToken::presented(TokenKind::Session, text)) else {
        return Ok(None);
    };
    let address = address(parts).await;
    Ok(state.app().caller_by_session(&token, &address.0.to_string()).await?)
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
        match by_cookie(parts, state).await {
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
        by_cookie(parts, state).await.map(|caller| caller.map(Self)).map_err(NoSession::Failed)
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

/// Gives the session of a page view a new id when the person's rights changed since it got the one it has.
pub(crate) async fn renew(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let cookie = SecretCookie::session(state.public_url());
    // Assets are the same for everybody. A write does not renew: its answer may be a redirect that a program follows without cookies.
    if request.method() != Method::GET || request.uri().path().starts_with("/assets/") || cookie.read(request.headers()).is_none() {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = match by_cookie(&mut parts, &state).await {
        Ok(caller) => caller,
        Err(error) => return crate::pages::error_page(error),
    };
    parts.extensions.insert(Known(caller.clone()));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let due = caller.filter(Caller::session_renewal_due).and_then(|caller| caller.session());
    // A page that ended or replaced the session itself has the last word.
    let Some(session) = due.filter(|_| !cookie.is_set_by(response.headers())) else { return response };
    match state.app().renew_session(session).await {
        Ok(Some(sign_in)) => {
            response.headers_mut().append(header::SET_COOKIE, session_cookie(&state, &sign_in));
        }
        // Another page of the same browser was quicker.
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "a session could not be renewed, it will be with the next page"),
    }
    response
}

/// The `Set-Cookie` value of a session that was just made.
#[must_use]
pub fn session_cookie(state: &WebState, sign_in: &SignIn) -> HeaderValue {
    SecretCookie::session(state.public_url()).set(sign_in.token.expose(), sign_in.life)
}

/// The `Set-Cookie` value that ends the session in the browser.
#[must_use]
pub fn ended_cookie(state: &WebState) -> HeaderValue {
    SecretCookie::session(state.public_url()).clear()
}

/// The `Set-Cookie` value of a sign-in that waits for its second factor.
#[must_use]
pub fn pending_cookie(state: &WebState, pending: &PendingSignIn) -> HeaderValue {
    SecretCookie::pending_sign_in(state.public_url()).set(pending.token.expose(), pending.life)
}

/// The `Set-Cookie` value that ends it, when it has become a session or was given up.
#[must_use]
pub fn ended_pending_cookie(state: &WebState) -> HeaderValue {
    SecretCookie::pending_sign_in(state.public_url()).clear()
}

/// The sign-in that waits for its second factor in this browser.
#[must_use]
pub fn pending_sign_in(state: &WebState, headers: &HeaderMap) -> Option<SecretToken> {
    let text = SecretCookie::pending_sign_in(state.public_url()).read(headers)?;
    SecretToken::presented(TokenKind::SignIn, text)
}

/// How long a sign-in at an OpenID Connect provider may take.
const OIDC_LIFE: Duration = Duration::from_secs(15 * 60);

/// The `Set-Cookie` value that binds a sign-in at an OpenID Connect provider to this browser.
#[must_use]
pub fn oidc_cookie(state: &WebState, browser: &SecretToken) -> HeaderValue {
    SecretCookie::oidc(state.public_url()).set(browser.expose(), OIDC_LIFE)
}

/// The `Set-Cookie` value that ends the binding.
#[must_use]
pub fn ended_oidc_cookie(state: &WebState) -> HeaderValue {
    SecretCookie::oidc(state.public_url()).clear()
}

/// The browser that began a sign-in at an OpenID Connect provider.
#[must_use]
pub fn oidc_browser(state: &WebState, headers: &HeaderMap) -> Option<SecretToken> {
    let text = SecretCookie::oidc(state.public_url()).read(headers)?;
    SecretToken::presented(TokenKind::Browser, text)
}

/// Who is at the other end, as a new session remembers it.
#[derive(Debug, Clone)]
pub struct Client(pub ClientInfo);

impl FromRequestParts<WebState> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &WebState) -> Result<Self, Infallible> {
        let address = address(parts).await.0.to_string();
        let agent = parts.headers.get(header::USER_AGENT).map(|value| cut(&String::from_utf8_lossy(value.as_bytes())));
        Ok(Self(ClientInfo { address, user_agent: agent.unwrap_or_default() }))
    }
}

/// Where to go after signing in: a path of ours, or the start page for anything that could lead elsewhere.
#[must_use]
pub fn safe_next(next: Option<&str>) -> &str {
    let path = next.unwrap_or("/");
    // What a proxy or browser could read as a second slash stands at the beginning only; in a header stand visible ASCII characters only.
    let start = path.get(1..4).unwrap_or_default().to_ascii_lowercase();
    let second_slash = path.as_bytes().get(1) == Some(&b'/') || start == "%2f" || start == "%5c";
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let ours = path.starts_with('/') && !second_slash && visible && path.len() <= 2000;
    if ours { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away() {
        assert_eq!(safe_next(Some("/demo/hello?tab=builds")), "/demo/hello?tab=builds");
        assert_eq!(safe_next(Some("/search?q=a%2Fb")), "/search?q=a%2Fb");
        for bad in [
            "https://evil.example",
            "https:evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\/evil",
            "/%2f/evil.example",
            "/%2Fevil.example",
            "/%5cevil.example",
            "/\t/evil.example",
            "javascript:x",
            "/a\r\nb",
            "/a\u{1}",
            "/é",
            "é",
            "",
            " /",
        ] {
            assert_eq!(safe_next(Some(bad)), "/", "{bad}");
        }
    }
}
