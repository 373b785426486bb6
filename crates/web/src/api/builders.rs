//! `/api/v1/admin/builders` and `/api/v1/admin/builder-join-tokens`: the machines that build, and how others become one of them.
//!
//! Invariant: only administrators of the installation; a join token is in the one answer that makes it.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::store::join_tokens::JoinToken as Row;
use slipway_app::{Drain, NodeEdit, NodeState, NodeView};
use slipway_model::{BuilderId, JoinTokenId, Timestamp};
use utoipa::ToSchema;

use super::at::{BuilderAt, JoinTokenAt};
use crate::edge::json::{Json, Path};
use crate::edge::list::List;
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// A builder node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BuilderNode {
    /// Identity.
    #[schema(value_type = String)]
    id: BuilderId,
    /// The machine's name.
    name: String,
    /// Whether it is part of the server.
    builtin: bool,
    /// `idle`, `building`, `full`, `draining`, `drained`, `no_builder_label`, `no_engine`, `too_old` or `offline`.
    state: &'static str,
    /// What is wrong with it, in words.
    problem: Option<String>,
    /// What to do.
    hint: Option<String>,
    /// Why it cannot have engines of its own, which hooks, tests and other people's commits need; such builds go to others. Null when it can.
    obstacle: Option<String>,
    /// Like `builder=2` or `ssd`.
    labels: Vec<String>,
    /// How many builds it runs at most.
    parallel: u32,
    /// How many it runs now.
    running: u64,
    /// Its engine as it last answered.
    engine: Option<String>,
    /// Version of its program; empty until it says so.
    version: String,
    /// What its git prints; empty until it says so.
    git: String,
    /// Who made its join token; null for the built-in one.
    joined_by: Option<String>,
    /// Since when it takes no new builds.
    #[schema(value_type = Option<String>, format = DateTime)]
    draining_since: Option<Timestamp>,
    /// When it last spoke.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<NodeView> for BuilderNode {
    fn from(view: NodeView) -> Self {
        let state = view.state.as_str();
        let (problem, hint) = match view.state {
            NodeState::TooOld(old) => (Some(old.detail), Some(old.hint)),
            NodeState::NoEngine { problem, hint } => (Some(problem), Some(hint)),
            _ => (None, None),
        };
        let builder = view.builder;
        Self {
            id: builder.id,
            builtin: builder.builtin,
            state,
            problem,
            hint,
            labels: builder.labels.iter().collect(),
            parallel: if builder.parallel == 0 { 0 } else { builder.places() },
            obstacle: builder.obstacle,
            running: view.running,
            engine: view.engine,
            draining_since: builder.draining_since,
            seen_at: builder.last_seen_at,
            created_at: builder.created_at,
            name: builder.name,
            version: builder.version,
            git: builder.git,
            joined_by: builder.joined_by,
        }
    }
}

/// A change of a builder node; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuilderEdit {
    /// All of its labels: `["builder=2", "ssd"]`. Without `builder` or `builder=n` it gets no builds.
    labels: Option<Vec<String>>,
    /// Whether it takes no new builds.
    draining: Option<bool>,
}

/// The confirmation of a removal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuilderRemoval {
    /// The node's name.
    confirm: String,
}

/// A wish for a join token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinTokenWish {
    /// The labels of the node; absent: `["builder"]`.
    labels: Option<Vec<String>>,
}

/// A join token that waits for a machine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JoinToken {
    /// Identity.
    #[schema(value_type = String)]
    id: JoinTokenId,
    /// The labels of the node that it makes.
    labels: Vec<String>,
    /// The name of who made it.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<Row> for JoinToken {
    fn from(row: Row) -> Self {
        let Row { id, labels, created_by_name, created_at, expires_at, .. } = row;
        Self { id, labels: labels.iter().collect(), created_by: created_by_name, created_at, expires_at }
    }
}

/// A join token that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeJoinToken {
    /// Identity.
    #[schema(value_type = String)]
    id: JoinTokenId,
    /// The secret for `slipway builder --token-file`; shown this once.
    token: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Labels hold no space and no comma, so joined ones are read as what they were.
