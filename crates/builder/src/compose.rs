//! The compose program: found, called with an environment of our own, its file resolved and checked.
//!
//! The invariant: what runs is the resolved file that was checked, not the source's. Deliberately elsewhere: the rules
//! (`compose_rules`), watching the containers (`sut`).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde_norway::{Mapping, Value};
use slipway_buildkit::{RegistryCredentials, Tree};
use slipway_model::FailureCode;

use crate::compose_rules::{Ground, check_reads, check_resolved, names_service};
use crate::failure::Failure;
use crate::process::{Ended, PATH, Program, Stdout};
use crate::report::Reporter;
use crate::sandbox::Seat;
use crate::variables::Variables;

/// The service whose exit code decides.
pub(crate) const SUT: &str = "sut";
const ENV_LIMIT: usize = 1024 * 1024;
const FILE_LIMIT: usize = 1024 * 1024;

/// Compose for one test file of one build.
pub(crate) struct Compose<'a> {
    pub(crate) seat: &'a Seat,
    /// Name of the project: of everything that compose makes.
    pub(crate) project: &'a str,
    pub(crate) reporter: &'a Reporter,
    /// The step that output belongs to.
    pub(crate) step: &'a str,
    pub(crate) program: Flavour,
}

/// Which compose is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// `docker compose`
    Plugin,
    /// `docker-compose`
    Standalone,
}

/// A test file that may run.
pub(crate) struct Resolved {
    /// The folder that it stood in, from the root of the source.
    folder: String,
    pub(crate) value: Value,
}

impl Compose<'_> {
    /// Looks for `docker compose`, then for `docker-compose`.
    pub(crate) async fn find(seat: &Seat, reporter: &Reporter, step: &str) -> Result<Flavour, Failure> {
        let looking = async {
            let plugin = start(Flavour::Plugin, seat, "").args(["version"]).run(reporter, step, Stdout::Quiet).await;
            if plugin.is_ok_and(|ended| ended.succeeded()) {
                return Ok(Flavour::Plugin);
            }
            if PATH.split(':').any(|folder| Path::new(folder).join("docker-compose").exists()) {
                return Ok(Flavour::Standalone);
            }
            let text = "this builder has neither `docker compose` nor `docker-compose`, which tests need";
            Err(Failure::new(FailureCode::TestInvalid, text))
        };
        seat.compose.get_or_try_init(|| looking).await.copied()
    }

    /// Resolves and checks a test file of the source.
    pub(crate) async fn resolve(&self, source: &Tree, file: &str, variables: &Variables) -> Result<Resolved, Failure> {
        let invalid = |why: String| invalid(file, &why);
        check_whole(source, file)?;
        let root = PathBuf::from(self.seat.inside(""));
        let ground = Ground { source, path: &root };
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        self.write_env(source, &folder, variables)?;
        let path = match self.program {
            Flavour::Plugin => self.in_todays_form(source, file)?,
            Flavour::Standalone => self.seat.inside(file),
        };
        let ended = self.call(&folder, &path, &["config"], Stdout::Kept).await?;
        if !ended.succeeded() {
            return Err(invalid(ended.last_words().to_owned()));
        }
        let mut value: Value = serde_norway::from_slice(&ended.stdout).map_err(|error| invalid(format!("compose says: {error}")))?;
        // A file without `services:`, as Docker Hub's oldest users have it, comes out resolved under a version that
        // compose itself refuses to read back.
        if value.get("version").and_then(Value::as_str) == Some("1") {
            value["version"] = "2.4".into();
        }
        check_resolved(&ground, &value, self.project).map_err(invalid)?;
        // A profile may have taken it away.
        if value.get("services").and_then(|services| services.get(SUT)).is_none() {
            return Err(no_sut(file));
        }
        // Written from what was checked, so that no other reading of the same text can run.
        let text = serde_norway::to_string(&value).map_err(|error| invalid(error.to_string()))?;
        self.seat.write("resolved.yml", &text)?;
        Ok(Resolved { folder, value })
    }

    /// Where the file is to be read: where it stands, or, when it is of the oldest form, a copy that compose of today understands.
    fn in_todays_form(&self, source: &Tree, file: &str) -> Result<String, Failure> {
        let text = source.read(file, FILE_LIMIT).ok().flatten().unwrap_or_default();
        match todays_form(&text) {
            None => Ok(self.seat.inside(file)),
            Some(text) => {
                self.seat.write("test.yml", &text)?;
                Ok("/run/build/test.yml".to_owned())
            }
        }
    }

    /// Runs a compose command on a resolved file.
    pub(crate) async fn run(&self, resolved: &Resolved, args: &[&str]) -> Result<Ended, Failure> {
        self.call(&resolved.folder, "/run/build/resolved.yml", args, Stdout::Logged).await
    }

    async fn call(&self, folder: &str, file: &str, args: &[&str], stdout: Stdout) -> Result<Ended, Failure> {
        let program = start(self.program, self.seat, folder)
            .args(["--file", file, "--project-directory", &self.seat.inside(folder), "--env-file", "/run/build/env"])
            .args(["--project-name", self.project])
            .args(args.iter().copied());
        let ended = program.run(self.reporter, self.step, stdout).await;
        ended.map_err(|error| Failure::internal("compose cannot be run", error))
    }

    /// The source's own `.env`, then the build's variables. They go into a file, not into compose's environment: a
    /// variable there could make compose or the Docker client load code or talk to another engine.
    fn write_env(&self, source: &Tree, folder: &str, variables: &Variables) -> Result<(), Failure> {
        let path = if folder.is_empty() { ".env".to_owned() } else { format!("{folder}/.env") };
        let own = source.read(&path, ENV_LIMIT).ok().flatten().unwrap_or_default();
        let mut text = String::from_utf8_lossy(&own).into_owned();
        text.push('\n');
        for (name, value) in variables.iter() {
            text.push_str(&format!("{name}={}\n", quoted(value)));
        }
        self.seat.write("env", &text)
    }
}

