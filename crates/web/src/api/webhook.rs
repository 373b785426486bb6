//! `/api/v1/repositories/{ns}/{name}/hook` and `.../deploy-key`: how what stands at the provider does, and what a person does about it.
//!
//! Invariant: a secret leaves only by `show-secret` and `rotate-secret`, which are writes: they are in the audit log and in no cache.
//! Deliberately elsewhere: what came in through the webhook (`deliveries`).

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::{DeployKeyStatus, HookDelivery, HookSecret, HookStatus, LastDelivery};
use slipway_model::{DeliveryId, DeliveryStatus, Timestamp};
use utoipa::{IntoParams, ToSchema};

use super::at::{HookDeliveryAt, RepositoryAt};
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// The webhook at the provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HookView {
    /// Whether it stands at the provider.
    standing: bool,
    /// Whether it stands and nothing is wrong with it.
    right: bool,
    /// Whether a person has to put it up, because the link may not.
    manual: bool,
    /// Where its deliveries go.
    address: String,
    /// What it has to send.
    events: Vec<String>,
    /// Its id at the provider.
    remote_id: Option<String>,
    /// What the last try to put it up said.
    error: Option<String>,
    /// What the last look found wrong.
    problem: Option<String>,
    /// Since when it does not stand, or something is wrong with it.
    #[schema(value_type = Option<String>, format = DateTime)]
    wrong_since: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    checked_at: Option<Timestamp>,
    /// When it is looked at, or tried to be put up, next.
    #[schema(value_type = String, format = DateTime)]
    next_look_at: Timestamp,
    /// When it was last repaired without a person.
    #[schema(value_type = Option<String>, format = DateTime)]
    repaired_at: Option<Timestamp>,
    /// What was wrong then.
    repaired_why: Option<String>,
    /// Until when the secret before this one is accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<Timestamp>,
    /// When its newest delivery came here.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivery: Option<Timestamp>,
    /// What the provider said of its last delivery at the last look.
    last_there: Option<OutcomeThere>,
    /// Where a person sees it at the provider.
    settings_url: String,
}

impl From<HookStatus> for HookView {
    fn from(hook: HookStatus) -> Self {
        Self {
            standing: hook.standing,
            right: hook.right,
            manual: hook.manual,
            address: hook.address,
            events: hook.events,
            remote_id: hook.remote_id,
            error: hook.error,
            problem: hook.problem,
            wrong_since: hook.wrong_since,
            checked_at: hook.checked_at,
            next_look_at: hook.next_look_at,
            repaired_at: hook.repaired_at,
            repaired_why: hook.repaired_why,
            previous_secret_until: hook.previous_secret_until,
            last_delivery: hook.last_delivery,
            last_there: hook.last_there.map(OutcomeThere::from),
            settings_url: hook.settings_url,
        }
    }
}

/// How a delivery went, as the provider saw it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OutcomeThere {
    /// When, where it tells.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// What we answered; null when there was no answer.
    status: Option<u16>,
    /// In its words.
    words: String,
}

impl From<LastDelivery> for OutcomeThere {
    fn from(last: LastDelivery) -> Self {
        Self { at: last.at, status: last.status, words: last.words }
    }
}

/// What a person needs to put a webhook up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    /// Where deliveries go.
    address: String,
    /// What they are signed with.
    secret: String,
    /// What has to be sent.
    events: Vec<String>,
    /// The page at the provider.
    settings_url: String,
}

impl From<HookSecret> for SecretView {
    fn from(shown: HookSecret) -> Self {
        Self { secret: shown.expose().to_owned(), address: shown.address, events: shown.events, settings_url: shown.settings_url }
    }
}

/// A webhook after its secret was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RotatedView {
    hook: HookView,
    /// The new secret when a person has to enter it at the provider; null when Slipway told the provider itself.
    secret: Option<SecretView>,
}

/// A page of the provider's own log of the webhook's deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RemoteDeliveryList {
    /// Newest first.
    items: Vec<RemoteDeliveryView>,
    /// The cursor of the next part; null at the end.
    next: Option<String>,
    /// Why there is none, when the provider shows none.
    unsupported: Option<String>,
    /// Where a person sees it at the provider.
    settings_url: String,
}

/// A delivery as the provider logged it, and what it is here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RemoteDeliveryView {
    /// What `redeliver` takes.
    id: String,
    /// The id that the request carried.
    delivery_id: String,
    /// The provider's word for what happened.
    event: String,
    outcome: OutcomeThere,
    /// The delivery here; null when it never came.
    here: Option<HereView>,
}

/// A delivery of the inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HereView {
    #[schema(value_type = String)]
    id: DeliveryId,
    /// `accepted`, `ignored`, `duplicate` or `rejected`.
    #[schema(value_type = String)]
    status: DeliveryStatus,
}

