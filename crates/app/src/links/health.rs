//! The health of links: each is looked at on a jittered timer and after each failed call, over all replicas once.
//!
//! Invariants: a state is what the provider said, with the words, the status and the time of it; one passing failure breaks no link; a dead
//! grant is believed only when it was refused twice; what was found of a grant is never written over a newer one.
//! Deliberately elsewhere: telling the owners (`tell`), what the link sees (`picker`).

use std::time::Duration;

use futures_util::future::join_all;
use rand::RngExt;
use slipway_forge::{Forge, ForgeError, Fresh, NamespaceKind, Person, SourceNamespace};
use slipway_model::{LinkId, LinkState, NamespaceAccess, ProviderId, Timestamp};
use slipway_store::links::{self, Finding, Link, Picture};
use slipway_store::source_namespaces::{self, Namespace};
use slipway_store::{WriteTx, sources};

use super::access::Tried;
use super::view::missing;
use super::{LinkView, is_in, words, works};
use crate::{App, Error, NamespaceOwner};

/// So many links are looked at at once: a slow provider must not hold up the others.
const AT_ONCE: usize = 8;
/// Longer than any look takes: the link of a replica that died in its middle comes back then.
const CLAIM: Duration = Duration::from_secs(180);
/// So many vain looks in a row make a link `error`.
const FAILURES: u64 = 3;
/// A token that cannot be renewed and ends so soon is told of.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3600);
/// A dead grant comes to life only by linking anew; it is presented rarely, because that counts as a failed sign-in at the provider.
const DEAD_LINKS: u32 = 12;
const PICTURE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// However many calls through a link fail, it is looked at no sooner than this after its last look: a source that is gone makes all of its
/// calls fail, and says nothing of the link.
pub(super) const DOUBTS_APART: Duration = Duration::from_secs(60);
/// What a person who just linked waits for.
const SOON: Duration = Duration::from_secs(5);

/// A time around `interval`, up to a fifth earlier or later: many links made at once must not ask at once for ever.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.8..1.2))
}

/// What the end of the token says about a link that works otherwise.
pub(super) fn by_expiry(renewable: bool, ends: Option<Timestamp>, now: Timestamp) -> (LinkState, Option<String>) {
    match ends {
        Some(ends) if !renewable && ends <= now.plus(ENDS_SOON) => {
            (LinkState::Expiring, Some(format!("the token ends on {} and the provider gave none to renew it with", words::moment(ends))))
        }
        _ => (LinkState::Ok, None),
    }
}

/// What does not work without these scopes.
pub(super) fn missing_words(forge: &dyn Forge, scopes: &[String]) -> String {
    let each = |scope: &String| match forge.scope_words(scope) {
        Some(words) => format!("`{scope}` ({words})"),
        None => format!("`{scope}`"),
    };
    format!("not granted, so it will not work: {}", scopes.iter().map(each).collect::<Vec<_>>().join(", "))
}

fn status_of(error: &ForgeError) -> Option<u16> {
    match error {
        ForgeError::Unauthorized { .. } => Some(401),
        ForgeError::Forbidden { .. } | ForgeError::Restricted { .. } | ForgeError::Suspended { .. } | ForgeError::MissingScope { .. } => {
            Some(403)
        }
        ForgeError::NotFound => Some(404),
        ForgeError::RateLimited { .. } => Some(429),
        ForgeError::Unexpected { status, .. } => Some(*status),
        ForgeError::Unsupported { .. } | ForgeError::Unreachable { .. } | ForgeError::Refused { .. } | ForgeError::Misconfigured { .. } => {
            None
        }
    }
}

/// What one look at the provider brought.
struct Seen {
    person: Option<Person>,
    marker: Option<String>,
    namespaces: Vec<SourceNamespace>,
}

/// Who wants to know: the loop believes in trouble after a while, a person sees it at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ByTimer,
    ByPerson,
}

/// The conclusion of a look.
struct Concluded {
    state: LinkState,
    evidence: Option<String>,
    status: Option<u16>,
    failures: u64,
    again_in: Duration,
}

