//! `/api/v1/repositories/{ns}/{name}/deliveries`: every received webhook request with its verdicts, and replay; and the list of the
//! requests that were refused.
//!
//! Invariant: a body leaves as bytes that no browser shows as a page. Deliberately elsewhere: the webhook itself (`webhook`).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::{Deserialize, Serialize};
use slipway_app::store::deliveries::Verdict;
use slipway_app::{DeliveryBody, DeliveryDetail, DeliveryEntry, DeliveryEvent, DeliveryFilter, RefusedRequest};
use slipway_model::{BuildId, DeliveryId, DeliveryStatus, RuleId, Timestamp, VerdictOutcome};
use utoipa::{IntoParams, ToSchema};

use super::at::{DeliveryAt, RepositoryAt};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::{ApiError, Code};
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
    /// The provider's word for the event; `reconcile` for what the reconciler found without a delivery.
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
    /// The changes of refs that were read from it.
    events: Vec<EventView>,
    /// The beginning of the body as text; bytes that are no text are replaced. Empty for a duplicate.
    body: String,
    /// How long the whole body is.
    body_bytes: u64,
    /// Whether `body` is only a part; `.../body` gives all of it.
    body_is_cut: bool,
}

/// A change of a ref that a delivery told of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// For a ref that cannot be used, as it came.
    #[serde(rename = "ref")]
    source_ref: String,
    /// Where it stood; null when it was made.
    before: Option<String>,
    /// Where it went; null when it was deleted.
    after: Option<String>,
    /// Who the commit says wrote it. For display only.
    author: Option<String>,
}

impl From<DeliveryEvent> for EventView {
    fn from(event: DeliveryEvent) -> Self {
        Self { source_ref: event.source_ref, before: event.before, after: event.after, author: event.author }
    }
}

impl From<DeliveryDetail> for RawDeliveryView {
    fn from(detail: DeliveryDetail) -> Self {
        let DeliveryDetail { delivery, verdicts, headers, body: DeliveryBody { text, bytes, is_cut }, events } = detail;
        let events = events.into_iter().map(EventView::from).collect();
        Self { delivery: DeliveryEntry { delivery, verdicts }.into(), headers, events, body: text, body_bytes: bytes, body_is_cut: is_cut }
    }
}

/// Which deliveries are wanted; absent: all.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryQuery {
    /// `accepted`, `ignored`, `duplicate` or `rejected`.
    status: Option<String>,
    /// The provider's word for the event; `reconcile` for what the reconciler found.
    event: Option<String>,
    /// A ref with a verdict: its full name, or that of a branch or tag.
    #[serde(rename = "ref")]
    #[param(rename = "ref")]
    source_ref: Option<String>,
    /// With a verdict like this: `built`, `no_match`, `disabled`, `skipped`, `refused` or `ignored`.
    outcome: Option<String>,
    /// Received then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    after: Option<Timestamp>,
    /// Received before then.
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<Timestamp>,
}

impl DeliveryQuery {
    fn filter(self) -> Result<DeliveryFilter, ApiError> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(DeliveryFilter {
            status: word("status", given(self.status))?,
            event: given(self.event),
            source_ref: given(self.source_ref),
            outcome: word("outcome", given(self.outcome))?,
            since: self.after,
            until: self.before,
        })
    }
}

fn word<T: std::str::FromStr<Err = String>>(field: &str, text: Option<String>) -> Result<Option<T>, ApiError> {
    text.map(|text| text.parse::<T>().map_err(|expected| ApiError::new(Code::Invalid, expected).field(field))).transpose()
}

/// A request at the webhook's address that was refused. Nothing of what it carried is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Where it came from.
    address: String,
    /// Why it was refused.
    reason: String,
    /// Bytes of its body.
    size: u64,
}

impl From<RefusedRequest> for RefusedView {
    fn from(request: RefusedRequest) -> Self {
        Self { at: request.at, address: request.address.to_string(), reason: request.reason, size: request.size }
    }
}

/// Deliveries of a repository, newest first, and among them what the reconciler found.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/deliveries", tag = "deliveries", params(RepositoryAt, DeliveryQuery, Paging), responses((status = 200, body = List<DeliveryView>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Query(query): Query<DeliveryQuery>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<DeliveryView>>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let (filter, limit, before) = (query.filter()?, paging.limit()?, paging.after()?);
    let rows = state.app().list_deliveries(&right, &filter, before, limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.delivery.id.to_string(), DeliveryView::from)))
}

/// A delivery with headers, what was read from it, and the beginning of its body.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/deliveries/{id}", tag = "deliveries", params(DeliveryAt), responses((status = 200, body = RawDeliveryView), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<DeliveryAt>,
) -> Result<Json<RawDeliveryView>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().get_delivery(&right, at.id).await?.into()))
}

/// The whole body of a delivery, byte by byte.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/deliveries/{id}/body", tag = "deliveries", params(DeliveryAt), responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), Errors))]
pub(crate) async fn body(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<DeliveryAt>,
) -> Result<Response, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let body = state.app().delivery_body(&right, at.id).await?;
    // Somebody else's bytes under our own origin: to be kept, never to be shown. `nosniff` stands on every answer.
    let place = format!("attachment; filename=\"delivery-{}.txt\"", at.id);
    Ok(([(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, place)], body).into_response())
}

/// The last requests at the webhook's address that were refused, newest first; at most 20.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/refused-requests", tag = "deliveries", params(RepositoryAt), responses((status = 200, body = List<RefusedView>), Errors))]
pub(crate) async fn refused(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<List<RefusedView>>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let found = state.app().list_refused_requests(&right).await?;
    Ok(Json(List::whole(found.into_iter().map(RefusedView::from).collect())))
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