impl From<HookDelivery> for RemoteDeliveryView {
    fn from(logged: HookDelivery) -> Self {
        Self {
            id: logged.id,
            delivery_id: logged.delivery_id,
            event: logged.event,
            outcome: logged.outcome.into(),
            here: logged.here.map(|(id, status)| HereView { id, status }),
        }
    }
}

/// Which part of the provider's log is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogCursor {
    /// The `next` of the part before.
    cursor: Option<String>,
}

/// The deploy key of the source.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeployKeyView {
    /// `wanted`, `standing` or `forbidden`.
    state: &'static str,
    /// `ssh-ed25519 AAAA...`.
    public_key: String,
    /// `SHA256:...`, as providers show it.
    fingerprint: String,
    /// Its id at the provider.
    remote_id: Option<String>,
    /// What the provider said when it does not stand.
    error: Option<String>,
    /// Whether it is being changed for another one, which does not stand yet.
    changing: bool,
    /// When it was last seen at the provider.
    #[schema(value_type = Option<String>, format = DateTime)]
    checked_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Where a person sees it at the provider.
    settings_url: String,
}

impl From<DeployKeyStatus> for DeployKeyView {
    fn from(key: DeployKeyStatus) -> Self {
        Self {
            state: key.state,
            public_key: key.public_key,
            fingerprint: key.fingerprint,
            remote_id: key.remote_id,
            error: key.error,
            changing: key.changing,
            checked_at: key.checked_at,
            created_at: key.created_at,
            settings_url: key.settings_url,
        }
    }
}

/// How the webhook stands. 404 when the repository has none.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/hook", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = HookView), Errors))]
pub(crate) async fn get(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<HookView>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().get_hook(&right).await?.into()))
}

/// Looks at the webhook at the provider now. What was found is in the answer.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/hook/check", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = HookView), Errors))]
pub(crate) async fn check(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<HookView>, ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().look_at_hook(&right).await?.into()))
}

/// Puts the webhook up again, or sets right what is wrong with it, now. What the provider said is in the answer.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/hook/repair", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = HookView), Errors))]
pub(crate) async fn repair(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<HookView>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().repair_hook(&right).await?.into()))
}

/// Gives the webhook another secret. Both are accepted for a day.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/hook/rotate-secret", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = RotatedView), Errors))]
pub(crate) async fn rotate_secret(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<RotatedView>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    let (hook, secret) = state.app().rotate_hook_secret(&right).await?;
    Ok(Json(RotatedView { hook: hook.into(), secret: secret.map(SecretView::from) }))
}

/// Address and secret of a webhook that a person has to put up at the provider. Each showing is in the audit log.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/hook/show-secret", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = SecretView), Errors))]
pub(crate) async fn show_secret(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<SecretView>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().show_hook_secret(&right).await?.into()))
}

/// The provider's own log of the webhook's deliveries, beside what came here. Asks the provider, so it needs `write`.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/hook/deliveries", tag = "deliveries", params(RepositoryAt, LogCursor), responses((status = 200, body = RemoteDeliveryList), Errors))]
pub(crate) async fn deliveries(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
    Query(query): Query<LogCursor>,
) -> Result<Json<RemoteDeliveryList>, ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    let cursor: Option<String> = Paging { limit: None, cursor: query.cursor }.after()?;
    let page = state.app().remote_deliveries(&right, cursor.as_deref()).await?;
    let List { items, next } = List::part(page.items.into_iter().map(RemoteDeliveryView::from).collect(), page.next);
    Ok(Json(RemoteDeliveryList { items, next, unsupported: page.unsupported, settings_url: page.settings_url }))
}

/// Asks the provider to send a delivery of its log once more. It comes, or not, as any other delivery does.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/hook/deliveries/{id}/redeliver", tag = "deliveries", params(HookDeliveryAt), responses((status = 202), Errors))]
pub(crate) async fn redeliver(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<HookDeliveryAt>,
) -> Result<StatusCode, ApiError> {
    let right = state.app().repository_write(&caller, &at.ns, &at.name).await?;
    state.app().redeliver(&right, &at.id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// How the deploy key of the source stands. 404 when it has none: a public source needs no key.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/deploy-key", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = DeployKeyView), Errors))]
pub(crate) async fn deploy_key(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<DeployKeyView>, ApiError> {
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let key = state.app().get_deploy_key(&right).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(key.into()))
}

/// Changes the deploy key for another one, of every repository of the namespace with this source.
#[utoipa::path(post, path = "/api/v1/repositories/{ns}/{name}/deploy-key/rotate", tag = "autobuild", params(RepositoryAt), responses((status = 200, body = DeployKeyView), Errors))]
pub(crate) async fn rotate_deploy_key(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<RepositoryAt>,
) -> Result<Json<DeployKeyView>, ApiError> {
    let right = state.app().repository_admin(&caller, &at.ns, &at.name).await?;
    Ok(Json(state.app().rotate_deploy_key(&right).await?.into()))
}
