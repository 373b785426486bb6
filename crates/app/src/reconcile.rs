//! The reconciler: looks where the refs of each source stand at its provider, and adds to their logs what no delivery told. So it does with
//! open pull requests (`untold`).
//!
//! Invariants: what a look shows is compared in the transaction that writes, and only for refs that nothing moved since shortly before the
//! look began; refs are read of the repository with the source's id, never of another one under its name; a list that is not whole removes
//! nothing. The first look only learns where the refs stand. Exactly once with deliveries: see `history`.
//! Deliberately elsewhere: when a source is looked at (`schedule`), the verdicts and builds (`matching`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use slipway_forge::{Coverage, Forge, ForgeError, Fresh, Heads, RefChange, SourceKey, SourceRepository};
use slipway_model::{CommitId, RefName, Timestamp};
use slipway_store::deliveries::{self, Verdict};
use slipway_store::reconciling::{self, Watched};
use slipway_store::refs::{self, Head};
use slipway_store::repositories::Autobuild;
use slipway_store::{WriteTx, repositories};

use crate::history::State;
use crate::links::access::{SourceAt, SourceTrouble, TroubleKind};
use crate::matching::{Decision, Origin, Situation};
use crate::sources::{GONE, NO_ACCESS, SHUT};
use crate::{App, Error};

/// So long after something doubtful the reconciler looks.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// Providers show a push everywhere a moment after they tell of it.
const GRACE: Duration = Duration::from_secs(60);
/// Differences that one transaction takes over.
const STEP: usize = 200;
/// Heads that one transaction learns at the first look.
const FIRST_STEP: usize = 1000;
/// Refs that one look asks for one by one, because the list shows them where they were once.
const CONFIRM: usize = 20;
/// As much of a ref's log as is looked at.
const LOG: u32 = 100;

/// Whether everything that a look showed was taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// It was.
    Nothing,
    /// Refs that were moved a moment ago, or that the list shows where they were before.
    Something,
}

/// Why a look gave nothing.
#[derive(Debug)]
pub(crate) enum Missed {
    /// The provider could not be asked, or did not tell.
    Trouble(SourceTrouble),
    /// Ours.
    Ours(Error),
}

impl<E: Into<Error>> From<E> for Missed {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

/// How a source shows itself.
enum Seen {
    Unchanged,
    Changed { source: Box<SourceRepository>, heads: Heads, marker: Option<String> },
}

/// A ref that stands elsewhere than we know.
#[derive(Clone)]
struct Difference {
    name: RefName,
    before: State,
    after: State,
}

/// Everything about a look that the steps need.
pub(crate) struct Look<'a> {
    pub(crate) watched: &'a Watched,
    pub(crate) began: Timestamp,
}

/// Asks for the refs and, when they changed, makes sure that they are those of the source.
async fn examine(forge: Arc<dyn Forge>, token: SecretString, watched: &Watched, known: Option<&str>) -> Result<Seen, ForgeError> {
    let listed = match forge.heads(&token, &watched.source_name, known).await {
        Ok(Fresh::Unchanged) => return Ok(Seen::Unchanged),
        Ok(Fresh::Changed { value, marker }) => Some((value, marker)),
        // It may have another name now.
        Err(ForgeError::NotFound) => None,
        Err(error) => return Err(error),
    };
    let key = SourceKey { id: &watched.source_id, full_name: &watched.source_name };
    let source = forge.source_repository_by_id(&token, key).await?.ok_or(ForgeError::NotFound)?;
    if let Some((heads, marker)) = listed.filter(|_| source.full_name == watched.source_name) {
        return Ok(Seen::Changed { source: Box::new(source), heads, marker });
    }
    match forge.heads(&token, &source.full_name, None).await? {
        Fresh::Changed { value, marker } => Ok(Seen::Changed { source: Box::new(source), heads: value, marker }),
        Fresh::Unchanged => Err(ForgeError::Unexpected { status: 304, detail: "it says unchanged of what was never asked".to_owned() }),
    }
}

/// Where the refs stand elsewhere than we know. What the first look shows and no delivery told of is no difference, but `fresh`.
fn compare(known: &BTreeMap<RefName, Head>, heads: &Heads, first: bool) -> (Vec<Difference>, Vec<(RefName, CommitId)>) {
    let (mut differences, mut fresh) = (Vec::new(), Vec::new());
    for head in &heads.refs {
        match known.get(&head.name) {
            None if first => fresh.push((head.name.clone(), head.commit.clone())),
            Some(stands) if stands.commit == head.commit => {}
            stands => differences.push(Difference {
                name: head.name.clone(),
                before: stands.map(|stands| stands.commit.clone()),
                after: Some(head.commit.clone()),
            }),
        }
    }
    if heads.coverage == Coverage::Whole {
        let shown: BTreeSet<&RefName> = heads.refs.iter().map(|head| &head.name).collect();
        let gone = known.iter().filter(|(name, _)| !shown.contains(name));
        differences.extend(gone.map(|(name, head)| Difference { name: name.clone(), before: Some(head.commit.clone()), after: None }));
    }
    (differences, fresh)
}

