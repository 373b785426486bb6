//! The ways to a repository: over SSH with a key, over HTTP with the source's credential or with none.
//!
//! The invariant: a secret lies in a file that only this user may read, in the build's own folder, from just before the fetch until just
//! after it; git gets the file's name and nothing else, so no argument, environment, address, log or `.git/config` holds it. Only
//! SSH servers that are known by their keys are spoken to. Deliberately elsewhere: which commands in which order (`checkout`), where a
//! submodule may lead to (`reach`), git's fixed settings (`git`).

use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use slipway_model::FailureCode;
use slipway_wire::{Credential, Source, SshAccess};
use url::Url;

use crate::failure::Failure;
use crate::git::header;
use crate::home::BuildDir;
use crate::process::Ended;

/// The name under which the server's keys are noted: independent of address and port.
const HOST_ALIAS: &str = "slipway-source";

/// A way to a repository. What it needs is removed when it goes, and there is one at a time.
pub(crate) struct Way {
    /// For `git fetch`, without any secret.
    pub(crate) url: String,
    /// What git may speak.
    pub(crate) protocols: &'static str,
    /// For git's environment: names of files.
    pub(crate) environment: Vec<(&'static str, String)>,
    folder: PathBuf,
}

impl Drop for Way {
    fn drop(&mut self) {
        // The build's folder goes as a whole later, so a failure here only delays it.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn refused(url: &str, why: &str) -> Failure {
    let shown: String = url.chars().filter(|c| !c.is_control()).take(200).collect();
    Failure::new(FailureCode::SourceUnavailable, format!("clone address `{shown}` {why}"))
}

fn private_folder(dir: &BuildDir) -> Result<PathBuf, Failure> {
    let folder = dir.access();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(no_folder)?;
    Ok(folder)
}

fn no_folder(error: std::io::Error) -> Failure {
    Failure::internal("the build's folder cannot be written", error)
}

impl Way {
    /// Over HTTP, with the credential of the source when it has one.
    pub(crate) fn http(source: &Source, dir: &BuildDir) -> Result<Self, Failure> {
        let address = source.clone_url.as_str();
        let url: Url = address.parse().map_err(|_| refused(address, "is no address"))?;
        let protocols = match url.scheme() {
            "https" => "https",
            "http" => "http",
            _ => return Err(refused(address, "is neither `https://` nor `http://`")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(address, "has a credential in it"));
        }
        let mut way = Self { url: url.to_string(), protocols, environment: Vec::new(), folder: private_folder(dir)? };
        if let Some(credential) = &source.credential {
            let file = way.write("git.config", &bound_to(&url, credential))?;
            way.environment.push(("GIT_CONFIG_GLOBAL", file));
        }
        Ok(way)
    }

    /// Over HTTP without a credential. A host that is at no provider is bound to the addresses that were looked at.
    pub(crate) fn anonymous(url: &Url, bound: Option<&[IpAddr]>, dir: &BuildDir) -> Result<Self, Failure> {
        let protocols = if url.scheme() == "https" { "https" } else { "http" };
        let mut way = Self { url: url.to_string(), protocols, environment: Vec::new(), folder: private_folder(dir)? };
        if let (Some(addresses), Some(host), Some(port)) = (bound, url.host_str(), url.port_or_known_default()) {
            let addresses: Vec<String> = addresses.iter().map(|address| bracketed(*address)).collect();
            let file = way.write("git.config", &format!("[http]\n\tcurloptResolve = {host}:{port}:{}\n", addresses.join(",")))?;
            way.environment.push(("GIT_CONFIG_GLOBAL", file));
        }
        Ok(way)
    }

    /// The source over SSH, to one of the servers that are configured for its provider.
    pub(crate) fn ssh(access: &SshAccess, dir: &BuildDir) -> Result<Self, Failure> {
        let url = ssh_url(&access.url)?;
        if !access.host_keys.iter().any(|key| is_public_key(key)) {
            return Err(refused(&access.url, "has no known server: no SSH host key is configured for its provider"));
        }
        Self::with_key(url, &access.private_key, &access.host_keys, None, dir)
    }

