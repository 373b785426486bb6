//! Where a submodule may lead to, and by which keys its SSH server is known.
//!
//! The invariant: a host is a configured provider's, by scheme, name and port, or each of its addresses is public (or allowed by the
//! administrator), and then git connects to the addresses that were looked at and looks nothing up itself. An SSH server is known by a key
//! beforehand; none is ever learned. Deliberately elsewhere: which addresses are public (`slipway-model`), how git is bound (`access`).

use std::net::IpAddr;
use std::time::Duration;

use slipway_model::AddressRefused;
use slipway_wire::{Network, ProviderHost, SshServer};
use url::{Host, Url};

use crate::gitmodules::SshAddress;

const LOOK_UP_LIMIT: Duration = Duration::from_secs(10);
const MAX_KNOWN_HOSTS: usize = 200;

/// Finds the addresses of a name.
#[derive(Debug, Clone)]
pub(crate) enum Resolver {
    /// The machine's.
    System,
    /// What a test says.
    #[cfg(test)]
    Fixed(std::collections::BTreeMap<String, Vec<IpAddr>>),
}

/// What may be reached.
#[derive(Debug, Clone)]
pub(crate) struct Reach<'a> {
    pub(crate) network: &'a Network,
    pub(crate) known_hosts: &'a str,
    pub(crate) resolver: &'a Resolver,
}

impl<'a> Reach<'a> {
    /// The provider at this address.
    pub(crate) fn provider(&self, url: &Url) -> Option<&'a ProviderHost> {
        self.network.providers.iter().find(|provider| Url::parse(&provider.url).is_ok_and(|own| own.origin() == url.origin()))
    }

    /// The provider with this SSH server.
    pub(crate) fn provider_over_ssh(&self, address: &SshAddress) -> Option<(&'a ProviderHost, &'a SshServer)> {
        let is_it = |ssh: &SshServer| ssh.port == address.port && ssh.host.eq_ignore_ascii_case(&address.host);
        self.network.providers.iter().find_map(|provider| Some((provider, provider.ssh.as_ref().filter(|ssh| is_it(ssh))?)))
    }

    /// Where git may connect to for a host at no provider.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        // The address parser of the web also reads `127.1` and `0x7f.1`, as programs do that connect.
        let url = Url::parse(&format!("https://{host}/")).map_err(|_| format!("`{host}` is no host"))?;
        let refuse = |refused: AddressRefused| refused.to_string();
        self.network.egress.check_host(&url).map_err(refuse)?;
        let name = match url.host() {
            Some(Host::Ipv4(address)) => return Ok(vec![address.into()]),
            Some(Host::Ipv6(address)) => return Ok(vec![address.into()]),
            // Whether one at the end is the same name is not the same for all programs.
            Some(Host::Domain(name)) if !name.ends_with('.') => name,
            _ => return Err(format!("`{host}` is no plain name of a host")),
        };
        let found = self.resolver.look_up(name).await?;
        // Who gives a name both kinds of addresses wants to be asked twice.
        if found.iter().any(|address| !self.network.egress.permits(name, *address)) {
            return Err(refuse(AddressRefused::host(&url)));
        }
        Ok(found)
    }

    /// The keys of an SSH server: its provider's, or those in the repository's variable.
    pub(crate) fn host_keys(&self, address: &SshAddress) -> Result<Vec<String>, String> {
        if let Some((_, ssh)) = self.provider_over_ssh(address) {
            return Ok(ssh.host_keys.clone());
        }
        let (host, port) = (&address.host, address.port);
        let known = known_hosts(self.known_hosts)?;
        let keys: Vec<String> = known.into_iter().filter(|known| known.is(host, port)).map(|known| known.key).collect();
        if keys.is_empty() {
            let shown = if port == 22 { host.clone() } else { format!("[{host}]:{port}") };
            let scan = if port == 22 { host.clone() } else { format!("-p {port} {host}") };
            return Err(format!(
                "nobody knows the SSH server `{shown}` by its key: write its line `{shown} ssh-ed25519 AAAA...` into the variable \
                 `SSH_KNOWN_HOSTS` (`ssh-keyscan {scan}` prints it; compare it with what the server's owner publishes)"
            ));
        }
        Ok(keys)
    }
}

impl Resolver {
    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found: Vec<IpAddr> = match self {
            Self::System => {
                let looked_up = tokio::time::timeout(LOOK_UP_LIMIT, tokio::net::lookup_host((name, 0))).await;
                let looked_up = looked_up.map_err(|_| format!("the name `{name}` was not found within {} s", LOOK_UP_LIMIT.as_secs()))?;
                looked_up.map_err(|error| format!("the name `{name}` is not found: {error}"))?.map(|address| address.ip()).collect()
            }
            #[cfg(test)]
            Self::Fixed(known) => known.get(name).cloned().unwrap_or_default(),
        };
        if found.is_empty() { Err(format!("the name `{name}` has no address")) } else { Ok(found) }
    }
}

/// A line of `known_hosts` for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownHost {
    host: String,
    port: u16,
    pub(crate) key: String,
}

impl KnownHost {
    fn is(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host.eq_ignore_ascii_case(host)
    }
}

