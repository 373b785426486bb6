//! An engine of its own for one trust scope, and programs beside it: what serves hooks and tests, and everything of the untrusted lane.
//!
//! The invariant: nothing in here is more than an ordinary user of the machine, sees more of its files than its programs, or reaches its
//! loopback, its own addresses or a private network; and all of it ends with the builder. Whose engine it is decides `scopes`; the scripts say
//! how it is put together. Deliberately elsewhere: what is run in it (`hooks`, `sut`, `image`). It is one kernel: whoever has a flaw of the
//! kernel gets out, and hostile users need machines of their own.

mod relay;
mod scopes;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use slipway_buildkit::{Client, Engine, EngineAddress};
use slipway_model::FailureCode;
use tokio::process::{Child, ChildStdin, Command};

use self::relay::{RegistryAddress, Relay};
pub(crate) use self::scopes::{Scopes, Seat};
use crate::failure::Failure;
use crate::process::{PATH, Program};

const ROOT: &str = include_str!("root.sh");
const ENGINE: &str = include_str!("engine.sh");
const GATE: &str = include_str!("gate.sh");
const DOCKERD: &str = include_str!("dockerd.sh");
const INSIDE: &str = include_str!("inside.sh");
const START_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// Not of the public internet: `gate.sh` refuses them, and the machine's own addresses.
const PRIVATE: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];
/// What the scripts are made of, with the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("dockerd", "docker.io"),
    ("slirp4netns", "slirp4netns"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("prlimit", "util-linux"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
];

/// What an engine of its own reaches beside the public internet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reach {
    registry: RegistryAddress,
    /// Networks that are not public and may be reached all the same, as the administrator says: `10.1.0.0/16`.
    allowed: Vec<String>,
}

/// Why this builder cannot have engines of their own; `None` when it can.
pub(crate) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("the builder does not run as root".to_owned());
    }
    let missing = PROGRAMS.iter().find(|(program, _)| !PATH.split(':').any(|folder| Path::new(folder).join(program).exists()));
    missing.map(|(program, package)| format!("`{program}` is not installed (Debian's package `{package}`)"))
}

/// A running engine. It ends when this goes.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    folder: PathBuf,
    /// The machine's user that is root inside.
    base: u32,
    _api: File,
    user: File,
    network: File,
    reach: Reach,
    _relay: Relay,
    process: std::sync::Mutex<Child>,
    _life: ChildStdin,
}

