//! Whose engine is whose: a namespace's trusted builds have engines that are kept warm and with their cache, an untrusted build has one that
//! is gone with it.
//!
//! The invariant: an engine serves one build at a time, and whatever that left in it but its cache is gone before the next; two trust scopes
//! never meet in an engine, in its data, or in the machine's user that it runs as. A build beside another one of its namespace gets the
//! namespace's second engine: how many there are, the builder's number of parallel builds says. Deliberately elsewhere: how an engine is put
//! together (`mod`, the scripts), what a build has in one (`seat`).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipway_buildkit::Images;
use slipway_model::{BuildId, Clock, EgressPolicy, FailureCode, Lane, Timestamp};
use slipway_wire::{Assignment, TrustScope};
use tokio::sync::OwnedMutexGuard;

use super::relay::RegistryAddress;
use super::{Reach, Sandbox, Seat};
use crate::cleanup;
use crate::config::EngineBounds;
use crate::failure::Failure;
use crate::home::BuildDir;

/// An engine that nobody used for so long is stopped; its cache stays.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// What ends within this time never began.
const AT_ONCE: Duration = Duration::from_secs(5);
/// An engine that runs for so long is stopped when its build leaves: what it downloaded for tests and hooks goes at its next start.
const OLD: Duration = Duration::from_secs(86_400);
/// The data of an engine that nobody used for so long are removed: its namespace may be gone, and nobody tells a builder.
const FORGOTTEN: Duration = Duration::from_secs(30 * 86_400);
/// Between two looks for such.
const LOOK: Duration = Duration::from_secs(86_400);
/// How long the clean-up of an engine may take.
const EMPTY_LIMIT: Duration = Duration::from_secs(60);
/// The machine's users for engines: 4,096 ranges of 65,536, which neither people nor other programs are given by custom.
const FIRST_USER: u32 = 0x7000_0000;
const USERS: u32 = 0x1_0000;
const RANGES: u32 = 0x1000;

/// All engines of their own of a builder.
#[derive(Debug, Clone)]
pub(crate) struct Scopes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The builder's own folder for them.
    folder: PathBuf,
    clock: Clock,
    bounds: EngineBounds,
    places: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Place>>>>,
    /// Held while a range of users is chosen, a use is noted, or data that nobody uses are set aside.
    choosing: Mutex<()>,
    /// The last look for data that nobody uses.
    looked: Mutex<Option<Timestamp>>,
}

/// One engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    scope: TrustScope,
    /// Untrusted builds have one each.
    once: Option<(BuildId, u32)>,
    /// From 1: the first has most of the cache.
    number: u32,
}

impl Key {
    fn of(assignment: &Assignment, number: u32) -> Self {
        let once = (assignment.scope.lane == Lane::Untrusted).then_some((assignment.build, assignment.attempt));
        Self { scope: assignment.scope, once, number }
    }

    fn folder(self) -> String {
        let first = match self.once {
            Some((build, attempt)) => format!("once-{build}-{attempt}"),
            None => self.scope.account.to_string(),
        };
        if self.number == 1 { first } else { format!("{first}-{}", self.number) }
    }
}

/// Where an engine stands while no build has it. Whoever holds the lock has the engine.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// It runs, and holds nothing of any build but caches.
    sandbox: Option<Sandbox>,
    used: Option<Timestamp>,
}

/// Networks that are not public and that the administrator opens are for the namespace's own commits, not for those of strangers.
fn allowed(lane: Lane, egress: &EgressPolicy) -> Vec<String> {
    match lane {
        Lane::Trusted => egress.networks(),
        Lane::Untrusted => Vec::new(),
    }
}

