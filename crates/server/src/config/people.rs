//! What is set about people: mail, sign-up, limits, where they may send us, and the `[[oidc]]` list of providers they sign in with.
//!
//! Invariant: an OpenID Connect provider that exists here can be asked safely: over TLS, or on this machine.

use std::num::NonZeroU32;
use std::path::Path;

use slipway_app::{CreateAccounts, MailConfig, MailTransport, OidcProvider, Sender, SignUp};
use slipway_forge::EgressPolicy;
use slipway_model::ProviderId;
use url::Url;

use super::entry::{Entry, Notes, is_loopback};
use super::keys;
use super::layers::{RawEntry, Source};
use super::resolve::{Resolver, refuse};
use crate::failure::Failure;

const MAX_OIDC: usize = 20;
const MAX_SCOPES: usize = 20;
const WHERE_FROM: &str = "copy it from the client's page at the provider";
const ISSUER: &str = "https://id.example.com";
/// What `check-config` says of a value that nobody set and that has no default.
pub(super) const NONE: &str = "none";

/// `[mail]`: both keys or none. The address may hold a password, so it is shown without and no error repeats it.
pub(super) fn mail(r: &mut Resolver<'_>, warnings: &mut Vec<String>) -> Result<Option<MailConfig>, Failure> {
    let (url, url_source) = r.raw(&keys::MAIL_URL, "");
    let (from, from_source) = r.raw(&keys::MAIL_FROM, "");
    let hint = "for example `smtp://user:password@mail.example.com:587` or `file:///var/spool/slipway-mail`";
    let example = "for example `Slipway <slipway@example.com>`";
    match (&url_source, &from_source) {
        (Source::Default, Source::Default) => {
            r.show(&keys::MAIL_URL, NONE, Source::Default);
            r.show(&keys::MAIL_FROM, NONE, Source::Default);
            return Ok(None);
        }
        (Source::Default, _) => return Err(Failure::usage(format!("`mail.from` is set ({from_source}) without `mail.url`"), hint)),
        (_, Source::Default) => return Err(Failure::usage(format!("`mail.url` is set ({url_source}) without `mail.from`"), example)),
        _ => {}
    }
    let shown = without_password(&url);
    let transport = MailTransport::parse(&url).map_err(|problem| refuse(&keys::MAIL_URL, &shown, &url_source, &problem, hint))?;
    let sender: Sender = from.parse().map_err(|problem| refuse(&keys::MAIL_FROM, &from, &from_source, problem, example))?;
    if transport.is_open() {
        warnings.push(format!("`mail.url` is `{shown}`: mail with one-time addresses travels unencrypted"));
    }
    r.show(&keys::MAIL_URL, shown, url_source);
    r.show(&keys::MAIL_FROM, from, from_source);
    Ok(Some(MailConfig { transport, from: sender }))
}

/// The address with its password hidden; of one that cannot be read only the word before `://`.
fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            if url.set_password(Some("[set]")).is_err() {
                return format!("{}://...", url.scheme());
            }
            url.to_string().replace("%5Bset%5D", "[set]")
        }
        Ok(_) if !text.contains('@') => text.to_owned(),
        Ok(url) => format!("{}://...", url.scheme()),
        Err(_) => "...".to_owned(),
    }
}

/// `sign_up`.
pub(super) fn sign_up(r: &mut Resolver<'_>) -> Result<SignUp, Failure> {
    r.value(&keys::SIGN_UP, "closed", "write `closed` (by invitation) or `open` (everybody)", |text| match text {
        "open" => Ok(SignUp::Open),
        "closed" => Ok(SignUp::Closed),
        _ => Err("expected `open` or `closed`".to_owned()),
    })
}

/// `limits.api_per_minute`.
pub(super) fn api_per_minute(r: &mut Resolver<'_>) -> Result<NonZeroU32, Failure> {
    r.value(&keys::LIMITS_API_PER_MINUTE, "1200", "for example `1200`", |text| {
        let number = text.parse::<NonZeroU32>().ok().filter(|n| (10..=1_000_000).contains(&n.get()));
        number.ok_or_else(|| "expected a number from 10 to 1000000".to_owned())
    })
}

/// `egress.allow`.
pub(super) fn egress(r: &mut Resolver<'_>) -> Result<EgressPolicy, Failure> {
    let (text, source) = r.raw(&keys::EGRESS_ALLOW, "");
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let hint = "for example `[\"10.1.0.0/16\", \"avatars.ghe.example.com\"]`";
    let policy = EgressPolicy::allowing(entries).map_err(|problem| refuse(&keys::EGRESS_ALLOW, &text, &source, &problem, hint))?;
    r.show(&keys::EGRESS_ALLOW, if text.is_empty() { NONE } else { &text }, source);
    Ok(policy)
}

