//! Which addresses of the network may be reached for somebody's sake.
//!
//! Invariant: what is not known to be on the public internet is refused, unless the administrator named it.
//! Deliberately elsewhere: names are resolved and connections made by the client of that name in `forge`, and by git for a builder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Networks that nobody outside reaches, or that are not for ordinary traffic (IANA's special-purpose registry).
const REFUSED_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local; most clouds tell a machine's secrets at 169.254.169.254.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
    // A public address that is a cloud's own service inside each of its machines.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// The only part of IPv6 that is routed on the internet; mapped, translated, local and multicast addresses are outside.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is special within it: protocol assignments (Teredo among them), documentation, 6to4, documentation again.
const REFUSED_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Ends of names that never are public ones.
const PRIVATE_NAMES: &[&str] = &["localhost", "local", "internal", "lan", "home.arpa"];

const MAX_GIT_URL: usize = 2048;

/// What of the network that is not public may be reached all the same.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct EgressPolicy {
    allowed: Vec<Allowed>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Allowed {
    Network(IpAddr, u32),
    Host(String),
}

/// An address that is not to be used, with the reason.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct AddressRefused(pub String);

impl EgressPolicy {
    /// Only the public internet.
    #[must_use]
    pub fn public_only() -> Self {
        Self::default()
    }

    /// The allowed networks of the fourth version of the protocol, as `10.1.0.0/16`.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        let of = |allowed: &Allowed| match allowed {
            Allowed::Network(IpAddr::V4(address), bits) => Some(format!("{address}/{bits}")),
            _ => None,
        };
        self.allowed.iter().filter_map(of).collect()
    }

    /// Also these networks (`10.1.0.0/16`, `fd00::/8`, `10.1.2.3`) and hosts (`avatars.ghe.acme.example`).
    ///
    /// # Errors
    /// A sentence that names the first entry which is neither.
    pub fn allowing<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        Ok(Self { allowed: entries.into_iter().map(Allowed::parse).collect::<Result<_, _>>()? })
    }

    /// Whether a connection may be made to the address that a host has.
    #[must_use]
    pub fn permits(&self, host: &str, address: IpAddr) -> bool {
        self.names(host, address) || is_public(address)
    }

    /// Whether the administrator named the address, or the host: only there may a connection be unprotected.
    #[must_use]
    pub fn names(&self, host: &str, address: IpAddr) -> bool {
        self.allowed.iter().any(|allowed| match allowed {
            Allowed::Network(base, bits) => contains(*base, *bits, address),
            Allowed::Host(name) => name.eq_ignore_ascii_case(host),
        })
    }

    /// Checks a git address that a person typed: `https` and a host that may be public. Where its name leads to is checked when it is
    /// connected to.
    ///
    /// # Errors
    /// [`AddressRefused`] with the reason.
    pub fn check_git_url(&self, text: &str) -> Result<Url, AddressRefused> {
        let refuse = |why: &str| Err(AddressRefused(format!("the git address {why}, expected one like `https://host/owner/name.git`")));
        // The parser would take blanks and line ends out in silence.
        if text.len() > MAX_GIT_URL || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return refuse("is too long or has blanks or control characters in it");
        }
        let Ok(url) = Url::parse(text) else { return refuse("cannot be read") };
        if url.scheme() != "https" {
            return refuse("is not `https`");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("has a user name or password in it");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("has a query or a fragment");
        }
        let path = url.path().to_ascii_lowercase();
        if path == "/" || path.contains("/-") || ["%00", "%0a", "%0d"].iter().any(|odd| path.contains(odd)) {
            return refuse("has no usable path");
        }
        self.check_host(&url)?;
        Ok(url)
    }

    /// Refuses hosts of which it is plain without asking anybody that they are not public.
    ///
    /// # Errors
    /// [`AddressRefused`] with the host.
    pub fn check_host(&self, url: &Url) -> Result<(), AddressRefused> {
        let fits = match url.host() {
            None => false,
            Some(Host::Ipv4(address)) => self.permits("", address.into()),
            Some(Host::Ipv6(address)) => self.permits("", address.into()),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let private = PRIVATE_NAMES.iter().any(|end| name == *end || name.ends_with(&format!(".{end}")));
                is_name(&name)
                    && (!private
                        || self.allowed.iter().any(|allowed| matches!(allowed, Allowed::Host(host) if host.eq_ignore_ascii_case(&name))))
            }
        };
        if fits { Ok(()) } else { Err(AddressRefused::host(url)) }
    }
}

impl AddressRefused {
    /// The host, or one of the addresses that its name has.
    #[must_use]
    pub fn host(url: &Url) -> Self {
        let host: String = url.host_str().unwrap_or("(no host)").chars().filter(|c| !c.is_control()).take(100).collect();
        Self(format!("`{host}` is not on the public internet, and the administrator has not allowed it"))
    }
}

impl TryFrom<Vec<String>> for EgressPolicy {
    type Error = String;
    fn try_from(entries: Vec<String>) -> Result<Self, String> {
        Self::allowing(entries.iter().map(String::as_str))
    }
}

impl From<EgressPolicy> for Vec<String> {
    fn from(policy: EgressPolicy) -> Self {
        let entry = |allowed: &Allowed| match allowed {
            Allowed::Network(base, bits) => format!("{base}/{bits}"),
            Allowed::Host(name) => name.clone(),
        };
        policy.allowed.iter().map(entry).collect()
    }
}

