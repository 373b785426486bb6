//! A window of a build's log: what a page shows of a log that is too large to be shown whole.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use slipway_app::{LogPlace, LogWindow};
use utoipa::{IntoParams, ToSchema};

use super::LogPiece;
use crate::api::at::BuildAt;
use crate::edge::json::{Json, Path, Query};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// Where the window stands; without any of them it is the end of the log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct At {
    /// It ends in front of this piece.
    before: Option<u64>,
    /// It begins behind this piece.
    after: Option<u64>,
    /// It shows this line of `step`, counted from 1.
    #[param(minimum = 1)]
    line: Option<u64>,
    /// The step of `line`; empty for what belongs to none.
    step: Option<String>,
}

impl At {
    fn place(self) -> Result<LogPlace, ApiError> {
        match (self.before, self.after, self.line) {
            (None, None, None) => Ok(LogPlace::Before(i64::MAX as u64)),
            (Some(seq), None, None) => Ok(LogPlace::Before(seq)),
            (None, Some(seq), None) => Ok(LogPlace::After(seq)),
            (None, None, Some(line)) if line > 0 => Ok(LogPlace::Line(self.step.unwrap_or_default(), line)),
            (None, None, Some(_)) => Err(ApiError::new(Code::Invalid, "`line` is 0, expected 1 or more").field("line")),
            _ => Err(ApiError::new(Code::Invalid, "a window stands at one place: expected one of `before`, `after` and `line`")),
        }
    }
}

/// A part of a log of the newest attempt, about a megabyte of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogPart {
    /// The pieces, in order.
    items: Vec<LogPiece>,
    /// How many lines of each step end in front of them; what belongs to no step stands under the empty name.
    lines: BTreeMap<String, u64>,
    /// Whether there are pieces in front of them.
    earlier: bool,
    /// Whether there are pieces behind them by now.
    later: bool,
}

impl From<LogWindow> for LogPart {
    fn from(window: LogWindow) -> Self {
        let LogWindow { pieces, lines_before, earlier, later } = window;
        Self { items: pieces.into_iter().map(LogPiece::of).collect(), lines: lines_before, earlier, later }
    }
}

/// A window of the log.
#[utoipa::path(get, path = "/api/v1/repositories/{ns}/{name}/builds/{id}/log/pieces", tag = "builds", params(BuildAt, At), responses((status = 200, body = LogPart), Errors))]
pub(crate) async fn pieces(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<BuildAt>,
    Query(place): Query<At>,
) -> Result<Json<LogPart>, ApiError> {
    let place = place.place()?;
    let right = state.app().repository_read(&caller, &at.ns, &at.name).await?;
    let window = state.app().build_log_window(&right, at.id, &place).await?;
    let window = window.ok_or_else(|| {
        ApiError::new(Code::NotFound, "the log has no such line")
            .hint("the newest attempt of a build is read; lines are counted from 1 within a step")
    })?;
    Ok(Json(window.into()))
}
