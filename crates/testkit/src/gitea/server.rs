//! Runs the program: its configuration, its first account, its life.
//! Invariant: it listens on loopback only and sends webhooks to loopback and private addresses only.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{ADMINISTRATOR, RefreshTokens, Settings, Ssh, SshEndpoint};

/// Names the program to use instead of the one that scripts/install-gitea built.
pub const TEST_GITEA: &str = "SLIPWAY_TEST_GITEA";
pub(super) const START_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Server {
    origin: String,
    folder: PathBuf,
    ssh: Option<SshEndpoint>,
    /// The shell around the server; it ends when our end of its standard input closes.
    keeper: Child,
}

impl Server {
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn ssh(&self) -> Option<&SshEndpoint> {
        self.ssh.as_ref()
    }

    /// A folder that goes away with the server.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_else(|error| format!("(unreadable: {error})"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

/// Starts the program; the second value is a token of the administrator.
pub(super) fn start(settings: Settings) -> Result<(Server, String)> {
    let program = program()?;
    let folder = tempfile::Builder::new().prefix("slipway-gitea-").tempdir()?;
    let port = free_port()?;
    let ssh = match settings.ssh {
        Ssh::Off => None,
        Ssh::On => Some(ssh_endpoint(folder.path())?),
    };
    let configuration = folder.path().join("app.ini");
    std::fs::write(&configuration, configuration_text(folder.path(), port, settings, ssh.as_ref()))?;
    run(&program, &configuration, &["migrate"])?;
    let email = format!("{ADMINISTRATOR}@users.example");
    let printed = run(
        &program,
        &configuration,
        &[
            "admin",
            "user",
            "create",
            "--admin",
            "--username",
            ADMINISTRATOR,
            "--email",
            &email,
            "--password",
            &super::user_password(ADMINISTRATOR),
            "--must-change-password=false",
            "--access-token",
            "--access-token-name",
            "scripts",
            "--access-token-scopes",
            "all",
        ],
    )?;
    let token = printed.split_whitespace().find(|word| word.len() == 40 && word.bytes().all(|b| b.is_ascii_hexdigit()));
    let token = token.with_context(|| format!("Gitea printed no token: {printed}"))?.to_owned();
    let keeper = keep_running(&program, folder.path())?;
    Ok((Server { origin: format!("http://127.0.0.1:{port}"), folder: folder.keep(), ssh, keeper }, token))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Makes the key of the SSH server, which Gitea itself would take seconds for.
fn ssh_endpoint(folder: &Path) -> Result<SshEndpoint> {
    let key = folder.join("host_key");
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&key)
        .stdin(Stdio::null())
        .output()
        .context("`ssh-keygen` did not start; hint: scripts/install-test-parts installs Debian's `openssh-client`")?;
    if !output.status.success() {
        bail!("`ssh-keygen` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let host_key = std::fs::read_to_string(key.with_extension("pub"))?.trim().to_owned();
    Ok(SshEndpoint { user: "git".to_owned(), host: "127.0.0.1".to_owned(), port: free_port()?, host_key })
}

fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(TEST_GITEA).filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    crate::tool("gitea")
}

fn configuration_text(folder: &Path, port: u16, settings: Settings, ssh: Option<&SshEndpoint>) -> String {
    let folder = folder.display();
    let Settings { refresh_tokens, access_token_seconds, .. } = settings;
    let ssh = match ssh {
        None => "DISABLE_SSH = true\n".to_owned(),
        Some(SshEndpoint { user, host, port, .. }) => format!(
            "START_SSH_SERVER = true\nBUILTIN_SSH_SERVER_USER = {user}\nSSH_USER = {user}\nSSH_DOMAIN = {host}\nSSH_PORT = {port}\n\
             SSH_LISTEN_HOST = {host}\nSSH_LISTEN_PORT = {port}\nSSH_SERVER_HOST_KEYS = {folder}/host_key\nSSH_ROOT_PATH = {folder}/ssh\n"
        ),
    };
    let rotating = refresh_tokens == RefreshTokens::Rotating;
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(whoami);
    // Gitea takes root only when told so in these words; what it may do here is bounded by loopback and a folder of its own.
    format!(
        "APP_NAME = Gitea of the tests\nRUN_MODE = prod\nRUN_USER = {user}\nI_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\nWORK_PATH = {folder}\n\
         [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://127.0.0.1:{port}/\nOFFLINE_MODE = true\n\
         LFS_START_SERVER = false\n{ssh}\
         [database]\nDB_TYPE = sqlite3\nPATH = {folder}/gitea.db\nSQLITE_JOURNAL_MODE = WAL\nSQLITE_TIMEOUT = 20000\n\
         [security]\nINSTALL_LOCK = true\nPASSWORD_HASH_ALGO = pbkdf2$1000$50\nMIN_PASSWORD_LENGTH = 1\nPASSWORD_COMPLEXITY = off\n\
         [service]\nDISABLE_REGISTRATION = true\n\
         [oauth2]\nJWT_SIGNING_ALGORITHM = ES256\nINVALIDATE_REFRESH_TOKENS = {rotating}\n\
         ACCESS_TOKEN_EXPIRATION_TIME = {access_token_seconds}\n\
         [webhook]\nALLOWED_HOST_LIST = loopback,private\n\
         [picture]\nDISABLE_GRAVATAR = true\n[mailer]\nENABLED = false\n[actions]\nENABLED = false\n[packages]\nENABLED = false\n\
         [indexer]\nISSUE_INDEXER_TYPE = db\n[cron]\nENABLED = false\n[cron.update_checker]\nENABLED = false\n\
         [log]\nMODE = console\nLEVEL = Info\n"
    )
}

fn whoami() -> String {
    let output = Command::new("id").arg("-un").output();
    output.map_or_else(|_| "root".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A program that sees nothing of the machine's own configuration.
fn clean(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8")
        .current_dir(folder);
    command
}

fn run(program: &Path, configuration: &Path, arguments: &[&str]) -> Result<String> {
    let folder = configuration.parent().unwrap_or(Path::new("/"));
    let output = clean(program, folder)
        .arg("--config")
        .arg(configuration)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{}` did not start; hint: scripts/install-gitea builds it", program.display()))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("`gitea {}` failed: {} {}", arguments[0], said(&output.stdout), said(&output.stderr));
    }
    Ok(said(&output.stdout))
}

/// A shell that runs the server, and ends it and removes its folder when our end of its standard input closes, which the kernel
/// does for us also after a crash.
fn keep_running(program: &Path, folder: &Path) -> Result<Child> {
    const SCRIPT: &str = "\"$PROGRAM\" --config \"$FOLDER/app.ini\" web >\"$FOLDER/log\" 2>&1 </dev/null & server=$!; \
        read -r _; kill -KILL \"$server\"; wait \"$server\"; cd /; rm -rf \"$FOLDER\"";
    clean(Path::new("sh"), folder)
        .args(["-c", SCRIPT])
        .env("PROGRAM", program)
        .env("FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("the shell around Gitea did not start")
}
