//! The pages that a person sees at the sample provider: sign-in, consent, repositories with their hooks.
//! Invariant: everything that is not a constant is escaped; forms that change something carry the session's token.
//! Deliberately elsewhere: granted apps, SAML and installing (`settings`).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;

use super::access::Caller;
use super::state::{Repo, State, rfc3339};
use super::types::{Permission, Visibility};
use super::{Inner, git, oauth};
use crate::provider::escape;

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#f6f8fa;--card:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--go:#1f883d;--link:#0969da}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--card:#151b23;--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;--go:#238636;--link:#4493f8}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header{display:flex;gap:16px;align-items:center;padding:12px 20px;background:#24292f;color:#fff}header a{color:#fff;font-weight:600}
header span{margin-left:auto}main{max-width:920px;margin:28px auto;padding:0 16px}main.narrow{max-width:460px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:20px;margin-bottom:16px}
h1{font-size:22px;margin:0 0 12px}h2{font-size:16px;margin:0 0 8px}p{margin:0 0 12px}.soft{color:var(--soft)}a{color:var(--link);text-decoration:none}
label{display:block;font-weight:600;margin:12px 0 4px}input[type=text],input[type=password]{width:100%;padding:8px;border:1px solid var(--line);border-radius:6px;background:var(--bg);color:var(--ink);font:inherit}
button{padding:8px 16px;border-radius:6px;border:1px solid var(--line);background:var(--card);color:var(--ink);font:inherit;font-weight:600;cursor:pointer}
button.go{background:var(--go);border-color:var(--go);color:#fff}.row{display:flex;gap:8px;margin-top:16px}
table{width:100%;border-collapse:collapse}td,th{text-align:left;padding:6px 8px;border-top:1px solid var(--line);vertical-align:top}
code{font:13px ui-monospace,monospace}ul{margin:0 0 12px;padding-left:20px}.bad{color:#d1242f}.good{color:var(--go)}";

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new().route("/", get(home)).route("/avatars/u/{id}", get(avatar))
}

pub(super) fn page(title: &str, width: &str, who: Option<&str>, body: &str) -> Html<String> {
    let who = who.map_or_else(|| "<a href=\"/login\">Sign in</a>".to_owned(), |login| format!("signed in as <b>{}</b>", escape(login)));
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} · Sample provider</title><style>{STYLE}</style></head><body>\
         <header><a href=\"/\">◐ Sample provider</a><span>{who}</span></header><main class=\"{width}\">{body}</main></body></html>",
        title = escape(title),
    ))
}

pub(super) fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
}

pub(super) fn message(title: &str, text: &str) -> Html<String> {
    page(title, "narrow", None, &format!("<div class=\"card\"><h1>{}</h1><p>{}</p></div>", escape(title), escape(text)))
}

pub(super) fn sign_in(return_to: &str, error: Option<&str>) -> Html<String> {
    let error = error.map_or_else(String::new, |error| format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(error)));
    let body = format!(
        "<div class=\"card\"><h1>Sign in</h1>{error}<form method=\"post\" action=\"/session\">{}\
         <label for=\"login\">Username</label><input id=\"login\" type=\"text\" name=\"login\" autocomplete=\"username\" autofocus required>\
         <label for=\"password\">Password</label><input id=\"password\" type=\"password\" name=\"password\" autocomplete=\"current-password\" required>\
         <div class=\"row\"><button class=\"go\" type=\"submit\">Sign in</button></div></form></div>",
        hidden("return_to", return_to)
    );
    page("Sign in", "narrow", None, &body)
}

/// What the consent page shows.
pub(super) struct Consent<'a> {
    pub(super) app: &'a str,
    pub(super) login: &'a str,
    pub(super) scopes: &'a [String],
    pub(super) organizations: &'a [(String, bool)],
    pub(super) csrf: &'a str,
    pub(super) params: &'a HashMap<String, String>,
    pub(super) redirect_uri: &'a str,
    /// This page's own address, for those who want to come back to it as somebody else.
    pub(super) address: &'a str,
}

