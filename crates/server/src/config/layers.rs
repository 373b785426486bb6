//! The three layers of the configuration as text: file, environment, flags. Each value keeps the place that it came from.
//!
//! Invariant: an unknown key in any layer is a refusal, never ignored. What a value means is decided in `resolve`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Key, Shape};
use crate::cli::SettingFlags;
use crate::failure::Failure;

/// More than this is no configuration file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The file.
    File {
        /// Its path as it was given.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value before it is parsed.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// One `[[provider]]` or `[[oidc]]` before it is checked.
#[derive(Debug, Default)]
pub(crate) struct RawEntry {
    pub(crate) values: BTreeMap<&'static str, Raw>,
    pub(crate) line: usize,
}

/// All layers, the stronger one having won.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) values: BTreeMap<&'static str, Raw>,
    /// `[queue.namespaces]`: limits by the names of namespaces.
    pub(crate) namespaces: BTreeMap<String, Raw>,
    pub(crate) providers: Vec<RawEntry>,
    pub(crate) oidc: Vec<RawEntry>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
}

/// The environment as it was found; a value of the tests or of the process.
pub type Environment = Vec<(OsString, OsString)>;

/// Reads the three layers.
pub(crate) fn read(flags: &SettingFlags, environment: &Environment, folder: &Path) -> Result<Layers, Failure> {
    let variables = known_variables(environment)?;
    let mut layers = Layers::default();
    if let Some(path) = chosen_file(flags, &variables, folder) {
        read_file(&path, folder, &mut layers)?;
        layers.file = Some(path);
    }
    for key in KEYS {
        if let Some(text) = variables.get(key.variable) {
            layers.values.insert(key.name, Raw { text: text.clone(), source: Source::Environment(key.variable) });
        }
        if let Some(text) = flag(flags, key) {
            layers.values.insert(key.name, Raw { text, source: Source::Flag(key.flag) });
        }
    }
    Ok(layers)
}

fn flag(flags: &SettingFlags, key: &Key) -> Option<String> {
    let value = match key.name {
        "data_dir" => &flags.data_dir,
        "listen" => &flags.listen,
        "public_url" => &flags.public_url,
        "database_url" => &flags.database_url,
        "storage_url" => &flags.storage_url,
        "secret_key_file" => &flags.secret_key_file,
        "reconcile_interval" => &flags.reconcile_interval,
        "link_check_interval" => &flags.link_check_interval,
        "source_sweep_interval" => &flags.source_sweep_interval,
        "delivery_retention" => &flags.delivery_retention,
        "drain_timeout" => &flags.drain_timeout,
        "sign_up" => &flags.sign_up,
        "log" => &flags.log,
        "builder.enabled" => &flags.builder_enabled,
        "builder.engine" => &flags.builder_engine,
        "builder.engine_ca_file" => &flags.builder_engine_ca_file,
        "builder.engine_cert_file" => &flags.builder_engine_cert_file,
        "builder.engine_key_file" => &flags.builder_engine_key_file,
        "builder.parallel" => &flags.builder_parallel,
        "builder.memory" => &flags.builder_memory,
        "builder.hooks" => &flags.builder_hooks,
        "queue.running" => &flags.queue_running,
        "queue.per_namespace" => &flags.queue_per_namespace,
        "queue.lease" => &flags.queue_lease,
        "queue.time_limit" => &flags.queue_time_limit,
        "mail.url" => &flags.mail_url,
        "mail.from" => &flags.mail_from,
        "limits.api_per_minute" => &flags.limits_api_per_minute,
        "egress.allow" => &flags.egress_allow,
        _ => &None,
    };
    value.clone()
}

