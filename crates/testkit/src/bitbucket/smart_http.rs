//! Git over smart HTTP with Bitbucket's rules about who may: `x-token-auth` and an OAuth token, or a person's own API token.
//! Invariant: reading needs the scope `repository`, pushing `repository:write`; one push is one `repo:push`.
//! Git's own part stands in `provider::http_backend`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::Inner;
use super::access::Caller;
use super::pushes::PushBy;
use super::types::Permission;
use crate::provider::credentials::{Credentials, credentials};
use crate::provider::http_backend::{self, GitPath, Service};

enum Refused {
    SignIn(String),
    Text(StatusCode, String),
    Moved(String),
}

fn refused(refused: Refused) -> Response {
    let (status, text, header) = match refused {
        Refused::SignIn(text) => {
            (StatusCode::UNAUTHORIZED, text, Some(("www-authenticate", "Basic realm=\"Bitbucket.org HTTP\"".to_owned())))
        }
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
    fn allow(&self, path: &GitPath, parts: &Parts) -> Result<(PushBy, Caller), Refused> {
        let (need, scope) = match path.pushes(parts) {
            true => (Permission::Write, "repository:write"),
            false => (Permission::Read, "repository"),
        };
        let credentials = credentials(&parts.headers);
        let anonymous = matches!(credentials, Credentials::None);
        let state = self.state();
        let caller = state.git_caller(&credentials).map_err(|error| match error.status {
            StatusCode::UNAUTHORIZED => Refused::SignIn(error.message),
            status => Refused::Text(status, error.message),
        })?;
        let missing = || match anonymous {
            true => Refused::SignIn("Authentication required".to_owned()),
            false => Refused::Text(
                StatusCode::NOT_FOUND,
                "You may not have access to this repository or it no longer exists in this workspace.".to_owned(),
            ),
        };
        if anonymous && need > Permission::Read {
            return Err(missing());
        }
        let found = match (state.repo(&path.owner, &path.name), state.moved(&path.owner, &path.name)) {
            (Some(repo), _) => repo,
            (None, Some(repo)) if path.service == Service::Refs => {
                let query = parts.uri.query().unwrap_or_default();
                return Err(Refused::Moved(format!("{}/{}.git/info/refs?{query}", self.urls().web, state.full_name(repo))));
            }
            _ => return Err(missing()),
        };
        state.check(found, &caller, need).map_err(|error| match error.status {
            StatusCode::NOT_FOUND => missing(),
            status => Refused::Text(status, error.message),
        })?;
        caller.require(&[scope]).map_err(|error| Refused::Text(error.status, error.message))?;
        let pusher = caller.person().unwrap_or_default().to_owned();
        Ok((PushBy { repo: found.id, pusher, folder: found.folder.clone(), lock: Arc::clone(&found.push_lock) }, caller))
    }
}

pub(super) async fn serve(inner: Arc<Inner>, path: GitPath, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (by, caller) = match inner.allow(&path, &parts) {
        Ok(allowed) => allowed,
        Err(why) => return refused(why),
    };
    let done = async {
        let folder = inner.ready(&by.folder).await?.to_owned();
        let user = caller.person().unwrap_or_default();
        match path.service {
            Service::ReceivePack => {
                let change = http_backend::receive(&folder, user, &parts, body);
                inner.recording_push(&by, change).await
            }
            Service::Refs | Service::UploadPack => http_backend::upload(path.service, &folder, user, &parts, body).await,
        }
    };
    done.await.unwrap_or_else(|error: anyhow::Error| {
        tracing::error!(%error, "git over HTTP failed");
        refused(Refused::Text(StatusCode::INTERNAL_SERVER_ERROR, "git failed".to_owned()))
    })
}
