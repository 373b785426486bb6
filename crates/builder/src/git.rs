//! The `git` program with nothing of this machine's or user's settings, and its words turned into reasons.
//!
//! The invariant: git gets no secret from here, only the names of files that hold one (`access`). Refs come as full names, object ids as
//! digits, so nothing can be read as an option. Deliberately elsewhere: which commands in which order (`checkout`).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_model::{CommitId, FailureCode, RefKind, RefName};
use slipway_wire::Credential;

use crate::access::Way;
use crate::checkout::STEP;
use crate::failure::Failure;
use crate::home::BuildDir;
use crate::process::{Ended, Program, Stdout};
use crate::report::Reporter;

/// Git as it is set up for one repository of a build.
#[derive(Debug, Clone)]
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

    /// The same in another folder.
    pub(crate) fn within(&self, folder: std::path::PathBuf) -> Self {
        Self { folder, ..self.clone() }
    }

    /// With more settings.
    pub(crate) fn with(&self, settings: &[(&str, &str)]) -> Self {
        let mut more = self.clone();
        more.settings.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        more
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

    /// Runs a command that speaks to nobody.
    pub(crate) async fn call(&self, args: &[&str], reporter: &Reporter, stdout: Stdout) -> Result<Ended, Failure> {
        let ended = self.command(args.iter().copied()).run(reporter, STEP, stdout).await;
        ended.map_err(|error| Failure::internal("git cannot be run", error))
    }

    /// As [`Git::call`], for a command that has no reason to fail.
    pub(crate) async fn must(&self, args: &[&str], reporter: &Reporter) -> Result<(), Failure> {
        let ended = self.call(args, reporter, Stdout::Logged).await?;
        if ended.succeeded() { Ok(()) } else { Err(Failure::internal(&format!("git {} failed", args[0]), ended.last_words())) }
    }

    /// An empty repository that holds ids of this commit's kind.
    pub(crate) async fn init(&self, commit: &CommitId, reporter: &Reporter) -> Result<(), Failure> {
        self.must(&["init", "--quiet", "--template=", object_format(commit)], reporter).await
    }

    /// The same without a checkout.
    pub(crate) async fn init_bare(&self, commit: &CommitId, reporter: &Reporter) -> Result<(), Failure> {
        self.must(&["init", "--quiet", "--bare", "--template=", object_format(commit)], reporter).await
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

fn object_format(commit: &CommitId) -> &'static str {
    if commit.as_str().len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" }
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

/// What git's words of a failed fetch mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchTrouble {
    /// The ref is not there.
    NoRef,
    /// Without another credential it is not given.
    Unauthorized,
    /// There is no such repository, for this credential.
    NotFound,
    /// It is said to be elsewhere.
    Redirect,
    /// An object is not as it should be.
    Damaged(String),
    /// Anything else.
    Other(String),
}

/// What a failed fetch means.
pub(crate) fn fetch_trouble(ended: &Ended) -> FetchTrouble {
    const AUTH: [&str; 6] =
        ["authentication failed", "could not read username", "error: 401", "error: 403", "access denied", "not authorized"];
    let text = ended.stderr.to_ascii_lowercase();
    let has = |sign: &&str| text.contains(*sign);
    if text.contains("couldn't find remote ref") {
        FetchTrouble::NoRef
    } else if AUTH.iter().any(has) {
        FetchTrouble::Unauthorized
    } else if text.contains("not found") || text.contains("error: 404") {
        FetchTrouble::NotFound
    } else if text.contains("redirect") || text.contains("error: 301") || text.contains("error: 302") {
        FetchTrouble::Redirect
    } else if text.contains("fsck error") || text.contains("error in object") {
        // What is wrong comes first, then that git stops.
        let told = ended.stderr.lines().find(|line| line.contains("error: object") || line.contains("error in "));
        FetchTrouble::Damaged(told.unwrap_or(ended.last_words()).trim().trim_start_matches("remote: ").to_owned())
    } else {
        FetchTrouble::Other(ended.last_words().trim_start_matches("fatal: ").to_owned())
    }
}

/// The reason of a source's failed fetch.
pub(crate) fn fetch_failure(ended: &Ended, source: &RefName) -> Failure {
    let unavailable = |text: &str| Failure::new(FailureCode::SourceUnavailable, text);
    match fetch_trouble(ended) {
        FetchTrouble::NoRef => {
            let kind = match source.kind() {
                RefKind::Branch => "branch",
                RefKind::Tag => "tag",
                RefKind::PullRequest => "pull request",
            };
            Failure::new(FailureCode::CommitGone, format!("the {kind} `{}` is no longer at the source", source.short()))
        }
        FetchTrouble::Unauthorized => unavailable("the source refuses the credential of the link"),
        FetchTrouble::NotFound => unavailable("the source repository is not there, or the link may not read it"),
        FetchTrouble::Redirect => unavailable("the source answers with a redirect, which is not followed"),
        FetchTrouble::Damaged(words) => unavailable(&format!("the source holds a damaged or hostile object: {words}")),
        FetchTrouble::Other(words) => Failure::passing(FailureCode::SourceUnavailable, format!("the source cannot be fetched: {words}")),
    }
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