impl Sandbox {
    /// Starts the engine of a folder and waits until it answers.
    async fn start(folder: &Path, base: u32, reach: Reach) -> Result<Self, Failure> {
        let registry = &reach.registry;
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::passing(FailureCode::EngineUnavailable, format!("an engine of its own for this build: {what}: {error}"))
        };
        prepare(folder, base).map_err(|error| failed("its folder", &error))?;
        let log = File::create(folder.join("log")).map_err(|error| failed("its log", &error))?;
        let refused = [PRIVATE.iter().map(|network| (*network).to_owned()).collect(), own_addresses().await].concat().join(" ");
        let insecure: &[&str] = if registry.insecure { &[registry.host.as_str()] } else { &[] };
        let settings = serde_json::json!({
            "features": { "buildkit": true },
            "insecure-registries": insecure,
            "builder": { "gc": { "enabled": true, "defaultKeepStorage": "10GB" } },
        });
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-c", &format!("{ROOT}{ENGINE}")]);
        command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").current_dir("/");
        command.env("HOME", "/run").env("XDG_RUNTIME_DIR", "/run").env("ROOTLESSKIT_STATE_DIR", "/run");
        command.env("root", folder.join("root")).env("SLIPWAY_HOME", folder).env("SLIPWAY_BASE", base.to_string());
        command.env("SLIPWAY_GATE", GATE).env("SLIPWAY_ENGINE", DOCKERD).env("SLIPWAY_DOCKERD", settings.to_string());
        command.env("SLIPWAY_ALLOWED", reach.allowed.join(" ")).env("SLIPWAY_REFUSED", refused);
        command.env("SLIPWAY_ADDRESSES", registry.extra_address().map(|address| address.to_string()).unwrap_or_default());
        command.env("SLIPWAY_NAMES", names(registry));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| failed("it cannot be started", &error))?;
        let life = process.stdin.take().ok_or_else(|| failed("it cannot be started", &"no pipe"))?;
        // By the open folder: the path of a socket may have 107 bytes only.
        let api = File::open(folder.join("api")).map_err(|error| failed("its address", &error))?;
        let socket = PathBuf::from(format!("/proc/self/fd/{}/sock", api.as_raw_fd()));
        let address: EngineAddress = format!("unix://{}", socket.display())
            .parse()
            .map_err(|error: slipway_buildkit::AddressError| failed("its address", &error))?;
        let engine = Engine::new(address.clone());
        let answering = async {
            loop {
                if let Ok(Some(_)) = process.try_wait() {
                    return Err(failed("it ended at once", &last_words(&folder.join("log"))));
                }
                if socket.exists() && engine.info().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(START_LIMIT, answering).await {
            Ok(answer) => answer?,
            Err(_) => return Err(failed("it did not answer in time", &last_words(&folder.join("log")))),
        }
        let namespaces = namespaces(&socket).map_err(|error| failed("its namespaces", &error));
        let (user, network) = namespaces?;
        let inner = network.try_clone().map_err(|error| failed("its network", &error))?;
        let relay = Relay::open(inner, registry).await.map_err(|error| failed("its way to the registry", &error))?;
        Ok(Self {
            engine,
            client: Client::new(address),
            folder: folder.to_owned(),
            base,
            _api: api,
            user,
            network,
            reach,
            _relay: relay,
            process: std::sync::Mutex::new(process),
            _life: life,
        })
    }

    /// Ends it and everything in it, and waits for that.
    async fn end(self) {
        self.kill().await;
    }

    /// The same while others still hold it: their programs and requests fail.
    async fn kill(&self) {
        let pid = {
            let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            process.start_kill().ok();
            process.id()
        };
        // The kernel ends the whole process namespace before its first process counts as ended.
        while pid.is_some() && !self.has_ended() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether it has ended by itself.
    fn has_ended(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        !matches!(process.try_wait(), Ok(None))
    }

    /// A program that is run beside the engine, in a folder of the source that `name` stands for.
    ///
    /// It has no environment but what lies in `private/environment`, as lines for a shell: what a person wrote must not reach the shell
    /// that is still root of the machine.
    fn program(&self, name: &str, private: &Path, folder: &str, program: &str) -> Program {
        let link = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Program::new("nsenter", &self.folder)
            .args([&format!("--net={}", link(&self.network)), "--", "unshare", "--mount", "--ipc", "--uts", "--pid", "--fork"])
            .args(["--kill-child=KILL", "sh", "-c", &format!("{ROOT}{INSIDE}"), "sh", folder, program])
            .env("root", self.folder.join("root"))
            .env("SLIPWAY_HOME", &self.folder)
            .env("SLIPWAY_USER", link(&self.user))
            .env("SLIPWAY_NAME", name)
            .env("SLIPWAY_NAMES", names(&self.reach.registry))
            .env("SLIPWAY_PRIVATE", private)
            .alive_with_us()
    }
}

/// For a line of `/etc/hosts`.
fn names(registry: &RegistryAddress) -> String {
    registry.extra_name().map(|name| format!(" {name}")).unwrap_or_default()
}

/// The parts of an engine's folder. Its data belong to the user that is root inside, so they are found again by the same one.
fn prepare(folder: &Path, base: u32) -> io::Result<()> {
    for part in ["root", "work", "data", "api"] {
        let path = folder.join(part);
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        if matches!(part, "data" | "api") {
            std::os::unix::fs::chown(&path, Some(base), Some(base))?;
        }
    }
    // An engine that was killed leaves its socket.
    match std::fs::remove_file(folder.join("api/sock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The namespaces of whoever listens at a socket, held open: the number of a process may come to mean another one.
fn namespaces(socket: &Path) -> io::Result<(File, File)> {
    let stream = UnixStream::connect(socket)?;
    let pid = socket_peercred(&stream)?.pid.as_raw_nonzero();
    let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
    Ok((open("user")?, open("net")?))
}

/// The machine's own addresses: a service that listens on all of them is meant for its neighbours, not for builds.
async fn own_addresses() -> Vec<String> {
    let listed = Command::new("ip").args(["-4", "-o", "addr", "show"]).env("PATH", PATH).stdin(Stdio::null()).output().await;
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    addresses(&String::from_utf8_lossy(&listed))
}

/// Of lines like `2: eth0    inet 192.0.2.2/24 brd ...`.
fn addresses(listed: &str) -> Vec<String> {
    let mut words = listed.split_whitespace();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if word == "inet" {
            let address = words.next().unwrap_or_default().split('/').next().unwrap_or_default();
            found.extend(address.parse::<std::net::Ipv4Addr>().ok().filter(|address| !address.is_loopback()).map(|a| a.to_string()));
        }
    }
    found
}

/// The end of a log, for a person.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned();
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_addresses_are_read_of_what_ip_prints() {
        let listed = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n\
                      2: eth0    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0\\  valid_lft forever\n\
                      3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\n4: tun0    inet 10.8.0.6 peer 10.8.0.5/32 scope global tun0";
        assert_eq!(addresses(listed), ["192.0.2.2", "172.17.0.1", "10.8.0.6"]);
    }
}
