//! `[builder]`: what the builder drives, how it is reached, and what it may run.
//!
//! Invariant: an engine that another machine offers is spoken to by TLS, or not at all. The files are read here, at the start.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use secrecy::SecretString;
use slipway_app::BuildHooks;
use slipway_builder::EngineBounds;
use slipway_buildkit::{ClientIdentity, EngineAddress, EngineTls, TlsError};

use super::entry::wide_mode;
use super::keys::{self, Key};
use super::layers::Source;
use super::resolve::{Resolver, refuse};
use super::{BuilderSettings, people};
use crate::failure::Failure;

/// A bundle of authorities may be long.
const MAX_PEM_BYTES: u64 = 256 * 1024;

pub(super) fn settings(r: &mut Resolver<'_>, warnings: &mut Vec<String>) -> Result<BuilderSettings, Failure> {
    let enabled = r.value(&keys::BUILDER_ENABLED, "true", "write `true` or `false`", |text| {
        bool::from_str(text).map_err(|_| "expected `true` or `false`".to_owned())
    })?;
    let engine = engine(r, warnings)?;
    let parallel = r.value(&keys::BUILDER_PARALLEL, "2", "for example `2`", |text| {
        text.parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| "expected a number from 1 to 64".to_owned())
    })?;
    let memory = r.value(&keys::BUILDER_MEMORY, people::NONE, "for example `4G` or `512M`; `none` is the machine's", memory)?;
    let (text, source) = r.raw(&keys::BUILDER_HOOKS, "*");
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let hint = "`[\"*\"]` for everyone, `[]` for nobody, or namespaces: `[\"acme\", \"beta\"]`";
    let hooks = BuildHooks::of(words).map_err(|problem| refuse(&keys::BUILDER_HOOKS, &text, &source, &problem, hint))?;
    r.show(&keys::BUILDER_HOOKS, if text.is_empty() { people::NONE } else { &text }, source);
    Ok(BuilderSettings { enabled, engine, parallel, bounds: EngineBounds { memory }, hooks })
}

/// An engine with less than this does not start.
const LEAST_MEMORY: u64 = 256 << 20;

fn memory(text: &str) -> Result<Option<u64>, String> {
    if text == people::NONE {
        return Ok(None);
    }
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let shift = match unit {
        "M" => 20,
        "G" => 30,
        _ => return Err("expected a number with `M` or `G`, or `none`".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number with `M` or `G`, or `none`".to_owned())?;
    let bytes = number.checked_shl(shift).filter(|bytes| bytes >> shift == number).ok_or("expected a smaller number")?;
    if bytes < LEAST_MEMORY {
        return Err("expected `256M` or more: an engine with less does not start".to_owned());
    }
    Ok(Some(bytes))
}

fn engine(r: &mut Resolver<'_>, warnings: &mut Vec<String>) -> Result<EngineAddress, Failure> {
    let key = &keys::BUILDER_ENGINE;
    let address: EngineAddress = r.value(key, "unix:///var/run/docker.sock", "for example `unix:///var/run/docker.sock`", |text| {
        text.parse()
            .map_err(|_| "expected `unix:///PATH`, `tcp://HOST:PORT`, `buildkit+unix:///PATH` or `buildkit+tcp://HOST:PORT`".to_owned())
    })?;
    let authority = pem(r, &keys::BUILDER_ENGINE_CA_FILE)?;
    let certificate = pem(r, &keys::BUILDER_ENGINE_CERT_FILE)?;
    let private_key = pem(r, &keys::BUILDER_ENGINE_KEY_FILE)?;
    let without = |set: &Pem, missing: &Key, why: &str| {
        let text = format!("`{}` is set ({}) without `{}`", set.key.name, set.source, missing.name);
        Err(Failure::usage(text, format!("add `{}`, {why}", missing.name)))
    };
    match (&certificate, &private_key) {
        (Some(set), None) => return without(set, &keys::BUILDER_ENGINE_KEY_FILE, "the certificate's private key"),
        (None, Some(set)) => return without(set, &keys::BUILDER_ENGINE_CERT_FILE, "the certificate of this key"),
        _ => {}
    }
    let Some(authority) = authority else {
        if let Some(set) = &certificate {
            return without(set, &keys::BUILDER_ENGINE_CA_FILE, "the authority that signed the engine's certificate");
        }
        if address.is_exposed() {
            let (text, source) = r.raw(key, "");
            let problem = "plain TCP to another machine is open to everybody on the way";
            let hint = "set `engine_ca_file`, `engine_cert_file` and `engine_key_file` beside it";
            return Err(refuse(key, &text, &source, problem, hint));
        }
        return Ok(address);
    };
    if !address.is_tcp() {
        let text = format!("`{}` is set ({}), and `{address}` is a socket of this machine", authority.key.name, authority.source);
        return Err(Failure::usage(text, "remove it, or name an engine at `tcp://` or `buildkit+tcp://`"));
    }
    warnings.extend(private_key.as_ref().and_then(|key| wide_mode(&key.path)));
    let identity = certificate
        .as_ref()
        .zip(private_key.as_ref())
        .map(|(certificate, key)| ClientIdentity { certificate: certificate.text.clone(), key: SecretString::from(key.text.clone()) });
    let unusable = |of: &Pem, problem: &str| {
        let text = format!("`{}` is `{}` ({}): it {problem}", of.key.name, of.path.display(), of.source);
        Failure::usage(text, "all three are files in PEM, as `openssl` writes them")
    };
    let tls = EngineTls::new(&authority.text, identity.as_ref()).map_err(|error| match (&error, &certificate, &private_key) {
        (TlsError::Certificate(problem), Some(certificate), _) => unusable(certificate, problem),
        (TlsError::Key(problem), _, Some(key)) => unusable(key, problem),
        _ => unusable(&authority, &error.to_string()),
    })?;
    Ok(address.with_tls(tls))
}

/// A file that was named, and what it holds.
struct Pem {
    key: &'static Key,
    path: PathBuf,
    source: Source,
    text: String,
}

fn pem(r: &mut Resolver<'_>, key: &'static Key) -> Result<Option<Pem>, Failure> {
    let (_, source) = r.raw(key, "");
    if source == Source::Default {
        r.show(key, people::NONE, source);
        return Ok(None);
    }
    let path = r.path(key, Path::new(""))?;
    let text = read(&path).map_err(|problem| {
        Failure::usage(format!("`{}` is `{}` ({source}): it {problem}", key.name, path.display()), "name a file in PEM")
    })?;
    Ok(Some(Pem { key, path, source, text }))
}

fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_PEM_BYTES {
        return Err(format!("has {size} bytes, at most {MAX_PEM_BYTES} are accepted"));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
