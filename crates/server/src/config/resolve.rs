//! From text to values: each setting parsed once, with its default, and remembered for `check-config`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::entry::Notes;
use super::keys::{self, Key};
use super::layers::{Layers, Raw, Source};
use super::{Config, Loaded, builder, people, provider, queue};
use crate::failure::Failure;

/// One line of `check-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Name of the key.
    pub name: String,
    /// The value; a secret is `[set]`.
    pub text: String,
    /// Where it came from.
    pub source: Source,
}

/// Parses everything; the first problem ends it.
pub(crate) fn resolve(layers: &Layers, folder: &Path) -> Result<Loaded, Failure> {
    let file = layers.file.clone().unwrap_or_else(|| PathBuf::from("slipway.toml"));
    let file_folder = folder.join(&file).parent().map_or_else(|| folder.to_owned(), Path::to_owned);
    let mut r = Resolver { layers, folder, file_folder: &file_folder, shown: Vec::new() };

    let data_dir = r.path(&keys::DATA_DIR, &folder.join("slipway-data"))?;
    let listen: SocketAddr = r.value(&keys::LISTEN, "127.0.0.1:8080", "for example `127.0.0.1:8080` or `0.0.0.0:8080`", |text| {
        text.parse().map_err(|_| "expected an IP address and a port".to_owned())
    })?;
    let public_url = r.public_url(listen)?;
    let database_url = r.database_url(&data_dir)?;
    let blobs_dir = r.storage(&data_dir)?;
    let secret_key_file = r.path(&keys::SECRET_KEY_FILE, &data_dir.join("secret.key"))?;
    let of_providers = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
    let reconcile_interval = r.duration(&keys::RECONCILE_INTERVAL, "5m", of_providers.clone())?;
    let link_check_interval = r.duration(&keys::LINK_CHECK_INTERVAL, "5m", of_providers.clone())?;
    let source_sweep_interval = r.duration(&keys::SOURCE_SWEEP_INTERVAL, "5m", of_providers)?;
    let day = Duration::from_secs(86_400);
    let delivery_retention = r.duration(&keys::DELIVERY_RETENTION, "90d", day..=day * 3_660)?;
    let drain_timeout = r.duration(&keys::DRAIN_TIMEOUT, "30s", Duration::ZERO..=Duration::from_secs(86_400))?;
    let sign_up = people::sign_up(&mut r)?;
    let log = r.value(&keys::LOG, "info", "for example `info` or `slipway_app=debug,info`", |text| {
        tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| format!("is no filter of log lines: {error}"))
    })?;
    let mut warnings = Vec::new();
    let builder = builder::settings(&mut r, &mut warnings)?;
    let queue = queue::limits(&mut r)?;
    let lease = r.duration(&keys::QUEUE_LEASE, "30s", Duration::from_secs(5)..=Duration::from_secs(600))?;
    let time_limit = r.duration(&keys::QUEUE_TIME_LIMIT, "4h", Duration::from_secs(10)..=day * 7)?;
    let mail = people::mail(&mut r, &mut warnings)?;
    let api_per_minute = people::api_per_minute(&mut r)?;
    let egress = people::egress(&mut r)?;
    let mut notes = Notes { shown: r.shown, warnings };
    let providers = provider::check(&layers.providers, &file, &file_folder, &mut notes)?;
    let oidc = people::oidc(&layers.oidc, &file, &file_folder, &mut notes)?;
    if public_url.is_none() && listen.ip().is_unspecified() {
        notes
            .warnings
            .push("`public_url` is not set and `listen` is every address: providers and docker cannot reach the default".to_owned());
    }
    let config = Config {
        data_dir,
        listen,
        public_url,
        database_url,
        blobs_dir,
        secret_key_file,
        reconcile_interval,
        link_check_interval,
        source_sweep_interval,
        delivery_retention,
        drain_timeout,
        log,
        builder,
        queue,
        lease,
        time_limit,
        mail,
        sign_up,
        api_per_minute,
        egress,
        providers,
        oidc,
    };
    Ok(Loaded { config, shown: notes.shown, warnings: notes.warnings, file: layers.file.clone() })
}

pub(super) struct Resolver<'a> {
    layers: &'a Layers,
    folder: &'a Path,
    file_folder: &'a Path,
    shown: Vec<Shown>,
}

