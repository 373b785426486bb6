//! Branches, tags and open pull requests: where all of them stand, and where one ref leads to.
//!
//! Invariant: a list that could not be read to its end says so; a tag is always the commit that it leads to, never its own object. The
//! passing branches of the merge queue are in no list.

use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::{CommitId, RefName};
use url::Url;

use super::wire::{Call, Pages};
use super::{FullName, GitHub, is_queued};
use crate::error::ForgeError;
use crate::pull_requests;
use crate::types::{Coverage, Fresh, Heads, OpenPullRequests, SourceKey, SourceRef};
use crate::webhook::PullRequestChange;

/// Pages of 100 that are read of the branches, and of the tags.
const MAX_PAGES: usize = 100;
/// Pages of 100 open pull requests, each with two whole repositories in it.
const PULL_REQUEST_PAGES: usize = 3;
/// A tag may point to a tag; nobody has reason to go deeper than this.
const MAX_PEELS: usize = 5;

/// An entry of `/branches` or `/tags`: both give the commit of a tag, not the tag's own object, and both have pages.
#[derive(Deserialize)]
struct NamedCommit {
    name: String,
    commit: Sha,
}

#[derive(Deserialize)]
struct Sha {
    sha: CommitId,
}

/// The answer of `/git/ref/...` and `/git/tags/...`.
#[derive(Deserialize)]
struct Pointer {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    sha: CommitId,
}

/// The answer of `/compare/...`: how the second one stands to the first.
#[derive(Deserialize)]
struct Comparison {
    status: String,
}

/// The two lists of refs.
#[derive(Clone, Copy)]
enum RefList {
    Branches,
    Tags,
}

impl RefList {
    fn path(self) -> &'static str {
        match self {
            Self::Branches => "branches",
            Self::Tags => "tags",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Branches => "refs/heads/",
            Self::Tags => "refs/tags/",
        }
    }
}

impl GitHub {
    /// The marker is the ETags of both lists. Only a list of one page has such: of a longer one, no page tells of the others.
    pub(super) async fn list_heads(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        known: Option<&str>,
    ) -> Result<Fresh<Heads>, ForgeError> {
        if let Some((branches, tags)) = known.and_then(|known| known.split_once(' '))
            && self.is_unchanged(token, self.refs_address(full_name, RefList::Branches), branches).await?
            && self.is_unchanged(token, self.refs_address(full_name, RefList::Tags), tags).await?
        {
            return Ok(Fresh::Unchanged);
        }
        let (branches, tags) =
            (self.list_refs(token, full_name, RefList::Branches).await?, self.list_refs(token, full_name, RefList::Tags).await?);
        let coverage = if branches.list.truncated || tags.list.truncated { Coverage::Part } else { Coverage::Whole };
        let marker = branches.etag.zip(tags.etag).map(|(branches, tags)| format!("{branches} {tags}"));
        let refs = [(branches.list.items, RefList::Branches), (tags.list.items, RefList::Tags)].into_iter().flat_map(|(items, list)| {
            items.into_iter().filter_map(move |item| {
                let name = Some(format!("{}{}", list.prefix(), item.name)).filter(|name| !is_queued(name))?;
                Some(SourceRef { name: name.parse().ok()?, commit: item.commit.sha })
            })
        });
        Ok(Fresh::Changed { value: Heads { refs: refs.collect(), coverage }, marker })
    }

    pub(super) async fn list_pull_requests(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        id: &str,
    ) -> Result<OpenPullRequests, ForgeError> {
        let mut url = self.api_address(["repos", full_name.owner, full_name.name, "pulls"]);
        url.query_pairs_mut().append_pair("state", "open").append_pair("sort", "updated").append_pair("direction", "desc");
        let found = self.list(token, Call::get(url), PULL_REQUEST_PAGES).await?;
        Ok(pull_requests::read_list(found.list, id))
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
            Err(ForgeError::NotFound) => match self.repository_by_id(token, key.id).await? {
                Some(found) if found.full_name == key.full_name => Ok(None),
                _ => Err(ForgeError::NotFound),
            },
            Err(error) => Err(error),
        }
    }

    fn refs_address(&self, full_name: FullName<'_>, list: RefList) -> Url {
        self.api_address(["repos", full_name.owner, full_name.name, list.path()])
    }

    async fn is_unchanged(&self, token: &SecretString, mut url: Url, etag: &str) -> Result<bool, ForgeError> {
        url.query_pairs_mut().append_pair("per_page", "100");
        match self.call(token, Call::get(url).unless(Some(etag))).await {
            Ok(reply) => Ok(reply.status == StatusCode::NOT_MODIFIED),
            Err(error) if is_empty(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn list_refs(&self, token: &SecretString, full_name: FullName<'_>, list: RefList) -> Result<Pages<NamedCommit>, ForgeError> {
        match self.list(token, Call::get(self.refs_address(full_name, list)), MAX_PAGES).await {
            Err(error) if is_empty(&error) => Ok(Pages::none()),
            result => result,
        }
    }

    pub(super) async fn resolve_ref(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        name: &RefName,
    ) -> Result<Option<CommitId>, ForgeError> {
        let repository = ["repos", full_name.owner, full_name.name];
        let parts = repository.into_iter().chain(["git", "ref"]).chain(name.as_str().split('/').skip(1));
        let mut object = match self.get(token, self.api_address(parts)).await {
            Ok(reply) => reply.json::<Pointer>()?.object,
            Err(error) if is_empty(&error) => return Ok(None),
            // This may be the ref or the whole repository: only the second look tells.
            Err(ForgeError::NotFound) => {
                return match self.repository_by_name(token, full_name).await? {
                    Some(_) => Ok(None),
                    None => Err(ForgeError::NotFound),
                };
            }
            Err(error) => return Err(error),
        };
        for _ in 0..MAX_PEELS {
            match object.kind.as_str() {
                "commit" => return Ok(Some(object.sha)),
                "tag" => {
                    let parts = repository.into_iter().chain(["git", "tags", object.sha.as_str()]);
                    object = self.get(token, self.api_address(parts)).await?.json::<Pointer>()?.object;
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// By the comparison of both.
    pub(super) async fn find_in_history(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        commit: &CommitId,
        of: &CommitId,
    ) -> Result<Option<bool>, ForgeError> {
        let between = format!("{of}...{commit}");
        let mut url = self.api_address(["repos", full_name.owner, full_name.name, "compare", &between]);
        // What differs stands on the first page only, and is not wanted; how they stand is on every one.
        url.query_pairs_mut().append_pair("per_page", "1").append_pair("page", "2");
        match self.get(token, url).await {
            Ok(reply) => match reply.json::<Comparison>()?.status.as_str() {
                "behind" | "identical" => Ok(Some(true)),
                "ahead" | "diverged" => Ok(Some(false)),
                _ => Ok(None),
            },
            // Without a common ancestor, too.
            Err(ForgeError::NotFound) => Ok(None),
            Err(error) if is_empty(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A repository without any commit answers "Git Repository is empty."
fn is_empty(error: &ForgeError) -> bool {
    matches!(error, ForgeError::Unexpected { status: 409, .. })
}
