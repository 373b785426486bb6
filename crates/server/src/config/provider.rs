//! The `[[provider]]` list: each entry checked as a whole.
//!
//! Invariant: a [`ProviderSettings`] can be used as it is: its addresses are origins or API roots without query, its secret is not empty.

use std::path::Path;

use secrecy::SecretString;
use slipway_model::{ProviderId, ProviderKind};
use url::Url;

use super::entry::{Entry, Notes, is_loopback};
use super::layers::RawEntry;
use crate::failure::Failure;

const KINDS: &str = "github";
const LATER_KINDS: &[&str] = &["bitbucket", "gitlab", "gitea", "bitbucket-dc", "git"];
const MAX_PROVIDERS: usize = 50;
const WHERE_FROM: &str = "copy it from the OAuth app's page at the provider";

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

/// Checks all providers; relative secret files are looked for beside the configuration file.
pub(crate) fn check(raw: &[RawEntry], file: &Path, folder: &Path, notes: &mut Notes) -> Result<Vec<ProviderSettings>, Failure> {
    if raw.len() > MAX_PROVIDERS {
        return Err(Failure::usage(format!("{} providers are configured, at most {MAX_PROVIDERS} are accepted", raw.len()), "remove some"));
    }
    let mut providers: Vec<ProviderSettings> = Vec::new();
    for entry in raw {
        let provider = check_one(&Entry { table: "provider", raw: entry, file, folder }, notes)?;
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

fn check_one(entry: &Entry<'_>, notes: &mut Notes) -> Result<ProviderSettings, Failure> {
    let id: ProviderId = entry
        .required("id", "id = \"github\"")?
        .parse()
        .map_err(|problem: String| entry.refuse("id", &problem, "for example `github` or `ghe-acme`; it stands in addresses"))?;
    let kind = kind(entry)?;
    for key in ["app_id", "private_key_file"] {
        if entry.get(key).is_some() {
            return Err(entry.refuse(
                key,
                &format!("`{key}` is of GitHub Apps, which this version cannot use"),
                "use an OAuth app: `client_id` and `client_secret_file`",
            ));
        }
    }
    // With one of the two left to its default, the client secret of one provider would go to another.
    if entry.get("web_url").is_some() != entry.get("api_url").is_some() {
        let (set, missing) = if entry.get("web_url").is_some() { ("web_url", "api_url") } else { ("api_url", "web_url") };
        return Err(entry.refuse(
            set,
            &format!("`{set}` is set without `{missing}`"),
            &format!("add `{missing}`; both belong to the same provider"),
        ));
    }
    let web_url = url(entry, "web_url", "https://github.com", notes)?;
    let api_url = url(entry, "api_url", "https://api.github.com", notes)?;
    let client_id = entry.client_id(WHERE_FROM)?;
    let client_secret = entry.secret(WHERE_FROM, notes)?;
    entry.show(id.as_str(), notes);
    Ok(ProviderSettings { id, kind, web_url, api_url, client_id, client_secret })
}

fn kind(entry: &Entry<'_>) -> Result<ProviderKind, Failure> {
    let text = entry.required("kind", "kind = \"github\"")?;
    text.parse().map_err(|_: String| {
        let shown: String = text.chars().take(40).collect();
        let what = if LATER_KINDS.contains(&text) {
            format!("providers of kind `{shown}` are not in this version")
        } else {
            format!("`{shown}` is no kind of provider")
        };
        entry.refuse("kind", &what, &format!("this version speaks: {KINDS}"))
    })
}

fn url(entry: &Entry<'_>, key: &'static str, default: &str, notes: &mut Notes) -> Result<Url, Failure> {
    let text = entry.get(key).map_or(default, |raw| raw.text.as_str());
    let url = entry.address(key, text, default)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        notes.warnings.push(format!("`{key}` of a provider is `{url}`: tokens and the client secret travel unencrypted"));
    }
    Ok(url)
}
