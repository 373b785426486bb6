//! An engine of its own for one build of one trust scope, and programs beside it: what serves hooks and tests, and everything of the untrusted lane.
//!
//! The invariant: nothing in here is more than an ordinary user of the machine, sees more of its files than its programs, or reaches its
//! loopback, its own addresses or a private network; and all of it ends with the builder. Whose engine it is decides `scopes`; the scripts say
//! how it is put together. Deliberately elsewhere: what is run in it (`hooks`, `sut`, `image`). It is one kernel: whoever has a flaw of the
//! kernel gets out, and hostile users need machines of their own.

mod bounds;
mod relay;
mod scopes;
mod seat;

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use slipway_buildkit::{AddressError, Client, Engine, EngineAddress};
use slipway_model::{FailureCode, Timestamp};
use tokio::process::{Child, ChildStdin, Command};

use self::bounds::Group;
use self::relay::{RegistryAddress, Relay};
pub(crate) use self::scopes::Scopes;
pub(crate) use self::seat::Seat;
use crate::config::EngineBounds;
use crate::failure::Failure;
use crate::process::{PATH, Program};

const ROOT: &str = include_str!("root.sh");
const ENGINE: &str = include_str!("engine.sh");
const GATE: &str = include_str!("gate.sh");
const DOCKERD: &str = include_str!("dockerd.sh");
const INSIDE: &str = include_str!("inside.sh");
/// Where the machine's control groups are seen.
const MACHINE_GROUPS: &str = "/sys/fs/cgroup";
const START_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const END_LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// Not of the public internet: `gate.sh` refuses them.
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
    ("setsid", "util-linux"),
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

/// Fails where this builder cannot have engines of their own.
pub(crate) fn ready() -> Result<(), Failure> {
    obstacle().map_or(Ok(()), |why| Err(Failure::no_own_engine(&why)))
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
    /// When it was started.
    begun: Timestamp,
    _relay: Relay,
    process: Process,
    /// After the processes that are in it.
    group: Group,
}

impl Sandbox {
    /// Starts the engine of a folder and waits until it answers.
    async fn start(folder: &Path, base: u32, reach: Reach, bounds: EngineBounds, begun: Timestamp) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::passing(FailureCode::EngineUnavailable, format!("an engine of its own for this build: {what}: {error}"))
        };
        prepare(folder, base).map_err(|error| failed("its folder", &error))?;
        let api = File::open(folder.join("api")).map_err(|error| failed("its address", &error))?;
        // By the open folder: the path of a socket may have 107 bytes only.
        let socket = format!("/proc/self/fd/{}/sock", api.as_raw_fd());
        let address: EngineAddress = format!("unix://{socket}").parse().map_err(|error: AddressError| failed("its address", &error))?;
        let listener = listen(Path::new(&socket), base).map_err(|error| failed("its address", &error))?;
        let log = File::create(folder.join("log")).map_err(|error| failed("its log", &error))?;
        let own = own_addresses().await.map_err(|error| failed("this machine's addresses", &error))?;
        let group = Group::make(&folder.file_name().unwrap_or_default().to_string_lossy(), bounds);
        let process =
            Process::spawn(command(folder, base, &reach, &own).env("SLIPWAY_GROUPS", group.folders()).stdout(listener).stderr(log));
        let process = process.map_err(|error| failed("it cannot be started", &error))?;
        let engine = Engine::new(address.clone());
        let started = async {
            process.until_it_answers(&engine).await.map_err(|why| failed(&why, &last_words(&folder.join("log"))))?;
            let (user, network) = process.namespaces().map_err(|error| failed("its namespaces", &error))?;
            let inner = network.try_clone().map_err(|error| failed("its network", &error))?;
            let relay = Relay::open(inner, &reach.registry, own.first().and_then(|address| address.parse().ok()))
                .await
                .map_err(|error| failed("its way to the registry", &error))?;
            Ok((user, network, relay))
        };
        match started.await {
            Ok((user, network, relay)) => Ok(Self {
                engine,
                client: Client::new(address),
                folder: folder.to_owned(),
                base,
                _api: api,
                user,
                network,
                reach,
                begun,
                _relay: relay,
                process,
                group,
            }),
            Err(failure) => {
                process.end().await;
                Err(failure)
            }
        }
    }

    /// Ends it and everything in it, and waits for that. Whoever still uses it fails.
    async fn end(&self) {
        self.process.end().await;
        self.group.remove();
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.has_ended()
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
            .env("SLIPWAY_GROUPS", self.group.folders())
            .env("SLIPWAY_NAMES", names(&self.reach.registry))
            .env("SLIPWAY_PRIVATE", private)
            .alive_with_us()
    }
}

