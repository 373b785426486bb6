//! Branches and tags.
//!
//! Invariant: a ref's name is one segment of a path, percent-encoded; annotated tags give the commit that they lead to.

use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::{CommitId, RefKind, RefName};
use url::Url;

use super::{Bitbucket, FullName, pull_requests};
use crate::error::ForgeError;
use crate::types::{Coverage, Fresh, Heads, OpenPullRequests, SourceKey, SourceRef};
use crate::webhook::PullRequestChange;

/// 20,000 refs.
const MAX_PAGES: usize = 200;
/// 300 pull requests.
const PULL_REQUEST_PAGES: usize = 6;
/// What we need of each ref: a tenth of what Bitbucket tells otherwise.
const FIELDS: &str = "next,values.type,values.name,values.target.hash";

#[derive(Deserialize)]
struct Ref {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    hash: CommitId,
}

impl Bitbucket {
    pub(super) async fn list_heads(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        known: Option<&str>,
    ) -> Result<Fresh<Heads>, ForgeError> {
        let mut url = self.list_address(["repositories", full_name.workspace, full_name.slug, "refs"]);
        url.query_pairs_mut().append_pair("fields", FIELDS);
        let (reply, marker) = match self.get_fresh(token, url, known).await? {
            Fresh::Unchanged => return Ok(Fresh::Unchanged),
            Fresh::Changed { value, marker } => (value, marker),
        };
        let (first, next) = self.read_page::<Ref>(token, &reply)?;
        // The marker of one page says nothing about the others.
        let marker = marker.filter(|_| next.is_none());
        let listing = self.list_on(token, first, next, MAX_PAGES - 1).await?;
        let heads = Heads {
            refs: listing.items.into_iter().filter_map(Ref::usable).collect(),
            coverage: if listing.truncated { Coverage::Part } else { Coverage::Whole },
        };
        Ok(Fresh::Changed { value: heads, marker })
    }

    pub(super) async fn resolve_ref(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        name: &RefName,
    ) -> Result<Option<CommitId>, ForgeError> {
        match self.get::<Ref>(token, self.ref_address(full_name, name)).await {
            Ok(found) if found.name == name.short() => Ok(found.target.map(|target| target.hash)),
            Ok(_) => Err(ForgeError::Unexpected { status: 200, detail: "it answered with another branch or tag".to_owned() }),
            // 404 may be the ref or the whole repository: only the second look tells.
            Err(ForgeError::NotFound) => match self.read_repository(token, full_name.workspace, full_name.slug).await? {
                Some(_) => Ok(None),
                None => Err(ForgeError::NotFound),
            },
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list_pull_requests(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        id: &str,
    ) -> Result<OpenPullRequests, ForgeError> {
        // More than 50 a page are refused here.
        let mut url = self.api_address(["repositories", full_name.workspace, full_name.slug, "pullrequests"]);
        let fields = pull_requests::FIELDS;
        let query = [("pagelen", "50"), ("state", "OPEN"), ("sort", "-updated_on"), ("fields", fields)];
        url.query_pairs_mut().extend_pairs(query);
        Ok(pull_requests::read_list(self.list(token, url, PULL_REQUEST_PAGES).await?, id))
    }

    pub(super) async fn read_pull_request(
        &self,
        token: &SecretString,
        key: SourceKey<'_>,
        number: u64,
    ) -> Result<Option<PullRequestChange>, ForgeError> {
        let full_name = FullName::parse(key.full_name)?;
        let mut url = self.repository_address([full_name.workspace, full_name.slug, "pullrequests", &number.to_string()]);
        url.query_pairs_mut().append_pair("fields", pull_requests::FIELDS_OF_ONE);
        match self.get(token, url).await {
            Ok(body) => pull_requests::read_one(body, key.id, number).map(Some),
            // 404 may be the pull request or the whole repository: only the second look tells.
            Err(ForgeError::NotFound) => match self.find_repository(token, key).await? {
                Some(found) if found.full_name == key.full_name => Ok(None),
                _ => Err(ForgeError::NotFound),
            },
            Err(error) => Err(error),
        }
    }

    /// By the newest commit that is in the history of both.
    pub(super) async fn find_in_history(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        commit: &CommitId,
        of: &CommitId,
    ) -> Result<Option<bool>, ForgeError> {
        let both = format!("{commit}..{of}");
        let mut url = self.repository_address([full_name.workspace, full_name.slug, "merge-base", &both]);
        url.query_pairs_mut().append_pair("fields", "hash");
        match self.get::<Target>(token, url).await {
            Ok(base) => Ok(Some(base.hash == *commit)),
            // Without a common ancestor, too.
            Err(ForgeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ref_address(&self, full_name: FullName<'_>, name: &RefName) -> Url {
        let list = match name.kind() {
            RefKind::Branch => "branches",
            // Nothing is found of a pull request: there are no refs of them.
            RefKind::Tag | RefKind::PullRequest => "tags",
        };
        self.repository_address([full_name.workspace, full_name.slug, "refs", list, name.short()])
    }
}

impl Ref {
    /// `None` for what no rule can match: names that git would refuse, and refs that lead to no commit.
    fn usable(self) -> Option<SourceRef> {
        let prefix = match self.kind.as_str() {
            "branch" => "refs/heads/",
            "tag" => "refs/tags/",
            _ => return None,
        };
        let name = format!("{prefix}{}", self.name).parse().ok()?;
        Some(SourceRef { name, commit: self.target?.hash })
    }
}
