//! Repositories: a namespace's, page by page, and one by its name or its id.
//!
//! Invariant: identities are the numeric ids; an answer with another id than was asked for is no answer.

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::app::TokenUse;
use super::{FullName, GitHub, is_id, is_name};
use crate::error::ForgeError;
use crate::http_client::Reply;
use crate::text;
use crate::types::{Page, SourceRepository};

#[derive(Deserialize)]
struct Owner {
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
    /// Of whoever asks.
    #[serde(default)]
    permissions: Permissions,
}

#[derive(Deserialize, Default)]
struct Permissions {
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    push: bool,
}

/// The repositories of an installation come in an object.
#[derive(Deserialize)]
struct InstalledPage {
    repositories: Vec<Repository>,
}

/// Which list of GitHub is read, and the page: the text form is our cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Position {
    list: List,
    page: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    Person,
    Organization,
    /// What an App's installation reaches.
    Installation(u64),
}

impl Position {
    fn parse(cursor: &str) -> Option<Self> {
        let (list, page) = cursor.split_once('.')?;
        let list = match list {
            "user" => List::Person,
            "organization" => List::Organization,
            _ => List::Installation(list.parse().ok()?),
        };
        Some(Self { list, page: page.parse().ok().filter(|page| (1..=100_000).contains(page))? })
    }

    fn cursor(self) -> String {
        match self.list {
            List::Person => format!("user.{}", self.page),
            List::Organization => format!("organization.{}", self.page),
            List::Installation(id) => format!("{id}.{}", self.page),
        }
    }
}

impl GitHub {
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
            None => Position { list: self.list_for(token, namespace).await?, page: 1 },
        };
        let reply = self.get(token, self.repositories_address(namespace, position)).await?;
        let page: Vec<Repository> = match position.list {
            List::Installation(_) => reply.json::<InstalledPage>()?.repositories,
            List::Person | List::Organization => reply.json()?,
        };
        let items = page.into_iter().map(|repository| self.source_repository_of(&reply, repository)).collect::<Result<Vec<_>, _>>()?;
        let more = reply.next_page()?.is_some();
        position.page += 1;
        Ok(Page { items, next: more.then(|| position.cursor()) })
    }

    async fn list_for(&self, token: &SecretString, namespace: &str) -> Result<List, ForgeError> {
        if let Some(app) = &self.app {
            return Ok(List::Installation(self.installation_of(app, token, namespace).await?));
        }
        let user: Owner = self.get(token, self.api_address(["user"])).await?.json()?;
        Ok(if user.login.eq_ignore_ascii_case(namespace) { List::Person } else { List::Organization })
    }

    fn repositories_address(&self, namespace: &str, position: Position) -> Url {
        let (mut url, filter): (Url, &[(&str, &str)]) = match position.list {
            List::Person => (self.api_address(["user", "repos"]), &[("affiliation", "owner"), ("sort", "full_name")]),
            List::Organization => (self.api_address(["orgs", namespace, "repos"]), &[("type", "all"), ("sort", "full_name")]),
            List::Installation(id) => (self.installed_repositories_address(id), &[]),
        };
        url.query_pairs_mut().extend_pairs(filter).append_pair("per_page", "100").append_pair("page", &position.page.to_string());
        url
    }

    pub(super) async fn repository_by_name(
        &self,
        token: &SecretString,
        name: FullName<'_>,
    ) -> Result<Option<SourceRepository>, ForgeError> {
        self.read_repository(token, &["repos", name.owner, name.name]).await
    }

    /// GitHub redirects a former name to this address, so it is the one that outlives renames and transfers.
    pub(super) async fn repository_by_id(&self, token: &SecretString, id: &str) -> Result<Option<SourceRepository>, ForgeError> {
        if !is_id(id) {
            return Ok(None);
        }
        let found = self.read_repository(token, &["repositories", id]).await?;
        Ok(found.filter(|repository| repository.id == id))
    }

    /// What the person could do by hand to the repository with that id; what GitHub does not say is no.
    pub(super) async fn use_by_rights(&self, token: &SecretString, id: &str) -> Result<TokenUse, ForgeError> {
        match self.get(token, self.api_address(["repositories", id])).await {
            Ok(reply) => {
                let found: Repository = reply.json()?;
                Ok(match found.permissions {
                    _ if found.id.to_string() != id => TokenUse::Clone,
                    Permissions { admin: true, .. } => TokenUse::Manage,
                    Permissions { push: true, .. } => TokenUse::Report,
                    _ => TokenUse::Clone,
                })
            }
            Err(ForgeError::NotFound) => Ok(TokenUse::Clone),
            Err(error) => Err(error),
        }
    }

    async fn read_repository(&self, token: &SecretString, path: &[&str]) -> Result<Option<SourceRepository>, ForgeError> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_text_and_nothing_else_is_one() {
        for (text, list) in [
            ("user.1", List::Person),
            ("organization.7", List::Organization),
            ("4200000000000.100000", List::Installation(4_200_000_000_000)),
        ] {
            let position = Position::parse(text).unwrap();
            assert_eq!((position.list, position.cursor().as_str()), (list, text));
        }
        for odd in
            ["", "user", "user.", "user.0", "user.-1", "user.1000000", "team.1", "-1.1", "1.0", "user.1/../x", "https://evil.example/"]
        {
            assert!(Position::parse(odd).is_none(), "{odd}");
        }
    }
}
