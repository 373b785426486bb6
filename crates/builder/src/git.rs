//! The `git` program with nothing of this machine's or user's settings, and its words turned into reasons.
//!
//! The invariant: git gets no secret from here, only the names of files that hold one (`access`). Refs come as full names, object ids as
//! digits, so nothing can be read as an option. Deliberately elsewhere: which commands in which order (`checkout`).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_model::{FailureCode, RefKind, RefName};
use slipway_wire::Credential;

use crate::access::Way;
use crate::failure::Failure;
use crate::home::BuildDir;
use crate::process::{Ended, Program};

/// Git as it is set up for one build.
pub(crate) struct Git {
    settings: Vec<(String, String)>,
    home: std::path::PathBuf,
    folder: std::path::PathBuf,
    program: String,
}

impl Git {
    pub(crate) fn new(dir: &BuildDir) -> Self {
        Self { settings: fixed_settings(), home: dir.home(), folder: dir.source(), program: "git".to_owned() }
    }

    /// Another program in the place of git, which notes how it is called.
    #[cfg(test)]
    pub(crate) fn with_program(self, program: &Path) -> Self {
        Self { program: program.display().to_string(), ..self }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A git command that speaks to nobody; the settings travel in the environment.
    pub(crate) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Program {
        self.prepared(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_ALLOW_PROTOCOL", "none")
    }

    /// A git command that goes this way.
    pub(crate) fn command_by<'a>(&self, way: &Way, args: impl IntoIterator<Item = &'a str>) -> Program {
        let program = self.prepared(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_ALLOW_PROTOCOL", way.protocols);
        way.environment.iter().fold(program, |program, (name, value)| program.env(name, value))
    }

    fn prepared<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Program {
        let mut program = Program::new(&self.program, &self.folder)
            .args(args)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_CEILING_DIRECTORIES", self.folder.parent().unwrap_or(Path::new("/")))
            .env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (number, (key, value)) in self.settings.iter().enumerate() {
            program = program.env(&format!("GIT_CONFIG_KEY_{number}"), key).env(&format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        program
    }
}

fn fixed_settings() -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.autocrlf", "false"),
        ("core.protectHFS", "true"),
        ("core.protectNTFS", "true"),
        ("credential.helper", ""),
        ("protocol.file.allow", "never"),
        ("protocol.ext.allow", "never"),
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "60"),
        ("transfer.fsckObjects", "true"),
        ("submodule.recurse", "false"),
        ("fetch.recurseSubmodules", "false"),
        ("advice.detachedHead", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    // Flaws of old tools that stand in the history of honest repositories and harm nobody.
    for flaw in ["zeroPaddedFilemode", "badTimezone", "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "badFilemode"] {
        settings.push((format!("fetch.fsck.{flaw}"), "ignore".to_owned()));
    }
    settings
}

pub(crate) fn header(credential: &Credential) -> String {
    let pair = STANDARD.encode(format!("{}:{}", credential.username, credential.password));
    format!("Authorization: Basic {pair}")
}

/// The credential in the forms in which git might print it.
pub(crate) fn forms(credential: &Credential) -> [String; 2] {
    let pair = STANDARD.encode(format!("{}:{}", credential.username, credential.password));
    [credential.password.clone(), pair]
}

/// Whether the server refused to give a commit by its id, so that the ref has to be fetched instead.
pub(crate) fn refuses_commit_ids(ended: &Ended) -> bool {
    let text = ended.stderr.to_ascii_lowercase();
    [
        "not our ref",
        "unadvertised object",
        "not advertised",
        "couldn't find remote ref",
        "no such remote ref",
        "did not send all necessary objects",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// The reason of a failed fetch.
pub(crate) fn fetch_failure(ended: &Ended, source: &RefName) -> Failure {
    const AUTH: [&str; 6] =
        ["authentication failed", "could not read username", "error: 401", "error: 403", "access denied", "not authorized"];
    let text = ended.stderr.to_ascii_lowercase();
    let has = |sign: &&str| text.contains(*sign);
    if text.contains("couldn't find remote ref") {
        let kind = match source.kind() {
            RefKind::Branch => "branch",
            RefKind::Tag => "tag",
            RefKind::PullRequest => "pull request",
        };
        return Failure::new(FailureCode::CommitGone, format!("the {kind} `{}` is no longer at the source", source.short()));
    }
    if AUTH.iter().any(has) {
        return Failure::new(FailureCode::SourceUnavailable, "the source refuses the credential of the link");
    }
    if text.contains("not found") || text.contains("error: 404") {
        return Failure::new(FailureCode::SourceUnavailable, "the source repository is not there, or the link may not read it");
    }
    if text.contains("redirect") || text.contains("error: 301") || text.contains("error: 302") {
        return Failure::new(FailureCode::SourceUnavailable, "the source answers with a redirect, which is not followed");
    }
    if text.contains("fsck error") || text.contains("error in object") {
        return Failure::new(
            FailureCode::SourceUnavailable,
            format!("the source holds a damaged or hostile object: {}", ended.last_words()),
        );
    }
    let words = ended.last_words().trim_start_matches("fatal: ").to_owned();
    Failure::passing(FailureCode::SourceUnavailable, format!("the source cannot be fetched: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_words_become_reasons() {
        let main: RefName = "refs/heads/main".parse().expect("ref");
        let of = |stderr: &str| fetch_failure(&Ended { code: Some(128), stdout: Vec::new(), stderr: stderr.to_owned() }, &main).reason;
        assert_eq!(of("fatal: couldn't find remote ref refs/heads/main").code, FailureCode::CommitGone);
        assert!(of("fatal: Authentication failed for 'http://h/'").text.contains("credential"));
        assert!(of("fatal: repository 'http://h/' not found").text.contains("not there"));
        assert!(of("fatal: unable to access 'http://h/': Failed to connect").text.contains("Failed to connect"));
    }
}
