//! All of a private source's history, for hooks that ask for it: Docker's documentation has them say `git fetch --unshallow`.
//!
//! The invariant: no hook gets a credential or a key, for those read what their owner reads. The builder fetches the branches and tags into a
//! repository beside the checkout, and git within hooks finds that one where it looks for the source. Deliberately elsewhere: the checkout
//! itself (`checkout`), the place where hooks run (`sandbox`).

use slipway_model::FailureCode;
use slipway_wire::Source;

use crate::access::Way;
use crate::checkout::{STEP, limited};
use crate::failure::Failure;
use crate::fetch::{Tips, fetch_all};
use crate::git::{Git, fetch_failure};
use crate::home::BuildDir;
use crate::report::Reporter;

/// What a hook says that wants more than the one commit.
const WORDS: [&str; 3] = ["unshallow", "git fetch", "git pull"];

/// Whether a hook asks for history.
pub(crate) fn is_wanted(hook: &[u8]) -> bool {
    WORDS.iter().any(|word| hook.windows(word.len()).any(|part| part == word.as_bytes()))
}

/// Fetches it, if the source is not one that everybody may read anyhow.
pub(crate) async fn fetch(source: &Source, dir: &BuildDir, reporter: &Reporter) -> Result<(), Failure> {
    if source.ssh.is_none() && source.credential.is_none() {
        return Ok(());
    }
    std::fs::create_dir(dir.history()).map_err(|error| Failure::internal("the build's folder cannot be written", error))?;
    let git = Git::new(dir).within(dir.history());
    reporter.line(Some(STEP), "a hook asks for more of the source: all branches and tags are fetched for it").await;
    limited(dir.history(), by_any_way(&git, source, dir, reporter)).await
}

async fn by_any_way(git: &Git, source: &Source, dir: &BuildDir, reporter: &Reporter) -> Result<(), Failure> {
    git.init_bare(&source.commit, reporter).await?;
    let mut closed = None;
    if let Some(ssh) = &source.ssh {
        match fetch_all(git, &Way::ssh(ssh, dir)?, reporter).await? {
            Tips::Here => return Ok(()),
            Tips::Failed(ended) => return Err(fetch_failure(&ended, &source.source_ref)),
            Tips::Closed => closed = Some("the source is closed to its key"),
        }
    }
    if let (Some(why), None) = (closed, &source.credential) {
        return Err(Failure::passing(FailureCode::SourceUnavailable, format!("the history that a hook asks for cannot be fetched: {why}")));
    }
    match fetch_all(git, &Way::http(source, dir)?, reporter).await? {
        Tips::Here => Ok(()),
        Tips::Failed(ended) => Err(fetch_failure(&ended, &source.source_ref)),
        Tips::Closed => Err(Failure::internal("the history that a hook asks for", "no way leads to it")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::mask::Secrets;
    use crate::test_place::{PAIR, PASSWORD, Place, check_out, git, holds, try_git};

    #[test]
    fn hooks_that_speak_of_history_want_it() {
        assert!(is_wanted(b"#!/bin/bash\n# all of it\ngit fetch --unshallow origin\n") && is_wanted(b"git pull"));
        assert!(!is_wanted(b"#!/bin/bash\ndocker build .\ngit describe\n") && !is_wanted(b""));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_history_comes_by_each_way_and_leaves_no_credential() {
        let place = Place::new().await;
        let first = place.push("hello", Some(&place.commit), &[("a", "1")], &[]);
        let commit = place.push("hello", Some(&first), &[("a", "2")], &[]);
        let by_http = place.source_at(&commit);
        let mut fallen_back = Source { commit: by_http.commit.clone(), ..place.source() };
        let by_ssh = Source { commit: by_http.commit.clone(), credential: None, ..place.source() };
        fallen_back.ssh.as_mut().expect("ssh").private_key = place.sshd.new_key().expect("key").1;
        for source in [by_ssh, by_http, fallen_back] {
            let done = check_out(&place, &source, |git| git).await;
            assert_eq!(done.result, Ok(()), "{}", done.log);
            let (reporter, kept) = Reporter::keeping(Secrets::default());
            fetch(&source, &done.dir, &reporter).await.map_err(|failure| failure.reason).expect("fetched");
            drop(reporter);
            kept.await.expect("kept");
            let (folder, history) = (done.dir.source(), done.dir.history());
            assert!(!try_git(&folder, &["fetch", "--quiet", "--unshallow"], &[]).0, "without it there is no way");
            // As hooks get it.
            let instead = format!("url.{}.insteadOf={}", history.display(), source.clone_url);
            git(&folder, &["-c", &instead, "fetch", "--quiet", "--unshallow"]);
            assert_eq!(git(&folder, &["rev-list", "--count", "HEAD"]), "3");
            assert_eq!(holds(&done.dir.path, &[PASSWORD, PAIR, "PRIVATE KEY"]), Vec::<PathBuf>::new());
        }
        // What everybody may read is fetched by the hooks themselves.
        let public = Source { credential: None, ssh: None, ..place.source() };
        let dir = crate::test_place::attempt(&place);
        let (reporter, _kept) = Reporter::keeping(Secrets::default());
        fetch(&public, &dir, &reporter).await.map_err(|failure| failure.reason).expect("nothing to do");
        assert!(!dir.history().exists());
    }
}
