//! Where branches and tags stand, by the list with which a git server greets every clone: one request, tags peeled, whatever their number.
//!
//! Invariant: a list that does not end where it must is an error, never a shorter list.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use slipway_model::{CommitId, RefKind, RefName};

use super::{FullName, Gitea, wire};
use crate::credentials::basic;
use crate::error::ForgeError;
use crate::http_client::Outgoing;
use crate::pull_requests;
use crate::types::{Coverage, Fresh, Heads, OpenPullRequests, SourceKey, SourceRef};
use crate::webhook::PullRequestChange;

const MAX_OF_EACH_KIND: usize = 10_000;

/// The answer of `/compare/...`.
#[derive(Deserialize)]
struct Comparison {
    total_commits: u64,
}

impl Gitea {
    /// The marker is a digest of all that was seen: Gitea has none of its own for this.
    pub(super) async fn read_heads(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        known: Option<&str>,
    ) -> Result<Fresh<Heads>, ForgeError> {
        let all = self.advertised(token, full_name).await?;
        let marker = digest(&all);
        if known == Some(marker.as_str()) {
            return Ok(Fresh::Unchanged);
        }
        let (mut counts, mut coverage, mut refs) = ([0_usize; 2], Coverage::Whole, Vec::new());
        for one in all {
            let count = &mut counts[usize::from(one.name.kind() == RefKind::Tag)];
            *count += 1;
            if *count > MAX_OF_EACH_KIND {
                coverage = Coverage::Part;
            } else {
                refs.push(one);
            }
        }
        Ok(Fresh::Changed { value: Heads { refs, coverage }, marker: Some(marker) })
    }

