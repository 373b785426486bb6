//! The description of the API, made of the same registration as its routes.

use std::collections::BTreeMap;

use http::Method;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    account, admin, audit, autobuild, builders, builds, deliveries, external, invitations, links, log, me, members, namespaces,
    organizations, repositories, teams, tokens, triggers, unlinking, webhook,
};
use crate::edge::routes::Routes;
use crate::error::Problem;
use crate::state::WebState;

/// What every route may answer instead: `application/problem+json`.
pub(crate) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let content = || Content::new(Some(Ref::from_schema_name("Problem")));
        let answer =
            |words: &str| RefOr::T(ResponseBuilder::new().description(words).content("application/problem+json", content()).build());
        BTreeMap::from([
            ("4XX".to_owned(), answer("the request is refused; `code`, `detail` and `hint` say why and what to do")),
            ("5XX".to_owned(), answer("a failure that is not the caller's; trying again may help")),
        ])
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Slipway", description = "Turns linked source code into tested container images.", version = "1", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    security(("token" = [])),
    modifiers(&Token),
    components(schemas(Problem)),
    tags(
        (name = "account", description = "The account that a request belongs to: how it signs in, its tokens, its organizations"),
        (name = "organizations", description = "Organizations: who is in them, their tokens and invitations"),
        (name = "teams", description = "Teams of an organization and their permissions on repositories"),
        (name = "audit", description = "Who changed what in a namespace"),
        (name = "administration", description = "Accounts of the installation; for its administrators"),
        (name = "links", description = "Connections to source code providers"),
        (name = "repositories", description = "Image repositories and their tags"),
        (name = "autobuild", description = "Source, build rules and variables of a repository"),
        (name = "builds", description = "Builds and their logs"),
        (name = "deliveries", description = "Received webhook requests and what was decided about them"),
    )
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("a personal access token; pages of Slipway use their session cookie instead"))
            .build();
        document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Every route of `/api/v1`, with its description.
pub(crate) fn api() -> OpenApiRouter<WebState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(me::get, me::change, me::remove))
        .routes(routes!(me::preview_removal))
        .routes(routes!(me::sign_up))
        .routes(routes!(me::organizations))
        .routes(routes!(me::preview_conversion, me::convert))
        .routes(routes!(account::change_password))
        .routes(routes!(account::change_email))
        .routes(routes!(account::confirm_email))
        .routes(routes!(account::sessions, account::end_other_sessions))
        .routes(routes!(account::end_session))
        .routes(routes!(account::second_factor, account::begin_second_factor, account::end_second_factor))
        .routes(routes!(account::confirm_second_factor))
        .routes(routes!(account::new_recovery_codes))
        .routes(routes!(account::identities))
        .routes(routes!(account::remove_identity))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::get, organizations::change, organizations::remove))
        .routes(routes!(organizations::preview_removal))
        .routes(routes!(organizations::tokens, organizations::create_token))
        .routes(routes!(organizations::revoke_token))
        .routes(routes!(members::list))
        .routes(routes!(members::remove))
        .routes(routes!(teams::list, teams::create))
        .routes(routes!(teams::get, teams::change, teams::remove))
        .routes(routes!(teams::members))
        .routes(routes!(teams::add_member, teams::remove_member))
        .routes(routes!(teams::repositories))
        .routes(routes!(teams::set_permission, teams::remove_permission))
        .routes(routes!(invitations::list, invitations::create))
        .routes(routes!(invitations::revoke))
        .routes(routes!(invitations::look))
        .routes(routes!(invitations::accept))
        .routes(routes!(namespaces::get))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(admin::list, admin::create))
        .routes(routes!(admin::change, admin::remove))
        .routes(routes!(admin::tokens, admin::create_token))
        .routes(routes!(admin::revoke_token))
        .routes(routes!(invitations::list_all, invitations::invite))
        .routes(routes!(invitations::revoke_any))
        .routes(routes!(builders::list))
        .routes(routes!(builders::get, builders::change, builders::remove))
        .routes(routes!(builders::tokens, builders::make_token))
        .routes(routes!(builders::revoke_token))
        .routes(routes!(audit::list_all))
        .routes(routes!(audit::export_all))
        .routes(routes!(links::list))
        .routes(routes!(links::change, unlinking::remove))
        .routes(routes!(links::offers))
        .routes(routes!(links::refresh))
        .routes(routes!(unlinking::preview))
        .routes(routes!(unlinking::receipts))
        .routes(routes!(unlinking::receipt))
        .routes(routes!(links::connect))
        .routes(routes!(links::check))
        .routes(routes!(links::source_namespaces))
        .routes(routes!(links::source_repositories))
        .routes(routes!(repositories::list, repositories::create))
        .routes(routes!(repositories::get, repositories::change, repositories::remove))
        .routes(routes!(repositories::tags))
        .routes(routes!(repositories::move_tag, repositories::remove_tag))
        .routes(routes!(external::get, external::put, external::remove))
        .routes(routes!(external::test))
        .routes(routes!(external::tag, external::try_again))
        .routes(routes!(autobuild::get, autobuild::put, autobuild::remove))
        .routes(routes!(autobuild::preview))
        .routes(routes!(triggers::list, triggers::create))
        .routes(routes!(triggers::remove))
        .routes(routes!(triggers::rotate))
        .routes(routes!(builds::list, builds::start))
        .routes(routes!(builds::get, builds::remove))
        .routes(routes!(builds::cancel))
        .routes(routes!(builds::approve))
        .routes(routes!(builds::retry))
        .routes(routes!(log::text))
        .routes(routes!(log::live))
        .routes(routes!(log::pieces))
        .routes(routes!(log::search))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::body))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::refused))
        .merge(hook_routes())
}

