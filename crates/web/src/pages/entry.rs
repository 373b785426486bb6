//! The way in and out: the first administrator, signing in with a password and a code, making an account, signing out.
//!
//! Deliberately elsewhere: invitations (`invitations`), providers of OpenID Connect (`oidc`).

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use secrecy::SecretString;
use slipway_app::{App, Caller, Error, SignIn, SignedIn};

use super::error::{PageError, notice, said, sentence, show_refusal};
use super::fields::{Fields, Form, Query};
use super::frame::{Outside, Visit, go, show, show_refused};
use super::view::entry::{ProviderButton, SetupPage, SignInCodePage, SignInPage, SignUp, SignUpPage};
use super::view::form::Field;
use super::view::shell::{Notice, Shell};
use crate::error::ApiError;
use crate::session::{
    Client, CountedAddress, Session, ended_cookie, ended_pending_cookie, pending_cookie, pending_sign_in, safe_next, session_cookie,
};
use crate::state::WebState;

const USED: &str = "This address was used already or is not valid.";

/// Providers that one may sign in with.
pub(super) fn providers(app: &App) -> Vec<ProviderButton> {
    app.oidc_providers().into_iter().map(|provider| ProviderButton { id: provider.id, name: provider.name }).collect()
}

/// Leads on with the cookie of a session that was just begun; a sign-in that waited for it is over, and so is the browser's session
/// before, whoever's it was: nobody holds its cookie any more, or somebody who should not.
pub(super) async fn enter(state: &WebState, former: Option<&Caller>, sign_in: &SignIn, next: &str) -> Response {
    if let Some(former) = former
        && let Err(error) = state.app().sign_out(former).await
    {
        tracing::error!(%error, "the session before a sign-in could not be ended; it stands in the list of sessions");
    }
    let mut response = go(next);
    response.headers_mut().append(header::SET_COOKIE, session_cookie(state, sign_in));
    response.headers_mut().append(header::SET_COOKIE, ended_pending_cookie(state));
    response
}

/// To the code that is still asked for.
pub(super) fn ask_code(state: &WebState, pending: &slipway_app::PendingSignIn, next: &str) -> Response {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    let mut response = go(&format!("/signin/code?{query}"));
    response.headers_mut().append(header::SET_COOKIE, pending_cookie(state, pending));
    response
}

/// Whose session it is.
fn caller(session: Option<&Session>) -> Option<&Caller> {
    session.map(|Session(caller)| caller)
}

/// The new password of a form.
pub(super) fn password(form: &Fields) -> SecretString {
    SecretString::from(form.text("password").to_owned())
}

/// `GET /setup?token=`: the address that the server printed.
pub(super) async fn setup(outside: Outside, Query(query): Query) -> Result<Response, PageError> {
    let token = query.text("token");
    let refused = (!outside.state.app().setup_waits_for(token).await?).then(|| USED.to_owned());
    Ok(show(&SetupPage { shell: outside.shell, token: token.to_owned(), name: Field::default(), password_error: None, refused }))
}

