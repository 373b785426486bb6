//! Pages where a person decides about apps afterwards: what was granted, asking an organization's owners, authorizing a
//! token for SAML, installing a GitHub App.
//! Invariant: as in `pages`: what is shown is escaped, and a form that changes something carries the session's token.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Extract};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::apps::Selection;
use super::pages::{hidden, message, page};
use super::state::{AccountKind, Session, State};
use super::types::{AppAccess, OrgRole};
use super::{Inner, oauth};
use crate::provider::escape;

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/settings/connections/applications/{client_id}", get(connection).post(disconnect))
        .route("/orgs/{organization}/policies/applications/{client_id}", post(request))
        .route("/orgs/{organization}/sso", get(sso))
        .route("/apps/{slug}/installations/new", get(installing).post(install))
}

fn refused() -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, message("422", "Your browser did something unexpected. Please try again.")).into_response()
}

fn to_sign_in(uri: &Uri) -> Response {
    let back = uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
    oauth::redirect(&oauth::with_local_query("/login", &[("return_to", back)]))
}

async fn connection(Extract(inner): Extract<Arc<Inner>>, Path(client_id): Path<String>, headers: HeaderMap) -> Response {
    let state = inner.state();
    let Some((_, session)) = oauth::session(&state, &headers) else {
        return oauth::redirect("/login");
    };
    let (Some(app), Some(scopes)) = (state.apps.get(&client_id), state.grants.get(&(session.user, client_id.clone()))) else {
        return (StatusCode::NOT_FOUND, message("404", "You have not authorized this app.")).into_response();
    };
    let csrf = hidden("authenticity_token", &session.csrf);
    let mut organizations = String::new();
    for (id, account) in &state.accounts {
        let Some(organization) = state.organization(*id).filter(|one| one.members.contains_key(&session.user)) else { continue };
        let (name, access) = (escape(&account.login), organization.app_access.get(&client_id));
        let (class, word) = match access {
            _ if !state.keeps_app_out(*id, &client_id) => ("good", "✓ granted"),
            Some(AppAccess::Denied) => ("bad", "✕ denied by an owner"),
            Some(AppAccess::Requested) => ("soft", "approval requested"),
            _ => ("bad", "✕ restricted"),
        };
        let ask = format!(
            "<form method=\"post\" action=\"/orgs/{name}/policies/applications/{}\">{csrf}<button type=\"submit\">Request</button></form>",
            escape(&client_id)
        );
        let ask = if word.ends_with("restricted") { ask } else { String::new() };
        write!(organizations, "<tr><td>{name}</td><td class=\"{class}\">{word}</td><td>{ask}</td></tr>").ok();
    }
    let body = format!(
        "<div class=\"card\"><h1>{}</h1><p>Scopes: <code>{}</code></p><form method=\"post\">{csrf}\
         <div class=\"row\"><button type=\"submit\">Revoke access</button></div></form></div>\
         <div class=\"card\"><h2>Organization access</h2><table>{organizations}</table></div>",
        escape(&app.name),
        escape(&scopes.join(", ")),
    );
    page(&app.name, "narrow", Some(state.login(session.user)), &body).into_response()
}

async fn disconnect(Extract(inner): Extract<Arc<Inner>>, Path(client_id): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let mut state = inner.state();
    let Some((_, session)) = oauth::session(&state, &headers) else {
        return oauth::redirect("/login");
    };
    if oauth::form(&body).get("authenticity_token") != Some(&session.csrf) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    state.revoke_grant(session.user, &client_id);
    drop(state);
    inner.tell_authorization_revoked(session.user, &client_id);
    oauth::redirect("/")
}

