//! Where images go besides the built-in registry: `registry.example.com[:port]/team/app`, as a person writes it.
//!
//! Invariant: host and port are spelled as they are connected to, and the path is one by the OCI grammar, so that two spellings of one
//! place are one value. No tag, digest, user name or password is ever in it.
//! Deliberately elsewhere: which hosts may be reached (`EgressPolicy`), and who speaks to them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Longest reference in bytes: 255 for the name by the OCI, as much for the host, and the scheme.
const MAX_BYTES: usize = 520;
const MAX_PATH: usize = 255;
/// How people write Docker Hub, and where its registry answers.
const HUB: &str = "docker.io";
const HUB_REGISTRY: &str = "registry-1.docker.io";

/// A repository of another registry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExternalRepository {
    /// Whether the connection is unprotected, which was written out as `http://`.
    plain: bool,
    host: String,
    path: String,
}

/// Why a text is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no repository of another registry: {0}, expected one like `registry.example.com/team/app`")]
pub struct InvalidExternalRepository(&'static str);

impl ExternalRepository {
    /// `registry.example.com`, with the port where one was given.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name there.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the registry answers, ending in a slash.
    #[must_use]
    pub fn base(&self) -> Url {
        let host = if self.host == HUB { HUB_REGISTRY } else { &self.host };
        let scheme = if self.plain { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{host}/")).expect("the host was parsed as part of such an address")
    }
}

impl FromStr for ExternalRepository {
    type Err = InvalidExternalRepository;

    fn from_str(text: &str) -> Result<Self, InvalidExternalRepository> {
        let refuse = |why| Err(InvalidExternalRepository(why));
        if text.len() > MAX_BYTES {
            return refuse("it is too long");
        }
        let (plain, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("https", rest)) => (false, rest),
            Some(("http", rest)) => (true, rest),
            Some(_) => return refuse("it begins with another scheme than `https://` and `http://`"),
        };
        let Some((host, path)) = rest.split_once('/') else { return refuse("it names no repository behind the host") };
        let Some(host) = spelled(host, plain) else { return refuse("it does not begin with a host like `registry.example.com`") };
        if path.contains('@') {
            return refuse("it ends with a digest");
        }
        if path.contains(':') {
            return refuse("it ends with a tag, which the build rules give");
        }
        if path.len() > MAX_PATH || !path.split('/').all(is_component) {
            return refuse("the name behind the host is lower-case letters, digits and single separators, divided by `/`");
        }
        if host == HUB && !path.contains('/') {
            return refuse("at Docker Hub a repository stands in a namespace");
        }
        if host == HUB && plain {
            return refuse("Docker Hub is `https`");
        }
        Ok(Self { plain, host, path: path.to_owned() })
    }
}

/// The host in its one spelling, with the port unless it is the usual one; `None` for what is no host.
fn spelled(text: &str, plain: bool) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if lower.is_empty() || !lower.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')) {
        return None;
    }
    let url = Url::parse(&format!("{}://{lower}/", if plain { "http" } else { "https" })).ok()?;
    let host = url.host()?;
    // The first part of an image's name is a host only with a dot or a port in it, or it is a namespace.
    let is_host = match &host {
        Host::Domain(name) => name.contains('.') || *name == "localhost" || url.port().is_some(),
        Host::Ipv4(_) | Host::Ipv6(_) => true,
    };
    // The parser also takes `127.1` and `0x7f.1`: what is connected to is what stands there, or it is refused.
    let same =
        lower == host.to_string() || lower.strip_prefix(&host.to_string()).is_some_and(|port| port.starts_with(':') && port.len() > 1);
    if !is_host || !same {
        return None;
    }
    Some(match (host.to_string().as_str(), url.port()) {
        ("index.docker.io" | HUB_REGISTRY | HUB, None) => HUB.to_owned(),
        (host, None) => host.to_owned(),
        (host, Some(port)) => format!("{host}:{port}"),
    })
}

/// One part of a name by OCI distribution 1.1: alphanumeric runs with one separator (`.`, `_`, `__` or dashes) between two of them.
fn is_component(part: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes
            .split(alphanumeric)
            .filter(|separator| !separator.is_empty())
            .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

impl fmt::Display for ExternalRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", if self.plain { "http://" } else { "" }, self.host, self.path)
    }
}

impl TryFrom<String> for ExternalRepository {
    type Error = InvalidExternalRepository;
    fn try_from(text: String) -> Result<Self, InvalidExternalRepository> {
        text.parse()
    }
}

impl From<ExternalRepository> for String {
    fn from(at: ExternalRepository) -> Self {
        at.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_read_in_one_spelling() {
        for (text, shown, base) in [
            ("registry.example.com/team/app", "registry.example.com/team/app", "https://registry.example.com/"),
            ("https://Registry.Example.COM:443/team/app", "registry.example.com/team/app", "https://registry.example.com/"),
            ("registry.example.com:5000/a", "registry.example.com:5000/a", "https://registry.example.com:5000/"),
            ("registry:5000/a", "registry:5000/a", "https://registry:5000/"),
            ("http://127.0.0.1:5000/a/b-c/d__e", "http://127.0.0.1:5000/a/b-c/d__e", "http://127.0.0.1:5000/"),
            ("localhost/a", "localhost/a", "https://localhost/"),
            ("[2001:db8::1]:5000/a", "[2001:db8::1]:5000/a", "https://[2001:db8::1]:5000/"),
            ("docker.io/team/app", "docker.io/team/app", "https://registry-1.docker.io/"),
            ("index.docker.io/team/app", "docker.io/team/app", "https://registry-1.docker.io/"),
            ("registry-1.docker.io/team/app", "docker.io/team/app", "https://registry-1.docker.io/"),
        ] {
            let read: ExternalRepository = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((read.to_string().as_str(), read.base().as_str()), (shown, base), "{text}");
            assert_eq!(read.to_string().parse(), Ok(read), "{text}: what is shown is read as the same");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("registry.example.com/{}", "a".repeat(256));
        for text in [
            "",
            "/",
            "app",
            "team/app",
            "registry.example.com",
            "registry.example.com/",
            "registry.example.com//app",
            "registry.example.com/app:latest",
            "registry.example.com/app@sha256:aa",
            "registry.example.com/App",
            "registry.example.com/../app",
            "registry.example.com/a/",
            "registry.example.com/a b",
            "registry.example.com/a?x=1",
            "registry.example.com/a%2fb",
            "user:password@registry.example.com/app",
            "ftp://registry.example.com/app",
            "https://https://registry.example.com/app",
            "127.1/app",
            "0x7f.1/app",
            "2130706433:80/app",
            "registry.example.com:/app",
            "registry.example.com:99999/app",
            "registry.exam ple.com/app",
            "registry.example.com\n/app",
            "docker.io/app",
            "http://docker.io/team/app",
            long.as_str(),
        ] {
            assert!(text.parse::<ExternalRepository>().is_err(), "{text:?}");
        }
    }
}
