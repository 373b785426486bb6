//! Turns a daemon's text into one of our reasons, without what is none of a user's business.
//!
//! The invariant: a path of the daemon's host, a Go stack and the layers of `rpc error:` never leave here; a text that is
//! not understood is still told. Deliberately elsewhere: what a builder makes of a reason.

use tonic::{Code, Status};

use crate::details::Details;
use crate::error::SolveError;
use crate::progress::Board;
use crate::request::SolveRequest;

const MAX_TEXT: usize = 2000;

/// The reason for a failed build.
pub(crate) fn explain(status: &Status, board: &Board, request: &SolveRequest) -> SolveError {
    let text = scrub(status.message());
    if let Some(stage) = stage(&text) {
        return SolveError::StageNotFound { stage: request.target.clone().unwrap_or(stage) };
    }
    if text.contains("failed to read dockerfile") && text.contains("no such file") {
        return SolveError::DockerfileNotFound { path: request.dockerfile.path.clone() };
    }
    if let Some((line, message)) = syntax(&text) {
        return SolveError::DockerfileSyntax { line, message };
    }
    if let Some(message) = privilege(&text) {
        return SolveError::DockerfileSyntax { line: None, message };
    }
    if let Some(message) = push(&text) {
        return SolveError::Push { message };
    }
    let failed = board.failed();
    let details = Details::of(status);
    if let Some(exit_code) = details.exit_code.or_else(|| exit_code(&text)) {
        let named = details.step.as_deref().and_then(|digest| board.step(digest)).or(failed.first().copied());
        let step = named.map(|step| step.name.clone()).unwrap_or_else(|| process(&text));
        return SolveError::StepFailed { step, exit_code };
    }
    if let Some((image, message)) = base_image(&text, failed.iter().map(|step| step.name.as_str())) {
        return SolveError::BaseImage { image, message };
    }
    if status.code() == Code::Cancelled || text == "context canceled" {
        return SolveError::Cancelled;
    }
    let of_text = failed.iter().find(|step| step.error.as_deref().is_some_and(|error| text.contains(innermost(error))));
    match of_text {
        Some(step) if !step.name.starts_with("[internal]") => {
            SolveError::StepRefused { step: step.name.clone(), message: innermost(&text).to_owned() }
        }
        _ => SolveError::Other { message: text },
    }
}

/// `target stage "x" could not be found`, or the older `failed to reach build target x in Dockerfile`.
fn stage(text: &str) -> Option<String> {
    let rest = match text.split_once("target stage ") {
        Some((_, rest)) if rest.contains("could not be found") => rest,
        _ => text.split_once("failed to reach build target ")?.1,
    };
    Some(rest.split_whitespace().next().unwrap_or_default().trim_matches(['"', '\'']).to_owned())
}

fn syntax(text: &str) -> Option<(Option<u32>, String)> {
    let lower = text.to_ascii_lowercase();
    if let Some(at) = lower.find("dockerfile parse error") {
        let rest = text[at + "dockerfile parse error".len()..].trim_start_matches(" on").trim_start();
        let (line, message) = match rest.strip_prefix("line ").and_then(|rest| rest.split_once(':')) {
            Some((number, message)) => (number.trim().parse().ok(), message),
            None => (None, rest.trim_start_matches(':')),
        };
        return Some((line, first_line(message)));
    }
    let known = ["file with no instructions", "no build stage in current context", "cannot be empty", "failed to create llb definition"];
    let found = known.iter().find(|known| lower.contains(*known))?;
    // The last one wraps many causes, pulls among them: only the frontend's own complaints are about the text.
    if *found == "failed to create llb definition" {
        let own = ["unknown instruction", "unsupported from", "invalid reference format", "circular dependency"];
        own.iter().find(|own| lower.contains(*own))?;
    }
    Some((None, first_line(innermost(text))))
}

/// `failed to load LLB: security.insecure is not allowed`: a daemon's word for what a step asks for and no build of ours may have.
fn privilege(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("failed to load LLB: ")?;
    let name = rest.strip_suffix(" is not allowed").filter(|name| !name.contains(' '))?;
    Some(format!("`{name}` is not allowed: no step gets more of the machine than others"))
}

/// `failed to solve: failed to push h/n/r: <the registry's words>`. The words of a step that prints this come with an exit code.
fn push(text: &str) -> Option<String> {
    let rest = innermost(text).strip_prefix("failed to push ")?;
    Some(first_line(rest.split_once(": ").map_or(rest, |(_, words)| words)))
}

fn exit_code(text: &str) -> Option<i32> {
    let (_, rest) = text.rsplit_once("exit code: ")?;
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    digits.parse().ok()
}

/// `executor failed running [/bin/sh -c make]: exit code: 2` names the command.
fn process(text: &str) -> String {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.rsplit_once("]: exit code")).map(|(inside, _)| inside);
    inside.unwrap_or("RUN").trim_start_matches("/bin/sh -c ").to_owned()
}

