//! The `[[provider]]` list: each entry checked as a whole.
//!
//! Invariant: a [`ProviderSettings`] can be used as it is: its addresses are origins or API roots without query, its secret is not empty.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;
use slipway_model::{ProviderId, ProviderKind};
use url::Url;

use super::layers::{Raw, RawProvider};
use super::resolve::Shown;
use crate::failure::Failure;

const KINDS: &str = "github";
const LATER_KINDS: &[&str] = &["bitbucket", "gitlab", "gitea", "bitbucket-dc", "git"];
const MAX_PROVIDERS: usize = 50;
const MAX_SECRET_BYTES: usize = 4096;

/// A configured source code provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// As it stands in addresses.
    pub id: ProviderId,
    /// Which API it speaks.
    pub kind: ProviderKind,
    /// Where people go.
    pub web_url: Url,
    /// Where its API is.
    pub api_url: Url,
    /// Of the OAuth app.
    pub client_id: String,
    /// Of the OAuth app.
    pub client_secret: SecretString,
}

/// What the checks leave behind beside the providers.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) shown: Vec<Shown>,
    pub(crate) warnings: Vec<String>,
}

/// Checks all providers; relative secret files are looked for beside the configuration file.
pub(crate) fn check(raw: &[RawProvider], file: &Path, folder: &Path, notes: &mut Notes) -> Result<Vec<ProviderSettings>, Failure> {
    if raw.len() > MAX_PROVIDERS {
        return Err(Failure::usage(format!("{} providers are configured, at most {MAX_PROVIDERS} are accepted", raw.len()), "remove some"));
    }
    let mut providers: Vec<ProviderSettings> = Vec::new();
    for entry in raw {
        let provider = Entry { raw: entry, file, folder }.check(notes)?;
        if providers.iter().any(|other| other.id == provider.id) {
            return Err(Failure::usage(
                format!("`{}` line {}: the provider id `{}` is used twice", file.display(), entry.line, provider.id),
                "give each provider an id of its own; it stands in addresses",
            ));
        }
        providers.push(provider);
    }
    Ok(providers)
}

struct Entry<'a> {
    raw: &'a RawProvider,
    file: &'a Path,
    folder: &'a Path,
}

impl Entry<'_> {
    fn check(&self, notes: &mut Notes) -> Result<ProviderSettings, Failure> {
        let id: ProviderId = self
            .required("id", "id = \"github\"")?
            .parse()
            .map_err(|problem: String| self.refuse("id", &problem, "for example `github` or `ghe-acme`; it stands in addresses"))?;
        let kind = self.kind()?;
        for key in ["app_id", "private_key_file"] {
            if self.raw.values.contains_key(key) {
                return Err(self.refuse(
                    key,
                    &format!("`{key}` is of GitHub Apps, which this version cannot use"),
                    "use an OAuth app: `client_id` and `client_secret_file`",
                ));
            }
        }
        // With one of the two left to its default, the client secret of one provider would go to another.
        if self.get("web_url").is_some() != self.get("api_url").is_some() {
            let (set, missing) = if self.get("web_url").is_some() { ("web_url", "api_url") } else { ("api_url", "web_url") };
            return Err(self.refuse(
                set,
                &format!("`{set}` is set without `{missing}`"),
                &format!("add `{missing}`; both belong to the same provider"),
            ));
        }
        let web_url = self.url("web_url", "https://github.com", notes)?;
        let api_url = self.url("api_url", "https://api.github.com", notes)?;
        let client_id = self.required("client_id", "client_id = \"...\"")?.to_owned();
        let fits = (1..=200).contains(&client_id.len()) && client_id.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            return Err(self.refuse(
                "client_id",
                "`client_id` must be 1 to 200 printable ASCII characters",
                "copy it from the OAuth app's page at the provider",
            ));
        }
        let client_secret = self.secret(notes)?;
        self.show(&id, notes);
        Ok(ProviderSettings { id, kind, web_url, api_url, client_id, client_secret })
    }

    fn show(&self, id: &ProviderId, notes: &mut Notes) {
        for (key, raw) in &self.raw.values {
            let text = if *key == "client_secret" { "[set]".to_owned() } else { raw.text.clone() };
            notes.shown.push(Shown { name: format!("provider.{id}.{key}"), text, source: raw.source.clone() });
        }
    }

    fn get(&self, key: &str) -> Option<&Raw> {
        self.raw.values.get(key)
    }

    fn refuse(&self, key: &str, message: &str, hint: &str) -> Failure {
        let line = match self.get(key).map(|raw| &raw.source) {
            Some(super::layers::Source::File { line, .. }) => *line,
            _ => self.raw.line,
        };
        Failure::usage(format!("`{}` line {line}: {message}", self.file.display()), hint)
    }

    fn required(&self, key: &str, example: &str) -> Result<&str, Failure> {
        let found = self.get(key).map(|raw| raw.text.as_str());
        found.ok_or_else(|| self.refuse(key, &format!("this `[[provider]]` has no `{key}`"), &format!("add `{example}`")))
    }

    fn kind(&self) -> Result<ProviderKind, Failure> {
        let text = self.required("kind", "kind = \"github\"")?;
        text.parse().map_err(|_: String| {
            let shown: String = text.chars().take(40).collect();
            if LATER_KINDS.contains(&text) {
                self.refuse(
                    "kind",
                    &format!("providers of kind `{shown}` are not in this version"),
                    &format!("this version speaks: {KINDS}"),
                )
            } else {
                self.refuse("kind", &format!("`{shown}` is no kind of provider"), &format!("this version speaks: {KINDS}"))
            }
        })
    }

    fn url(&self, key: &'static str, default: &str, notes: &mut Notes) -> Result<Url, Failure> {
        let text = self.get(key).map_or(default, |raw| raw.text.as_str());
        let refuse = |problem: &str| self.refuse(key, &format!("`{key}` {problem}"), &format!("for example `{default}`"));
        let url = Url::parse(text).map_err(|error| refuse(&format!("is no address: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refuse("must begin with `https://` (or `http://`)"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("must have no user, password, `?` or `#` in it"));
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            notes.warnings.push(format!("`{key}` of a provider is `{url}`: tokens and the client secret travel unencrypted"));
        }
        Ok(url)
    }

    fn secret(&self, notes: &mut Notes) -> Result<SecretString, Failure> {
        match (self.get("client_secret"), self.get("client_secret_file")) {
            (Some(_), Some(_)) => Err(self.refuse(
                "client_secret",
                "both `client_secret` and `client_secret_file` are set, expected one",
                "keep `client_secret_file`",
            )),
            (None, None) => Err(self.refuse(
                "client_secret",
                "this `[[provider]]` has no client secret",
                "add `client_secret_file = \"...\"` (or `client_secret`)",
            )),
            (Some(inline), None) => self.usable(inline.text.trim(), "client_secret"),
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
                self.usable(text.trim(), "client_secret_file")
            }
        }
    }

    fn usable(&self, secret: &str, key: &str) -> Result<SecretString, Failure> {
        let fits = !secret.is_empty() && secret.len() <= MAX_SECRET_BYTES && secret.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(secret.to_owned().into())
        } else {
            Err(self.refuse(
                key,
                "the client secret must be one line of printable ASCII characters",
                "copy it from the OAuth app's page at the provider",
            ))
        }
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
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
