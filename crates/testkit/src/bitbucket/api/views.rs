//! JSON shapes of the API and of webhook payloads: pure functions of the state and of what git said.
//! Invariant: addresses are built from uuids or current slugs; nothing has a field that neither the description nor a recording has.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::bitbucket::state::{HookRow, KeyRow, Person, Repo, State, Workspace, date};
use crate::bitbucket::types::BuildStatus;
use crate::provider::git::{CommitInfo, Signature, TagInfo};

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A path segment, encoded.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Base addresses; on this fake both are one.
pub(crate) struct Urls {
    pub(crate) web: String,
}

fn link(href: String) -> Value {
    json!({ "href": href })
}

/// First line of a message as Bitbucket renders it.
fn summary(message: &str) -> Value {
    let html = crate::provider::escape(message.trim_end());
    json!({ "raw": message, "markup": "markdown", "html": format!("<p>{html}</p>") })
}

impl Urls {
    pub(crate) fn api(&self) -> String {
        format!("{}/2.0", self.web)
    }

    pub(crate) fn person(&self, person: &Person) -> Value {
        let id = encoded(&person.uuid);
        json!({
            "type": "user", "uuid": person.uuid, "account_id": person.account_id,
            "nickname": person.nickname, "display_name": person.display_name,
            "links": {
                "self": link(format!("{}/users/{id}", self.api())),
                "html": link(format!("{}/{id}/", self.web)),
                "avatar": link(format!("{}/avatars/{id}", self.web)),
            },
        })
    }

    /// `GET /2.0/user`: more than others see.
    pub(crate) fn current_person(&self, person: &Person) -> Value {
        let mut value = self.person(person);
        value["created_on"] = json!(date(person.created_ms));
        value["is_staff"] = json!(false);
        value["account_status"] = json!("active");
        value["links"]["repositories"] = link(format!("{}/repositories/{}", self.api(), encoded(&person.uuid)));
        value
    }

    pub(crate) fn workspace_base(&self, workspace: &Workspace) -> Value {
        json!({
            "type": "workspace_base", "uuid": workspace.uuid, "slug": workspace.slug,
            "links": {
                "avatar": link(format!("{}/workspaces/{}/avatar/", self.web, workspace.slug)),
                "self": link(format!("{}/workspaces/{}", self.api(), workspace.slug)),
            },
        })
    }

    fn workspace_short(&self, workspace: &Workspace) -> Value {
        json!({
            "type": "workspace", "uuid": workspace.uuid, "slug": workspace.slug, "name": workspace.name,
            "links": {
                "self": link(format!("{}/workspaces/{}", self.api(), workspace.slug)),
                "html": link(format!("{}/{}/", self.web, workspace.slug)),
                "avatar": link(format!("{}/workspaces/{}/avatar/", self.web, workspace.slug)),
            },
        })
    }

    pub(crate) fn workspace(&self, workspace: &Workspace) -> Value {
        let mut value = self.workspace_short(workspace);
        value["is_private"] = json!(false);
        value["created_on"] = json!(date(workspace.created_ms));
        value
    }

    fn owner(&self, state: &State, workspace: &Workspace) -> Value {
        match workspace.personal_of.as_ref().and_then(|person| state.people.get(person)) {
            Some(person) => self.person(person),
            None => json!({
                "type": "team", "uuid": workspace.uuid, "display_name": workspace.name,
                "links": {
                    "self": link(format!("{}/workspaces/{}", self.api(), encoded(&workspace.uuid))),
                    "html": link(format!("{}/{}/", self.web, workspace.slug)),
                    "avatar": link(format!("{}/workspaces/{}/avatar/", self.web, workspace.slug)),
                },
            }),
        }
    }

    pub(crate) fn repository_api(&self, full_name: &str) -> String {
        format!("{}/repositories/{full_name}", self.api())
    }

