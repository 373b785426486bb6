//! `/invitations/{token}`: joining an organization, or making the account that somebody was invited to.
//!
//! Invariant: an invitation that is unknown, used, taken back or expired is one and the same answer.

use axum::response::Response;
use http::StatusCode;
use slipway_app::{Error, InvitationView};

use super::anybody::Anybody;
use super::entry::{enter, password, providers};
use super::error::{PageError, said, show_refusal};
use super::fields::{At, Form};
use super::frame::{Visit, go, show};
use super::view::form::Field;
use super::view::invitations::{InvitationPage, InvitationVoidPage, MakesAccount};
use super::view::shell::{Area, Shell};
use crate::session::Client;
use crate::state::WebState;

fn void(shell: Shell) -> Response {
    let mut response = show(&InvitationVoidPage { shell });
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn page(state: &WebState, shell: Shell, token: &str, invitation: InvitationView) -> InvitationPage {
    InvitationPage {
        shell,
        token: token.to_owned(),
        organization: invitation.organization.map(|name| name.to_string()),
        team: invitation.team.map(|name| name.to_string()),
        makes_account: if invitation.makes_account { MakesAccount::Yes } else { MakesAccount::No },
        expires_at: invitation.expires_at,
        name: Field::default(),
        password_error: None,
        problem: None,
        providers: providers(state.app()),
    }
}

/// `GET /invitations/{token}`.
pub(super) async fn open(Anybody { state, shell, .. }: Anybody, At(token): At<String>) -> Result<Response, PageError> {
    match state.app().invitation(&token).await {
        Ok(invitation) => Ok(show(&page(&state, shell, &token, invitation))),
        Err(Error::NotFound) => Ok(void(shell)),
        Err(error) => Err(error.into()),
    }
}

/// `POST /invitations/{token}/accept`: with the account that is signed in.
pub(super) async fn accept(visit: Visit, At(token): At<String>) -> Result<Response, PageError> {
    let app = visit.app();
    let invitation = match app.invitation(&token).await {
        Ok(invitation) => invitation,
        Err(Error::NotFound) => return Ok(void(visit.shell(Area::Elsewhere))),
        Err(error) => return Err(error.into()),
    };
    let organization = invitation.organization.as_ref().map(ToString::to_string);
    match app.accept_invitation(&token, &visit.caller).await {
        Ok(_) => Ok(go(&organization.map_or_else(|| "/".to_owned(), |name| format!("/{name}?done=joined")))),
        Err(Error::Refused(refusal)) => {
            let page = page(&visit.state, visit.shell(Area::Elsewhere), &token, invitation);
            Ok(show_refusal(&InvitationPage { problem: Some(said(&refusal)), ..page }, refusal))
        }
        Err(Error::NotFound) => Ok(void(visit.shell(Area::Elsewhere))),
        Err(error) => Err(error.into()),
    }
}

/// `POST /invitations/{token}`: with an account that is made now.
pub(super) async fn make_account(
    Anybody { state, shell, visit }: Anybody,
    At(token): At<String>,
    Client(client): Client,
    Form(form): Form,
) -> Result<Response, PageError> {
    let app = state.app();
    let invitation = match app.invitation(&token).await {
        Ok(invitation) => invitation,
        Err(Error::NotFound) => return Ok(void(shell)),
        Err(error) => return Err(error.into()),
    };
    // Somebody signed in meanwhile, in another tab: they choose again what they see then.
    if visit.is_some() {
        return Ok(show(&page(&state, shell, &token, invitation)));
    }
    let organization = invitation.organization.as_ref().map(ToString::to_string);
    match app.accept_invitation_with_account(&token, form.text("name").trim(), &password(&form), &client).await {
        Ok(sign_in) => {
            let next = organization.map_or_else(|| "/".to_owned(), |name| format!("/{name}?done=joined"));
            Ok(enter(&state, None, &sign_in, &next).await)
        }
        Err(Error::Refused(refusal)) => {
            let text = said(&refusal);
            let mut page = InvitationPage { name: Field::new(form.text("name")), ..page(&state, shell, &token, invitation) };
            match refusal.field.as_deref() {
                Some("name") => page.name.error = Some(text),
                Some("password") => page.password_error = Some(text),
                _ => page.problem = Some(text),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(Error::NotFound) => Ok(void(shell)),
        Err(error) => Err(error.into()),
    }
}
