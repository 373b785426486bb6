//! OAuth for web applications: the authorization page, sign-in, and the exchange of a code for a token.
//! Source: GitHub docs, "Authorizing OAuth apps"; PKCE with S256 only.
//! Invariant: a code works once, for ten minutes, for the app and the address that it was made for.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State as Extract};
use axum::http::header::{ACCEPT, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::access::{Credentials, credentials, normalise_scopes};
use super::state::{AccountKind, Session, State, random_hex};
use super::tokens::{ACCESS_LIFETIME_S, Code, NewToken, REFRESH_LIFETIME_S, Token};
use super::types::TokenLife;
use super::{Inner, pages};

const COOKIE_NAME: &str = "user_session";

type Params = HashMap<String, String>;

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/login", get(sign_in_page))
        .route("/session", post(sign_in))
        .route("/logout", post(sign_out))
        .route("/login/oauth/authorize", get(authorize).post(decide))
        .route("/login/oauth/access_token", post(access_token))
}

/// The browser session of a request.
pub(super) fn session(state: &State, headers: &HeaderMap) -> Option<(String, Session)> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .find_map(|(_, value)| Some((value.to_owned(), state.sessions.get(value)?.clone())))
}

pub(super) fn redirect(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(value) => (StatusCode::FOUND, [(LOCATION, value)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

pub(super) fn form(body: &[u8]) -> Params {
    form_urlencoded::parse(body).into_owned().collect()
}

fn text<'a>(params: &'a Params, name: &str) -> &'a str {
    params.get(name).map_or("", String::as_str)
}

/// Only a path of this site: an address from outside must not lead people away after they signed in.
fn local_path(path: &str) -> &str {
    if path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') { path } else { "/" }
}

async fn sign_in_page(Query(params): Query<Params>) -> Response {
    pages::sign_in(local_path(text(&params, "return_to")), None).into_response()
}

async fn sign_in(Extract(inner): Extract<Arc<Inner>>, body: Bytes) -> Response {
    let params = form(&body);
    let back = local_path(text(&params, "return_to")).to_owned();
    let session = {
        let mut state = inner.state();
        let found = state.account(text(&params, "login")).and_then(|account| match &account.kind {
            AccountKind::User(user) if user.password == text(&params, "password") => Some(account.id),
            _ => None,
        });
        found.map(|user| {
            let id = random_hex(24);
            state.sessions.insert(id.clone(), Session { user, csrf: random_hex(16) });
            id
        })
    };
    let Some(id) = session else {
        let page = pages::sign_in(&back, Some("Incorrect username or password."));
        return (StatusCode::UNPROCESSABLE_ENTITY, page).into_response();
    };
    let mut response = redirect(&back);
    let cookie = format!("{COOKIE_NAME}={id}; Path=/; HttpOnly; SameSite=Lax");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

/// Also the way to another account: `return_to` then leads back to where the person was asked.
async fn sign_out(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let params = form(&body);
    let mut state = inner.state();
    if let Some((id, session)) = session(&state, &headers)
        && session.csrf == text(&params, "authenticity_token")
    {
        state.sessions.remove(&id);
    }
    redirect(local_path(text(&params, "return_to")))
}

/// A checked authorization request.
struct Asked {
    client_id: String,
    app_name: String,
    redirect_uri: String,
    explicit_scopes: Option<Vec<String>>,
    state: String,
    challenge: Option<String>,
    life: TokenLife,
}

/// `redirect_uri` must have the host of the registered callback and a path inside of it; a loopback callback without
/// a port allows every port.
fn redirect_allowed(callback: &url::Url, asked: &str) -> bool {
    let Ok(asked) = asked.parse::<url::Url>() else { return false };
    let loopback = matches!(callback.host_str(), Some("127.0.0.1" | "[::1]"));
    let same_port = asked.port_or_known_default() == callback.port_or_known_default() || (loopback && callback.port().is_none());
    let inside = asked.path() == callback.path()
        || asked.path().strip_prefix(callback.path().trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
    asked.scheme() == callback.scheme()
        && asked.host() == callback.host()
        && same_port
        && inside
        && asked.fragment().is_none()
        && asked.username().is_empty()
        && asked.password().is_none()
}

pub(super) fn with_query(address: &str, pairs: &[(&str, &str)]) -> String {
    match address.parse::<url::Url>() {
        Ok(mut url) => {
            url.query_pairs_mut().extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
            url.to_string()
        }
        Err(_) => address.to_owned(),
    }
}

/// Checks what the app asks for; errors go back to the app where that is safe, else to the person.
fn check(state: &State, params: &Params) -> Result<Asked, Box<Response>> {
    let client_id = text(params, "client_id");
    let Some(app) = state.apps.get(client_id) else {
        let page = pages::message("404", "This is not the app you are looking for.");
        return Err(Box::new((StatusCode::NOT_FOUND, page).into_response()));
    };
    let refuse = |error: &str, description: &str| {
        let pairs = [("error", error), ("error_description", description), ("state", text(params, "state"))];
        Box::new(redirect(&with_query(app.callback.as_str(), &pairs)))
    };
    let redirect_uri = match text(params, "redirect_uri") {
        "" => app.callback.to_string(),
        asked if redirect_allowed(&app.callback, asked) => asked.to_owned(),
        _ => {
            let why = "The redirect_uri MUST match the registered callback URL for this application.";
            return Err(refuse("redirect_uri_mismatch", why));
        }
    };
    let challenge = text(params, "code_challenge");
    let method = text(params, "code_challenge_method");
    if !challenge.is_empty() && (method != "S256" || challenge.len() != 43) {
        return Err(refuse("invalid_request", "code_challenge_method must be S256 and code_challenge 43 characters."));
    }
    Ok(Asked {
        client_id: client_id.to_owned(),
        app_name: app.name.clone(),
        redirect_uri,
        // A GitHub App has permissions; scopes mean nothing to it.
        explicit_scopes: params
            .get("scope")
            .filter(|_| app.github_app.is_none())
            .map(|scope| normalise_scopes(scope.split([' ', ',']).filter(|one| !one.is_empty()))),
        state: text(params, "state").to_owned(),
        challenge: (!challenge.is_empty()).then(|| challenge.to_owned()),
        // An app may ask for tokens that expire, request by request.
        life: if text(params, "scope").split([' ', ',']).any(|one| one == "offline_access") { TokenLife::EightHours } else { app.life },
    })
}

fn hand_out_code(state: &mut State, user: u64, asked: Asked, scopes: Vec<String>) -> Response {
    state.grants.insert((user, asked.client_id.clone()), scopes.clone());
    let code = state.issue_code(Code {
        client_id: asked.client_id,
        user,
        scopes,
        redirect_uri: asked.redirect_uri.clone(),
        challenge: asked.challenge,
        life: asked.life,
        expires_ms: 0,
    });
    redirect(&with_query(&asked.redirect_uri, &[("code", &code), ("state", &asked.state)]))
}

async fn authorize(
    Extract(inner): Extract<Arc<Inner>>,
    Query(params): Query<Params>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Response {
    let mut state = inner.state();
    let asked = match check(&state, &params) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let Some((_, session)) = session(&state, &headers) else {
        let back = uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
        return redirect(&with_local_query("/login", &[("return_to", back)]));
    };
    let granted = state.grants.get(&(session.user, asked.client_id.clone())).cloned();
    // Asking for nothing means: what was granted before.
    let scopes = match (&asked.explicit_scopes, &granted) {
        (Some(scopes), _) => scopes.clone(),
        (None, Some(granted)) => granted.clone(),
        (None, None) => Vec::new(),
    };
    // A person who has granted all of this before is not asked again.
    if let Some(granted) = granted
        && state.knobs.next_scopes.is_none()
        && scopes.iter().all(|scope| granted.contains(scope))
        && text(&params, "prompt").is_empty()
    {
        return hand_out_code(&mut state, session.user, asked, granted);
    }
    let login = state.login(session.user).to_owned();
    let organizations: Vec<(String, bool)> = state
        .accounts
        .values()
        .filter_map(|account| match &account.kind {
            AccountKind::Organization(organization) if organization.members.contains_key(&session.user) => {
                Some((account.login.clone(), !state.keeps_app_out(account.id, &asked.client_id)))
            }
            _ => None,
        })
        .collect();
    pages::authorize(&pages::Consent {
        app: &asked.app_name,
        login: &login,
        scopes: &scopes,
        organizations: &organizations,
        csrf: &session.csrf,
        params: &params,
        redirect_uri: &asked.redirect_uri,
        address: uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str),
    })
    .into_response()
}

pub(super) fn with_local_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    format!("{path}?{}", query.finish())
}

/// The person's answer: `authorize=1` or `authorize=0`. The request is checked anew; the form is not trusted.
async fn decide(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let params = form(&body);
    let mut state = inner.state();
    let Some((_, session)) = session(&state, &headers) else {
        return redirect("/login");
    };
    if session.csrf != text(&params, "authenticity_token") {
        let page = pages::message("422", "Your browser did something unexpected. Please try again.");
        return (StatusCode::UNPROCESSABLE_ENTITY, page).into_response();
    }
    let asked = match check(&state, &params) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    if text(&params, "authorize") != "1" {
        let pairs = [
            ("error", "access_denied"),
            ("error_description", "The user has denied your application access."),
            ("state", asked.state.as_str()),
        ];
        return redirect(&with_query(&asked.redirect_uri, &pairs));
    }
    let mut scopes = asked.explicit_scopes.clone().unwrap_or_default();
    // People may grant less than they are asked for.
    if let Some(granted) = params.get("granted_scope") {
        let granted: Vec<&str> = granted.split(' ').collect();
        scopes.retain(|scope| granted.contains(&scope.as_str()));
    }
    if let Some(only) = state.knobs.next_scopes.take() {
        scopes.retain(|scope| only.contains(scope));
    } else if let Some(before) = state.grants.get(&(session.user, asked.client_id.clone())) {
        scopes = normalise_scopes(before.iter().chain(&scopes).map(String::as_str));
    }
    hand_out_code(&mut state, session.user, asked, scopes)
}

/// Why no token is given: name and words of GitHub's answer.
struct TokenRefusal(&'static str, &'static str, &'static str);

const BAD_CODE: TokenRefusal = TokenRefusal(
    "bad_verification_code",
    "The code passed is incorrect or expired.",
    "/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/#bad-verification-code",
);
const BAD_CLIENT: TokenRefusal = TokenRefusal(
    "incorrect_client_credentials",
    "The client_id and/or client_secret passed are incorrect.",
    "/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/#incorrect-client-credentials",
);
const BAD_REDIRECT: TokenRefusal = TokenRefusal(
    "redirect_uri_mismatch",
    "The redirect_uri MUST match the registered callback URL for this application.",
    "/apps/managing-oauth-apps/troubleshooting-authorization-request-errors/#redirect-uri-mismatch2",
);
const BAD_REFRESH: TokenRefusal = TokenRefusal("bad_refresh_token", "The refresh token passed is incorrect or expired.", "");

fn exchange(state: &mut State, params: &Params) -> Result<Token, TokenRefusal> {
    let client_id = text(params, "client_id");
    let known = state.apps.get(client_id).is_some_and(|app| app.public.client_secret == text(params, "client_secret"));
    if !known {
        return Err(BAD_CLIENT);
    }
    if text(params, "grant_type") == "refresh_token" {
        return state.refresh(client_id, text(params, "refresh_token")).ok_or(BAD_REFRESH);
    }
    let now = state.now_ms();
    // A code is used up by the first attempt of the right app, whatever comes of it.
    let code = match state.codes.get(text(params, "code")) {
        Some(code) if code.client_id == client_id => state.codes.remove(text(params, "code")).ok_or(BAD_CODE)?,
        _ => return Err(BAD_CODE),
    };
    if code.expires_ms < now {
        return Err(BAD_CODE);
    }
    let redirect_uri = text(params, "redirect_uri");
    if !redirect_uri.is_empty() && redirect_uri != code.redirect_uri {
        return Err(BAD_REDIRECT);
    }
    if let Some(challenge) = &code.challenge {
        let hash = Sha256::digest(text(params, "code_verifier").as_bytes());
        if base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash) != *challenge {
            return Err(BAD_CODE);
        }
    }
    Ok(state.issue_token(NewToken { user: code.user, app: Some(code.client_id), scopes: code.scopes, life: code.life }))
}

fn token_fields(token: Token) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("access_token", json!(token.value)), ("scope", json!(token.scopes.join(","))), ("token_type", json!("bearer"))];
    if let Some(refresh) = token.refresh {
        fields.push(("expires_in", json!(ACCESS_LIFETIME_S)));
        fields.push(("refresh_token", json!(refresh.value)));
        fields.push(("refresh_token_expires_in", json!(REFRESH_LIFETIME_S)));
    }
    fields
}

