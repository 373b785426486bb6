//! Which compose files may run on the builder's engine.
//!
//! The invariant: what is not known to be harmless is refused, by name, before anything runs: the engine may be the
//! machine's own, and whoever may mount, share or configure as they like owns the machine. Deliberately elsewhere: running
//! (`compose`). What remains possible is what any program on the engine's network can do.

use std::path::Path;

use serde_norway::{Mapping, Value};
use slipway_buildkit::{EntryKind, Tree};

const FILE_LIMIT: usize = 1024 * 1024;
/// Files that one test file may lead to.
const FILES_LIMIT: usize = 20;
const ABSENT: &str = "is refused: it is not in the source";

/// Fields of a service that stay inside its container.
const SERVICE: &[&str] = &[
    "annotations",
    "attach",
    "build",
    "cap_drop",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpus",
    "cpuset",
    "depends_on",
    "deploy",
    "develop",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "labels",
    "links",
    "logging",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "network_mode",
    "networks",
    "pids_limit",
    "platform",
    "ports",
    "profiles",
    "pull_policy",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "volumes_from",
    "working_dir",
];
const BUILD: &[&str] = &[
    "args",
    "cache_from",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "extra_hosts",
    "labels",
    "network",
    "no_cache",
    "pull",
    "secrets",
    "shm_size",
    "tags",
    "target",
];
const TOP: &[&str] = &["configs", "name", "networks", "secrets", "services", "version", "volumes"];

/// Where the paths of a compose file must lie.
pub(crate) struct Ground<'a> {
    /// The checkout.
    pub(crate) source: &'a Tree,
    /// Its absolute path, which compose puts before resolved ones.
    pub(crate) path: &'a Path,
}

/// A test file, or one that it leads to.
fn parsed(source: &Tree, file: &str) -> Result<Value, String> {
    let content = source.read(file, FILE_LIMIT).map_err(|error| format!("`{file}` cannot be read: {error}"))?;
    let content = content.ok_or_else(|| format!("`{file}` is not in the source"))?;
    let mut value: Value = serde_norway::from_slice(&content).map_err(|error| format!("`{file}` is no YAML: {error}"))?;
    value.apply_merge().map_err(|error| format!("`{file}` is no YAML: {error}"))?;
    Ok(value)
}

/// Whether a test file has a service; `None` where it includes other files, which may have it.
pub(crate) fn names_service(source: &Tree, file: &str, service: &str) -> Result<Option<bool>, String> {
    let value = parsed(source, file)?;
    Ok(if has(&value, service) { Some(true) } else { value.get("include").is_none().then_some(false) })
}

/// Also in the oldest form, where services stand at the top.
fn has(file: &Value, service: &str) -> bool {
    file.get("services").and_then(|services| services.get(service)).or_else(|| file.get(service)).is_some()
}

/// Checks what compose reads while it resolves a file: other files may only come from the source. Gives whether this file or one that it
/// includes has the service.
pub(crate) fn check_reads(source: &Tree, file: &str, service: &str) -> Result<bool, String> {
    let mut todo = vec![(file.to_owned(), true)];
    let mut found = false;
    for _ in 0..FILES_LIMIT {
        let Some((file, whole)) = todo.pop() else { return Ok(found) };
        let value = parsed(source, &file)?;
        found |= whole && has(&value, service);
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        if let Some(include) = value.get("include") {
            for path in included(include)? {
                todo.push((inside_file(source, &folder, path).map_err(|why| format!("`include: {path}` {why}"))?, whole));
            }
        }
        reads(&value, &mut |key, path, wanted| {
            let inside = match inside_file(source, &folder, path) {
                Err(ABSENT) if wanted == Wanted::IfThere => return Ok(()),
                done => done.map_err(|why| format!("`{key}: {path}` {why}"))?,
            };
            if key == "extends" {
                todo.push((inside, false));
            }
            Ok(())
        })?;
    }
    if todo.is_empty() { Ok(found) } else { Err(format!("it extends and includes more than {FILES_LIMIT} files")) }
}