    /// Over SSH with this key to a server with one of these; at `bound` where its name was looked up before.
    pub(crate) fn with_key(
        url: String,
        private_key: &str,
        host_keys: &[String],
        bound: Option<IpAddr>,
        dir: &BuildDir,
    ) -> Result<Self, Failure> {
        let known: Vec<String> = host_keys.iter().filter_map(|key| known_host(key)).collect();
        let mut way = Self { url, protocols: "ssh", environment: Vec::new(), folder: private_folder(dir)? };
        let known = way.write("known_hosts", &known.concat())?;
        let key = way.write("key", &format!("{}\n", key_text(private_key)))?;
        way.environment.push(("GIT_SSH_COMMAND", ssh_command(&key, &known, bound)));
        way.environment.push(("GIT_SSH_VARIANT", "ssh".to_owned()));
        Ok(way)
    }

    fn write(&self, name: &str, content: &str) -> Result<String, Failure> {
        let path = self.folder.join(name);
        BuildDir::write_private(&path, content).map_err(no_folder)?;
        path.into_os_string().into_string().map_err(|_| Failure::internal("the build's folder", "its name is not UTF-8"))
    }
}

/// Git's configuration that sends the credential to this repository's address (the longest prefix that git matches) and nowhere else.
fn bound_to(url: &Url, credential: &Credential) -> String {
    let section = url.as_str().replace('\\', "\\\\").replace('"', "\\\"");
    format!("[http \"{section}\"]\n\textraHeader = \"{}\"\n", header(credential))
}

/// An address that neither git nor ssh can read as anything else.
pub(crate) fn ssh_url(address: &str) -> Result<String, Failure> {
    let url: Url = address.parse().map_err(|_| refused(address, "is no address"))?;
    if url.scheme() != "ssh" || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(refused(address, "is no plain `ssh://` address"));
    }
    let plain = |text: &str, more: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || more.contains(c))
    };
    if !plain(url.host_str().unwrap_or_default(), "[:]") || !plain(url.username(), "") || !url.path().starts_with('/') {
        return Err(refused(address, "has an odd user, host or path"));
    }
    Ok(url.to_string())
}

/// A server's line among the known ones.
pub(crate) fn known_host(key: &str) -> Option<String> {
    is_public_key(key).then(|| format!("{HOST_ALIAS} {key}\n"))
}

/// `ssh-ed25519 AAAA...` and nothing that could be another line, a marker or a pattern.
fn is_public_key(key: &str) -> bool {
    let mut words = key.split(' ');
    let kind = words.next().unwrap_or_default();
    let body = words.next().unwrap_or_default();
    let kind_is_plain =
        kind.starts_with(|c: char| c.is_ascii_lowercase()) && kind.chars().all(|c| c.is_ascii_alphanumeric() || "-@.".contains(c));
    let body_is_plain = body.len() >= 16 && body.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c));
    kind_is_plain && body_is_plain && !key.contains(char::is_control)
}

/// A private key as OpenSSH reads it. Docker Hub's words were to write the line ends of `SSH_PRIVATE` as `\n`.
pub(crate) fn key_text(key: &str) -> String {
    let key = key.replace('\r', "");
    let key = key.trim();
    if key.contains('\n') { key.to_owned() } else { key.replace("\\n", "\n").trim().to_owned() }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// For a shell: git hands this to one.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn ssh_command(key: &str, known_hosts: &str, bound: Option<IpAddr>) -> String {
    let options = [
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "ClearAllForwardings=yes",
        "ProxyCommand=none",
        "ConnectTimeout=30",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "LogLevel=ERROR",
    ];
    let options: String = options.iter().map(|option| format!(" -o {option}")).collect();
    // Within its own value ssh takes quotes for spaces and `%` for tokens.
    let known_hosts = format!("UserKnownHostsFile=\"{}\"", known_hosts.replace('%', "%%"));
    let key = key.replace('%', "%%");
    let bound = bound.map(|address| format!(" -o HostName={address}")).unwrap_or_default();
    format!("ssh -F /dev/null -i {}{options}{bound} -o HostKeyAlias={HOST_ALIAS} -o {}", quoted(&key), quoted(&known_hosts))
}

