//! Real git underneath: bare repositories in a temporary folder, asked and changed by the `git` program.
//! Invariant: no git object is ever made or parsed by hand; arguments that come from outside stand behind `--end-of-options`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::words::File;

/// What 40 zeros mean in a push event: no such ref.
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";
/// Between commits in the log format; not a byte sequence that people write into messages.
const RECORD: &str = "\u{1}\u{2}";

/// A ref with the object that it names and the commit that this comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefValue {
    pub(crate) name: String,
    pub(crate) object: String,
    pub(crate) kind: String,
    pub(crate) commit: String,
}

/// A commit, as much as events and the API show of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitInfo {
    pub(crate) sha: String,
    pub(crate) tree: String,
    pub(crate) parents: Vec<String>,
    pub(crate) author: Signature,
    pub(crate) committer: Signature,
    pub(crate) message: String,
    /// Status letter and path.
    pub(crate) files: Vec<(char, String)>,
}

/// Who and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) date: String,
}

/// A `git` that sees only the repository: no configuration of the machine, no terminal.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_DIR", folder)
        .kill_on_drop(true);
    command
}

async fn run(folder: &Path, args: &[&str], stdin: &[u8]) -> Result<std::process::Output> {
    let mut child = command(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("`git` did not start, expected it on PATH")?;
    let mut pipe = child.stdin.take().context("stdin of git was piped")?;
    let input = stdin.to_vec();
    let feed = tokio::spawn(async move {
        pipe.write_all(&input).await?;
        pipe.shutdown().await
    });
    let output = child.wait_with_output().await?;
    // A git that fails closes its input early; its own message is the one worth reading.
    if let Ok(Err(error)) = feed.await
        && output.status.success()
    {
        bail!("git closed its input: {error}");
    }
    Ok(output)
}

/// Runs git and returns what it printed.
pub(crate) async fn git(folder: &Path, args: &[&str], stdin: &[u8]) -> Result<String> {
    let output = run(folder, args, stdin).await?;
    if !output.status.success() {
        bail!("`git {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether git succeeds.
pub(crate) async fn succeeds(folder: &Path, args: &[&str]) -> Result<bool> {
    Ok(run(folder, args, b"").await?.status.success())
}

/// Makes an empty bare repository that serves what providers serve.
pub(crate) async fn init(folder: &Path, default_branch: &str) -> Result<()> {
    tokio::fs::create_dir_all(folder).await?;
    git(folder, &["init", "--quiet", "--bare", "--initial-branch", default_branch], b"").await?;
    let settings = [
        ("http.receivepack", "true"),
        ("uploadpack.allowAnySHA1InWant", "true"),
        ("uploadpack.allowFilter", "true"),
        ("receive.fsckObjects", "true"),
        ("gc.auto", "0"),
    ];
    for (name, value) in settings {
        git(folder, &["config", name, value], b"").await?;
    }
    Ok(())
}

/// Where the git data of a repository lies, and how it gets there.
#[derive(Clone)]
pub(crate) struct GitData {
    pub(crate) folder: PathBuf,
    /// A repository that this one begins as a copy of; copied when it is first pushed to or cloned.
    pub(crate) like: Option<PathBuf>,
    pub(crate) branch: String,
    /// Held while refs change, so that a ref change is laid at the door of the push that made it.
    pub(crate) lock: Arc<tokio::sync::Mutex<()>>,
}

impl GitData {
    /// Makes the folder unless it stands; the caller holds the lock.
    pub(crate) async fn ready(&self) -> Result<()> {
        if tokio::fs::try_exists(&self.folder).await? {
            return Ok(());
        }
        init(&self.folder, &self.branch).await?;
        if let Some(like) = &self.like {
            let from = like.to_str().context("folders have plain names")?;
            git(&self.folder, &["fetch", "--quiet", from, "+refs/*:refs/*"], b"").await?;
        }
        Ok(())
    }

    /// Where its objects can be read at this moment.
    pub(crate) fn readable(&self) -> &Path {
        match &self.like {
            Some(like) if !self.folder.exists() => like,
            _ => &self.folder,
        }
    }
}

/// Branches and tags, sorted by name.
pub(crate) async fn refs(folder: &Path) -> Result<Vec<RefValue>> {
    let format = "--format=%(objectname) %(objecttype) %(*objectname) %(refname)";
    let text = git(folder, &["for-each-ref", format, "refs/heads", "refs/tags"], b"").await?;
    text.lines()
        .map(|line| {
            let mut parts = line.splitn(4, ' ');
            let mut part = || parts.next().context("for-each-ref prints four fields");
            let (object, kind, peeled, name) = (part()?, part()?, part()?, part()?);
            let commit = if peeled.is_empty() { object } else { peeled };
            Ok(RefValue { name: name.to_owned(), object: object.to_owned(), kind: kind.to_owned(), commit: commit.to_owned() })
        })
        .collect()
}

/// Commits of a revision range, oldest first, the newest `limit` of them.
pub(crate) async fn log(folder: &Path, range: &[&str], limit: usize) -> Result<Vec<CommitInfo>> {
    let format = format!("--format={RECORD}%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00");
    let limit = format!("--max-count={limit}");
    let mut args = vec!["log", "-z", "--topo-order", "--reverse", "--no-renames", "--name-status", &format, &limit];
    args.extend(range);
    args.push("--");
    let text = git(folder, &args, b"").await?;
    text.split(RECORD).skip(1).map(parse_commit).collect::<Option<Vec<_>>>().context("git log printed what its format does not say")
}

fn parse_commit(record: &str) -> Option<CommitInfo> {
    let mut fields = record.split('\0');
    let mut next = || fields.next().map(str::to_owned);
    let (sha, tree, parents) = (next()?, next()?, next()?);
    let author = Signature { name: next()?, email: next()?, date: next()? };
    let committer = Signature { name: next()?, email: next()?, date: next()? };
    let message = next()?.trim_end_matches('\n').to_owned();
    let rest: Vec<&str> = fields.map(|field| field.trim_start_matches('\n')).filter(|field| !field.is_empty()).collect();
    let files = rest.chunks_exact(2).map(|pair| (pair[0].chars().next().unwrap_or('M'), pair[1].to_owned())).collect();
    Some(CommitInfo { sha, tree, parents: parents.split_whitespace().map(str::to_owned).collect(), author, committer, message, files })
}

/// One commit by its full id.
pub(crate) async fn commit(folder: &Path, sha: &str) -> Result<CommitInfo> {
    log(folder, &["--no-walk", "--end-of-options", sha], 1).await?.pop().with_context(|| format!("no commit `{sha}`"))
}

/// Lines added and removed in each file of a commit, by path.
pub(crate) async fn numstat(folder: &Path, sha: &str) -> Result<Vec<(String, u64, u64)>> {
    let args = ["diff-tree", "-r", "-z", "--root", "--no-commit-id", "--no-renames", "--numstat", "--end-of-options", sha];
    let text = git(folder, &args, b"").await?;
    Ok(text
        .split('\0')
        .filter_map(|line| {
            let mut parts = line.splitn(3, '\t');
            let added = parts.next()?.parse().unwrap_or(0);
            let removed = parts.next()?.parse().unwrap_or(0);
            Some((parts.next()?.to_owned(), added, removed))
        })
        .collect())
}

/// What a script asks to be committed.
pub(crate) struct NewCommit<'a> {
    pub(crate) branch: &'a str,
    pub(crate) parent: Option<String>,
    pub(crate) files: &'a [(&'a str, File<'a>)],
    pub(crate) message: &'a str,
    pub(crate) name: &'a str,
    pub(crate) email: &'a str,
    pub(crate) at_s: i64,
}

/// Makes a commit and points the branch at it; returns its id. The branch may be moved anywhere (force).
pub(crate) async fn make_commit(folder: &Path, new: &NewCommit<'_>) -> Result<String> {
    let mut stream: Vec<u8> = Vec::new();
    let reference = format!("refs/heads/{}", new.branch);
    stream.extend(format!("commit {reference}\n").bytes());
    stream.extend(format!("committer {} <{}> {} +0000\n", new.name, new.email, new.at_s).bytes());
    stream.extend(data(new.message));
    match &new.parent {
        Some(parent) => stream.extend(format!("from {parent}\n").bytes()),
        None => stream.extend(format!("from {ZERO}\n").bytes()),
    }
    for (path, file) in new.files {
        let path = quoted(path);
        let (mode, text) = match file {
            File::Text(text) => ("100644", text),
            File::Executable(text) => ("100755", text),
            File::Symlink(text) => ("120000", text),
            File::Commit(commit) => {
                stream.extend(format!("M 160000 {commit} {path}\n").bytes());
                continue;
            }
            File::Deleted => {
                stream.extend(format!("D {path}\n").bytes());
                continue;
            }
        };
        stream.extend(format!("M {mode} inline {path}\n").bytes());
        stream.extend(data(text));
    }
    stream.extend(b"done\n");
    git(folder, &["fast-import", "--quiet", "--done", "--force"], &stream).await?;
    resolve(folder, &reference).await?.with_context(|| format!("`{reference}` stands after the commit"))
}

fn data(text: &str) -> Vec<u8> {
    format!("data {}\n{text}\n", text.len()).into_bytes()
}

/// A path as fast-import wants it when it holds anything unusual.
fn quoted(path: &str) -> String {
    let mut out = String::from("\"");
    for character in path.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The commit that a name comes to, if it stands.
pub(crate) async fn resolve(folder: &Path, name: &str) -> Result<Option<String>> {
    let revision = format!("{name}^{{commit}}");
    let output = run(folder, &["rev-parse", "--verify", "--quiet", "--end-of-options", &revision], b"").await?;
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // `--end-of-options` itself is printed by older versions of rev-parse.
    Ok(text.lines().last().map(|line| line.trim().to_owned()))
}

/// One ref that a push changed.
#[derive(Clone)]
pub(crate) struct RefChange {
    pub(crate) name: String,
    pub(crate) before: Option<RefValue>,
    pub(crate) after: Option<RefValue>,
}

/// What differs between two states of a repository, in the order of ref names.
pub(crate) fn changes(before: &[RefValue], after: &[RefValue]) -> Vec<RefChange> {
    let find = |list: &[RefValue], name: &str| list.iter().find(|one| one.name == name).cloned();
    let mut names: Vec<&String> = before.iter().chain(after).map(|one| &one.name).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| RefChange { name: name.clone(), before: find(before, name), after: find(after, name) })
        .filter(|change| change.before != change.after)
        .collect()
}

/// What an annotated tag says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagInfo {
    pub(crate) tagger: Signature,
    pub(crate) message: String,
}

/// Every annotated tag that stands, by ref name.
pub(crate) async fn annotated_tags(folder: &Path) -> Result<std::collections::HashMap<String, TagInfo>> {
    let format = format!(
        "--format={RECORD}%(objecttype)%00%(refname)%00%(taggername)%00%(taggeremail:trim)%00%(taggerdate:iso-strict)%00%(contents)"
    );
    let text = git(folder, &["for-each-ref", &format, "refs/tags"], b"").await?;
    let tag = |record: &str| {
        let mut fields = record.splitn(6, '\0');
        let (kind, name) = (fields.next()?, fields.next()?);
        let tagger = Signature { name: fields.next()?.to_owned(), email: fields.next()?.to_owned(), date: fields.next()?.to_owned() };
        let message = fields.next()?.trim_end_matches('\n').to_owned();
        (kind == "tag").then(|| (name.to_owned(), TagInfo { tagger, message }))
    };
    Ok(text.split(RECORD).skip(1).filter_map(tag).collect())
}
