//! Administration: the accounts of the installation, service accounts with their tokens, invitations.
//!
//! Invariant: every handler first asks the application for the right of an administrator; without it these pages do not exist.

use std::time::Duration;

use axum::response::Response;
use slipway_app::store::accounts::Account;
use slipway_app::{Administrator, Error, InvitationWish, Mailed, Role};
use slipway_model::{AccountKind, AccountName, InvitationId, TokenId};

use super::error::{PageError, said, show_refusal};
use super::fields::{At, Fields, Form, Query};
use super::frame::{Visit, go, show, show_refused};
use super::settings::{deleted, mail};
use super::token_form::{self, Sent};
use super::view::admin::{
    AccountManagePage, AccountRow, AccountsPage, Administers, InvitationRow, InvitationsPage, Life, NewInvitation, Who,
};
use super::view::form::Field;
use super::view::shell::Area;
use super::view::tokens::{NewToken, TokenArea, TokenForm, TokenOwner};

const ACCOUNTS: &str = "/admin/accounts";
const INVITATIONS: &str = "/admin/invitations";
const PAGE: usize = 50;

fn administrator(visit: &Visit) -> Result<Administrator, PageError> {
    Ok(visit.app().administrator(&visit.caller)?)
}

fn row(account: &Account) -> AccountRow {
    AccountRow {
        name: account.name.to_string(),
        display_name: if account.display_name == account.name.as_str() { String::new() } else { account.display_name.clone() },
        kind: account.kind,
        administers: if account.is_admin { Administers::Yes } else { Administers::No },
        email: account.email.clone(),
        created_at: account.created_at,
    }
}

