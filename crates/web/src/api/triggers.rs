//! `/api/v1/repositories/{ns}/{name}/triggers`: secret addresses that start builds.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use slipway_app::NewTrigger;
use slipway_app::store::triggers::Trigger;
use slipway_model::{RefName, Timestamp, TriggerId};
use utoipa::ToSchema;

use super::at::{RepositoryAt, TriggerAt};
use crate::edge::json::{Json, Path};
use crate::edge::list::List;
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A build trigger, without its address.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TriggerView {
    #[schema(value_type = String)]
    id: TriggerId,
    /// For people.
    name: String,
    /// The only ref that it builds; null for what a call names.
    #[serde(rename = "ref")]
    #[schema(value_type = Option<String>)]
    source_ref: Option<RefName>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last called.
    #[schema(value_type = Option<String>, format = DateTime)]
    called_at: Option<Timestamp>,
}

impl From<Trigger> for TriggerView {
    fn from(trigger: Trigger) -> Self {
        Self {
            id: trigger.id,
            name: trigger.name,
            source_ref: trigger.source_ref,
            created_at: trigger.created_at,
            called_at: trigger.called_at,
        }
    }
}

/// A trigger that was just made, or got another secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeTrigger {
    #[serde(flatten)]
    trigger: TriggerView,
    /// The address with its secret; it is shown this once. A `POST` without a body starts the branches that rules with autobuild name;
    /// `{"source_type":"Branch","source_name":"main"}` and `{"docker_tag":"latest"}` start less, or another ref. One call in 10 s.
    url: String,
}

impl From<NewTrigger> for MadeTrigger {
    fn from(made: NewTrigger) -> Self {
        Self { url: made.url.into(), trigger: made.trigger.into() }
    }
}

/// A wish for a trigger.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes `TriggerWish` of the application for OpenAPI")]
pub(crate) struct TriggerWish {
    /// For people.
    name: String,
    /// The only ref that it builds, `refs/heads/...` or `refs/tags/...`; absent: what a call names.
    r#ref: Option<String>,
}

/// The triggers.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/triggers", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = List<TriggerView>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<List<TriggerView>>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    let triggers = state.app().list_triggers(&right).await?;
    Ok(Json(List::whole(triggers.into_iter().map(TriggerView::from).collect())))
}

/// Makes a trigger.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/triggers", tag = "autobuild", params(RepositoryAt), request_body = TriggerWish, responses((status = 201, body = MadeTrigger), Errors))]
pub(crate) async fn create(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Json(wish): Json<slipway_app::TriggerWish>,
) -> Result<(StatusCode, Json<MadeTrigger>), ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok((StatusCode::CREATED, Json(state.app().create_trigger(&right, &wish).await?.into())))
}

/// Gives a trigger another secret. The address before starts nothing any more.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/triggers/{id}/rotate", tag = "autobuild", params(TriggerAt), responses((status = 200, body = MadeTrigger), Errors))]
pub(crate) async fn rotate(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TriggerAt>,
) -> Result<Json<MadeTrigger>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().rotate_trigger(&right, at.id).await?.into()))
}

/// Deletes a trigger.
#[utoipa::path(delete, path = "/api/v1/repositories/{ns}/{name}/triggers/{id}", tag = "autobuild", params(TriggerAt), responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TriggerAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    state.app().delete_trigger(&right, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
