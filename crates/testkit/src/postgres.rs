//! Throw-away PostgreSQL databases: one private cluster for each test process, or the server that
//! `SLIPWAY_TEST_POSTGRES_URL` names.
//! Invariant: without PostgreSQL a test fails with a message that says what to install; it is never skipped. The cluster
//! dies with the process, however that ends.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

/// Names a server to use instead of a private one: `postgres://user:password@host:port/database`.
pub const TEST_POSTGRES_URL: &str = "SLIPWAY_TEST_POSTGRES_URL";
const START_WITHIN: Duration = Duration::from_secs(60);

/// A fresh, empty database.
#[derive(Debug)]
pub struct Database {
    name: String,
    server: &'static Server,
}

impl Database {
    /// `postgres://...` of this database.
    pub fn url(&self) -> String {
        let (base, query) = self.server.url.split_once('?').unwrap_or((&self.server.url, ""));
        let base = base.rsplit_once('/').map_or(base, |(base, _)| base);
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        format!("{base}/{}{query}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A private cluster goes away as a whole; on somebody's server nothing may stay behind.
        if self.server.keeper.is_none()
            && let Err(error) = self.server.sql(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name))
        {
            tracing::warn!(%error, name = self.name, "the test database stays behind");
        }
    }
}

#[derive(Debug)]
struct Server {
    url: String,
    /// Holds the pipe whose closing stops the cluster. Lives as long as the process.
    keeper: Option<Child>,
}

/// A cluster of one test's own, which it may kill. It goes with this value.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    folder: String,
}

impl Cluster {
    /// Starts one, with one empty database.
    pub async fn start() -> Result<Self> {
        tokio::task::spawn_blocking(|| private_cluster().map(|(server, folder)| Self { server, folder })).await?
    }

    /// `postgres://...` of its database.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// SIGKILL to the server and every process of it, as the kernel does when memory ends.
    pub fn kill(&mut self) -> Result<()> {
        self.say("kill")
    }

    /// Starts it again on the same folder and port, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.say("start")?;
        wait_for(&self.server, &self.folder)
    }

    fn say(&mut self, word: &str) -> Result<()> {
        let pipe = self.server.keeper.as_mut().and_then(|keeper| keeper.stdin.as_mut()).context("a cluster has its keeper")?;
        writeln!(pipe, "{word}").context("the shell around PostgreSQL does not listen")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.server.keeper.take() {
            drop(keeper.stdin.take());
            // The shell ends the server and removes the folder; nobody is left to tell when it cannot.
            keeper.wait().ok();
        }
    }
}

/// A new empty database on this process's PostgreSQL.
pub async fn fresh_database() -> Result<Database> {
    tokio::task::spawn_blocking(fresh_database_blocking).await?
}

/// `fresh_database` for code outside of a runtime.
pub fn fresh_database_blocking() -> Result<Database> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let server = SERVER
        .get_or_init(|| server().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|why| anyhow!("no PostgreSQL for the tests: {why}"))?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("slipway_test_{}_{number}", std::process::id());
    server.sql(&format!("CREATE DATABASE {name}"))?;
    Ok(Database { name, server })
}

fn server() -> Result<Server> {
    match std::env::var(TEST_POSTGRES_URL) {
        Ok(url) if !url.is_empty() => {
            let server = Server { url, keeper: None };
            server.sql("SELECT 1").with_context(|| format!("the server in `{TEST_POSTGRES_URL}` does not answer"))?;
            Ok(server)
        }
        _ => private_cluster().map(|(server, _)| server),
    }
}

impl Server {
    fn sql(&self, statement: &str) -> Result<()> {
        let output = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", statement, &self.url])
            .stdin(Stdio::null())
            .output()
            .context("`psql` did not start; hint: scripts/install-test-parts installs Debian's `postgresql`")?;
        if output.status.success() {
            return Ok(());
        }
        bail!("`{statement}`: {}", String::from_utf8_lossy(&output.stderr).trim())
    }
}

/// The newest of Debian's versions, or whatever stands on PATH.
fn programs() -> Result<PathBuf> {
    let debian = Path::new("/usr/lib/postgresql");
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(debian)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort_unstable();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists())
        .context("PostgreSQL is not installed; hint: scripts/install-test-parts installs Debian's `postgresql`")
}

/// PostgreSQL refuses to run as root, so root becomes `postgres`.
fn as_postgres(program: &str) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--", program]);
    command
}

fn checked(mut command: Command, what: &str) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{what} did not start"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    bail!("{what} failed: {}", String::from_utf8_lossy(&output.stderr).trim())
}

fn private_cluster() -> Result<(Server, String)> {
    let bin = programs()?;
    let mut make_folder = as_postgres("mktemp");
    make_folder.args(["--directory", "--tmpdir", "slipway-postgres-XXXXXXXX"]).env_remove("TMPDIR");
    let folder = checked(make_folder, "mktemp")?;
    let password: String = (0..16).map(|_| format!("{:02x}", rand::random::<u8>())).collect();
    let mut initialise = as_postgres("sh");
    // The password goes in by the environment and a file that only its owner can read.
    initialise.env("CLUSTER", &folder).env("SECRET", &password).env("BIN", &bin).current_dir("/").args([
        "-c",
        "umask 077; printf %s \"$SECRET\" >\"$CLUSTER/password\" && exec \"$BIN/initdb\" --pgdata=\"$CLUSTER/data\" \
         --username=postgres --pwfile=\"$CLUSTER/password\" --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync",
    ]);
    checked(initialise, "initdb")?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let keeper = keep_running(&bin, &folder, port)?;
    let server = Server { url: format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres"), keeper: Some(keeper) };
    wait_for(&server, &folder)?;
    Ok((server, folder))
}

/// A shell that runs the server, kills it and starts it again when it is told so, and stops it when our end of its standard input closes,
/// which the kernel does for us also after a crash.
fn keep_running(bin: &Path, folder: &str, port: u16) -> Result<Child> {
    const SCRIPT: &str = r#"
start() {
    "$BIN/postgres" -D "$CLUSTER/data" -p "$PORT" -h 127.0.0.1 -c unix_socket_directories='' -c fsync=off -c full_page_writes=off \
        -c max_connections=300 -c shared_buffers=64MB -c log_min_messages=warning >>"$CLUSTER/log" 2>&1 </dev/null & server=$!
}
start
while read -r word; do
    case $word in
    kill) children=$(ps -o pid= --ppid "$server"); kill -KILL "$server" $children; wait "$server" ;;
    start) start ;;
    esac
done
kill -QUIT "$server"; wait "$server"; rm -rf "$CLUSTER""#;
    as_postgres("sh")
        .args(["-c", SCRIPT])
        .env("BIN", bin)
        .env("CLUSTER", folder)
        .env("PORT", port.to_string())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("the shell around PostgreSQL did not start")
}

fn wait_for(server: &Server, folder: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let error = match server.sql("SELECT 1") {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if started.elapsed() > START_WITHIN {
            let log = std::fs::read_to_string(format!("{folder}/log")).unwrap_or_default();
            bail!("the cluster did not answer within {} s: {error}; its log: {log}", START_WITHIN.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
