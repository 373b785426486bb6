//! One table of a list of the file (`[[provider]]`, `[[oidc]]`): its values, and how a problem with one is told.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;
use url::Url;

use super::layers::{Raw, RawEntry, Source};
use super::resolve::Shown;
use crate::failure::Failure;

const MAX_SECRET_BYTES: usize = 4096;

/// What the checks leave behind beside the values.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) shown: Vec<Shown>,
    pub(crate) warnings: Vec<String>,
}

/// An entry of a list that is being checked.
pub(super) struct Entry<'a> {
    /// `provider` or `oidc`.
    pub(super) table: &'static str,
    pub(super) raw: &'a RawEntry,
    pub(super) file: &'a Path,
    /// Where relative paths of the file are meant from.
    pub(super) folder: &'a Path,
}

impl Entry<'_> {
    /// Adds the entry's lines to what `check-config` says.
    pub(super) fn show(&self, id: &str, notes: &mut Notes) {
        for (key, raw) in &self.raw.values {
            let text = if *key == "client_secret" { "[set]".to_owned() } else { raw.text.clone() };
            notes.shown.push(Shown { name: format!("{}.{id}.{key}", self.table), text, source: raw.source.clone() });
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Raw> {
        self.raw.values.get(key)
    }

    pub(super) fn refuse(&self, key: &str, message: &str, hint: &str) -> Failure {
        let line = match self.get(key).map(|raw| &raw.source) {
            Some(Source::File { line, .. }) => *line,
            _ => self.raw.line,
        };
        Failure::usage(format!("`{}` line {line}: {message}", self.file.display()), hint)
    }

    pub(super) fn required(&self, key: &str, example: &str) -> Result<&str, Failure> {
        let found = self.get(key).map(|raw| raw.text.as_str());
        found.ok_or_else(|| self.refuse(key, &format!("this `[[{}]]` has no `{key}`", self.table), &format!("add `{example}`")))
    }

    /// `where_from` says where an administrator finds it.
    pub(super) fn client_id(&self, where_from: &str) -> Result<String, Failure> {
        let client_id = self.required("client_id", "client_id = \"...\"")?;
        let fits = (1..=200).contains(&client_id.len()) && client_id.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            return Ok(client_id.to_owned());
        }
        Err(self.refuse("client_id", "`client_id` must be 1 to 200 printable ASCII characters", where_from))
    }

    /// An address without query and password; `example` is a right one.
    pub(super) fn address(&self, key: &str, text: &str, example: &str) -> Result<Url, Failure> {
        let refuse = |problem: &str| self.refuse(key, &format!("`{key}` {problem}"), &format!("for example `{example}`"));
        let url = Url::parse(text).map_err(|error| refuse(&format!("is no address: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refuse("must begin with `https://` (or `http://`)"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("must have no user, password, `?` or `#` in it"));
        }
        Ok(url)
    }

    /// `client_secret` or the content of `client_secret_file`.
    pub(super) fn secret(&self, where_from: &str, notes: &mut Notes) -> Result<SecretString, Failure> {
        match (self.get("client_secret"), self.get("client_secret_file")) {
            (Some(_), Some(_)) => Err(self.refuse(
                "client_secret",
                "both `client_secret` and `client_secret_file` are set, expected one",
                "keep `client_secret_file`",
            )),
            (None, None) => Err(self.refuse(
                "client_secret",
                &format!("this `[[{}]]` has no client secret", self.table),
                "add `client_secret_file = \"...\"` (or `client_secret`)",
            )),
            (Some(inline), None) => self.usable(inline.text.trim(), "client_secret", where_from),
            (None, Some(named)) => {
                let path = self.folder.join(&named.text);
                let text = secret_file(&path).map_err(|problem| {
                    self.refuse(
                        "client_secret_file",
                        &format!("the secret file `{}` {problem}", path.display()),
                        "put the client secret alone into that file, mode 0600",
                    )
                })?;
                if let Some(warning) = wide_mode(&path) {
                    notes.warnings.push(warning);
                }
                self.usable(text.trim(), "client_secret_file", where_from)
            }
        }
    }

    fn usable(&self, secret: &str, key: &str, where_from: &str) -> Result<SecretString, Failure> {
        let fits = !secret.is_empty() && secret.len() <= MAX_SECRET_BYTES && secret.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(secret.to_owned().into())
        } else {
            Err(self.refuse(key, "the client secret must be one line of printable ASCII characters", where_from))
        }
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The text of a small secret file.
pub(crate) fn secret_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if size.len() > MAX_SECRET_BYTES as u64 {
        return Err(format!("has {} bytes, at most {MAX_SECRET_BYTES} are accepted", size.len()));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// A warning when others than the owner may read a secret file.
pub(crate) fn wide_mode(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| format!("`{}` has mode {mode:04o}, others may read it: `chmod 600` it", path.display()))
}
