//! What the installation's administrators do with accounts: list, make service accounts and their tokens, give and take the right to
//! administer, delete.
//!
//! Invariant: there is always an administrator. Every change stands in the installation's audit log.
//! Deliberately absent: reading or changing what is in other people's namespaces.

use std::sync::Arc;

use serde_json::json;
use slipway_model::{AccountKind, AccountName, TokenId};
use slipway_store::accounts::{self, Account, NewAccount};
use slipway_store::sessions;

use crate::accounts::{insert_account, note_created, parse_name};
use crate::audit::{self, Change, Place};
use crate::organizations::demand_confirmed;
use crate::tokens::Maker;
use crate::{Administrator, App, Error, NewToken, Receipt, Refusal, RefusalKind, Role, TokenView, TokenWish};

pub(crate) fn last_administrator(name: &AccountName) -> Error {
    Refusal::new(RefusalKind::Conflict, "last_administrator", format!("`{name}` is the last administrator of the installation"))
        .hint("make somebody else an administrator first, under /admin/accounts")
        .into()
}

impl App {
    /// A page of all accounts of a kind, or of every kind, by name.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_accounts(
        &self,
        _administrator: &Administrator,
        kind: Option<AccountKind>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Account>, Error> {
        let mut tx = self.read().await?;
        Ok(accounts::list(&mut tx, kind, after, limit).await?)
    }

    /// One account by its current name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_account(&self, _administrator: &Administrator, name: &AccountName) -> Result<Account, Error> {
        let mut tx = self.read().await?;
        accounts::get_by_name(&mut tx, name).await?.ok_or(Error::NotFound)
    }

    /// Makes a service account: no password, no sign-in, tokens only.
    ///
    /// # Errors
    /// A refusal when the name is taken or not valid.
    pub async fn create_service_account(&self, administrator: &Administrator, name: &str) -> Result<Account, Error> {
        let name = parse_name(name)?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let new = NewAccount { kind: AccountKind::Service, ..NewAccount::user(&name) };
        let account = insert_account(&mut tx, &new, now).await?;
        note_created(&mut tx, now, administrator.actor(), &account).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// The service account of a name: administrators look after these, and after nobody else's tokens.
    async fn service_account(&self, administrator: &Administrator, name: &AccountName) -> Result<Account, Error> {
        let account = self.get_account(administrator, name).await?;
        if account.kind == AccountKind::Service {
            return Ok(account);
        }
        let detail = format!("`{name}` is no service account, its tokens are its own");
        Err(Refusal::new(RefusalKind::Forbidden, "not_a_service_account", detail).into())
    }

    /// Makes a token of a service account, with scopes that the administrator's own credential has.
    ///
    /// # Errors
    /// A refusal: `not_a_service_account`, a wish that cannot be.
    pub async fn create_service_token(
        &self,
        administrator: &Administrator,
        name: &AccountName,
        wish: &TokenWish,
    ) -> Result<NewToken, Error> {
        let account = self.service_account(administrator, name).await?;
        let maker = Maker::holding(administrator.actor(), administrator.limits(), wish)?;
        self.create_token_for(&account, &maker, Place::Installation, wish).await
    }

    /// The tokens of a service account, without their secrets.
    ///
    /// # Errors
    /// As [`App::create_service_token`].
    pub async fn list_service_tokens(&self, administrator: &Administrator, name: &AccountName) -> Result<Vec<TokenView>, Error> {
        let account = self.service_account(administrator, name).await?;
        self.list_tokens_of(account.id).await
    }

    /// Revokes a token of a service account, from this moment on.
    ///
    /// # Errors
    /// As [`App::create_service_token`]; [`Error::NotFound`] when it is not the account's.
    pub async fn revoke_service_token(&self, administrator: &Administrator, name: &AccountName, id: TokenId) -> Result<(), Error> {
        let account = self.service_account(administrator, name).await?;
        self.revoke_token_of(&account, administrator.actor(), Place::Installation, id).await
    }

    /// Gives a user the right to administer the installation, or takes it. Never from the last one.
    ///
    /// # Errors
    /// A refusal: `last_administrator`, `not_a_user`.
    pub async fn set_administrator(&self, administrator: &Administrator, name: &AccountName, role: Role) -> Result<Account, Error> {
        administrator.limits().demand_everything()?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        accounts::lock_administrators(&mut tx).await?;
        let before = accounts::get_by_name(&mut tx, name).await?.ok_or(Error::NotFound)?;
        let wanted = role == Role::Administrator;
        if before.is_admin == wanted {
            return Ok(before);
        }
        if before.kind != AccountKind::User {
            let detail = format!("`{name}` is no user, and only users administer the installation");
            return Err(Error::invalid("not_a_user", "admin", detail));
        }
        if !wanted && accounts::count_administrators(&mut tx).await? <= 1 {
            return Err(last_administrator(name));
        }
        accounts::set_admin(&mut tx, before.id, wanted).await?;
        sessions::mark_renew(&mut tx, before.id).await?;
        let change = Change::new("account.admin", name.as_str())
            .old(json!({"administrator": before.is_admin}))
            .now(json!({"administrator": wanted}));
        audit::write(&mut tx, now, administrator.actor(), Place::Installation, change).await?;
        let account = accounts::get(&mut tx, before.id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(account)
    }

    /// Deletes another's account, a service account or an organization, with everything in it; `confirm` is its name. Gives the receipts
    /// of what was undone at the providers.
    ///
    /// # Errors
    /// A refusal: `confirm`, `own_account`, `last_owner` with each organization, `last_administrator`, `build_running`, `unlinking`.
    pub async fn delete_other_account(
        self: &Arc<Self>,
        administrator: &Administrator,
        name: &AccountName,
        confirm: &str,
    ) -> Result<Vec<Receipt>, Error> {
        let account = self.get_account(administrator, name).await?;
        if administrator.actor().account == Some(account.id) {
            return Err(Refusal::new(RefusalKind::Conflict, "own_account", "this is your own account")
                .hint("delete it under /settings/account/delete")
                .into());
        }
        demand_confirmed(confirm, name)?;
        self.delete_whole(&administrator.over(account), administrator.actor()).await
    }
}
