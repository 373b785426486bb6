//! `/api/v1/repositories/{ns}/{name}/deliveries`: every received webhook request with its verdicts, and replay.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use slipway_app::store::deliveries::Verdict;
use slipway_app::{DeliveryDetail, DeliveryEntry, DeliveryFilter};
use slipway_model::{BuildId, DeliveryId, DeliveryStatus, RuleId, Timestamp, VerdictOutcome};
use utoipa::ToSchema;

use super::at::{DeliveryAt, RepositoryAt};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A delivery with its verdicts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    #[schema(value_type = String)]
    id: DeliveryId,
    /// The provider's id of it.
    delivery_id: String,
    /// The provider's word for the event.
    event: String,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// `accepted`, `ignored`, `duplicate` or `rejected`.
    #[schema(value_type = String)]
    status: DeliveryStatus,
    /// Why, when the status alone does not say.
    detail: Option<String>,
    /// The first delivery of the same content.
    #[schema(value_type = Option<String>)]
    duplicate_of: Option<DeliveryId>,
    /// When it was decided; null while it waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    processed_at: Option<Timestamp>,
    /// In order; those of replays stand behind the first ones.
    verdicts: Vec<VerdictView>,
}

/// What one rule, or Slipway as a whole, decided about one ref.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerdictView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The rule in words; empty when the decision came before the rules.
    rule: String,
    #[schema(value_type = Option<String>)]
    rule_id: Option<RuleId>,
    #[serde(rename = "ref")]
    source_ref: String,
    /// `built`, `no_match`, `disabled`, `skipped`, `refused` or `ignored`.
    #[schema(value_type = String)]
    outcome: VerdictOutcome,
    text: String,
    #[schema(value_type = Option<String>)]
    build: Option<BuildId>,
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> Self {
        Self {
            at: verdict.at,
            rule: verdict.rule,
            rule_id: verdict.rule_id,
            source_ref: verdict.source_ref,
            outcome: verdict.outcome,
            text: verdict.text,
            build: verdict.build,
        }
    }
}

impl From<DeliveryEntry> for DeliveryView {
    fn from(detail: DeliveryEntry) -> Self {
        let delivery = detail.delivery;
        Self {
            id: delivery.id,
            delivery_id: delivery.delivery_id,
            event: delivery.event,
            received_at: delivery.received_at,
            status: delivery.status,
            detail: delivery.detail,
            duplicate_of: delivery.duplicate_of,
            processed_at: delivery.processed_at,
            verdicts: detail.verdicts.into_iter().map(VerdictView::from).collect(),
        }
    }
}

impl From<DeliveryDetail> for DeliveryView {
    fn from(detail: DeliveryDetail) -> Self {
        DeliveryEntry { delivery: detail.delivery, verdicts: detail.verdicts }.into()
    }
}

/// A delivery with all that came with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RawDeliveryView {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// As they came; secrets and signatures are masked.
    headers: BTreeMap<String, String>,
    /// As it came; bytes that are no text are replaced. Empty for a duplicate.
    body: String,
}

/// Deliveries of a repository, newest first.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/deliveries", tag = "deliveries", params(RepositoryAt, Paging), responses((status = 200, body = List<DeliveryView>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<DeliveryView>>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let (limit, before) = (paging.limit()?, paging.after()?);
    let rows = state.app().list_deliveries(&right, &DeliveryFilter::default(), before, limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.delivery.id.to_string(), DeliveryView::from)))
}

/// A delivery with headers and body.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/deliveries/{id}", tag = "deliveries", params(DeliveryAt), responses((status = 200, body = RawDeliveryView), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<DeliveryAt>,
) -> Result<Json<RawDeliveryView>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let detail = state.app().get_delivery(&right, at.id).await?;
    let body = state.app().delivery_body(&right, at.id).await?;
    Ok(Json(RawDeliveryView {
        headers: detail.headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
        delivery: detail.into(),
    }))
}

/// Decides about a delivery once more, under the rules as they are now.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/deliveries/{id}/replay", tag = "deliveries", params(DeliveryAt), responses((status = 200, body = DeliveryView), Errors))]
pub(crate) async fn replay(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<DeliveryAt>,
) -> Result<Json<DeliveryView>, ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    state.app().replay(&right, at.id, caller.account().id).await?;
    let detail = state.app().get_delivery(&right.into(), at.id).await?;
    Ok(Json(detail.into()))
}
