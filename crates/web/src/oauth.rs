//! `GET /oauth/{provider}/callback`: a provider sends a person back.
//!
//! Invariant: without the very session or token that began the flow there is no link and no row; every mismatch is 400.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, header};
use serde::Deserialize;
use slipway_app::Linked;
use slipway_model::ProviderId;

use crate::api::links::Link;
use crate::edge::json::{Json, Path, Query};
use crate::error::{ApiError, Code};
use crate::session::ApiCaller;
use crate::state::WebState;

/// What the provider says.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// Finishes a link. A browser is led to its source providers, a program gets the link.
pub(crate) async fn callback(
    State(state): State<WebState>,
    caller: Option<ApiCaller>,
    Path(provider): Path<ProviderId>,
    Query(answer): Query<Answer>,
    headers: HeaderMap,
) -> Response {
    let program = headers.contains_key(header::AUTHORIZATION);
    let person = caller.as_ref().map(|caller| caller.0.account().name.clone());
    let providers_page = |linked: &Linked| {
        let done = if linked.link.scopes_missing.is_empty() { "linked" } else { "linked-partly" };
        match person {
            Some(person) if person != linked.namespace => format!("/o/{}/settings/source-providers?done={done}", linked.namespace),
            _ => format!("/settings/source-providers?done={done}"),
        }
    };
    match finish(&state, caller, &provider, &answer).await {
        Ok(linked) if program => Json(Link::from(linked.link)).into_response(),
        Ok(linked) => Redirect::to(&providers_page(&linked)).into_response(),
        Err(error) if program => error.into_response(),
        Err(error) => crate::pages::error_page(error),
    }
}

async fn finish(state: &WebState, caller: Option<ApiCaller>, provider: &ProviderId, answer: &Answer) -> Result<Linked, ApiError> {
    let Some(ApiCaller(caller)) = caller else {
        return Err(ApiError::new(Code::BadState, "nobody is signed in here, so this answer of the provider belongs to nobody")
            .hint("sign in, then begin again under Source providers"));
    };
    let given = match (&answer.code, &answer.error) {
        (_, Some(error)) => Err(error.as_str()),
        (Some(code), None) if !code.is_empty() && code.len() <= 1000 => Ok(code.as_str()),
        _ => {
            return Err(
                ApiError::new(Code::BadState, "the answer of the provider has no `code`").hint("begin again under Source providers")
            );
        }
    };
    let (app, provider, begun) = (Arc::clone(state.app()), provider.clone(), answer.state.clone());
    let given = given.map(str::to_owned).map_err(str::to_owned);
    // The code is used up by the exchange: a browser that leaves meanwhile must not lose the grant that comes of it.
    let finished = async move { app.finish_connect(&caller, &provider, &begun, given.as_deref().map_err(String::as_str)).await };
    Ok(state.app().to_the_end(finished).await?)
}
