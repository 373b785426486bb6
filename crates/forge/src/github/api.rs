//! What we read of GitHub's API: people, namespaces, repositories, refs.
//!
//! Invariant: identities are the numeric ids; addresses of pages are never those in an answer.

use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::{CommitId, NamespaceAccess, RefKind, RefName};
use url::Url;

use super::{FullName, GitHub, is_name};
use crate::credentials::split_scopes;
use crate::error::ForgeError;
use crate::http_client::Reply;
use crate::text;
use crate::types::{Coverage, Fresh, Heads, NamespaceKind, Page, Person, SourceNamespace, SourceRef, SourceRepository};

/// A tag may point to a tag; nobody has reason to go deeper than this.
const MAX_PEELS: usize = 5;

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    full_name: String,
    default_branch: String,
    private: bool,
    #[serde(default)]
    archived: bool,
    pushed_at: Option<String>,
}

/// An entry of `/branches` or `/tags`.
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

/// Which list of GitHub a search goes through, and the page: the text form is our cursor.
#[derive(Clone, Copy)]
struct Position {
    owner: NamespaceKind,
    page: u32,
}

impl Position {
    fn parse(cursor: &str) -> Option<Self> {
        let (owner, page) = cursor.split_once('.')?;
        let owner = match owner {
            "user" => NamespaceKind::User,
            "organization" => NamespaceKind::Organization,
            _ => return None,
        };
        Some(Self { owner, page: page.parse().ok().filter(|page| (1..=100_000).contains(page))? })
    }

    fn cursor(self) -> String {
        let owner = match self.owner {
            NamespaceKind::User => "user",
            NamespaceKind::Organization => "organization",
        };
        format!("{owner}.{}", self.page)
    }
}

impl GitHub {
    pub(super) async fn read_person(&self, token: &SecretString, _known: Option<&str>) -> Result<Fresh<Person>, ForgeError> {
        let reply = self.get(token, self.api_address(["user"])).await?;
        let user: User = reply.json()?;
        let person = Person {
            id: user.id.to_string(),
            login: text::line(&user.login, 100),
            name: user.name.map(|name| text::line(&name, 200)).filter(|name| !name.is_empty()),
            avatar_url: user.avatar_url.and_then(|text| Url::parse(&text).ok()).filter(|url| matches!(url.scheme(), "https" | "http")),
            scopes: split_scopes(reply.header("x-oauth-scopes").unwrap_or_default()),
        };
        Ok(Fresh::Changed { value: person, marker: None })
    }

    pub(super) async fn list_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError> {
        let user: Account = self.get(token, self.api_address(["user"])).await?.json()?;
        let organizations = self.list::<Account>(token, self.api_address(["user", "orgs"])).await?;
        if organizations.truncated {
            tracing::warn!(provider = %self.provider.id, "a person has more organizations than are listed");
        }
        let namespace = |kind| {
            move |account: Account| SourceNamespace {
                id: account.id.to_string(),
                name: text::line(&account.login, 100),
                kind,
                access: NamespaceAccess::Granted,
                grant_url: None,
                note: None,
            }
        };
        let mut namespaces = vec![namespace(NamespaceKind::User)(user)];
        namespaces.extend(organizations.items.into_iter().map(namespace(NamespaceKind::Organization)));
        Ok(namespaces)
    }