fn known_variables(environment: &Environment) -> Result<BTreeMap<&'static str, String>, Failure> {
    let mut found = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("SLIPWAY_")) else { continue };
        if keys::foreign_variable(name) {
            continue;
        }
        let known = || KEYS.iter().map(|key| key.variable).chain([keys::CONFIG_VARIABLE]);
        let Some(variable) = known().find(|variable| *variable == name) else {
            let own = |name: &'static str| name.trim_start_matches("SLIPWAY_");
            let hint = match keys::nearest(name.trim_start_matches("SLIPWAY_"), known().map(own)) {
                Some(near) => format!("did you mean `SLIPWAY_{near}`?"),
                None => "unset it; `slipway.example.toml` has every known key".to_owned(),
            };
            return Err(Failure::usage(format!("unknown environment variable `{name}`"), hint));
        };
        let text = value
            .to_str()
            .ok_or_else(|| Failure::usage(format!("the value of `{variable}` is not UTF-8 text"), "set it again in UTF-8"))?;
        found.insert(variable, text.to_owned());
    }
    Ok(found)
}

/// A file that was named must stand; the default one may be missing.
fn chosen_file(flags: &SettingFlags, variables: &BTreeMap<&'static str, String>, folder: &Path) -> Option<PathBuf> {
    let named = flags.config.clone().or_else(|| variables.get(keys::CONFIG_VARIABLE).map(PathBuf::from));
    named.or_else(|| folder.join("slipway.toml").exists().then(|| PathBuf::from("slipway.toml")))
}

fn read_file(path: &Path, folder: &Path, layers: &mut Layers) -> Result<(), Failure> {
    let text = file_text(&folder.join(path)).map_err(|error| {
        Failure::usage(
            format!("the configuration file `{}` cannot be read: {error}", path.display()),
            "`--config FILE` or `SLIPWAY_CONFIG` names another one",
        )
    })?;
    let file = File { path, text: &text };
    let table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| file.line(&span));
        Failure::usage(format!("`{}` line {line}: {}", path.display(), error.message()), "the file is TOML; see slipway.example.toml")
    })?;
    for (name, value) in table.get_ref() {
        match (name.get_ref().as_ref(), value.get_ref()) {
            (table, DeValue::Table(inner)) if keys::TABLES.contains(&table) => {
                for (name, value) in inner {
                    if (table, name.get_ref().as_ref()) == keys::NAMESPACES {
                        file.namespaces(value, layers)?;
                        continue;
                    }
                    file.setting(&format!("{table}.{}", name.get_ref()), name.span(), value, layers)?;
                }
            }
            (table, _) if keys::TABLES.contains(&table) => {
                let hint = format!("write `[{table}]` on a line of its own");
                return Err(file.refuse(&name.span(), &format!("`{table}` must be a table"), &hint));
            }
            ("provider", DeValue::Array(all)) => {
                for entry in all.iter() {
                    layers.providers.push(file.entry("provider", keys::PROVIDER_KEYS, entry)?);
                }
            }
            ("oidc", DeValue::Array(all)) => {
                for entry in all.iter() {
                    layers.oidc.push(file.entry("oidc", keys::OIDC_KEYS, entry)?);
                }
            }
            (list, _) if keys::LISTS.contains(&list) => {
                let hint = format!("begin each of them with `[[{list}]]`");
                return Err(file.refuse(&name.span(), &format!("`{list}` must be a list of tables"), &hint));
            }
            (plain, _) => file.setting(plain, name.span(), value, layers)?,
        }
    }
    Ok(())
}

