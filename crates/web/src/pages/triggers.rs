//! Build triggers of a repository.
//!
//! Invariant: an address is shown only as the answer to the form that made it.

use axum::response::Response;
use serde::Deserialize;
use slipway_app::store::triggers::Trigger;
use slipway_app::{Error, NewTrigger, TriggerWish};
use slipway_model::{AccountName, RepositoryName, TriggerId};

use super::error::{PageError, sentence};
use super::fields::{At, Form};
use super::frame::{RepositoryAt, Visit, go, show, show_refused};
use super::repository::open;
use super::view::form::Field;
use super::view::repositories::Tab;
use super::view::triggers::{ShownTrigger, TriggerRow, TriggersPage};
use crate::edge::routes::{Routes, get, post};

/// The addresses of this file.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/{ns}/{name}/autobuild/triggers", get(page).post(create))
        .route("/{ns}/{name}/autobuild/triggers/{id}/rotate", post(rotate))
        .route("/{ns}/{name}/autobuild/triggers/{id}/delete", post(delete))
}

/// A trigger's address.
#[derive(Debug, Deserialize)]
struct TriggerAt {
    ns: AccountName,
    name: RepositoryName,
    id: TriggerId,
}

impl TriggerAt {
    fn at(&self) -> RepositoryAt {
        RepositoryAt { ns: self.ns.clone(), name: self.name.clone() }
    }
}

fn row(trigger: Trigger) -> TriggerRow {
    TriggerRow {
        id: trigger.id.to_string(),
        name: trigger.name,
        source_ref: trigger.source_ref.map(|name| name.to_string()),
        created_at: trigger.created_at,
        called_at: trigger.called_at,
    }
}

async fn triggers_page(visit: &Visit, at: &RepositoryAt, made: Option<NewTrigger>) -> Result<TriggersPage, PageError> {
    let opened = open(visit, at, Tab::Autobuild).await?;
    let rows = visit.app().list_triggers(opened.rights.admin()?).await?;
    Ok(TriggersPage {
        rows: rows.into_iter().map(row).collect(),
        shown: made.map(|made| ShownTrigger { name: made.trigger.name, url: made.url.into() }),
        name: Field::default(),
        source_ref: Field::default(),
        shell: opened.shell,
        head: opened.head,
    })
}

/// `GET /{ns}/{name}/autobuild/triggers`.
async fn page(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    Ok(show(&triggers_page(&visit, &at, None).await?))
}

/// `POST /{ns}/{name}/autobuild/triggers`.
async fn create(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let wish = TriggerWish { name: form.text("name").to_owned(), source_ref: form.filled("ref").map(str::to_owned) };
    match visit.app().create_trigger(rights.admin()?, &wish).await {
        Ok(made) => Ok(show(&triggers_page(&visit, &at, Some(made)).await?)),
        Err(Error::Refused(refusal)) => {
            let mut page = triggers_page(&visit, &at, None).await?;
            (page.name, page.source_ref) = (Field::new(wish.name), Field::new(wish.source_ref.unwrap_or_default()));
            let field = if refusal.field.as_deref() == Some("ref") { &mut page.source_ref } else { &mut page.name };
            field.error = Some(sentence(&refusal.detail));
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/triggers/{id}/rotate`.
async fn rotate(visit: Visit, At(which): At<TriggerAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&which.at()).await?;
    let made = visit.app().rotate_trigger(rights.admin()?, which.id).await?;
    Ok(show(&triggers_page(&visit, &which.at(), Some(made)).await?))
}

/// `POST …/triggers/{id}/delete`.
async fn delete(visit: Visit, At(which): At<TriggerAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&which.at()).await?;
    visit.app().delete_trigger(rights.admin()?, which.id).await?;
    Ok(go(&format!("/{}/{}/autobuild/triggers?done=trigger-deleted", which.ns, which.name)))
}
