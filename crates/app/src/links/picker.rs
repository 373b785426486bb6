//! The repository picker: a copy of what links see, swept page by page, searched in the database.
//!
//! Invariants: rows go only after a sweep that saw every page; a sweep that fails keeps what was read and says so; a source that a whole
//! sweep does not show is asked for by its id through every link before it is called gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use slipway_forge::{Forge, ForgeError, SourceRepository};
use slipway_model::{LinkId, LinkState, NamespaceAccess, ProviderId, Timestamp};
use slipway_store::links::{self, Link};
use slipway_store::source_namespaces::{self, Namespace};
use slipway_store::source_repositories::{self, SourceRow, Within};
use slipway_store::{WriteTx, sources};

use super::access::{SourceAt, Tried};
use super::health::jittered;
use super::{OrganizationView, is_in, view};
use crate::sources::Heads;
use crate::{App, Error, NamespaceOwner};

/// Longer than reading ten thousand repositories takes; a sweep of a replica that died comes back then.
const CLAIM: Duration = Duration::from_secs(600);
/// What nothing is built from is read rarely; whoever opens the picker can have it read anew.
const UNUSED: u32 = 96;
/// After a provider that does not answer may be asked again, what is more urgent comes first.
const AWAY: Duration = Duration::from_secs(60);
/// A provider that never ends its pages is not believed.
const PAGES: usize = 2000;
const SHOWN: u32 = 100;
/// Whoever opens the picker just after linking waits at most two seconds for the first reading.
const FIRST_LOOKS: u32 = 20;
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// The namespaces of the picker, and how fresh what is known of them is.
#[derive(Clone, Debug, Serialize)]
pub struct SourceNamespaces {
    /// The person first, then by name; restricted ones too.
    pub namespaces: Vec<OrganizationView>,
    /// When what they belong to was last read; `None` when never.
    pub read_at: Option<Timestamp>,
}

/// What is looked for.
#[derive(Clone, Copy, Default, Debug)]
pub struct SourceSearch<'a> {
    /// Only what this link sees.
    pub link: Option<LinkId>,
    /// Only in the namespace of this name.
    pub namespace: Option<&'a str>,
    /// Part of the name, in any case.
    pub text: &'a str,
    /// The [`SourcePage::next`] of the page before.
    pub after: Option<&'a str>,
    /// How many at most; 0 is 100.
    pub limit: u32,
}

/// A page of repositories, and how fresh it is.
#[derive(Clone, Debug)]
pub struct SourcePage {
    /// By name.
    pub items: Vec<SourceRepository>,
    /// To be handed back for the next page; `None` at the end.
    pub next: Option<String>,
    /// When the stalest part of what was searched was read; `None` when some was never read to its end.
    pub read_at: Option<Timestamp>,
    /// Whether everything that the links see was read at least once.
    pub complete: bool,
    /// Why some of it could not be read lately.
    pub error: Option<String>,
}

/// How a sweep ended.
enum Swept {
    /// Every page was seen: these repositories.
    Whole(BTreeSet<String>),
    /// It did not come to its end.
    Failed(ForgeError),
}

impl App {
    /// The namespaces that the links of an account to a provider see, also those that do not let us in.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a provider that is not configured or a link that is not there.
    pub async fn source_namespaces(
        &self,
        owner: &NamespaceOwner,
        provider: &ProviderId,
        link: Option<LinkId>,
    ) -> Result<SourceNamespaces, Error> {
        self.forge(provider)?;
        let mut tx = self.read().await?;
        let mut namespaces: Vec<Namespace> = Vec::new();
        let mut read_at: Option<Timestamp> = None;
        for one in links::list_by_provider(&mut tx, owner.account().id, provider).await? {
            if link.is_none_or(|wanted| wanted == one.id) {
                for found in source_namespaces::list(&mut tx, one.id).await? {
                    read_at = Some(read_at.map_or(found.seen_at, |earlier| earlier.min(found.seen_at)));
                    merge(&mut namespaces, found);
                }
            }
        }
        Ok(SourceNamespaces { namespaces: namespaces.into_iter().map(view::organization).collect(), read_at })
    }

