//! Settings → Security: the password, the second factor, sessions, identities at other services.
//!
//! Invariant: secrets that are shown once come as the answer to the form, never behind an address that can be opened again; what was
//! typed into a password field never comes back.

use axum::response::Response;
use http::header;
use secrecy::SecretString;
use slipway_app::{App, Error, Refusal, SecondFactorState, SignIn};
use slipway_model::{IdentityId, SessionId};

use super::entry::providers;
use super::error::{PageError, said, sentence, show_refusal};
use super::fields::{At, Fields, Form};
use super::frame::{Visit, go, show};
use super::settings::{password, secret};
use super::view::security::{
    Cause, EnrolmentView, Factor, IdentityRow, RecoveryCodesPage, SecondFactorPage, SecretErrors, SecurityPage, SessionRow, Which, device,
    qr,
};
use super::view::shell::Area;
use crate::session::{Client, session_cookie};

const HOME: &str = "/settings/security";

/// An answer with the cookie of the session that took the place of this one.
fn with_session(visit: &Visit, sign_in: Option<&SignIn>, mut response: Response) -> Response {
    if let Some(sign_in) = sign_in {
        response.headers_mut().append(header::SET_COOKIE, session_cookie(&visit.state, sign_in));
    }
    response
}

async fn security_page(visit: &Visit) -> Result<SecurityPage, PageError> {
    let (app, caller) = (visit.app(), &visit.caller);
    let factor = app.second_factor(caller).await?;
    let mut sessions: Vec<SessionRow> = app
        .list_sessions(caller)
        .await?
        .into_iter()
        .map(|session| SessionRow {
            id: session.id.to_string(),
            device: device(&session.user_agent),
            address: session.address,
            created_at: session.created_at,
            seen_at: session.last_seen_at,
            which: if caller.session() == Some(session.id) { Which::This } else { Which::Other },
        })
        .collect();
    sessions.sort_by_key(|session| !session.is_this());
    let identities = app
        .list_identities(caller)
        .await?
        .into_iter()
        .map(|identity| IdentityRow {
            id: identity.id.to_string(),
            provider: provider_name(app, &identity.issuer),
            label: identity.label,
            created_at: identity.created_at,
            used_at: identity.last_used_at,
            error: None,
        })
        .collect();
    Ok(SecurityPage {
        shell: visit.shell(Area::Settings),
        name: caller.account().name.to_string(),
        password: password(visit).await?,
        password_errors: SecretErrors::default(),
        factor: match factor.state {
            SecondFactorState::On => Factor::On { codes_left: factor.codes_left.into() },
            SecondFactorState::Off | SecondFactorState::Waiting => Factor::Off,
        },
        factor_errors: SecretErrors::default(),
        codes_errors: SecretErrors::default(),
        sessions,
        identities,
        identity_problem: None,
        addition_error: None,
        providers: providers(app),
    })
}

/// The message beside the field that the refusal names.
fn beside(refusal: &Refusal) -> SecretErrors {
    let text = Some(said(refusal));
    match refusal.field.as_deref() {
        Some("new_password" | "new") => SecretErrors { new: text, ..SecretErrors::default() },
        Some("code") => SecretErrors { code: text, ..SecretErrors::default() },
        _ => SecretErrors { current: text, ..SecretErrors::default() },
    }
}

fn typed(form: &Fields, name: &str) -> SecretString {
    secret(form, name).unwrap_or_default()
}

/// `GET /settings/security`.
pub(super) async fn home(visit: Visit) -> Result<Response, PageError> {
    Ok(show(&security_page(&visit).await?))
}

