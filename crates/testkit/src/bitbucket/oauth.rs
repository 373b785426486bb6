//! OAuth: the authorization page, sign-in, and the token endpoint with rotating refresh tokens.
//! Source: Bitbucket's description, "OAuth 2.0"; scopes and the callback stand on the consumer and cannot be asked for.
//! Invariant: a code works once; a refresh token works until ten minutes after its first use, or three months without any.
//! Deliberately absent, as at Bitbucket: PKCE (parameters are ignored), revocation, introspection.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State as Extract};
use axum::http::header::{COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::state::{ACCESS_LIFETIME_S, Session, State};
use super::{Inner, pages};
use crate::provider::credentials::{Credentials, credentials};
use crate::provider::random_hex;

const COOKIE_NAME: &str = "cloud.session";

pub(super) type Params = HashMap<String, String>;

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/account/signin/", get(sign_in_page).post(sign_in))
        .route("/site/oauth2/authorize", get(authorize).post(decide))
        .route("/site/oauth2/access_token", post(access_token))
}

/// The browser session of a request.
pub(super) fn session(state: &State, headers: &HeaderMap) -> Option<Session> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .find_map(|(_, value)| state.sessions.get(value).cloned())
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

pub(super) fn text<'a>(params: &'a Params, name: &str) -> &'a str {
    params.get(name).map_or("", String::as_str)
}

/// Only a path of this site: an address from outside must not lead people away after they signed in.
fn local_path(path: &str) -> &str {
    if path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') { path } else { "/" }
}

async fn sign_in_page(Query(params): Query<Params>) -> Response {
    pages::sign_in(local_path(text(&params, "next")), None).into_response()
}

