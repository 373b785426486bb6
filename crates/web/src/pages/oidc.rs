//! Signing in through OpenID Connect providers: on to one, back from it, and the name of an account that is made then.
//!
//! Invariant: an answer counts only in the browser that began (the cookie of `session::oidc_cookie`), once, and for the person who was
//! signed in when it began; what the provider says is checked by `slipway-app`.

use axum::response::Response;
use http::{HeaderMap, header};
use slipway_app::{Caller, Error, OidcOutcome, OidcPurpose};

use super::anybody::Anybody;
use super::entry::{ask_code, enter, providers};
use super::error::{PageError, said, show_refusal};
use super::fields::{At, Form, Query};
use super::frame::{Outside, go, show};
use super::security;
use super::settings::secret;
use super::view::entry::{ChooseNamePage, LeavePage, UnknownIdentityPage};
use super::view::form::Field;
use super::view::shell::Shell;
use crate::error::{ApiError, Code};
use crate::session::{Client, CountedAddress, Session, ended_oidc_cookie, oidc_browser, oidc_cookie, safe_next};
use crate::state::WebState;

const SECURITY: &str = "/settings/security";

/// As people know the provider.
fn name_of(state: &WebState, id: &str) -> String {
    providers(state.app()).into_iter().find(|provider| provider.id == id).map_or_else(|| id.to_owned(), |provider| provider.name)
}

/// `POST /oidc/{id}/begin`: to sign in, to add an identity (`add`), or to answer an invitation (`invitation`).
pub(super) async fn begin(
    _counted: CountedAddress,
    Anybody { state, shell, visit }: Anybody,
    At(id): At<String>,
    Form(form): Form,
) -> Result<Response, PageError> {
    let password = secret(&form, "password");
    let (purpose, next) = match (&visit, form.filled("add"), form.filled("invitation")) {
        (Some(visit), Some(_), _) => (OidcPurpose::Add(&visit.caller, password.as_ref()), SECURITY),
        (None, Some(_), _) => return Ok(go("/signin?next=%2Fsettings%2Fsecurity")),
        (_, None, Some(token)) => (OidcPurpose::Invitation(token), safe_next(form.filled("next"))),
        (_, None, None) => (OidcPurpose::SignIn, safe_next(form.filled("next"))),
    };
    let (url, browser) = match (state.app().begin_oidc(&id, purpose, next).await, &visit) {
        (Ok(begun), _) => begun,
        (Err(Error::Refused(refusal)), Some(visit)) if matches!(purpose, OidcPurpose::Add(..)) => {
            return security::refused_addition(visit, refusal).await;
        }
        (Err(error), _) => return Err(error.into()),
    };
    let mut response = show(&LeavePage { shell, provider: name_of(&state, &id), url: url.into() });
    response.headers_mut().append(header::SET_COOKIE, oidc_cookie(&state, &browser));
    Ok(response)
}

fn not_begun_here() -> PageError {
    ApiError::new(Code::BadState, "this answer belongs to no sign-in that was begun in this browser")
        .hint("begin again on the sign-in page")
        .into()
}

/// `GET /oidc/{id}/callback`: where the provider sends the browser.
pub(super) async fn callback(
    Anybody { state, shell, visit }: Anybody,
    At(id): At<String>,
    headers: HeaderMap,
    Client(client): Client,
    Query(query): Query,
) -> Result<Response, PageError> {
    let browser = oidc_browser(&state, &headers).ok_or_else(not_begun_here)?;
    let answer = match query.filled("code") {
        Some(code) => Ok(code),
        None => Err(query.filled("error").unwrap_or("no code")),
    };
    let caller = visit.as_ref().map(|visit| &visit.caller);
    let outcome = state.app().finish_oidc(&id, query.text("state"), answer, &browser, caller, &client).await?;
    Ok(lead_on(&state, shell, caller, &id, outcome).await)
}

async fn lead_on(state: &WebState, shell: Shell, former: Option<&Caller>, id: &str, outcome: OidcOutcome) -> Response {
    let mut response = match outcome {
        OidcOutcome::SignedIn(sign_in, next) => enter(state, former, &sign_in, safe_next(Some(&next))).await,
        OidcOutcome::SecondFactor(pending, next) => ask_code(state, &pending, safe_next(Some(&next))),
        OidcOutcome::Added(_) => go(&format!("{SECURITY}?done=identity-added")),
        OidcOutcome::Unknown { provider, .. } => show(&UnknownIdentityPage { shell, provider }),
        OidcOutcome::ChooseName { token, proposed, label, provider, next } => {
            let name = Field::new(proposed.map(|name| name.to_string()).unwrap_or_default());
            // The cookie stays: the name counts from the same browser only.
            return show(&ChooseNamePage { shell, id: id.to_owned(), provider, label, token: token.expose().to_owned(), name, next });
        }
    };
    response.headers_mut().append(header::SET_COOKIE, ended_oidc_cookie(state));
    response
}

/// `POST /oidc/{id}/name`: makes the account.
pub(super) async fn choose_name(
    Outside { state, shell }: Outside,
    session: Option<Session>,
    At(id): At<String>,
    headers: HeaderMap,
    Client(client): Client,
    Form(form): Form,
) -> Result<Response, PageError> {
    let browser = oidc_browser(&state, &headers).ok_or_else(not_begun_here)?;
    let (token, typed) = (form.text("token"), form.text("name").trim());
    match state.app().finish_oidc_account(&id, token, typed, &browser, &client).await {
        Ok(outcome) => {
            let former = session.as_ref().map(|Session(caller)| caller);
            Ok(lead_on(&state, shell, former, &id, outcome).await)
        }
        Err(Error::Refused(refusal)) if refusal.field.as_deref() == Some("name") => {
            let page = ChooseNamePage {
                shell,
                provider: name_of(&state, &id),
                id,
                label: form.text("label").chars().take(200).collect(),
                token: token.to_owned(),
                name: Field::refused(typed, said(&refusal)),
                next: safe_next(form.filled("next")).to_owned(),
            };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}
