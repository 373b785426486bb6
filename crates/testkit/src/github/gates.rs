//! What an organization and the provider itself put before a repository: restrictions on OAuth apps, SAML, a list of
//! allowed addresses, archived and blocked repositories.
//! Invariant: each refusal is told in GitHub's words and headers, because nothing else tells them apart; a gate hides
//! nothing from somebody who could not see the repository anyway, and nothing is deleted by closing one.
//! Deliberately elsewhere: rights and scopes (`access`).

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::json;

use super::FakeGitHub;
use super::access::{Caller, Need};
use super::api::reply::ApiError;
use super::state::{Organization, Repo, State, rfc3339};
use super::types::{AppAccess, Blocked, Visibility};

/// An address that authorizes a token for an organization with SAML works for an hour.
const SSO_REQUEST_MS: i64 = 3600 * 1000;

impl State {
    pub(crate) fn is_github_app(&self, client_id: &str) -> bool {
        self.apps.get(client_id).is_some_and(|app| app.github_app.is_some())
    }

    /// Whether the organization `owner` keeps this OAuth app out. GitHub Apps are not subject to that rule.
    pub(crate) fn keeps_app_out(&self, owner: u64, app: &str) -> bool {
        let Some(organization) = self.organization(owner) else { return false };
        organization.restricted && organization.app_access.get(app) != Some(&AppAccess::Approved) && !self.is_github_app(app)
    }

    /// Whether the organization `owner` keeps the caller's app out.
    pub(crate) fn keeps_out(&self, owner: u64, caller: &Caller) -> bool {
        caller.app().is_some_and(|app| self.keeps_app_out(owner, app))
    }

    /// Organizations of the caller that want SAML and that this token was not authorized for.
    pub(crate) fn without_sso(&self, caller: &Caller) -> Vec<u64> {
        let Some((user, token)) = caller.user().zip(caller.token()) else { return Vec::new() };
        let authorized = self.tokens.iter().find(|row| row.id == token).map(|row| &row.sso);
        let wanting = self.accounts.keys().filter(|id| {
            let member = self.organization(**id).is_some_and(|one| one.saml && one.members.contains_key(&user));
            member && !authorized.is_some_and(|authorized| authorized.contains(id))
        });
        wanting.copied().collect()
    }

    /// The gates of an organization for what it owns, before any repository is looked at.
    pub(crate) fn organization_gates(&self, owner: u64, caller: &Caller) -> Result<(), ApiError> {
        let Some(organization) = self.organization(owner) else { return Ok(()) };
        let login = self.login(owner);
        if organization.addresses_limited && !matches!(caller, Caller::Anonymous) {
            return Err(ApiError::address_not_allowed(login));
        }
        if organization.saml && self.without_sso(caller).contains(&owner) {
            let token = caller.token().unwrap_or_default();
            let request = format!("{token}-{owner}-{}", self.now_ms() + SSO_REQUEST_MS);
            let url = format!("{}/orgs/{login}/sso?authorization_request={request}", self.web);
            let mut error = ApiError::saml(if caller.app().is_some() { "OAuth" } else { "Personal Access" });
            error.headers.push(("x-github-sso", format!("required; url={url}")));
            return Err(error);
        }
        if self.keeps_out(owner, caller) { Err(ApiError::restricted(login)) } else { Ok(()) }
    }

    /// Everything that stands before a repository which the caller could see otherwise.
    pub(super) fn gates(&self, repo: &Repo, caller: &Caller, need: Need) -> Result<(), ApiError> {
        if let Some((why, at_ms)) = repo.blocked {
            return Err(blocked(why, at_ms));
        }
        let open = repo.visibility == Visibility::Public && matches!(need, Need::Read | Need::Fetch);
        match self.organization_gates(repo.owner, caller) {
            Err(error) if !(open && error.is_restriction()) => return Err(error),
            _ => {}
        }
        if repo.archived && need.writes() {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "Repository was archived so is read-only."));
        }
        Ok(())
    }

    /// Authorizes a token for an organization by the address that the refusal named; false when it is not of this
    /// person, or too old.
    pub(crate) fn authorize_sso(&mut self, request: &str, user: u64) -> bool {
        let numbers: Vec<i64> = request.split('-').filter_map(|number| number.parse().ok()).collect();
        let [token, organization, until] = numbers[..] else { return false };
        let now = self.now_ms();
        let found = self.tokens.iter_mut().find(|row| row.id == token as u64 && row.user == user && now < until);
        found.is_some_and(|row| {
            row.sso.insert(organization as u64);
            true
        })
    }
}