/// Why a fetch over SSH came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SshTrouble {
    /// The server is not one that is known: somebody may stand in between.
    OtherServer,
    /// The server does not take the key, for this repository.
    KeyRefused(String),
    /// There was no talking to it.
    Unreachable(String),
}

/// What ssh's words mean; `None` when they are git's own.
pub(crate) fn ssh_trouble(ended: &Ended) -> Option<SshTrouble> {
    const REFUSED: [&str; 6] =
        ["permission denied", "repository not found", "access denied", "could not be found", "does not have access", "no such repository"];
    const AWAY: [&str; 9] = [
        "connection refused",
        "connection reset",
        "connection closed",
        "connection timed out",
        "operation timed out",
        "could not resolve",
        "no route to host",
        "network is unreachable",
        "ssh: not found",
    ];
    let line_with = |signs: &[&str]| {
        let found = ended.stderr.lines().find(|line| {
            let line = line.to_ascii_lowercase();
            signs.iter().any(|sign| line.contains(sign))
        });
        found.map(|line| line.trim().trim_start_matches("fatal: ").to_owned())
    };
    if line_with(&["host key verification failed", "host identification has changed", "no matching host key"]).is_some() {
        return Some(SshTrouble::OtherServer);
    }
    line_with(&REFUSED).map(SshTrouble::KeyRefused).or_else(|| line_with(&AWAY).map(SshTrouble::Unreachable))
}

#[cfg(test)]
mod tests {
    use slipway_wire::SshKey;

    use super::*;

    fn source(url: &str) -> Source {
        Source {
            base: None,
            clone_url: url.to_owned(),
            credential: Some(Credential { username: "x".into(), password: "hunter2-hunter2".into() }),
            ssh: None,
            credential_words: None,
            because: None,
            source_ref: "refs/heads/main".parse().expect("ref"),
            commit: "a".repeat(40).parse().expect("commit"),
            network: slipway_wire::Network::default(),
        }
    }

    fn access(url: &str) -> SshAccess {
        let host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMyWfL8G0ESOZrxhZ0mqbO7KCjTZFDdKAeWAyoPCmt9Y".to_owned();
        SshAccess { url: url.to_owned(), private_key: "not-a-real-key-hunter2".into(), host_keys: vec![host_key], key: SshKey::Deploy }
    }

