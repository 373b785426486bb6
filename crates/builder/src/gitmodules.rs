//! What a `.gitmodules` says, and the addresses in it.
//!
//! The invariant: an address is `https`, `http` or SSH with plain parts, or it is refused: no other transport, no path of this machine, no
//! option, no password. A relative one stays on the host that it begins at. Deliberately elsewhere: where an address may lead to (`reach`).

use std::fmt;

use url::Url;

const MAX_ADDRESS: usize = 2048;

/// A submodule by its path and the address that somebody wrote for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) path: String,
    pub(crate) url: String,
}

/// By git's list of the file: a key and a value for each, between them a line end, behind them a zero. Of two that say the same the last
/// counts, as for git.
pub(crate) fn modules(listed: &[u8]) -> Vec<Module> {
    let mut found: std::collections::BTreeMap<String, (Option<String>, Option<String>)> = std::collections::BTreeMap::new();
    for entry in listed.split(|byte| *byte == 0) {
        let Ok(entry) = std::str::from_utf8(entry) else { continue };
        let Some((key, value)) = entry.split_once('\n') else { continue };
        let Some((name, word)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else { continue };
        let module = found.entry(name.to_owned()).or_default();
        match word {
            "path" => module.0 = Some(value.to_owned()),
            "url" => module.1 = Some(value.to_owned()),
            _ => {}
        }
    }
    found.into_values().filter_map(|(path, url)| Some(Module { path: path?, url: url? })).collect()
}

/// Where the tree holds a commit of another repository: its path and the commit, by `git ls-tree -z`.
pub(crate) fn links(listed: &[u8]) -> Vec<(Vec<u8>, String)> {
    let entries = listed.split(|byte| *byte == 0);
    let links = entries.filter_map(|entry| {
        let tab = entry.iter().position(|byte| *byte == b'\t')?;
        let mut words = std::str::from_utf8(&entry[..tab]).ok()?.split(' ');
        let is_link = words.next() == Some("160000") && words.next() == Some("commit");
        is_link.then(|| words.next().map(|commit| (entry[tab + 1..].to_vec(), commit.to_owned())))?
    });
    links.collect()
}

/// Where a submodule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `https` or `http`, without user name and password.
    Http(Url),
    /// SSH.
    Ssh(SshAddress),
}

/// An address of SSH with plain parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SshAddress {
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Without a first slash it begins at the user's home.
    pub(crate) path: String,
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port, path } = self;
        if path.starts_with('/') { write!(f, "ssh://{user}@{host}:{port}{path}") } else { write!(f, "{user}@{host}:{path}") }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => url.fmt(f),
            Self::Ssh(address) => address.fmt(f),
        }
    }
}

impl Address {
    /// Reads what stands in the `.gitmodules` of a repository that is at `parent`.
    ///
    /// # Errors
    /// What is wrong with it, behind "its address".
    pub(crate) fn parse(text: &str, parent: &Self) -> Result<Self, String> {
        if text.len() > MAX_ADDRESS || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err("is too long, or has blanks, control characters or backslashes in it".to_owned());
        }
        if text.starts_with("./") || text.starts_with("../") {
            return parent.join(text);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return match scheme.to_ascii_lowercase().as_str() {
                "https" | "http" => http(text).map(Self::Http),
                "ssh" => ssh(text).map(Self::Ssh),
                _ => Err("is neither `https://`, `http://` nor SSH".to_owned()),
            };
        }
        match text.split_once(':') {
            Some((place, path)) if !place.contains('/') && !path.starts_with(':') => {
                let (user, host) = place.split_once('@').unwrap_or(("git", place));
                SshAddress::checked(user, host, 22, path).map(Self::Ssh)
            }
            _ => Err("is neither `https://`, `http://` nor SSH, and not relative (`../name.git`) to the source's".to_owned()),
        }
    }

    /// A relative address, as git joins them, but never above the host.
    fn join(&self, text: &str) -> Result<Self, String> {
        let base = match self {
            Self::Http(url) => url.path(),
            Self::Ssh(address) => &address.path,
        };
        let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
        let mut rest = text;
        loop {
            if let Some(after) = rest.strip_prefix("../") {
                parts.pop().ok_or("leads out of its host")?;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else {
                break;
            }
            rest = rest.trim_start_matches('/');
        }
        let decoded = rest.to_ascii_lowercase().replace("%2e", ".");
        if rest.is_empty() || decoded.split('/').any(|part| matches!(part, "." | "..")) || rest.contains(['?', '#']) {
            return Err("is no plain relative one".to_owned());
        }
        let path = parts.into_iter().chain([rest]).collect::<Vec<_>>().join("/");
        match self {
            Self::Http(url) => {
                let mut joined = url.clone();
                joined.set_path(&path);
                Ok(Self::Http(joined))
            }
            Self::Ssh(address) => {
                let path = if address.path.starts_with('/') { format!("/{path}") } else { path };
                SshAddress::checked(&address.user, &address.host, address.port, &path).map(Self::Ssh)
            }
        }
    }
}

fn http(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|_| "cannot be read".to_owned())?;
    if url.password().is_some() {
        return Err("has a password in it, which everybody who reads the source sees".to_owned());
    }
    // A name alone opens nothing.
    url.set_username("").map_err(|()| "has no host")?;
    if url.query().is_some() || url.fragment().is_some() || url.path() == "/" {
        return Err("is no plain address of a repository".to_owned());
    }
    Ok(url)
}

fn ssh(text: &str) -> Result<SshAddress, String> {
    let url = Url::parse(text).map_err(|_| "cannot be read".to_owned())?;
    if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("is no plain address of a repository".to_owned());
    }
    let user = if url.username().is_empty() { "git" } else { url.username() };
    SshAddress::checked(user, url.host_str().unwrap_or_default(), url.port().unwrap_or(22), url.path())
}

