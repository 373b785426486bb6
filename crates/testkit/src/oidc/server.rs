//! The provider's addresses: discovery, keys, the sign-in page, the token endpoint.
//! Invariant: a code works once, for a minute, for the client, address and verifier that it was made for.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State as Extract};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::keys::{self, random_word};
use super::state::{App, Code, State};
use super::{ClientAuthentication, Inner, Lie};

const CODE_SECONDS: i64 = 60;
const TOKEN_SECONDS: i64 = 300;

type Params = HashMap<String, String>;

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(sign_in_page).post(decide))
        .route("/token", post(token))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&inner), weather))
        .with_state(inner)
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

async fn weather(Extract(inner): Extract<Arc<Inner>>, request: Request, next: Next) -> Response {
    let outage = {
        let mut state = inner.state();
        state.requests.push(request.uri().path().to_owned());
        state.outage.and_then(|status| StatusCode::from_u16(status).ok())
    };
    match outage {
        Some(status) => (status, "down for maintenance").into_response(),
        None => next.run(request).await,
    }
}

async fn discovery(Extract(inner): Extract<Arc<Inner>>) -> Json<Value> {
    let (issuer, state) = (&inner.issuer, inner.state());
    let says = if state.lie == Some(Lie::OtherIssuerInDiscovery) { "http://127.0.0.1:9" } else { issuer };
    let way = match state.authentication {
        ClientAuthentication::Basic => "client_secret_basic",
        ClientAuthentication::Post => "client_secret_post",
    };
    Json(json!({
        "issuer": says,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // A provider that means harm says that it may sign with nothing, or with what others know too.
        "id_token_signing_alg_values_supported": [state.signing.word(), "RS256", "none", "HS256"],
        "token_endpoint_auth_methods_supported": [way],
        "scopes_supported": ["openid", "profile", "email"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn jwks(Extract(inner): Extract<Arc<Inner>>) -> Json<Value> {
    Json(json!({"keys": [inner.state().signing.public()]}))
}

fn text<'a>(params: &'a Params, name: &str) -> &'a str {
    params.get(name).map_or("", String::as_str)
}

/// What is wrong with a request for authorization. An unknown client or address is told to the person only, never redirected.
fn check<'a>(state: &'a State, params: &Params) -> Result<&'a App, String> {
    let app = state.apps.iter().find(|app| app.client.client_id == text(params, "client_id"));
    let app = app.ok_or_else(|| format!("unknown client `{}`", text(params, "client_id")))?;
    if app.redirect_uri != text(params, "redirect_uri") {
        return Err(format!("`{}` is not the client's address `{}`", text(params, "redirect_uri"), app.redirect_uri));
    }
    if text(params, "response_type") != "code" {
        return Err("only the flow with a code is offered".to_owned());
    }
    if !text(params, "scope").split(' ').any(|scope| scope == "openid") {
        return Err("the scope `openid` is missing".to_owned());
    }
    if text(params, "code_challenge_method") != "S256" || text(params, "code_challenge").len() != 43 {
        return Err("a challenge by S256 is demanded (RFC 7636)".to_owned());
    }
    if text(params, "state").is_empty() {
        return Err("the state is missing".to_owned());
    }
    Ok(app)
}

async fn sign_in_page(Extract(inner): Extract<Arc<Inner>>, Query(params): Query<Params>) -> Response {
    let state = inner.state();
    let app = match check(&state, &params) {
        Ok(app) => app,
        Err(problem) => return (StatusCode::BAD_REQUEST, problem).into_response(),
    };
    let mut buttons = String::new();
    for person in &state.people {
        write!(
            buttons,
            "<p><button name=\"subject\" value=\"{}\">Continue as {}</button></p>",
            escape(&person.subject),
            escape(&person.name)
        )
        .unwrap_or_else(|_| unreachable!("writing to a String cannot fail"));
    }
    // Without an action, the form goes to this page's own address with its query.
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sample sign-in</title></head><body><main>\
         <h1>Sample sign-in</h1><p>{} wants to know who you are.</p><form method=\"post\">{buttons}\
         <p><button name=\"subject\" value=\"\">Cancel</button></p></form></main></body></html>",
        escape(&app.client.client_id)
    ))
    .into_response()
}