/// A member asks the owners to approve an app; they answer by a script.
async fn request(
    Extract(inner): Extract<Arc<Inner>>,
    Path((organization, client_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut state = inner.state();
    let Some((_, session)) = oauth::session(&state, &headers) else { return oauth::redirect("/login") };
    if oauth::form(&body).get("authenticity_token") != Some(&session.csrf) {
        return refused();
    }
    let id = state.account(&organization).map(|account| account.id);
    let found = id.and_then(|id| state.organization_mut(id)).filter(|one| one.members.contains_key(&session.user));
    let Some(found) = found else { return (StatusCode::NOT_FOUND, message("404", "There is nothing here.")).into_response() };
    found.app_access.entry(client_id.clone()).or_insert(AppAccess::Requested);
    oauth::redirect(&format!("/settings/connections/applications/{client_id}"))
}

/// Where `X-GitHub-SSO` leads: a signed-in person authorizes their token for the organization.
async fn sso(
    Extract(inner): Extract<Arc<Inner>>,
    Path(organization): Path<String>,
    Query(params): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut state = inner.state();
    let Some((_, session)) = oauth::session(&state, &headers) else { return to_sign_in(&uri) };
    let request = params.get("authorization_request").map_or("", String::as_str);
    if state.authorize_sso(request, session.user) {
        let text = format!("The token is authorized for {organization}.");
        return message("Single sign-on", &text).into_response();
    }
    (StatusCode::NOT_FOUND, message("404", "This authorization request has expired.")).into_response()
}

/// Accounts that a person may install an App on: their own and those that they own.
fn own_accounts(state: &State, user: u64) -> Vec<(u64, String)> {
    let owned = state.accounts.values().filter(|account| match &account.kind {
        AccountKind::User(_) => account.id == user,
        AccountKind::Organization(organization) => organization.members.get(&user) == Some(&OrgRole::Admin),
    });
    owned.map(|account| (account.id, account.login.clone())).collect()
}

fn app_of_slug(state: &State, slug: &str) -> Option<(String, String)> {
    let mut apps = state.apps.iter();
    apps.find_map(|(id, app)| app.github_app.as_ref().filter(|side| side.slug == slug).map(|_| (id.clone(), app.name.clone())))
}

async fn installing(
    Extract(inner): Extract<Arc<Inner>>,
    Path(slug): Path<String>,
    Query(params): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let state = inner.state();
    let Some((_, session)) = oauth::session(&state, &headers) else { return to_sign_in(&uri) };
    let Some((_, name)) = app_of_slug(&state, &slug) else {
        return (StatusCode::NOT_FOUND, message("404", "There is nothing here.")).into_response();
    };
    page("Install", "narrow", Some(state.login(session.user)), &form(&state, &session, &name, &params)).into_response()
}

fn form(state: &State, session: &Session, name: &str, params: &HashMap<String, String>) -> String {
    let mut accounts = String::new();
    let mut repositories = String::new();
    for (id, login) in own_accounts(state, session.user) {
        write!(accounts, "<option value=\"{id}\">{}</option>", escape(&login)).ok();
        for repo in state.repos.values().filter(|repo| repo.owner == id).take(200) {
            let name = escape(&state.full_name(repo));
            write!(repositories, "<label><input type=\"checkbox\" name=\"repository\" value=\"{}\"> {name}</label>", repo.id).ok();
        }
    }
    format!(
        "<div class=\"card\"><h1>Install {name}</h1><form method=\"post\">{}{}<label for=\"account\">Account</label>\
         <select id=\"account\" name=\"account\">{accounts}</select><p class=\"soft\">Select repositories, or none for all of them.</p>\
         {repositories}<div class=\"row\"><button class=\"go\" type=\"submit\" id=\"install\">Install</button></div></form></div>",
        hidden("authenticity_token", &session.csrf),
        hidden("state", params.get("state").map_or("", String::as_str)),
        name = escape(name),
    )
}

/// Installs, and sends the browser back to the App as GitHub does: `installation_id`, `setup_action` and `state`.
async fn install(Extract(inner): Extract<Arc<Inner>>, Path(slug): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let text = |name: &str| pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let (client_id, account, callback) = {
        let state = inner.state();
        let Some((_, session)) = oauth::session(&state, &headers) else { return oauth::redirect("/login") };
        let account = own_accounts(&state, session.user).into_iter().find(|(id, _)| id.to_string() == text("account"));
        let app = app_of_slug(&state, &slug).filter(|_| session.csrf == text("authenticity_token"));
        let ((account, _), (client_id, _)) = match account.zip(app) {
            Some(both) => both,
            None => return refused(),
        };
        let callback = state.apps.get(&client_id).map(|app| app.callback.to_string()).unwrap_or_default();
        (client_id, account, callback)
    };
    let ids: BTreeSet<u64> = pairs.iter().filter(|(key, _)| key == "repository").filter_map(|(_, id)| id.parse().ok()).collect();
    let selection = if ids.is_empty() { Selection::All } else { Selection::Selected(ids) };
    let Some(id) = inner.install(&client_id, account, selection) else { return refused() };
    let id = id.to_string();
    oauth::redirect(&oauth::with_query(&callback, &[("installation_id", &id), ("setup_action", "install"), ("state", text("state"))]))
}