    /// Repositories that the links of an account to a provider see, searched in our copy.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a provider that is not configured.
    pub async fn source_repositories(
        &self,
        owner: &NamespaceOwner,
        provider: &ProviderId,
        search: SourceSearch<'_>,
    ) -> Result<SourcePage, Error> {
        self.forge(provider)?;
        for _ in 0..FIRST_LOOKS {
            let (page, reading) = self.search_copy(owner, provider, search).await?;
            if !reading {
                return Ok(page);
            }
            // It was linked a moment ago, and the loop reads it for the first time: what is there is shown when that takes long.
            self.wake.sources.notify_one();
            tokio::time::sleep(FIRST_LOOK).await;
        }
        Ok(self.search_copy(owner, provider, search).await?.0)
    }

    /// A page of our copy, and whether more of it may come in a moment because it is read for the first time.
    async fn search_copy(
        &self,
        owner: &NamespaceOwner,
        provider: &ProviderId,
        search: SourceSearch<'_>,
    ) -> Result<(SourcePage, bool), Error> {
        let forge = self.forge(provider)?;
        let limit = if search.limit == 0 { SHOWN } else { search.limit.min(SHOWN) };
        let within = Within { account: owner.account().id, provider, link: search.link, namespace: search.namespace };
        let mut tx = self.read().await?;
        let mut rows = source_repositories::search(&mut tx, within, search.text, search.after, limit + 1).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.full_name.clone());
        let mut considered = Vec::new();
        for link in links::list_by_provider(&mut tx, owner.account().id, provider).await? {
            if search.link.is_none_or(|wanted| wanted == link.id) {
                let mut seen = source_namespaces::list(&mut tx, link.id).await?;
                seen.retain(|one| search.namespace.is_none_or(|name| one.name.eq_ignore_ascii_case(name)) && lets_in(one.access));
                considered.push((link, seen));
            }
        }
        let reading = next.is_none() && considered.iter().any(|(link, seen)| may_be_read(link) && seen.iter().any(never_read));
        let items = rows.into_iter().map(|row| shown(forge.as_ref(), row)).collect();
        Ok((SourcePage { items, next, ..freshness(&considered) }, reading))
    }

    /// Reads anew what the links of an account to a provider see: memberships at once, repositories in the background.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no link.
    pub async fn refresh_sources(&self, owner: &NamespaceOwner, provider: &ProviderId, link: Option<LinkId>) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let mut found = links::list_by_provider(&mut tx, owner.account().id, provider).await?;
        found.retain(|one| link.is_none_or(|wanted| wanted == one.id));
        if found.is_empty() {
            return Err(Error::NotFound);
        }
        for one in &found {
            links::check_by(&mut tx, one.id, now).await?;
            source_namespaces::sweep_now(&mut tx, one.id, now).await?;
        }
        tx.commit().await?;
        self.wake_links();
        Ok(())
    }

    /// A source is built through the link from now on: what nothing was built from is swept rarely.
    pub(crate) async fn watch_namespace(&self, tx: &mut WriteTx, link: LinkId, source_name: &str) -> Result<(), Error> {
        let Some((owner, _)) = source_name.rsplit_once('/') else { return Ok(()) };
        let soon = self.clock.now().plus(jittered(self.config.source_sweep_interval));
        Ok(source_namespaces::sweep_by(tx, link, owner, soon).await?)
    }

    /// Sweeps the namespace whose time has come; gives whether there was one.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sweep_sources_once(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let claimed = source_namespaces::claim_sweep(&mut tx, now, now.plus(CLAIM)).await?;
        let link = match &claimed {
            Some(namespace) => links::get_by_id(&mut tx, namespace.link).await?,
            None => None,
        };
        tx.commit().await?;
        let (Some(namespace), Some(link)) = (claimed, link) else { return Ok(false) };
        // More of them may be due, and others sweep too.
        self.wake.sources.notify_one();
        match self.away.pause(&link.provider, now) {
            Some(pause) => self.put_off(&namespace, now.plus(jittered(pause + AWAY))).await?,
            None => self.sweep(&link, &namespace, now).await?,
        }
        Ok(true)
    }

    /// The provider does not answer: its namespaces wait, and those of others are swept.
    async fn put_off(&self, namespace: &Namespace, until: Timestamp) -> Result<(), Error> {
        let mut tx = self.write().await?;
        source_namespaces::put_off(&mut tx, namespace.link, &namespace.remote_id, until).await?;
        Ok(tx.commit().await?)
    }

    async fn sweep(&self, link: &Link, namespace: &Namespace, began: Timestamp) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let served = sources::list(&mut tx, link.account, &link.provider, None).await?;
        drop(tx);
        let served_here = |seen: &BTreeSet<String>| {
            let here = |source: &sources::Source| seen.contains(&source.source_id) || is_in(&source.source_name, &namespace.name);
            served.iter().any(|source| source.link == Some(link.id) && here(source))
        };
        let interval = self.config.source_sweep_interval;
        let next = |seen: &BTreeSet<String>| jittered(if served_here(seen) { interval } else { interval * UNUSED });
        let built: BTreeSet<&str> = served.iter().map(|source| source.source_id.as_str()).collect();
        match self.read_pages(link, namespace, &built, began).await? {
            Swept::Failed(error) => {
                let wait = match &error {
                    ForgeError::RateLimited { retry_after } => next(&BTreeSet::new()).max(*retry_after),
                    _ => next(&BTreeSet::new()),
                };
                tracing::info!(link = %link.id, namespace = namespace.name, %error, "a sweep of source repositories did not come to its end");
                let mut tx = self.write().await?;
                let words = error.to_string();
                source_namespaces::set_sweep_failed(&mut tx, link.id, &namespace.remote_id, &words, self.clock.now().plus(wait)).await?;
                if !error.is_temporary() {
                    links::check_by(&mut tx, link.id, self.clock.now()).await?;
                }
                Ok(tx.commit().await?)
            }
            Swept::Whole(seen) => {
                let mut tx = self.write().await?;
                let gone = source_repositories::delete_unseen(&mut tx, link.id, &namespace.remote_id, began).await?;
                let now = self.clock.now();
                source_namespaces::set_swept(&mut tx, link.id, &namespace.remote_id, now, now.plus(next(&seen))).await?;
                tx.commit().await?;
                tracing::debug!(link = %link.id, namespace = namespace.name, repositories = seen.len(), gone, "swept source repositories");
                let missed = served.iter().filter(|source| source.link == Some(link.id) && !seen.contains(&source.source_id));
                for source in missed.filter(|source| is_in(&source.source_name, &namespace.name)) {
                    self.confirm_gone(link, source).await?;
                }
                Ok(())
            }
        }
    }

    /// Reads page after page and keeps each as it comes.
    async fn read_pages(&self, link: &Link, namespace: &Namespace, built: &BTreeSet<&str>, began: Timestamp) -> Result<Swept, Error> {
        let forge = self.forge(&link.provider)?;
        let (mut seen, mut cursor, mut current) = (BTreeSet::new(), None::<String>, link.clone());
        for _ in 0..PAGES {
            let (name, at) = (namespace.name.as_str(), cursor.as_deref());
            let read = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.source_repositories(&token, name, at).await };
            let tried = self.try_link(forge, &current, &read).await;
            self.away.heard(&link.provider, &tried, self.clock.now());
            let page = match tried {
                Ok(page) => page,
                Err(Tried::Forge(error)) => return Ok(Swept::Failed(error)),
                Err(Tried::Ours(Error::NotFound)) => return Ok(Swept::Failed(switched_off())),
                Err(Tried::Ours(error)) => return Err(error),
            };
            seen.extend(page.items.iter().map(|found| found.id.clone()));
            // Disabled or unlinked meanwhile: nothing more is taken from the provider.
            match self.keep_page(link, namespace, &page.items, built, began).await? {
                Some(link) => current = link,
                None => return Ok(Swept::Failed(switched_off())),
            }
            if page.next.is_none() {
                return Ok(Swept::Whole(seen));
            }
            if page.next == cursor {
                break;
            }
            cursor = page.next;
        }
        let detail = format!("the pages of `{}` do not end", namespace.name);
        Ok(Swept::Failed(ForgeError::Unexpected { status: 200, detail }))
    }

    /// Keeps a page; gives the link as it is now, or `None` when it may not be used any more.
    async fn keep_page(
        &self,
        link: &Link,
        namespace: &Namespace,
        page: &[SourceRepository],
        built: &BTreeSet<&str>,
        began: Timestamp,
    ) -> Result<Option<Link>, Error> {
        let mut tx = self.write().await?;
        let current = links::get_by_id(&mut tx, link.id).await?.filter(|now| !now.unlinking && now.state != LinkState::Disabled);
        let Some(current) = current else { return Ok(None) };
        let mut pushed = false;
        for found in page {
            let row = SourceRow {
                link: link.id,
                remote_id: found.id.clone(),
                namespace_id: namespace.remote_id.clone(),
                full_name: found.full_name.clone(),
                default_branch: found.default_branch.clone(),
                private: found.private,
                archived: found.archived,
                pushed: found.pushed.clone(),
                seen_at: began,
            };
            source_repositories::upsert(&mut tx, &row).await?;
            if built.contains(found.id.as_str()) {
                pushed |= self.observe_source(&mut tx, link.account, &link.provider, found, Heads::NotCompared).await?;
            }
        }
        tx.commit().await?;
        if pushed {
            self.wake.reconcile.notify_one();
        }
        Ok(Some(current))
    }

    /// A whole sweep did not show a source: it may have moved, or another link may see it. Only when all say that they do not, it is gone.
    async fn confirm_gone(&self, link: &Link, source: &sources::Source) -> Result<(), Error> {
        let key = slipway_forge::SourceKey { id: &source.source_id, full_name: &source.source_name };
        let at = SourceAt { account: link.account, provider: &link.provider, key, autobuild: Some(source.autobuild) };
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)
        };
        let outcome = self.with_source(at, look).await;
        let mut tx = self.write().await?;
        match outcome {
            Ok(acted) => {
                self.observe_source(&mut tx, link.account, &link.provider, &acted.value, Heads::NotCompared).await?;
            }
            Err(trouble) if matches!(trouble.forge_error(), Some(ForgeError::NotFound)) && !trouble.is_passing() => {
                self.source_is_gone(&mut tx, link.account, &link.provider, &source.source_id, &trouble.words).await?;
            }
            // Nobody could say: nothing is concluded.
            Err(trouble) => tracing::debug!(source = source.source_id, %trouble, "whether a source is gone is not known"),
        }
        Ok(tx.commit().await?)
    }
}

