//! `/auth/token`: credentials in, a token for minutes out (Docker registry token specification; GET with Basic, POST as OAuth 2).
//!
//! Invariants: what is granted is the intersection of what was asked for and what is allowed; less than asked is no error.
//! Wrong credentials are 401 and never fall back to anonymous; no credentials, or empty ones, are anonymous.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use slipway_app::{RegistryAction, RegistryCaller};
use slipway_oci::ErrorCode;
use url::form_urlencoded;

use crate::failure::Failure;
use crate::{Registry, json as json_answer};

/// Most scopes in one request; docker asks for two.
const SCOPES: usize = 50;
/// Longest form.
const FORM: usize = 64 << 10;

/// Name and password as they were presented.
struct Credentials {
    username: String,
    password: SecretString,
}

pub(crate) async fn by_get(State(registry): State<Registry>, request: Request) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let scopes = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned()).collect();
    let answer = match basic(request.headers()) {
        Ok(credentials) => registry.token(credentials, scopes, &peer(&request)).await,
        Err(failure) => Err(failure),
    };
    answer.unwrap_or_else(Failure::into_response)
}

pub(crate) async fn by_post(State(registry): State<Registry>, request: Request) -> Response<Body> {
    let peer = peer(&request);
    let Ok(form) = to_bytes(request.into_body(), FORM).await else {
        return Failure::new(ErrorCode::Unsupported, "the form could not be read").status(StatusCode::BAD_REQUEST).into_response();
    };
    let field = |name| form_urlencoded::parse(&form).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    // Refresh tokens are never given out, so nobody can come with one. The client then asks by GET.
    if field("grant_type").as_deref() != Some("password") {
        return Failure::new(ErrorCode::Unsupported, "grant_type is not `password`").status(StatusCode::BAD_REQUEST).into_response();
    }
    let credentials =
        Credentials { username: field("username").unwrap_or_default(), password: field("password").unwrap_or_default().into() };
    let scopes = field("scope").unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    registry.token(Some(credentials), scopes, &peer).await.unwrap_or_else(Failure::into_response)
}

impl Registry {
    async fn token(&self, credentials: Option<Credentials>, scopes: Vec<String>, peer: &str) -> Result<Response<Body>, Failure> {
        if scopes.len() > SCOPES {
            let text = format!("{} scopes in one request, at most {SCOPES} are taken", scopes.len());
            return Err(Failure::new(ErrorCode::Denied, text).status(StatusCode::BAD_REQUEST));
        }
        let caller = match credentials {
            Some(given) if !given.username.is_empty() || !given.password.expose_secret().is_empty() => {
                self.app.registry_caller(&given.username, &given.password, peer).await?.ok_or_else(wrong_credentials)?
            }
            _ => RegistryCaller::anonymous(),
        };
        let mut grants = Vec::new();
        for scope in &scopes {
            if let Some((name, actions)) = repository_scope(scope) {
                grants.extend(self.app.registry_grant(&caller, name, &actions).await?);
            }
        }
        let token = self.app.issue_registry_token(&caller, grants)?;
        let text = token.token.expose_secret();
        let mut response = json_answer(&json!({
            "token": text,
            "access_token": text,
            "expires_in": token.life.as_secs(),
            "issued_at": token.issued_at.to_string(),
        }));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

fn wrong_credentials() -> Failure {
    metrics::counter!("slipway_registry_refused_logins_total").increment(1);
    Failure::new(ErrorCode::Unauthorized, "name and access token do not fit together, or the token has ended")
        .header(header::WWW_AUTHENTICATE, "Basic realm=\"slipway\", charset=\"UTF-8\"")
}

/// `repository:<name>:<actions>`; the name may hold one colon (`host:port/...`). Other types and classes grant nothing.
fn repository_scope(scope: &str) -> Option<(&str, Vec<RegistryAction>)> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let mut found = Vec::new();
    for action in actions.split(',') {
        let new: &[RegistryAction] = match action.trim() {
            "pull" => &[RegistryAction::Pull],
            "push" => &[RegistryAction::Push],
            "delete" => &[RegistryAction::Delete],
            "*" => &[RegistryAction::Pull, RegistryAction::Push, RegistryAction::Delete],
            _ => &[],
        };
        found.extend(new.iter().copied().filter(|action| !found.contains(action)).collect::<Vec<_>>());
    }
    Some((name, found))
}

/// Credentials of a Basic header; none without a header. A header that cannot be read is wrong credentials, not no credentials.
fn basic(headers: &HeaderMap) -> Result<Option<Credentials>, Failure> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let read = || {
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Credentials { username: username.to_owned(), password: password.to_owned().into() })
    };
    read().map(Some).ok_or_else(wrong_credentials)
}

/// Where a login comes from, for the list of tokens and the count of failures.
fn peer(request: &Request) -> String {
    let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() else { return "registry".to_owned() };
    let forwarded = request.headers().get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    slipway_app::client_address(address.ip(), forwarded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_comes_from_whom_the_local_proxy_names() {
        let from = |peer: &str| {
            let peer: SocketAddr = peer.parse().unwrap();
            let request = axum::http::Request::builder()
                .header("x-forwarded-for", "192.0.2.66")
                .header("x-forwarded-for", "6.6.6.6, 203.0.113.9")
                .extension(ConnectInfo(peer));
            super::peer(&request.body(Body::empty()).unwrap())
        };
        assert_eq!(from("127.0.0.1:5"), "203.0.113.9");
        assert_eq!(from("198.51.100.1:5"), "198.51.100.1");
        assert_eq!(super::peer(&Request::new(Body::empty())), "registry");
    }

    #[test]
    fn scopes() {
        use RegistryAction::{Delete, Pull, Push};
        for (scope, wanted) in [
            ("repository:a/b:pull", Some(("a/b", vec![Pull]))),
            ("repository:a/b:push,pull,push", Some(("a/b", vec![Push, Pull]))),
            ("repository:a/b:*", Some(("a/b", vec![Pull, Push, Delete]))),
            ("repository:host:5000/a:pull", Some(("host:5000/a", vec![Pull]))),
            ("repository:a/b:fly", Some(("a/b", vec![]))),
            ("repository:a/b:", Some(("a/b", vec![]))),
            ("repository:a/b", None),
            ("repository(plugin):a/b:pull", None),
            ("registry:catalog:*", None),
            ("", None),
        ] {
            assert_eq!(repository_scope(scope), wanted, "{scope}");
        }
    }
}