impl SshAddress {
    fn checked(user: &str, host: &str, port: u16, path: &str) -> Result<Self, String> {
        let word = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b) || more.as_bytes().contains(&b))
        };
        let names = path.strip_prefix('/').unwrap_or(path);
        if !word(user, "") || !word(host, "[:]") || host.starts_with([':', '.']) || !word(names, "/~+@=,%") {
            return Err("has an odd user, host or path".to_owned());
        }
        Ok(Self { user: user.to_owned(), host: host.to_ascii_lowercase(), port, path: path.to_owned() })
    }
}

/// Whether both are one repository.
pub(crate) fn is_same(one: &Url, other: &Url) -> bool {
    let path = |url: &Url| {
        let path = url.path().trim_end_matches('/');
        path.strip_suffix(".git").unwrap_or(path).to_owned()
    };
    matches!(one.scheme(), "http" | "https") && one.origin() == other.origin() && path(one) == path(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> Address {
        Address::Http("https://git.example/forge/octo/app.git".parse().expect("url"))
    }

    fn read(text: &str) -> Result<String, String> {
        Address::parse(text, &parent()).map(|address| address.to_string())
    }

    #[test]
    fn addresses_are_of_three_kinds() {
        for (text, expected) in [
            ("https://git.example/octo/lib.git", "https://git.example/octo/lib.git"),
            ("HTTPS://Git.Example/octo/lib", "https://git.example/octo/lib"),
            ("https://ada@git.example/octo/lib.git", "https://git.example/octo/lib.git"),
            ("ssh://git.example/octo/lib.git", "ssh://git@git.example:22/octo/lib.git"),
            ("ssh://me@Git.Example:2222/~me/lib.git", "ssh://me@git.example:2222/~me/lib.git"),
            ("git@git.example:octo/lib.git", "git@git.example:octo/lib.git"),
            ("git.example:/octo/lib.git", "ssh://git@git.example:22/octo/lib.git"),
            ("../lib.git", "https://git.example/forge/octo/lib.git"),
            ("../../acme/lib.git", "https://git.example/forge/acme/lib.git"),
            ("./sub/lib", "https://git.example/forge/octo/app.git/sub/lib"),
            ("../../../x", "https://git.example/x"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        let nested = Address::parse("git@git.example:octo/lib.git", &parent()).expect("address");
        assert_eq!(Address::parse("../other.git", &nested).map(|found| found.to_string()).as_deref(), Ok("git@git.example:octo/other.git"));
        let nested = Address::parse("ssh://git@git.example:2222/octo/lib.git", &parent()).expect("address");
        let joined = Address::parse("../other.git", &nested).map(|found| found.to_string());
        assert_eq!(joined.as_deref(), Ok("ssh://git@git.example:2222/octo/other.git"));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "-u./payload",
            "--upload-pack=touch",
            "ext::sh",
            "ext::sh -c touch",
            "EXT::sh",
            "fd::17",
            "file:///etc/passwd",
            "FILE:///etc",
            "git://git.example/x",
            "ftp://git.example/x",
            "/etc",
            "etc/x",
            "x",
            "C:\\x",
            "https://git.example",
            "https://git.example/",
            "https://u:p@git.example/x",
            "https://git.example/x?y",
            "https://git.example/x#y",
            "https:///x",
            "https://git.example/x\n",
            "ssh://-oProxyCommand=id/x",
            "ssh://git@-oProxyCommand=id/x",
            "ssh://-l@h/x",
            "ssh://git:pw@h/x",
            "ssh://git@h/-oX",
            "ssh://git@h/a;id",
            "ssh://git@h/$(id)",
            "git@-oProxyCommand=id:x",
            "-oProxyCommand=id:x",
            "git@h:-oX",
            "git@h:'x'",
            "git@h:",
            ".:./",
            "ssh://./x",
            "../../../../x",
            "../../../../../x",
            "../",
            "..",
            "../x/../../../../y",
            "../%2e%2e/%2E%2e/y",
            "../x?y",
            "../x#y",
        ] {
            assert!(read(text).is_err(), "{text:?} became {:?}", read(text));
        }
        assert!(read(&format!("https://git.example/{}", "a".repeat(3000))).is_err());
    }

    #[test]
    fn a_source_is_the_same_only_by_host_and_path() {
        let same = |one: &str, other: &str| is_same(&one.parse().expect("url"), &other.parse().expect("url"));
        assert!(same("https://h/a/b.git", "https://h/a/b") && same("https://h:443/a/b/", "https://h/a/b.git"));
        for other in ["https://h/a/b2", "http://h/a/b", "https://h:444/a/b", "https://h2/a/b", "https://h/a/b/c", "https://h/A/b"] {
            assert!(!same("https://h/a/b.git", other), "{other}");
        }
    }

    #[test]
    fn the_lists_of_git_are_read() {
        let listed = b"submodule.x.path\nlibs/x\0submodule.x.url\n../x.git\0submodule.a.b.path\ny\0submodule.a.b.url\nhttps://h/y\0submodule.x.url\n../z.git\0submodule.no.path\nz\0core.pager\nid\0";
        let module = |path: &str, url: &str| Module { path: path.into(), url: url.into() };
        assert_eq!(modules(listed), [module("y", "https://h/y"), module("libs/x", "../z.git")]);
        let tree = b"040000 tree aa\tlibs\x00160000 commit bb\tlibs/x\x00160000 commit cc\ta\tb\xff\0";
        assert_eq!(links(tree), [(b"libs/x".to_vec(), "bb".to_owned()), (b"a\tb\xff".to_vec(), "cc".to_owned())]);
    }
}
