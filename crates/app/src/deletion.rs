//! Deleting an account with everything in its namespace.
//!
//! Invariants: never the last owner of an organization, never the last administrator, never while a build runs. Webhooks and grants are
//! removed at the providers first, while the account still has the tokens for it; what a provider refuses is in the receipts.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use slipway_model::{AccountId, AccountName, ProviderId};
use slipway_store::accounts::{self, Account};
use slipway_store::{WriteTx, teams};

use crate::audit::{self, Change, Place};
use crate::organizations::{demand_confirmed, demand_idle, doomed, last_owner};
use crate::people::last_administrator;
use crate::{Actor, App, Caller, Error, NamespaceOwner, Receipt};

/// What goes with a person's account, and what is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoomedAccount {
    /// The first hundred of its repositories.
    pub repositories: Vec<String>,
    /// How many repositories there are.
    pub repository_count: u64,
    /// How many access tokens.
    pub token_count: u64,
    /// Linked providers: webhooks and grants are removed there.
    pub links: Vec<ProviderId>,
    /// How many builds wait or run.
    pub build_count: u64,
    /// Organizations that it leaves.
    pub organizations: Vec<AccountName>,
    /// Organizations whose last owner it is: while there is one, the account cannot be deleted.
    pub sole_owner_of: Vec<AccountName>,
    /// Whether it is the last administrator of the installation: then it cannot be deleted either.
    pub last_administrator: bool,
}

/// Refuses to lose the last administrator or the last owner of an organization. What was found stays true until the change ends:
/// whoever puts the account into `owners` of another organization meanwhile waits for it.
pub(crate) async fn demand_dispensable(tx: &mut WriteTx, id: AccountId) -> Result<Account, Error> {
    accounts::lock_administrators(tx).await?;
    accounts::lock(tx, id).await?;
    let account = accounts::get(tx, id).await?.ok_or(Error::NotFound)?;
    if account.is_admin && accounts::count_administrators(tx).await? <= 1 {
        return Err(last_administrator(&account.name));
    }
    teams::lock_owned(tx, id).await?;
    let alone = teams::solely_owned(tx, id).await?;
    if alone.is_empty() { Ok(account) } else { Err(last_owner(&account.name, &alone)) }
}

/// Refuses what must not go.
async fn demand_deletable(tx: &mut WriteTx, id: AccountId) -> Result<Account, Error> {
    let account = demand_dispensable(tx, id).await?;
    demand_idle(tx, &account).await?;
    Ok(account)
}

impl App {
    /// What goes when the caller's account is deleted.
    ///
    /// # Errors
    /// A refusal for whoever is no person or has not the scope.
    pub async fn preview_delete_account(&self, caller: &Caller) -> Result<DoomedAccount, Error> {
        caller.own_account()?;
        let account = caller.account();
        let mut tx = self.read().await?;
        let goes = doomed(&mut tx, account).await?;
        let organizations = teams::organizations_of(&mut tx, account.id).await?.into_iter().map(|(account, _)| account.name).collect();
        Ok(DoomedAccount {
            repositories: goes.repositories,
            repository_count: goes.repository_count,
            token_count: goes.token_count,
            links: goes.links,
            build_count: goes.build_count,
            organizations,
            sole_owner_of: teams::solely_owned(&mut tx, account.id).await?,
            last_administrator: account.is_admin && accounts::count_administrators(&mut tx).await? <= 1,
        })
    }

    /// Deletes the caller's account with everything in it; `confirm` is its name. Gives the receipts of what was undone at the providers.
    ///
    /// # Errors
    /// A refusal: `confirm`, `password_wrong`, `last_owner` with each organization, `last_administrator`, `build_running`, `unlinking`.
    pub async fn delete_account(
        self: &Arc<Self>,
        caller: &Caller,
        confirm: &str,
        password: Option<&SecretString>,
    ) -> Result<Vec<Receipt>, Error> {
        caller.own_account()?;
        let account = caller.account();
        demand_confirmed(confirm, &account.name)?;
        self.prove(caller, password, "password").await?;
        let owner = self.namespace(caller, &account.name, slipway_model::Scope::Account).await?;
        self.delete_whole(&owner, caller.actor()).await
    }

    /// Deletes the account of a namespace. Whoever calls it has checked that the actor may.
    pub(crate) async fn delete_whole(self: &Arc<Self>, owner: &NamespaceOwner, actor: &Actor) -> Result<Vec<Receipt>, Error> {
        let id = owner.account().id;
        // Looked at before anything is undone at a provider, and given up.
        let mut tx = self.write().await?;
        demand_deletable(&mut tx, id).await?;
        drop(tx);
        let receipts = self.undo_links(owner).await?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let account = demand_deletable(&mut tx, id).await?;
        let gone = doomed(&mut tx, &account).await?;
        for (organization, _) in teams::organizations_of(&mut tx, id).await? {
            let change = Change::new("member.leave", account.name.as_str()).old(json!({"because": "the account was deleted"}));
            audit::write(&mut tx, now, actor, Place::Account(&organization), change).await?;
        }
        accounts::delete(&mut tx, id).await?;
        let facts =
            json!({"kind": account.kind, "repositories": gone.repository_count, "tokens": gone.token_count, "teams": gone.team_count});
        let change = Change::new("account.delete", account.name.as_str()).old(facts);
        audit::write(&mut tx, now, actor, Place::Installation, change).await?;
        tx.commit().await?;
        Ok(receipts)
    }
}
