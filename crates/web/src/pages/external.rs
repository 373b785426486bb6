//! Another registry that images of a repository go to as well.
//!
//! Invariant: a password goes from the form to the application and nowhere else; the page never holds one.

use axum::response::Response;
use serde::Deserialize;
use slipway_app::{Error, ExternalTagView, ExternalView, ExternalWish, Refusal};
use slipway_model::{AccountName, RepositoryName, Timestamp};

use super::error::{PageError, said, sentence};
use super::fields::{At, Form};
use super::frame::{RepositoryAt, Visit, go, show, show_refused};
use super::repository::open;
use super::view::external::{Again, ExternalPage, ExternalRow};
use super::view::form::Field;
use super::view::plain;
use super::view::repositories::Tab;
use super::view::ui::{Tone, moment_text};
use crate::edge::routes::{Routes, get, post};

/// The addresses of this file.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/{ns}/{name}/settings/external", get(page).post(save))
        .route("/{ns}/{name}/settings/external/test", post(test))
        .route("/{ns}/{name}/settings/external/remove", post(remove))
        .route("/{ns}/{name}/tags/{tag}/external", post(try_again))
}

/// A tag's address.
#[derive(Debug, Deserialize)]
struct TagAt {
    ns: AccountName,
    name: RepositoryName,
    tag: String,
}

/// How a tag stands there, as people read it.
pub(super) fn row(tag: &ExternalTagView, now: Timestamp) -> ExternalRow {
    let why = tag.error.as_deref().map(plain::line);
    let (tone, text) = match (tag.state, why) {
        ("delivered", _) => (Tone::Good, format!("In `{}`", tag.repository)),
        ("waiting", None) => (Tone::Waiting, format!("Pushed. On its way to `{}`", tag.repository)),
        ("waiting", Some(why)) => {
            let next = tag.next_try_at.map(|at| format!(", next try at {}", moment_text(at, now))).unwrap_or_default();
            (Tone::Attention, format!("Pushed. Waiting for `{}`: {why}, attempt {}{next}", tag.repository, tag.attempts))
        }
        (_, why) => (Tone::Bad, format!("Pushed, but not to `{}`: {}", tag.repository, why.unwrap_or_default())),
    };
    let again = if tag.error.is_some() { Again::Yes } else { Again::No };
    ExternalRow { tag: tag.tag.to_string(), tone, text, delivered_at: tag.delivered_at, again }
}

async fn external_page(visit: &Visit, at: &RepositoryAt) -> Result<ExternalPage, PageError> {
    let opened = open(visit, at, Tab::Settings).await?;
    let saved = visit.app().get_external(opened.rights.admin()?).await?;
    Ok(ExternalPage {
        address: Field::new(saved.as_ref().map(|saved| saved.address.to_string()).unwrap_or_default()),
        username: Field::new(saved.as_ref().map(|saved| saved.username.clone()).unwrap_or_default()),
        saved: saved.map(|ExternalView { address, saved_at, .. }| (address.to_string(), saved_at)),
        password_error: None,
        tried: None,
        shell: opened.shell,
        head: opened.head,
    })
}

impl ExternalPage {
    /// Shows a refusal beside its field.
    fn refused(&mut self, refusal: &Refusal) {
        let words = Some(said(refusal));
        match refusal.field.as_deref() {
            Some("password") => self.password_error = words,
            Some("username") => self.username.error = words,
            _ => self.address.error = words,
        }
    }
}

/// `GET /{ns}/{name}/settings/external`.
async fn page(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    Ok(show(&external_page(&visit, &at).await?))
}

/// `POST /{ns}/{name}/settings/external`.
async fn save(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let wish = ExternalWish {
        address: form.text("address").trim().to_owned(),
        username: form.text("username").trim().to_owned(),
        // Left empty it stays as it is, and where there is none yet, nobody has to sign in.
        password: form.filled("password").map(Into::into),
    };
    match visit.app().save_external(rights.admin()?, &wish).await {
        Ok(_) => Ok(go(&format!("/{}/{}/settings/external?done=external-saved", at.ns, at.name))),
        Err(Error::Refused(refusal)) => {
            let mut page = external_page(&visit, &at).await?;
            (page.address, page.username) = (Field::new(wish.address), Field::new(wish.username));
            page.refused(&refusal);
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/settings/external/test`.
async fn test(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let tried = match visit.app().test_external(rights.admin()?).await {
        Ok(saved) => (Tone::Good, sentence(&format!("a push to `{}` would go well", saved.address))),
        Err(Error::Refused(refusal)) => (Tone::Bad, said(&refusal)),
        Err(error) => return Err(error.into()),
    };
    Ok(show(&ExternalPage { tried: Some(tried), ..external_page(&visit, &at).await? }))
}

/// `POST …/settings/external/remove`.
async fn remove(visit: Visit, At(at): At<RepositoryAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    visit.app().delete_external(rights.admin()?).await?;
    Ok(go(&format!("/{}/{}/settings/external?done=external-removed", at.ns, at.name)))
}

/// `POST /{ns}/{name}/tags/{tag}/external`: back to the build's page when the form stood there.
async fn try_again(visit: Visit, At(which): At<TagAt>, Form(form): Form) -> Result<Response, PageError> {
    let right = visit.app().repository_write(&visit.caller, &which.ns, &which.name).await?;
    visit.app().try_external_again(&right, &which.tag).await?;
    let base = format!("/{}/{}", which.ns, which.name);
    Ok(match form.filled("build").and_then(|text| text.parse::<slipway_model::BuildId>().ok()) {
        Some(build) => go(&format!("{base}/builds/{build}?done=external-again")),
        None => go(&format!("{base}/tags?done=external-again")),
    })
}
