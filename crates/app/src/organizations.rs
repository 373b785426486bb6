//! Organizations: make, rename with redirects, delete with all that is in them.
//!
//! Invariant: an organization always has the team `owners` with at least one member; [`last_owner`] says who is in the way.

use std::sync::Arc;

use serde_json::json;
use slipway_model::{AccountKind, AccountName, ProviderId, Scope, TeamName};
use slipway_store::accounts::{self, Account, NewAccount};
use slipway_store::teams::{self, Membership as Row};
use slipway_store::{ReadTx, StoreError, builds, links, repositories, tokens};

use crate::audit::{self, Change, Place};
use crate::{App, Caller, Error, OrganizationOwner, Receipt, Refusal, RefusalKind, Standing};

const DISPLAY_NAME_CHARACTERS: usize = 100;
/// One person makes at most this many organizations.
const ORGANIZATIONS: u64 = 200;
/// An organization holds at most this many names, its former ones counted: a name is held for ever.
const NAMES: u64 = 10;
const SHOWN: u32 = 100;

/// An organization that somebody belongs to.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The organization.
    pub account: Account,
    /// Owner or member.
    pub standing: Standing,
}

/// What shall be different; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct OrganizationChange {
    /// Name of the namespace. The former one leads on.
    pub name: Option<String>,
    /// What people call it.
    pub display_name: Option<String>,
}

/// What goes with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// The first hundred of its repositories.
    pub repositories: Vec<String>,
    /// How many repositories there are.
    pub repository_count: u64,
    /// How many teams.
    pub team_count: u64,
    /// How many people are in them.
    pub member_count: u64,
    /// How many access tokens.
    pub token_count: u64,
    /// Linked providers: webhooks and grants are removed there.
    pub links: Vec<ProviderId>,
    /// How many builds wait or run.
    pub build_count: u64,
}

/// A refusal that says who is the last owner of what, and where to mend it.
pub(crate) fn last_owner(who: &AccountName, organizations: &[AccountName]) -> Error {
    let names = organizations.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let places = organizations.iter().map(|name| format!("/o/{name}/teams/owners")).collect::<Vec<_>>().join(", ");
    Refusal::new(RefusalKind::Conflict, "last_owner", format!("`{who}` is the last owner of {names}"))
        .hint(format!("add another owner at {places}, or delete the organization"))
        .into()
}

/// Refuses a name that is held, or that looks like one that is held.
pub(crate) async fn demand_free(tx: &mut ReadTx, name: &AccountName) -> Result<(), Error> {
    match accounts::name_in_the_way(tx, name).await? {
        None => Ok(()),
        Some(held) if held == *name => Err(name_taken(match accounts::get_by_name(tx, name).await? {
            Some(_) => format!("there is an account `{name}` already"),
            None => format!("`{name}` is a former name of an account and leads there"),
        })),
        Some(held) => Err(name_taken(format!("`{name}` is easily taken for `{held}`, which is an account already"))),
    }
}

fn name_taken(detail: String) -> Error {
    Refusal::new(RefusalKind::Conflict, "name_taken", detail).field("name").hint("choose another name").into()
}

/// A conflict behind [`demand_free`] is somebody who was quicker.
pub(crate) fn taken_meanwhile(error: StoreError, name: &AccountName) -> Error {
    match error {
        StoreError::Conflict(_) => name_taken(format!("there is an account `{name}` already")),
        other => other.into(),
    }
}

pub(crate) fn check_display_name(text: &str) -> Result<&str, Error> {
    let text = text.trim();
    let length = text.chars().count();
    if length > DISPLAY_NAME_CHARACTERS || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            "display_name",
            "display_name",
            format!("the display name has {length} characters, at most {DISPLAY_NAME_CHARACTERS} without control characters are accepted"),
        ));
    }
    Ok(text)
}

pub(crate) async fn doomed(tx: &mut ReadTx, account: &Account) -> Result<Doomed, Error> {
    let id = account.id;
    let shown = repositories::list(tx, id, repositories::Eyes::owner(), None, SHOWN).await?;
    Ok(Doomed {
        repositories: shown.into_iter().map(|repository| repository.name.to_string()).collect(),
        repository_count: repositories::count_repositories(tx, id).await?,
        team_count: teams::count_teams(tx, id).await?,
        member_count: teams::count_people(tx, id).await?,
        token_count: tokens::count_tokens(tx, id).await?,
        links: linked_providers(tx, id).await?,
        build_count: builds::count_open(tx, id).await?,
    })
}

