//! `GET /api/v1/me`.

use serde::Serialize;
use slipway_model::{AccountId, AccountName, Timestamp};
use utoipa::ToSchema;

use crate::edge::json::Json;
use crate::openapi::Errors;
use crate::session::ApiCaller;

/// The account that a request belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// Identity.
    #[schema(value_type = String)]
    id: AccountId,
    /// The name, which is also the namespace.
    #[schema(value_type = String)]
    name: AccountName,
    /// For people.
    display_name: String,
    /// Where notifications go.
    email: Option<String>,
    /// Whether it administers this server.
    admin: bool,
    /// Since when it exists.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// The account that the request belongs to.
#[utoipa::path(get, path = "/api/v1/me", tag = "account", responses((status = 200, body = Me), Errors))]
pub(crate) async fn get(ApiCaller(caller): ApiCaller) -> Json<Me> {
    let account = caller.account();
    Json(Me {
        id: account.id,
        name: account.name.clone(),
        display_name: account.display_name.clone(),
        email: account.email.clone(),
        admin: account.is_admin,
        created_at: account.created_at,
    })
}
