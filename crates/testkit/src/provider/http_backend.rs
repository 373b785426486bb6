//! Git's own smart HTTP: runs `git http-backend` (CGI) for one request whose caller was let in.
//! Invariant: git itself speaks the protocol; bytes are streamed both ways. Only a push is read to its end first,
//! because its events come from the refs before and after. Deliberately absent: who may do what.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout};

use super::git;

/// The part of a git address after the repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Refs,
    UploadPack,
    ReceivePack,
}

/// A git request: `owner/name[.git]/info/refs` and the two services.
pub(crate) struct GitPath {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) service: Service,
}

pub(crate) fn parse(method: &Method, path: &str) -> Option<GitPath> {
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

impl GitPath {
    /// Whether the request is part of a push.
    pub(crate) fn pushes(&self, parts: &Parts) -> bool {
        self.service == Service::ReceivePack || parts.uri.query().is_some_and(|query| query.contains("service=git-receive-pack"))
    }
}

/// Starts the CGI program and feeds it the request.
fn start(service: Service, folder: &Path, remote_user: &str, parts: &Parts, body: Body) -> Result<(Child, BufReader<ChildStdout>)> {
    let tail = match service {
        Service::Refs => "info/refs",
        Service::UploadPack => "git-upload-pack",
        Service::ReceivePack => "git-receive-pack",
    };
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
        .env("REMOTE_USER", remote_user)
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

/// Serves `info/refs` or a fetch; the answer is streamed.
pub(crate) async fn upload(service: Service, folder: &Path, remote_user: &str, parts: &Parts, body: Body) -> Result<Response> {
    let (mut child, mut stdout) = start(service, folder, remote_user, parts, body)?;
    let (status, headers) = head(&mut stdout).await?;
    tokio::spawn(async move {
        if let Err(error) = child.wait().await {
            tracing::warn!(%error, "git http-backend could not be waited for");
        }
    });
    Ok(answer(status, headers, Body::from_stream(tokio_util::io::ReaderStream::new(stdout))))
}

/// Serves a push; when this returns, the refs have changed or git has refused.
pub(crate) async fn receive(folder: &Path, remote_user: &str, parts: &Parts, body: Body) -> Result<Response> {
    let (mut child, mut stdout) = start(Service::ReceivePack, folder, remote_user, parts, body)?;
    let (status, headers) = head(&mut stdout).await?;
    let mut output = Vec::new();
    stdout.read_to_end(&mut output).await?;
    child.wait().await?;
    Ok(answer(status, headers, Body::from(output)))
}