/// Checks all OpenID Connect providers; relative secret files are looked for beside the configuration file.
pub(super) fn oidc(raw: &[RawEntry], file: &Path, folder: &Path, notes: &mut Notes) -> Result<Vec<OidcProvider>, Failure> {
    if raw.len() > MAX_OIDC {
        return Err(Failure::usage(format!("{} `[[oidc]]` are configured, at most {MAX_OIDC} are accepted", raw.len()), "remove some"));
    }
    let mut providers: Vec<OidcProvider> = Vec::new();
    for entry in raw {
        let provider = check_one(&Entry { table: "oidc", raw: entry, file, folder }, notes)?;
        let twice = |what: &str, value: &str| {
            Failure::usage(
                format!("`{}` line {}: the {what} `{value}` is used twice in `[[oidc]]`", file.display(), entry.line),
                format!("give each `[[oidc]]` an {what} of its own"),
            )
        };
        if providers.iter().any(|other| other.id == provider.id) {
            return Err(twice("id", provider.id.as_str()));
        }
        if providers.iter().any(|other| other.issuer == provider.issuer) {
            return Err(twice("issuer", &provider.issuer));
        }
        providers.push(provider);
    }
    Ok(providers)
}

fn check_one(entry: &Entry<'_>, notes: &mut Notes) -> Result<OidcProvider, Failure> {
    let id: ProviderId = entry
        .required("id", "id = \"corp\"")?
        .parse()
        .map_err(|problem: String| entry.refuse("id", &problem, "for example `corp`; it stands in addresses"))?;
    let name = entry.get("name").map_or(id.as_str(), |raw| raw.text.as_str()).to_owned();
    if !(1..=60).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(entry.refuse(
            "name",
            "`name` must be 1 to 60 characters",
            "people read it on the sign-in page, for example `Acme login`",
        ));
    }
    let issuer = issuer(entry)?;
    let create_accounts = match entry.get("create_accounts").map(|raw| raw.text.as_str()) {
        Some("true") => CreateAccounts::Yes,
        _ => CreateAccounts::No,
    };
    let scopes = scopes(entry)?;
    let client_id = entry.client_id(WHERE_FROM)?;
    let client_secret = entry.secret(WHERE_FROM, notes)?;
    entry.show(id.as_str(), notes);
    Ok(OidcProvider { id, name, issuer, client_id, client_secret, scopes, create_accounts })
}

/// Kept letter by letter: it is compared with what the provider's tokens say.
fn issuer(entry: &Entry<'_>) -> Result<String, Failure> {
    let text = entry.required("issuer", &format!("issuer = \"{ISSUER}\""))?;
    let url = entry.address("issuer", text, ISSUER)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(entry.refuse(
            "issuer",
            "`issuer` must begin with `https://`: without TLS anybody on the way could sign in as anybody",
            &format!("for example `{ISSUER}`"),
        ));
    }
    Ok(text.to_owned())
}

/// RFC 6749 §3.3: printable ASCII but `"` and `\`, divided by spaces. `openid` is always asked for.
fn scopes(entry: &Entry<'_>) -> Result<Vec<String>, Failure> {
    let text = entry.get("scopes").map_or("openid profile email", |raw| raw.text.as_str());
    let fits = text.bytes().all(|b| b == b' ' || (b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')));
    let scopes: Vec<String> = text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    if fits && text.len() <= 500 && scopes.len() <= MAX_SCOPES {
        return Ok(scopes);
    }
    Err(entry.refuse(
        "scopes",
        &format!("`scopes` must be at most {MAX_SCOPES} words of printable ASCII characters, divided by spaces"),
        "for example `openid profile email`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        assert_eq!(without_password("smtp://me:hush@mail.example.com:587"), "smtp://me:[set]@mail.example.com:587");
        assert_eq!(without_password("smtp://mail.example.com"), "smtp://mail.example.com");
        assert_eq!(without_password("file:///var/mail"), "file:///var/mail");
        // What is no address may hold one all the same.
        for odd in ["smtp:me:hush@mail", "me:hush@mail", "://me:hush@mail", "smtp://me:hush@"] {
            assert!(!without_password(odd).contains("hush"), "{odd}");
        }
    }
}
