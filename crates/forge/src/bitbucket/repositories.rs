//! Repositories: lists, by name, and by the uuid that survives renames and transfers.
//!
//! Invariant: an answer about another uuid than the one asked for is never taken for the repository.

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{Bitbucket, FullName, is_name, is_uuid};
use crate::error::ForgeError;
use crate::text;
use crate::types::{Page, SourceKey, SourceRepository};

/// What stands for the workspace when only the repository's uuid is known (Bitbucket, "Repository object and UUID").
const ANY_WORKSPACE: &str = "{}";
const MAX_CURSOR_BYTES: usize = 2048;

#[derive(Deserialize)]
struct Repository {
    uuid: String,
    full_name: String,
    is_private: bool,
    mainbranch: Option<Branch>,
    updated_on: Option<String>,
}

#[derive(Deserialize)]
struct Branch {
    name: Option<String>,
}

impl Bitbucket {
    pub(super) async fn list_repositories(
        &self,
        token: &SecretString,
        namespace: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, ForgeError> {
        if !is_name(namespace) {
            return Err(ForgeError::NotFound);
        }
        let mut url = self.list_address(["repositories", namespace]);
        match cursor {
            // Only the query is taken from outside, so no cursor leads to another place than this list.
            Some(cursor) if cursor.len() <= MAX_CURSOR_BYTES => url.set_query(Some(cursor)),
            Some(_) => return Err(ForgeError::Unexpected { status: 400, detail: "the cursor is not one of ours".to_owned() }),
            None => {
                url.query_pairs_mut().append_pair("role", "member").append_pair("sort", "full_name");
            }
        }
        let reply = self.call(token, http::Method::GET, url.clone(), None).await?;
        let (values, next) = self.read_page::<Repository>(token, &reply)?;
        let items = values.into_iter().map(|repository| self.source_repository_of(repository)).collect::<Result<Vec<_>, _>>()?;
        let next = match next {
            None => None,
            Some(next) if next.path() == reply.url.path() => next.query().map(str::to_owned),
            Some(_) => return Err(reply.unexpected("the next page is said to be of another list".to_owned())),
        };
        Ok(Page { items, next })
    }

    /// A repository by its place; `None` when it is gone or not shown.
    pub(super) async fn read_repository(
        &self,
        token: &SecretString,
        workspace: &str,
        slug: &str,
    ) -> Result<Option<SourceRepository>, ForgeError> {
        match self.get(token, self.repository_address([workspace, slug])).await {
            Ok(repository) => self.source_repository_of(repository).map(Some),
            Err(ForgeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A repository by its uuid: where it was last, and when it was transferred, wherever it is now.
    pub(super) async fn find_repository(&self, token: &SecretString, key: SourceKey<'_>) -> Result<Option<SourceRepository>, ForgeError> {
        if !is_uuid(key.id) {
            return Ok(None);
        }
        let is_it = |found: &SourceRepository| found.id.eq_ignore_ascii_case(key.id);
        if let Ok(last) = FullName::parse(key.full_name)
            && let Some(found) = self.read_repository(token, last.workspace, key.id).await?.filter(is_it)
        {
            return Ok(Some(found));
        }
        Ok(self.read_repository(token, ANY_WORKSPACE, key.id).await?.filter(is_it))
    }

    /// The address of a repository in the API, or of something of it.
    pub(super) fn repository_address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        self.api_address(["repositories"].into_iter().chain(parts))
    }

    fn source_repository_of(&self, repository: Repository) -> Result<SourceRepository, ForgeError> {
        let unexpected = |detail: &str| ForgeError::Unexpected { status: 200, detail: detail.to_owned() };
        if !is_uuid(&repository.uuid) {
            return Err(unexpected("a repository came without a usable `uuid`"));
        }
        let full_name = FullName::parse(&repository.full_name)
            .map_err(|_| unexpected("a repository came with a full name that is not `workspace/repository`"))?;
        let default_branch = repository.mainbranch.and_then(|branch| branch.name).map(|name| text::line(&name, 1024));
        Ok(SourceRepository {
            id: repository.uuid,
            web_url: self.web_address([full_name.workspace, full_name.slug]),
            // An empty repository has none yet; this is what Bitbucket proposes for the first push.
            default_branch: default_branch.unwrap_or_else(|| "main".to_owned()),
            private: repository.is_private,
            // Bitbucket Cloud archives nothing.
            archived: false,
            pushed: repository.updated_on.map(|at| text::line(&at, 60)),
            full_name: repository.full_name,
        })
    }
}
