//! A user becomes an organization: repositories, rules and links stay, the sign-in goes. There is no way back.

use secrecy::SecretString;
use serde_json::json;
use slipway_model::{AccountKind, TeamName};
use slipway_store::accounts::{self, Account};
use slipway_store::{WriteTx, teams, tokens};

use crate::audit::{self, Change, Place};
use crate::deletion::demand_dispensable;
use crate::organizations::demand_confirmed;
use crate::{App, Caller, Error, Refusal};

/// What a conversion would mean.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// What changes, one sentence each.
    pub warnings: Vec<String>,
    /// Why it cannot be done now.
    pub refused: Option<Refusal>,
}

/// Whether the account may become an organization. What is found stays true until the transaction ends.
async fn demand_convertible(tx: &mut WriteTx, account: &Account) -> Result<(), Error> {
    let current = demand_dispensable(tx, account.id).await?;
    if current.kind == AccountKind::User {
        return Ok(());
    }
    Err(Error::conflict("not_a_user", format!("`{}` is no user, only users are converted", account.name)))
}

impl App {
    /// What a conversion of the caller's account would mean.
    ///
    /// # Errors
    /// A refusal for whoever is no person.
    pub async fn preview_conversion(&self, caller: &Caller) -> Result<Conversion, Error> {
        caller.own_account()?;
        let account = caller.account();
        // Looked at as the change itself would, and given up.
        let mut tx = self.write().await?;
        let refused = match demand_convertible(&mut tx, account).await {
            Ok(()) => None,
            Err(Error::Refused(refusal)) => Some(refusal),
            Err(error) => return Err(error),
        };
        let token_count = tokens::count_tokens(&mut tx, account.id).await?;
        let memberships = teams::organizations_of(&mut tx, account.id).await?.len();
        drop(tx);
        let name = &account.name;
        let mut warnings = vec![
            format!("Nobody can sign in as {name} any more. The first owner that you name manages it from then on."),
            format!("Repositories, build rules, links to source providers and image names under {name} stay as they are."),
            format!("The password, second factor, e-mail address and connected identities of {name} are removed."),
            "Every session ends, also this one.".to_owned(),
            format!(
                "Its owners read the audit log of {name}. What is about you as a person (sign-ins, addresses) stays with the administrators."
            ),
        ];
        if token_count > 0 {
            warnings.push(format!("Its access tokens ({token_count}) are revoked; docker login and scripts that use them stop working."));
        }
        if memberships > 0 {
            let word = if memberships == 1 { "organization" } else { "organizations" };
            warnings.push(format!("{name} leaves its teams in {memberships} {word}: an organization is in no team."));
        }
        if account.is_admin {
            warnings.push(format!("{name} no longer administers this installation."));
        }
        warnings.push("This cannot be undone.".to_owned());
        Ok(Conversion { warnings, refused })
    }

    /// Makes an organization of the caller's account. `confirm` is its name; `first_owner` is another user.
    ///
    /// # Errors
    /// A refusal; nothing has changed then.
    pub async fn convert_to_organization(
        &self,
        caller: &Caller,
        first_owner: &str,
        confirm: &str,
        password: Option<&SecretString>,
    ) -> Result<Account, Error> {
        caller.own_account()?;
        caller.limits().demand_everything()?;
        let account = caller.account();
        demand_confirmed(confirm, &account.name)?;
        let wrong_owner = |detail: String| Error::invalid("first_owner", "first_owner", detail);
        let owner_name = first_owner.trim().parse().map_err(|error: slipway_model::InvalidName| wrong_owner(error.to_string()))?;
        let proof = self.prove(caller, password, "password").await?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        demand_convertible(&mut tx, account).await?;
        proof.demand_still(&mut tx, account.id).await?;
        let owner = accounts::find(&mut tx, &owner_name).await?.filter(|owner| owner.kind == AccountKind::User);
        let owner = owner.ok_or_else(|| wrong_owner(format!("there is no user `{owner_name}`")))?;
        if owner.id == account.id {
            return Err(wrong_owner(format!("`{owner_name}` becomes the organization itself, expected another user")));
        }
        // Held, so that the owner is a user until the organization has them.
        accounts::lock(&mut tx, owner.id).await?;
        if accounts::get(&mut tx, owner.id).await?.is_none_or(|owner| owner.kind != AccountKind::User) {
            return Err(wrong_owner(format!("there is no user `{owner_name}`")));
        }
        accounts::convert(&mut tx, account.id).await?;
        slipway_store::audit::detach_personal(&mut tx, account.id).await?;
        let team = teams::insert(&mut tx, account.id, &TeamName::owners(), "Own the organization", now).await?;
        teams::add_member(&mut tx, team, owner.id, now).await?;
        slipway_store::sessions::mark_renew(&mut tx, owner.id).await?;
        let change = Change::new("account.convert", account.name.as_str())
            .old(json!({"kind": "user"}))
            .now(json!({"kind": "organization", "first_owner": owner.name}));
        audit::write(&mut tx, now, caller.actor(), Place::Account(account), change).await?;
        let converted = accounts::get(&mut tx, account.id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(converted)
    }
}