/// Paths of files whose content becomes part of this one. Their own paths begin at their own folders.
fn included(value: &Value) -> Result<Vec<&str>, String> {
    let mut paths = Vec::new();
    let items = match value {
        Value::Sequence(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    for item in items {
        if item.get("project_directory").is_some() {
            return Err("`include.project_directory` is refused: paths in a file that is included begin at its own folder".to_owned());
        }
        let found = texts(item, "path");
        if found.is_empty() {
            return Err("`include` is refused: expected paths of files in the source".to_owned());
        }
        paths.extend(found);
    }
    Ok(paths)
}

/// Whether compose fails without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Always,
    IfThere,
}

/// Finds `env_file`, `label_file` and `extends` at any depth: anchors and merges may carry them anywhere.
fn reads(value: &Value, found: &mut dyn FnMut(&str, &str, Wanted) -> Result<(), String>) -> Result<(), String> {
    match value {
        Value::Sequence(items) => items.iter().try_for_each(|item| reads(item, found)),
        Value::Tagged(tagged) => reads(&tagged.value, found),
        Value::Mapping(mapping) => mapping.iter().try_for_each(|(key, value)| {
            match key.as_str() {
                Some(key @ ("env_file" | "label_file")) => env_files(value, &mut |path, wanted| found(key, path, wanted))?,
                Some("extends") => {
                    if let Some(path) = value.get("file").and_then(Value::as_str) {
                        found("extends", path, Wanted::Always)?;
                    }
                }
                _ => {}
            }
            reads(value, found)
        }),
        _ => Ok(()),
    }
}

fn env_files(value: &Value, found: &mut dyn FnMut(&str, Wanted) -> Result<(), String>) -> Result<(), String> {
    if let Value::Sequence(items) = value {
        return items.iter().try_for_each(|item| env_files(item, found));
    }
    let optional = value.get("required").and_then(Value::as_bool) == Some(false);
    let wanted = if optional { Wanted::IfThere } else { Wanted::Always };
    texts(value, "path").into_iter().try_for_each(|path| found(path, wanted))
}

/// A text, a list of texts, or mappings with those under `key`.
fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    match value {
        Value::Sequence(items) => items.iter().flat_map(|item| texts(item, key)).collect(),
        Value::Tagged(tagged) => texts(&tagged.value, key),
        Value::Mapping(_) => match value.get(key) {
            Some(Value::Sequence(items)) => items.iter().filter_map(Value::as_str).collect(),
            other => other.and_then(Value::as_str).into_iter().collect(),
        },
        other => other.as_str().into_iter().collect(),
    }
}

fn inside_file(source: &Tree, folder: &str, path: &str) -> Result<String, &'static str> {
    // Compose takes what has a colon in it for an address elsewhere.
    if path.starts_with(['/', '~']) || path.contains(['$', ':']) {
        return Err("is refused: expected a plain relative path");
    }
    let path = if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
    match source.kind(&path) {
        Ok(Some(EntryKind::File)) => Ok(path),
        Ok(Some(_)) => Err("is refused: it is no file"),
        Ok(None) => Err(ABSENT),
        Err(_) => Err("is refused: it leads out of the source"),
    }
}

/// Checks the file as compose resolved it. The error names the service and the field.
pub(crate) fn check_resolved(ground: &Ground<'_>, resolved: &Value, project: &str) -> Result<(), String> {
    let Some(top) = resolved.as_mapping() else { return Err("it is no compose file".to_owned()) };
    for (key, value) in top {
        let key = key.as_str().unwrap_or_default();
        if !TOP.contains(&key) && !key.starts_with("x-") {
            return Err(format!("`{key}` is not supported"));
        }
        match key {
            "volumes" | "networks" => shared(key, value, project)?,
            "secrets" | "configs" => files(ground, key, value)?,
            _ => {}
        }
    }
    build_secrets(resolved)?;
    let mut mounts = Vec::new();
    for (name, service) in resolved.get("services").and_then(Value::as_mapping).into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        let fields = service.as_mapping().cloned().unwrap_or_default();
        check_service(ground, &fields, &mut mounts).map_err(|why| format!("service `{name}` {why}"))?;
    }
    check_mounts(&mounts)
}

/// Those of variables compose takes from its own environment when it builds, which has none: the step would get nothing, and nobody would say so.
fn build_secrets(resolved: &Value) -> Result<(), String> {
    let secrets = resolved.get("secrets");
    for (service, fields) in resolved.get("services").and_then(Value::as_mapping).into_iter().flatten() {
        let used = fields.get("build").and_then(|build| build.get("secrets"));
        for name in used.map(|used| texts(used, "source")).unwrap_or_default() {
            if secrets.and_then(|secrets| secrets.get(name)).is_some_and(|secret| secret.get("environment").is_some()) {
                let service = service.as_str().unwrap_or_default();
                return Err(format!("service `{service}` may not use `build.secrets` of a variable (`{name}`): expected one of a file"));
            }
        }
    }
    Ok(())
}

