//! `/api/v1/namespaces/{ns}`: whose namespace it is, and what the caller is in it.

use axum::extract::State;
use serde::Serialize;
use slipway_model::{AccountKind, AccountName, Timestamp};
use utoipa::ToSchema;

use super::at::NamespaceAt;
use super::organizations::standing_word;
use crate::edge::json::{Json, Path};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Namespace {
    /// The current name, also when a former one was asked for.
    #[schema(value_type = String)]
    name: AccountName,
    display_name: String,
    /// `user`, `organization` or `service`.
    #[schema(value_type = String)]
    kind: AccountKind,
    /// What the caller is in it: `owner`, `member` or `outsider`.
    standing: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A namespace. Strangers see it when something in it is public.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}", tag = "organizations", params(NamespaceAt), responses((status = 200, body = Namespace), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    caller: Option<ApiCaller>,
    Path(at): Path<NamespaceAt>,
) -> Result<Json<Namespace>, ApiError> {
    let view = state.app().namespace_view(caller.as_ref().map(|caller| &caller.0), &at.ns).await?;
    let account = view.account();
    Ok(Json(Namespace {
        name: account.name.clone(),
        display_name: account.display_name.clone(),
        kind: account.kind,
        standing: standing_word(view.standing()),
        created_at: account.created_at,
    }))
}