/// A page of accounts whose name begins with a text. Names that begin alike stand together, right after the text itself.
async fn accounts_page(visit: &Visit, query: &Fields) -> Result<AccountsPage, PageError> {
    let administrator = administrator(visit)?;
    let kind: Option<AccountKind> = query.filled("kind").and_then(|word| word.parse().ok());
    let prefix: String = query.text("q").trim().to_lowercase().chars().take(64).collect();
    let cursor = query.filled("cursor");
    let mut found = Vec::new();
    if let (None, Ok(name)) = (cursor, prefix.parse::<AccountName>()) {
        match visit.app().get_account(&administrator, &name).await {
            Ok(account) if kind.is_none_or(|kind| kind == account.kind) => found.push(account),
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let after = cursor.or((!prefix.is_empty()).then_some(prefix.as_str()));
    let rest = visit.app().list_accounts(&administrator, kind, after, PAGE as u32 + 1).await?;
    found.extend(rest.into_iter().take_while(|account| account.name.as_str().starts_with(&prefix)));
    let next = (found.len() > PAGE).then(|| found.get(PAGE - 1).map(|account| account.name.to_string())).flatten();
    found.truncate(PAGE);
    Ok(AccountsPage {
        shell: visit.shell(Area::Administration),
        rows: found.iter().map(row).collect(),
        kind,
        query: prefix,
        next,
        service: Field::default(),
    })
}

/// `GET /admin/accounts`.
pub(super) async fn accounts(visit: Visit, Query(query): Query) -> Result<Response, PageError> {
    Ok(show(&accounts_page(&visit, &query).await?))
}

/// `POST /admin/accounts`: a service account.
pub(super) async fn make_service(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("name").trim();
    match visit.app().create_service_account(&administrator(&visit)?, typed).await {
        Ok(account) => Ok(go(&format!("{ACCOUNTS}/{}?done=service-made", account.name))),
        Err(Error::Refused(refusal)) => {
            let page = accounts_page(&visit, &Fields::default()).await?;
            Ok(show_refusal(&AccountsPage { service: Field::refused(typed, said(&refusal)), ..page }, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

async fn tokens(
    visit: &Visit,
    administrator: &Administrator,
    account: &Account,
    form: TokenForm,
    created: Option<NewToken>,
) -> Result<Option<TokenArea>, PageError> {
    if account.kind != AccountKind::Service {
        return Ok(None);
    }
    let rows = token_form::rows(visit.app().list_service_tokens(administrator, &account.name).await?, visit.now());
    let owner = TokenOwner::Service(account.name.to_string());
    Ok(Some(TokenArea { owner, action: format!("{ACCOUNTS}/{}/tokens", account.name), rows, created, form }))
}

async fn manage_page(
    visit: &Visit,
    name: &AccountName,
    form: TokenForm,
    created: Option<NewToken>,
) -> Result<AccountManagePage, PageError> {
    let administrator = administrator(visit)?;
    let account = visit.app().get_account(&administrator, name).await?;
    Ok(AccountManagePage {
        shell: visit.shell(Area::Administration),
        who: if account.id == visit.caller.account().id { Who::Oneself } else { Who::Other },
        role_problem: None,
        tokens: tokens(visit, &administrator, &account, form, created).await?,
        confirm: Field::default(),
        delete_problem: None,
        account: row(&account),
    })
}

/// `GET /admin/accounts/{name}`.
pub(super) async fn account(visit: Visit, At(name): At<AccountName>) -> Result<Response, PageError> {
    Ok(show(&manage_page(&visit, &name, token_form::empty(), None).await?))
}

/// `POST /admin/accounts/{name}/tokens`: the answer is the only page that ever shows the token.
pub(super) async fn make_token(visit: Visit, At(name): At<AccountName>, Form(fields): Form) -> Result<Response, PageError> {
    let Sent { form, wish } = token_form::read(&fields, visit.now());
    let Some(wish) = wish else { return Ok(show_refused(&manage_page(&visit, &name, form, None).await?)) };
    match visit.app().create_service_token(&administrator(&visit)?, &name, &wish).await {
        Ok(made) => {
            let created = token_form::created(&wish.name, &made, &visit.app().registry_host(), name.as_str());
            Ok(show(&manage_page(&visit, &name, token_form::empty(), Some(created)).await?))
        }
        Err(Error::Refused(refusal)) => {
            let form = token_form::refused(form, &refusal);
            Ok(show_refusal(&manage_page(&visit, &name, form, None).await?, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/accounts/{name}/tokens/{id}/revoke`.
pub(super) async fn revoke_token(visit: Visit, At((name, id)): At<(AccountName, TokenId)>) -> Result<Response, PageError> {
    visit.app().revoke_service_token(&administrator(&visit)?, &name, id).await?;
    Ok(go(&format!("{ACCOUNTS}/{name}?done=revoked")))
}

/// `POST /admin/accounts/{name}/role`.
pub(super) async fn set_role(visit: Visit, At(name): At<AccountName>, Form(form): Form) -> Result<Response, PageError> {
    let role = match form.text("role") {
        "administrator" => Role::Administrator,
        _ => Role::User,
    };
    match visit.app().set_administrator(&administrator(&visit)?, &name, role).await {
        // Whoever took it from themselves sees these pages no more.
        Ok(account) if account.id == visit.caller.account().id && !account.is_admin => Ok(go("/")),
        Ok(_) => Ok(go(&format!("{ACCOUNTS}/{name}?done=role"))),
        Err(Error::Refused(refusal)) => {
            let page = manage_page(&visit, &name, token_form::empty(), None).await?;
            Ok(show_refusal(&AccountManagePage { role_problem: Some(said(&refusal)), ..page }, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/accounts/{name}/delete`.
pub(super) async fn delete(visit: Visit, At(name): At<AccountName>, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("confirm").trim();
    match visit.app().delete_other_account(&administrator(&visit)?, &name, typed).await {
        Ok(receipts) => Ok(deleted(visit.shell(Area::Administration), name.as_str(), receipts, &format!("{ACCOUNTS}?done=other-deleted"))),
        Err(Error::Refused(refusal)) => {
            let page = manage_page(&visit, &name, token_form::empty(), None).await?;
            let mut page = AccountManagePage { confirm: Field::new(typed), ..page };
            match refusal.field.as_deref() {
                Some("confirm") => page.confirm.error = Some(said(&refusal)),
                _ => page.delete_problem = Some(said(&refusal)),
            }
            Ok(show_refusal(&page, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

async fn invitations_page(visit: &Visit, before: Option<InvitationId>) -> Result<InvitationsPage, PageError> {
    let mut entries = visit.app().list_invitations(&administrator(visit)?, before, PAGE as u32 + 1).await?;
    let more = entries.len() > PAGE;
    entries.truncate(PAGE);
    let next = entries.last().filter(|_| more).map(|entry| entry.id.to_string());
    let rows = entries.into_iter().map(|entry| InvitationRow {
        id: entry.id.to_string(),
        email: entry.email,
        by: entry.created_by,
        created_at: entry.created_at,
        expires_at: entry.expires_at,
    });
    Ok(InvitationsPage {
        shell: visit.shell(Area::Administration),
        rows: rows.collect(),
        next,
        created: None,
        email: Field::default(),
        life: Life::default(),
        mail: mail(visit.app()),
    })
}

/// `GET /admin/invitations`.
pub(super) async fn invitations(visit: Visit, Query(query): Query) -> Result<Response, PageError> {
    let before = query.filled("cursor").and_then(|cursor| cursor.parse().ok());
    Ok(show(&invitations_page(&visit, before).await?))
}

/// `POST /admin/invitations`: the answer is the only page that ever shows the link.
pub(super) async fn invite(visit: Visit, Form(form): Form) -> Result<Response, PageError> {
    let typed = form.text("email").trim();
    let life = Life::from_word(form.text("life")).unwrap_or_default();
    let email = (!typed.is_empty()).then(|| typed.to_owned());
    let wish = InvitationWish { email: email.clone(), expires_in: Duration::from_secs(life.hours() * 3600) };
    match visit.app().invite(&administrator(&visit)?, &wish).await {
        Ok(made) => {
            let created = NewInvitation {
                url: made.url.into(),
                expires_at: made.expires_at,
                mailed_to: email.filter(|_| made.mailed == Mailed::Yes),
            };
            Ok(show(&InvitationsPage { created: Some(created), ..invitations_page(&visit, None).await? }))
        }
        Err(Error::Refused(refusal)) => {
            let email = Field::refused(typed, said(&refusal));
            Ok(show_refusal(&InvitationsPage { email, life, ..invitations_page(&visit, None).await? }, refusal))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/invitations/{id}/revoke`.
pub(super) async fn revoke_invitation(visit: Visit, At(id): At<InvitationId>) -> Result<Response, PageError> {
    visit.app().revoke_invitation(&administrator(&visit)?, id).await?;
    Ok(go(&format!("{INVITATIONS}?done=invitation-revoked")))
}