async fn decide(Extract(inner): Extract<Arc<Inner>>, Query(params): Query<Params>, body: Bytes) -> Response {
    let form: Params = form_urlencoded::parse(&body).into_owned().collect();
    let mut state = inner.state();
    if let Err(problem) = check(&state, &params) {
        return (StatusCode::BAD_REQUEST, problem).into_response();
    }
    let subject = text(&form, "subject");
    let mut answer = form_urlencoded::Serializer::new(String::new());
    if state.people.iter().any(|person| person.subject == subject) {
        let code = Code {
            value: random_word(),
            client_id: text(&params, "client_id").to_owned(),
            redirect_uri: text(&params, "redirect_uri").to_owned(),
            subject: subject.to_owned(),
            nonce: params.get("nonce").cloned(),
            challenge: text(&params, "code_challenge").to_owned(),
            given_at: state.now(),
        };
        answer.append_pair("code", &code.value);
        state.codes.push(code);
    } else {
        answer.append_pair("error", "access_denied");
    }
    answer.append_pair("state", text(&params, "state"));
    let location = format!("{}?{}", text(&params, "redirect_uri"), answer.finish());
    match HeaderValue::from_str(&location) {
        Ok(location) => (StatusCode::FOUND, [(LOCATION, location)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn refuse(status: StatusCode, error: &str, description: &str) -> Response {
    (status, Json(json!({"error": error, "error_description": description}))).into_response()
}

/// Id and secret of the client, by the one way that is offered (RFC 6749 §2.3.1).
fn client_of(state: &State, headers: &HeaderMap, params: &Params) -> Option<(String, String)> {
    match state.authentication {
        ClientAuthentication::Post => {
            headers.get(AUTHORIZATION).is_none().then(|| (text(params, "client_id").to_owned(), text(params, "client_secret").to_owned()))
        }
        ClientAuthentication::Basic => {
            let pair = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
            let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            // Both were form-encoded before they were joined.
            let decode = |text: &str| form_urlencoded::parse(format!("x={text}").as_bytes()).next().map(|(_, value)| value.into_owned());
            Some((decode(id)?, decode(secret)?))
        }
    }
}

async fn token(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let params: Params = form_urlencoded::parse(&body).into_owned().collect();
    let mut state = inner.state();
    match state.lie {
        Some(Lie::Endless) => {
            let chunk = Bytes::from_static(&[b' '; 65_536]);
            let chunks = futures_util::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(chunk.clone()));
            return ([(CONTENT_TYPE, "application/json")], Body::from_stream(chunks)).into_response();
        }
        Some(Lie::Redirect) => return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/stolen")]).into_response(),
        _ => {}
    }
    let Some((client_id, client_secret)) = client_of(&state, &headers, &params) else {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "the client did not say who it is in the way that is offered");
    };
    if !state.apps.iter().any(|app| app.client.client_id == client_id && app.client.client_secret == client_secret) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "unknown client or wrong secret");
    }
    if text(&params, "grant_type") != "authorization_code" {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", "only codes are exchanged");
    }
    let Some(at) = state.codes.iter().position(|code| code.value == text(&params, "code")) else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_grant", "unknown or used code");
    };
    let code = state.codes.remove(at);
    let verifier = URL_SAFE_NO_PAD.encode(Sha256::digest(text(&params, "code_verifier").as_bytes()));
    let fits = code.client_id == client_id
        && code.redirect_uri == text(&params, "redirect_uri")
        && code.challenge == verifier
        && state.now() - code.given_at <= CODE_SECONDS;
    if !fits {
        return refuse(StatusCode::BAD_REQUEST, "invalid_grant", "the code is not for this client, address or verifier, or has expired");
    }
    let mut answer = json!({"access_token": random_word(), "token_type": "Bearer", "expires_in": TOKEN_SECONDS});
    match id_token(&inner.issuer, &mut state, &code, &client_secret) {
        Ok(Some(token)) => answer["id_token"] = json!(token),
        Ok(None) => {}
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error", &error.to_string()),
    }
    Json(answer).into_response()
}

fn id_token(issuer: &str, state: &mut State, code: &Code, client_secret: &str) -> anyhow::Result<Option<String>> {
    let now = state.now();
    let Some(person) = state.people.iter().find(|person| person.subject == code.subject) else { anyhow::bail!("the person has gone") };
    let mut claims = json!({
        "iss": issuer,
        "sub": person.subject,
        "aud": code.client_id,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "nonce": code.nonce,
        "name": person.name,
        "preferred_username": person.preferred_username,
        "email": person.email,
    });
    if let Some(verified) = state.email_verified {
        claims["email_verified"] = json!(verified);
    }
    match state.lie {
        Some(Lie::WrongNonce) => claims["nonce"] = json!(random_word()),
        Some(Lie::NoNonce) => {
            claims.as_object_mut().map(|claims| claims.remove("nonce"));
        }
        Some(Lie::WrongAudience) => claims["aud"] = json!("another-client"),
        Some(Lie::SecondAudience) => claims["aud"] = json!([code.client_id, "another-client"]),
        Some(Lie::OtherParty) => claims["azp"] = json!("another-client"),
        Some(Lie::Expired) => {
            claims["iat"] = json!(now - 3600 - TOKEN_SECONDS);
            claims["exp"] = json!(now - 3600);
        }
        Some(Lie::FromTheFuture) => {
            claims["iat"] = json!(now + 86_400);
            claims["exp"] = json!(now + 86_400 + TOKEN_SECONDS);
        }
        Some(Lie::OtherIssuer) => claims["iss"] = json!("https://accounts.example.com"),
        Some(Lie::NoSubject) => claims["sub"] = json!(""),
        Some(Lie::LongSubject) => claims["sub"] = json!("x".repeat(256)),
        _ => {}
    }
    state.given_out.push(claims.clone());
    Ok(Some(match state.lie {
        Some(Lie::NoIdToken) => return Ok(None),
        Some(Lie::Rubbish) => "rubbish".to_owned(),
        Some(Lie::WrongKey) => state.signing.impostor()?.sign(&claims),
        Some(Lie::NoSignature) => keys::sign_with_nothing(&claims),
        Some(Lie::SharedSecret) => keys::sign_with_secret(&claims, client_secret),
        _ => state.signing.sign(&claims),
    }))
}
