//! The way in and out: the first administrator, signing in, signing out.

use axum::response::{IntoResponse, Response};
use http::header;
use secrecy::SecretString;
use slipway_app::Error;

use super::error::{PageError, sentence};
use super::fields::{Form, Query};
use super::frame::{Outside, Visit, go, show, show_refused};
use super::view::entry::{SetupPage, SignInPage};
use super::view::form::Field;
use crate::edge::peer::ClientAddress;
use crate::session::{Session, ended_cookie, safe_next, session_cookie};

const USED: &str = "This address was used already or is not valid.";

/// `GET /setup?token=`: the address that the server printed.
pub(super) async fn setup(outside: Outside, Query(query): Query) -> Result<Response, PageError> {
    let token = query.text("token");
    let refused = (!outside.state.app().setup_waits_for(token).await?).then(|| USED.to_owned());
    Ok(show(&SetupPage { shell: outside.shell, token: token.to_owned(), name: Field::default(), password_error: None, refused }))
}

/// `POST /setup`: makes the first administrator and signs them in.
pub(super) async fn finish_setup(outside: Outside, ClientAddress(address): ClientAddress, Form(form): Form) -> Result<Response, PageError> {
    let app = outside.state.app();
    let password = SecretString::from(form.text("password").to_owned());
    let refusal = match app.finish_setup(form.text("token"), form.text("name"), None, &password).await {
        Ok(account) => {
            let sign_in = app.begin_session(account, &address.to_string()).await?;
            return Ok(([(header::SET_COOKIE, session_cookie(&outside.state, &sign_in))], go("/")).into_response());
        }
        Err(Error::Refused(refusal)) => refusal,
        Err(error) => return Err(error.into()),
    };
    let text = sentence(&refusal.detail);
    let mut page = SetupPage {
        shell: outside.shell,
        token: form.text("token").to_owned(),
        name: Field::new(form.text("name")),
        password_error: None,
        refused: None,
    };
    match refusal.field.as_deref() {
        Some("name") => page.name.error = Some(text),
        Some("password") => page.password_error = Some(text),
        _ => page.refused = Some(text),
    }
    Ok(show_refused(&page))
}

/// `GET /signin?next=`.
pub(super) async fn sign_in(outside: Outside, session: Option<Session>, Query(query): Query) -> Response {
    let next = safe_next(query.filled("next"));
    if session.is_some() {
        return go(next);
    }
    show(&SignInPage { shell: outside.shell, name: String::new(), error: None, next: next.to_owned() })
}

/// `POST /signin`.
pub(super) async fn begin_session(
    outside: Outside,
    ClientAddress(address): ClientAddress,
    Form(form): Form,
) -> Result<Response, PageError> {
    let password = SecretString::from(form.text("password").to_owned());
    let next = safe_next(form.filled("next"));
    match outside.state.app().sign_in(form.text("name").trim(), &password, &address.to_string()).await {
        Ok(sign_in) => Ok(([(header::SET_COOKIE, session_cookie(&outside.state, &sign_in))], go(next)).into_response()),
        Err(Error::Refused(refusal)) => {
            let name = form.text("name").chars().take(64).collect();
            Ok(show_refused(&SignInPage { shell: outside.shell, name, error: Some(sentence(&refusal.detail)), next: next.to_owned() }))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /signout`.
pub(super) async fn sign_out(visit: Visit) -> Result<Response, PageError> {
    visit.app().sign_out(&visit.caller).await?;
    Ok(([(header::SET_COOKIE, ended_cookie(&visit.state))], go("/signin")).into_response())
}
