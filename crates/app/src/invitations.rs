//! Invitations: made, mailed, listed, revoked and answered.
//!
//! Invariants: an invitation is worth something once, in time, and as long as who made it may still invite; unknown, used, revoked and
//! expired ones get one answer. What an answer makes (account, membership) stands in the change that uses the invitation up.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use slipway_model::{AccountId, AccountKind, AccountName, InvitationId, SecretToken, TeamName, Timestamp, TokenKind};
use slipway_store::accounts::{self, Account};
use slipway_store::invitations::{self, Invitation};
use slipway_store::teams::{self, Membership, Team};
use slipway_store::{ReadTx, WriteTx, sign_in};
use url::Url;

use crate::audit::{self, Change, Place};
use crate::mail::{self, Letter};
use crate::sign_up::{SignUp, add_account, claimed_name};
use crate::{Actor, Administrator, App, Caller, ClientInfo, Error, OrganizationOwner, Refusal, RefusalKind, SignIn};

const SHORTEST: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// At once, of one organization or of the installation.
const STANDING: u64 = 500;
/// So many invitations of one account are mailed within [`WINDOW`].
const MAILS: u64 = 20;
const WINDOW: Duration = Duration::from_secs(3600);

/// An invitation to be made.
#[derive(Clone, Debug)]
pub struct InvitationWish {
    /// Where to mail it to; without one, or without mail, the address is handed over by hand.
    pub email: Option<String>,
    /// How long it is worth something: an hour to 30 days.
    pub expires_in: Duration,
}

impl InvitationWish {
    /// How long an invitation lives when nobody says otherwise.
    pub const DEFAULT_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
}

/// Whether an invitation may be answered by making an account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Makes {
    Account,
    Nothing,
}

/// Whether an invitation was mailed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mailed {
    /// It is on its way.
    Yes,
    /// There is no e-mail address, or this installation sends no mail.
    No,
}

/// An invitation that was just made.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Identity.
    pub id: InvitationId,
    /// The one-time address, shown once.
    pub url: Url,
    /// Until when it is worth something.
    pub expires_at: Timestamp,
    /// Whether it was mailed.
    pub mailed: Mailed,
}

/// An invitation in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationEntry {
    /// Identity.
    pub id: InvitationId,
    /// The team that is joined.
    pub team: Option<TeamName>,
    /// Whom it was meant for.
    pub email: Option<String>,
    /// Whether it may be answered by making an account.
    pub makes_account: bool,
    /// Name of who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is worth something.
    pub expires_at: Timestamp,
}

/// An invitation as whoever holds its token sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationView {
    /// The organization; none for one to the installation.
    pub organization: Option<AccountName>,
    /// The team that is joined.
    pub team: Option<TeamName>,
    /// Whether it may be answered by making an account.
    pub makes_account: bool,
    /// Until when it is worth something.
    pub expires_at: Timestamp,
}

/// An invitation that stands, with what it leads to.
struct Standing {
    invitation: Invitation,
    joins: Option<(Account, Team)>,
    /// Whether it may be answered by making an account now: what allowed it when it was made must allow it still.
    makes: Makes,
}

impl Standing {
    /// Looks behind an invitation: its team must stand, and who made it must still be somebody who may.
    async fn of(tx: &mut ReadTx, invitation: Option<Invitation>, sign_up: SignUp) -> Result<Self, Error> {
        let invitation = invitation.ok_or(Error::NotFound)?;
        let by = invitation.created_by;
        let by_administrator = accounts::get(tx, by).await?.is_some_and(|account| account.is_admin);
        let allowed = invitation.makes_account && (by_administrator || sign_up == SignUp::Open);
        let makes = if allowed { Makes::Account } else { Makes::Nothing };
        let (Some(organization), Some(team)) = (invitation.account, invitation.team) else {
            return if by_administrator { Ok(Self { invitation, joins: None, makes }) } else { Err(Error::NotFound) };
        };
        let may = teams::membership(tx, organization, by).await? == Some(Membership::Owner);
        let account = accounts::get(tx, organization).await?.filter(|account| may && account.kind == AccountKind::Organization);
        let joins = account.zip(teams::get(tx, team).await?);
        let joins = Some(joins.ok_or(Error::NotFound)?);
        Ok(Self { invitation, joins, makes })
    }

