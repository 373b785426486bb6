//! `/api/v1/namespaces/{ns}/audit` and `/api/v1/admin/audit`: who changed what, as a list and as JSON lines.
//!
//! Invariant: an export is read and sent page by page, however long it is; it ends early, visibly, when the reader's credential
//! or right ends.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use slipway_app::{AuditFilter, AuditReader, Caller};
use slipway_model::{AccountName, AuditId, Timestamp};
use utoipa::{IntoParams, ToSchema};

use super::at::NamespaceAt;
use crate::edge::json::{Json, Path, Query};
use crate::edge::list::{List, Paging};
use crate::error::{ApiError, Code};
use crate::openapi::Errors;
use crate::session::ApiCaller;
use crate::state::WebState;

/// Entries that are read at once for an export.
const PAGE: u32 = 200;
/// Longer words occur in no entry.
const MAX_WORD: usize = 300;

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Only changes by this account.
    actor: Option<String>,
    /// Only this action (`team.create`), or all of an area (`team`).
    action: Option<String>,
    /// Only changes of this object.
    object: Option<String>,
    /// Not before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
}

impl AuditQuery {
    fn read(self) -> Result<AuditFilter, ApiError> {
        Ok(AuditFilter {
            actor: word("actor", self.actor)?,
            action: word("action", self.action)?,
            object: word("object", self.object)?,
            since: moment("since", self.since)?,
            until: moment("until", self.until)?,
        })
    }
}

/// An empty field of a form is no filter.
fn word(field: &str, value: Option<String>) -> Result<Option<String>, ApiError> {
    let value = value.filter(|value| !value.is_empty());
    match &value {
        Some(text) if text.len() > MAX_WORD => {
            Err(ApiError::new(Code::Invalid, format!("`{field}` has {} bytes, expected at most {MAX_WORD}", text.len())).field(field))
        }
        _ => Ok(value),
    }
}

fn moment(field: &str, value: Option<String>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = word(field, value)? else { return Ok(None) };
    let read = serde_json::from_value::<Timestamp>(Value::String(text));
    read.map(Some)
        .map_err(|_| ApiError::new(Code::Invalid, format!("`{field}` is no moment, expected one like `2024-05-01T00:00:00Z`")).field(field))
}

/// Which part of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditPage {
    /// How many items at most, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    limit: Option<u32>,
    /// The `next` of the part before.
    cursor: Option<String>,
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditEntry {
    /// Identity; later entries have larger ones.
    #[schema(value_type = String)]
    id: AuditId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The namespace by its name at that time; empty for the installation.
    namespace: String,
    /// Who, by the name at that time.
    actor: String,
    /// Through what: `session`, a token by its name, `command line`.
    via: String,
    /// From which address; empty when it was not over the network.
    address: String,
    /// What was done: `team.create`, `token.revoke`, ...
    action: String,
    /// To what.
    object: String,
    /// What was before; null when there was nothing. Secrets are never in it.
    old: Option<Value>,
    /// What is since; null when there is nothing. Secrets are never in it.
    new: Option<Value>,
}

impl From<slipway_app::AuditEntry> for AuditEntry {
    fn from(entry: slipway_app::AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            namespace: entry.namespace,
            actor: entry.actor,
            via: entry.via,
            address: entry.address,
            action: entry.action,
            object: entry.object,
            old: entry.old,
            new: entry.new,
        }
    }
}

async fn page(state: &WebState, reader: &AuditReader, query: AuditQuery, page: AuditPage) -> Result<Json<List<AuditEntry>>, ApiError> {
    let paging = Paging { limit: page.limit, cursor: page.cursor };
    let (limit, before) = (paging.limit()?, paging.after::<AuditId>()?);
    let rows = state.app().list_audit(reader, &query.read()?, before, limit + 1).await?;
    Ok(Json(List::cut(rows, limit, |row| row.id.to_string(), AuditEntry::from)))
}