fn joined(labels: Vec<String>) -> Result<String, ApiError> {
    match labels.iter().find(|label| label.is_empty() || label.contains(|c: char| c.is_whitespace() || c == ',')) {
        None => Ok(labels.join(" ")),
        Some(label) => {
            let shown: String = label.chars().take(63).collect();
            Err(ApiError::new(crate::error::Code::Invalid, format!("`{shown}` is no label, expected one without spaces and commas"))
                .field("labels"))
        }
    }
}

/// All builder nodes by name, at most 1,000.
#[utoipa::path(get, path = "/api/v1/admin/builders", tag = "administration", responses((status = 200, body = List<BuilderNode>), Errors))]
pub(crate) async fn list(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<List<BuilderNode>>, ApiError> {
    state.app().administrator(&caller)?;
    Ok(Json(List::whole(state.app().list_nodes().await?.into_iter().map(BuilderNode::from).collect())))
}

/// One builder node.
#[utoipa::path(get, path = "/api/v1/admin/builders/{id}", tag = "administration", params(BuilderAt), responses((status = 200, body = BuilderNode), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuilderAt>,
) -> Result<Json<BuilderNode>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    Ok(Json(state.app().get_node(&administrator, at.id).await?.into()))
}

/// Changes a node's labels, or lets it take no new builds. It counts from the next build on.
#[utoipa::path(patch, path = "/api/v1/admin/builders/{id}", tag = "administration", params(BuilderAt), request_body = BuilderEdit, responses((status = 200, body = BuilderNode), Errors))]
pub(crate) async fn change(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuilderAt>,
    Json(edit): Json<BuilderEdit>,
) -> Result<Json<BuilderNode>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let drain = edit.draining.map(|draining| if draining { Drain::Begin } else { Drain::End });
    let edit = NodeEdit { labels: edit.labels.map(joined).transpose()?, drain };
    Ok(Json(state.app().change_node(&administrator, at.id, &edit).await?.into()))
}

/// Removes a node: its credential ends, and what it is building is given to others.
#[utoipa::path(delete, path = "/api/v1/admin/builders/{id}", tag = "administration", params(BuilderAt), request_body = BuilderRemoval, responses((status = 204), Errors))]
pub(crate) async fn remove(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuilderAt>,
    Json(removal): Json<BuilderRemoval>,
) -> Result<StatusCode, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    state.app().remove_node(&administrator, at.id, &removal.confirm).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Join tokens that wait for a machine, newest first.
#[utoipa::path(get, path = "/api/v1/admin/builder-join-tokens", tag = "administration", responses((status = 200, body = List<JoinToken>), Errors))]
pub(crate) async fn tokens(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<List<JoinToken>>, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let found = state.app().list_join_tokens(&administrator).await?;
    Ok(Json(List::whole(found.into_iter().map(JoinToken::from).collect())))
}

/// Makes a token with which one machine becomes a builder node, within an hour.
#[utoipa::path(post, path = "/api/v1/admin/builder-join-tokens", tag = "administration", request_body = JoinTokenWish, responses((status = 201, body = MadeJoinToken), Errors))]
pub(crate) async fn make_token(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(wish): Json<JoinTokenWish>,
) -> Result<(StatusCode, Json<MadeJoinToken>), ApiError> {
    let administrator = state.app().administrator(&caller)?;
    let labels = wish.labels.map_or_else(|| Ok("builder".to_owned()), joined)?;
    let made = state.app().make_join_token(&administrator, &labels).await?;
    let answer = MadeJoinToken { id: made.id, token: made.token.expose().to_owned(), expires_at: made.expires_at };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Takes a join token back that made no node yet.
#[utoipa::path(delete, path = "/api/v1/admin/builder-join-tokens/{id}", tag = "administration", params(JoinTokenAt), responses((status = 204), Errors))]
pub(crate) async fn revoke_token(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<JoinTokenAt>,
) -> Result<StatusCode, ApiError> {
    let administrator = state.app().administrator(&caller)?;
    state.app().revoke_join_token(&administrator, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