    pub(super) async fn list_repositories(
        &self,
        token: &SecretString,
        namespace: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, ForgeError> {
        if !is_name(namespace) {
            return Err(ForgeError::NotFound);
        }
        let mut position = match cursor {
            Some(cursor) => Position::parse(cursor)
                .ok_or_else(|| ForgeError::Unexpected { status: 400, detail: "the cursor is not one of ours".to_owned() })?,
            None => Position { owner: self.kind_of(token, namespace).await?, page: 1 },
        };
        let reply = self.get(token, self.repositories_address(namespace, position)).await?;
        let page: Vec<Repository> = reply.json()?;
        let items = page.into_iter().map(|repository| self.source_repository_of(&reply, repository)).collect::<Result<Vec<_>, _>>()?;
        let more = reply.next_page()?.is_some();
        position.page += 1;
        Ok(Page { items, next: more.then(|| position.cursor()) })
    }

    async fn kind_of(&self, token: &SecretString, namespace: &str) -> Result<NamespaceKind, ForgeError> {
        let user: Account = self.get(token, self.api_address(["user"])).await?.json()?;
        Ok(if user.login.eq_ignore_ascii_case(namespace) { NamespaceKind::User } else { NamespaceKind::Organization })
    }

    fn repositories_address(&self, namespace: &str, position: Position) -> Url {
        let mut url = match position.owner {
            NamespaceKind::User => self.api_address(["user", "repos"]),
            NamespaceKind::Organization => self.api_address(["orgs", namespace, "repos"]),
        };
        let filter = match position.owner {
            NamespaceKind::User => ("affiliation", "owner"),
            NamespaceKind::Organization => ("type", "all"),
        };
        url.query_pairs_mut()
            .append_pair(filter.0, filter.1)
            .append_pair("sort", "full_name")
            .append_pair("per_page", "100")
            .append_pair("page", &position.page.to_string());
        url
    }

    pub(super) async fn read_repository(&self, token: &SecretString, path: &[&str]) -> Result<Option<SourceRepository>, ForgeError> {
        match self.get(token, self.api_address(path.iter().copied())).await {
            Ok(reply) => self.source_repository_of(&reply, reply.json()?).map(Some),
            Err(ForgeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn source_repository_of(&self, reply: &Reply, repository: Repository) -> Result<SourceRepository, ForgeError> {
        let full_name = FullName::parse(&repository.full_name)
            .map_err(|_| reply.unexpected("a repository came with a full name that is not `owner/name`".to_owned()))?;
        Ok(SourceRepository {
            id: repository.id.to_string(),
            web_url: self.web_address([full_name.owner, full_name.name]),
            default_branch: text::line(&repository.default_branch, 1024),
            private: repository.private,
            archived: repository.archived,
            pushed: repository.pushed_at.map(|at| text::line(&at, 60)),
            full_name: repository.full_name,
        })
    }

    pub(super) async fn list_heads(&self, token: &SecretString, full_name: FullName<'_>) -> Result<Heads, ForgeError> {
        let mut refs = Vec::new();
        let mut coverage = Coverage::Whole;
        // Both lists give the commit of a tag, not the tag's own object.
        for (list, prefix) in [("branches", "refs/heads/"), ("tags", "refs/tags/")] {
            let listing = self.list::<NamedCommit>(token, self.api_address(["repos", full_name.owner, full_name.name, list])).await?;
            if listing.truncated {
                coverage = Coverage::Part;
            }
            refs.extend(listing.items.into_iter().filter_map(|item| {
                let name = format!("{prefix}{}", item.name).parse::<RefName>().ok()?;
                Some(SourceRef { name, commit: item.commit.sha })
            }));
        }
        Ok(Heads { refs, coverage })
    }

    pub(super) async fn resolve_ref(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        name: &RefName,
    ) -> Result<Option<CommitId>, ForgeError> {
        let repository = ["repos", full_name.owner, full_name.name];
        let kind = match name.kind() {
            RefKind::Branch => "heads",
            RefKind::Tag => "tags",
        };
        let parts = repository.into_iter().chain(["git", "ref", kind]).chain(name.short().split('/'));
        let mut object = match self.get(token, self.api_address(parts)).await {
            Ok(reply) => reply.json::<Pointer>()?.object,
            // 409 is an empty repository. 404 may be the ref or the whole repository: only the second look tells.
            Err(ForgeError::Unexpected { status: 409, .. }) => return Ok(None),
            Err(ForgeError::NotFound) => {
                return match self.read_repository(token, &repository).await? {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_text_and_nothing_else_is_one() {
        let position = Position::parse("organization.7").unwrap();
        assert_eq!((position.owner, position.page, position.cursor().as_str()), (NamespaceKind::Organization, 7, "organization.7"));
        for odd in ["", "user", "user.", "user.0", "user.-1", "user.1000000", "team.1", "user.1/../x", "https://evil.example/"] {
            assert!(Position::parse(odd).is_none(), "{odd}");
        }
    }
}
