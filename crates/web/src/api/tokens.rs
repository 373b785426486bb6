//! `/api/v1/tokens`: personal access tokens of the caller; and how every access token is shown and wished for.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use slipway_app::{NewToken, TokenView};
use slipway_model::{Scope, ScopeSet, Timestamp, TokenId};
use utoipa::ToSchema;

use super::at::TokenAt;
use crate::edge::json::{Json, Path, cut};
use crate::edge::list::List;
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A token without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    /// Identity.
    #[schema(value_type = String)]
    id: TokenId,
    /// For people.
    name: String,
    /// What it may be used for.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// Only these repositories, as `namespace/name`; null for all that its account has.
    repositories: Option<Vec<String>>,
    /// Who made it; null for the command line and for people who are gone.
    created_by: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// From which address it was last used.
    last_used_from: Option<String>,
}

impl From<TokenView> for Token {
    fn from(view: TokenView) -> Self {
        let TokenView { token, repositories, created_by } = view;
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes.iter().copied().collect(),
            repositories,
            created_by,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            last_used_from: token.last_used_from,
        }
    }
}

/// A wish for a token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenWish {
    /// For people.
    name: String,
    /// What it may be used for; absent: everything.
    scopes: Option<Vec<String>>,
    /// Only these repositories, as `namespace/name`; absent: all that the account has.
    repositories: Option<Vec<String>>,
    /// When it ends; absent: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Value>,
}

/// A moment, or a refusal that names the field. [`Timestamp`] knows none after the year 9999.
fn end(value: &Value) -> Result<Timestamp, ApiError> {
    Timestamp::deserialize(value).map_err(|_| {
        let text = "`expires_at` is no moment before the year 10000, expected one like `2030-05-01T00:00:00Z`";
        ApiError::new(Code::Invalid, text).field("expires_at")
    })
}

impl TokenWish {
    /// As the application takes it.
    pub(super) fn read(self) -> Result<slipway_app::TokenWish, ApiError> {
        let scopes = match self.scopes {
            None => ScopeSet::all(),
            Some(words) => {
                let parse =
                    |word: &String| word.parse().map_err(|detail: String| ApiError::new(Code::Invalid, cut(&detail)).field("scopes"));
                ScopeSet::new(words.iter().map(parse).collect::<Result<Vec<Scope>, _>>()?)
            }
        };
        let expires_at = self.expires_at.as_ref().map(end).transpose()?;
        Ok(slipway_app::TokenWish { name: self.name, scopes, repositories: self.repositories, expires_at })
    }
}

/// A token that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeToken {
    /// Identity.
    #[schema(value_type = String)]
    id: TokenId,
    /// The secret; it is shown this once.
    token: String,
}

impl From<NewToken> for MadeToken {
    fn from(made: NewToken) -> Self {
        Self { id: made.id, token: made.secret.expose().to_owned() }
    }
}

/// The caller's tokens.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "account", responses((status = 200, body = List<Token>), Errors))]
pub(crate) async fn list(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<List<Token>>, ApiError> {
    let tokens = state.app().list_tokens(&caller).await?;
    Ok(Json(List::whole(tokens.into_iter().map(Token::from).collect())))
}

/// Makes a token.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "account", request_body = TokenWish, responses((status = 201, body = MadeToken), Errors))]
pub(crate) async fn create(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(wish): Json<TokenWish>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let made = state.app().create_token(&caller, &wish.read()?).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Revokes a token, from this moment on.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "account", params(TokenAt), responses((status = 204), Errors))]
pub(crate) async fn revoke(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<TokenAt>,
) -> Result<StatusCode, ApiError> {
    state.app().revoke_token(&caller, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