/// `POST /setup`: makes the first administrator and signs them in.
pub(super) async fn finish_setup(
    outside: Outside,
    session: Option<Session>,
    Client(client): Client,
    Form(form): Form,
) -> Result<Response, PageError> {
    let app = outside.state.app();
    let refusal = match app.finish_setup(form.text("token"), form.text("name"), None, &password(&form)).await {
        Ok(account) => {
            let sign_in = app.begin_session(account, &client).await?;
            return Ok(enter(&outside.state, caller(session.as_ref()), &sign_in, "/").await);
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

fn sign_in_page(app: &App, shell: Shell, next: &str) -> SignInPage {
    let sign_up = if app.sign_up_is_open() { SignUp::Open } else { SignUp::Closed };
    SignInPage { shell, name: String::new(), error: None, next: next.to_owned(), providers: providers(app), sign_up }
}

/// `GET /signin?next=`.
pub(super) async fn sign_in(outside: Outside, session: Option<Session>, Query(query): Query) -> Response {
    let next = safe_next(query.filled("next"));
    if session.is_some() {
        return go(next);
    }
    let done = notice(query.text("done")).map(|(tone, text)| Notice { tone, text: text.to_owned() });
    show(&sign_in_page(outside.state.app(), Shell { notice: done, ..outside.shell }, next))
}

/// `POST /signin`.
pub(super) async fn begin_session(
    outside: Outside,
    session: Option<Session>,
    Client(client): Client,
    Form(form): Form,
) -> Result<Response, PageError> {
    let next = safe_next(form.filled("next"));
    let app = outside.state.app();
    match app.sign_in(form.text("name").trim(), &password(&form), &client).await {
        Ok(SignedIn::Session(sign_in)) => Ok(enter(&outside.state, caller(session.as_ref()), &sign_in, next).await),
        Ok(SignedIn::SecondFactor(pending)) => Ok(ask_code(&outside.state, &pending, next)),
        Err(Error::Refused(refusal)) => {
            let name = form.text("name").chars().take(64).collect();
            let page = SignInPage { name, error: Some(said(&refusal)), ..sign_in_page(app, outside.shell, next) };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /signin/code?next=`: only for a browser whose password was right.
pub(super) async fn code(outside: Outside, headers: HeaderMap, Query(query): Query) -> Result<Response, PageError> {
    let next = safe_next(query.filled("next"));
    let waits = match pending_sign_in(&outside.state, &headers) {
        Some(pending) => outside.state.app().sign_in_waits(&pending).await?,
        None => false,
    };
    if !waits {
        return Ok(begin_again(&outside.state));
    }
    Ok(show(&SignInCodePage { shell: outside.shell, error: None, next: next.to_owned() }))
}

/// Too late, or tried too often: from the beginning.
fn begin_again(state: &WebState) -> Response {
    let mut response = go("/signin?done=signin-over");
    response.headers_mut().append(header::SET_COOKIE, ended_pending_cookie(state));
    response
}

/// `POST /signin/code`: a code of the app, or a recovery code.
pub(super) async fn finish_sign_in(
    outside: Outside,
    session: Option<Session>,
    Client(client): Client,
    headers: HeaderMap,
    Form(form): Form,
) -> Result<Response, PageError> {
    let next = safe_next(form.filled("next"));
    let Some(pending) = pending_sign_in(&outside.state, &headers) else { return Ok(begin_again(&outside.state)) };
    match outside.state.app().finish_sign_in(&pending, form.text("code").trim(), &client).await {
        Ok(sign_in) => Ok(enter(&outside.state, caller(session.as_ref()), &sign_in, next).await),
        Err(Error::Refused(refusal)) if refusal.code == "sign_in_expired" => Ok(begin_again(&outside.state)),
        Err(Error::Refused(refusal)) => {
            let page = SignInCodePage { shell: outside.shell, error: Some(said(&refusal)), next: next.to_owned() };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

fn sign_up_page(app: &App, shell: Shell, next: &str) -> SignUpPage {
    SignUpPage { shell, name: Field::default(), password_error: None, error: None, next: next.to_owned(), providers: providers(app) }
}

/// `GET /signup?next=`: while it is closed there is no such page.
pub(super) async fn sign_up(outside: Outside, session: Option<Session>, Query(query): Query) -> Result<Response, PageError> {
    let next = safe_next(query.filled("next"));
    if !outside.state.app().sign_up_is_open() {
        return Err(ApiError::not_found().into());
    }
    if session.is_some() {
        return Ok(go(next));
    }
    Ok(show(&sign_up_page(outside.state.app(), outside.shell, next)))
}

/// `POST /signup`.
pub(super) async fn make_account(
    outside: Outside,
    _counted: CountedAddress,
    session: Option<Session>,
    Client(client): Client,
    Form(form): Form,
) -> Result<Response, PageError> {
    let next = safe_next(form.filled("next"));
    let app = outside.state.app();
    match app.sign_up(form.text("name").trim(), &password(&form), &client).await {
        Ok(sign_in) => Ok(enter(&outside.state, caller(session.as_ref()), &sign_in, next).await),
        Err(Error::Refused(refusal)) => {
            let text = said(&refusal);
            let mut page = SignUpPage { name: Field::new(form.text("name")), ..sign_up_page(app, outside.shell, next) };
            match refusal.field.as_deref() {
                Some("name") => page.name.error = Some(text),
                Some("password") => page.password_error = Some(text),
                _ => page.error = Some(text),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /signout`.
pub(super) async fn sign_out(visit: Visit) -> Result<Response, PageError> {
    visit.app().sign_out(&visit.caller).await?;
    Ok(([(header::SET_COOKIE, ended_cookie(&visit.state))], go("/signin")).into_response())
}