fn check_service(ground: &Ground<'_>, fields: &Mapping, mounts: &mut Vec<Mount>) -> Result<(), String> {
    for (key, value) in fields {
        let key = key.as_str().unwrap_or_default();
        if !SERVICE.contains(&key) && !key.starts_with("x-") {
            return Err(format!("may not use `{key}`"));
        }
        match key {
            "build" => build(ground, value)?,
            "volumes" => {
                for item in value.as_sequence().into_iter().flatten() {
                    mounts.extend(mount(ground, item)?);
                }
            }
            "network_mode" => one_of(key, value, |mode| matches!(mode, "none" | "bridge" | "default") || mode.starts_with("service:"))?,
            "ipc" => one_of(key, value, |mode| matches!(mode, "none" | "private" | "shareable"))?,
            "logging" => {
                let driver = value.get("driver").cloned().unwrap_or(Value::String("json-file".to_owned()));
                one_of("logging.driver", &driver, |driver| matches!(driver, "json-file" | "local" | "none"))?;
            }
            "deploy" => deploy(value)?,
            "volumes_from" => {
                for from in value.as_sequence().into_iter().flatten() {
                    one_of(key, from, |from| !from.starts_with("container:"))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn one_of(field: &str, value: &Value, allowed: impl Fn(&str) -> bool) -> Result<(), String> {
    match value.as_str() {
        Some(text) if allowed(text) => Ok(()),
        Some(text) => Err(format!("may not use `{field}: {}`", text.chars().take(80).collect::<String>())),
        None => Err(format!("may not use `{field}`")),
    }
}

/// Reservations can ask for devices.
fn deploy(value: &Value) -> Result<(), String> {
    match value.get("resources").and_then(|resources| resources.get("reservations")) {
        Some(reservations) if reservations.get("devices").is_some() || reservations.get("generic_resources").is_some() => {
            Err("may not use `deploy.resources.reservations.devices`".to_owned())
        }
        _ => Ok(()),
    }
}

fn build(ground: &Ground<'_>, value: &Value) -> Result<(), String> {
    let context = value.as_str().or_else(|| value.get("context").and_then(Value::as_str)).unwrap_or_default();
    let context = inside(ground, context).filter(|path| matches!(ground.source.kind(path), Ok(Some(EntryKind::Folder))));
    let Some(context) = context else { return Err("may only use a folder of the source as `build.context`".to_owned()) };
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        if !BUILD.contains(&key) {
            return Err(format!("may not use `build.{key}`"));
        }
        if key == "network" {
            one_of("build.network", value, |network| matches!(network, "none" | "default" | "bridge"))?;
        }
    }
    let check = |content: &[u8]| {
        crate::args::check_frontend(content).map_err(|failure| format!("has a Dockerfile that is refused: {}", failure.reason))
    };
    if let Some(inline) = value.get("dockerfile_inline") {
        return check(inline.as_str().unwrap_or_default().as_bytes());
    }
    let name = value.get("dockerfile").and_then(Value::as_str).unwrap_or("Dockerfile");
    let path = match inside(ground, name) {
        Some(path) if name.starts_with('/') => path,
        _ => [context.as_str(), name].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/"),
    };
    match ground.source.read(&path, FILE_LIMIT) {
        Ok(Some(content)) => check(&content),
        Ok(None) => Err(format!("has no Dockerfile at `{path}`")),
        Err(_) => Err(format!("may only use a file of the source as `build.dockerfile`, not `{name}`")),
    }
}

/// The part of an absolute path inside the checkout.
fn inside(ground: &Ground<'_>, path: &str) -> Option<String> {
    let rest = Path::new(path).strip_prefix(ground.path).ok()?.to_str()?;
    (!rest.split('/').any(|part| part == "..")).then(|| rest.to_owned())
}

/// A folder of the source inside a container.
#[derive(Debug, Clone)]
struct Mount {
    source: String,
    writable: bool,
}

/// `None` for volumes of the engine and for memory.
fn mount(ground: &Ground<'_>, item: &Value) -> Result<Option<Mount>, String> {
    let (kind, source, writable) = match item {
        Value::String(short) => {
            let mut parts = short.split(':');
            let source = parts.next().unwrap_or_default().to_owned();
            let bound = short.contains(':') && source.starts_with(['/', '.', '~']);
            let options = parts.nth(1).unwrap_or_default();
            if options.split(',').any(|option| matches!(option, "shared" | "rshared" | "slave" | "rslave")) {
                return Err("may not use a shared mount in `volumes`".to_owned());
            }
            (if bound { "bind" } else { "volume" }.to_owned(), source, !options.split(',').any(|option| option == "ro"))
        }
        long => {
            let text = |key: &str| long.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            if long.get("bind").is_some_and(|bind| bind.get("propagation").is_some()) {
                return Err("may not use `volumes.bind.propagation`".to_owned());
            }
            (text("type"), text("source"), long.get("read_only").and_then(Value::as_bool) != Some(true))
        }
    };
    match kind.as_str() {
        "volume" | "tmpfs" => Ok(None),
        "bind" => {
            let shown: String = source.chars().take(120).collect();
            let path = inside(ground, &source).ok_or_else(|| format!("may not mount `{shown}`: it is outside of the source"))?;
            match ground.source.kind(&path) {
                Ok(Some(EntryKind::File | EntryKind::Folder)) => Ok(Some(Mount { source: path, writable })),
                Ok(_) => Err(format!("may not mount `{path}`: it is not in the source")),
                Err(_) => Err(format!("may not mount `{path}`: it leads out of the source")),
            }
        }
        other => Err(format!("may not use a volume of type `{other}`")),
    }
}

/// A container could replace what lies in a folder that it may write by a link to anywhere, before another one mounts it.
fn check_mounts(mounts: &[Mount]) -> Result<(), String> {
    for outer in mounts.iter().filter(|mount| mount.writable) {
        let below = |path: &str| match outer.source.as_str() {
            "" => !path.is_empty(),
            folder => path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        };
        if let Some(inner) = mounts.iter().find(|mount| below(&mount.source)) {
            let shown = if outer.source.is_empty() { "." } else { &outer.source };
            return Err(format!(
                "a service may write `{shown}`, so `{}` inside of it may not be mounted too: mount the first one with `:ro`",
                inner.source
            ));
        }
    }
    Ok(())
}

/// Volumes and networks belong to the project; what exists already belongs to somebody else.
fn shared(kind: &str, value: &Value, project: &str) -> Result<(), String> {
    for (name, settings) in value.as_mapping().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        let refused = |field: &str| Err(format!("{kind} `{name}` may not use `{field}`"));
        if settings.get("external").is_some_and(|external| external.as_bool() != Some(false)) {
            return refused("external");
        }
        let own_name = settings.get("name").and_then(Value::as_str).unwrap_or_default();
        if !own_name.is_empty() && !own_name.starts_with(&format!("{project}_")) {
            return refused("name");
        }
        if settings.get("driver_opts").and_then(Value::as_mapping).is_some_and(|options| !options.is_empty()) {
            return refused("driver_opts");
        }
        if settings.get("driver").and_then(Value::as_str).is_some_and(|driver| !matches!(driver, "local" | "bridge" | "default")) {
            return refused("driver");
        }
    }
    Ok(())
}

fn files(ground: &Ground<'_>, kind: &str, value: &Value) -> Result<(), String> {
    for (name, settings) in value.as_mapping().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        for (key, value) in settings.as_mapping().into_iter().flatten() {
            let fine = match (key.as_str().unwrap_or_default(), value.as_str()) {
                ("file", Some(path)) => {
                    inside(ground, path).is_some_and(|path| matches!(ground.source.kind(&path), Ok(Some(EntryKind::File))))
                }
                // Of the build's own variables, which a test has all the same.
                ("content" | "environment" | "name", _) => true,
                ("external", _) => value.as_bool() == Some(false),
                (key, _) => key.starts_with("x-"),
            };
            if !fine {
                return Err(format!("{kind} `{name}` may only be files of the source or variables"));
            }
        }
    }
    Ok(())
}

/// Whether any service is built.
pub(crate) fn builds(resolved: &Value) -> bool {
    let services = resolved.get("services").and_then(Value::as_mapping);
    services.into_iter().flatten().any(|(_, service)| service.get("build").is_some())
}

#[cfg(test)]
#[path = "compose_rules_tests.rs"]
mod tests;