fn scope_words(scope: &str) -> &str {
    match scope {
        "repo" => "Repositories: public and private",
        "public_repo" => "Repositories: public",
        "read:org" => "Organizations and teams: read",
        "admin:repo_hook" | "write:repo_hook" => "Repository webhooks",
        "read:user" | "user" => "Your profile",
        "user:email" => "Your e-mail addresses",
        "repo:status" => "Commit statuses",
        other => other,
    }
}

pub(super) fn authorize(consent: &Consent<'_>) -> Html<String> {
    let mut fields = hidden("authenticity_token", consent.csrf);
    let mut names: Vec<&String> = consent.params.keys().filter(|name| *name != "authenticity_token").collect();
    names.sort_unstable();
    for name in names {
        fields.push_str(&hidden(name, &consent.params[name]));
    }
    let mut list = String::new();
    for scope in consent.scopes {
        write!(list, "<li>{} <code class=\"soft\">{}</code></li>", escape(scope_words(scope)), escape(scope)).ok();
    }
    if list.is_empty() {
        list.push_str("<li>Public data only</li>");
    }
    let mut organizations = String::new();
    for (name, granted) in consent.organizations {
        let (class, word) = if *granted { ("good", "✓ granted") } else { ("bad", "✕ restricted: an owner must approve") };
        write!(organizations, "<tr><td>{}</td><td class=\"{class}\">{word}</td></tr>", escape(name)).ok();
    }
    if !organizations.is_empty() {
        organizations = format!("<h2>Organization access</h2><table>{organizations}</table>");
    }
    let body = format!(
        "<div class=\"card\"><h1>Authorize {app}</h1><p><b>{app}</b> wants to access the account <b>{login}</b>.</p>\
         <ul>{list}</ul>{organizations}<form method=\"post\" action=\"/login/oauth/authorize\">{fields}\
         <div class=\"row\"><button name=\"authorize\" value=\"0\" type=\"submit\">Cancel</button>\
         <button class=\"go\" name=\"authorize\" value=\"1\" type=\"submit\" id=\"authorize\">Authorize {app}</button></div></form>\
         <p class=\"soft\">Authorizing sends you to <code>{back}</code></p></div>\
         <div class=\"card\"><form method=\"post\" action=\"/logout\">{switch}\
         <p>Not {login}? <button type=\"submit\" id=\"switch\">Use another account</button></p></form></div>",
        switch = hidden("authenticity_token", consent.csrf) + &hidden("return_to", consent.address),
        app = escape(consent.app),
        login = escape(consent.login),
        back = escape(consent.redirect_uri),
    );
    page("Authorize", "narrow", Some(consent.login), &body)
}

fn visitor(state: &State, headers: &HeaderMap) -> (Option<String>, Caller) {
    match oauth::session(state, headers) {
        Some((_, session)) => (Some(state.login(session.user).to_owned()), Caller::person(session.user)),
        None => (None, Caller::Anonymous),
    }
}

fn sees(state: &State, repo: &Repo, caller: &Caller) -> bool {
    state.check(repo, caller, super::access::Need::Read).is_ok()
}

async fn home(Extract(inner): Extract<Arc<Inner>>, headers: HeaderMap) -> Response {
    let state = inner.state();
    let (login, caller) = visitor(&state, &headers);
    let mut rows = String::new();
    for repo in state.repos.values().filter(|repo| sees(&state, repo, &caller)) {
        let name = escape(&state.full_name(repo));
        let kind = if repo.visibility == Visibility::Private { "private" } else { "public" };
        write!(
            rows,
            "<tr><td><a href=\"/{name}\">{name}</a></td><td class=\"soft\">{kind}</td><td class=\"soft\">pushed {}</td></tr>",
            rfc3339(repo.pushed_ms)
        )
        .ok();
    }
    let mut apps = String::new();
    if let Some(user) = caller.user() {
        for (_, client_id) in state.grants.keys().filter(|(owner, _)| *owner == user) {
            let name = state.apps.get(client_id).map_or(client_id.as_str(), |app| app.name.as_str());
            write!(
                apps,
                "<tr><td>{}</td><td><a href=\"/settings/connections/applications/{}\">manage</a></td></tr>",
                escape(name),
                escape(client_id)
            )
            .ok();
        }
    }
    let body = format!(
        "<div class=\"card\"><h1>Repositories</h1><table>{rows}</table></div>\
         <div class=\"card\"><h2>Authorized OAuth apps</h2><table>{apps}</table></div>"
    );
    page("Repositories", "", login.as_deref(), &body).into_response()
}

