//! Persons and workspaces.
//!
//! Invariant: the uuid is the identity; nickname, display name and slug are display.

use secrecy::SecretString;
use serde::Deserialize;
use slipway_model::NamespaceAccess;
use url::Url;

use super::{Bitbucket, is_name, is_uuid};
use crate::credentials::split_scopes;
use crate::error::ForgeError;
use crate::http_client::Reply;
use crate::text;
use crate::types::{Fresh, NamespaceKind, Person, SourceNamespace};

/// 1,000 workspaces.
const MAX_PAGES: usize = 10;

#[derive(Deserialize)]
struct User {
    uuid: String,
    nickname: Option<String>,
    username: Option<String>,
    display_name: Option<String>,
    #[serde(default)]
    links: Links,
}

#[derive(Deserialize, Default)]
struct Links {
    avatar: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<String>,
}

/// An entry of `/user/workspaces`.
#[derive(Deserialize)]
struct Membership {
    workspace: Workspace,
    #[serde(default)]
    administrator: bool,
}

#[derive(Deserialize)]
struct Workspace {
    uuid: String,
    slug: String,
}

impl User {
    /// The workspace that came with an account is called as the account was then, and Bitbucket says so nowhere else. Names of accounts
    /// are not unique, so only a workspace that the person administrates counts.
    fn is_called(&self, slug: &str) -> bool {
        [&self.username, &self.nickname].into_iter().flatten().any(|name| name.eq_ignore_ascii_case(slug))
    }
}

impl Bitbucket {
    pub(super) async fn read_person(&self, token: &SecretString, known: Option<&str>) -> Result<Fresh<Person>, ForgeError> {
        match self.get_fresh(token, self.api_address(["user"]), known).await {
            // With the scope for it, everybody may ask who they are, but who is shut out.
            Err(ForgeError::Forbidden { detail }) => Err(ForgeError::Suspended { detail }),
            Err(error) => Err(error),
            Ok(Fresh::Unchanged) => Ok(Fresh::Unchanged),
            Ok(Fresh::Changed { value: reply, marker }) => {
                let user: User = self.read_object(token, &reply)?;
                Ok(Fresh::Changed { value: person_of(&reply, user)?, marker })
            }
        }
    }

    /// The workspaces of the person, its own first. Bitbucket has no approval of applications by a workspace: who is a member has access.
    pub(super) async fn list_workspaces(&self, token: &SecretString) -> Result<Vec<SourceNamespace>, ForgeError> {
        let user: User = self.get(token, self.api_address(["user"])).await?;
        let listing = self.list::<Membership>(token, self.list_address(["user", "workspaces"]), MAX_PAGES).await?;
        if listing.truncated {
            tracing::warn!(provider = %self.provider.id, "a person has more workspaces than are listed");
        }
        let mut namespaces = Vec::with_capacity(listing.items.len());
        for Membership { workspace, administrator } in listing.items {
            if !is_uuid(&workspace.uuid) || !is_name(&workspace.slug) {
                let detail = "a workspace came without a usable `uuid` or `slug`".to_owned();
                return Err(ForgeError::Unexpected { status: 200, detail });
            }
            let own = workspace.uuid.eq_ignore_ascii_case(&user.uuid) || (administrator && user.is_called(&workspace.slug));
            namespaces.push(SourceNamespace {
                id: workspace.uuid,
                name: workspace.slug,
                kind: if own { NamespaceKind::User } else { NamespaceKind::Organization },
                access: NamespaceAccess::Granted,
                grant_url: Some(self.web_address(["account", "settings", "app-authorizations", ""])),
                note: None,
            });
        }
        namespaces.sort_by_key(|namespace| namespace.kind != NamespaceKind::User);
        Ok(namespaces)
    }
}

fn person_of(reply: &Reply, user: User) -> Result<Person, ForgeError> {
    if !is_uuid(&user.uuid) {
        return Err(reply.unexpected("the person came without a usable `uuid`".to_owned()));
    }
    let shown = |text: Option<String>| text.map(|text| text::line(&text, 200)).filter(|text| !text.is_empty());
    let name = shown(user.display_name);
    let login = shown(user.nickname).or_else(|| shown(user.username)).or_else(|| name.clone()).unwrap_or_else(|| user.uuid.clone());
    let avatar = user.links.avatar.and_then(|link| link.href).and_then(|text| Url::parse(&text).ok());
    Ok(Person {
        id: user.uuid,
        login,
        name,
        avatar_url: avatar.filter(|url| matches!(url.scheme(), "https" | "http")),
        scopes: split_scopes(reply.header("x-oauth-scopes").unwrap_or_default()),
    })
}