impl App {
    /// Looks at links whose time has come; gives how many.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn check_links_once(&self) -> Result<usize, Error> {
        let mut due = Vec::new();
        while due.len() < AT_ONCE {
            let now = self.clock.now();
            let mut tx = self.write().await?;
            let link = links::claim_check(&mut tx, now, now.plus(CLAIM)).await?;
            tx.commit().await?;
            match link {
                Some(link) => due.push(link),
                None => break,
            }
        }
        for outcome in join_all(due.iter().map(|link| self.look_at(link, Asked::ByTimer))).await {
            outcome?;
        }
        Ok(due.len())
    }

    /// Asks the provider at once whether the link works and what it sees, and keeps the answer. A disabled link is not asked.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such link. A provider that refuses is a state, not an error.
    pub async fn check_link(&self, owner: &NamespaceOwner, provider: &ProviderId, id: Option<LinkId>) -> Result<LinkView, Error> {
        let mut tx = self.read().await?;
        let link = super::find(&mut tx, owner.account().id, provider, id).await?;
        drop(tx);
        if link.state != LinkState::Disabled {
            self.look_at(&link, Asked::ByPerson).await?;
        }
        self.get_link(owner, provider, Some(link.id)).await
    }

    async fn look_at(&self, link: &Link, asked: Asked) -> Result<(), Error> {
        let Some(forge) = self.forges.get(&link.provider) else { return Ok(()) };
        let seen = match self.see(link).await {
            Ok(seen) => Ok(seen),
            Err(Tried::Forge(error)) => Err(error),
            Err(Tried::Ours(Error::Sealed)) => Err(ForgeError::Misconfigured { detail: Error::Sealed.to_string() }),
            // It was unlinked while we asked.
            Err(Tried::Ours(Error::NotFound)) => return Ok(()),
            Err(Tried::Ours(error)) => return Err(error),
        };
        let now = self.clock.now();
        let mut tx = self.write().await?;
        // The row as it is now: the token may have been renewed while we asked.
        let Some(current) = links::get_by_id(&mut tx, link.id).await? else { return Ok(()) };
        let concluded = match &seen {
            Ok(seen) => self.conclude(&mut tx, forge.as_ref(), &current, seen, now).await?,
            Err(error) => refused(error, &current, asked, self.config.link_check_interval),
        };
        let person = seen.as_ref().ok().and_then(|seen| seen.person.as_ref());
        let finding = Finding {
            state: concluded.state,
            evidence: concluded.evidence.as_deref(),
            evidence_status: concluded.status,
            failures: concluded.failures,
            login: person.map(|person| person.login.as_str()),
            display_name: person.and_then(|person| person.name.as_deref()),
            avatar_url: person.and_then(|person| person.avatar_url.as_ref()).map(url::Url::as_str),
            scopes: person.map(|person| person.scopes.as_slice()).filter(|scopes| !scopes.is_empty()),
            probe_marker: seen.as_ref().ok().and_then(|seen| seen.marker.as_deref()),
            next_check_at: now.plus(concluded.again_in),
        };
        // It was linked anew or disabled meanwhile: what we found is about what is no more.
        let Some(after) = links::set_finding(&mut tx, link.id, link.linked_at, &finding, now).await? else { return Ok(()) };
        if let Ok(seen) = &seen {
            keep_namespaces(&mut tx, &after, &seen.namespaces, now).await?;
        }
        let mut again = Vec::new();
        if works(after.state) && !works(current.state) {
            again = self.mended(&mut tx, after.account, &after.provider).await?;
        }
        let told = self.tell_owners(&mut tx, &after).await?;
        tx.commit().await?;
        self.builds_queued(again);
        if told {
            self.mail_waits();
        }
        log_change(&current, &after);
        if seen.is_ok() {
            self.wake.sources.notify_one();
            self.fetch_picture(&after).await?;
        }
        Ok(())
    }

    /// Asks who the person is and what they belong to. A refusal of the token is asked about twice.
    async fn see(&self, link: &Link) -> Result<Seen, Tried> {
        let forge = self.forge(&link.provider).map_err(Tried::Ours)?;
        let marker = link.probe_marker.as_deref();
        let look = |forge: std::sync::Arc<dyn Forge>, token: secrecy::SecretString| async move {
            let (person, marker) = match forge.probe(&token, marker).await? {
                Fresh::Unchanged => (None, None),
                Fresh::Changed { value, marker } => (Some(value), marker),
            };
            Ok(Seen { person, marker, namespaces: forge.source_namespaces(&token).await? })
        };
        match self.try_link(forge, link, &look).await {
            Err(Tried::Forge(ForgeError::Unauthorized { .. })) => self.try_link(forge, link, &look).await,
            other => other,
        }
    }

    /// What a good answer means.
    async fn conclude(&self, tx: &mut WriteTx, forge: &dyn Forge, link: &Link, seen: &Seen, now: Timestamp) -> Result<Concluded, Error> {
        let again_in = jittered(self.config.link_check_interval);
        let concluded = |state, evidence, status| Concluded { state, evidence, status, failures: 0, again_in };
        if let Some(person) = seen.person.as_ref().filter(|person| person.id != link.remote_user_id) {
            let evidence = format!("the token belongs to `{}` now, expected `{}`", person.login, link.login);
            return Ok(concluded(LinkState::Error, Some(evidence), Some(200)));
        }
        let told = seen.person.as_ref().map(|person| person.scopes.as_slice()).filter(|scopes| !scopes.is_empty());
        let missing = missing(forge, link.access, told.unwrap_or(&link.scopes));
        if !missing.is_empty() {
            return Ok(concluded(LinkState::ScopeMissing, Some(missing_words(forge, &missing)), Some(200)));
        }
        if let Some(evidence) = self.restriction(tx, link, &seen.namespaces).await? {
            return Ok(concluded(LinkState::Restricted, Some(evidence), Some(200)));
        }
        let (state, evidence) = by_expiry(link.refresh_token_sealed.is_some(), link.token_expires_at, now);
        Ok(concluded(state, evidence, None))
    }

    /// Which organization of a source that the link serves does not let us in.
    async fn restriction(&self, tx: &mut WriteTx, link: &Link, seen: &[SourceNamespace]) -> Result<Option<String>, Error> {
        let shut: Vec<&SourceNamespace> =
            seen.iter().filter(|one| matches!(one.access, NamespaceAccess::Restricted | NamespaceAccess::Denied)).collect();
        if shut.is_empty() {
            return Ok(None);
        }
        let served = sources::list(tx, link.account, &link.provider, None).await?;
        let of_link =
            |one: &&&SourceNamespace| served.iter().any(|source| source.link == Some(link.id) && is_in(&source.source_name, &one.name));
        Ok(shut.iter().find(of_link).map(|one| match &one.note {
            Some(note) => format!("the organization `{}` does not let us in: {note}", one.name),
            None => format!("the organization `{}` does not let us in", one.name),
        }))
    }

    /// Reads what a new link belongs to, so that the next page can show it. When that does not work now, the loop does it.
    pub(super) async fn read_namespaces_soon(&self, link: &Link) {
        let read = async {
            let forge = self.forge(&link.provider).map_err(Tried::Ours)?;
            let look =
                |forge: std::sync::Arc<dyn Forge>, token: secrecy::SecretString| async move { forge.source_namespaces(&token).await };
            let found = self.try_link(forge, link, &look).await?;
            let mut tx = self.write().await.map_err(|error| Tried::Ours(error.into()))?;
            keep_namespaces(&mut tx, link, &found, self.clock.now()).await.map_err(Tried::Ours)?;
            tx.commit().await.map_err(|error| Tried::Ours(error.into()))
        };
        match tokio::time::timeout(SOON, read).await {
            Ok(Ok(())) => {}
            Ok(Err(Tried::Forge(error))) => tracing::info!(link = %link.id, %error, "the organizations of a new link come later"),
            Ok(Err(Tried::Ours(error))) => tracing::warn!(link = %link.id, %error, "the organizations of a new link come later"),
            Err(_) => tracing::info!(link = %link.id, "the organizations of a new link come later: the provider is slow"),
        }
    }

    /// Fetches the person's picture when it is due; one that cannot be had is no trouble.
    async fn fetch_picture(&self, link: &Link) -> Result<(), Error> {
        let (Some(forge), Some(url)) = (self.forges.get(&link.provider), link.avatar_url.as_deref().and_then(|url| url.parse().ok()))
        else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let due = links::claim_picture(&mut tx, link.id, now, now.plus(jittered(PICTURE_AGE))).await?;
        tx.commit().await?;
        if !due {
            return Ok(());
        }
        match forge.picture(&url).await {
            Ok(found) => {
                let picture = Picture { media_type: found.media_type.to_owned(), content: found.content.to_vec(), fetched_at: now };
                let mut tx = self.write().await?;
                // The link may be gone by now, and a picture of nobody cannot be written.
                if links::get_by_id(&mut tx, link.id).await?.is_some() {
                    links::set_picture(&mut tx, link.id, &picture).await?;
                }
                Ok(tx.commit().await?)
            }
            Err(error) => {
                tracing::debug!(link = %link.id, %error, "no picture of a linked person");
                Ok(())
            }
        }
    }
}

