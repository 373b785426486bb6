//! The description of the API, made of the same registration as its routes.

use std::collections::BTreeMap;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, PartialSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{autobuild, builds, deliveries, links, log, me, repositories, tokens};
use crate::error::Problem;
use crate::state::WebState;

/// What every route may answer instead: `application/problem+json`.
pub(crate) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let content = || Content::new(Some(Problem::schema()));
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
    tags(
        (name = "account", description = "The account that a request belongs to, and its tokens"),
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
        .routes(routes!(me::get))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(links::list))
        .routes(routes!(links::change, links::remove))
        .routes(routes!(links::connect))
        .routes(routes!(links::check))
        .routes(routes!(links::source_namespaces))
        .routes(routes!(links::source_repositories))
        .routes(routes!(repositories::list, repositories::create))
        .routes(routes!(repositories::get, repositories::change, repositories::remove))
        .routes(routes!(repositories::tags))
        .routes(routes!(autobuild::get, autobuild::put, autobuild::remove))
        .routes(routes!(autobuild::preview))
        .routes(routes!(builds::list, builds::start))
        .routes(routes!(builds::get))
        .routes(routes!(builds::cancel))
        .routes(routes!(builds::retry))
        .routes(routes!(log::text))
        .routes(routes!(log::live))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::replay))
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
        assert!(paths.len() >= 18, "{}", paths.len());
        for (path, operations) in paths {
            assert!(path.starts_with("/api/v1/"), "{path}");
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["summary"].as_str().is_some_and(|words| !words.is_empty()), "{method} {path}");
                assert!(operation["responses"]["4XX"]["content"]["application/problem+json"].is_object(), "{method} {path}");
                for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                    let name = part.trim_end_matches('}');
                    let described = operation["parameters"].as_array().into_iter().flatten().any(|parameter| parameter["name"] == name);
                    assert!(described, "{method} {path}: {name}");
                }
            }
        }
    }
}
