//! Builders: the one inside of `serve`, and `slipway builder` on a machine of its own. Both speak the same protocol over HTTP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slipway_app::App;
use slipway_builder::{BuilderConfig, BuilderError, Credential};
use slipway_model::{SecretToken, TokenKind};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::{Config, parse_public_url, secret_file, wide_mode};
use crate::failure::Failure;
use crate::signals::EndSignals;

/// Before a built-in builder that ended with an error is started again.
const PAUSE: Duration = Duration::from_secs(10);

/// Where the command line says that the server is, and with what this machine becomes a node if it is none yet.
pub(crate) struct Remote {
    server: Url,
    credential: Credential,
}

impl Remote {
    /// Checks what the command line gave.
    pub(crate) fn check(server: &str, token_file: &Path) -> Result<Self, Failure> {
        let shown: String = server.chars().take(200).collect();
        let server = parse_public_url(server).map_err(|problem| {
            Failure::usage(format!("`--server` is `{shown}`: {problem}"), "for example `https://slipway.example.com`")
        })?;
        let join_token = join_token(token_file)?;
        if server.scheme() == "http" && !is_loopback(&server) {
            tracing::warn!(%server, "the server is reached without TLS: whoever is on the way reads sources, secrets of builds and this builder's credential");
        }
        Ok(Self { server, credential: Credential::Kept { join_token, token_file: token_file.to_owned() } })
    }
}

/// The token of the file; `None` without a file, which a machine that has joined needs no more.
fn join_token(file: &Path) -> Result<Option<SecretToken>, Failure> {
    const HINT: &str = "an administrator makes a join token under Builder nodes; put it alone into that file, mode 0600";
    if !file.exists() {
        return Ok(None);
    }
    let text = secret_file(file).map_err(|problem| Failure::usage(format!("the token file `{}` {problem}", file.display()), HINT))?;
    let text = text.trim();
    let token = SecretToken::presented(TokenKind::Join, text).ok_or_else(|| {
        let found = TokenKind::of(text).filter(|kind| *kind != TokenKind::Join).map_or("none", TokenKind::words);
        Failure::usage(format!("the token file `{}` holds no builder's join token, found {found}", file.display()), HINT)
    })?;
    if let Some(warning) = wide_mode(file) {
        tracing::warn!("{warning}");
    }
    Ok(Some(token))
}

fn is_loopback(server: &Url) -> bool {
    match server.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Runs a builder until a signal.
pub(crate) async fn run(config: &Config, remote: Remote) -> Result<(), Failure> {
    let mut signals = EndSignals::listen()?;
    let stop = CancellationToken::new();
    let builder = slipway_builder::run(settings(config, remote.server, remote.credential, host_name()), stop.clone());
    tokio::pin!(builder);
    let mut asked = false;
    loop {
        tokio::select! {
            ended = builder.as_mut() => return ended.map_err(failure),
            signal = signals.next() => {
                if asked {
                    return Err(Failure::failed("stopped at once by a second signal", "builds that ran are given to another builder when their lease ends"));
                }
                tracing::info!(signal, "no more builds are taken; running ones end or are handed back");
                asked = true;
                stop.cancel();
            }
        }
    }
}

/// Runs the builder of this process until `stop`; it is started again when it ends with an error.
pub(crate) async fn run_builtin(app: Arc<App>, config: Config, server: Url, stop: CancellationToken) {
    // With PostgreSQL several processes may share the database, and each needs a name that stays its own.
    let name = if config.database_address().starts_with("sqlite:") {
        "built-in".to_owned()
    } else {
        format!("built-in at {}{}", host_name(), port(&server))
    };
    while !stop.is_cancelled() {
        let ended = match app.register_builtin_builder(&name).await {
            Ok(token) => {
                let settings = settings(&config, server.clone(), Credential::Own(token.expose().to_owned().into()), name.clone());
                slipway_builder::run(settings, stop.clone()).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = ended {
            tracing::error!(error, "the built-in builder ended; it is started again");
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

fn port(server: &Url) -> String {
    server.port().map(|port| format!(":{port}")).unwrap_or_default()
}

fn settings(config: &Config, server_url: Url, credential: Credential, name: String) -> BuilderConfig {
    BuilderConfig {
        server_url,
        credential,
        name,
        engine: config.builder.engine.clone(),
        bounds: config.builder.bounds,
        parallel: config.builder.parallel,
        work_dir: config.data_dir.join("builder"),
        drain_timeout: config.drain_timeout,
    }
}

fn failure(error: BuilderError) -> Failure {
    let text = error.to_string();
    match error {
        BuilderError::WorkDir { .. } => {
            Failure::failed(text, "`data_dir` names another place; its folder must be writable and used by no other builder")
        }
        BuilderError::TokenRefused { .. } => Failure::failed(
            text,
            "if it was removed there: an administrator makes a join token under Builder nodes, which goes into the token file; then start it again",
        ),
        BuilderError::JoinRefused { .. } => Failure::failed(text, "put another join token into the token file, then start it again"),
        BuilderError::NoToken { .. } => {
            Failure::usage(text, "an administrator makes a join token under Builder nodes; put it alone into that file, mode 0600")
        }
        BuilderError::TooOld { .. } => Failure::failed(text, "bring this machine up to date, then start it again"),
        BuilderError::Client(_) => Failure::failed(text, "look at the system's certificates"),
    }
}

/// The machine's name, for people.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_ascii_graphic()).take(60).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}
