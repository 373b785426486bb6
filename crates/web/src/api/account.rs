//! `/api/v1/me/...`: how the account signs in: password, e-mail, sessions, second factor, identities elsewhere.
//!
//! Invariant: a change of one's own rights ends all other sessions, and the browser that made it gets a new one at once, by cookie.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use slipway_app::{SecondFactorState, SignIn};
use slipway_model::{IdentityId, SessionId, Timestamp};
use utoipa::ToSchema;

use super::at::{IdentityAt, SessionAt};
use crate::edge::json::{Json, Path};
use crate::edge::list::List;
use crate::error::ApiError;
use crate::openapi::Errors;
use crate::session::{ApiCaller, Client, session_cookie};
use crate::state::WebState;

/// A new password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The one until now.
    #[schema(value_type = String)]
    current: SecretString,
    /// 8 to 1024 bytes.
    #[schema(value_type = String)]
    new: SecretString,
}

/// A new address.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailChange {
    email: String,
    /// The password, when the account has one.
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
}

/// The secret of a mail that we sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    token: String,
}

/// A browser that is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionView {
    /// Identity.
    #[schema(value_type = String)]
    id: SessionId,
    /// Whether this very request came with it.
    current: bool,
    /// The address that the person signed in from.
    address: String,
    /// What the browser calls itself.
    user_agent: String,
    /// When the person signed in.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to a few minutes.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// How the second factor stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecondFactor {
    /// `off`, `waiting` (for its first code) or `on`.
    state: &'static str,
    /// Recovery codes that were not used yet.
    recovery_codes_left: u32,
}

/// The proof that it is the person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordProof {
    #[schema(value_type = String)]
    password: SecretString,
}

/// The proof that it is the person, who has the second factor.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullProof {
    #[schema(value_type = String)]
    password: SecretString,
    /// Of the authenticator, or a recovery code.
    code: String,
}

/// A code of the authenticator.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeProof {
    code: String,
}

/// What goes into the authenticator; shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Enrolment {
    /// The secret in base 32.
    secret: String,
    /// The same as an `otpauth:` address.
    uri: String,
    /// The same as an SVG image.
    qr_svg: String,
}

/// Codes that stand in for the authenticator, each once; shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// Who the account is at an OpenID Connect provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Identity {
    /// Identity.
    #[schema(value_type = String)]
    id: IdentityId,
    /// The provider's address.
    issuer: String,
    /// The provider's name of the person, which never changes.
    subject: String,
    /// What the provider said for people when it was added.
    label: String,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When somebody last signed in with it.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

/// An answer that gives a browser its new session.
fn with_session(state: &WebState, sign_in: Option<SignIn>, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Some(sign_in) = sign_in {
        response.headers_mut().append(header::SET_COOKIE, session_cookie(state, &sign_in));
    }
    response
}

/// Changes the password. All other sessions end; a browser gets a new cookie.
#[utoipa::path(put, path = "/api/v1/me/password", tag = "account", request_body = PasswordChange, responses((status = 204), Errors))]
pub(crate) async fn change_password(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Client(client): Client,
    Json(change): Json<PasswordChange>,
) -> Result<Response, ApiError> {
    let sign_in = state.app().change_password(&caller, &change.current, &change.new, &client).await?;
    Ok(with_session(&state, sign_in, StatusCode::NO_CONTENT))
}

