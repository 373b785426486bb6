//! A build's place in an engine of its own: its checkout, its home, its variables, the programs that run for it.
//!
//! The invariant: what is inside belongs to the user that is root there, and what the builder writes beside it does not; whatever ran inside may
//! have changed it. Deliberately elsewhere: which engine it is, how it is got and how it is left (`scopes`).

use std::io;
use std::path::PathBuf;

use tokio::sync::OwnedMutexGuard;

use super::Sandbox;
use super::scopes::{Key, Place, Scopes};
use crate::compose::Flavour;
use crate::failure::Failure;
use crate::home::BuildDir;
use crate::process::Program;

/// The source's whole history, beside the checkout.
const HISTORY: &str = "history.git";
/// Where the seats of builds stand inside.
const SEATS: &str = "/seats";
/// The engine's address inside.
const API: &str = "unix:///api/sock";

/// A build's place in an engine of its own: its source, its home, its programs.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) scopes: Scopes,
    pub(super) key: Key,
    pub(crate) sandbox: Sandbox,
    /// Held until the build has left.
    pub(super) place: OwnedMutexGuard<Place>,
    pub(super) name: String,
    /// Files for the programs inside, which only the builder writes.
    pub(super) private: PathBuf,
    /// Which compose is there. A hook may bring one, for its own build.
    pub(crate) compose: tokio::sync::OnceCell<Flavour>,
}

impl Seat {
    fn folder(&self) -> PathBuf {
        self.sandbox.folder.join("seats").join(&self.name)
    }

    /// The checkout, on this side. Whatever ran inside may have changed it: it is opened only beneath itself.
    pub(crate) fn source(&self) -> PathBuf {
        self.folder().join("source")
    }

    /// A folder of the source, inside.
    pub(crate) fn inside(&self, folder: &str) -> String {
        format!("{SEATS}/{}/source/{folder}", self.name).trim_end_matches('/').to_owned()
    }

    /// Takes the checkout over: from here on it belongs to the user that is root inside. The folder that it stands in does not: what is called
    /// `source` stays the source.
    pub(crate) async fn settle(&self, dir: &BuildDir, docker_config: &str, origin: &str) -> Result<(), Failure> {
        let trouble = |error: io::Error| Failure::internal("the build's place in an engine of its own", error);
        let folder = self.folder();
        std::fs::create_dir(&folder).map_err(trouble)?;
        std::fs::create_dir_all(folder.join("home/.docker")).map_err(trouble)?;
        std::fs::rename(dir.source(), self.source()).map_err(trouble)?;
        let mut moved = vec![folder.join("source"), folder.join("home")];
        if dir.history().exists() {
            let there = folder.join(HISTORY);
            std::fs::rename(dir.history(), &there).map_err(trouble)?;
            moved.push(there);
        }
        BuildDir::write_private(&folder.join("home/.docker/config.json"), docker_config).map_err(trouble)?;
        let owner = format!("{0}:{0}", self.sandbox.base);
        let changed = tokio::process::Command::new("chown")
            .args(["--no-dereference", "--recursive", &owner])
            .args(&moved)
            .env_clear()
            .env("PATH", crate::process::PATH)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .status()
            .await;
        if !changed.map_err(trouble)?.success() {
            return Err(trouble(io::Error::other("the checkout's owner cannot be changed")));
        }
        std::fs::create_dir_all(&self.private).map_err(trouble)?;
        let home = format!("{SEATS}/{}/home", self.name);
        let mut environment = vec![
            ("HOME", home.as_str()),
            ("DOCKER_HOST", API),
            ("DOCKER_BUILDKIT", "1"),
            ("BUILDKIT_PROGRESS", "plain"),
            ("COMPOSE_DOCKER_CLI_BUILD", "1"),
            ("COMPOSE_INTERACTIVE_NO_CLI", "1"),
        ];
        let instead = format!("url.{SEATS}/{}/{HISTORY}.insteadOf", self.name);
        if folder.join(HISTORY).exists() {
            // Whoever asks the source gets what was fetched of it.
            environment.extend([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", instead.as_str()), ("GIT_CONFIG_VALUE_0", origin)]);
        }
        self.write("environment", &exports(environment.into_iter()))
    }

    /// The variables of hooks from now on, as lines for a shell in `/run/build/variables`.
    pub(crate) fn set_variables<'a>(&self, variables: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Failure> {
        self.write("variables", &exports(variables))
    }

    /// A file at `/run/build/NAME` inside.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.private.join(name);
        let written = BuildDir::write_private(&path, text)
            .and_then(|()| std::os::unix::fs::chown(&path, Some(self.sandbox.base), Some(self.sandbox.base)));
        written.map_err(|error| Failure::internal("a file for the build's programs", error))
    }

    /// A program in a folder of the source.
    pub(crate) fn program(&self, folder: &str, program: &str) -> Program {
        self.sandbox.program(&self.name, &self.private, &self.inside(folder), program)
    }
}

fn exports<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    variables.map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect()
}

/// For a shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_for_the_shell() {
        assert_eq!(quoted("it's $x\n`id`"), "'it'\\''s $x\n`id`'");
    }
}
