//! The `[[provider]]` list: each entry checked as a whole.
//!
//! Invariant: a [`ProviderSettings`] can be used as it is: its addresses are origins or API roots without query, its secret is not empty.

use std::path::Path;

use secrecy::SecretString;
use slipway_forge::{AppCredentials, SshAccess};
use slipway_model::{ProviderId, ProviderKind};
use url::Url;

use super::entry::{Entry, Notes, is_loopback, secret_file, wide_mode};
use super::layers::RawEntry;
use super::ssh;
use crate::failure::Failure;

const KINDS: &str = "github, bitbucket, gitea (Forgejo too)";
const LATER_KINDS: &[&str] = &["gitlab", "bitbucket-dc", "git"];
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
    /// Set when the application is a GitHub App.
    pub app: Option<AppCredentials>,
    /// How git reaches it over SSH; without it there are no deploy keys.
    pub ssh: Option<SshAccess>,
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
    let (web_url, api_url) = addresses(entry, kind, notes)?;
    let client_id = entry.client_id(WHERE_FROM)?;
    let client_secret = entry.secret(WHERE_FROM, notes)?;
    let app = app(entry, kind, notes)?;
    let ssh = ssh::check(entry, &web_url)?;
    entry.show(id.as_str(), notes);
    Ok(ProviderSettings { id, kind, web_url, api_url, client_id, client_secret, app, ssh })
}

/// Where the service of this kind stands that everybody uses; there is none of Gitea.
fn public_service(kind: ProviderKind) -> Option<(&'static str, &'static str)> {
    match kind {
        ProviderKind::GitHub => Some(("https://github.com", "https://api.github.com")),
        ProviderKind::Bitbucket => Some(("https://bitbucket.org", "https://api.bitbucket.org")),
        ProviderKind::Gitea => None,
    }
}

fn addresses(entry: &Entry<'_>, kind: ProviderKind, notes: &mut Notes) -> Result<(Url, Url), Failure> {
    let Some((web, api)) = public_service(kind) else {
        entry.required("web_url", "web_url = \"https://git.example.com\"")?;
        let web_url = url(entry, "web_url", "https://git.example.com", notes)?;
        let api = format!("{}/api/v1", web_url.as_str().trim_end_matches('/'));
        return Ok((web_url, url(entry, "api_url", &api, notes)?));
    };
    // With one of the two left to its default, the client secret of one provider would go to another.
    if entry.get("web_url").is_some() != entry.get("api_url").is_some() {
        let (set, missing) = if entry.get("web_url").is_some() { ("web_url", "api_url") } else { ("api_url", "web_url") };
        return Err(entry.refuse(
            set,
            &format!("`{set}` is set without `{missing}`"),
            &format!("add `{missing}`; both belong to the same provider"),
        ));
    }
    Ok((url(entry, "web_url", web, notes)?, url(entry, "api_url", api, notes)?))
}

/// `app_id` and `private_key_file`, which make the application a GitHub App.
fn app(entry: &Entry<'_>, kind: ProviderKind, notes: &mut Notes) -> Result<Option<AppCredentials>, Failure> {
    let (app_id, key_file) = match (entry.get("app_id"), entry.get("private_key_file")) {
        (None, None) => return Ok(None),
        (Some(app_id), Some(key_file)) => (app_id, key_file),
        (app_id, _) => {
            let (set, missing) = if app_id.is_some() { ("app_id", "private_key_file") } else { ("private_key_file", "app_id") };
            return Err(entry.refuse(
                set,
                &format!("`{set}` is set without `{missing}`"),
                &format!("add `{missing}`; both are on the page of the GitHub App"),
            ));
        }
    };
    if kind != ProviderKind::GitHub {
        return Err(entry.refuse(
            "app_id",
            &format!("`app_id` is of GitHub Apps, and this provider is of kind `{kind}`"),
            "remove `app_id` and `private_key_file`",
        ));
    }
    let fits = (1..=20).contains(&app_id.text.len()) && app_id.text.bytes().all(|b| b.is_ascii_digit());
    if !fits {
        return Err(entry.refuse("app_id", "`app_id` must be a number", "copy it from the page of the GitHub App"));
    }
    let hint = "GitHub makes the file on the page of the App: \"Generate a private key\"; keep it with mode 0600";
    let path = entry.folder.join(&key_file.text);
    let refuse = |problem: String| entry.refuse("private_key_file", &format!("`{}` {problem}", path.display()), hint);
    let private_key = SecretString::from(secret_file(&path).map_err(refuse)?);
    slipway_forge::github::check_private_key(&private_key).map_err(|problem| refuse(format!("cannot be used: {problem}")))?;
    notes.warnings.extend(wide_mode(&path));
    Ok(Some(AppCredentials { app_id: app_id.text.clone(), private_key }))
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