/// Whether the state is something that the provider said of the grant. That stays true, with its reason, until it says something else of it.
fn is_told(state: LinkState) -> bool {
    matches!(state, LinkState::Revoked | LinkState::Suspended | LinkState::Restricted | LinkState::ScopeMissing)
}

/// When the link's evidence was learned: what stays true while the provider tells nothing new is as old as the state.
pub(super) fn learned_at(link: &Link) -> Option<Timestamp> {
    if is_told(link.state) && link.failures > 0 { Some(link.since) } else { link.checked_at }
}

/// What a refusal means.
fn refused(error: &ForgeError, link: &Link, asked: Asked, interval: Duration) -> Concluded {
    let again_in = jittered(interval);
    let concluded =
        |state, failures, again_in| Concluded { state, evidence: Some(error.to_string()), status: status_of(error), failures, again_in };
    let told = is_told(link.state);
    let unchanged = |again_in| Concluded {
        state: link.state,
        evidence: link.evidence.clone(),
        status: link.evidence_status,
        failures: link.failures + 1,
        again_in,
    };
    match error {
        ForgeError::Unauthorized { .. } => concluded(LinkState::Revoked, 0, again_in * DEAD_LINKS),
        ForgeError::Suspended { .. } => concluded(LinkState::Suspended, 0, again_in),
        ForgeError::Restricted { .. } => concluded(LinkState::Restricted, 0, again_in),
        ForgeError::MissingScope { .. } => concluded(LinkState::ScopeMissing, 0, again_in),
        // We asked too often: that says nothing about the link.
        ForgeError::RateLimited { retry_after } if told => unchanged(again_in.max(*retry_after)),
        ForgeError::RateLimited { retry_after } => concluded(link.state, link.failures, again_in.max(*retry_after)),
        _ if told => unchanged(again_in),
        error => {
            let failures = link.failures + 1;
            let believed = failures >= FAILURES || (asked == Asked::ByPerson && !error.is_temporary());
            concluded(if believed { LinkState::Error } else { link.state }, failures, again_in)
        }
    }
}