/// What puts an engine together.
fn command(folder: &Path, base: u32, reach: &Reach, own: &[String]) -> Command {
    let registry = &reach.registry;
    // With the scheme: of a host alone the BuildKit of Docker Engine 20.10 tries HTTPS and nothing else, unless it is the loopback.
    let insecure: Vec<String> = registry.insecure.then(|| format!("http://{}", registry.host)).into_iter().collect();
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
    command.env("SLIPWAY_OWN", own.join(" ")).env("SLIPWAY_ALLOWED", reach.allowed.join(" ")).env("SLIPWAY_REFUSED", PRIVATE.join(" "));
    command.env("SLIPWAY_ADDRESSES", registry.extra_address().map(|address| address.to_string()).unwrap_or_default());
    command.env("SLIPWAY_NAMES", names(registry));
    command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// The processes of an engine, held by the first of them.
#[derive(Debug)]
struct Process {
    child: Mutex<Child>,
    /// The first process of its process namespace, which the kernel ends after all others.
    init: OnceLock<u32>,
    _life: ChildStdin,
}

impl Process {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let life = child.stdin.take().ok_or_else(|| io::Error::other("no pipe"))?;
        Ok(Self { child: Mutex::new(child), init: OnceLock::new(), _life: life })
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        !matches!(self.child().try_wait(), Ok(None))
    }

    /// Or says why it never will.
    async fn until_it_answers(&self, engine: &Engine) -> Result<(), String> {
        let answering = async {
            loop {
                if self.has_ended() {
                    return Err("it ended at once".to_owned());
                }
                let Some(init) = self.child().id().and_then(|pid| children(pid).ok()?.first().copied()) else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                self.init.get_or_init(|| init);
                if let Ok(Ok(_)) = tokio::time::timeout(ANSWER_LIMIT, engine.info()).await {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(START_LIMIT, answering).await.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
    }

    /// The engine's user and network namespace. They are taken from the processes above it, which nothing inside can choose.
    fn namespaces(&self) -> io::Result<(File, File)> {
        let lost = || io::Error::other("its processes are not as expected");
        let of = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/user"));
        let further_in = |above: u32| -> io::Result<u32> {
            let around = of(above)?;
            children(above)?.into_iter().find(|pid| of(*pid).is_ok_and(|inner| inner != around)).ok_or_else(lost)
        };
        let gate = further_in(*self.init.get().ok_or_else(lost)?)?;
        let shell = children(gate)?.first().copied().ok_or_else(lost)?;
        let engine = further_in(shell)?;
        let open = |kind: &str| File::open(format!("/proc/{engine}/ns/{kind}"));
        Ok((open("user")?, open("net")?))
    }

    /// Ends all of it and waits for that: data must not be touched before.
    async fn end(&self) {
        self.child().start_kill().ok();
        let gone = async {
            while !self.has_ended() || self.init.get().is_some_and(|init| Path::new(&format!("/proc/{init}")).exists()) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(END_LIMIT, gone).await.is_err() {
            tracing::warn!("an engine of its own does not end");
        }
    }
}

fn children(pid: u32) -> io::Result<Vec<u32>> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(listed.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

/// For a line of `/etc/hosts`.
fn names(registry: &RegistryAddress) -> String {
    registry.extra_name().map(|name| format!(" {name}")).unwrap_or_default()
}

/// The parts of an engine's folder. Its data belong to the user that is root inside, so they are found again by the same one; everything
/// else is the builder's.
fn prepare(folder: &Path, base: u32) -> io::Result<()> {
    for part in ["root", "seats", "data", "api"] {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder.join(part))?;
    }
    std::os::unix::fs::chown(folder.join("data"), Some(base), Some(base))
}

/// The engine's listening socket, which it is given: in a folder of the builder's, so that whoever dials it meets the engine.
fn listen(socket: &Path, base: u32) -> io::Result<OwnedFd> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::os::unix::fs::chown(socket, Some(base), Some(base))?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listener.into())
}

/// The machine's own addresses: a service that listens on all of them is meant for its neighbours, not for builds.
async fn own_addresses() -> io::Result<Vec<String>> {
    let listed = Command::new("ip").args(["-4", "-o", "addr", "show"]).env("PATH", PATH).stdin(Stdio::null()).output().await?;
    if !listed.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&listed.stderr).trim().to_owned()));
    }
    Ok(addresses(&String::from_utf8_lossy(&listed.stdout)))
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

/// The end of a log, for a person. What is inside can make it as long as it likes.
fn last_words(log: &Path) -> String {
    let mut text = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2000)))?;
        file.take(2000).read_to_end(&mut text)
    });
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.filter(|_| read.is_ok()).unwrap_or("no message").to_owned()
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
