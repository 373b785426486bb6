//! Git over smart HTTP with GitHub's rules about who may.
//! Invariant: a ref change is laid at the door of the push that made it. Git's own part stands in `provider::http_backend`.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::Inner;
use super::access::{Caller, Credentials, Need, credentials};
use super::api::reply::ApiError;
use super::push;
use super::state::Repo;
use super::{git, http_backend};
use crate::provider::http_backend::{GitPath, Service};

struct Allowed {
    repo: u64,
    folder: std::path::PathBuf,
    lock: Arc<tokio::sync::Mutex<()>>,
    caller: Caller,
}

impl Allowed {
    fn remote_user(&self) -> String {
        self.caller.user().map(|id| id.to_string()).unwrap_or_default()
    }
}

enum Refused {
    SignIn,
    Text(StatusCode, String),
    Moved(String),
}

fn refused(refused: Refused) -> Response {
    let (status, text, header) = match refused {
        Refused::SignIn => (
            StatusCode::UNAUTHORIZED,
            "No anonymous write access.".to_owned(),
            Some(("www-authenticate", "Basic realm=\"GitHub\"".to_owned())),
        ),
        Refused::Text(status, text) => (status, text, None),
        Refused::Moved(location) => (StatusCode::MOVED_PERMANENTLY, String::new(), Some(("location", location))),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    if let Some((name, value)) = header
        && let Ok(value) = HeaderValue::from_str(&value)
    {
        response.headers_mut().insert(name, value);
    }
    response
}

impl Inner {
    fn allow(&self, path: &GitPath, parts: &Parts) -> Result<Allowed, Refused> {
        let pushing = path.pushes(parts);
        let credentials = credentials(&parts.headers);
        let anonymous = matches!(credentials, Credentials::None);
        let state = self.state();
        let caller = state.caller(&credentials).map_err(|error| match error.status {
            StatusCode::UNAUTHORIZED => Refused::SignIn,
            status => Refused::Text(status, "Your account is suspended.".to_owned()),
        })?;
        let missing = || match anonymous {
            true => Refused::SignIn,
            false => Refused::Text(StatusCode::NOT_FOUND, "Repository not found.".to_owned()),
        };
        let id = state.repo_id_by_any_name(&path.owner, &path.name).ok_or_else(missing)?;
        let repo: &Repo = state.repos.get(&id).ok_or_else(missing)?;
        if pushing && anonymous {
            return Err(Refused::SignIn);
        }
        let need = if pushing { Need::Push } else { Need::Read };
        state.check(repo, &caller, need).map_err(|error: ApiError| match error.status {
            StatusCode::NOT_FOUND => missing(),
            StatusCode::FORBIDDEN if pushing && !error.message.contains("OAuth App access") => {
                let who = caller.user().map_or("ghost", |user| state.login(user));
                let text = format!("Permission to {}.git denied to {who}.", state.full_name(repo));
                Refused::Text(StatusCode::FORBIDDEN, text)
            }
            status => Refused::Text(status, error.message),
        })?;
        let current = state.full_name(repo);
        if !current.eq_ignore_ascii_case(&format!("{}/{}", path.owner, path.name)) && path.service == Service::Refs {
            let query = parts.uri.query().unwrap_or_default();
            return Err(Refused::Moved(format!("{}/{current}.git/info/refs?{query}", self.urls().web)));
        }
        Ok(Allowed { repo: id, folder: repo.folder.clone(), lock: Arc::clone(&repo.push_lock), caller })
    }
}

pub(super) async fn serve(inner: Arc<Inner>, path: GitPath, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let allowed = match inner.allow(&path, &parts) {
        Ok(allowed) => allowed,
        Err(why) => return refused(why),
    };
    let done = match path.service {
        Service::ReceivePack => receive(&inner, &allowed, &parts, body).await,
        Service::Refs | Service::UploadPack => {
            http_backend::upload(path.service, &allowed.folder, &allowed.remote_user(), &parts, body).await
        }
    };
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "git over HTTP failed");
        refused(Refused::Text(StatusCode::INTERNAL_SERVER_ERROR, "git failed".to_owned()))
    })
}

async fn receive(inner: &Arc<Inner>, allowed: &Allowed, parts: &Parts, body: Body) -> Result<Response> {
    let pusher = allowed.caller.user().context("a push has a person")?;
    let push = PushBy { repo: allowed.repo, pusher, folder: allowed.folder.clone(), lock: Arc::clone(&allowed.lock) };
    inner.recording_push(push, http_backend::receive(&allowed.folder, &allowed.remote_user(), parts, body)).await
}

/// Whose change of which repository.
pub(super) struct PushBy {
    pub(super) repo: u64,
    pub(super) pusher: u64,
    pub(super) folder: std::path::PathBuf,
    pub(super) lock: Arc<tokio::sync::Mutex<()>>,
}

impl Inner {
    /// Runs something that changes refs and tells the hooks what changed.
    pub(super) async fn recording_push<T>(self: &Arc<Self>, by: PushBy, change: impl Future<Output = Result<T>>) -> Result<T> {
        let _one_push_at_a_time = by.lock.lock().await;
        let before = git::refs(&by.folder).await?;
        let done = change.await;
        let after = git::refs(&by.folder).await?;
        let mut changes = git::changes(&before, &after);
        if !changes.is_empty() {
            let mut state = self.state();
            let now = state.now_ms();
            if let Some(repo) = state.repos.get_mut(&by.repo) {
                repo.pushed_ms = now;
            }
        }
        changes = push::announced(changes);
        for change in &changes {
            let facts = push::facts(&by.folder, change, &before, &after).await?;
            let (body, extra) = {
                let state = self.state();
                (
                    push::payload(&state, self.urls(), by.repo, by.pusher, change, &facts),
                    push::ref_event(&state, self.urls(), by.repo, by.pusher, change),
                )
            };
            if let Some(body) = body {
                self.emit(by.repo, "push", &body);
            }
            if let Some((event, body)) = extra {
                self.emit(by.repo, event, &body);
            }
        }
        done
    }
}
