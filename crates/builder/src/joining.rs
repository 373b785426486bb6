//! How this machine becomes a builder node, once: a join token is exchanged for the machine's own credential.
//!
//! The invariant: the credential is made here and lies durably on the disk before the server hears of its hash, and the server's answer is kept
//! by one rename. So a crash anywhere leaves a machine that asks again with the same token and the same credential, which the server answers
//! as the first time; and a credential that works is never given up for one that may not.
//! Deliberately elsewhere: what the server makes of it, and removal.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use slipway_model::{SecretToken, TokenKind};
use slipway_wire::{Join, PROTOCOL};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, ApiError, Backoff};
use crate::config::{BuilderConfig, BuilderError, Credential};
use crate::home::Home;

/// The credential that works.
const NODE: &str = "node.json";
/// One whose exchange is under way.
const JOINING: &str = "joining.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    credential: String,
    /// SHA-256 of the join token, in hexadecimal: another token is another wish.
    joined_with: String,
}

impl Kept {
    fn new(joined_with: &str) -> Self {
        Self { credential: SecretToken::generate(TokenKind::Builder).expose().to_owned(), joined_with: joined_with.to_owned() }
    }

    fn token(&self) -> Option<SecretToken> {
        SecretToken::presented(TokenKind::Builder, &self.credential)
    }
}

/// The credential that this builder works with; `None` when it was asked to end before it had one.
///
/// # Errors
/// When there is none and no token to get one with, when the server refuses, or when it cannot be kept.
pub(crate) async fn credential(
    config: &BuilderConfig,
    home: &Home,
    git: &str,
    shutdown: &CancellationToken,
) -> Result<Option<SecretString>, BuilderError> {
    let (join_token, token_file) = match &config.credential {
        Credential::Own(token) => return Ok(Some(token.clone())),
        Credential::Kept { join_token, token_file } => (join_token, token_file),
    };
    let node = read(&home.file(NODE))?;
    let Some(join_token) = join_token else {
        let node = node.ok_or_else(|| BuilderError::NoToken { token_file: token_file.clone() })?;
        return Ok(Some(node.credential.into()));
    };
    let joined_with = join_token.hash().to_hex();
    if let Some(node) = node.filter(|node| node.joined_with == joined_with) {
        return Ok(Some(node.credential.into()));
    }
    let joining = home.file(JOINING);
    let kept = match read(&joining)?.filter(|kept| kept.joined_with == joined_with) {
        Some(kept) => kept,
        None => {
            let kept = Kept::new(&joined_with);
            write(&joining, &kept)?;
            kept
        }
    };
    let Some(credential) = kept.token() else { return Err(unreadable(&joining)) };
    let wish = Join {
        name: config.name.clone(),
        credential_sha256: credential.hash().to_hex(),
        protocol: PROTOCOL,
        git: git.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let api = Api::new(config.server_url.clone(), join_token.expose().to_owned().into())?;
    if !exchange(&api, &wish, shutdown).await? {
        return Ok(None);
    }
    let node = home.file(NODE);
    std::fs::rename(&joining, &node).and_then(|()| sync_folder(&node)).map_err(|error| refused(&node, &error))?;
    Ok(Some(kept.credential.into()))
}

/// Asks until there is an answer; false when the builder was asked to end before.
async fn exchange(api: &Api, wish: &Join, shutdown: &CancellationToken) -> Result<bool, BuilderError> {
    let mut backoff = Backoff::new();
    loop {
        let answer = tokio::select! {
            answer = api.join(wish) => answer,
            () = shutdown.cancelled() => return Ok(false),
        };
        match answer {
            Ok(answer) => {
                tracing::info!(builder = %answer.builder, server = api.server(), "this machine is a builder node now");
                return Ok(true);
            }
            Err(ApiError::Away(problem)) => {
                tracing::warn!(%problem, "the server does not answer; joining is tried again");
                tokio::select! {
                    () = backoff.wait() => {}
                    () = shutdown.cancelled() => return Ok(false),
                }
            }
            Err(ApiError::Token(said)) => return Err(BuilderError::JoinRefused { server: api.server().to_owned(), said }),
            Err(ApiError::TooOld(said)) => return Err(BuilderError::TooOld { said }),
            Err(ApiError::Fenced(problem) | ApiError::Refused(problem)) => {
                return Err(BuilderError::JoinRefused { server: api.server().to_owned(), said: problem });
            }
        }
    }
}

fn refused(path: &Path, error: &std::io::Error) -> BuilderError {
    BuilderError::WorkDir { path: path.to_owned(), problem: error.to_string() }
}

fn unreadable(path: &Path) -> BuilderError {
    BuilderError::WorkDir { path: path.to_owned(), problem: "it holds no credential of a builder; remove it and join anew".to_owned() }
}

fn read(path: &Path) -> Result<Option<Kept>, BuilderError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| unreadable(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(path, &error)),
    }
}

/// Whole or not at all, and there after a power cut; nobody else can read it at any time.
fn write(path: &Path, kept: &Kept) -> Result<(), BuilderError> {
    let beside: PathBuf = path.with_extension("new");
    let text = serde_json::to_vec(kept).expect("two texts always serialize");
    let written = || -> std::io::Result<()> {
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        sync_folder(path)
    };
    written().map_err(|error| refused(path, &error))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_kept_is_there_again_and_for_nobody_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(NODE);
        assert!(read(&path).expect("nothing is fine").is_none());
        let kept = Kept::new("with");
        write(&path, &kept).expect("written");
        write(&path, &kept).expect("again is fine");
        let found = read(&path).expect("read").expect("there");
        assert_eq!((&found.credential, found.joined_with.as_str()), (&kept.credential, "with"));
        assert!(found.token().is_some());
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "{").expect("written");
        assert!(matches!(read(&path), Err(BuilderError::WorkDir { .. })), "half a file is no reason to join anew by itself");
    }
}
