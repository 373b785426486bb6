//! What people and administrators do at the provider: accounts, repositories, applications, and looking at what came of them.
//! Invariant: everything is asked of Gitea's own API; names are percent-encoded where they stand in a path.

use anyhow::{Context as _, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ADMINISTRATOR, Gitea};
use crate::github::{OAuthApp, OrgRole, Permission, Visibility};

/// What a new repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Not even a branch.
    Empty,
    /// One commit with a README on `main`.
    FirstCommit,
}

/// What a member of a team may do with all repositories of the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Owner of the organization.
    Owner,
    /// Administers the repositories, with their webhooks and keys.
    Admin,
    /// Pushes.
    Write,
    /// Reads.
    Read,
}

impl From<OrgRole> for Role {
    fn from(role: OrgRole) -> Self {
        match role {
            OrgRole::Admin => Self::Owner,
            OrgRole::Member => Self::Read,
        }
    }
}

/// The password of a user that `Gitea::user` made.
pub fn user_password(login: &str) -> String {
    format!("{login}-password")
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// `owner/name` as a path.
fn path_of(full_name: &str) -> String {
    full_name.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn id_of(answer: &Value) -> Result<u64> {
    answer["id"].as_u64().with_context(|| format!("Gitea gave no id: {answer}"))
}

impl Gitea {
    /// Adds a person and returns the id; the password is `user_password(login)`, the e-mail `login@users.example`.
    pub async fn user(&self, login: &str) -> Result<u64> {
        let body = json!({
            "username": login,
            "email": format!("{login}@users.example"),
            "password": user_password(login),
            "must_change_password": false,
        });
        id_of(&self.api(Method::POST, "/admin/users", Some(body)).await?)
    }

    /// Adds an organization that belongs to `owner` and returns its id.
    pub async fn organization(&self, name: &str, owner: &str, visibility: Visibility) -> Result<u64> {
        let visibility = if visibility == Visibility::Public { "public" } else { "private" };
        let body = json!({ "username": name, "visibility": visibility });
        id_of(&self.api(Method::POST, &format!("/admin/users/{}/orgs", segment(owner)), Some(body)).await?)
    }

    /// Puts a person into the organization's team of that role, which is made when there is none.
    pub async fn add_member(&self, organization: &str, login: &str, role: Role) -> Result<()> {
        let (team, permission) = match role {
            Role::Owner => ("Owners", "owner"),
            Role::Admin => ("administrators", "admin"),
            Role::Write => ("writers", "write"),
            Role::Read => ("readers", "read"),
        };
        let teams_path = format!("/orgs/{}/teams", segment(organization));
        let teams = self.api(Method::GET, &teams_path, None).await?;
        let found = teams.as_array().into_iter().flatten().find(|one| one["name"] == team).map(id_of).transpose()?;
        let id = match found {
            Some(id) => id,
            None => {
                let units: serde_json::Map<_, _> =
                    ["repo.code", "repo.pulls"].into_iter().map(|unit| (unit.to_owned(), json!(permission))).collect();
                let body = json!({
                    "name": team, "permission": permission, "includes_all_repositories": true, "units_map": units,
                });
                id_of(&self.api(Method::POST, &teams_path, Some(body)).await?)?
            }
        };
        self.api(Method::PUT, &format!("/teams/{id}/members/{}", segment(login)), None).await.map(drop)
    }

    /// Takes a person out of all teams of an organization.
    pub async fn remove_member(&self, organization: &str, login: &str) -> Result<()> {
        self.api(Method::DELETE, &format!("/orgs/{}/members/{}", segment(organization), segment(login)), None).await.map(drop)
    }

    /// Gives a person a right on one repository, or takes it away.
    pub async fn collaborator(&self, full_name: &str, login: &str, permission: Permission) -> Result<()> {
        let path = format!("/repos/{}/collaborators/{}", path_of(full_name), segment(login));
        let word = match permission {
            Permission::None => return self.api(Method::DELETE, &path, None).await.map(drop),
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Admin => "admin",
        };
        self.api(Method::PUT, &path, Some(json!({ "permission": word }))).await.map(drop)
    }

    /// Locks a person out: every token of theirs is refused until it is lifted.
    pub async fn prohibit_login(&self, login: &str) -> Result<()> {
        let body = json!({ "login_name": login, "source_id": 0, "prohibit_login": true });
        self.api(Method::PATCH, &format!("/admin/users/{}", segment(login)), Some(body)).await.map(drop)
    }

    /// Gives a person another name. The repositories move along.
    pub async fn rename_user(&self, login: &str, new_name: &str) -> Result<()> {
        let body = json!({ "new_username": new_name });
        self.api(Method::POST, &format!("/admin/users/{}/rename", segment(login)), Some(body)).await.map(drop)
    }

    /// Gives an organization another name. The repositories move along.
    pub async fn rename_organization(&self, name: &str, new_name: &str) -> Result<()> {
        self.api(Method::POST, &format!("/orgs/{}/rename", segment(name)), Some(json!({ "new_name": new_name }))).await.map(drop)
    }

    /// Makes a repository (the owner is a person or an organization) and returns its id.
    pub async fn repository(&self, full_name: &str, visibility: Visibility, contents: Contents) -> Result<u64> {
        let (owner, name) = full_name.split_once('/').with_context(|| format!("`{full_name}` is no `owner/name`"))?;
        let body = json!({
            "name": name,
            "private": visibility == Visibility::Private,
            "auto_init": contents == Contents::FirstCommit,
            "default_branch": "main",
        });
        id_of(&self.api(Method::POST, &format!("/admin/users/{}/repos", segment(owner)), Some(body)).await?)
    }

    /// A repository as the API shows it.
    pub async fn read_repository(&self, full_name: &str) -> Result<Value> {
        self.api(Method::GET, &format!("/repos/{}", path_of(full_name)), None).await
    }

    /// The id of a repository.
    pub async fn repository_id(&self, full_name: &str) -> Result<u64> {
        id_of(&self.read_repository(full_name).await?)
    }

    async fn edit_repository(&self, full_name: &str, body: Value) -> Result<()> {
        self.api(Method::PATCH, &format!("/repos/{}", path_of(full_name)), Some(body)).await.map(drop)
    }

    /// Gives a repository another name; the old one leads to it.
    pub async fn rename_repository(&self, full_name: &str, new_name: &str) -> Result<()> {
        self.edit_repository(full_name, json!({ "name": new_name })).await
    }

    /// Gives a repository to another owner, at once.
    pub async fn transfer_repository(&self, full_name: &str, new_owner: &str) -> Result<()> {
        let body = json!({ "new_owner": new_owner });
        self.api(Method::POST, &format!("/repos/{}/transfer", path_of(full_name)), Some(body)).await.map(drop)
    }

    /// Deletes a repository. The name is free again.
    pub async fn delete_repository(&self, full_name: &str) -> Result<()> {
        self.api(Method::DELETE, &format!("/repos/{}", path_of(full_name)), None).await.map(drop)
    }

    /// Shows a repository to everybody, or to its own people only.
    pub async fn set_visibility(&self, full_name: &str, visibility: Visibility) -> Result<()> {
        self.edit_repository(full_name, json!({ "private": visibility == Visibility::Private })).await
    }

    /// Makes another branch the default one.
    pub async fn set_default_branch(&self, full_name: &str, branch: &str) -> Result<()> {
        self.edit_repository(full_name, json!({ "default_branch": branch })).await
    }

    /// Makes a repository read-only.
    pub async fn archive_repository(&self, full_name: &str) -> Result<()> {
        self.edit_repository(full_name, json!({ "archived": true })).await
    }

    /// Registers a confidential OAuth2 application with one callback address.
    pub async fn oauth_app(&self, name: &str, callback: &str) -> Result<OAuthApp> {
        let body = json!({ "name": name, "redirect_uris": [callback], "confidential_client": true });
        let answer = self.api(Method::POST, "/user/applications/oauth2", Some(body)).await?;
        let text = |field: &str| answer[field].as_str().map(str::to_owned).with_context(|| format!("Gitea gave no `{field}`"));
        Ok(OAuthApp { client_id: text("client_id")?, client_secret: text("client_secret")? })
    }

    /// Gitea's number of an application, which stands in the addresses of its pages.
    pub(super) async fn application_number(&self, client_id: &str) -> Result<u64> {
        let all = self.api(Method::GET, "/user/applications/oauth2?limit=50", None).await?;
        let found = all.as_array().into_iter().flatten().find(|one| one["client_id"] == client_id);
        id_of(found.with_context(|| format!("`{ADMINISTRATOR}` has no application `{client_id}`"))?)
    }

    /// The webhooks of a repository as the API shows them.
    pub async fn hooks(&self, full_name: &str) -> Result<Vec<Value>> {
        self.list(&format!("/repos/{}/hooks", path_of(full_name))).await
    }

    /// Makes a webhook of the body that the API takes, and returns its id.
    pub async fn add_hook(&self, full_name: &str, body: Value) -> Result<u64> {
        id_of(&self.api(Method::POST, &format!("/repos/{}/hooks", path_of(full_name)), Some(body)).await?)
    }

    /// Deletes a webhook behind everybody's back.
    pub async fn delete_hook(&self, full_name: &str, hook: u64) -> Result<()> {
        self.api(Method::DELETE, &format!("/repos/{}/hooks/{hook}", path_of(full_name)), None).await.map(drop)
    }

    /// Asks for a test delivery of a webhook, which says `push` of a ref that did not move.
    pub async fn test_hook(&self, full_name: &str, hook: u64) -> Result<()> {
        self.api(Method::POST, &format!("/repos/{}/hooks/{hook}/tests", path_of(full_name)), None).await.map(drop)
    }

    /// The deploy keys of a repository as the API shows them.
    pub async fn deploy_keys(&self, full_name: &str) -> Result<Vec<Value>> {
        self.list(&format!("/repos/{}/keys", path_of(full_name))).await
    }

    async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let answer = self.api(Method::GET, &format!("{path}?limit=50"), None).await?;
        answer.as_array().cloned().with_context(|| format!("`{path}` is no list"))
    }
}
