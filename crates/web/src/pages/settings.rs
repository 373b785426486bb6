//! Settings of the account: the account itself and its end, its access tokens, colours.
//!
//! Deliberately elsewhere: what opens the account (`security`), the form of tokens (`token_form`).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use secrecy::SecretString;
use slipway_app::{App, DoomedAccount, Error, Receipt, ReceiptItem};
use slipway_model::TokenId;

use super::anybody::Anybody;
use super::error::{PageError, said, sentence, show_refusal};
use super::fields::{At, Fields, Form, Query};
use super::frame::{THEME_COOKIE, Visit, go, show, show_refused};
use super::token_form::{self, Sent};
use super::view::entry::{Confirmation, EmailConfirmPage};
use super::view::form::Field;
use super::view::providers::ReceiptLine;
use super::view::security::Password;
use super::view::settings::{AccountConvertPage, AccountDeletePage, AccountDeletedPage, AccountPage, Mail, TokensPage, WaitingEmail};
use super::view::shell::{Area, Layout, Shell, Theme};
use super::view::tokens::{NewToken, TokenArea, TokenForm, TokenOwner};
use crate::session::{ended_cookie, safe_next};

/// `/settings`.
pub(super) async fn home() -> Response {
    go("/settings/account")
}

/// `POST /settings/theme`: remembers the colours in this browser for a year.
pub(super) async fn theme(Form(form): Form) -> Response {
    let theme = Theme::from_word(form.text("theme"));
    let cookie = format!("{THEME_COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly", theme.as_str());
    let cookie = HeaderValue::from_str(&cookie).expect("one of three words in constant ASCII text");
    ([(header::SET_COOKIE, cookie)], go(safe_next(form.filled("next")))).into_response()
}

/// Whether the person has a password; who signs in through a provider may have none.
pub(super) async fn password(visit: &Visit) -> Result<Password, PageError> {
    Ok(if visit.app().has_password(&visit.caller).await? { Password::Set } else { Password::None })
}

/// A password of a form, when the form had the field.
pub(super) fn secret(form: &Fields, name: &str) -> Option<SecretString> {
    form.filled(name).map(|text| SecretString::from(text.to_owned()))
}

async fn account_page(visit: &Visit) -> Result<AccountPage, PageError> {
    let account = visit.caller.account();
    let waiting = visit.app().waiting_email(&visit.caller).await?;
    Ok(AccountPage {
        shell: visit.shell(Area::Settings),
        name: account.name.to_string(),
        images: format!("{}/{}", &visit.app().registry_host(), account.name),
        created_at: account.created_at,
        display_name: Field::new(Some(&account.display_name).filter(|text| *text != account.name.as_str()).map_or("", String::as_str)),
        email: account.email.clone(),
        waiting: waiting.map(|waiting| WaitingEmail { address: waiting.email, expires_at: waiting.expires_at }),
        new_email: Field::default(),
        password_error: None,
        password: password(visit).await?,
        mail: mail(visit.app()),
    })
}

/// Whether mail is sent, in words of the views.
pub(super) fn mail(app: &App) -> Mail {
    if app.sends_mail() { Mail::Sent } else { Mail::Off }
}

/// `GET /settings/account`.
pub(super) async fn account(visit: Visit) -> Result<Response, PageError> {
    Ok(show(&account_page(&visit).await?))
}