impl Resolver<'_> {
    pub(super) fn raw(&self, key: &Key, default: &str) -> (String, Source) {
        match self.layers.values.get(key.name) {
            Some(raw) => (raw.text.clone(), raw.source.clone()),
            None => (default.to_owned(), Source::Default),
        }
    }

    pub(super) fn show(&mut self, key: &Key, text: impl Into<String>, source: Source) {
        self.shown.push(Shown { name: key.name.to_owned(), text: text.into(), source });
    }

    /// Limits of single namespaces.
    pub(super) fn namespaces(&self) -> Vec<(String, Raw)> {
        self.layers.namespaces.iter().map(|(name, raw)| (name.clone(), raw.clone())).collect()
    }

    pub(super) fn show_as(&mut self, shown: Shown) {
        self.shown.push(shown);
    }

    /// `parse` says what is wrong with the value; the value itself, its key and its source are told here.
    pub(super) fn value<T>(
        &mut self,
        key: &Key,
        default: &str,
        hint: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let (text, source) = self.raw(key, default);
        let value = parse(&text).map_err(|problem| refuse(key, &text, &source, &problem, hint))?;
        self.show(key, text, source);
        Ok(value)
    }

    /// A relative path of the file is meant from the file's folder, any other from the working folder.
    pub(super) fn path(&mut self, key: &Key, default: &Path) -> Result<PathBuf, Failure> {
        let (text, source) = self.raw(key, &default.to_string_lossy());
        if text.is_empty() || text.contains('\0') {
            return Err(refuse(key, &text, &source, "expected a path", "name a folder or file"));
        }
        let base = if matches!(source, Source::File { .. }) { self.file_folder } else { self.folder };
        let path = clean(&base.join(&text));
        self.show(key, path.display().to_string(), source);
        Ok(path)
    }

    fn duration(&mut self, key: &Key, default: &str, range: std::ops::RangeInclusive<Duration>) -> Result<Duration, Failure> {
        self.value(key, default, "for example `30s`, `5m` or `1h`", |text| {
            let value = parse_duration(text).ok_or("expected a number with `ms`, `s`, `m`, `h` or `d`")?;
            if range.contains(&value) {
                Ok(value)
            } else {
                Err(format!("expected {} to {} seconds", range.start().as_secs(), range.end().as_secs()))
            }
        })
    }

    fn public_url(&mut self, listen: SocketAddr) -> Result<Option<Url>, Failure> {
        let (text, source) = self.raw(&keys::PUBLIC_URL, &format!("http://{listen}"));
        let url = parse_public_url(&text)
            .map_err(|problem| refuse(&keys::PUBLIC_URL, &text, &source, problem, "for example `https://slipway.example.com`"))?;
        self.show(&keys::PUBLIC_URL, text, source.clone());
        Ok((source != Source::Default).then_some(url))
    }

    fn database_url(&mut self, data_dir: &Path) -> Result<SecretString, Failure> {
        let key = &keys::DATABASE_URL;
        let (text, source) = self.raw(key, &format!("sqlite://{}", data_dir.join("slipway.db").display()));
        let hint = "for example `sqlite:///var/lib/slipway/slipway.db` or `postgres://user:password@host/slipway`";
        let (url, shown) = if let Some(path) = text.strip_prefix("sqlite://") {
            if path.is_empty() || path.contains(['?', '#', '\0']) {
                return Err(refuse(key, &text, &source, "expected the path of a file after `sqlite://`", hint));
            }
            let url = format!("sqlite://{}", clean(&self.folder.join(path)).display());
            (url.clone(), url)
        } else if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // The parser's own message could carry the password, so it is not shown.
            let mut url = Url::parse(&text).map_err(|_| refuse(key, "postgres://...", &source, "is no address that can be read", hint))?;
            if url.password().is_some() && url.set_password(Some("[set]")).is_err() {
                return Err(refuse(key, "postgres://...", &source, "has a password but no host", hint));
            }
            (text, url.to_string().replace("%5Bset%5D", "[set]"))
        } else {
            let scheme = text.split("://").next().unwrap_or_default();
            return Err(refuse(key, scheme, &source, "expected `sqlite://` or `postgres://`", hint));
        };
        self.show(key, shown, source);
        Ok(url.into())
    }

    fn storage(&mut self, data_dir: &Path) -> Result<PathBuf, Failure> {
        let default = format!("file://{}", data_dir.join("blobs").display());
        let folder = self.folder.to_owned();
        self.value(&keys::STORAGE_URL, &default, "for example `file:///var/lib/slipway/blobs`", |text| {
            if text.starts_with("s3://") {
                return Err("S3 is not in this version, expected `file://`".to_owned());
            }
            match text.strip_prefix("file://") {
                Some(path) if !path.is_empty() && !path.contains(['?', '#', '\0']) => Ok(clean(&folder.join(path))),
                _ => Err("expected `file://` and a path".to_owned()),
            }
        })
    }
}

pub(super) fn refuse(key: &Key, text: &str, source: &Source, problem: &str, hint: &str) -> Failure {
    let shown: String = text.chars().take(200).collect();
    Failure::usage(format!("`{}` is `{shown}` ({source}): {problem}", key.name), hint)
}

/// The whole site lives at the root of its origin: `/v2/` has to, by the registry's specification.
pub(crate) fn parse_public_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "expected an address that begins with `http://` or `https://`")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("expected an address that begins with `http://` or `https://`");
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("expected no user, password, `?` or `#` in it");
    }
    if url.path() != "/" {
        return Err("expected no path: docker needs the registry at the root of a host");
    }
    Ok(url)
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

/// Without `.` parts, so that messages read well; `..` stays, since a link may stand before it.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

impl Config {
    /// The database's address, for the one place that opens it.
    pub fn database_address(&self) -> &str {
        self.database_url.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "5", "m", "-5s", "5 s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
