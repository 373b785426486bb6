//! Pages that anybody may open: in the frame of the person who is signed in, alone for everybody else.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use slipway_app::Caller;

use super::frame::{Outside, Visit};
use super::view::shell::{Area, Shell};
use crate::session::Session;
use crate::state::WebState;

/// Whoever looks.
#[derive(Clone, Debug)]
pub(super) struct Anybody {
    pub(super) state: WebState,
    /// Of whoever is signed in.
    pub(super) visit: Option<Visit>,
    pub(super) shell: Shell,
}

impl FromRequestParts<WebState> for Anybody {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Response> {
        let session = <Session as OptionalFromRequestParts<WebState>>::from_request_parts(parts, state).await;
        if session.map_err(IntoResponse::into_response)?.is_some() {
            let visit = Visit::from_request_parts(parts, state).await?;
            let shell = visit.shell(Area::Elsewhere);
            return Ok(Self { state: state.clone(), visit: Some(visit), shell });
        }
        let Ok(outside) = Outside::from_request_parts(parts, state).await;
        Ok(Self { state: outside.state, visit: None, shell: outside.shell })
    }
}

impl Anybody {
    /// Who is signed in.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.visit.as_ref().map(|visit| &visit.caller)
    }
}