/// `POST /settings/account`: the name that people see.
pub(super) async fn change_account(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("display_name").trim();
    match visit.app().update_account(&visit.caller, typed).await {
        Ok(_) => Ok(go("/settings/account?done=saved")),
        Err(Error::Refused(refusal)) => {
            let display_name = Field::refused(typed, sentence(&refusal.detail));
            Ok(show_refused(&AccountPage { display_name, ..account_page(&visit).await? }))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /settings/account/email`: a link goes to the new address.
pub(super) async fn change_email(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("email").trim();
    match visit.app().change_email(&visit.caller, typed, secret(&form, "password").as_ref()).await {
        Ok(()) => Ok(go("/settings/account?done=email-sent")),
        Err(Error::Refused(refusal)) => {
            let text = said(&refusal);
            let mut page = AccountPage { new_email: Field::new(typed), ..account_page(&visit).await? };
            match refusal.field.as_deref() {
                Some("password") if page.password == Password::Set => page.password_error = Some(text),
                _ => page.new_email.error = Some(text),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /settings/email/confirm?token=`: the page with the button. Whoever opens it need not be signed in.
pub(super) async fn ask_email(Anybody { shell, .. }: Anybody, Query(query): Query) -> Response {
    show(&EmailConfirmPage { shell, state: Confirmation::Asked { token: query.text("token").to_owned() } })
}

/// `POST /settings/email/confirm`.
pub(super) async fn confirm_email(Anybody { state, shell, .. }: Anybody, Form(form): Form) -> Result<Response, PageError> {
    match state.app().confirm_email(form.text("token")).await {
        Ok(_) => Ok(show(&EmailConfirmPage { shell, state: Confirmation::Done })),
        Err(Error::Refused(_)) => Ok(show_refused(&EmailConfirmPage { shell, state: Confirmation::Void })),
        Err(error) => Err(error.into()),
    }
}

async fn delete_page(visit: &Visit) -> Result<AccountDeletePage, PageError> {
    let doomed = visit.app().preview_delete_account(&visit.caller).await?;
    let name = &visit.caller.account().name;
    let shown = u64::try_from(doomed.repositories.len()).unwrap_or(u64::MAX);
    Ok(AccountDeletePage {
        shell: visit.shell(Area::Settings),
        name: name.to_string(),
        more: doomed.repository_count.saturating_sub(shown),
        goes: goes(&doomed),
        repositories: doomed.repositories.iter().map(|repository| format!("{name}/{repository}")).collect(),
        sole_owner_of: doomed.sole_owner_of.iter().map(ToString::to_string).collect(),
        last_administrator: doomed.last_administrator,
        problem: None,
        confirm: Field::default(),
        password_error: None,
        password: password(visit).await?,
    })
}

/// What a deletion takes with it, in words.
fn goes(doomed: &DoomedAccount) -> Vec<String> {
    let count = |number: u64, one: &str, many: &str| (number > 0).then(|| format!("{number} {}", if number == 1 { one } else { many }));
    let mut all = vec!["The account with its sign-in, sessions and settings".to_owned()];
    all.extend(count(
        doomed.repository_count,
        "repository with its images, tags and rules",
        "repositories with their images, tags and rules",
    ));
    all.extend(count(doomed.build_count, "build with its log", "builds with their logs"));
    all.extend(count(doomed.token_count, "access token: what uses it stops", "access tokens: what uses them stops"));
    all.extend(doomed.links.iter().map(|provider| format!("The link to {provider}")));
    all.extend(doomed.organizations.iter().map(|name| format!("The membership of {name}")));
    all
}

/// After an account is deleted: on to `next`, or first a page of what is left at the providers, which only this answer can tell.
pub(super) fn deleted(shell: Shell, name: &str, receipts: Vec<Receipt>, next: &str) -> Response {
    let line = |item: ReceiptItem| ReceiptLine { what: sentence(&item.what), left: None, url: item.url };
    let left: Vec<ReceiptLine> = receipts.into_iter().flat_map(|receipt| receipt.left).map(line).collect();
    if left.is_empty() { go(next) } else { show(&AccountDeletedPage { shell, name: name.to_owned(), left }) }
}

/// `GET /settings/account/delete`.
pub(super) async fn preview_delete(visit: Visit) -> Result<Response, PageError> {
    Ok(show(&delete_page(&visit).await?))
}

/// `POST /settings/account/delete`.
pub(super) async fn delete_account(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("confirm").trim();
    match visit.app().delete_account(&visit.caller, typed, secret(&form, "password").as_ref()).await {
        Ok(receipts) => {
            let shell = Shell { person: None, layout: Layout::Alone, ..visit.shell(Area::Elsewhere) };
            let answer = deleted(shell, visit.caller.account().name.as_str(), receipts, "/signin?done=account-deleted");
            Ok(([(header::SET_COOKIE, ended_cookie(&visit.state))], answer).into_response())
        }
        Err(Error::Refused(refusal)) => {
            let text = said(&refusal);
            let mut page = AccountDeletePage { confirm: Field::new(typed), ..delete_page(&visit).await? };
            match refusal.field.as_deref() {
                Some("confirm") => page.confirm.error = Some(text),
                Some("password") if page.password == Password::Set => page.password_error = Some(text),
                // What stands in the way is said at the top already.
                _ if !page.may_go() => {}
                _ => page.problem = Some(text),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

async fn convert_page(visit: &Visit) -> Result<AccountConvertPage, PageError> {
    let preview = visit.app().preview_conversion(&visit.caller).await?;
    Ok(AccountConvertPage {
        shell: visit.shell(Area::Settings),
        name: visit.caller.account().name.to_string(),
        warnings: preview.warnings,
        refused: preview.refused.map(|refusal| (sentence(&refusal.detail), refusal.hint.as_deref().map(sentence))),
        first_owner: Field::default(),
        confirm: Field::default(),
        password_error: None,
        password: password(visit).await?,
        problem: None,
    })
}

/// `GET /settings/account/convert`.
pub(super) async fn preview_convert(visit: Visit) -> Result<Response, PageError> {
    Ok(show(&convert_page(&visit).await?))
}

/// `POST /settings/account/convert`: afterwards nobody is signed in here any more.
pub(super) async fn convert(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let (owner, typed) = (form.text("first_owner").trim(), form.text("confirm").trim());
    match visit.app().convert_to_organization(&visit.caller, owner, typed, secret(&form, "password").as_ref()).await {
        Ok(_) => Ok(([(header::SET_COOKIE, ended_cookie(&visit.state))], go("/signin?done=converted")).into_response()),
        Err(Error::Refused(refusal)) => {
            let text = said(&refusal);
            let mut page = AccountConvertPage { first_owner: Field::new(owner), confirm: Field::new(typed), ..convert_page(&visit).await? };
            match refusal.field.as_deref() {
                Some("first_owner") => page.first_owner.error = Some(text),
                Some("confirm") => page.confirm.error = Some(text),
                Some("password") if page.password == Password::Set => page.password_error = Some(text),
                // What stands in the way is said at the top already.
                _ if page.refused.is_some() => {}
                _ => page.problem = Some(text),
            }
            Ok(show_refused(&page))
        }
        Err(error) => Err(error.into()),
    }
}

async fn tokens_page(visit: &Visit, form: TokenForm, created: Option<NewToken>) -> Result<TokensPage, PageError> {
    let rows = token_form::rows(visit.app().list_tokens(&visit.caller).await?, visit.now());
    let tokens = TokenArea { owner: TokenOwner::Person, action: "/settings/tokens".to_owned(), rows, created, form };
    Ok(TokensPage { shell: visit.shell(Area::Settings), tokens })
}

/// `GET /settings/tokens`.
pub(super) async fn tokens(visit: Visit) -> Result<Response, PageError> {
    Ok(show(&tokens_page(&visit, token_form::empty(), None).await?))
}

/// `POST /settings/tokens`: the answer is the only page that ever shows the token, so there is no redirect.
pub(super) async fn make_token(visit: Visit, Form(fields): Form) -> Result<Response, PageError> {
    let Sent { form, wish } = token_form::read(&fields, visit.now());
    let Some(wish) = wish else { return Ok(show_refused(&tokens_page(&visit, form, None).await?)) };
    match visit.app().create_token(&visit.caller, &wish).await {
        Ok(made) => {
            let account = visit.caller.account().name.as_str();
            let created = token_form::created(&wish.name, &made, &visit.app().registry_host(), account);
            Ok(show(&tokens_page(&visit, token_form::empty(), Some(created)).await?))
        }
        Err(Error::Refused(refusal)) => Ok(show_refused(&tokens_page(&visit, token_form::refused(form, &refusal), None).await?)),
        Err(error) => Err(error.into()),
    }
}

/// `POST /settings/tokens/{id}/revoke`.
pub(super) async fn revoke_token(visit: Visit, At(id): At<TokenId>) -> Result<Response, PageError> {
    visit.app().revoke_token(&visit.caller, id).await?;
    Ok(go("/settings/tokens?done=revoked"))
}
