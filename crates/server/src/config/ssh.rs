//! How git reaches a provider over SSH: its address and the host keys that are pinned, never learned.
//!
//! Invariant: an [`SshAccess`] that exists has at least one host key; a key is known as well-formed before anything connects.

use base64::Engine as _;
use slipway_forge::SshAccess;
use url::Url;

use super::entry::Entry;
use crate::failure::Failure;

/// What GitHub and Atlassian publish, with the fingerprints that they publish beside them (a test compares): docs.github.com "GitHub's SSH
/// key fingerprints", bitbucket.org/blog/ssh-host-key-changes. Both also answer at port 443 of a second name.
const PUBLISHED: &[(&[&str], &[&str])] = &[
    (
        &["github.com", "ssh.github.com"],
        &[
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=",
        ],
    ),
    (
        &["bitbucket.org", "altssh.bitbucket.org"],
        &[
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO",
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPIQmuzMBuKdWeF4+a2sjSSpBK0iqitSQ+5BM9KhpexuGt20JpTVM7u5BDZngncgrqDMbWdxMWWOGtZ9UgbqgZE=",
        ],
    ),
];

const KINDS: &[&str] = &["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
const MAX_KEYS: usize = 20;
const EXAMPLE: &str = "ssh://git@git.example.com:2222";
const KEY_HINT: &str =
    "for example `ssh_host_keys = [\"ssh-ed25519 AAAA...\"]`; `ssh-keyscan HOST` prints them, compare them with what the provider shows";

/// `ssh_url` and `ssh_host_keys`; both come by themselves where the provider's host publishes them.
pub(super) fn check(entry: &Entry<'_>, web_url: &Url) -> Result<Option<SshAccess>, Failure> {
    let host = web_url.host_str().unwrap_or_default();
    let default = published(host).is_some().then(|| format!("ssh://git@{host}"));
    let Some(text) = entry.get("ssh_url").map(|raw| raw.text.as_str()).or(default.as_deref()) else {
        return match entry.get("ssh_host_keys") {
            Some(_) => Err(entry.refuse(
                "ssh_host_keys",
                "`ssh_host_keys` is set without `ssh_url`",
                &format!("for example `ssh_url = \"{EXAMPLE}\"`"),
            )),
            None => Ok(None),
        };
    };
    let (user, host, port) = address(text).ok_or_else(|| {
        entry.refuse(
            "ssh_url",
            "`ssh_url` must be `ssh://USER@HOST` or `ssh://USER@HOST:PORT`, no more",
            &format!("for example `{EXAMPLE}`"),
        )
    })?;
    let host_keys = match entry.get("ssh_host_keys") {
        Some(raw) => raw.text.split(',').map(|key| host_key(key).ok_or_else(|| refused_key(entry, key))).collect::<Result<Vec<_>, _>>()?,
        None => published(&host).unwrap_or_default().iter().map(|key| (*key).to_owned()).collect(),
    };
    if host_keys.is_empty() || host_keys.len() > MAX_KEYS {
        return Err(entry.refuse(
            if entry.get("ssh_host_keys").is_some() { "ssh_host_keys" } else { "ssh_url" },
            &format!("`ssh_host_keys` must have 1 to {MAX_KEYS} keys: without one nobody knows whether it is `{host}` that answers"),
            KEY_HINT,
        ));
    }
    Ok(Some(SshAccess { user, host, port, host_keys }))
}

fn published(host: &str) -> Option<&'static [&'static str]> {
    PUBLISHED.iter().find(|(hosts, _)| hosts.contains(&host)).map(|(_, keys)| *keys)
}

fn refused_key(entry: &Entry<'_>, key: &str) -> Failure {
    let shown: String = key.chars().take(40).collect();
    entry.refuse("ssh_host_keys", &format!("`{shown}` is no public key of a host"), KEY_HINT)
}

fn address(text: &str) -> Option<(String, String, u16)> {
    let url = Url::parse(text).ok()?;
    let plain = url.scheme() == "ssh"
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    let user = if url.username().is_empty() { "git" } else { url.username() };
    let word = |text: &str| {
        !text.starts_with('-') && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':' | b'[' | b']'))
    };
    let host = url.host_str().filter(|host| !host.is_empty())?;
    (plain && word(user) && word(host)).then(|| (user.to_owned(), host.to_ascii_lowercase(), url.port().unwrap_or(22)))
}

/// Kind and body, without a comment; the body has to name the same kind.
fn host_key(text: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace();
    let (kind, body) = (words.next()?, words.next()?);
    let bytes = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let named = bytes.get(4..)?.get(..usize::try_from(u32::from_be_bytes(length)).ok()?)?;
    (KINDS.contains(&kind) && named == kind.as_bytes()).then(|| format!("{kind} {body}"))
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn the_keys_that_come_along_have_the_published_fingerprints() {
        let found: Vec<String> = PUBLISHED
            .iter()
            .flat_map(|(_, keys)| *keys)
            .map(|key| {
                let body = host_key(key).unwrap().split(' ').nth(1).unwrap().to_owned();
                let bytes = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
                base64::engine::general_purpose::STANDARD_NO_PAD.encode(sha2::Sha256::digest(bytes))
            })
            .collect();
        assert_eq!(
            found,
            [
                "+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
                "p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
                "ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
                "FC73VB6C4OQLSCrjEayhMp9UMxS97caD/Yyi2bhW/J0",
            ]
        );
    }

    #[test]
    fn addresses_and_keys_are_taken_apart() {
        assert_eq!(address("ssh://git@git.example.com"), Some(("git".into(), "git.example.com".into(), 22)));
        assert_eq!(address("ssh://forgejo@Git.Example.com:2222/"), Some(("forgejo".into(), "git.example.com".into(), 2222)));
        assert_eq!(address("ssh://git@[::1]:22"), Some(("git".into(), "[::1]".into(), 22)));
        for odd in [
            "",
            "git@git.example.com",
            "https://git@x",
            "ssh://git:pw@x",
            "ssh://git@x/o/r",
            "ssh://git@x?a",
            "ssh://git@x#a",
            "ssh://-o@x",
            "ssh://git@-oProxyCommand=x",
            "ssh://",
        ] {
            assert_eq!(address(odd), None, "{odd}");
        }
        let key = PUBLISHED[0].1[0];
        assert_eq!(host_key(&format!(" {key} a comment")).as_deref(), Some(key));
        for odd in
            ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", &key.replace("ssh-ed25519", "ssh-rsa"), &format!("github.com {key}")]
        {
            assert_eq!(host_key(odd), None, "{odd}");
        }
    }
}