async fn sign_in(Extract(inner): Extract<Arc<Inner>>, body: Bytes) -> Response {
    let params = form(&body);
    let back = local_path(text(&params, "next")).to_owned();
    let id = {
        let mut state = inner.state();
        let found = state.person_by_nickname(text(&params, "username"));
        let person = found.filter(|person| person.password == text(&params, "password") && !person.suspended).map(|one| one.uuid.clone());
        person.map(|person| {
            let id = random_hex(24);
            state.sessions.insert(id.clone(), Session { person, csrf: random_hex(16) });
            id
        })
    };
    let Some(id) = id else {
        return (StatusCode::BAD_REQUEST, pages::sign_in(&back, Some("Incorrect username or password."))).into_response();
    };
    let mut response = redirect(&back);
    if let Ok(value) = HeaderValue::from_str(&format!("{COOKIE_NAME}={id}; Path=/; HttpOnly; SameSite=Lax")) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

/// A checked authorization request.
struct Asked {
    consumer: String,
    redirect_uri: String,
    state: String,
}

/// Checks what the app asks for. An error is shown to the person: no address of the request is trusted before that.
fn check(state: &State, params: &Params) -> Result<Asked, Box<Response>> {
    let refuse = |why: &str| Err(Box::new((StatusCode::BAD_REQUEST, pages::message("Invalid request", why)).into_response()));
    let Some(row) = state.consumers.get(text(params, "client_id")) else {
        return refuse("Invalid client_id");
    };
    if text(params, "response_type") != "code" {
        return refuse("Unsupported response_type");
    }
    let redirect_uri = match text(params, "redirect_uri") {
        "" => row.callback.to_string(),
        asked if begins_with(&row.callback, asked) => asked.to_owned(),
        _ => return refuse("Invalid redirect_uri: it must begin with the consumer's callback URL"),
    };
    Ok(Asked { consumer: row.public.key.clone(), redirect_uri, state: text(params, "state").to_owned() })
}

/// Whether an address has the callback's origin and a path that begins with the callback's.
fn begins_with(callback: &url::Url, asked: &str) -> bool {
    let Ok(asked) = asked.parse::<url::Url>() else { return false };
    asked.origin() == callback.origin()
        && asked.path().starts_with(callback.path())
        && asked.username().is_empty()
        && asked.password().is_none()
        && asked.fragment().is_none()
}

fn with_query(address: &str, pairs: &[(&str, &str)]) -> String {
    match address.parse::<url::Url>() {
        Ok(mut url) => {
            url.query_pairs_mut().extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
            url.to_string()
        }
        Err(_) => address.to_owned(),
    }
}

fn hand_out_code(state: &mut State, person: &str, asked: &Asked) -> Response {
    state.grants.insert((person.to_owned(), asked.consumer.clone()));
    let code = state.issue_code(&asked.consumer, person);
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
    let Some(session) = session(&state, &headers) else {
        let back = uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", back).finish();
        return redirect(&format!("/account/signin/?{query}"));
    };
    // A person who has let the consumer in before is not asked again.
    if state.grants.contains(&(session.person.clone(), asked.consumer.clone())) {
        return hand_out_code(&mut state, &session.person, &asked);
    }
    let Some(row) = state.consumers.get(&asked.consumer) else { return StatusCode::NOT_FOUND.into_response() };
    let consent = pages::Consent { app: &row.name, nickname: state.nickname(&session.person), scopes: &row.scopes, csrf: &session.csrf };
    pages::authorize(&consent, &params).into_response()
}

/// The person's answer: `action=grant` or `action=cancel`. The request is checked anew; the form is not trusted.
async fn decide(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let params = form(&body);
    let mut state = inner.state();
    let Some(session) = session(&state, &headers) else {
        return redirect("/account/signin/");
    };
    if session.csrf != text(&params, "csrfmiddlewaretoken") {
        return (StatusCode::FORBIDDEN, pages::message("Forbidden", "CSRF verification failed.")).into_response();
    }
    let asked = match check(&state, &params) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    if text(&params, "action") != "grant" {
        let pairs =
            [("error", "access_denied"), ("error_description", "The resource owner denied the request"), ("state", asked.state.as_str())];
        return redirect(&with_query(&asked.redirect_uri, &pairs));
    }
    hand_out_code(&mut state, &session.person, &asked)
}

/// Why no token is given.
struct Refusal(&'static str, &'static str);

/// Person and key behind a grant.
fn granted(state: &mut State, headers: &HeaderMap, params: &Params) -> Result<(String, String), Refusal> {
    let Credentials::Basic(key, secret) = credentials(headers) else {
        return Err(Refusal("unauthorized_client", "Requests must be authenticated using OAuth client credentials"));
    };
    if state.consumers.get(&key).is_none_or(|row| row.public.secret != secret) {
        return Err(Refusal("unauthorized_client", "Invalid OAuth client credentials"));
    }
    let now = state.now_ms();
    let person = match text(params, "grant_type") {
        "authorization_code" => {
            // A code is used up by the first attempt of its consumer, whatever comes of it.
            let ours = state.codes.get(text(params, "code")).is_some_and(|code| code.consumer == key);
            let code = if ours { state.codes.remove(text(params, "code")) } else { None };
            let code = code.filter(|code| now < code.expires_ms);
            code.ok_or(Refusal("invalid_grant", "The specified code is not valid."))?.person
        }
        "refresh_token" => {
            let person = state.use_refresh(text(params, "refresh_token"), &key);
            person.ok_or(Refusal("invalid_grant", "Invalid refresh_token"))?
        }
        _ => return Err(Refusal("unsupported_grant_type", "Invalid grant_type")),
    };
    Ok((person, key))
}

async fn access_token(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let params = form(&body);
    let mut state = inner.state();
    match granted(&mut state, &headers, &params) {
        Ok((person, key)) => {
            let (access, refresh, scopes) = state.issue_tokens(&person, &key);
            axum::Json(json!({
                "access_token": access, "scopes": scopes.join(" "), "token_type": "bearer",
                "expires_in": ACCESS_LIFETIME_S, "refresh_token": refresh,
            }))
            .into_response()
        }
        Err(Refusal(error, description)) => {
            (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": error, "error_description": description }))).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_begin_with_the_callback() {
        let callback: url::Url = "http://example.com/callback".parse().unwrap();
        for good in ["http://example.com/callback", "http://example.com/callback/1?x=y", "http://example.com:80/callback"] {
            assert!(begins_with(&callback, good), "{good}");
        }
        for bad in [
            "http://example.com/",
            "https://example.com/callback",
            "http://example.com.evil.example/callback",
            "http://example.com@evil.example/callback",
            "http://user@example.com/callback",
            "http://example.com/callback/../other",
            "javascript:alert(1)",
        ] {
            assert!(!begins_with(&callback, bad), "{bad}");
        }
        assert_eq!(local_path("//evil.example"), "/");
    }
}