/// The image and the registry's words, when the failure is about getting one.
fn base_image<'a>(text: &str, failed: impl Iterator<Item = &'a str>) -> Option<(String, String)> {
    const SIGNS: [&str; 11] = [
        "pull access denied",
        "failed to resolve source metadata",
        "failed to do request",
        "failed to authorize",
        "failed to resolve",
        "insufficient_scope",
        "unexpected status code",
        "manifest unknown",
        "pulling from host ",
        // Of its layers, after it was found.
        "failed to copy",
        "failed to fetch",
    ];
    let failed: Vec<&str> = failed.collect();
    let from_step = failed.iter().find_map(|step| load_metadata(step));
    let about_pull = SIGNS.iter().any(|sign| text.contains(sign)) || (from_step.is_some() && text.contains("not found"));
    if !about_pull {
        return None;
    }
    let named = text
        .split_once("failed to resolve source metadata for ")
        .and_then(|(_, rest)| rest.split_once(": "))
        .map(|(image, _)| image.to_owned());
    let image = from_step.or(named).or_else(|| failed.iter().find_map(|step| from(step))).or_else(|| pulled(text))?;
    let message = text.rsplit_once(&format!("{image}: ")).map_or_else(|| innermost(text), |(_, rest)| rest);
    Some((image, first_line(message)))
}

/// `[internal] load metadata for docker.io/library/alpine:3`
fn load_metadata(step: &str) -> Option<String> {
    step.strip_prefix("[internal] load metadata for ").map(str::to_owned)
}

/// `[build 1/3] FROM docker.io/library/alpine:3@sha256:...`, which runs nothing and gets the layers.
fn from(step: &str) -> Option<String> {
    let (_, image) = step.strip_prefix('[')?.split_once("] FROM ")?;
    Some(image.to_owned())
}

/// `failed to copy: httpReadSeeker: failed open: ... http://h:5/v2/ns/base/blobs/...`: a buildkitd gets layers when the first step needs them, and
/// names that step.
fn pulled(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("httpReadSeeker: ")?;
    let (place, _) = rest.split_once("://")?.1.split_once("/blobs/")?;
    let (host, name) = place.split_once("/v2/")?;
    Some(format!("{host}/{name}"))
}

/// What stands after the last wrapper that the daemon put around a cause.
fn innermost(text: &str) -> &str {
    const WRAPPERS: [&str; 5] = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "failed to compute cache key: ",
        "failed to create LLB definition: ",
        "failed to build LLB: ",
    ];
    let mut text = text;
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| text.strip_prefix(wrapper)) {
        text = rest;
    }
    text
}

fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().trim().to_owned()
}

/// A daemon's text without its layers of wrapping, stacks and paths.
pub(crate) fn scrub(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().map(str::trim_end).take_while(|line| !is_stack(line)) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&without_paths(&without_rpc(line)));
        if out.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
            out.truncate(end);
            out.push('…');
            break;
        }
    }
    out.trim().to_owned()
}

fn is_stack(line: &str) -> bool {
    let go_file = line.contains(".go:") && line.trim_start().starts_with('/');
    go_file || line.starts_with("github.com/") || line.starts_with("goroutine ") || line.starts_with("runtime.")
}

/// `rpc error: code = Unknown desc = x` is `x`, however often it is wrapped.
fn without_rpc(line: &str) -> String {
    let mut line = line.to_owned();
    while let Some(begin) = line.find("rpc error: code = ") {
        let Some(end) = line[begin..].find(" desc = ").map(|at| begin + at + " desc = ".len()) else { break };
        line.replace_range(begin..end, "");
    }
    line
}

/// Host paths of the daemon: of a mounted source only the part inside it stays, of anything else nothing.
fn without_paths(line: &str) -> String {
    const HOST: [&str; 8] = ["/docker/", "/buildkit/", "/containerd/", "/overlay2/", "/runc", "/var/lib/", "/run/user/", "/var/run/"];
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(begin) = rest.find('/') {
        let boundary =
            rest[..begin].chars().next_back().is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | '[' | '=' | ':'));
        let end = rest[begin..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ')' | ']'))
            .map_or(rest.len(), |at| begin + at);
        let end = begin + rest[begin..end].trim_end_matches(':').len();
        let path = &rest[begin..end];
        out.push_str(&rest[..begin]);
        match path.find("/buildkit-mount") {
            Some(at) if boundary => out.push_str(path[at + 1..].split_once('/').map_or("the source", |(_, inside)| inside)),
            _ if boundary && !path.starts_with("//") && HOST.iter().any(|host| path.contains(host)) => out.push('…'),
            _ => out.push_str(path),
        }
        rest = &rest[end..];
        if path.is_empty() {
            out.push('/');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// A registry that is away, overloaded or restarting, or the way to it.
const PASSING: [&str; 15] = [
    "connection refused",
    "connection reset",
    "broken pipe",
    "timeout",
    "deadline exceeded",
    "network is unreachable",
    "EOF",
    "TLS handshake",
    "500 Internal",
    "502 Bad",
    "503 Service",
    "504 Gateway",
    "429 Too Many",
    "toomanyrequests",
    "server misbehaving",
];

/// Whether the registry may take the same push later.
pub(crate) fn push_is_transient(message: &str) -> bool {
    // Another build of the very same image took it away at its end, in the moment in which the engine named ours; and the registry's name is ours.
    const OF_A_PUSH: [&str; 2] = ["could not find image from tag", "no such host"];
    PASSING.iter().chain(&OF_A_PUSH).any(|sign| message.contains(sign))
}

/// Whether the registry may give the same base image later. A host that is not there was written into the Dockerfile.
pub(crate) fn pull_is_transient(message: &str) -> bool {
    PASSING.iter().any(|sign| message.contains(sign))
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