/// Reads lines of `known_hosts` with plain names. What cannot be read is refused: a line that somebody wrote to revoke a key would be lost.
pub(crate) fn known_hosts(text: &str) -> Result<Vec<KnownHost>, String> {
    let mut known = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (names, kind, body) = (words.next(), words.next(), words.next());
        let key = kind.zip(body).map(|(kind, body)| format!("{kind} {body}")).filter(|key| crate::access::known_host(key).is_some());
        let hosts: Option<Vec<_>> = names.map(|names| names.split(',').map(host_and_port).collect()).unwrap_or_default();
        let (Some(key), Some(hosts)) = (key, hosts) else {
            return Err(format!(
                "line {} of the variable `SSH_KNOWN_HOSTS` is no line like `git.example.com ssh-ed25519 AAAA...` with plain names",
                number + 1
            ));
        };
        known.extend(hosts.into_iter().map(|(host, port)| KnownHost { host, port, key: key.clone() }));
        if known.len() > MAX_KNOWN_HOSTS {
            return Err(format!("the variable `SSH_KNOWN_HOSTS` names more than {MAX_KNOWN_HOSTS} hosts"));
        }
    }
    Ok(known)
}

/// `host`, or `[host]:port`.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once("]:")?;
            (host, port.parse().ok()?)
        }
        None => (text, 22),
    };
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    plain.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMyWfL8G0ESOZrxhZ0mqbO7KCjTZFDdKAeWAyoPCmt9Y";

    fn network() -> Network {
        let ssh = Some(SshServer { user: "git".into(), host: "127.0.0.1".into(), port: 2222, host_keys: vec![KEY.into()] });
        Network {
            providers: vec![ProviderHost { url: "http://127.0.0.1:3000/forge".into(), ssh }],
            egress: slipway_model::EgressPolicy::allowing(["10.1.0.0/16"]).expect("policy"),
        }
    }

    #[tokio::test]
    async fn each_address_of_a_name_is_looked_at() {
        let address = |text: &str| text.parse::<IpAddr>().expect("address");
        let names = [
            ("public.example", vec!["8.8.8.8", "2606:50c0:8000::153"]),
            ("allowed.example", vec!["10.1.2.3"]),
            ("private.example", vec!["192.168.1.1"]),
            ("both.example", vec!["8.8.8.8", "169.254.169.254"]),
            ("mapped.example", vec!["::ffff:127.0.0.1"]),
        ];
        let names = names.map(|(name, found)| (name.to_owned(), found.into_iter().map(address).collect()));
        let (network, resolver) = (network(), Resolver::Fixed(names.into_iter().collect()));
        let reach = Reach { network: &network, known_hosts: "", resolver: &resolver };
        assert_eq!(reach.addresses("public.example").await.map(|found| found.len()), Ok(2));
        assert_eq!(reach.addresses("allowed.example").await, Ok(vec![address("10.1.2.3")]));
        assert_eq!(reach.addresses("8.8.8.8").await, Ok(vec![address("8.8.8.8")]));
        for refused in
            ["private.example", "both.example", "mapped.example", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:7f00:1]"]
        {
            let why = reach.addresses(refused).await.expect_err(refused);
            assert!(why.contains("is not on the public internet"), "{refused}: {why}");
        }
        for odd in ["localhost", "metadata.google.internal", "public.example.", "unknown.example", "a/b", "a@b", "a:1:2", "-x", "", "a b"] {
            assert!(reach.addresses(odd).await.is_err(), "{odd}");
        }
    }

    #[test]
    fn a_provider_is_known_by_scheme_name_and_port() {
        let (network, resolver) = (network(), Resolver::System);
        let reach = Reach { network: &network, known_hosts: "", resolver: &resolver };
        let is_one = |url: &str| reach.provider(&url.parse().expect("url")).is_some();
        assert!(is_one("http://127.0.0.1:3000/forge/a/b.git") && is_one("http://127.0.0.1:3000/"));
        assert!(!is_one("http://127.0.0.1:9200/forge/a") && !is_one("https://127.0.0.1:3000/forge/a"));
        let at = |host: &str, port| SshAddress { user: "git".into(), host: host.into(), port, path: "/a/b".into() };
        assert!(reach.provider_over_ssh(&at("127.0.0.1", 2222)).is_some() && reach.provider_over_ssh(&at("127.0.0.1", 22)).is_none());
        assert_eq!(reach.host_keys(&at("127.0.0.1", 2222)), Ok(vec![KEY.to_owned()]));
        let why = reach.host_keys(&at("git.example", 2222)).expect_err("unknown");
        assert!(why.contains("`[git.example]:2222 ssh-ed25519 AAAA...`") && why.contains("`ssh-keyscan -p 2222 git.example`"), "{why}");
    }

    #[test]
    fn known_hosts_are_plain_lines() {
        let text = format!("# a comment\n\ngit.example,192.0.2.1 {KEY} who\n[git.example]:2222 {KEY}\r\n");
        let known = known_hosts(&text).expect("lines");
        assert_eq!(known.len(), 3);
        assert!(known[0].is("GIT.example", 22) && known[1].is("192.0.2.1", 22) && known[2].is("git.example", 2222));
        assert!(known.iter().all(|known| known.key == KEY));
        for odd in [
            format!("@revoked git.example {KEY}"),
            format!("|1|aaaa=|bbbb= {KEY}"),
            format!("*.example {KEY}"),
            format!("!git.example {KEY}"),
            format!("[git.example] {KEY}"),
            "git.example ssh-ed25519".to_owned(),
            "git.example ssh-ed25519 !!!".to_owned(),
        ] {
            assert!(known_hosts(&odd).is_err_and(|why| why.starts_with("line 1 of")), "{odd}");
        }
        assert!(known_hosts(&format!("a {KEY}\n").repeat(MAX_KNOWN_HOSTS + 1)).is_err());
    }
}