    #[test]
    fn only_plain_web_addresses_are_fetched_from_over_http() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = BuildDir { path: folder.path().to_owned() };
        for url in
            ["file:///etc", "ssh://h/x", "ext::sh -c id", "EXT::sh", "fd::7", "-u", "https://u:p@h/x", "https://u@h/x", "", "git://h/x"]
        {
            assert!(Way::http(&source(url), &dir).is_err(), "{url}");
        }
        let way = Way::http(&source("https://example.org/a/b.git"), &dir).map_err(|failure| failure.reason).expect("way");
        assert_eq!((way.protocols, way.url.as_str()), ("https", "https://example.org/a/b.git"));
        let [("GIT_CONFIG_GLOBAL", file)] = way.environment.as_slice() else { panic!("{:?}", way.environment) };
        let written = std::fs::read_to_string(file).expect("file");
        assert!(written.starts_with("[http \"https://example.org/a/b.git\"]\n\textraHeader = \"Authorization: Basic "), "{written}");
        drop(way);
        assert!(!dir.access().exists(), "it goes after the fetch");
    }

    #[test]
    fn only_plain_ssh_addresses_with_known_servers_are_fetched_from() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = BuildDir { path: folder.path().to_owned() };
        let odd = [
            "https://h/x",
            "ssh://-oProxyCommand=id/x",
            "ssh://git@-oProxyCommand=id/x",
            "ssh://-l@h/x",
            "ssh://git:secret@h/x",
            "ssh://git@h/x?y",
            "ssh://git@h/x#y",
            "ssh://git@h$(id)/x",
            "ssh://git@/x",
            "git@h:x",
            "ext::sh -c id",
            "",
        ];
        for url in odd {
            assert!(Way::ssh(&access(url), &dir).is_err(), "{url}");
        }
        for url in ["ssh://git@example.org/a/b.git", "ssh://git@example.org:2222/a/b.git", "ssh://git@[::1]:22/a/b.git"] {
            assert!(Way::ssh(&access(url), &dir).is_ok(), "{url}");
        }
        for hostile in [
            "",
            "ssh-ed25519",
            "* ssh-ed25519 AAAAAAAAAAAAAAAAAAAA",
            "@cert-authority * ssh-ed25519 AAAAAAAAAAAAAAAAAAAA",
            "ssh-ed25519 AAAAAAAAAAAAAAAAAAAA\nx y",
        ] {
            let access = SshAccess { host_keys: vec![hostile.into()], ..access("ssh://git@example.org/a/b.git") };
            assert!(Way::ssh(&access, &dir).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn the_key_lies_in_a_private_file_and_is_named_by_its_path_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let dir = BuildDir { path: folder.path().join("it's a % folder") };
        std::fs::create_dir(&dir.path).expect("folder");
        let way = Way::ssh(&access("ssh://git@example.org/a/b.git"), &dir).map_err(|failure| failure.reason).expect("way");
        assert!(!format!("{:?} {}", way.environment, way.url).contains("hunter2"));
        let mode = |name: &str| std::fs::metadata(dir.access().join(name)).expect("file").permissions().mode() & 0o777;
        assert_eq!((mode("key"), mode("known_hosts"), mode("")), (0o600, 0o600, 0o700));
        assert!(way.environment[0].1.contains(r"it'\''s a %% folder"), "{}", way.environment[0].1);
    }

    #[test]
    fn a_key_survives_in_each_form_in_which_people_save_it() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\nAAAA+/==\n-----END OPENSSH PRIVATE KEY-----";
        assert_eq!(key_text(&format!("{key}\n")), key);
        assert_eq!(key_text(&key.replace('\n', "\r\n")), key);
        assert_eq!(key_text(&format!("{}\\n", key.replace('\n', "\\n"))), key);
    }

    #[test]
    fn a_host_that_was_looked_up_is_looked_up_once() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = BuildDir { path: folder.path().to_owned() };
        let addresses = ["192.0.2.7".parse().expect("address"), "2001:db8::7".parse().expect("address")];
        let url: Url = "https://git.example/a/b.git".parse().expect("url");
        let way = Way::anonymous(&url, Some(&addresses), &dir).map_err(|failure| failure.reason).expect("way");
        let written = std::fs::read_to_string(&way.environment[0].1).expect("file");
        assert_eq!(written, "[http]\n\tcurloptResolve = git.example:443:192.0.2.7,[2001:db8::7]\n");
        drop(way);
        let access = access("ssh://git@git.example/a/b.git");
        let way = Way::with_key(access.url, "k", &access.host_keys, Some(addresses[0]), &dir).map_err(|failure| failure.reason);
        assert!(way.expect("way").environment[0].1.contains(" -o HostName=192.0.2.7 -o HostKeyAlias="));
    }

    #[test]
    fn sshs_words_become_reasons() {
        let of = |stderr: &str| ssh_trouble(&Ended { code: Some(128), stdout: Vec::new(), stderr: stderr.to_owned() });
        let end = "fatal: Could not read from remote repository.\n";
        assert_eq!(of(&format!("Host key verification failed.\r\n{end}")), Some(SshTrouble::OtherServer));
        let said = of(&format!("git@h: Permission denied (publickey).\r\n{end}"));
        assert_eq!(said, Some(SshTrouble::KeyRefused("git@h: Permission denied (publickey).".into())));
        assert_eq!(
            of(&format!("ERROR: Repository not found.\n{end}")),
            Some(SshTrouble::KeyRefused("ERROR: Repository not found.".into()))
        );
        let away = "ssh: connect to host h port 22: Connection refused";
        assert_eq!(of(&format!("{away}\r\n{end}")), Some(SshTrouble::Unreachable(away.into())));
        assert_eq!(of("fatal: couldn't find remote ref refs/heads/main"), None);
    }
}