/// A link that was disabled or unlinked in the middle of a sweep.
fn switched_off() -> ForgeError {
    ForgeError::Forbidden { detail: "the link was switched off meanwhile".to_owned() }
}

/// Of one namespace that several links see, the better access counts.
fn merge(all: &mut Vec<Namespace>, found: Namespace) {
    match all.iter_mut().find(|one| one.remote_id == found.remote_id) {
        Some(one) if one.access != NamespaceAccess::Granted && found.access == NamespaceAccess::Granted => *one = found,
        Some(_) => {}
        None => all.push(found),
    }
}

fn may_be_read(link: &Link) -> bool {
    !matches!(link.state, LinkState::Disabled | LinkState::Revoked | LinkState::Suspended)
}

fn never_read(namespace: &Namespace) -> bool {
    namespace.swept_at.is_none() && namespace.sweep_error.is_none()
}

fn lets_in(access: NamespaceAccess) -> bool {
    matches!(access, NamespaceAccess::Granted | NamespaceAccess::Unknown)
}

/// An empty page that says how fresh the copy is.
fn freshness(considered: &[(Link, Vec<Namespace>)]) -> SourcePage {
    let all = || considered.iter().flat_map(|(_, seen)| seen);
    let complete = all().next().is_some() && all().all(|one| one.swept_at.is_some());
    let failed = all().find_map(|one| Some(format!("`{}` could not be read lately: {}", one.name, one.sweep_error.as_deref()?)));
    let disabled = considered.iter().find(|(link, _)| link.state == LinkState::Disabled);
    let disabled = disabled.map(|(link, _)| format!("the link of `{}` is disabled: this is what it saw before", link.login));
    SourcePage {
        items: Vec::new(),
        next: None,
        read_at: all().filter_map(|one| one.swept_at).min().filter(|_| complete),
        complete,
        error: failed.or(disabled),
    }
}

fn shown(forge: &dyn Forge, row: SourceRow) -> SourceRepository {
    let mut web_url = forge.provider().web_url.clone();
    if let Ok(mut path) = web_url.path_segments_mut() {
        path.pop_if_empty().extend(row.full_name.split('/'));
    }
    SourceRepository {
        id: row.remote_id,
        full_name: row.full_name,
        default_branch: row.default_branch,
        private: row.private,
        archived: row.archived,
        web_url,
        pushed: row.pushed,
    }
}
