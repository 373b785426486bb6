//! `POST /triggers/{id}?token=…`: starts the builds of a build trigger.
//!
//! Invariant: who does not know the secret learns nothing, not even whether the trigger stands. Deliberately elsewhere: what is built
//! (`slipway-app`), and making triggers (`api::triggers`, `pages`).

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use slipway_app::TriggerCall;
use slipway_model::TriggerId;

use crate::api::builds::BuildSummary;
use crate::edge::json::{Json, Path, Query};
use crate::edge::peer::ClientAddress;
use crate::error::ApiError;
use crate::state::WebState;

/// The secret.
#[derive(Deserialize)]
pub(crate) struct Secret {
    #[serde(default)]
    token: String,
}

/// What was started.
#[derive(Debug, Serialize)]
pub(crate) struct Started {
    builds: Vec<BuildSummary>,
}

/// Starts builds, by the trigger's secret alone.
pub(crate) async fn call(
    State(state): State<WebState>,
    Path(id): Path<TriggerId>,
    Query(secret): Query<Secret>,
    ClientAddress(address): ClientAddress,
    call: Option<Json<TriggerCall>>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let call = call.map(|Json(call)| call).unwrap_or_default();
    let made = state.app().call_trigger(id, &secret.token, &call, &address.to_string()).await?;
    Ok((StatusCode::ACCEPTED, Json(Started { builds: made.into_iter().map(BuildSummary::of).collect() })))
}
