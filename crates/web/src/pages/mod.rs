//! What people see: pages from the server, complete without JavaScript.
//!
//! Invariant: a handler extracts, authorises, calls the application and renders a struct of [`view`]; a form that was accepted redirects,
//! one that was refused comes back with what was typed and the message beside its field. Writes are guarded by `session::guard_pages`.
//! Deliberately elsewhere: sessions and cookies (`session`), live logs (`api::log`), decisions (`slipway-app`).

mod assets;
mod autobuild;
mod autobuild_form;
mod builds;
mod deliveries;
mod entry;
mod error;
mod fields;
mod frame;
mod providers;
mod repositories;
mod repository;
mod settings;
pub mod view;

use axum::Router;
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use crate::error::ApiError;
use crate::state::WebState;

/// All pages and their assets.
pub(crate) fn routes() -> Router<WebState> {
    let pages = Router::new()
        .route("/", get(repositories::home))
        .route("/setup", get(entry::setup).post(entry::finish_setup))
        .route("/signin", get(entry::sign_in).post(entry::begin_session))
        .route("/signout", post(entry::sign_out))
        .route("/settings", get(settings::home))
        .route("/settings/theme", post(settings::theme))
        .route("/settings/account", get(settings::account))
        .route("/settings/tokens", get(settings::tokens).post(settings::make_token))
        .route("/settings/tokens/{id}/revoke", post(settings::revoke_token))
        .route("/settings/source-providers", get(providers::list))
        .route("/settings/source-providers/{provider}/connect", get(providers::explain).post(providers::connect))
        .route("/settings/source-providers/{provider}/enable", post(providers::enable))
        .route("/settings/source-providers/{provider}/disable", post(providers::disable))
        .route("/settings/source-providers/{provider}/unlink", get(providers::preview_unlink).post(providers::unlink))
        .route("/builds", get(builds::queue))
        .route("/builders", get(settings::nodes))
        .route("/search", get(repositories::search))
        .route("/repositories/new", get(repositories::new).post(repositories::create))
        .merge(repository_routes());
    pages.layer(middleware::from_fn(frame::dress_errors)).route("/assets/{version}/{name}", get(assets::asset))
}

fn repository_routes() -> Router<WebState> {
    Router::new()
        .route("/{ns}", get(repositories::list))
        .route("/{ns}/{name}", get(repository::general))
        .route("/{ns}/{name}/tags", get(repository::tags))
        .route("/{ns}/{name}/settings", get(repository::settings).post(repository::change))
        .route("/{ns}/{name}/delete", post(repository::delete))
        .route("/{ns}/{name}/builds", get(builds::list).post(builds::start))
        .route("/{ns}/{name}/builds/{id}", get(builds::page))
        .route("/{ns}/{name}/builds/{id}/cancel", post(builds::cancel))
        .route("/{ns}/{name}/builds/{id}/retry", post(builds::retry))
        .route("/{ns}/{name}/autobuild", get(autobuild::page).post(autobuild::write))
        .route("/{ns}/{name}/autobuild/source", get(autobuild::pick))
        .route("/{ns}/{name}/autobuild/preview", post(autobuild::preview))
        .route("/{ns}/{name}/autobuild/remove", post(autobuild::remove))
        .route("/{ns}/{name}/deliveries", get(deliveries::list))
        .route("/{ns}/{name}/deliveries/{id}", get(deliveries::page))
        .route("/{ns}/{name}/deliveries/{id}/replay", post(deliveries::replay))
}

/// An error as a page, without the navigation: for what fails before it is known who asks.
pub(crate) fn error_page(error: ApiError) -> Response {
    error::plain(error)
}
