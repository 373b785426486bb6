//! JSON shapes of GitHub Apps and their installations, written by hand from the official description.
//! Invariant: as in `views`: never through the product's client types.

use serde_json::{Value, json};

use super::views::{Urls, node_id};
use crate::github::apps::{GitHubAppSide, Installation, InstallationToken, Selection};
use crate::github::state::{AccountKind, State, rfc3339};
use crate::github::tokens::App;

impl Urls {
    /// `integration`.
    pub(crate) fn integration(&self, state: &State, app: &App, side: &GitHubAppSide) -> Value {
        let events: Vec<String> = side.hook.as_ref().map(|row| row.public.events.clone()).unwrap_or_default();
        let installed = state.installations.values().filter(|one| one.app == app.public.client_id).count();
        json!({
            "id": side.id, "slug": side.slug, "node_id": node_id("A", side.id), "client_id": app.public.client_id,
            "owner": state.accounts.get(&side.owner).map(|owner| self.simple_user(owner)),
            "name": app.name, "description": null, "external_url": app.callback.to_string(),
            "html_url": format!("{}/apps/{}", self.web, side.slug),
            "created_at": rfc3339(app.created_ms), "updated_at": rfc3339(app.created_ms),
            "permissions": side.permissions, "events": events, "installations_count": installed,
        })
    }

    /// `installation`.
    pub(crate) fn installation(&self, state: &State, row: &Installation) -> Value {
        let (account, found) = (state.accounts.get(&row.account), state.github_app(&row.app));
        let kind = match account.map(|account| &account.kind) {
            Some(AccountKind::Organization(_)) => "Organization",
            _ => "User",
        };
        let side = found.map(|(_, side)| side);
        let events = side.and_then(|side| side.hook.as_ref()).map(|row| row.public.events.clone()).unwrap_or_default();
        let suspended_by = row.suspended.and_then(|(by, _)| state.accounts.get(&by));
        json!({
            "id": row.id, "account": account.map(|account| self.simple_user(account)),
            "repository_selection": selection_word(&row.selection),
            "access_tokens_url": format!("{}/app/installations/{}/access_tokens", self.api, row.id),
            "repositories_url": format!("{}/installation/repositories", self.api),
            "html_url": format!("{}/settings/installations/{}", self.web, row.id),
            "app_id": side.map(|side| side.id), "client_id": row.app, "app_slug": side.map(|side| side.slug.clone()),
            "target_id": row.account, "target_type": kind, "permissions": row.permissions, "events": events,
            "created_at": rfc3339(row.created_ms), "updated_at": rfc3339(row.created_ms),
            "single_file_name": null, "has_multiple_single_files": false, "single_file_paths": [],
            "suspended_by": suspended_by.map(|account| self.simple_user(account)),
            "suspended_at": row.suspended.map(|(_, at_ms)| rfc3339(at_ms)),
        })
    }

    /// `installation-token`.
    pub(crate) fn installation_token(&self, state: &State, token: &InstallationToken) -> Value {
        let row = state.installations.get(&token.installation);
        let mut value = json!({
            "token": token.value, "expires_at": rfc3339(token.expires_ms), "permissions": token.permissions,
            "repository_selection": if token.repositories.is_some() { "selected" } else { row.map_or("all", |row| selection_word(&row.selection)) },
        });
        if let Some(ids) = &token.repositories {
            let shown = ids.iter().filter_map(|id| state.repos.get(id)).map(|repo| self.repository(state, repo, None));
            value["repositories"] = shown.collect();
        }
        value
    }
}

fn selection_word(selection: &Selection) -> &'static str {
    match selection {
        Selection::All => "all",
        Selection::Selected(_) => "selected",
    }
}