impl Allowed {
    fn parse(entry: &str) -> Result<Self, String> {
        let refuse = || format!("`{}` is neither a network like `10.1.0.0/16` nor a host", entry.chars().take(100).collect::<String>());
        let (base, bits) = entry.split_once('/').map_or((entry, None), |(base, bits)| (base, Some(bits)));
        if let Ok(base) = base.parse::<IpAddr>() {
            let longest = if base.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(longest), |bits| bits.parse().ok()).filter(|bits| *bits <= longest).ok_or_else(refuse)?;
            return Ok(Self::Network(base, bits));
        }
        match Host::parse(entry) {
            Ok(Host::Domain(name)) if bits.is_none() && !name.is_empty() => Ok(Self::Host(name)),
            _ => Err(refuse()),
        }
    }
}

/// Whether it can be a name in the DNS. The parser of addresses also takes `127.0.0!1`, and who knows what another program makes of that.
fn is_name(name: &str) -> bool {
    let labels = || name.split('.');
    labels().all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
    }) && labels().next_back().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
}

fn contains(base: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !REFUSED_V4.iter().any(|(base, bits)| contains((*base).into(), *bits, v4.into())),
        IpAddr::V6(v6) => {
            contains(PUBLIC_V6.0.into(), PUBLIC_V6.1, v6.into())
                && !REFUSED_V6.iter().any(|(base, bits)| contains((*base).into(), *bits, v6.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for public in ["8.8.8.8", "140.82.121.3", "172.32.0.1", "100.128.0.1", "198.20.0.1", "2606:50c0:8000::153", "2a04:4e42::223"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(refused.parse().unwrap()), "{refused}");
        }
    }

    #[test]
    fn the_administrator_allows_networks_and_hosts_and_no_more() {
        let policy = EgressPolicy::allowing(["10.1.0.0/16", "fd12::/16", "192.168.7.7", "Git.Acme.Internal"]).unwrap();
        let permits = |host: &str, address: &str| policy.permits(host, address.parse().unwrap());
        assert!(permits("x", "10.1.255.1") && permits("x", "fd12:1::1") && permits("x", "192.168.7.7") && permits("x", "8.8.8.8"));
        assert!(permits("git.acme.internal", "10.9.9.9"));
        for (host, address) in
            [("x", "10.2.0.1"), ("x", "fd13::1"), ("x", "192.168.7.8"), ("evil.git.acme.internal", "10.9.9.9"), ("x", "127.0.0.1")]
        {
            assert!(!permits(host, address), "{host} {address}");
        }
        assert!(policy.names("x", "10.1.0.1".parse().unwrap()) && !policy.names("x", "8.8.8.8".parse().unwrap()));
        let sent: EgressPolicy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(sent, policy, "as a builder gets it");
        assert!(EgressPolicy::allowing(["0.0.0.0/0"]).unwrap().permits("x", "127.0.0.1".parse().unwrap()));
        for odd in ["", "10.0.0.0/33", "::/129", "10.0.0.0/x", "10.0.0.0/", "a b", "https://x", "host/8", "10.0.0/8/8", "-1/8"] {
            let error = EgressPolicy::allowing([odd]).unwrap_err();
            assert!(error.contains("neither"), "{odd}: {error}");
        }
    }

    #[test]
    fn a_git_address_is_https_and_leads_outside() {
        let policy = EgressPolicy::public_only();
        for good in ["https://git.example.com/o/r.git", "https://git.example.com:8443/r", "https://8.8.8.8/r.git", "HTTPS://EXAMPLE.com/a"]
        {
            assert_eq!(policy.check_git_url(good).unwrap().scheme(), "https", "{good}");
        }
        for bad in [
            "",
            "git.example.com/o/r",
            "http://git.example.com/o/r",
            "ssh://git@example.com/o/r",
            "git@example.com:o/r",
            "git://example.com/r",
            "file:///etc/passwd",
            "ext::sh -c id",
            "EXT::sh",
            "fd::17",
            "--upload-pack=touch",
            "-u",
            "https://u:p@example.com/r",
            "https://token@example.com/r",
            "https://example.com/",
            "https://example.com",
            "https://example.com/r?x=1",
            "https://example.com/r#x",
            "https://example.com/r\n",
            "https://exa\tmple.com/r",
            "https://example.com/r%0aHost:x",
            "https://example.com/%0D",
            "https://example.com/a%00b",
            "https://127.0.0.1/r",
            "https://127.0.0!1/r",
            "https://example.com/o/--upload-pack=x",
            "https://example.com\\@10.0.0.1/r",
            "https://127.0.0.1/r",
            "https://127.1/r",
            "https://2130706433/r",
            "https://0x7f.1/r",
            "https://[::1]/r",
            "https://[::ffff:169.254.169.254]/r",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/r",
            "https://localhost/r",
            "https://LOCALHOST./r",
            "https://a.localhost/r",
            "https://metadata.google.internal/r",
            "https://nas.local/r",
        ] {
            assert!(policy.check_git_url(bad).is_err(), "{bad:?}");
        }
        assert!(policy.check_git_url(&format!("https://example.com/{}", "a".repeat(3000))).is_err());
        let allowing = EgressPolicy::allowing(["10.0.0.0/8", "git.local"]).unwrap();
        assert!(allowing.check_git_url("https://10.0.0.1/r").is_ok() && allowing.check_git_url("https://git.local/r").is_ok());
        assert!(allowing.check_git_url("https://other.local/r").is_err());
    }
}