async fn avatar(Path(id): Path<u64>) -> Response {
    let hue = id.wrapping_mul(47) % 360;
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 40 40\"><rect width=\"40\" height=\"40\" rx=\"8\" fill=\"hsl({hue} 60% 45%)\"/>\
         <circle cx=\"20\" cy=\"16\" r=\"7\" fill=\"#fff\"/><path d=\"M7 38a13 13 0 0 1 26 0z\" fill=\"#fff\"/></svg>"
    );
    ([("content-type", "image/svg+xml")], svg).into_response()
}

/// `/{owner}/{repo}`: branches, last commits, hooks with their deliveries. Hooks are for those who may manage them.
pub(super) async fn serve(inner: Arc<Inner>, request: Request) -> Response {
    let missing = || (StatusCode::NOT_FOUND, message("404", "There is nothing here.")).into_response();
    let segments: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let [owner, name] = segments.as_slice() else { return missing() };
    let found = {
        let state = inner.state();
        let (login, caller) = visitor(&state, request.headers());
        state.repo(owner, name).filter(|repo| sees(&state, repo, &caller)).map(|repo| {
            let admin = caller.user().is_some_and(|user| state.permission(repo, user) == Permission::Admin);
            let hooks = if admin { hooks_card(repo) } else { String::new() };
            (login, state.full_name(repo), repo.git.readable().to_owned(), hooks)
        })
    };
    let Some((login, full_name, folder, hooks)) = found else { return missing() };
    let log = git::log(&folder, &["--branches"], 20).await.unwrap_or_default();
    let mut commits = String::new();
    for commit in log.iter().rev() {
        let subject = commit.message.lines().next().unwrap_or_default();
        write!(
            commits,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"soft\">{}</td></tr>",
            &commit.sha[..7],
            escape(subject),
            escape(&commit.author.name)
        )
        .ok();
    }
    let clone = escape(&format!("{}/{full_name}.git", inner.urls().web));
    let body = format!(
        "<div class=\"card\"><h1>{}</h1><p><code>git clone {clone}</code></p></div>\
         <div class=\"card\"><h2>Commits</h2><table>{commits}</table></div>{hooks}",
        escape(&full_name)
    );
    page(&full_name, "", login.as_deref(), &body).into_response()
}

fn hooks_card(repo: &Repo) -> String {
    let mut rows = String::new();
    for row in &repo.hooks {
        write!(
            rows,
            "<tr><th colspan=\"4\"><code>{}</code> <span class=\"soft\">{}</span></th></tr>",
            escape(&row.public.url),
            escape(&row.public.events.join(", "))
        )
        .ok();
        for delivery in row.deliveries.iter().rev().take(20) {
            let class = if (200..300).contains(&delivery.status_code) { "good" } else { "bad" };
            write!(
                rows,
                "<tr><td class=\"{class}\">{} {}</td><td>{}</td><td><code>{}</code></td><td class=\"soft\">{}</td></tr>",
                delivery.status_code,
                escape(&delivery.status),
                escape(&delivery.event),
                escape(&delivery.guid),
                rfc3339(delivery.delivered_ms)
            )
            .ok();
        }
    }
    format!("<div class=\"card\"><h2>Webhooks</h2><table>{rows}</table></div>")
}