/// Sends a mail to the new address; it counts once it is confirmed.
#[utoipa::path(put, path = "/api/v1/me/email", tag = "account", request_body = EmailChange, responses((status = 202), Errors))]
pub(crate) async fn change_email(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(change): Json<EmailChange>,
) -> Result<StatusCode, ApiError> {
    state.app().change_email(&caller, &change.email, change.password.as_ref()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Confirms an address with the secret of the mail. Whoever has the secret may; no credential is needed.
#[utoipa::path(post, path = "/api/v1/email-confirmations", tag = "account", security(), request_body = Confirmation, responses((status = 204), Errors))]
pub(crate) async fn confirm_email(
    State(state): State<WebState>,
    _counted: Option<ApiCaller>,
    Json(confirmation): Json<Confirmation>,
) -> Result<StatusCode, ApiError> {
    state.app().confirm_email(&confirmation.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The browsers that are signed in as the account.
#[utoipa::path(get, path = "/api/v1/me/sessions", tag = "account", responses((status = 200, body = List<SessionView>), Errors))]
pub(crate) async fn sessions(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<List<SessionView>>, ApiError> {
    let found = state.app().list_sessions(&caller).await?;
    let view = |session: slipway_app::store::sessions::Session| SessionView {
        current: caller.session() == Some(session.id),
        id: session.id,
        address: session.address,
        user_agent: session.user_agent,
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        expires_at: session.expires_at,
    };
    Ok(Json(List::whole(found.into_iter().map(view).collect())))
}

/// Ends all sessions but the one of this request.
#[utoipa::path(delete, path = "/api/v1/me/sessions", tag = "account", responses((status = 204), Errors))]
pub(crate) async fn end_other_sessions(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<StatusCode, ApiError> {
    state.app().end_other_sessions(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session, from this moment on.
#[utoipa::path(delete, path = "/api/v1/me/sessions/{id}", tag = "account", params(SessionAt), responses((status = 204), Errors))]
pub(crate) async fn end_session(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<SessionAt>,
) -> Result<StatusCode, ApiError> {
    state.app().end_session(&caller, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How the second factor stands.
#[utoipa::path(get, path = "/api/v1/me/second-factor", tag = "account", responses((status = 200, body = SecondFactor), Errors))]
pub(crate) async fn second_factor(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<SecondFactor>, ApiError> {
    let found = state.app().second_factor(&caller).await?;
    let word = match found.state {
        SecondFactorState::Off => "off",
        SecondFactorState::Waiting => "waiting",
        SecondFactorState::On => "on",
    };
    Ok(Json(SecondFactor { state: word, recovery_codes_left: found.codes_left }))
}

/// Begins to turn the second factor on; it asks for nothing until it is confirmed with a code.
#[utoipa::path(post, path = "/api/v1/me/second-factor", tag = "account", request_body = PasswordProof, responses((status = 200, body = Enrolment), Errors))]
pub(crate) async fn begin_second_factor(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(proof): Json<PasswordProof>,
) -> Result<Json<Enrolment>, ApiError> {
    let made = state.app().begin_second_factor(&caller, &proof.password).await?;
    Ok(Json(Enrolment { secret: made.secret_base32, uri: made.uri, qr_svg: made.qr_svg }))
}

/// Turns the second factor on. All other sessions end; a browser gets a new cookie.
#[utoipa::path(post, path = "/api/v1/me/second-factor/confirm", tag = "account", request_body = CodeProof, responses((status = 200, body = RecoveryCodes), Errors))]
pub(crate) async fn confirm_second_factor(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Client(client): Client,
    Json(proof): Json<CodeProof>,
) -> Result<Response, ApiError> {
    let (recovery_codes, sign_in) = state.app().confirm_second_factor(&caller, &proof.code, &client).await?;
    Ok(with_session(&state, sign_in, Json(RecoveryCodes { recovery_codes })))
}

/// Turns the second factor off. All other sessions end; a browser gets a new cookie.
#[utoipa::path(delete, path = "/api/v1/me/second-factor", tag = "account", request_body = FullProof, responses((status = 204), Errors))]
pub(crate) async fn end_second_factor(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Client(client): Client,
    Json(proof): Json<FullProof>,
) -> Result<Response, ApiError> {
    let sign_in = state.app().end_second_factor(&caller, &proof.password, &proof.code, &client).await?;
    Ok(with_session(&state, sign_in, StatusCode::NO_CONTENT))
}

/// Makes new recovery codes; the ones before are void.
#[utoipa::path(post, path = "/api/v1/me/second-factor/recovery-codes", tag = "account", request_body = FullProof, responses((status = 200, body = RecoveryCodes), Errors))]
pub(crate) async fn new_recovery_codes(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Json(proof): Json<FullProof>,
) -> Result<Json<RecoveryCodes>, ApiError> {
    let recovery_codes = state.app().new_recovery_codes(&caller, &proof.password, &proof.code).await?;
    Ok(Json(RecoveryCodes { recovery_codes }))
}

/// Who the account is at OpenID Connect providers.
#[utoipa::path(get, path = "/api/v1/me/identities", tag = "account", responses((status = 200, body = List<Identity>), Errors))]
pub(crate) async fn identities(State(state): State<WebState>, ApiCaller(caller): ApiCaller) -> Result<Json<List<Identity>>, ApiError> {
    let found = state.app().list_identities(&caller).await?;
    let view = |identity: slipway_app::store::identities::Identity| Identity {
        id: identity.id,
        issuer: identity.issuer,
        subject: identity.subject,
        label: identity.label,
        created_at: identity.created_at,
        last_used_at: identity.last_used_at,
    };
    Ok(Json(List::whole(found.into_iter().map(view).collect())))
}

/// Removes an identity. Refused for the last way in. An account without a password leaves the body out, and needs a sign-in of just now.
#[utoipa::path(delete, path = "/api/v1/me/identities/{id}", tag = "account", params(IdentityAt), request_body = Option<PasswordProof>, responses((status = 204), Errors))]
pub(crate) async fn remove_identity(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<IdentityAt>,
    proof: Option<Json<PasswordProof>>,
) -> Result<StatusCode, ApiError> {
    let password = proof.map(|Json(proof)| proof.password);
    state.app().remove_identity(&caller, at.id, password.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
