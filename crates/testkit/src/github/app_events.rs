//! What a GitHub App's webhook hears: of its installations, of people who take their authorization back, and of what
//! happens in the repositories that it reaches.
//! Invariant: an event goes to the App whose installation it is about and names that installation.
//! Deliberately elsewhere: sending (`webhooks`), the state of installations (`apps`).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Inner;
use super::state::{HookOf, HookRow, Repo, State};

/// Events that every App gets, subscribed or not.
const ALWAYS: &[&str] = &["ping", "installation", "installation_repositories", "installation_target", "github_app_authorization"];

/// Whether an App's hook wants to hear of an event.
pub(super) fn hears(row: &HookRow, event: &str) -> bool {
    row.public.active && (ALWAYS.contains(&event) || row.public.events.iter().any(|one| one == event))
}

fn short(state: &State, repo: &Repo) -> Value {
    json!({
        "id": repo.id, "node_id": super::api::views::node_id("R", repo.id), "name": repo.name,
        "full_name": state.full_name(repo), "private": repo.visibility == super::types::Visibility::Private,
    })
}

impl State {
    /// The Apps that hear of an event in a repository, with the installation by which they reach it.
    pub(super) fn apps_that_hear(&self, repo: &Repo, event: &str) -> Vec<(HookOf, u64)> {
        let reaching = self.installations.values().filter(|one| one.suspended.is_none() && one.covers(repo));
        reaching
            .filter(|one| {
                let hook = self.github_app(&one.app).and_then(|(_, side)| side.hook.as_ref());
                hook.is_some_and(|row| hears(row, event))
            })
            .map(|one| (HookOf::App(one.app.clone()), one.id))
            .collect()
    }
}

impl Inner {
    /// Sends an `installation` event: `created`, `deleted`, `suspend` or `unsuspend`.
    pub(super) fn tell_installation(self: &Arc<Self>, id: u64, action: &str) {
        let (app, payload) = {
            let state = self.state();
            let Some(row) = state.installations.get(&id) else { return };
            let repositories: Vec<Value> =
                state.installed_repositories(id).iter().filter_map(|id| state.repos.get(id)).map(|repo| short(&state, repo)).collect();
            let sender = state.accounts.get(&row.account).map(|account| self.urls().simple_user(account));
            let installation = self.urls().installation(&state, row);
            let body = json!({
                "action": action, "installation": installation, "repositories": repositories, "requester": null, "sender": sender,
            });
            (row.app.clone(), body)
        };
        self.tell_app(&app, "installation", Some(id), None, payload);
    }

    /// Sends `installation_repositories`, `added` and `removed`, each when there is something to tell.
    pub(super) fn tell_selection(self: &Arc<Self>, id: u64, before: &BTreeSet<u64>, after: &BTreeSet<u64>) {
        let told = {
            let state = self.state();
            let Some(row) = state.installations.get(&id) else { return };
            let list = |ids: &mut dyn Iterator<Item = &u64>| -> Vec<Value> {
                ids.filter_map(|id| state.repos.get(id)).map(|repo| short(&state, repo)).collect()
            };
            let added = list(&mut after.difference(before));
            let removed = list(&mut before.difference(after));
            let sender = state.accounts.get(&row.account).map(|account| self.urls().simple_user(account));
            let body = |action: &str, added: &[Value], removed: &[Value]| {
                json!({
                    "action": action, "installation": self.urls().installation(&state, row), "repository_selection": "selected",
                    "repositories_added": added, "repositories_removed": removed, "requester": null, "sender": sender,
                })
            };
            let mut told = Vec::new();
            if !added.is_empty() {
                told.push((row.app.clone(), body("added", &added, &[])));
            }
            if !removed.is_empty() {
                told.push((row.app.clone(), body("removed", &[], &removed)));
            }
            told
        };
        for (app, payload) in told {
            self.tell_app(&app, "installation_repositories", Some(id), None, payload);
        }
    }

    /// Tells a GitHub App that a person took their authorization back. OAuth apps are never told.
    pub(super) fn tell_authorization_revoked(self: &Arc<Self>, user: u64, client_id: &str) {
        let sender = {
            let state = self.state();
            if !state.is_github_app(client_id) {
                return;
            }
            state.accounts.get(&user).map(|account| self.urls().simple_user(account))
        };
        self.tell_app(client_id, "github_app_authorization", None, None, json!({ "action": "revoked", "sender": sender }));
    }

    fn tell_app(self: &Arc<Self>, client_id: &str, event: &str, installation: Option<u64>, repository: Option<u64>, payload: Value) {
        let wanted = self.state().github_app(client_id).and_then(|(_, side)| side.hook.as_ref()).is_some_and(|row| hears(row, event));
        if wanted {
            self.enqueue(super::webhooks::Event {
                to: HookOf::App(client_id.to_owned()),
                name: event.to_owned(),
                payload,
                repository,
                installation,
            });
        }
    }
}