/// An export under way.
struct Export {
    state: WebState,
    caller: Caller,
    /// Of which namespace; none for the whole installation.
    namespace: Option<AccountName>,
    filter: AuditFilter,
    before: Option<AuditId>,
}

impl Export {
    /// The next lines and where they end; `None` at the end.
    async fn lines(&self) -> Result<Option<(Bytes, AuditId)>, ApiError> {
        let app = self.state.app();
        // Asked anew for every page: somebody who is no owner or administrator any more reads no further.
        let ended = || ApiError::new(Code::Unauthorized, "the credential ended during the export");
        let caller = app.again(&self.caller).await?.ok_or_else(ended)?;
        let reader = match &self.namespace {
            Some(namespace) => app.audit_reader(&caller, namespace).await?,
            None => app.installation_audit(&caller)?,
        };
        let rows = app.list_audit(&reader, &self.filter, self.before, PAGE).await?;
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
        let mut text = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut text, &AuditEntry::from(row)).map_err(|error| ApiError::internal(&error))?;
            text.push(b'\n');
        }
        Ok(Some((text.into(), last)))
    }

    fn into_response(self, name: &str) -> Response {
        let lines = stream::try_unfold(self, async |mut export| {
            // The answer has begun: a broken transfer is all that can still be said.
            let found = export.lines().await.map_err(|error| std::io::Error::other(error.detail))?;
            Ok::<_, std::io::Error>(found.map(|(bytes, last)| {
                export.before = Some(last);
                (bytes, export)
            }))
        });
        let headers = [
            (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        ];
        (headers, Body::from_stream(lines)).into_response()
    }
}

/// What was changed in a namespace, newest first; owners and administrators read it.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/audit", tag = "audit", params(NamespaceAt, AuditQuery, AuditPage), responses((status = 200, body = List<AuditEntry>), Errors))]
pub(crate) async fn list(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<NamespaceAt>,
    Query(query): Query<AuditQuery>,
    Query(part): Query<AuditPage>,
) -> Result<Json<List<AuditEntry>>, ApiError> {
    let reader = state.app().audit_reader(&caller, &at.ns).await?;
    page(&state, &reader, query, part).await
}

/// The same as JSON lines, all of it.
#[utoipa::path(get, path = "/api/v1/namespaces/{ns}/audit/export", tag = "audit", params(NamespaceAt, AuditQuery), responses((status = 200, body = AuditEntry, content_type = "application/x-ndjson"), Errors))]
pub(crate) async fn export(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Path(at): Path<NamespaceAt>,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    state.app().audit_reader(&caller, &at.ns).await?;
    let name = format!("audit-{}.jsonl", at.ns);
    Ok(Export { state, caller, namespace: Some(at.ns), filter: query.read()?, before: None }.into_response(&name))
}

/// What was changed on the whole installation, newest first; administrators read it.
#[utoipa::path(get, path = "/api/v1/admin/audit", tag = "administration", params(AuditQuery, AuditPage), responses((status = 200, body = List<AuditEntry>), Errors))]
pub(crate) async fn list_all(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Query(query): Query<AuditQuery>,
    Query(part): Query<AuditPage>,
) -> Result<Json<List<AuditEntry>>, ApiError> {
    let reader = state.app().installation_audit(&caller)?;
    page(&state, &reader, query, part).await
}

/// The same as JSON lines, all of it.
#[utoipa::path(get, path = "/api/v1/admin/audit/export", tag = "administration", params(AuditQuery), responses((status = 200, body = AuditEntry, content_type = "application/x-ndjson"), Errors))]
pub(crate) async fn export_all(
    State(state): State<WebState>,
    ApiCaller(caller): ApiCaller,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    state.app().installation_audit(&caller)?;
    Ok(Export { state, caller, namespace: None, filter: query.read()?, before: None }.into_response("audit.jsonl"))
}