fn kind(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::User => "user",
        NamespaceKind::Organization => "organization",
    }
}

/// Writes what the person belongs to now, and takes away what they left.
async fn keep_namespaces(tx: &mut WriteTx, link: &Link, found: &[SourceNamespace], now: Timestamp) -> Result<(), Error> {
    for before in source_namespaces::list(tx, link.id).await? {
        match found.iter().find(|one| one.id == before.remote_id) {
            None => source_namespaces::delete(tx, link.id, &before.remote_id).await?,
            Some(one) if one.access != before.access => {
                tracing::info!(link = %link.id, organization = one.name, before = %before.access, now = %one.access, "access of an organization changed");
            }
            Some(_) => {}
        }
    }
    for one in found {
        let namespace = Namespace {
            link: link.id,
            remote_id: one.id.clone(),
            name: one.name.clone(),
            kind: kind(one.kind).to_owned(),
            access: one.access,
            grant_url: one.grant_url.clone().map(String::from),
            note: one.note.clone(),
            seen_at: now,
            swept_at: None,
            next_sweep_at: now,
            sweep_error: None,
        };
        source_namespaces::upsert(tx, &namespace).await?;
    }
    Ok(())
}

fn log_change(before: &Link, after: &Link) {
    metrics::counter!("slipway_link_checks_total", "provider" => after.provider.to_string(), "state" => after.state.as_str()).increment(1);
    if before.state != after.state {
        let (link, provider, evidence) = (after.id, &after.provider, after.evidence.as_deref());
        tracing::info!(%link, %provider, before = %before.state, now = %after.state, evidence, "the state of a link changed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn state(error: &ForgeError, failures: u64) -> LinkState {
        let link = Link { failures, ..super::super::sample(LinkState::Ok) };
        refused(error, &link, Asked::ByTimer, INTERVAL).state
    }

    #[test]
    fn what_providers_say_is_told_apart() {
        let detail = || "words".to_owned();
        assert_eq!(state(&ForgeError::Unauthorized { detail: detail() }, 0), LinkState::Revoked);
        assert_eq!(state(&ForgeError::Suspended { detail: detail() }, 0), LinkState::Suspended);
        assert_eq!(state(&ForgeError::Restricted { organization: None, grant_url: None }, 0), LinkState::Restricted);
        assert_eq!(state(&ForgeError::MissingScope { scopes: vec![], detail: detail() }, 0), LinkState::ScopeMissing);
        for passing in [
            ForgeError::Unreachable { detail: detail() },
            ForgeError::Unexpected { status: 502, detail: detail() },
            ForgeError::Unexpected { status: 200, detail: "HTML".into() },
            ForgeError::Forbidden { detail: detail() },
        ] {
            assert_eq!(state(&passing, 0), LinkState::Ok, "{passing}");
            assert_eq!(state(&passing, 1), LinkState::Ok, "{passing}");
            assert_eq!(state(&passing, 2), LinkState::Error, "{passing}");
        }
        assert_eq!(state(&ForgeError::RateLimited { retry_after: INTERVAL }, 50), LinkState::Ok);
    }

    #[test]
    fn a_provider_that_is_away_does_not_make_a_dead_grant_another_trouble() {
        for state in [LinkState::Revoked, LinkState::Suspended, LinkState::Restricted, LinkState::ScopeMissing] {
            let told = super::super::sample(state);
            let link = Link { failures: 7, evidence: Some("Bad credentials".into()), evidence_status: Some(401), ..told };
            for error in [ForgeError::Unexpected { status: 502, detail: String::new() }, ForgeError::RateLimited { retry_after: INTERVAL }]
            {
                for asked in [Asked::ByTimer, Asked::ByPerson] {
                    let found = refused(&error, &link, asked, INTERVAL);
                    assert_eq!((found.state, found.evidence.as_deref(), found.status), (state, Some("Bad credentials"), Some(401)));
                }
            }
            assert_eq!(
                refused(&ForgeError::Suspended { detail: String::new() }, &link, Asked::ByTimer, INTERVAL).state,
                LinkState::Suspended
            );
        }
    }

    #[test]
    fn a_rate_limit_is_obeyed_and_a_dead_grant_presented_rarely() {
        let link = super::super::sample(LinkState::Ok);
        let hour = Duration::from_secs(3600);
        let limited = refused(&ForgeError::RateLimited { retry_after: hour }, &link, Asked::ByTimer, INTERVAL);
        assert_eq!((limited.again_in, limited.status), (hour, Some(429)));
        let dead = refused(&ForgeError::Unauthorized { detail: String::new() }, &link, Asked::ByTimer, INTERVAL);
        assert!(dead.again_in >= INTERVAL * 9, "{:?}", dead.again_in);
    }

    #[test]
    fn a_token_that_cannot_be_renewed_is_told_of_a_week_before() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let in_days = |days: u64| Some(now.plus(Duration::from_secs(days * 24 * 3600)));
        assert_eq!(by_expiry(false, in_days(6), now).0, LinkState::Expiring);
        assert_eq!(by_expiry(false, in_days(8), now).0, LinkState::Ok);
        assert_eq!(by_expiry(true, in_days(0), now).0, LinkState::Ok);
        assert_eq!(by_expiry(false, None, now).0, LinkState::Ok);
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..1000 {
            let wait = jittered(INTERVAL).as_secs_f64();
            assert!((240.0..=360.0).contains(&wait), "{wait}");
        }
    }
}
