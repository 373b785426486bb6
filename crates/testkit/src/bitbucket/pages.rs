//! The pages that a person sees: sign-in, consent, app authorizations. And the pictures that the API links to.
//! Invariant: everything that is not a constant is escaped; forms that change something carry the session's token.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;

use super::Inner;
use super::oauth::{self, Params};
use crate::provider::escape;

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/account/settings/app-authorizations/", get(authorizations).post(revoke))
        .route("/avatars/{person}", get(avatar))
        .route("/ravatar/{repository}", get(avatar))
        .route("/workspaces/{workspace}/avatar/", get(avatar))
}

fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{} · Bitbucket, the fake</title></head><body>{body}</body></html>",
        escape(title)
    ))
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
}

pub(super) fn message(title: &str, text: &str) -> Html<String> {
    page(title, &format!("<h1>{}</h1><p>{}</p>", escape(title), escape(text)))
}

pub(super) fn not_found() -> Response {
    (StatusCode::NOT_FOUND, message("Resource not found", "The resource you are looking for does not exist.")).into_response()
}

pub(super) fn sign_in(next: &str, error: Option<&str>) -> Html<String> {
    let error = error.map_or_else(String::new, |error| format!("<p role=\"alert\">{}</p>", escape(error)));
    let body = format!(
        "<h1>Log in</h1>{error}<form method=\"post\" action=\"/account/signin/\">{}\
         <label>Username <input type=\"text\" name=\"username\" autocomplete=\"username\" required></label>\
         <label>Password <input type=\"password\" name=\"password\" autocomplete=\"current-password\" required></label>\
         <button type=\"submit\">Log in</button></form>",
        hidden("next", next)
    );
    page("Log in", &body)
}

/// What the consent page shows.
pub(super) struct Consent<'a> {
    pub(super) app: &'a str,
    pub(super) nickname: &'a str,
    pub(super) scopes: &'a [String],
    pub(super) csrf: &'a str,
}

fn scope_words(scope: &str) -> &str {
    match scope {
        "account" => "Read your account information",
        "repository" => "Read your repositories",
        "repository:admin" => "Administer your repositories",
        "pullrequest" => "Read your repositories and their pull requests",
        "webhook" => "Read and modify your repositories' webhooks",
        other => other,
    }
}

pub(super) fn authorize(consent: &Consent<'_>, params: &Params) -> Html<String> {
    let mut fields = hidden("csrfmiddlewaretoken", consent.csrf);
    for name in ["client_id", "response_type", "redirect_uri", "state"] {
        if let Some(value) = params.get(name) {
            fields.push_str(&hidden(name, value));
        }
    }
    let mut list = String::new();
    for scope in consent.scopes {
        write!(list, "<li>{} <code>{}</code></li>", escape(scope_words(scope)), escape(scope)).ok();
    }
    let body = format!(
        "<h1>Confirm access to your account</h1><p><b>{app}</b> is requesting access to the following, as <b>{who}</b>:</p><ul>{list}</ul>\
         <form method=\"post\" action=\"/site/oauth2/authorize\">{fields}\
         <button name=\"action\" value=\"grant\" type=\"submit\">Grant access</button>\
         <button name=\"action\" value=\"cancel\" type=\"submit\">Cancel</button></form>",
        app = escape(consent.app),
        who = escape(consent.nickname),
    );
    page("Confirm access", &body)
}

/// Personal settings, "App authorizations": the only place where a person can take an app's access away.
async fn authorizations(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap) -> Response {
    let state = inner.state();
    let Some(session) = oauth::session(&state, &headers) else {
        return oauth::redirect("/account/signin/?next=%2Faccount%2Fsettings%2Fapp-authorizations%2F");
    };
    let mut rows = String::new();
    for (_, key) in state.grants.iter().filter(|(person, _)| *person == session.person) {
        let Some(row) = state.consumers.get(key) else { continue };
        write!(
            rows,
            "<form method=\"post\">{}{}<b>{}</b> <code>{}</code> <button type=\"submit\">Revoke</button></form>",
            hidden("csrfmiddlewaretoken", &session.csrf),
            hidden("client_id", key),
            escape(&row.name),
            escape(&row.scopes.join(" ")),
        )
        .ok();
    }
    page("App authorizations", &format!("<h1>App authorizations</h1>{rows}")).into_response()
}

async fn revoke(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let params = oauth::form(&body);
    let mut state = inner.state();
    let Some(session) = oauth::session(&state, &headers) else {
        return oauth::redirect("/account/signin/");
    };
    if session.csrf != oauth::text(&params, "csrfmiddlewaretoken") {
        return (StatusCode::FORBIDDEN, message("Forbidden", "CSRF verification failed.")).into_response();
    }
    state.revoke_grant(&session.person, oauth::text(&params, "client_id"));
    oauth::redirect("/account/settings/app-authorizations/")
}

async fn avatar() -> Response {
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 40 40\"><rect width=\"40\" height=\"40\" rx=\"8\" fill=\"#0747a6\"/>\
               <circle cx=\"20\" cy=\"16\" r=\"7\" fill=\"#fff\"/><path d=\"M7 38a13 13 0 0 1 26 0z\" fill=\"#fff\"/></svg>";
    ([("content-type", "image/svg+xml")], svg).into_response()
}
