//! What goes wrong at a provider, as switches for tests.
//! Invariant: a knob changes the state of the fake; what the product sees follows from it.

use std::time::Duration;

use super::FakeBitbucket;
use super::types::{Fault, Hits, HookAddresses, OldNames, ReleaseOrder, Webhooks};

impl FakeBitbucket {
    /// How webhooks leave from now on.
    pub fn set_webhooks(&self, mode: Webhooks) {
        self.inner.state().knobs.webhooks = mode;
    }

    /// Lets the webhooks go that `Webhooks::Hold` kept, one after the other, and waits for their answers.
    pub async fn release_held_webhooks(&self, order: ReleaseOrder) {
        let mut held = std::mem::take(&mut self.inner.state().held);
        if order == ReleaseOrder::NewestFirst {
            held.reverse();
        }
        for outgoing in held {
            self.inner.send(&outgoing).await;
        }
    }

    /// How long a hook's receiver has to answer: ten seconds unless told.
    pub fn set_hook_timeout(&self, within: Duration) {
        self.inner.state().knobs.hook_timeout = within;
    }

    /// Everything answers with this status from now on; `None` ends it.
    pub fn set_outage(&self, status: Option<u16>) {
        self.inner.state().knobs.outage = status;
    }

    /// Every answer takes this much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.state().knobs.latency = latency;
    }

    /// Puts a fault on requests whose path, encoded as it is sent, begins with `prefix` (`/2.0/user`,
    /// `/site/oauth2/access_token`, `/ws/repo.git`). The contract judges the true answer, not the fault.
    pub fn add_fault(&self, prefix: &str, fault: Fault, hits: Hits) {
        self.inner.state().knobs.faults.add(prefix, fault, hits);
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        self.inner.state().knobs.faults.clear();
    }

    /// Moves the provider's clock forward: tokens expire, refresh tokens die, rate limits reset.
    pub fn advance_clock(&self, by: Duration) {
        self.inner.state().knobs.clock_skew_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4);
    }

    /// What stands under a former name; nothing unless told. (Documented is 404 with an offer of redirects that was never
    /// built; redirects are reported by third parties.)
    pub fn set_old_names(&self, old_names: OldNames) {
        self.inner.state().knobs.old_names = old_names;
    }

    /// Which addresses a new hook may have; any unless told.
    pub fn set_hook_addresses(&self, allowed: HookAddresses) {
        self.inner.state().knobs.hook_addresses = allowed;
    }

    /// Requests that a person has in a rolling hour.
    pub fn set_hourly_limit(&self, nickname: &str, requests: usize) {
        self.with_person(nickname, |person| person.hourly_limit = requests);
    }

    /// The person removes the app under "App authorizations": all tokens die, hooks and keys stay.
    pub fn revoke_grant(&self, nickname: &str, consumer: &str) {
        let person = self.person_uuid(nickname);
        self.inner.state().revoke_grant(&person, consumer);
    }

    /// One access or refresh token dies.
    pub fn revoke_token(&self, token: &str) {
        let mut state = self.inner.state();
        state.access.remove(token);
        state.refresh.remove(token);
    }

    /// The consumer's owner changes it: new scopes for tokens made from now on, and the end of every deploy key made through it.
    pub fn change_consumer(&self, key: &str, scopes: &[&str]) {
        let mut state = self.inner.state();
        let row = state.consumers.get_mut(key).unwrap_or_else(|| panic!("no consumer `{key}`"));
        row.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        for row in state.repos.values_mut().flat_map(|repo| &mut repo.keys).filter(|row| row.made_by.as_deref() == Some(key)) {
            row.public.accepted = false;
        }
    }

    /// The account is suspended: API and git answer 403, and nobody signs in.
    pub fn suspend_user(&self, nickname: &str) {
        self.with_person(nickname, |person| person.suspended = true);
    }

    /// The account is closed: its tokens die, its memberships and rights go.
    pub fn delete_user(&self, nickname: &str) {
        let uuid = self.person_uuid(nickname);
        let mut state = self.inner.state();
        state.people.remove(&uuid);
        state.access.retain(|_, token| token.person != uuid);
        state.refresh.retain(|_, token| token.person != uuid);
        state.grants.retain(|(person, _)| *person != uuid);
        state.sessions.retain(|_, session| session.person != uuid);
        for workspace in state.workspaces.values_mut() {
            workspace.members.remove(&uuid);
        }
        for repo in state.repos.values_mut() {
            repo.permissions.remove(&uuid);
        }
    }

    /// A person leaves a workspace, and with it what they were given on its repositories.
    pub fn remove_member(&self, workspace: &str, nickname: &str) {
        let person = self.person_uuid(nickname);
        let workspace = self.workspace_uuid(workspace);
        let mut state = self.inner.state();
        if let Some(workspace) = state.workspaces.get_mut(&workspace) {
            workspace.members.remove(&person);
        }
        for repo in state.repos.values_mut().filter(|repo| repo.workspace == workspace) {
            repo.permissions.remove(&person);
        }
    }

    /// Deletes a repository; its hooks are told nothing.
    pub fn delete_repository(&self, full_name: &str) {
        let id = self.with_repo(full_name, |repo| repo.id);
        let mut state = self.inner.state();
        state.repos.remove(&id);
        state.old_names.retain(|_, target| *target != id);
    }
}