    pub(super) async fn resolve_ref(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        name: &RefName,
    ) -> Result<Option<CommitId>, ForgeError> {
        let all = self.advertised(token, full_name).await?;
        let Some(found) = all.into_iter().find(|one| one.name == *name) else { return Ok(None) };
        if name.kind() == RefKind::Branch {
            return Ok(Some(found.commit));
        }
        // A tag may lead to a file or a folder, which the list does not tell.
        let mut url = self.api_address(["repos", full_name.owner, full_name.name, "git", "commits", found.commit.as_str()]);
        url.query_pairs_mut().append_pair("stat", "false").append_pair("verification", "false").append_pair("files", "false");
        match self.get(token, url).await {
            Ok(_) => Ok(Some(found.commit)),
            Err(ForgeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// By the commits that are in the one and not in the other. Of two without a common ancestor some versions say that there are none, in
    /// both directions: so none in the one direction means something only where there are some in the other.
    pub(super) async fn find_in_history(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        commit: &CommitId,
        of: &CommitId,
    ) -> Result<Option<bool>, ForgeError> {
        let Some(newer) = self.count_between(token, full_name, of, commit).await? else { return Ok(None) };
        if newer > 0 || commit == of {
            return Ok(Some(newer == 0));
        }
        let since = self.count_between(token, full_name, commit, of).await?;
        Ok(since.filter(|since| *since > 0).map(|_| true))
    }

    /// How many commits are in the history of `to` and not in that of `from`; `None` where the source does not have both, or they have no
    /// common ancestor, on which other versions fail.
    async fn count_between(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<Option<u64>, ForgeError> {
        let url = self.api_address(["repos", full_name.owner, full_name.name, "compare", &format!("{from}...{to}")]);
        match self.get(token, url).await {
            Ok(reply) => Ok(Some(reply.json::<Comparison>()?.total_commits)),
            Err(ForgeError::NotFound | ForgeError::Unexpected { status: 500, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list_pull_requests(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        id: &str,
    ) -> Result<OpenPullRequests, ForgeError> {
        let mut url = self.api_address(["repos", full_name.owner, full_name.name, "pulls"]);
        url.query_pairs_mut().append_pair("state", "open").append_pair("sort", "recentupdate");
        Ok(pull_requests::read_list(self.list(token, &url).await?, id))
    }

    pub(super) async fn read_pull_request(
        &self,
        token: &SecretString,
        key: SourceKey<'_>,
        number: u64,
    ) -> Result<Option<PullRequestChange>, ForgeError> {
        let full_name = FullName::parse(key.full_name)?;
        let url = self.api_address(["repos", full_name.owner, full_name.name, "pulls", &number.to_string()]);
        match self.get(token, url).await {
            Ok(reply) => pull_requests::read_one(reply.json()?, key.id, number).map(Some),
            // 404 may be the pull request or the whole repository: only the second look tells.
            Err(ForgeError::NotFound) => match self.read_repository(token, &["repositories", key.id]).await? {
                Some(found) if found.id == key.id && found.full_name == key.full_name => Ok(None),
                _ => Err(ForgeError::NotFound),
            },
            Err(error) => Err(error),
        }
    }

    /// All branches and tags that git can name.
    async fn advertised(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Vec<SourceRef>, ForgeError> {
        let mut url = self.web_address([full_name.owner, &format!("{}.git", full_name.name), "info", "refs"]);
        url.query_pairs_mut().append_pair("service", "git-upload-pack");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, basic(wire::GIT_USER, token)?)]);
        let reply = self.http.send(Outgoing::new(Method::GET, url, headers)).await?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(ForgeError::Unauthorized { detail: "git does not take the token".to_owned() });
            }
            StatusCode::TOO_MANY_REQUESTS => return Err(ForgeError::RateLimited { retry_after: reply.pause() }),
            // The words of git's pages are for people. What the API says of the same repository is for us.
            _ => {
                return match self.read_repository(token, &["repos", full_name.owner, full_name.name]).await? {
                    None => Err(ForgeError::NotFound),
                    Some(_) => Err(reply.unexpected("the API shows the repository, but git does not serve it".to_owned())),
                };
            }
        }
        if reply.header(CONTENT_TYPE.as_str()) != Some("application/x-git-upload-pack-advertisement") {
            return Err(reply.unexpected("this is no answer of git".to_owned()));
        }
        read_advertisement(&reply.body).map_err(|why| reply.unexpected(format!("git's list of refs {why}")))
    }
}

fn digest(refs: &[SourceRef]) -> String {
    let mut hash = Sha256::new();
    for one in refs {
        hash.update(one.name.to_string());
        hash.update([0]);
        hash.update(one.commit.as_str());
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

/// Reads the answer to `info/refs` of git's protocol, version 0. Refs that are no branch or tag, or have names that git itself would
/// refuse, are left out.
fn read_advertisement(mut body: &[u8]) -> Result<Vec<SourceRef>, &'static str> {
    if next_line(&mut body)? != Some(b"# service=git-upload-pack") || next_line(&mut body)?.is_some() {
        return Err("does not start with its name");
    }
    let mut refs: Vec<SourceRef> = Vec::new();
    while let Some(line) = next_line(&mut body)? {
        // The first line has what the server can do behind its name.
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let line = std::str::from_utf8(line).unwrap_or_default();
        let Some((object, name)) = line.split_once(' ') else { continue };
        if matches!(object, "ERR" | "version" | "shallow") {
            if object == "ERR" {
                return Err("is an error");
            }
            continue;
        }
        let object = CommitId::parse_or_zero(object).map_err(|_| "has a line that is no ref")?;
        let (name, is_peeled) = match name.strip_suffix("^{}") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (Some(commit), Ok(name)) = (object, name.parse::<RefName>()) else { continue };
        if name.kind() == RefKind::PullRequest {
            continue;
        }
        match refs.last_mut() {
            Some(last) if is_peeled && last.name == name => last.commit = commit,
            _ if is_peeled => {}
            _ => refs.push(SourceRef { name, commit }),
        }
    }
    if body.is_empty() { Ok(refs) } else { Err("goes on behind its end") }
}

/// Takes one line off the front; `None` is the mark between sections.
fn next_line<'a>(body: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let (digits, rest) = body.split_at_checked(4).ok_or("ends too early")?;
    let length = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok()).ok_or("is no list of git")?;
    if length == 0 {
        *body = rest;
        return Ok(None);
    }
    let length = length.checked_sub(4).filter(|length| *length > 0).ok_or("has a line without a length")?;
    let (line, rest) = rest.split_at_checked(length).ok_or("ends too early")?;
    *body = rest;
    Ok(Some(line.strip_suffix(b"\n").unwrap_or(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "aa218f56b14c9653891f9e74264a383fa43fefbd";
    const B: &str = "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc";

    fn line(text: &str) -> String {
        format!("{:04x}{text}", text.len() + 4)
    }

    fn list(lines: &[String]) -> String {
        let lines: String = lines.iter().map(|text| line(text)).collect();
        format!("{}0000{lines}0000", line("# service=git-upload-pack\n"))
    }

    #[test]
    fn tags_are_peeled_and_only_branches_and_tags_are_kept() {
        let body = list(&[
            format!("{A} HEAD\0multi_ack agent=git/2\n"),
            format!("{A} refs/heads/main\n"),
            format!("{A} refs/heads/größe/a#b\n"),
            format!("{A} refs/pull/1/head\n"),
            format!("{A} refs/tags/light\n"),
            format!("{B} refs/tags/v1\n"),
            format!("{A} refs/tags/v1^{{}}\n"),
        ]);
        let refs = read_advertisement(body.as_bytes()).unwrap();
        let names: Vec<String> = refs.iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["refs/heads/main", "refs/heads/größe/a#b", "refs/tags/light", "refs/tags/v1"]);
        assert!(refs.iter().all(|one| one.commit.as_str() == A));
        let empty = list(&[format!("{} capabilities^{{}}\0multi_ack\n", "0".repeat(40))]);
        assert!(read_advertisement(empty.as_bytes()).unwrap().is_empty());
    }

    #[test]
    fn what_is_cut_off_or_no_list_is_an_error() {
        let whole = list(&[format!("{A} refs/heads/main\0x\n"), format!("{B} refs/heads/next\n")]);
        for end in 0..whole.len() {
            assert!(read_advertisement(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
        let odd = ["", "<html>", "0000", "zzzz", "0001", "001e# service=git-receive-pack\n0000"];
        for body in
            odd.map(str::to_owned).into_iter().chain([list(&["ERR no\n".to_owned()]), list(&["x refs/heads/a".to_owned()]), whole + "x"])
        {
            assert!(read_advertisement(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(body: Vec<u8>, text in "[0-9a-f]{4}[ -~]{0,200}") {
            read_advertisement(&body).ok();
            read_advertisement(format!("{}0000{text}", line("# service=git-upload-pack\n")).as_bytes()).ok();
        }
    }
}