async fn access_token(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let mut params = if header(CONTENT_TYPE).starts_with("application/json") {
        serde_json::from_slice::<Params>(&body).unwrap_or_default()
    } else {
        form(&body)
    };
    if let Credentials::Basic(id, secret) = credentials(&headers) {
        params.insert("client_id".to_owned(), id);
        params.insert("client_secret".to_owned(), secret);
    }
    let answer = exchange(&mut inner.state(), &params);
    let pairs: Vec<(&str, Value)> = match answer {
        Ok(token) => token_fields(token),
        Err(TokenRefusal(error, description, uri)) => [("error", error), ("error_description", description), ("error_uri", uri)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, json!(value)))
            .collect(),
    };
    // Errors too come with status 200.
    if header(ACCEPT).contains("json") {
        let object: serde_json::Map<String, Value> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        return axum::Json(Value::Object(object)).into_response();
    }
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs.into_iter().map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned))));
    ([(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")], form.finish()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_inside_the_callback() {
        let callback: url::Url = "http://example.com/path".parse().unwrap();
        for good in ["http://example.com/path", "http://example.com/path/subdir/other", "http://example.com:80/path"] {
            assert!(redirect_allowed(&callback, good), "{good}");
        }
        for bad in [
            "http://example.com/bar",
            "http://example.com/",
            "http://example.com:8080/path",
            "http://oauth.example.com:8080/path",
            "http://example.org/path",
            "https://example.com/path",
            "http://example.com/pathology",
            "http://example.com/path/../other",
            "http://user@example.com/path",
            "http://example.com/path#fragment",
            "javascript:alert(1)",
        ] {
            assert!(!redirect_allowed(&callback, bad), "{bad}");
        }
        let loopback: url::Url = "http://127.0.0.1/path".parse().unwrap();
        assert!(redirect_allowed(&loopback, "http://127.0.0.1:1234/path"));
    }

    #[test]
    fn scopes_are_normalised() {
        let list = |text: &str| normalise_scopes(text.split(' '));
        assert_eq!(list("user gist user:email"), ["gist", "user"]);
        assert_eq!(list("repo read:org admin:repo_hook made:up"), ["admin:repo_hook", "read:org", "repo"]);
    }

    #[test]
    fn only_paths_of_this_site_are_returned_to() {
        assert_eq!(local_path("/login/oauth/authorize?x=1"), "/login/oauth/authorize?x=1");
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", ""] {
            assert_eq!(local_path(bad), "/", "{bad}");
        }
    }
}
