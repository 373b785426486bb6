//! Webhook intake: `POST /hooks/{provider}/{hook_id}`.
//!
//! Invariant: 2xx is answered only after the delivery is stored durably, and a fault of ours is always 5xx: providers give up after 4xx.
//! Deliberately elsewhere: the signature and what a delivery means (`slipway-app`, `slipway-forge`).

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use serde::Serialize;
use slipway_app::Intake;
use slipway_forge::Refusal;
use slipway_model::{DeliveryId, ProviderId};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::edge::json::{Json, Path};
use crate::edge::peer::ClientAddress;
use crate::error::{ApiError, Code};
use crate::state::WebState;

/// GitHub's own cap is the largest of all providers.
const MAX_BODY: usize = 25 * 1024 * 1024;
/// For the whole body; a sender that is slower is not one.
const BODY_TIME: Duration = Duration::from_secs(30);
/// For the rest of a body that is too large.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Bodies that are read at the same time, in KiB: strangers may send here, and must not fill the memory.
static BUDGET: Semaphore = Semaphore::const_new(56 * 1024);

/// What the provider is told.
#[derive(Debug, Serialize)]
struct Accepted {
    id: DeliveryId,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<DeliveryId>,
}

fn count(outcome: &'static str) {
    metrics::counter!("slipway_hook_requests_total", "outcome" => outcome).increment(1);
}

/// Takes one webhook request.
pub(crate) async fn receive(
    State(state): State<WebState>,
    Path((provider, hook)): Path<(String, String)>,
    ClientAddress(address): ClientAddress,
    request: Request,
) -> Result<Response, ApiError> {
    let Ok(provider) = provider.parse::<ProviderId>() else {
        count("unknown_hook");
        return Err(unknown_provider());
    };
    let (parts, body) = request.into_parts();
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        count("too_large");
        discard(body).await;
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIME, read(body, announced)).await;
    let (body, _budget) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => {
            count(if error.code == Code::TooLarge { "too_large" } else { "unread" });
            return Err(error);
        }
        Err(_) => {
            count("unread");
            return Err(ApiError::new(Code::BadRequest, "the body did not come to its end in time"));
        }
    };
    let intake = state.app().intake(&provider, &hook, address, &parts.headers, &body).await;
    answer(intake)
}

fn answer(intake: Result<Intake, slipway_app::Error>) -> Result<Response, ApiError> {
    match intake {
        Ok(Intake::Stored(id)) => {
            count("stored");
            Ok((StatusCode::ACCEPTED, Json(Accepted { id, duplicate_of: None })).into_response())
        }
        Ok(Intake::Duplicate(id, first)) => {
            count("duplicate");
            Ok((StatusCode::ACCEPTED, Json(Accepted { id, duplicate_of: Some(first) })).into_response())
        }
        Ok(Intake::UnknownProvider) => {
            count("unknown_hook");
            Err(unknown_provider())
        }
        Ok(Intake::UnknownHook(refusal)) => {
            count("unknown_hook");
            Err(refused(refusal))
        }
        Ok(Intake::Refused(refusal)) => {
            count("refused");
            Err(refused(refusal))
        }
        Ok(Intake::WrongRepository) => {
            count("wrong_repository");
            let error = ApiError::new(Code::Forbidden, "the request tells of another repository than the one that this hook was made for");
            Err(ApiError { word: Some("wrong_repository"), ..error }
                .hint("delete this webhook at the provider; Slipway makes its own when a repository gets a source"))
        }
        Err(error) => {
            count("failed");
            // Whatever it is, it is ours, and the provider may try again.
            Err(ApiError::unavailable(&error))
        }
    }
}

/// The body, with its share of the memory.
async fn read(mut body: Body, announced: Option<usize>) -> Result<(BytesMut, Vec<SemaphorePermit<'static>>), ApiError> {
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(64 * 1024));
    let mut permits = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::new(Code::BadRequest, "the body did not come to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > MAX_BODY {
            // Their share of the memory is for others while the rest is thrown away.
            drop((whole, permits));
            discard(body).await;
            return Err(too_large());
        }
        let share = u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
        permits.push(
            BUDGET.try_acquire_many(share).map_err(|_| {
                ApiError::new(Code::Unavailable, "too many webhook bodies are being received at this moment").retry_after(5)
            })?,
        );
        whole.extend_from_slice(&data);
    }
    Ok((whole, permits))
}

/// Reads on for a while and keeps nothing: a sender does not hear a refusal when the connection is closed while it still sends.
async fn discard(mut body: Body) {
    let mut left = 2 * MAX_BODY;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Whoever is slower than this does not hear it.
    tokio::time::timeout(DISCARD_TIME, all).await.ok();
}

fn too_large() -> ApiError {
    ApiError::new(Code::TooLarge, "the body is larger than 25 MiB")
}

fn unknown_provider() -> ApiError {
    ApiError::new(Code::NotFound, "there is no such provider")
        .hint("delete this webhook at the provider; Slipway makes its own when a repository gets a source")
}

/// The same for a hook that does not exist and for a request that its hook did not sign: who guesses addresses learns nothing.
fn refused(refusal: Refusal) -> ApiError {
    let reason = match refusal {
        Refusal::MissingSignature => "missing_signature",
        Refusal::BadSignature => "bad_signature",
        Refusal::WeakSignature => "weak_signature",
        Refusal::MissingHeader(_) => "missing_header",
    };
    metrics::counter!("slipway_hook_refused_total", "reason" => reason).increment(1);
    tracing::debug!(%refusal, "a webhook request was refused");
    ApiError { word: Some(reason), ..ApiError::new(Code::BadSignature, refusal.to_string()) }
        .hint("the hook does not exist, or the secret of the webhook at the provider is not the one that Slipway set")
}