    async fn by_token(tx: &mut ReadTx, token: &str, now: Timestamp, sign_up: SignUp) -> Result<Self, Error> {
        let token = SecretToken::presented(TokenKind::Invitation, token).ok_or(Error::NotFound)?;
        let invitation = invitations::get_by_token(tx, &token.hash(), now).await?;
        Self::of(tx, invitation, sign_up).await
    }

    fn view(&self) -> InvitationView {
        InvitationView {
            organization: self.joins.as_ref().map(|(organization, _)| organization.name.clone()),
            team: self.joins.as_ref().map(|(_, team)| team.name.clone()),
            makes_account: self.makes == Makes::Account,
            expires_at: self.invitation.expires_at,
        }
    }
}

/// Counts a mail to an address that somebody chose freely; those of revoked invitations count too.
async fn count_mail(tx: &mut WriteTx, by: AccountId, now: Timestamp) -> Result<(), Error> {
    let (mails, since) = sign_in::count_in_window(tx, &format!("invitations:{by}"), now, now.minus(WINDOW)).await?;
    if mails <= MAILS {
        return Ok(());
    }
    let detail = format!("{MAILS} invitations were mailed for this account within an hour, more are not");
    Err(Refusal::new(RefusalKind::TooMany, "invitation_mails", detail)
        .hint("invite without an e-mail address and hand the link over yourself, or wait")
        .retry_after(since.plus(WINDOW).since(now))
        .into())
}

fn makes_no_account() -> Error {
    Refusal::new(RefusalKind::Forbidden, "invitation_needs_account", "this invitation is for people who have an account here already")
        .hint("sign in and open it again, or ask an administrator for an account")
        .into()
}

impl App {
    /// Invites somebody to make an account.
    ///
    /// # Errors
    /// A refusal for an e-mail address or a life that cannot be.
    pub async fn invite(&self, administrator: &Administrator, wish: &InvitationWish) -> Result<NewInvitation, Error> {
        let mut tx = self.write().await?;
        let made = self.make_invitation(&mut tx, administrator.actor(), None, Makes::Account, wish).await?;
        tx.commit().await?;
        self.mail_waits();
        Ok(made)
    }

    /// Invites somebody into a team. They need an account, unless everybody may make one or an administrator invites.
    ///
    /// # Errors
    /// As [`App::invite`]; [`Error::NotFound`] for a team that there is not; `needs_a_person` for the organization's own token, which its
    /// invitations would outlive.
    pub async fn invite_to_team(&self, owner: &OrganizationOwner, team: &TeamName, wish: &InvitationWish) -> Result<NewInvitation, Error> {
        owner.person()?;
        let mut tx = self.write().await?;
        let team = teams::get_by_name(&mut tx, owner.account().id, team).await?.ok_or(Error::NotFound)?;
        if team.is_owners() {
            owner.limits().demand_everything()?;
        }
        let by_administrator = match owner.actor().account {
            Some(id) => accounts::get(&mut tx, id).await?.is_some_and(|account| account.is_admin),
            None => false,
        };
        let open = by_administrator || self.sign_up_is_open();
        let makes = if open { Makes::Account } else { Makes::Nothing };
        let made = self.make_invitation(&mut tx, owner.actor(), Some((owner.account(), &team)), makes, wish).await?;
        tx.commit().await?;
        self.mail_waits();
        Ok(made)
    }

    async fn make_invitation(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        joins: Option<(&Account, &Team)>,
        makes: Makes,
        wish: &InvitationWish,
    ) -> Result<NewInvitation, Error> {
        if !(SHORTEST..=LONGEST).contains(&wish.expires_in) {
            let detail = format!("the invitation would live {} minutes, expected an hour to 30 days", wish.expires_in.as_secs() / 60);
            return Err(Error::invalid("invitation_expiry", "expires_in", detail));
        }
        let typed = wish.email.as_deref().map(str::trim).filter(|email| !email.is_empty());
        let email = typed.map(mail::address).transpose()?.map(|address| address.to_string());
        let (now, token) = (self.clock.now(), SecretToken::generate(TokenKind::Invitation));
        let organization = joins.map(|(organization, _)| organization);
        if invitations::count_standing(tx, organization.map(|account| account.id), now).await? >= STANDING {
            let detail = format!("{STANDING} invitations wait for an answer, more are not accepted");
            return Err(Refusal::new(RefusalKind::Conflict, "invitation_limit", detail).hint("revoke some first").into());
        }
        let new = Invitation {
            id: InvitationId::new(),
            account: organization.map(|account| account.id),
            team: joins.map(|(_, team)| team.id),
            email: email.clone(),
            makes_account: makes == Makes::Account,
            created_by: actor.account.ok_or(Error::Internal("an invitation is made by an account"))?,
            created_by_name: actor.name.clone(),
            created_at: now,
            expires_at: now.plus(wish.expires_in),
        };
        invitations::insert(tx, &token.hash(), &new).await?;
        let place = organization.map_or(Place::Installation, Place::Account);
        let what = json!({"team": joins.map(|(_, team)| &team.name), "email": email, "expires_at": new.expires_at});
        audit::write(tx, now, actor, place, Change::new("invitation.create", new.id.to_string()).now(what)).await?;
        let url = self.address(&format!("/invitations/{}", token.expose()));
        let mailed = match email {
            Some(to) if self.sends_mail() => {
                count_mail(tx, new.created_by, now).await?;
                self.post(tx, &self.invitation_letter(to, &new, organization, &url)).await?;
                Mailed::Yes
            }
            _ => Mailed::No,
        };
        Ok(NewInvitation { id: new.id, url, expires_at: new.expires_at, mailed })
    }