/// The providers that an account is linked to, each once.
async fn linked_providers(tx: &mut ReadTx, account: slipway_model::AccountId) -> Result<Vec<ProviderId>, Error> {
    let mut providers: Vec<ProviderId> = links::list(tx, account).await?.into_iter().map(|link| link.provider).collect();
    providers.dedup();
    Ok(providers)
}

impl App {
    /// Makes an organization; whoever makes it is its first owner.
    ///
    /// # Errors
    /// A refusal when the name is taken or not valid.
    pub async fn create_organization(&self, caller: &Caller, name: &str, display_name: &str) -> Result<Account, Error> {
        caller.own_account()?;
        let name = crate::accounts::parse_name(name)?;
        let display_name = Some(check_display_name(display_name)?).filter(|text| !text.is_empty()).unwrap_or(name.as_str()).to_owned();
        let now = self.clock.now();
        let mut tx = self.write().await?;
        demand_free(&mut tx, &name).await?;
        if accounts::count_created_by(&mut tx, caller.account().id).await? >= ORGANIZATIONS {
            let detail = format!("`{}` has made {ORGANIZATIONS} organizations already", caller.account().name);
            return Err(Error::conflict("too_many_organizations", detail));
        }
        let created_by = Some(caller.account().id);
        let new = NewAccount { kind: AccountKind::Organization, display_name: &display_name, created_by, ..NewAccount::user(&name) };
        let id = accounts::insert(&mut tx, &new, now).await.map_err(|error| taken_meanwhile(error, &name))?;
        let owners = teams::insert(&mut tx, id, &TeamName::owners(), "Own the organization", now).await?;
        teams::add_member(&mut tx, owners, caller.account().id, now).await?;
        slipway_store::sessions::mark_renew(&mut tx, caller.account().id).await?;
        let account = accounts::get(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("organization.create", name.as_str()).now(json!({"owner": caller.account().name}));
        audit::write(&mut tx, now, caller.actor(), Place::Account(&account), change).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// The organizations that the caller belongs to, by name, at most 500.
    ///
    /// # Errors
    /// A missing scope.
    pub async fn list_organizations(&self, caller: &Caller) -> Result<Vec<Membership>, Error> {
        caller.demand(Scope::Account)?;
        caller.demand_unlimited()?;
        let mut tx = self.read().await?;
        let found = teams::organizations_of(&mut tx, caller.account().id).await?;
        let standing = |row: Row| match row {
            Row::Owner => Standing::Owner,
            Row::Member => Standing::Member,
        };
        Ok(found.into_iter().map(|(account, row)| Membership { account, standing: standing(row) }).collect())
    }

    /// Changes an organization. After a rename the former name leads on, for pages, API and registry.
    ///
    /// # Errors
    /// A refusal when the name is taken or not valid.
    pub async fn update_organization(&self, owner: &OrganizationOwner, change: &OrganizationChange) -> Result<Account, Error> {
        let before = owner.account();
        let now = self.clock.now();
        let mut tx = self.write().await?;
        if let Some(text) = &change.display_name {
            let text = Some(check_display_name(text)?).filter(|text| !text.is_empty()).unwrap_or(before.name.as_str());
            accounts::set_display_name(&mut tx, before.id, text).await?;
            let entry = Change::new("organization.change", before.name.as_str())
                .old(json!({"display_name": before.display_name}))
                .now(json!({"display_name": text}));
            audit::write(&mut tx, now, owner.actor(), Place::Account(before), entry).await?;
        }
        if let Some(name) = change.name.as_deref().filter(|name| *name != before.name.as_str()) {
            owner.person()?;
            let name = crate::accounts::parse_name(name)?;
            let own = accounts::find(&mut tx, &name).await?.is_some_and(|holder| holder.id == before.id);
            if !own && slipway_model::skeleton(name.as_str()) != slipway_model::skeleton(before.name.as_str()) {
                demand_free(&mut tx, &name).await?;
                if accounts::count_names(&mut tx, before.id).await? >= NAMES {
                    let detail = format!("`{}` holds {NAMES} names already, its former ones counted", before.name);
                    return Err(Refusal::new(RefusalKind::Conflict, "too_many_names", detail).field("name").into());
                }
            }
            accounts::rename(&mut tx, before.id, &name, now).await.map_err(|error| taken_meanwhile(error, &name))?;
            let entry = Change::new("organization.rename", name.as_str()).old(json!({"name": before.name})).now(json!({"name": name}));
            audit::write(&mut tx, now, owner.actor(), Place::Account(before), entry).await?;
        }
        let account = accounts::get(&mut tx, before.id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(account)
    }

    /// What goes when the organization is deleted.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn preview_delete_organization(&self, owner: &OrganizationOwner) -> Result<Doomed, Error> {
        let mut tx = self.read().await?;
        doomed(&mut tx, owner.account()).await
    }

    /// Deletes an organization with everything in it; `confirm` is its name. Links are undone at their providers first, and the receipts say
    /// what of them is left there.
    ///
    /// # Errors
    /// A refusal when the name is not confirmed, a build runs, or a provider is still being unlinked.
    pub async fn delete_organization(self: &Arc<Self>, owner: &OrganizationOwner, confirm: &str) -> Result<Vec<Receipt>, Error> {
        owner.person()?;
        demand_confirmed(confirm, &owner.account().name)?;
        let receipts = self.undo_links(&owner.namespace()).await?;
        let mut tx = self.write().await?;
        let account = accounts::get(&mut tx, owner.account().id).await?.ok_or(Error::NotFound)?;
        demand_idle(&mut tx, &account).await?;
        let gone = doomed(&mut tx, &account).await?;
        accounts::delete(&mut tx, account.id).await?;
        let facts = json!({"repositories": gone.repository_count, "teams": gone.team_count, "members": gone.member_count, "tokens": gone.token_count});
        let change = Change::new("organization.delete", account.name.as_str()).old(facts);
        audit::write(&mut tx, self.clock.now(), owner.actor(), Place::Installation, change).await?;
        tx.commit().await?;
        Ok(receipts)
    }

    /// Unlinks every provider of a namespace that is about to go; refused while a build runs, so that nothing is half undone, and while an
    /// unlink goes on: with the account its tokens would go, and nobody could remove the rest at the provider.
    pub(crate) async fn undo_links(self: &Arc<Self>, owner: &crate::NamespaceOwner) -> Result<Vec<Receipt>, Error> {
        let mut tx = self.read().await?;
        demand_idle(&mut tx, owner.account()).await?;
        let linked = links::list(&mut tx, owner.account().id).await?;
        if slipway_store::receipts::count_open(&mut tx, owner.account().id).await? > 0 {
            return Err(still_unlinking());
        }
        drop(tx);
        let unlink_all = async {
            let mut receipts = Vec::new();
            for link in linked {
                // A provider that is not configured any more has nobody to ask; its row goes with the account.
                if self.forges.contains_key(&link.provider) {
                    receipts.push(self.unlink(owner, &link.provider, Some(link.id)).await?);
                }
            }
            Ok(receipts)
        };
        match tokio::time::timeout(self.config().unlink_wait, unlink_all).await {
            Ok(Ok(receipts)) if receipts.iter().any(|receipt| receipt.finished_at.is_none()) => Err(still_unlinking()),
            Ok(receipts) => receipts,
            // What was begun goes on; the links after it are undone the next time.
            Err(_) => Err(still_unlinking()),
        }
    }
}

fn still_unlinking() -> Error {
    Refusal::new(RefusalKind::Conflict, "unlinking", "a provider is being unlinked")
        .hint("wait until the receipt under Source providers is complete, then try again")
        .into()
}

/// Dangerous actions ask for the name.
pub(crate) fn demand_confirmed(typed: &str, name: &AccountName) -> Result<(), Error> {
    if typed.trim() == name.as_str() {
        return Ok(());
    }
    Err(Error::invalid("confirm", "confirm", format!("to confirm, the name `{name}` must be typed")))
}

/// Refuses while a build of the account runs: its builder would lose the repository under its hands.
pub(crate) async fn demand_idle(tx: &mut ReadTx, account: &Account) -> Result<(), Error> {
    let running = builds::count_running(tx, account.id).await?;
    if running == 0 {
        return Ok(());
    }
    let detail = if running == 1 { "a build is running".to_owned() } else { format!("{running} builds are running") };
    Err(Refusal::new(RefusalKind::Conflict, "build_running", format!("{detail} in `{}`", account.name))
        .hint("cancel it or wait for its end")
        .into())
}
