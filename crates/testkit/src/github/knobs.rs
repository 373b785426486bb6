//! What goes wrong at a provider, as switches for tests.
//! Invariant: a knob changes the state of the fake; what the product sees follows from it.

use std::time::Duration;

use super::FakeGitHub;
use super::state::State;
use super::types::{ReleaseOrder, Webhooks};

impl FakeGitHub {
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
            self.inner.send(outgoing).await;
        }
    }

    /// Everything answers with this status from now on; `None` ends it.
    pub fn set_outage(&self, status: Option<u16>) {
        self.inner.state().knobs.outage = status;
    }

    /// Every answer takes this much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.state().knobs.latency = latency;
    }

    /// Moves the provider's clock forward: codes expire, rate limits reset.
    pub fn advance_clock(&self, by: Duration) {
        self.inner.state().knobs.clock_skew_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4);
    }

    /// The person revokes the app in their settings: all tokens and the grant die, hooks stay.
    pub fn revoke_grant(&self, login: &str, client_id: &str) {
        let user = self.account_id(login);
        self.inner.state().revoke_grant(user, client_id);
    }

    /// One token dies.
    pub fn revoke_token(&self, token: &str) {
        self.inner.state().tokens.retain(|one| one.value != token);
    }

    /// The person takes scopes away from what they granted: tokens keep only `scopes`.
    pub fn narrow_scopes(&self, login: &str, client_id: &str, scopes: &[&str]) {
        let user = self.account_id(login);
        let mut state = self.inner.state();
        let kept = |scope: &String| scopes.contains(&scope.as_str());
        for token in &mut state.tokens {
            if token.user == user && token.app.as_deref() == Some(client_id) {
                token.scopes.retain(kept);
            }
        }
        if let Some(granted) = state.grants.get_mut(&(user, client_id.to_owned())) {
            granted.retain(kept);
        }
    }

    /// The organization lets only approved OAuth apps in.
    pub fn restrict_organization(&self, login: &str) {
        self.with_organization(login, |organization| organization.restricted = true);
    }

    /// An owner approves the app.
    pub fn approve_app(&self, login: &str, client_id: &str) {
        self.with_organization(login, |organization| {
            organization.approved_apps.insert(client_id.to_owned());
        });
    }

    /// A person leaves an organization.
    pub fn remove_member(&self, organization: &str, login: &str) {
        let user = self.account_id(login);
        self.with_organization(organization, |organization| {
            organization.members.remove(&user);
        });
    }

    fn with_organization(&self, login: &str, act: impl FnOnce(&mut super::state::Organization)) {
        let id = self.account_id(login);
        let mut state = self.inner.state();
        let organization = state.organization_mut(id);
        act(organization.unwrap_or_else(|| panic!("`{login}` is no organization")));
    }

    /// The account is suspended: API and git answer 403.
    pub fn suspend_user(&self, login: &str) {
        let id = self.account_id(login);
        if let Some(user) = self.inner.state().user_mut(id) {
            user.suspended = true;
        }
    }

    /// Leaves a person this many requests until the reset in an hour.
    pub fn set_rate_remaining(&self, login: &str, remaining: u64) {
        let id = self.account_id(login);
        let mut state = self.inner.state();
        let reset_s = state.now_ms() / 1000 + 3600;
        if let Some(user) = state.user_mut(id) {
            user.rate.used = user.rate.limit.saturating_sub(remaining);
            user.rate.reset_s = reset_s;
        }
    }

    /// Renames a repository within its owner; the old name redirects.
    pub fn rename_repository(&self, full_name: &str, new_name: &str) {
        let id = self.with_repo(full_name, |repo| {
            repo.name = new_name.to_owned();
            repo.id
        });
        self.inner.state().old_names.insert(full_name.to_lowercase(), id);
    }

    /// Moves a repository to another owner; the old name redirects.
    pub fn transfer_repository(&self, full_name: &str, new_owner: &str) {
        let owner = self.account_id(new_owner);
        let id = self.with_repo(full_name, |repo| {
            repo.owner = owner;
            repo.id
        });
        self.inner.state().old_names.insert(full_name.to_lowercase(), id);
    }

    /// Deletes a repository; its hooks are told nothing.
    pub fn delete_repository(&self, full_name: &str) {
        let id = self.repository_id(full_name);
        let mut state = self.inner.state();
        state.repos.remove(&id);
        state.old_names.retain(|_, target| *target != id);
    }
}

impl State {
    pub(super) fn revoke_grant(&mut self, user: u64, client_id: &str) {
        self.tokens.retain(|token| !(token.user == user && token.app.as_deref() == Some(client_id)));
        self.grants.remove(&(user, client_id.to_owned()));
        self.codes.retain(|_, code| !(code.user == user && code.client_id == client_id));
    }
}