fn file_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !size.is_file() {
        return Err("it is not a file".to_owned());
    }
    if size.len() > MAX_FILE_BYTES {
        return Err(format!("it has {} bytes, at most {MAX_FILE_BYTES} are accepted", size.len()));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count()
    }

    fn source(&self, span: &Range<usize>) -> Source {
        Source::File { path: self.path.to_owned(), line: self.line(span) }
    }

    fn refuse(&self, span: &Range<usize>, what: &str, hint: &str) -> Failure {
        Failure::usage(format!("`{}` line {}: {what}", self.path.display(), self.line(span)), hint)
    }

    fn setting(&self, name: &str, at: Range<usize>, value: &Spanned<DeValue<'_>>, layers: &mut Layers) -> Result<(), Failure> {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let known = KEYS.iter().map(|key| key.name).chain(keys::TABLES.iter().copied()).chain(keys::LISTS.iter().copied());
            let hint = match keys::nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "slipway.example.toml has every known key".to_owned(),
            };
            return Err(self.refuse(&at, &format!("unknown key `{name}`"), &hint));
        };
        let text = self.scalar(key.name, key.shape, value)?;
        layers.values.insert(key.name, Raw { text, source: self.source(&at) });
        Ok(())
    }

    fn namespaces(&self, value: &Spanned<DeValue<'_>>, layers: &mut Layers) -> Result<(), Failure> {
        let (table, key) = keys::NAMESPACES;
        let DeValue::Table(inner) = value.get_ref() else {
            let hint = format!("write `[{table}.{key}]` on a line of its own, and beneath it `NAMESPACE = 2`");
            return Err(self.refuse(&value.span(), &format!("`{table}.{key}` must be a table"), &hint));
        };
        for (name, value) in inner {
            let namespace = name.get_ref().as_ref();
            let text = self.scalar(&format!("{table}.{key}.{namespace}"), Shape::Integer, value)?;
            layers.namespaces.insert(namespace.to_owned(), Raw { text, source: self.source(&name.span()) });
        }
        Ok(())
    }

    fn scalar(&self, name: &str, shape: Shape, value: &Spanned<DeValue<'_>>) -> Result<String, Failure> {
        let wrong = |expected: &str, example: &str| {
            let found = value.get_ref().type_str();
            Err(self.refuse(&value.span(), &format!("`{name}` is of type {found}, expected {expected}"), &format!("write `{example}`")))
        };
        let last = name.rsplit('.').next().unwrap_or(name);
        match (shape, value.get_ref()) {
            (Shape::Text, DeValue::String(text)) => Ok(text.to_string()),
            (Shape::Integer, DeValue::Integer(number)) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
            (Shape::Boolean, DeValue::Boolean(flag)) => Ok(flag.to_string()),
            (Shape::Texts, DeValue::Array(list)) => {
                // Divided by commas from here on, as in the environment; none of these values has one in it.
                let texts = list.iter().map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
                    _ => None,
                });
                match texts.collect::<Option<Vec<_>>>() {
                    Some(texts) => Ok(texts.join(",")),
                    None => wrong("a list of texts without commas in them", &format!("{last} = [\"...\"]")),
                }
            }
            (Shape::Texts, _) => wrong("a list of texts", &format!("{last} = [\"...\"]")),
            (Shape::Text, _) => wrong("a text", &format!("{last} = \"...\"")),
            (Shape::Integer, _) => wrong("a whole number", &format!("{last} = 2")),
            (Shape::Boolean, _) => wrong("`true` or `false`", &format!("{last} = true")),
        }
    }

    fn entry(&self, list: &str, keys: &'static [&'static str], entry: &Spanned<DeValue<'_>>) -> Result<RawEntry, Failure> {
        let DeValue::Table(table) = entry.get_ref() else {
            let hint = format!("begin each of them with `[[{list}]]`");
            return Err(self.refuse(&entry.span(), &format!("an entry of `{list}` must be a table"), &hint));
        };
        let mut found = RawEntry { line: self.line(&entry.span()), ..RawEntry::default() };
        for (name, value) in table {
            let word = name.get_ref().as_ref();
            let Some(known) = keys.iter().find(|known| **known == word) else {
                let hint = match keys::nearest(word, keys.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("`[[{list}]]` has the keys {}", keys.join(", ")),
                };
                return Err(self.refuse(&name.span(), &format!("unknown key `{word}` in `[[{list}]]`"), &hint));
            };
            let text = self.scalar(known, keys::entry_shape(known), value)?;
            found.values.insert(known, Raw { text, source: self.source(&name.span()) });
        }
        Ok(found)
    }
}