/// Says of a test file that nothing can change any more what is wrong with it, before anything is built: it is read with all that it leads to.
pub(crate) fn check_whole(source: &Tree, file: &str) -> Result<(), Failure> {
    let has_sut = check_reads(source, file, SUT).map_err(|why| invalid(file, &why))?;
    if has_sut { Ok(()) } else { Err(no_sut(file)) }
}

/// The same where hooks may still write what it leads to.
pub(crate) fn check_alone(source: &Tree, file: &str) -> Result<(), Failure> {
    let has_sut = names_service(source, file, SUT).map_err(|why| invalid(file, &why))?;
    if has_sut == Some(false) { Err(no_sut(file)) } else { Ok(()) }
}

fn invalid(file: &str, why: &str) -> Failure {
    Failure::new(FailureCode::TestInvalid, format!("`{file}` cannot be used: {why}"))
}

fn no_sut(file: &str) -> Failure {
    Failure::new(FailureCode::TestInvalid, format!("`{file}` has no service `{SUT}`"))
}

/// Docker Hub's oldest test files have their services at the top, and the Dockerfile's name beside `build`. `None` for any other form.
fn todays_form(text: &[u8]) -> Option<String> {
    let Value::Mapping(mut services) = serde_norway::from_slice(text).ok()? else { return None };
    let is_oldest = ["services", "version", "name"].iter().all(|key| !services.contains_key(*key)) && services.contains_key(SUT);
    if !is_oldest {
        return None;
    }
    for service in services.values_mut() {
        let Value::Mapping(service) = service else { continue };
        if let (Some(Value::String(context)), Some(dockerfile)) = (service.get("build").cloned(), service.remove("dockerfile")) {
            let build = [("context".into(), context.into()), ("dockerfile".into(), dockerfile)];
            service.insert("build".into(), Value::Mapping(build.into_iter().collect()));
        }
    }
    serde_norway::to_string(&Mapping::from_iter([("services".into(), Value::Mapping(services))])).ok()
}

fn start(flavour: Flavour, seat: &Seat, folder: &str) -> Program {
    match flavour {
        Flavour::Plugin => seat.program(folder, "docker").args(["compose"]),
        Flavour::Standalone => seat.program(folder, "docker-compose"),
    }
}

fn quoted(value: &str) -> String {
    if !value.contains(['\'', '\n', '\\']) {
        return format!("'{value}'");
    }
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('$', "\\$");
    format!("\"{escaped}\"")
}

/// The Docker client's configuration with these credentials and nothing else.
pub(crate) fn docker_config(credentials: &RegistryCredentials) -> String {
    let auths: serde_json::Map<String, serde_json::Value> = credentials
        .iter()
        .map(|(host, auth)| {
            let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password.expose_secret()));
            (host.to_owned(), serde_json::json!({ "auth": pair }))
        })
        .collect();
    serde_json::json!({ "auths": auths }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_get_todays_form_and_no_others() {
        let changed = todays_form(b"sut: {build: ., dockerfile: Test, links: [web]}\nweb: {image: x}\n").expect("of the oldest form");
        let value: Value = serde_norway::from_str(&changed).expect("YAML");
        let expected = "services: {sut: {links: [web], build: {context: ., dockerfile: Test}}, web: {image: x}}";
        assert_eq!(value, serde_norway::from_str::<Value>(expected).expect("YAML"));
        for other in ["services: {sut: {}}", "version: '2'\nsut: {}", "web: {image: x}", "[]", "a: [b", ""] {
            assert_eq!(todays_form(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn values_are_quoted_for_both_kinds_of_compose() {
        assert_eq!(quoted("a $b \"c\" #d"), "'a $b \"c\" #d'");
        assert_eq!(quoted("it's\n$x"), "\"it's\\n\\$x\"");
    }
}