/// What stands at a repository's source: webhook and deploy key.
fn hook_routes() -> OpenApiRouter<WebState> {
    OpenApiRouter::default()
        .routes(routes!(webhook::get))
        .routes(routes!(webhook::check))
        .routes(routes!(webhook::repair))
        .routes(routes!(webhook::rotate_secret))
        .routes(routes!(webhook::show_secret))
        .routes(routes!(webhook::deliveries))
        .routes(routes!(webhook::redeliver))
        .routes(routes!(webhook::deploy_key))
        .routes(routes!(webhook::rotate_deploy_key))
}

/// The same as routes that know their addresses.
pub(crate) fn routes() -> Routes {
    let (router, document) = api().split_for_parts();
    let described = document.paths.paths.iter().flat_map(|(path, item)| {
        let operations = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        operations.into_iter().filter(|(_, operation)| operation.is_some()).map(move |(method, _)| (method, path.clone()))
    });
    let list = described.collect();
    Routes::described(router, list)
}

/// The description as JSON, the same bytes for the same program.
#[must_use]
pub fn document() -> String {
    let mut text = api().into_openapi().to_pretty_json().expect("a description of texts and lists always serializes");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test -p slipway-web openapi` rewrites the reference.
    #[test]
    fn the_reference_is_what_the_program_serves() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, document()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == document(), "docs/reference/openapi.json is not up to date: UPDATE=1 cargo test -p slipway-web openapi");
    }

    #[test]
    fn every_address_has_words_and_says_its_errors() {
        let document: serde_json::Value = serde_json::from_str(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() >= 60, "{}", paths.len());
        assert!(document["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
        for (path, operations) in paths {
            assert!(path.starts_with("/api/v1/"), "{path}");
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["summary"].as_str().is_some_and(|words| !words.is_empty()), "{method} {path}");
                let problem = &operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
                for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                    let name = part.trim_end_matches('}');
                    let described = operation["parameters"].as_array().into_iter().flatten().any(|parameter| parameter["name"] == name);
                    assert!(described, "{method} {path}: {name}");
                }
            }
        }
    }
}
