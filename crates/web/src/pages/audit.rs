//! The audit log: of the person's namespace, of an organization, of the installation. The export is the API's (`api::audit`).

use axum::response::Response;
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use slipway_app::{AuditEntry, AuditFilter, AuditReader, Error};
use slipway_model::{AccountName, AuditId, Timestamp};

use super::error::{PageError, said};
use super::fields::{At, Fields, Query};
use super::frame::{Visit, show, show_refused};
use super::token_form::end_of_day;
use super::view::audit::{AuditFields, AuditPage, AuditRow, LogOf, changes};
use super::view::form::Field;
use super::view::shell::Area;
use crate::edge::routes::{Routes, get};

const PAGE: u32 = 50;

/// The addresses of audit logs.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/settings/audit", get(own))
        .route("/o/{org}/settings/audit", get(organization))
        .route("/admin/audit", get(installation))
}

/// `/settings/audit`.
async fn own(visit: Visit, Query(query): Query) -> Result<Response, PageError> {
    let reader = visit.app().audit_reader(&visit.caller, &visit.caller.account().name).await?;
    page(&visit, &reader, LogOf::Person, &query).await
}

/// `/o/{org}/settings/audit`: for owners. Administrators read every log, here without being a member.
async fn organization(visit: Visit, At(org): At<AccountName>, Query(query): Query) -> Result<Response, PageError> {
    let reader = visit.app().audit_reader(&visit.caller, &org).await?;
    page(&visit, &reader, LogOf::Organization(org.to_string()), &query).await
}

/// `/admin/audit`.
async fn installation(visit: Visit, Query(query): Query) -> Result<Response, PageError> {
    let reader = visit.app().installation_audit(&visit.caller)?;
    page(&visit, &reader, LogOf::Installation, &query).await
}

/// The first moment of a day in UTC, written `2026-12-31`.
pub(super) fn begin_of_day(day: &str) -> Option<Timestamp> {
    // The end of the day says whether it is one.
    end_of_day(day)?;
    Timestamp::deserialize(StrDeserializer::<ValueError>::new(&format!("{day}T00:00:00Z"))).ok()
}

/// What was typed, and the filter that it makes. A day that is none stands beside its field and filters nothing.
fn read(query: &Fields) -> (AuditFields, AuditFilter) {
    let field = |name: &str| Field::new(query.text(name).trim().chars().take(200).collect::<String>());
    let mut fields = AuditFields {
        actor: field("actor"),
        action: field("action"),
        object: field("object"),
        since: field("since"),
        until: field("until"),
    };
    let word = |field: &Field| Some(field.value.clone()).filter(|text| !text.is_empty());
    let day = |field: &mut Field, read: fn(&str) -> Option<Timestamp>| {
        let moment = read(&field.value);
        if moment.is_none() && !field.value.is_empty() {
            field.error = Some("Expected a day like `2026-11-21`.".to_owned());
        }
        moment
    };
    let (since, until) = (day(&mut fields.since, begin_of_day), day(&mut fields.until, end_of_day));
    let filter = AuditFilter { actor: word(&fields.actor), action: word(&fields.action), object: word(&fields.object), since, until };
    (fields, filter)
}

fn row(entry: AuditEntry, of: &LogOf) -> AuditRow {
    AuditRow {
        at: entry.at,
        actor: entry.actor,
        via: entry.via,
        address: entry.address,
        action: entry.action,
        object: entry.object,
        namespace: Some(entry.namespace).filter(|name| *of == LogOf::Installation && !name.is_empty()),
        changes: changes(entry.old.as_ref(), entry.new.as_ref()),
    }
}

/// Where the API gives the same entries, all of them, as JSON lines.
fn export(visit: &Visit, of: &LogOf, filter: &AuditFilter) -> String {
    let base = match of {
        LogOf::Person => format!("/api/v1/namespaces/{}/audit/export", visit.caller.account().name),
        LogOf::Organization(name) => format!("/api/v1/namespaces/{name}/audit/export"),
        LogOf::Installation => "/api/v1/admin/audit/export".to_owned(),
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    let moments = [("since", filter.since), ("until", filter.until)].map(|(name, at)| (name, at.map(|at| at.to_string())));
    let words = [("actor", filter.actor.clone()), ("action", filter.action.clone()), ("object", filter.object.clone())];
    for (name, value) in words.into_iter().chain(moments) {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    match query.finish() {
        query if query.is_empty() => base,
        query => format!("{base}?{query}"),
    }
}

async fn page(visit: &Visit, reader: &AuditReader, of: LogOf, query: &Fields) -> Result<Response, PageError> {
    let (mut fields, filter) = read(query);
    let before: Option<AuditId> = query.filled("cursor").and_then(|id| id.parse().ok());
    let mut refused = !fields.errors().is_empty();
    let mut found = match visit.app().list_audit(reader, &filter, before, PAGE + 1).await {
        Ok(found) => found,
        Err(Error::Refused(refusal)) => {
            refused = true;
            fields.action.error = Some(said(&refusal));
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    let mut page = AuditPage {
        shell: visit.shell(Area::Settings),
        export: export(visit, &of, &filter),
        rows: found.into_iter().map(|entry| row(entry, &of)).collect(),
        of,
        filter: fields,
        next,
    };
    if page.is_administration() {
        page.shell.area = Area::Administration;
    }
    Ok(if refused { show_refused(&page) } else { show(&page) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_whole_and_odd_ones_are_said() {
        let (fields, filter) = read(&Fields::of("actor=+ada+&action=team&since=2026-11-21&until=2026-11-21"));
        assert!(fields.errors().is_empty());
        assert_eq!((filter.actor.as_deref(), filter.action.as_deref(), filter.object), (Some("ada"), Some("team"), None));
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        assert_eq!(text(filter.since).as_deref(), Some("2026-11-21T00:00:00.000Z"));
        assert_eq!(text(filter.until).as_deref(), Some("2026-11-21T23:59:59.000Z"));
        let (fields, filter) = read(&Fields::of("since=yesterday&until=2026-02-30"));
        assert_eq!(fields.errors().len(), 2);
        assert!(filter.since.is_none() && filter.until.is_none());
    }
}
