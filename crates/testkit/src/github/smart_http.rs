//! Git over smart HTTP through `git http-backend` (CGI), with GitHub's rules about who may.
//! Invariant: git itself speaks the protocol; bytes are streamed both ways. Only a push is read to its end first,
//! because its events come from the refs before and after.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout};

use super::Inner;
use super::access::{Caller, Credentials, Need, credentials};
use super::api::reply::ApiError;
use super::git;
use super::push::PushBy;
use super::state::Repo;

/// The part of a git address after the repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Refs,
    UploadPack,
    ReceivePack,
}

/// A git request: `owner/name[.git]/info/refs` and the two services.
pub(super) struct GitPath {
    owner: String,
    name: String,
    service: Service,
}

pub(super) fn parse(method: &Method, path: &str) -> Option<GitPath> {
    let mut segments = path.trim_start_matches('/').splitn(3, '/');
    let (owner, name, tail) = (segments.next()?, segments.next()?, segments.next()?);
    let service = match (method, tail) {
        (&Method::GET, "info/refs") => Service::Refs,
        (&Method::POST, "git-upload-pack") => Service::UploadPack,
        (&Method::POST, "git-receive-pack") => Service::ReceivePack,
        _ => return None,
    };
    Some(GitPath { owner: owner.to_owned(), name: name.strip_suffix(".git").unwrap_or(name).to_owned(), service })
}

struct Allowed {
    by: PushBy,
    caller: Caller,
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
        let pushing =
            path.service == Service::ReceivePack || parts.uri.query().is_some_and(|query| query.contains("service=git-receive-pack"));
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
        Service::Refs | Service::UploadPack => upload(path, allowed, parts, body).await,
    }
}

/// Starts the CGI program and feeds it the request.
fn start(service: Service, allowed: &Allowed, parts: &Parts, body: Body) -> Result<(Child, BufReader<ChildStdout>)> {
    let tail = match service {
        Service::Refs => "info/refs",
        Service::UploadPack => "git-upload-pack",
        Service::ReceivePack => "git-receive-pack",
    };
    let folder = &allowed.by.git.folder;
    let name = folder.file_name().and_then(|name| name.to_str()).context("folders have plain names")?;
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut command = git::command(folder);
    command
        .arg("http-backend")
        .env_remove("GIT_DIR")
        .env("GIT_PROJECT_ROOT", folder.parent().context("repositories lie in a folder")?)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{name}/{tail}"))
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", allowed.caller.user().map(|id| id.to_string()).unwrap_or_default())
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let length = header("content-length");
    if !length.is_empty() {
        command.env("CONTENT_LENGTH", length);
    }
    let mut child = command.spawn().context("`git http-backend` did not start, expected git on PATH")?;
    let mut stdin = child.stdin.take().context("stdin of git was piped")?;
    let stdout = child.stdout.take().context("stdout of git was piped")?;
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        // git that has heard enough closes its end; the rest of the body is of no use then.
        while let Some(Ok(chunk)) = body.next().await {
            if stdin.write_all(&chunk).await.is_err() {
                break;
            }
        }
    });
    Ok((child, BufReader::new(stdout)))
}

/// Reads the header block of a CGI answer.
async fn head(stdout: &mut BufReader<ChildStdout>) -> Result<(StatusCode, HeaderMap)> {
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    loop {
        let mut line = String::new();
        let read = stdout.read_line(&mut line).await?;
        let line = line.trim_end();
        if read == 0 || line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').context("git answers with header lines")?;
        if name.eq_ignore_ascii_case("status") {
            status = value.trim().get(..3).and_then(|code| code.parse().ok()).context("git names a status")?;
        } else {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value.trim())?);
        }
    }
}

fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

async fn upload(path: &GitPath, allowed: &Allowed, parts: &Parts, body: Body) -> Result<Response> {
    let (mut child, mut stdout) = start(path.service, allowed, parts, body)?;
    let (status, headers) = head(&mut stdout).await?;
    tokio::spawn(async move {
        if let Err(error) = child.wait().await {
            tracing::warn!(%error, "git http-backend could not be waited for");
        }
    });
    Ok(answer(status, headers, Body::from_stream(tokio_util::io::ReaderStream::new(stdout))))
}

async fn receive(inner: &Arc<Inner>, allowed: &Allowed, parts: &Parts, body: Body) -> Result<Response> {
    inner
        .recording_push(&allowed.by, async {
            let (mut child, mut stdout) = start(Service::ReceivePack, allowed, parts, body)?;
            let (status, headers) = head(&mut stdout).await?;
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).await?;
            child.wait().await?;
            Ok(answer(status, headers, Body::from(output)))
        })
        .await
}