/// The settings, when they still name the source that is looked at; until the transaction ends nobody gives them another one.
pub(crate) async fn still_watched(tx: &mut WriteTx, watched: &Watched) -> Result<Option<Autobuild>, Error> {
    refs::lock(tx, watched.autobuild).await?;
    let settings = repositories::get_autobuild_by_id(tx, watched.autobuild).await?;
    Ok(settings.filter(|settings| settings.source_id == watched.source_id && settings.provider == watched.provider))
}

impl App {
    pub(crate) fn source_at<'a>(watched: &'a Watched) -> SourceAt<'a> {
        SourceAt {
            account: watched.account,
            provider: &watched.provider,
            key: SourceKey { id: &watched.source_id, full_name: &watched.source_name },
            autobuild: Some(watched.autobuild),
        }
    }

    /// Looks at a source and takes over what it shows.
    pub(crate) async fn look(&self, watched: &Watched) -> Result<Left, Missed> {
        let look = Look { watched, began: self.clock.now() };
        let mut tx = self.read().await?;
        let pushed = refs::last_push_at(&mut tx, watched.autobuild).await?;
        drop(tx);
        // "Unchanged" says nothing once we know of more than the last look did, and does not end what was wrong.
        let current = watched.problem.is_none() && watched.checked_at.is_some_and(|at| pushed.is_none_or(|pushed| pushed < at));
        let known = watched.marker.as_deref().filter(|_| current);
        let seen = self.with_source(Self::source_at(watched), |forge, token| examine(forge, token, watched, known)).await;
        match seen {
            Err(trouble) => {
                self.not_seen(watched, &trouble).await?;
                Err(Missed::Trouble(trouble))
            }
            Ok(acted) => match acted.value {
                Seen::Unchanged => {
                    let left = self.look_at_pull_requests(&look, &watched.source_name).await?;
                    let mut tx = self.write().await?;
                    reconciling::set_checked(&mut tx, watched, watched.marker.as_deref(), look.began).await?;
                    tx.commit().await?;
                    Ok(left)
                }
                Seen::Changed { source, heads, marker } => {
                    self.see_source(watched, &source).await?;
                    let refs = self.take_over(&look, &source, &heads, marker.as_deref()).await?;
                    let pull_requests = self.look_at_pull_requests(&look, &source.full_name).await?;
                    Ok(if refs == Left::Nothing { pull_requests } else { refs })
                }
            },
        }
    }

    /// What follows when no link showed the source. It is gone when every one was asked and says so; while one that may see it was not let
    /// in nobody knows, and the pages say whose link that is, because the link that works shows no trouble.
    async fn not_seen(&self, watched: &Watched, trouble: &SourceTrouble) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        match (trouble.forge_error(), &trouble.kind) {
            (Some(ForgeError::NotFound), _) => {
                self.source_is_gone(&mut tx, watched.account, &watched.provider, &watched.source_id, &trouble.words).await?;
            }
            (_, TroubleKind::Unsure) if watched.problem.as_deref() != Some(GONE) => {
                reconciling::set_problem(&mut tx, watched.autobuild, Some((NO_ACCESS, &trouble.whole())), now).await?;
            }
            // Blocked by the provider, say: the link may well be good.
            (Some(ForgeError::Forbidden { .. }), _) => {
                reconciling::set_problem(&mut tx, watched.autobuild, Some((SHUT, &trouble.words)), now).await?;
            }
            _ => {}
        }
        Ok(tx.commit().await?)
    }

    async fn take_over(&self, look: &Look<'_>, source: &SourceRepository, heads: &Heads, marker: Option<&str>) -> Result<Left, Missed> {
        let watched = look.watched;
        let mut tx = self.read().await?;
        let known: BTreeMap<RefName, Head> = refs::list_heads(&mut tx, watched.autobuild).await?.into_iter().collect();
        drop(tx);
        if heads.refs.is_empty() && !known.is_empty() {
            self.confirm_empty(look, source).await?;
        }
        let (differences, fresh) = compare(&known, heads, watched.checked_at.is_none());
        for step in fresh.chunks(FIRST_STEP) {
            self.learn(watched, step).await?;
        }
        let (ready, mut left) = self.ready(look, source, differences).await?;
        for step in ready.chunks(STEP) {
            if self.take_step(look, step).await? < step.len() {
                left = Left::Something;
            }
        }
        let mut tx = self.write().await?;
        let marker = marker.filter(|_| left == Left::Nothing);
        reconciling::set_checked(&mut tx, watched, marker, look.began).await?;
        tx.commit().await?;
        Ok(left)
    }

    /// A list without any ref, of a source that had some, is believed only when the default branch is gone too.
    async fn confirm_empty(&self, look: &Look<'_>, source: &SourceRepository) -> Result<(), Missed> {
        let Ok(name) = RefName::branch(&source.default_branch) else { return Ok(()) };
        match self.stands_at(look, &source.full_name, &name).await? {
            None => Ok(()),
            Some(_) => {
                let detail = format!("it lists no branch, but `{}` is there", source.default_branch);
                let error = ForgeError::Unexpected { status: 200, detail };
                Err(Missed::Ours(Error::forge(&look.watched.provider)(error)))
            }
        }
    }

    pub(crate) async fn stands_at(&self, look: &Look<'_>, full_name: &str, name: &RefName) -> Result<State, Missed> {
        let ask = |forge: Arc<dyn Forge>, token: SecretString| async move { forge.resolve(&token, full_name, name).await };
        Ok(self.with_source(Self::source_at(look.watched), ask).await.map_err(Missed::Trouble)?.value)
    }

    async fn learn(&self, watched: &Watched, heads: &[(RefName, CommitId)]) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        if still_watched(&mut tx, watched).await?.is_none() {
            return Ok(());
        }
        for (name, commit) in heads {
            // A delivery may have told of it since.
            if refs::last_seq(&mut tx, watched.autobuild, name).await? == 0 {
                refs::set_head(&mut tx, watched.autobuild, name, Some(commit), now).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// The differences that may be believed now.
    async fn ready(
        &self,
        look: &Look<'_>,
        source: &SourceRepository,
        differences: Vec<Difference>,
    ) -> Result<(Vec<Difference>, Left), Missed> {
        let interval = self.config.reconcile_interval;
        let mut tx = self.read().await?;
        let young: BTreeMap<RefName, Timestamp> =
            refs::list_young(&mut tx, look.watched.autobuild, look.began.minus(2 * interval)).await?.into_iter().collect();
        let (mut ready, mut doubtful, mut left) = (Vec::new(), Vec::new(), Left::Nothing);
        for difference in differences {
            let moved = young.get(&difference.name);
            if moved.is_some_and(|at| *at > look.began.minus(self.grace())) {
                left = Left::Something;
            } else if difference.after.is_some() && self.stood_there(&mut tx, look.watched, &difference).await? {
                if moved.is_some() || doubtful.len() >= CONFIRM {
                    left = Left::Something;
                } else {
                    doubtful.push(difference);
                }
            } else {
                ready.push(difference);
            }
        }
        drop(tx);
        for difference in doubtful {
            if self.stands_at(look, &source.full_name, &difference.name).await? == difference.after {
                ready.push(difference);
            } else {
                left = Left::Something;
            }
        }
        Ok((ready, left))
    }

    /// Whether the ref stood there before, so that an old list would look the same.
    async fn stood_there(&self, tx: &mut slipway_store::ReadTx, watched: &Watched, difference: &Difference) -> Result<bool, Error> {
        let log = refs::log(tx, watched.autobuild, &difference.name, LOG).await?;
        Ok(log.iter().any(|entry| entry.after == difference.after || entry.before == difference.after))
    }

    /// How old the last event of a ref has to be before a list is believed against it.
    pub(crate) fn grace(&self) -> Duration {
        GRACE.min(self.config.reconcile_interval)
    }

    /// Writes differences into the logs, in one transaction with their verdicts and builds; gives how many.
    async fn take_step(&self, look: &Look<'_>, step: &[Difference]) -> Result<usize, Error> {
        let watched = look.watched;
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let Some(autobuild) = still_watched(&mut tx, watched).await? else { return Ok(0) };
        let still = self.still_so(&mut tx, look, step).await?;
        if still.is_empty() {
            return Ok(0);
        }
        let rules = repositories::list_rules(&mut tx, autobuild.id).await?;
        let detail = format!("{} of `{}` that no delivery told", many(still.len()), watched.source_name);
        let entry = deliveries::insert_found(&mut tx, watched.autobuild, watched.repository, &detail, now).await?;
        let situation = Situation { autobuild: &autobuild, rules: &rules, delivery: entry, origin: &Origin::Reconcile, disabled: None };
        let mut verdicts: Vec<Verdict> = Vec::new();
        for difference in &still {
            let change = RefChange {
                name: difference.name.clone(),
                before: difference.before.clone(),
                after: difference.after.clone(),
                commit_message: None,
                author: None,
                pusher: None,
            };
            match self.decide_ref(&mut tx, &situation, &change, None).await? {
                Decision::Made(made) => verdicts.extend(made),
                Decision::Ask { .. } => return Err(Error::Internal("what the reconciler found is never doubtful")),
            }
        }
        deliveries::insert_verdicts(&mut tx, entry, &verdicts).await?;
        tx.commit().await?;
        self.announce_builds(&verdicts);
        metrics::counter!("slipway_reconcile_found_total").increment(still.len() as u64);
        tracing::info!(source = %watched.source_name, found = still.len(), "the reconciler found changes that no delivery told");
        Ok(still.len())
    }

    /// Those that nothing moved since they were compared.
    async fn still_so(&self, tx: &mut WriteTx, look: &Look<'_>, step: &[Difference]) -> Result<Vec<Difference>, Error> {
        let id = look.watched.autobuild;
        let young: BTreeSet<RefName> =
            refs::list_young(tx, id, look.began.minus(self.grace())).await?.into_iter().map(|(name, _)| name).collect();
        let mut still = Vec::new();
        for difference in step.iter().filter(|difference| !young.contains(&difference.name)) {
            if refs::head(tx, id, &difference.name).await?.map(|head| head.commit) == difference.before {
                still.push(difference.clone());
            }
        }
        Ok(still)
    }

    /// The source was seen: its name and look of today are kept, and what was wrong with it is right again.
    async fn see_source(&self, watched: &Watched, source: &SourceRepository) -> Result<(), Error> {
        let mut tx = self.write().await?;
        if still_watched(&mut tx, watched).await?.is_none() {
            return Ok(());
        }
        self.observe_source(&mut tx, watched.account, &watched.provider, source, crate::sources::Heads::Compared).await?;
        // It may have become private, or public.
        let key = SourceKey { id: &watched.source_id, full_name: &source.full_name };
        self.want_deploy_key(&mut tx, watched.account, &watched.provider, key, self.clock.now()).await?;
        self.release_deploy_key(&mut tx, watched.account, &watched.provider, &watched.source_id).await?;
        reconciling::set_problem(&mut tx, watched.autobuild, None, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }
}

fn many(changes: usize) -> String {
    if changes == 1 { "a change".to_owned() } else { format!("{changes} changes") }
}

#[cfg(test)]
mod tests {
    use slipway_forge::SourceRef;

    use super::*;

    fn commit(digit: char) -> CommitId {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn known(refs: &[(&str, char)]) -> BTreeMap<RefName, Head> {
        let head = |digit| Head { commit: commit(digit), seen_at: Timestamp::from_millis(0) };
        refs.iter().map(|(name, digit)| (name.parse().unwrap(), head(*digit))).collect()
    }

    fn heads(refs: &[(&str, char)], coverage: Coverage) -> Heads {
        let refs = refs.iter().map(|(name, digit)| SourceRef { name: name.parse().unwrap(), commit: commit(*digit) }).collect();
        Heads { refs, coverage }
    }

    fn shown(differences: &[Difference]) -> Vec<(String, State, State)> {
        differences.iter().map(|one| (one.name.to_string(), one.before.clone(), one.after.clone())).collect()
    }

    #[test]
    fn only_what_stands_elsewhere_is_a_difference_and_only_a_whole_list_removes() {
        let before = known(&[("refs/heads/main", 'a'), ("refs/tags/v1", 'b'), ("refs/heads/gone", 'c')]);
        let now = [("refs/heads/main", 'a'), ("refs/tags/v1", 'd'), ("refs/heads/new", 'e')];
        let (differences, fresh) = compare(&before, &heads(&now, Coverage::Part), false);
        let moved = ("refs/tags/v1".to_owned(), Some(commit('b')), Some(commit('d')));
        let new = ("refs/heads/new".to_owned(), None, Some(commit('e')));
        assert_eq!((shown(&differences), fresh), (vec![moved.clone(), new.clone()], Vec::new()));
        let (differences, _) = compare(&before, &heads(&now, Coverage::Whole), false);
        assert_eq!(shown(&differences), [moved.clone(), new, ("refs/heads/gone".to_owned(), Some(commit('c')), None)]);
        let (differences, fresh) = compare(&before, &heads(&now, Coverage::Part), true);
        assert_eq!((shown(&differences), fresh), (vec![moved], vec![("refs/heads/new".parse().unwrap(), commit('e'))]));
    }
}