    fn invitation_letter(&self, to: String, new: &Invitation, organization: Option<&Account>, url: &Url) -> Letter {
        let here = &self.config.public_url;
        let whereto = organization.map_or_else(|| "Slipway".to_owned(), |account| format!("{} on Slipway", account.name));
        Letter {
            to,
            subject: format!("{} invites you to {whereto}", new.created_by_name),
            text: format!(
                "Hello,\n\n{} invites you to {whereto}, at {here}\n\nThis address works once, until {}:\n\n{url}\n\n\
                 If you do not know what this is about, do nothing.\n",
                new.created_by_name,
                day(new.expires_at)
            ),
            until: Some(new.expires_at),
            invitation: Some(new.id),
        }
    }

    /// The invitations of the installation that wait for an answer, the newest first, before `before`.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_invitations(
        &self,
        _: &Administrator,
        before: Option<InvitationId>,
        limit: u32,
    ) -> Result<Vec<InvitationEntry>, Error> {
        self.list_invitations_of(None, before, limit).await
    }

    /// The invitations of an organization that wait for an answer, the newest first, before `before`.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_organization_invitations(
        &self,
        owner: &OrganizationOwner,
        before: Option<InvitationId>,
        limit: u32,
    ) -> Result<Vec<InvitationEntry>, Error> {
        self.list_invitations_of(Some(owner.account().id), before, limit).await
    }

    async fn list_invitations_of(
        &self,
        account: Option<AccountId>,
        before: Option<InvitationId>,
        limit: u32,
    ) -> Result<Vec<InvitationEntry>, Error> {
        let mut tx = self.read().await?;
        let mut entries = Vec::new();
        for invitation in invitations::list(&mut tx, account, before, self.clock.now(), limit).await? {
            let team = match invitation.team {
                Some(id) => teams::get(&mut tx, id).await?.map(|team| team.name),
                None => None,
            };
            entries.push(InvitationEntry {
                id: invitation.id,
                team,
                email: invitation.email,
                makes_account: invitation.makes_account,
                created_by: invitation.created_by_name,
                created_at: invitation.created_at,
                expires_at: invitation.expires_at,
            });
        }
        Ok(entries)
    }

    /// Revokes an invitation of the installation.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of it.
    pub async fn revoke_invitation(&self, administrator: &Administrator, id: InvitationId) -> Result<(), Error> {
        self.revoke(administrator.actor(), None, id).await
    }

    /// Revokes an invitation of an organization.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of it.
    pub async fn revoke_organization_invitation(&self, owner: &OrganizationOwner, id: InvitationId) -> Result<(), Error> {
        self.revoke(owner.actor(), Some(owner.account()), id).await
    }

    async fn revoke(&self, actor: &Actor, organization: Option<&Account>, id: InvitationId) -> Result<(), Error> {
        let mut tx = self.write().await?;
        let gone = invitations::delete(&mut tx, organization.map(|account| account.id), id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("invitation.revoke", id.to_string()).old(json!({"email": gone.email}));
        let place = organization.map_or(Place::Installation, Place::Account);
        audit::write(&mut tx, self.clock.now(), actor, place, change).await?;
        Ok(tx.commit().await?)
    }

    /// What an invitation leads to.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is unknown, used, revoked or expired.
    pub async fn invitation(&self, token: &str) -> Result<InvitationView, Error> {
        let mut tx = self.read().await?;
        Ok(Standing::by_token(&mut tx, token, self.clock.now(), self.config.sign_up).await?.view())
    }

    /// The invitation behind a flow that is about to begin; it must be one that makes accounts.
    pub(crate) async fn account_invitation(&self, token: &str) -> Result<InvitationId, Error> {
        let mut tx = self.read().await?;
        let standing = Standing::by_token(&mut tx, token, self.clock.now(), self.config.sign_up).await?;
        if standing.makes == Makes::Account { Ok(standing.invitation.id) } else { Err(makes_no_account()) }
    }

    /// Whether an invitation may be answered by making an account now.
    pub(crate) async fn invitation_makes_account(&self, tx: &mut ReadTx, id: InvitationId) -> Result<bool, Error> {
        let invitation = invitations::get(tx, id, self.clock.now()).await?;
        match Standing::of(tx, invitation, self.config.sign_up).await {
            Ok(standing) => Ok(standing.makes == Makes::Account),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Joins the team as who one is.
    ///
    /// # Errors
    /// [`Error::NotFound`] as [`App::invitation`]; a refusal for an invitation that only makes accounts.
    pub async fn accept_invitation(&self, token: &str, caller: &Caller) -> Result<InvitationView, Error> {
        caller.own_account()?;
        let mut tx = self.write().await?;
        let standing = Standing::by_token(&mut tx, token, self.clock.now(), self.config.sign_up).await?;
        if standing.joins.is_none() {
            let detail = format!("this invitation makes an account, and you are `{}` already", caller.account().name);
            return Err(Refusal::new(RefusalKind::Conflict, "invitation_makes_account", detail)
                .hint("give it to who it is meant for")
                .into());
        }
        self.use_up(&mut tx, &standing, caller.account(), caller.actor()).await?;
        tx.commit().await?;
        Ok(standing.view())
    }

    /// Makes an account with a password, joins the team if there is one, and signs in.
    ///
    /// # Errors
    /// [`Error::NotFound`] as [`App::invitation`]; a refusal for a name or password that cannot be; the invitation stays then.
    pub async fn accept_invitation_with_account(
        &self,
        token: &str,
        name: &str,
        password: &SecretString,
        client: &ClientInfo,
    ) -> Result<SignIn, Error> {
        // Before the costly hash: whoever has no invitation gets none.
        self.account_invitation(token).await?;
        let hash = self.hash_password(password, "password").await?;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let standing = Standing::by_token(&mut tx, token, now, self.config.sign_up).await?;
        if standing.makes == Makes::Nothing {
            return Err(makes_no_account());
        }
        let name = claimed_name(&mut tx, name).await?;
        let how = ("invitation", standing.invitation.id.to_string());
        let account = add_account(&mut tx, &name, Some(&hash), how, &client.address, now).await?;
        self.use_up(&mut tx, &standing, &account, &Actor::signing_in(&account, &client.address)).await?;
        let sign_in = self.open_session(&mut tx, account, client).await?;
        tx.commit().await?;
        Ok(sign_in)
    }

    /// Uses an invitation up for an account that was made in the same change.
    pub(crate) async fn use_invitation(&self, tx: &mut WriteTx, id: InvitationId, account: &Account, actor: &Actor) -> Result<(), Error> {
        let invitation = invitations::get(tx, id, self.clock.now()).await?;
        let standing = Standing::of(tx, invitation, self.config.sign_up).await?;
        if standing.makes == Makes::Nothing {
            return Err(makes_no_account());
        }
        self.use_up(tx, &standing, account, actor).await
    }

    async fn use_up(&self, tx: &mut WriteTx, standing: &Standing, account: &Account, actor: &Actor) -> Result<(), Error> {
        let (now, id) = (self.clock.now(), standing.invitation.id);
        // Of two answers at once, one finds it.
        if !invitations::take(tx, id, now).await? {
            return Err(Error::NotFound);
        }
        let place = match &standing.joins {
            Some((organization, team)) => {
                self.join_team(tx, organization, team, account, actor).await?;
                Place::Account(organization)
            }
            None => Place::Installation,
        };
        let change = Change::new("invitation.accept", id.to_string()).now(json!({"account": account.name}));
        Ok(audit::write(tx, now, actor, place, change).await?)
    }
}

/// A time as a letter says it: day and minute, in UTC.
fn day(at: Timestamp) -> String {
    let text = at.to_string();
    let minute: String = text.chars().take(16).collect();
    format!("{} UTC", minute.replace('T', " "))
}