    /// A repository inside of something else.
    pub(crate) fn repository_short(&self, state: &State, repo: &Repo) -> Value {
        let full_name = state.full_name(repo);
        json!({
            "type": "repository", "uuid": repo.uuid, "name": repo.name, "full_name": full_name,
            "links": {
                "self": link(self.repository_api(&full_name)),
                "html": link(format!("{}/{full_name}", self.web)),
                "avatar": link(format!("{}/ravatar/{}?ts=default", self.web, encoded(&repo.uuid))),
            },
        })
    }

    /// A repository; `reader` is whose name stands in the clone address.
    pub(crate) fn repository(&self, state: &State, repo: &Repo, reader: Option<&str>) -> Value {
        let full_name = state.full_name(repo);
        let workspace = state.workspaces.get(&repo.workspace);
        let mut value = self.repository_short(state, repo);
        let own = self.repository_api(&full_name);
        for name in ["pullrequests", "commits", "forks", "watchers", "downloads", "hooks"] {
            value["links"][name] = link(format!("{own}/{name}"));
        }
        let host = self.web.trim_start_matches("http://");
        let who = reader.map_or_else(String::new, |nickname| format!("{}@", encoded(nickname)));
        value["links"]["clone"] = json!([
            { "name": "https", "href": format!("http://{who}{host}/{full_name}.git") },
            { "name": "ssh", "href": format!("ssh://git@{host}/{full_name}.git") },
        ]);
        let more = json!({
            "scm": "git", "website": "", "slug": repo.slug, "is_private": repo.private, "description": repo.description,
            "language": "", "size": 0, "has_issues": false, "has_wiki": false, "fork_policy": "allow_forks", "parent": null,
            "created_on": date(repo.created_ms), "updated_on": date(repo.updated_ms),
            "mainbranch": if repo.empty { Value::Null } else { json!({ "type": "branch", "name": repo.main_branch }) },
            "owner": workspace.map(|workspace| self.owner(state, workspace)),
            "workspace": workspace.map(|workspace| self.workspace_short(workspace)),
            "project": workspace.map(|workspace| self.project(workspace)),
        });
        merge(&mut value, more);
        value
    }

    fn project(&self, workspace: &Workspace) -> Value {
        // Every workspace has one project; its uuid is made of the workspace's, so that it stays.
        let uuid = format!("{{00000000{}", workspace.uuid.get(9..).unwrap_or("-0000-0000-0000-000000000000}"));
        let page = format!("{}/{}/workspace/projects/PROJ", self.web, workspace.slug);
        json!({
            "type": "project", "key": "PROJ", "uuid": uuid, "name": "Untitled project",
            "links": { "html": link(page.clone()), "avatar": link(format!("{page}/avatar/32")) },
        })
    }

    fn author(&self, state: &State, signature: &Signature) -> Value {
        let mut value = json!({ "type": "author", "raw": format!("{} <{}>", signature.name, signature.email) });
        if let Some(person) = state.people.values().find(|person| person.email == signature.email) {
            value["user"] = self.person(person);
        }
        value
    }

    fn commit_short(&self, full_name: &str, sha: &str) -> Value {
        json!({
            "type": "commit", "hash": sha,
            "links": {
                "self": link(format!("{}/commit/{sha}", self.repository_api(full_name))),
                "html": link(format!("{}/{full_name}/commits/{sha}", self.web)),
            },
        })
    }

    pub(crate) fn commit(&self, state: &State, full_name: &str, commit: &CommitInfo) -> Value {
        let mut value = self.commit_short(full_name, &commit.sha);
        let own = format!("{}/commit/{}", self.repository_api(full_name), commit.sha);
        for name in ["comments", "approve", "statuses"] {
            value["links"][name] = link(format!("{own}/{name}"));
        }
        for name in ["patch", "diff"] {
            value["links"][name] = link(format!("{}/{name}/{}", self.repository_api(full_name), commit.sha));
        }
        // Git's messages end with a line end, and Bitbucket shows them as they are.
        let message = format!("{}\n", commit.message);
        let parents: Vec<Value> = commit.parents.iter().map(|parent| self.commit_short(full_name, parent)).collect();
        let more = json!({
            "date": commit.committer.date, "author": self.author(state, &commit.author),
            "message": message, "summary": summary(&message), "parents": parents,
        });
        merge(&mut value, more);
        value
    }

