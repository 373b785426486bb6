//! `DELETE /api/v1/namespaces/{ns}/links/{provider}`, what it would do, and the receipts of what it did.

use axum::extract::State;
use serde::Serialize;
use slipway_app::{Receipt, ReceiptItem, UnlinkPreview, UnlinkSource};
use slipway_model::{LinkId, ProviderId, ReceiptId, Scope, Timestamp};
use utoipa::ToSchema;

use super::at::{LinkAt, NamespaceAt, ReceiptAt};
use super::links::Which;
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// What became of everything that a link had made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnlinkReceipt {
    #[schema(value_type = String)]
    id: ReceiptId,
    #[schema(value_type = String)]
    provider: ProviderId,
    login: String,
    /// When it was begun.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When it was complete; null while it goes on.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// What was done.
    done: Vec<UnlinkItem>,
    /// What could not be done, with the address where a person can do it.
    left: Vec<UnlinkItem>,
    /// What was left on purpose, because another link serves it.
    kept: Vec<UnlinkItem>,
    /// Repositories that are not built any more.
    stopped: Vec<String>,
}

/// One line of the receipt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnlinkItem {
    what: String,
    url: Option<String>,
}

impl From<Receipt> for UnlinkReceipt {
    fn from(receipt: Receipt) -> Self {
        let items = |all: Vec<ReceiptItem>| all.into_iter().map(|item| UnlinkItem { what: item.what, url: item.url }).collect();
        Self {
            id: receipt.id,
            provider: receipt.provider,
            login: receipt.login,
            at: receipt.at,
            finished_at: receipt.finished_at,
            done: items(receipt.done),
            left: items(receipt.left),
            kept: items(receipt.kept),
            stopped: receipt.stopped,
        }
    }
}

/// What unlinking would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnlinkPlan {
    #[schema(value_type = Option<String>)]
    link: Option<LinkId>,
    login: Option<String>,
    /// Each source of the link and what becomes of it.
    sources: Vec<UnlinkPlanSource>,
    /// Repositories that would not be built any more.
    stops: Vec<String>,
    /// What becomes of the grant at the provider.
    grant: String,
    /// What there is to know before.
    warnings: Vec<String>,
}

/// A source of the link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnlinkPlanSource {
    repository: String,
    source: String,
    /// Whether a webhook of ours stands there.
    hook: bool,
    /// Whether a deploy key of ours stands there.
    deploy_key: bool,
    /// How many build rules there are.
    rules: usize,
    /// The login of the link that serves it from then on; null when its rules stop.
    served_by: Option<String>,
    /// The login of the link that may serve it again once it is enabled: webhook and deploy key stay for it.
    kept_for: Option<String>,
}

impl From<UnlinkPreview> for UnlinkPlan {
    fn from(preview: UnlinkPreview) -> Self {
        let source = |one: UnlinkSource| UnlinkPlanSource {
            repository: one.repository,
            source: one.source,
            hook: one.hook,
            deploy_key: one.key,
            rules: one.rules,
            served_by: one.served_by,
            kept_for: one.kept_for,
        };
        Self {
            link: preview.link.id,
            login: preview.link.login,
            sources: preview.sources.into_iter().map(source).collect(),
            stops: preview.stops,
            grant: preview.grant,
            warnings: preview.warnings,
        }
    }
}

/// What unlinking would remove and stop. Nothing is changed.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/links/{provider}/unlink-preview", tag = "links", params(LinkAt, Which), responses((status = 200, body = UnlinkPlan), Errors))]
pub(crate) async fn preview(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Query(which): Query<Which>,
) -> Result<Json<UnlinkPlan>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    Ok(Json(state.app().preview_unlink(&owner, &at.provider, which.link).await?.into()))
}

/// Unlinks: removes our webhooks, deploy keys and the grant at the provider, and tells what could not be removed.
#[utoipa::path(delete, path = "/api/v1/namespaces/{ns}/links/{provider}", tag = "links", params(LinkAt, Which), responses((status = 200, body = UnlinkReceipt), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<LinkAt>,
    Query(which): Query<Which>,
) -> Result<Json<UnlinkReceipt>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoAdmin).await?;
    Ok(Json(state.app().unlink(&owner, &at.provider, which.link).await?.into()))
}

/// Receipts of a namespace, newest first.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/receipts", tag = "links", params(NamespaceAt, Paging), responses((status = 200, body = List<UnlinkReceipt>), Errors))]
pub(crate) async fn receipts(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<NamespaceAt>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<UnlinkReceipt>>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    let limit = paging.limit()?.min(99);
    let rows = state.app().receipts(&owner, paging.after()?, limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.id.to_string(), UnlinkReceipt::from)))
}

/// One receipt.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/receipts/{id}", tag = "links", params(ReceiptAt), responses((status = 200, body = UnlinkReceipt), Errors))]
pub(crate) async fn receipt(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<ReceiptAt>,
) -> Result<Json<UnlinkReceipt>, ApiError> {
    let owner = state.app().namespace(&caller, &at.ns, Scope::RepoRead).await?;
    Ok(Json(state.app().receipt(&owner, at.id).await?.into()))
}