fn blocked(why: Blocked, at_ms: i64) -> ApiError {
    let (status, reason, url) = match why {
        Blocked::Dmca => (StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS, "dmca", "https://github.com/github/dmca/blob/master/notice.md"),
        Blocked::Tos => (StatusCode::FORBIDDEN, "tos", "https://github.com/tos"),
    };
    let mut error = ApiError::new(status, "Repository access blocked");
    error.extra.push(("block", json!({ "reason": reason, "created_at": rfc3339(at_ms), "html_url": url })));
    error
}

impl FakeGitHub {
    /// The organization lets only approved OAuth apps in: deliveries to hooks of others stop, their keys stop.
    pub fn restrict_organization(&self, login: &str) {
        self.with_organization(login, |organization| organization.restricted = true);
    }

    /// The organization lets every OAuth app in again.
    pub fn unrestrict_organization(&self, login: &str) {
        self.with_organization(login, |organization| organization.restricted = false);
    }

    fn set_app_access(&self, organization: &str, client_id: &str, access: Option<AppAccess>) {
        self.with_organization(organization, |organization| {
            organization.app_access.remove(client_id);
            organization.app_access.extend(access.map(|access| (client_id.to_owned(), access)));
        });
    }

    /// A member asks the owners to approve the app.
    pub fn request_app(&self, organization: &str, client_id: &str) {
        self.set_app_access(organization, client_id, Some(AppAccess::Requested));
    }

    /// An owner approves the app: deliveries resume.
    pub fn approve_app(&self, organization: &str, client_id: &str) {
        self.set_app_access(organization, client_id, Some(AppAccess::Approved));
    }

    /// An owner denies the app.
    pub fn deny_app(&self, organization: &str, client_id: &str) {
        self.set_app_access(organization, client_id, Some(AppAccess::Denied));
    }

    /// An owner takes an approval back.
    pub fn revoke_app_approval(&self, organization: &str, client_id: &str) {
        self.set_app_access(organization, client_id, None);
    }

    /// What the organization's owners said of the app.
    pub fn app_access(&self, organization: &str, client_id: &str) -> Option<AppAccess> {
        let id = self.account_id(organization);
        let state = self.inner.state();
        state.organization(id).and_then(|organization| organization.app_access.get(client_id).copied())
    }

    /// The organization wants SAML from now on: tokens that were not authorized for it are refused there.
    pub fn enforce_saml(&self, organization: &str) {
        self.with_organization(organization, |organization| organization.saml = true);
    }

    /// The organization wants SAML no longer.
    pub fn end_saml(&self, organization: &str) {
        self.with_organization(organization, |organization| organization.saml = false);
    }

    /// A person signs in at the organization's identity provider: tokens made from now on cover it.
    pub fn saml_sign_in(&self, login: &str, organization: &str) {
        let session = (self.account_id(login), self.account_id(organization));
        self.inner.state().saml_sessions.insert(session);
    }

    /// A person authorizes one token for an organization with SAML, by hand.
    pub fn authorize_saml(&self, organization: &str, token: &str) {
        let id = self.account_id(organization);
        if let Some(row) = self.inner.state().tokens.iter_mut().find(|row| row.value == token) {
            row.sso.insert(id);
        }
    }

    /// The organization allows only some addresses, and this machine's is none of them.
    pub fn limit_addresses(&self, organization: &str) {
        self.with_organization(organization, |organization| organization.addresses_limited = true);
    }

    /// The organization allows all addresses again.
    pub fn allow_all_addresses(&self, organization: &str) {
        self.with_organization(organization, |organization| organization.addresses_limited = false);
    }

    /// The provider blocks a repository; `None` frees it.
    pub fn block_repository(&self, full_name: &str, why: Option<Blocked>) {
        let now = self.inner.state().now_ms();
        self.with_repo(full_name, |repo| repo.blocked = why.map(|why| (why, now)));
    }

    pub(super) fn with_organization(&self, login: &str, act: impl FnOnce(&mut Organization)) {
        let id = self.account_id(login);
        let mut state = self.inner.state();
        let organization = state.organization_mut(id);
        act(organization.unwrap_or_else(|| panic!("`{login}` is no organization")));
    }
}

/// What each OAuth app is to an organization.
pub(crate) type AppAccesses = BTreeMap<String, AppAccess>;