    /// A branch or a tag at its commit.
    pub(crate) fn reference(&self, state: &State, repo: &Repo, name: &str, commit: &CommitInfo, tag: Option<&TagInfo>) -> Value {
        let full_name = state.full_name(repo);
        let (is_tag, short) = match name.strip_prefix("refs/tags/") {
            Some(short) => (true, short),
            None => (false, name.strip_prefix("refs/heads/").unwrap_or(name)),
        };
        let in_url = encoded(short);
        let (list, page) = if is_tag { ("tags", "commits/tag") } else { ("branches", "branch") };
        let own = self.repository_api(&full_name);
        let mut target = self.commit(state, &full_name, commit);
        target["repository"] = self.repository_short(state, repo);
        let mut value = json!({
            "type": if is_tag { "tag" } else { "branch" }, "name": short, "target": target,
            "links": {
                "self": link(format!("{own}/refs/{list}/{in_url}")),
                "commits": link(format!("{own}/commits/{in_url}")),
                "html": link(format!("{}/{full_name}/{page}/{in_url}", self.web)),
            },
        });
        let more = if is_tag {
            json!({
                "message": tag.map(|tag| format!("{}\n", tag.message)),
                "date": tag.map(|tag| tag.tagger.date.clone()),
                "tagger": tag.map(|tag| self.author(state, &tag.tagger)),
            })
        } else {
            json!({ "default_merge_strategy": "merge_commit", "merge_strategies": ["merge_commit", "squash", "fast_forward"] })
        };
        merge(&mut value, more);
        value
    }

    pub(crate) fn hook(&self, state: &State, repo: &Repo, row: &HookRow) -> Value {
        let hook = &row.public;
        let own = format!("{}/hooks/{}", self.repository_api(&state.full_name(repo)), encoded(&hook.uuid));
        json!({
            "type": "webhook_subscription", "uuid": hook.uuid, "url": hook.url, "description": hook.description,
            "subject_type": "repository", "subject": self.repository_short(state, repo), "active": hook.active,
            "created_at": date(row.created_ms).replace("+00:00", "Z"), "events": hook.events, "secret_set": hook.secret.is_some(),
            "read_only": false, "skip_cert_verification": false, "source": null, "links": { "self": link(own) },
        })
    }

    pub(crate) fn deploy_key(&self, state: &State, repo: &Repo, row: &KeyRow) -> Value {
        let full_name = state.full_name(repo);
        json!({
            "type": "deploy_key", "id": row.public.id, "key": row.public.key, "label": row.public.label, "comment": row.public.comment,
            "created_on": date(row.created_ms), "last_used": null,
            "repository": { "type": "repository", "uuid": repo.uuid, "name": repo.name, "full_name": full_name },
            "links": { "self": link(format!("{}/deploy-keys/{}", self.repository_api(&full_name), row.public.id)) },
        })
    }

    pub(crate) fn build_status(&self, state: &State, repo: &Repo, status: &BuildStatus) -> Value {
        let full_name = state.full_name(repo);
        let commit = format!("{}/commit/{}", self.repository_api(&full_name), status.sha);
        json!({
            "type": "build", "key": status.key, "state": status.state, "name": status.name, "description": status.description,
            "url": status.url, "refname": status.refname,
            "created_on": date(status.created_ms), "updated_on": date(status.updated_ms),
            "repository": self.repository_short(state, repo), "commit": self.commit_short(&full_name, &status.sha),
            "links": { "commit": link(commit.clone()), "self": link(format!("{commit}/statuses/build/{}", encoded(&status.key))) },
        })
    }
}

/// Adds the members of `more` to an object.
pub(crate) fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