/// `POST …/password`.
pub(super) async fn change_password(visit: Visit, Client(client): Client, Form(form): Form) -> Result<Response, PageError> {
    match visit.app().change_password(&visit.caller, &typed(&form, "password"), &typed(&form, "new_password"), &client).await {
        Ok(sign_in) => Ok(with_session(&visit, sign_in.as_ref(), go(&format!("{HOME}?done=password")))),
        Err(Error::Refused(refusal)) => {
            let page = SecurityPage { password_errors: beside(&refusal), ..security_page(&visit).await? };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/second-factor`: the secret for the app. It is shown in this answer only.
pub(super) async fn begin_factor(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    match visit.app().begin_second_factor(&visit.caller, &typed(&form, "password")).await {
        Ok(enrolment) => {
            let enrolment = EnrolmentView { picture: qr(&enrolment.qr_svg), secret: groups(&enrolment.secret_base32), uri: enrolment.uri };
            Ok(show(&SecondFactorPage { shell: visit.shell(Area::Settings), enrolment: Some(enrolment), error: None }))
        }
        Err(Error::Refused(refusal)) => {
            let page = SecurityPage { factor_errors: beside(&refusal), ..security_page(&visit).await? };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// In groups of four, as people read it aloud.
fn groups(secret: &str) -> String {
    let characters: Vec<char> = secret.chars().collect();
    characters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// `POST …/second-factor/confirm`: the recovery codes, in this answer only.
pub(super) async fn confirm_factor(visit: Visit, Client(client): Client, Form(form): Form) -> Result<Response, PageError> {
    match visit.app().confirm_second_factor(&visit.caller, form.text("code").trim(), &client).await {
        Ok((codes, sign_in)) => {
            let page = RecoveryCodesPage { shell: visit.shell(Area::Settings), codes, cause: Cause::SwitchedOn };
            Ok(with_session(&visit, sign_in.as_ref(), show(&page)))
        }
        Err(Error::Refused(refusal)) => {
            let page = SecondFactorPage { shell: visit.shell(Area::Settings), enrolment: None, error: Some(sentence(&refusal.detail)) };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/second-factor/off`.
pub(super) async fn end_factor(visit: Visit, Client(client): Client, Form(form): Form) -> Result<Response, PageError> {
    match visit.app().end_second_factor(&visit.caller, &typed(&form, "password"), form.text("code").trim(), &client).await {
        Ok(sign_in) => Ok(with_session(&visit, sign_in.as_ref(), go(&format!("{HOME}?done=factor-off")))),
        Err(Error::Refused(refusal)) => {
            let page = SecurityPage { factor_errors: beside(&refusal), ..security_page(&visit).await? };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/recovery-codes`: new ones, in this answer only.
pub(super) async fn new_codes(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    match visit.app().new_recovery_codes(&visit.caller, &typed(&form, "password"), form.text("code").trim()).await {
        Ok(codes) => Ok(show(&RecoveryCodesPage { shell: visit.shell(Area::Settings), codes, cause: Cause::Renewed })),
        Err(Error::Refused(refusal)) => {
            let page = SecurityPage { codes_errors: beside(&refusal), ..security_page(&visit).await? };
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST …/sessions/{id}/end`.
pub(super) async fn end_session(visit: Visit, At(id): At<SessionId>) -> Result<Response, PageError> {
    visit.app().end_session(&visit.caller, id).await?;
    Ok(go(&format!("{HOME}?done=session-ended")))
}

/// `POST …/sessions/end-others`.
pub(super) async fn end_other_sessions(visit: Visit) -> Result<Response, PageError> {
    visit.app().end_other_sessions(&visit.caller).await?;
    Ok(go(&format!("{HOME}?done=sessions-ended")))
}

/// The page again, with why no identity can be added.
pub(super) async fn refused_addition(visit: &Visit, refusal: Refusal) -> Result<Response, PageError> {
    let mut page = security_page(visit).await?;
    if refusal.field.as_deref() == Some("password") && page.has_password() {
        page.addition_error = Some(said(&refusal));
    } else {
        page.identity_problem = Some(said(&refusal));
    }
    Ok(show_refusal(&page, refusal))
}

/// `POST …/identities/{id}/remove`.
pub(super) async fn remove_identity(visit: Visit, At(id): At<IdentityId>, Form(form): Form) -> Result<Response, PageError> {
    match visit.app().remove_identity(&visit.caller, id, secret(&form, "password").as_ref()).await {
        Ok(()) => Ok(go(&format!("{HOME}?done=identity-removed"))),
        Err(Error::Refused(refusal)) => {
            let mut page = security_page(&visit).await?;
            let asked = id.to_string();
            match page.identities.iter_mut().find(|row| row.id == asked) {
                Some(row) if refusal.field.as_deref() == Some("password") => row.error = Some(said(&refusal)),
                _ => page.identity_problem = Some(said(&refusal)),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// A provider as people know it; one that is no longer configured by its address.
fn provider_name(app: &App, issuer: &str) -> String {
    app.config().oidc.iter().find(|provider| provider.issuer == issuer).map_or_else(|| issuer.to_owned(), |provider| provider.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_in_groups() {
        assert_eq!(groups("JBSWY3DPEHPK3PXP"), "JBSW Y3DP EHPK 3PXP");
        assert_eq!(groups("JBSWY"), "JBSW Y");
        assert_eq!(groups(""), "");
    }
}
