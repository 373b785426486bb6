//! Where an engine listens: parsing and printing of the configured address.
//!
//! The invariant: an address that parsed can be dialled; anything else was refused with the expected forms.
//! Deliberately elsewhere: dialling (`connect`), and reading certificates (`tls`).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::AddressError;
use crate::tls::EngineTls;

/// The address of a Docker Engine (`unix://`, `tcp://`) or of a buildkitd (`buildkit+unix://`, `buildkit+tcp://`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineAddress {
    pub(crate) kind: EngineKind,
    pub(crate) dial: Dial,
}

/// What speaks at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineKind {
    /// BuildKit inside a Docker Engine, reached by an HTTP upgrade.
    Docker,
    /// A buildkitd that speaks gRPC at once.
    Buildkitd,
}

/// How the bytes travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dial {
    /// A socket of this machine.
    Unix(PathBuf),
    /// `host:port`; without TLS only within this machine.
    Tcp {
        /// `host:port`
        target: String,
        /// What protects it.
        tls: Option<EngineTls>,
    },
}

impl EngineAddress {
    /// True for a Docker Engine, false for a buildkitd: only the former has an image store, push and containers.
    pub fn is_docker(&self) -> bool {
        self.kind == EngineKind::Docker
    }

    /// True where certificates have a use: over TCP.
    pub fn is_tcp(&self) -> bool {
        matches!(self.dial, Dial::Tcp { .. })
    }

    /// True when whoever listens on the way could read and change everything: plain TCP that leaves the machine. Such an address is not dialled.
    pub fn is_exposed(&self) -> bool {
        match &self.dial {
            Dial::Tcp { target, tls: None } => !is_loopback(host_of(target)),
            _ => false,
        }
    }

    /// The same address, spoken to by TLS. Without effect on a socket of this machine.
    #[must_use]
    pub fn with_tls(mut self, with: EngineTls) -> Self {
        if let Dial::Tcp { tls, .. } = &mut self.dial {
            *tls = Some(with.speaking(self.kind));
        }
        self
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
pub(crate) fn host_of(target: &str) -> &str {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for EngineAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || AddressError { given: text.chars().take(200).collect() };
        let (scheme, rest) = text.split_once("://").ok_or_else(refused)?;
        let (kind, transport) = match scheme.strip_prefix("buildkit+") {
            Some(transport) => (EngineKind::Buildkitd, transport),
            None => (EngineKind::Docker, scheme),
        };
        let dial = match transport {
            "unix" if rest.starts_with('/') && !rest.contains('\0') => Dial::Unix(PathBuf::from(rest)),
            "tcp" => Dial::Tcp { target: host_and_port(rest.trim_end_matches('/')).ok_or_else(refused)?, tls: None },
            _ => return Err(refused()),
        };
        Ok(Self { kind, dial })
    }
}

fn host_and_port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let host_ok =
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
    let port_ok = port.parse::<u16>().is_ok_and(|port| port != 0);
    (host_ok && port_ok).then(|| text.to_owned())
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == EngineKind::Buildkitd {
            f.write_str("buildkit+")?;
        }
        match &self.dial {
            Dial::Unix(path) => write!(f, "unix://{}", path.display()),
            Dial::Tcp { target, .. } => write!(f, "tcp://{target}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms_parse_and_print_back() {
        for text in [
            "unix:///var/run/docker.sock",
            "tcp://127.0.0.1:2375",
            "buildkit+unix:///run/buildkit/buildkitd.sock",
            "buildkit+tcp://builder-1:1234",
            "tcp://[::1]:2375",
        ] {
            let address: EngineAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
            assert_eq!(address.is_docker(), !text.starts_with("buildkit+"));
        }
    }

    #[test]
    fn plain_tcp_is_for_this_machine_only() {
        for (text, exposed) in [
            ("unix:///x", false),
            ("tcp://127.0.0.1:1", false),
            ("tcp://localhost:1", false),
            ("buildkit+tcp://[::1]:1", false),
            ("tcp://localhost.example.org:1", true),
            ("buildkit+tcp://192.0.2.1:1", true),
            ("tcp://[2001:db8::1]:1", true),
        ] {
            assert_eq!(text.parse::<EngineAddress>().expect(text).is_exposed(), exposed, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_value() {
        for text in ["", "docker.sock", "unix://relative", "tcp://host", "tcp://host:0", "tcp://:1", "ssh://a:1", "tcp://a b:1"] {
            let error = text.parse::<EngineAddress>().expect_err(text);
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }
}