impl Scopes {
    /// Nothing is started yet; what an earlier builder left of builds is removed, its caches stay.
    pub(crate) fn open(folder: PathBuf, clock: Clock, bounds: EngineBounds) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            let once = entry.file_name().to_string_lossy().starts_with("once-");
            let dead = if once { path } else { path.join("seats") };
            // What cannot be removed is in nobody's way: builds have names of their own.
            if !cleanup::remover(&dead).status().is_ok_and(|status| status.success()) {
                tracing::warn!(path = %dead.display(), "what an earlier builder left was not removed");
            }
        }
        Ok(Self(Arc::new(Inner { folder, clock, bounds, places: Mutex::default(), choosing: Mutex::default(), looked: Mutex::default() })))
    }

    /// An engine of the build's scope for this build alone. It is started when it does not run.
    pub(crate) async fn seat(&self, assignment: &Assignment, dir: &BuildDir) -> Result<Seat, Failure> {
        super::ready()?;
        let (key, place) = self.take(assignment);
        self.note_use(key);
        let allowed = allowed(assignment.scope.lane, &assignment.source.network.egress);
        let (scopes, reach) = (self.clone(), Reach { registry: RegistryAddress::of(&assignment.registry), allowed });
        // Goes on when this build is stopped: an engine that is half started would be in the way of the next one in the same folder.
        let started = tokio::spawn(async move { scopes.start_in(key, place, reach).await }).await;
        let mut place = started.map_err(|error| Failure::internal("an engine of its own for this build", error))??;
        // It comes back empty, or not at all.
        let sandbox = place.sandbox.take().ok_or_else(|| Failure::internal("an engine of its own for this build", "it is gone"))?;
        let name = format!("{}-{}", assignment.build, assignment.attempt);
        Ok(Seat { scopes: self.clone(), key, place, sandbox, name, private: dir.inside(), compose: tokio::sync::OnceCell::new() })
    }

    /// The first of the scope's engines that no other build has.
    fn take(&self, assignment: &Assignment) -> (Key, OwnedMutexGuard<Place>) {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = 1;
        loop {
            let key = Key::of(assignment, number);
            if let Ok(place) = Arc::clone(places.entry(key).or_default()).try_lock_owned() {
                return (key, place);
            }
            number += 1;
        }
    }

    /// Sees to it that the engine runs, with this reach.
    async fn start_in(&self, key: Key, mut place: OwnedMutexGuard<Place>, reach: Reach) -> Result<OwnedMutexGuard<Place>, Failure> {
        place.used = Some(self.0.clock.now());
        if let Some(sandbox) = place.sandbox.take() {
            // What a hook asked for at its last moment may have come after the engine was emptied.
            let ready = !sandbox.has_ended() && sandbox.reach == reach && emptied_of_builds(&sandbox).await.is_ok();
            if ready {
                place.sandbox = Some(sandbox);
                return Ok(place);
            }
            sandbox.end().await;
        }
        place.sandbox = Some(self.start(key, reach).await?);
        Ok(place)
    }

    async fn start(&self, key: Key, reach: Reach) -> Result<Sandbox, Failure> {
        let folder = self.0.folder.join(key.folder());
        let base = self.base(&folder).map_err(|error| Failure::internal("no user for an engine of its own", error))?;
        let data = folder.join("data");
        let had_data = data.is_dir();
        match self.start_clean(&folder, base, reach.clone()).await {
            Err(failure) if had_data => {
                // Its data are a cache: an engine that was killed at a bad moment may not want them any more.
                tracing::warn!(reason = %failure.reason, "an engine of its own does not start; it is tried without its data");
                cleanup::remove(&data).await;
                self.start_clean(&folder, base, reach).await
            }
            done => done,
        }
    }

    /// Containers of a builder that died are still known, and some may be started again by themselves. Images that were pulled long ago would
    /// hide newer ones; the build cache is none of them.
    async fn start_clean(&self, folder: &Path, base: u32, reach: Reach) -> Result<Sandbox, Failure> {
        let (begun, start) =
            (tokio::time::Instant::now(), || Sandbox::start(folder, base, reach.clone(), self.0.bounds, self.0.clock.now()));
        let sandbox = match start().await {
            Ok(sandbox) => sandbox,
            // Of hundreds one ended before it was put together: the kernel refused its shell an identity that it had been given. It costs a
            // moment to begin again, and a try of the build not to.
            Err(failure) if begun.elapsed() < AT_ONCE => {
                tracing::warn!(reason = %failure.reason, "an engine of its own ended at once; it is started again");
                start().await?
            }
            Err(failure) => return Err(failure),
        };
        match emptied(&sandbox, Images::All).await {
            Ok(()) => Ok(sandbox),
            Err(why) => {
                sandbox.end().await;
                Err(Failure::passing(
                    FailureCode::EngineUnavailable,
                    format!("an engine of its own for this build cannot be emptied: {why}"),
                ))
            }
        }
    }

    /// The first of the users of an engine: the one that its data belong to, else one that no other engine has.
    fn base(&self, folder: &Path) -> io::Result<u32> {
        let _one_at_a_time = self.0.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |folder: &Path| std::fs::read_to_string(folder.join("base")).ok().and_then(|text| text.parse::<u32>().ok());
        if let Some(known) = of(folder) {
            return Ok(known);
        }
        let taken: BTreeSet<u32> = std::fs::read_dir(&self.0.folder)?.flatten().filter_map(|entry| of(&entry.path())).collect();
        let free = (0..RANGES).map(|range| FIRST_USER + range * USERS).find(|base| !taken.contains(base));
        let free = free.ok_or_else(|| io::Error::other(format!("all {RANGES} are taken")))?;
        std::fs::create_dir_all(folder)?;
        BuildDir::write_private(&folder.join("base"), &free.to_string())?;
        Ok(free)
    }

    /// Stops engines that nobody used for a while, and once a day removes the data of those that nobody used for long.
    pub(crate) async fn sweep(&self) {
        self.stop_unused(|used, now| used.is_none_or(|used| now.since(used) > IDLE)).await;
        let now = self.0.clock.now();
        let due = {
            let mut looked = self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let due = looked.is_none_or(|looked| now.since(looked) > LOOK);
            if due {
                *looked = Some(now);
            }
            due
        };
        if due {
            self.forget_unused(now).await;
        }
    }

    /// When an engine was used last stands beside its data, so that it is known after a restart.
    fn note_use(&self, key: Key) {
        if key.once.is_none() {
            let _one_at_a_time = self.0.choosing.lock().unwrap_or_else(PoisonError::into_inner);
            let folder = self.0.folder.join(key.folder());
            let now = self.0.clock.now().as_millis().to_string();
            let noted = std::fs::create_dir_all(&folder).and_then(|()| BuildDir::write_private(&folder.join("used"), &now));
            if let Err(error) = noted {
                tracing::warn!(%error, "the use of an engine of its own was not noted");
            }
        }
    }

    async fn forget_unused(&self, now: Timestamp) {
        for aside in self.set_unused_aside(now) {
            tracing::info!(path = %aside.display(), "the data of an engine of its own that nobody used for long are removed");
            cleanup::remove(&aside).await;
        }
    }

    /// Under names that the next start would remove too. Whoever begins to use such an engine now finds its data, or none.
    fn set_unused_aside(&self, now: Timestamp) -> Vec<PathBuf> {
        let _one_at_a_time = self.0.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut aside = Vec::new();
        for entry in std::fs::read_dir(&self.0.folder).into_iter().flatten().flatten() {
            let (folder, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with("once-") {
                continue;
            }
            let used = std::fs::read_to_string(folder.join("used")).ok().and_then(|text| text.parse().ok()).map(Timestamp::from_millis);
            let Some(used) = used else {
                // From before this was noted: its time begins now.
                BuildDir::write_private(&folder.join("used"), &now.as_millis().to_string()).ok();
                continue;
            };
            let to = self.0.folder.join(format!("once-forgotten-{name}"));
            if now.since(used) > FORGOTTEN && std::fs::rename(&folder, &to).is_ok() {
                aside.push(to);
            }
        }
        aside
    }

    /// Stops all that are not in use.
    pub(crate) async fn close(&self) {
        self.stop_unused(|_, _| true).await;
    }

    async fn stop_unused(&self, old: impl Fn(Option<Timestamp>, Timestamp) -> bool) {
        let places: Vec<(Key, Arc<tokio::sync::Mutex<Place>>)> = {
            let places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.iter().map(|(key, place)| (*key, Arc::clone(place))).collect()
        };
        let now = self.0.clock.now();
        for (key, place) in places {
            // Otherwise a build has it.
            let Ok(mut place) = place.try_lock() else { continue };
            // What an untrusted build does not have was started for one that stopped meanwhile.
            if key.once.is_none() && !old(place.used, now) {
                continue;
            }
            if let Some(sandbox) = place.sandbox.take() {
                sandbox.end().await;
            }
            if key.once.is_some() {
                cleanup::remove(&self.0.folder.join(key.folder())).await;
            }
            // While it is held, so that no build has taken it.
            self.forget(key);
        }
    }

    fn forget(&self, key: Key) {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

/// Caches stay, and layers of what was downloaded.
async fn emptied_of_builds(sandbox: &Sandbox) -> Result<(), String> {
    emptied(sandbox, Images::ButDownloads { except: &sandbox.reach.registry.host }).await
}

/// An engine that does not do it in time counts as one that refuses.
async fn emptied(sandbox: &Sandbox, images: Images<'_>) -> Result<(), String> {
    match tokio::time::timeout(EMPTY_LIMIT, sandbox.engine.remove_everything(images)).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", EMPTY_LIMIT.as_secs())),
    }
}

impl Seat {
    /// The build has ended: its files go, and what it left in the engine. Nothing inside is asked whether it may.
    pub(crate) async fn leave(self) {
        let Self { scopes, key, mut place, sandbox, name, .. } = self;
        let folder = scopes.0.folder.join(key.folder());
        let now = scopes.0.clock.now();
        if key.once.is_some() {
            sandbox.end().await;
            cleanup::remove(&folder).await;
            scopes.forget(key);
            return;
        }
        place.used = Some(now);
        let emptied = emptied_of_builds(&sandbox).await;
        // Nothing writes there any more.
        cleanup::remove(&folder.join("seats").join(name)).await;
        if let Err(why) = &emptied {
            tracing::warn!(%why, "what a build left in an engine of its own was not removed; the engine is stopped");
        }
        if emptied.is_ok() && now.since(sandbox.begun) < OLD {
            place.sandbox = Some(sandbox);
        } else {
            sandbox.end().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_model::AccountId;

    fn scopes(folder: &Path) -> Scopes {
        Scopes::open(folder.to_owned(), Clock::System, EngineBounds::default()).expect("scopes")
    }

    #[test]
    fn each_engine_has_users_of_its_own_and_keeps_them() {
        let folder = tempfile::tempdir().expect("folder");
        let first = scopes(folder.path());
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let base = first.base(&a).expect("base");
        assert_eq!((base, first.base(&b).expect("base")), (FIRST_USER, FIRST_USER + USERS));
        drop(first);
        assert_eq!(scopes(folder.path()).base(&b).expect("base"), FIRST_USER + USERS);
        std::fs::remove_dir_all(&a).expect("removed");
        assert_eq!(scopes(folder.path()).base(&folder.path().join("c")).expect("base"), FIRST_USER);
    }

    #[test]
    fn what_a_dead_builder_left_of_builds_goes_and_caches_stay() {
        let folder = tempfile::tempdir().expect("folder");
        for part in ["acme/seats/build-1/source", "acme/data/cache", "once-build-1/data"] {
            std::fs::create_dir_all(folder.path().join(part)).expect("folders");
        }
        scopes(folder.path());
        let there = |part: &str| folder.path().join(part).exists();
        assert!(there("acme/data/cache") && !there("acme/seats") && !there("once-build-1"));
    }

    #[tokio::test]
    async fn data_that_nobody_used_for_long_are_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        let scopes = scopes(folder.path());
        let key = Key { scope: TrustScope { account: AccountId::new(), lane: Lane::Trusted }, once: None, number: 1 };
        scopes.note_use(key);
        for name in ["old", "unknown"] {
            std::fs::create_dir_all(at(name).join("data/cache")).expect("folders");
        }
        let now = Clock::System.now();
        let long_ago = now.as_millis() - i64::try_from(FORGOTTEN.as_millis()).expect("days") - 1;
        std::fs::write(at("old/used"), long_ago.to_string()).expect("note");
        scopes.sweep().await;
        assert!(!at("old").exists() && at("unknown/data/cache").exists() && at(&key.folder()).exists());
        scopes.forget_unused(now.plus(FORGOTTEN + LOOK)).await;
        assert!(!at("unknown").exists() && !at(&key.folder()).exists());
    }

    #[test]
    fn lanes_and_namespaces_never_share_a_folder() {
        let (account, build) = (AccountId::new(), BuildId::new());
        let scope = |account, lane| TrustScope { account, lane };
        let key = |scope, once| Key { scope, once, number: 1 }.folder();
        let names: BTreeSet<String> = [
            key(scope(account, Lane::Trusted), None),
            Key { scope: scope(account, Lane::Trusted), once: None, number: 2 }.folder(),
            key(scope(AccountId::new(), Lane::Trusted), None),
            key(scope(account, Lane::Untrusted), Some((build, 1))),
            key(scope(account, Lane::Untrusted), Some((build, 2))),
        ]
        .into();
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn what_the_administrator_opens_is_not_open_to_strangers() {
        let egress = EgressPolicy::allowing(["10.1.0.0/16"]).expect("networks");
        assert_eq!((allowed(Lane::Trusted, &egress), allowed(Lane::Untrusted, &egress)), (vec!["10.1.0.0/16".to_owned()], vec![]));
    }
}
