//! What we read of Gitea's API: people, namespaces, repositories.
//!
//! Invariant: identities are the numeric ids; addresses of pages are never those in an answer.

use http::header::DATE;
use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::NamespaceAccess;
use url::Url;

use super::oauth::PUBLIC_ONLY;
use super::wire::page_address;
use super::{FullName, Gitea, is_name};
use crate::error::ForgeError;
use crate::http_client::Reply;
use crate::text;
use crate::types::{NamespaceKind, Page, Person, SourceNamespace, SourceRepository};

/// Gitea writes the time of a change in whole seconds: younger than this, and another change may still get the same time.
const SETTLED_SECONDS: i64 = 5;

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    full_name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct Organization {
    id: u64,
    /// Missing before 1.18, which has only `username`.
    name: Option<String>,
    username: Option<String>,
    #[serde(default)]
    visibility: String,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    full_name: String,
    #[serde(default)]
    default_branch: String,
    private: bool,
    #[serde(default)]
    archived: bool,
    updated_at: Option<String>,
}

impl Gitea {
    async fn read_user(&self, token: &SecretString) -> Result<User, ForgeError> {
        self.get(token, self.api_address(["user"])).await?.json()
    }

    pub(super) async fn read_person(&self, token: &SecretString) -> Result<Person, ForgeError> {
        let user = self.read_user(token).await?;
        Ok(Person {
            id: user.id.to_string(),
            login: text::line(&user.login, 100),
            name: user.full_name.map(|name| text::line(&name, 200)).filter(|name| !name.is_empty()),
            avatar_url: user.avatar_url.and_then(|text| Url::parse(&text).ok()).filter(|url| matches!(url.scheme(), "https" | "http")),
            scopes: self.granted_scopes(token).await?,
        })
    }

    pub(super) async fn list_namespaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError> {
        let user = self.read_user(token).await?;
        let organizations = self.list::<Organization>(token, &self.api_address(["user", "orgs"])).await?;
        if organizations.truncated {
            tracing::warn!(provider = %self.provider.id, "a person has more organizations than are listed");
        }
        // Gitea lists private organizations to a grant that is limited to public ones, and then refuses everything in them.
        let limited = self.granted_scopes(token).await?.iter().any(|scope| scope == PUBLIC_ONLY);
        let mut namespaces = vec![SourceNamespace {
            id: user.id.to_string(),
            name: text::line(&user.login, 100),
            kind: NamespaceKind::User,
            access: NamespaceAccess::Granted,
            grant_url: None,
            note: None,
        }];
        namespaces.extend(organizations.items.into_iter().map(|organization| self.namespace_of(organization, limited)));
        Ok(namespaces)
    }

    fn namespace_of(&self, organization: Organization, limited: bool) -> SourceNamespace {
        let name = organization.name.or(organization.username).unwrap_or_default();
        let shut = limited && organization.visibility != "public";
        SourceNamespace {
            id: organization.id.to_string(),
            name: text::line(&name, 100),
            kind: NamespaceKind::Organization,
            access: if shut { NamespaceAccess::Restricted } else { NamespaceAccess::Granted },
            grant_url: shut.then(|| <Self as crate::Forge>::app_settings_url(self)),
            note: shut.then(|| {
                "the grant is limited to what everybody sees, and this organization is not public: revoke it there and link anew".to_owned()
            }),
        }
    }

    /// The cursor is the number of the page. Gitea sorts this list by id. Its total says nothing: it counts what is not shown, too.
    pub(super) async fn list_repositories(
        &self,
        token: &SecretString,
        namespace: &str,
        cursor: Option<&str>,
    ) -> Result<Page<SourceRepository>, ForgeError> {
        if !is_name(namespace) {
            return Err(ForgeError::NotFound);
        }
        let page: u32 = match cursor {
            None => 1,
            Some(cursor) => cursor
                .parse()
                .ok()
                .filter(|page| (1..=1_000_000).contains(page))
                .ok_or_else(|| ForgeError::Unexpected { status: 400, detail: "the cursor is not one of ours".to_owned() })?,
        };
        // Organizations are accounts, too, so this one list does for both.
        let reply = self.get(token, page_address(self.api_address(["users", namespace, "repos"]), page)).await?;
        let found: Vec<Repository> = reply.json()?;
        let items = found.into_iter().map(|repository| self.source_repository_of(&reply, repository)).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { items, next: reply.has_next_page().then(|| (page + 1).to_string()) })
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
            pushed: repository.updated_at.filter(|at| is_settled(at, reply.header(DATE.as_str()))).map(|at| text::line(&at, 60)),
            full_name: repository.full_name,
        })
    }
}

/// Whether no further change can get the time `at`, by the server's own clock.
fn is_settled(at: &str, date: Option<&str>) -> bool {
    let now = date.and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    match (at.parse::<jiff::Timestamp>(), now) {
        (Ok(at), Some(now)) => now.as_second() - at.as_second() >= SETTLED_SECONDS,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_marks_a_state_only_once_nothing_else_can_get_it() {
        let now = Some("Fri, 27 Nov 2026 04:24:31 GMT");
        assert!(is_settled("2026-11-27T04:24:26Z", now) && is_settled("2026-11-27T05:24:26+01:00", now));
        assert!(!is_settled("2026-11-27T04:24:27Z", now) && !is_settled("2026-11-27T05:24:26Z", now));
        assert!(
            !is_settled("yesterday", now) && !is_settled("2026-11-27T04:24:26Z", None) && !is_settled("2026-11-27T04:24:26Z", Some("x"))
        );
    }
}
