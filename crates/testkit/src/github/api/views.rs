//! JSON shapes of GitHub's REST API and webhooks, written by hand from the official description.
//! Invariant: never through the product's client types, or one wrong field name would be wrong on both sides.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::github::state::{Account, AccountKind, HookRow, Repo, State, rfc3339};
use crate::github::tokens::Token;
use crate::github::types::{CommitStatus, ContentType, Delivery, OrgRole, Permission, Visibility};

/// Addresses of this provider.
#[derive(Clone)]
pub(crate) struct Urls {
    pub(crate) web: String,
    pub(crate) api: String,
}

/// A path or ref name as it stands inside an address.
pub(crate) fn encoded(path: &str) -> percent_encoding::PercentEncode<'_> {
    const KEEPING_SLASHES: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');
    percent_encoding::utf8_percent_encode(path, KEEPING_SLASHES)
}

pub(crate) fn node_id(kind: &str, id: u64) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{kind}{id}"))
}

fn node_id_of_text(kind: &str, text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{kind}{text}"))
}

pub(crate) fn insert(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

impl Urls {
    /// `simple-user`, also for organizations (`type` tells them apart).
    pub(crate) fn simple_user(&self, account: &Account) -> Value {
        let Account { id, login, .. } = account;
        let api = format!("{}/users/{login}", self.api);
        let kind = match account.kind {
            AccountKind::User(_) => "User",
            AccountKind::Organization(_) => "Organization",
        };
        json!({
            "login": login, "id": id, "node_id": node_id("U", *id),
            "avatar_url": format!("{}/avatars/u/{id}", self.web), "gravatar_id": "",
            "url": api, "html_url": format!("{}/{login}", self.web),
            "followers_url": format!("{api}/followers"),
            "following_url": format!("{api}/following{{/other_user}}"),
            "gists_url": format!("{api}/gists{{/gist_id}}"),
            "starred_url": format!("{api}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{api}/subscriptions"),
            "organizations_url": format!("{api}/orgs"), "repos_url": format!("{api}/repos"),
            "events_url": format!("{api}/events{{/privacy}}"),
            "received_events_url": format!("{api}/received_events"),
            "type": kind, "user_view_type": "public", "site_admin": false,
        })
    }

    /// `private-user` (`GET /user`) or `public-user`, as `private` says.
    pub(crate) fn user(&self, state: &State, account: &Account, view: Visibility) -> Value {
        let mut value = self.simple_user(account);
        let user = state.user(account.id);
        let owned =
            |visibility: Visibility| state.repos.values().filter(|repo| repo.owner == account.id && repo.visibility == visibility).count();
        insert(
            &mut value,
            json!({
                "name": user.map(|user| user.name.clone()), "company": null, "blog": "", "location": null,
                "email": user.map(|user| user.email.clone()), "notification_email": user.map(|user| user.email.clone()),
                "hireable": null, "bio": null, "twitter_username": null,
                "public_repos": owned(Visibility::Public), "public_gists": 0, "followers": 0, "following": 0,
                "created_at": rfc3339(account.created_ms), "updated_at": rfc3339(account.created_ms),
            }),
        );
        if view == Visibility::Private {
            let private = owned(Visibility::Private);
            insert(
                &mut value,
                json!({
                    "user_view_type": "private", "private_gists": 0,
                    "total_private_repos": private, "owned_private_repos": private, "disk_usage": 0,
                    "collaborators": 0, "two_factor_authentication": true,
                    "plan": { "name": "free", "space": 976_562_499, "collaborators": 0, "private_repos": 10_000 },
                }),
            );
        }
        value
    }

    /// `organization-simple`.
    pub(crate) fn organization(&self, account: &Account) -> Value {
        let Account { id, login, .. } = account;
        let api = format!("{}/orgs/{login}", self.api);
        json!({
            "login": login, "id": id, "node_id": node_id("O", *id), "url": api,
            "repos_url": format!("{api}/repos"), "events_url": format!("{api}/events"),
            "hooks_url": format!("{api}/hooks"), "issues_url": format!("{api}/issues"),
            "members_url": format!("{api}/members{{/member}}"),
            "public_members_url": format!("{api}/public_members{{/member}}"),
            "avatar_url": format!("{}/avatars/u/{id}", self.web), "description": "",
        })
    }

    /// `org-membership`.
    pub(crate) fn membership(&self, organization: &Account, user: &Account, role: OrgRole) -> Value {
        let api = format!("{}/orgs/{}", self.api, organization.login);
        let role = match role {
            OrgRole::Admin => "admin",
            OrgRole::Member => "member",
        };
        json!({
            "url": format!("{api}/memberships/{}", user.login), "state": "active", "role": role,
            "organization_url": api, "organization": self.organization(organization),
            "user": self.simple_user(user),
        })
    }

    /// The template addresses that every repository body carries.
    fn repository_urls(&self, full_name: &str) -> Map<String, Value> {
        const PARTS: &[(&str, &str)] = &[
            ("archive_url", "/{archive_format}{/ref}"),
            ("assignees_url", "/assignees{/user}"),
            ("blobs_url", "/git/blobs{/sha}"),
            ("branches_url", "/branches{/branch}"),
            ("collaborators_url", "/collaborators{/collaborator}"),
            ("comments_url", "/comments{/number}"),
            ("commits_url", "/commits{/sha}"),
            ("compare_url", "/compare/{base}...{head}"),
            ("contents_url", "/contents/{+path}"),
            ("contributors_url", "/contributors"),
            ("deployments_url", "/deployments"),
            ("downloads_url", "/downloads"),
            ("events_url", "/events"),
            ("forks_url", "/forks"),
            ("git_commits_url", "/git/commits{/sha}"),
            ("git_refs_url", "/git/refs{/sha}"),
            ("git_tags_url", "/git/tags{/sha}"),
            ("hooks_url", "/hooks"),
            ("issue_comment_url", "/issues/comments{/number}"),
            ("issue_events_url", "/issues/events{/number}"),
            ("issues_url", "/issues{/number}"),
            ("keys_url", "/keys{/key_id}"),
            ("labels_url", "/labels{/name}"),
            ("languages_url", "/languages"),
            ("merges_url", "/merges"),
            ("milestones_url", "/milestones{/number}"),
            ("notifications_url", "/notifications{?since,all,participating}"),
            ("pulls_url", "/pulls{/number}"),
            ("releases_url", "/releases{/id}"),
            ("stargazers_url", "/stargazers"),
            ("statuses_url", "/statuses/{sha}"),
            ("subscribers_url", "/subscribers"),
            ("subscription_url", "/subscription"),
            ("tags_url", "/tags"),
            ("teams_url", "/teams"),
            ("trees_url", "/git/trees{/sha}"),
        ];
        let api = format!("{}/repos/{full_name}", self.api);
        PARTS.iter().map(|(name, tail)| ((*name).to_owned(), json!(format!("{api}{tail}")))).collect()
    }

    /// `repository`: the fields that all repository shapes have.
    fn repository_base(&self, state: &State, repo: &Repo) -> Value {
        let full_name = state.full_name(repo);
        let owner = state.accounts.get(&repo.owner);
        let html = format!("{}/{full_name}", self.web);
        let private = repo.visibility == Visibility::Private;
        let host = self.web.split("://").nth(1).unwrap_or_default();
        let mut value = json!({
            "id": repo.id, "node_id": node_id("R", repo.id), "name": repo.name, "full_name": full_name,
            "private": private, "owner": owner.map(|owner| self.simple_user(owner)),
            "html_url": html, "description": repo.description, "fork": repo.is_fork,
            "url": format!("{}/repos/{full_name}", self.api),
            "created_at": rfc3339(repo.created_ms), "updated_at": rfc3339(repo.pushed_ms),
            "pushed_at": rfc3339(repo.pushed_ms),
            "git_url": format!("git://{host}/{full_name}.git"),
            "ssh_url": format!("git@{host}:{full_name}.git"),
            "clone_url": format!("{html}.git"), "svn_url": html,
        });
        let fixed = json!({
            "homepage": null, "size": 1,
            "stargazers_count": 0, "watchers_count": 0, "language": null, "has_issues": true,
            "has_projects": true, "has_downloads": true, "has_wiki": true, "has_pages": false,
            "has_discussions": false, "forks_count": 0, "mirror_url": null, "archived": repo.archived,
            "disabled": false, "open_issues_count": 0, "license": null, "allow_forking": true,
            "is_template": false, "web_commit_signoff_required": false, "topics": [],
            "visibility": if private { "private" } else { "public" },
            "forks": 0, "open_issues": 0, "watchers": 0, "default_branch": repo.default_branch,
        });
        insert(&mut value, fixed);
        insert(&mut value, Value::Object(self.repository_urls(&full_name)));
        value
    }

    /// `repository` / `minimal-repository` with the asking person's rights.
    pub(crate) fn repository(&self, state: &State, repo: &Repo, user: Option<u64>) -> Value {
        let mut value = self.repository_base(state, repo);
        if let Some(user) = user {
            let permission = state.permission(repo, user);
            value["permissions"] = json!({
                "admin": permission == Permission::Admin, "maintain": permission == Permission::Admin,
                "push": permission >= Permission::Write, "triage": permission >= Permission::Write,
                "pull": permission >= Permission::Read,
            });
        }
        value
    }

    /// `full-repository`.
    pub(crate) fn full_repository(&self, state: &State, repo: &Repo, user: Option<u64>) -> Value {
        let mut value = self.repository(state, repo, user);
        insert(&mut value, json!({ "network_count": 0, "subscribers_count": 1, "temp_clone_token": null }));
        if let (Some(_), Some(owner)) = (state.organization(repo.owner), state.accounts.get(&repo.owner)) {
            value["organization"] = self.simple_user(owner);
        }
        value
    }

    /// The repository inside a `push` payload: epoch seconds, and an owner with name and e-mail.
    pub(crate) fn pushed_repository(&self, state: &State, repo: &Repo) -> Value {
        let mut value = self.repository_base(state, repo);
        let login = state.login(repo.owner).to_owned();
        let email = state.user(repo.owner).map(|user| user.email.clone());
        insert(&mut value["owner"], json!({ "name": login, "email": email }));
        insert(
            &mut value,
            json!({
                "url": format!("{}/{}", self.web, state.full_name(repo)),
                "created_at": repo.created_ms / 1000, "pushed_at": repo.pushed_ms / 1000,
                "stargazers": 0, "master_branch": repo.default_branch,
            }),
        );
        if state.organization(repo.owner).is_some() {
            value["organization"] = json!(login);
        }
        value
    }

    /// `hook`, with the secret masked as GitHub does.
    pub(crate) fn hook(&self, full_name: &str, row: &HookRow) -> Value {
        let hook = &row.public;
        let url = format!("{}/repos/{full_name}/hooks/{}", self.api, hook.id);
        let (code, status, message) = &row.last_response;
        json!({
            "type": "Repository", "id": hook.id, "name": "web", "active": hook.active,
            "events": hook.events, "config": hook_config(row),
            "updated_at": rfc3339(row.updated_ms), "created_at": rfc3339(row.created_ms),
            "url": url, "test_url": format!("{url}/test"), "ping_url": format!("{url}/pings"),
            "deliveries_url": format!("{url}/deliveries"),
            "last_response": { "code": code, "status": status, "message": message },
        })
    }

    /// `status`.
    pub(crate) fn status(&self, state: &State, repo: &Repo, status: &CommitStatus) -> Value {
        let creator = state.accounts.get(&status.creator);
        json!({
            "url": format!("{}/repos/{}/statuses/{}", self.api, state.full_name(repo), status.sha),
            "avatar_url": format!("{}/avatars/u/{}", self.web, status.creator),
            "id": status.id, "node_id": node_id("SC", status.id), "state": status.state,
            "description": status.description, "target_url": status.target_url,
            "context": status.context, "created_at": rfc3339(status.created_ms),
            "updated_at": rfc3339(status.created_ms),
            "creator": creator.map(|creator| self.simple_user(creator)),
        })
    }

    /// `authorization`, the answer of the applications API.
    pub(crate) fn authorization(&self, state: &State, token: &Token) -> Value {
        let app = token.app.as_ref().and_then(|id| state.apps.get(id));
        let last_eight: String = token.value.chars().skip(token.value.len() - 8).collect();
        json!({
            "id": token.id, "url": format!("{}/authorizations/{}", self.api, token.id),
            "app": {
                "name": app.map(|app| app.name.clone()), "client_id": token.app,
                "url": app.map(|app| app.callback.to_string()),
            },
            "token": token.value, "hashed_token": super::sha256_hex(token.value.as_bytes()),
            "token_last_eight": last_eight, "note": null, "note_url": null,
            "created_at": rfc3339(token.created_ms), "updated_at": rfc3339(token.updated_ms),
            "scopes": token.scopes, "fingerprint": null, "expires_at": token.expires_ms.map(rfc3339),
            "user": state.accounts.get(&token.user).map(|user| self.simple_user(user)),
        })
    }

    /// `git-ref`.
    pub(crate) fn git_ref(&self, full_name: &str, name: &str, object: &str, kind: &str) -> Value {
        let api = format!("{}/repos/{full_name}/git", self.api);
        json!({
            "ref": name, "node_id": node_id_of_text("REF_", &format!("{full_name}:{name}")),
            "url": format!("{api}/{}", encoded(name)),
            "object": { "sha": object, "type": kind, "url": format!("{api}/{kind}s/{object}") },
        })
    }

    /// `short-branch`.
    pub(crate) fn branch(&self, full_name: &str, name: &str, sha: &str) -> Value {
        let commit = format!("{}/repos/{full_name}/commits/{sha}", self.api);
        json!({ "name": name, "commit": { "sha": sha, "url": commit }, "protected": false })
    }

    /// `tag`, with the commit that the tag comes to in the end.
    pub(crate) fn tag(&self, full_name: &str, name: &str, sha: &str) -> Value {
        let api = format!("{}/repos/{full_name}", self.api);
        json!({
            "name": name,
            "zipball_url": format!("{api}/zipball/refs/tags/{}", encoded(name)),
            "tarball_url": format!("{api}/tarball/refs/tags/{}", encoded(name)),
            "commit": { "sha": sha, "url": format!("{api}/commits/{sha}") },
            "node_id": node_id_of_text("REF_", &format!("{full_name}:refs/tags/{name}")),
        })
    }
}

/// `webhook-config`.
pub(crate) fn hook_config(row: &HookRow) -> Value {
    let hook = &row.public;
    let content_type = match hook.content_type {
        ContentType::Form => "form",
        ContentType::Json => "json",
    };
    let mut config = json!({ "content_type": content_type, "insecure_ssl": hook.insecure_ssl, "url": hook.url });
    if hook.secret.is_some() {
        config["secret"] = json!("********");
    }
    config
}

/// `hook-delivery-item`.
pub(crate) fn delivery_item(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id, "guid": delivery.guid, "delivered_at": rfc3339(delivery.delivered_ms),
        "redelivery": delivery.redelivery, "duration": delivery.duration, "status": delivery.status,
        "status_code": delivery.status_code, "event": delivery.event, "action": delivery.action,
        "installation_id": delivery.installation_id, "repository_id": delivery.repository_id, "throttled_at": null,
    })
}

/// `hook-delivery`: an item with request and answer.
pub(crate) fn delivery(url: &str, delivery: &Delivery) -> Value {
    let headers = |list: &[(String, String)]| -> Value {
        list.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>().into()
    };
    let mut value = delivery_item(delivery);
    insert(
        &mut value,
        json!({
            "url": url,
            "request": { "headers": headers(&delivery.request_headers), "payload": delivery.payload },
            "response": { "headers": headers(&delivery.response_headers), "payload": delivery.response_body },
        }),
    );
    value
}
