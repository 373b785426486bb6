//! Git over smart HTTP through `git http-backend` (CGI), with GitHub's rules about who may.
//! Invariant: git itself speaks the protocol; bytes are streamed both ways. Only a push is read to its end first,
//! because its events come from the refs before and after.

use std::sync::Arc;

use anyhow::Result;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::Inner;
use super::access::{Caller, Credentials, Need, credentials};
use super::api::reply::ApiError;
use super::http_backend;
use super::push::PushBy;
use super::state::Repo;
use crate::provider::http_backend::{GitPath, Service};

struct Allowed {
    by: PushBy,
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
            status if error.message.contains("account was suspended") => Refused::Text(status, "Your account is suspended.".to_owned()),
            status => Refused::Text(status, error.message),
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
        let need = if pushing { Need::Push } else { Need::Fetch };
        state.check(repo, &caller, need).map_err(|error: ApiError| match error.status {
            StatusCode::NOT_FOUND => missing(),
            StatusCode::FORBIDDEN if pushing && error.message.starts_with("Must have push access") => {
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
        // An App pushes by itself; its events name the owner, which stands for the bot that GitHub has.
        let by = PushBy { repo: id, pusher: caller.user().unwrap_or(repo.owner), git: repo.git.clone() };
        Ok(Allowed { by, caller })
    }
}

pub(super) async fn serve(inner: Arc<Inner>, path: GitPath, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let allowed = match inner.allow(&path, &parts) {
        Ok(allowed) => allowed,
        Err(why) => return refused(why),
    };
    let done = match allowed.by.make_ready().await {
        Err(error) => Err(error),
        Ok(()) => serve_allowed(&inner, &path, &allowed, &parts, body).await,
    };
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "git over HTTP failed");
        refused(Refused::Text(StatusCode::INTERNAL_SERVER_ERROR, "git failed".to_owned()))
    })
}

async fn serve_allowed(inner: &Arc<Inner>, path: &GitPath, allowed: &Allowed, parts: &Parts, body: Body) -> Result<Response> {
    match path.service {
        Service::ReceivePack => receive(inner, allowed, parts, body).await,
        Service::Refs | Service::UploadPack => {
            http_backend::upload(path.service, &allowed.by.git.folder, &allowed.remote_user(), parts, body).await
        }
    }
}

async fn receive(inner: &Arc<Inner>, allowed: &Allowed, parts: &Parts, body: Body) -> Result<Response> {
    inner.recording_push(&allowed.by, http_backend::receive(&allowed.by.git.folder, &allowed.remote_user(), parts, body)).await
}
