//! What people see: pages from the server, complete without JavaScript.
//!
//! Invariant: a handler extracts, authorises, calls the application and renders a struct of [`view`]; a form that was accepted redirects,
//! one that was refused comes back with what was typed and the message beside its field. Writes are guarded by `session::guard_pages`.
//! Deliberately elsewhere: sessions and cookies (`session`), live logs (`api::log`), decisions (`slipway-app`).

mod admin;
mod anybody;
mod assets;
mod audit;
mod autobuild;
mod autobuild_form;
mod builds;
mod deliveries;
mod entry;
mod error;
mod external;
mod fields;
mod frame;
mod invitations;
mod nodes;
mod oidc;
mod organizations;
mod picker;
mod providers;
mod repositories;
mod repository;
mod security;
mod settings;
mod start_form;
mod teams;
mod token_form;
mod triggers;
pub mod view;
mod webhook;

use axum::middleware;
use axum::response::Response;

use crate::edge::routes::{Routes, get, post};
use crate::error::ApiError;

/// All pages and their assets.
pub(crate) fn routes() -> Routes {
    let pages = Routes::new()
        .route("/", get(repositories::home))
        .route("/settings", get(settings::home))
        .route("/settings/theme", post(settings::theme))
        .merge(provider_routes("/settings/source-providers"))
        .merge(provider_routes("/o/{org}/settings/source-providers"))
        .merge(organizations::routes())
        .merge(teams::routes())
        .merge(audit::routes())
        .route("/o/{org}/builds", get(builds::organization_queue))
        .route("/builds", get(builds::queue))
        .merge(nodes::routes())
        .route("/search", get(repositories::search))
        .route("/repositories/new", get(repositories::new).post(repositories::create))
        .merge(entry_routes())
        .merge(account_routes())
        .merge(administration_routes())
        .merge(repository_routes());
    pages.within(|pages| pages.layer(middleware::from_fn(frame::dress))).route("/assets/{version}/{name}", get(assets::asset))
}

/// The ways in.
fn entry_routes() -> Routes {
    Routes::new()
        .route("/setup", get(entry::setup).post(entry::finish_setup))
        .route("/signin", get(entry::sign_in).post(entry::begin_session))
        .route("/signin/code", get(entry::code).post(entry::finish_sign_in))
        .route("/signup", get(entry::sign_up).post(entry::make_account))
        .route("/signout", post(entry::sign_out))
        .route("/oidc/{id}/begin", post(oidc::begin))
        .route("/oidc/{id}/callback", get(oidc::callback))
        .route("/oidc/{id}/name", post(oidc::choose_name))
        .route("/invitations/{token}", get(invitations::open).post(invitations::make_account))
        .route("/invitations/{token}/accept", post(invitations::accept))
        .route("/settings/email/confirm", get(settings::ask_email).post(settings::confirm_email))
}

/// One's own account.
fn account_routes() -> Routes {
    Routes::new()
        .route("/settings/account", get(settings::account).post(settings::change_account))
        .route("/settings/account/email", post(settings::change_email))
        .route("/settings/account/delete", get(settings::preview_delete).post(settings::delete_account))
        .route("/settings/account/convert", get(settings::preview_convert).post(settings::convert))
        .route("/settings/security", get(security::home))
        .route("/settings/security/password", post(security::change_password))
        .route("/settings/security/second-factor", post(security::begin_factor))
        .route("/settings/security/second-factor/confirm", post(security::confirm_factor))
        .route("/settings/security/second-factor/off", post(security::end_factor))
        .route("/settings/security/recovery-codes", post(security::new_codes))
        .route("/settings/security/sessions/end-others", post(security::end_other_sessions))
        .route("/settings/security/sessions/{id}/end", post(security::end_session))
        .route("/settings/security/identities/{id}/remove", post(security::remove_identity))
        .route("/settings/tokens", get(settings::tokens).post(settings::make_token))
        .route("/settings/tokens/{id}/revoke", post(settings::revoke_token))
}

/// What administrators of the installation see.
fn administration_routes() -> Routes {
    Routes::new()
        .route("/admin/accounts", get(admin::accounts).post(admin::make_service))
        .route("/admin/accounts/{name}", get(admin::account))
        .route("/admin/accounts/{name}/tokens", post(admin::make_token))
        .route("/admin/accounts/{name}/tokens/{id}/revoke", post(admin::revoke_token))
        .route("/admin/accounts/{name}/role", post(admin::set_role))
        .route("/admin/accounts/{name}/delete", post(admin::delete))
        .route("/admin/invitations", get(admin::invitations).post(admin::invite))
        .route("/admin/invitations/{id}/revoke", post(admin::revoke_invitation))
}

/// Source providers of a person or of an organization: the same pages.
fn provider_routes(base: &str) -> Routes {
    Routes::new()
        .route(base, get(providers::list))
        .route(&format!("{base}/{{provider}}/connect"), get(providers::explain).post(providers::connect))
        .route(&format!("{base}/{{provider}}/enable"), post(providers::enable))
        .route(&format!("{base}/{{provider}}/disable"), post(providers::disable))
        .route(&format!("{base}/{{provider}}/check"), post(providers::check))
        .route(&format!("{base}/{{provider}}/refresh"), post(providers::refresh))
        .route(&format!("{base}/{{provider}}/links/{{link}}/picture"), get(providers::picture))
        .route(&format!("{base}/{{provider}}/unlink"), get(providers::preview_unlink).post(providers::unlink))
        .route(&format!("{base}/receipts"), get(providers::receipts))
        .route(&format!("{base}/receipts/{{receipt}}"), get(providers::receipt))
}

fn repository_routes() -> Routes {
    Routes::new()
        .route("/{ns}", get(repositories::list))
        .route("/{ns}/{name}", get(repository::general))
        .route("/{ns}/{name}/tags", get(repository::tags))
        .route("/{ns}/{name}/tags/{tag}/move", post(repository::move_tag))
        .route("/{ns}/{name}/tags/{tag}/delete", post(repository::delete_tag))
        .route("/{ns}/{name}/settings", get(repository::settings).post(repository::change))
        .route("/{ns}/{name}/delete", post(repository::delete))
        .route("/{ns}/{name}/builds", get(builds::list).post(builds::start))
        .route("/{ns}/{name}/builds/{id}", get(builds::page))
        .route("/{ns}/{name}/builds/{id}/cancel", post(builds::cancel))
        .route("/{ns}/{name}/builds/{id}/approve", post(builds::approve))
        .route("/{ns}/{name}/builds/{id}/retry", post(builds::retry))
        .route("/{ns}/{name}/builds/{id}/delete", post(builds::delete))
        .route("/{ns}/{name}/autobuild", get(autobuild::page).post(autobuild::write))
        .route("/{ns}/{name}/autobuild/source", get(picker::page).post(picker::refresh))
        .route("/{ns}/{name}/autobuild/preview", post(autobuild::preview))
        .route("/{ns}/{name}/autobuild/remove", post(autobuild::remove))
        .route("/{ns}/{name}/deliveries", get(deliveries::list))
        .route("/{ns}/{name}/deliveries/{id}", get(deliveries::page))
        .route("/{ns}/{name}/deliveries/{id}/replay", post(deliveries::replay))
        .merge(webhook::routes())
        .merge(triggers::routes())
        .merge(external::routes())
}

/// An error as a page, without the navigation: for what fails before it is known who asks.
pub(crate) fn error_page(error: ApiError) -> Response {
    error::plain(error)
}
