//! Applies the rules to one change of one ref: one verdict per rule, one build per match, one entry in the ref's log.
//!
//! Invariant: the entry, the verdicts and the builds are written in the caller's transaction, with the source's logs locked before they are
//! read. Deliberately elsewhere: where the change belongs in the ref's history (`history`), what the provider says of it (`receive`),
//! and pull requests (`pull_requests`).

use slipway_forge::RefChange;
use slipway_model::{AccountId, Autotest, BuildRule, CommitId, DeliveryId, ImageTag, RefEventId, RefKind, RefName, VerdictOutcome};
use slipway_store::WriteTx;
use slipway_store::builds::{self, NewBuild, Terms};
use slipway_store::deliveries::Verdict;
use slipway_store::reconciling;
use slipway_store::refs::{self, NewRefEvent};
use slipway_store::repositories::Autobuild;

use crate::history::{Found, History, Standing, State, Step, Truth};
use crate::superseded::Superseding;
use crate::{App, Error, skip};

/// As much of a ref's log as is judged by.
const LOG: u32 = 100;

/// Why a change is looked at.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A delivery told of it.
    Delivery,
    /// A person wants a delivery decided again.
    Replay(AccountId),
    /// The reconciler found it.
    Reconcile,
}

impl Origin {
    fn cause(&self) -> &'static str {
        match self {
            Self::Delivery => "push",
            Self::Replay(_) => "replay",
            Self::Reconcile => "reconcile",
        }
    }
}

/// What a push meets.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) autobuild: &'a Autobuild,
    pub(crate) rules: &'a [BuildRule],
    /// The delivery, or the reconciler's entry beside them.
    pub(crate) delivery: DeliveryId,
    pub(crate) origin: &'a Origin,
    /// Why nothing may be built, whatever the rules say.
    pub(crate) disabled: Option<&'static str>,
}

/// What came out for a change.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is decided.
    Made(Vec<Verdict>),
    /// The provider has to be asked first where the ref stands. `seq` is the newest number in the ref's log: an answer is good for that log.
    Ask {
        /// That number.
        seq: u64,
    },
}

/// What the provider said.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The newest number in the ref's log when it was asked: once the log went on, the answer is worth nothing. `None`: good for any log.
    pub(crate) seq: Option<u64>,
    pub(crate) truth: Truth,
}

/// How a change enters the ref's log.
struct Entry {
    origin: refs::Origin,
    place: Option<u64>,
    covered_by: Option<RefEventId>,
    skips: bool,
}

impl Entry {
    fn placed(origin: refs::Origin, place: u64) -> Self {
        Self { origin, place: Some(place), covered_by: None, skips: false }
    }
}

/// A change that has its place in the ref's history.
struct Placed<'a> {
    change: &'a RefChange,
    event: RefEventId,
    place: u64,
}

pub(crate) fn kind(kind: RefKind) -> &'static str {
    match kind {
        RefKind::Branch => "branch",
        RefKind::Tag => "tag",
        RefKind::PullRequest => "pull request",
    }
}

/// "branch `main`", "pull request #7"
pub(crate) fn in_words(name: &RefName) -> String {
    match name.pull_request_number() {
        Some(number) => format!("pull request #{number}"),
        None => format!("{} `{}`", kind(name.kind()), name.short()),
    }
}

fn state_in_words(state: &State) -> String {
    state.as_ref().map_or_else(|| "is gone".to_owned(), |commit| format!("stands at {}", commit.short()))
}

impl App {
    /// Decides about a change, or says that the provider has to be asked first.
    pub(crate) async fn decide_ref(
        &self,
        tx: &mut WriteTx,
        situation: &Situation<'_>,
        change: &RefChange,
        answer: Option<&Answer>,
    ) -> Result<Decision, Error> {
        if let Some(why) = situation.disabled {
            // Nothing is told to the log: the reconciler finds what was missed when the link is enabled again.
            return Ok(Decision::Made(vec![self.verdict(
                change,
                None,
                VerdictOutcome::Disabled,
                format!("{why}, and what was missed is found"),
            )]));
        }
        let autobuild = situation.autobuild.id;
        refs::lock(tx, autobuild).await?;
        if let Origin::Replay(_) = situation.origin {
            // One that was decided before keeps the place that it got then; one that never was is decided as if it came now.
            if let Some(place) = refs::place_of_delivery(tx, situation.delivery, autobuild, &change.name).await? {
                let (event, _) = self.append(tx, situation, change, &Entry::placed(refs::Origin::Replay, place)).await?;
                return Ok(Decision::Made(self.build(tx, situation, &Placed { change, event, place }).await?));
            }
        }
        let (standing, seq) = match situation.origin {
            Origin::Reconcile => (Standing::New { skips: false }, 0),
            _ => self.judge(tx, situation, change, answer).await?,
        };
        let told = match situation.origin {
            Origin::Reconcile => refs::Origin::Reconcile,
            _ => refs::Origin::Delivery,
        };
        let made = match standing {
            Standing::Doubtful => return Ok(Decision::Ask { seq }),
            Standing::New { skips } => {
                let (event, place) =
                    self.append(tx, situation, change, &Entry { origin: told, place: None, covered_by: None, skips }).await?;
                self.build(tx, situation, &Placed { change, event, place }).await?
            }
            Standing::Overtaken { place } => {
                let (event, _) = self.append(tx, situation, change, &Entry::placed(told, place)).await?;
                self.build(tx, situation, &Placed { change, event, place }).await?
            }
            Standing::Found(found) => {
                let entry = Entry { covered_by: Some(found.event), ..Entry::placed(told, found.place) };
                self.append(tx, situation, change, &entry).await?;
                self.found_before(tx, situation, change, &found).await?
            }
            Standing::Outdated { stands } => {
                self.append(tx, situation, change, &Entry::placed(told, 0)).await?;
                // Should the provider have told the ref's state of a moment ago, the reconciler finds the push.
                reconciling::hurry(tx, autobuild, self.clock.now().plus(crate::reconcile::SOON)).await?;
                let text = format!(
                    "{} {} at the provider by now: this push was overtaken on its way, and is not built",
                    in_words(&change.name),
                    state_in_words(&stands)
                );
                vec![self.verdict(change, None, VerdictOutcome::Skipped, text)]
            }
        };
        Ok(Decision::Made(made))
    }

    async fn judge(
        &self,
        tx: &mut WriteTx,
        situation: &Situation<'_>,
        change: &RefChange,
        answer: Option<&Answer>,
    ) -> Result<(Standing, u64), Error> {
        let autobuild = situation.autobuild.id;
        let log = refs::log(tx, autobuild, &change.name, LOG).await?;
        let seq = log.last().map_or(0, |entry| entry.seq);
        let stands = refs::head(tx, autobuild, &change.name).await?.map(|head| head.commit);
        let known =
            stands.is_some() || log.iter().any(|entry| entry.place.is_none()) || reconciling::checked_at(tx, autobuild).await?.is_some();
        let truth =
            answer.filter(|answer| answer.seq.is_none_or(|asked| asked == seq)).map_or(Truth::NotAsked, |answer| answer.truth.clone());
        let history = History { log, head: known.then_some(stands) };
        Ok((history.judge(&change.before, &change.after, &truth, self.clock.now()), seq))
    }

    async fn append(
        &self,
        tx: &mut WriteTx,
        situation: &Situation<'_>,
        change: &RefChange,
        entry: &Entry,
    ) -> Result<(RefEventId, u64), Error> {
        let event = NewRefEvent {
            autobuild: situation.autobuild.id,
            name: &change.name,
            before: change.before.as_ref(),
            after: change.after.as_ref(),
            origin: entry.origin,
            delivery: Some(situation.delivery),
            place: entry.place,
            covered_by: entry.covered_by,
            skips: entry.skips,
        };
        Ok(refs::insert(tx, &event, self.clock.now()).await?)
    }

    /// A verdict per rule, and the builds.
    async fn build(&self, tx: &mut WriteTx, situation: &Situation<'_>, placed: &Placed<'_>) -> Result<Vec<Verdict>, Error> {
        let change = placed.change;
        let Some(commit) = &change.after else {
            let text = format!("{} was deleted; there is nothing to build, and tags that it gave stay", in_words(&change.name));
            return Ok(vec![self.verdict(change, None, VerdictOutcome::Skipped, text)]);
        };
        let marker = skip::marker(change, situation.origin);
        let mut verdicts = Vec::with_capacity(situation.rules.len());
        for rule in situation.rules {
            verdicts.push(match (self.matching(situation, rule, change), marker) {
                (Ok(tags), None) => self.build_one(tx, situation, placed, commit, (rule, &tags)).await?,
                (Ok(_), Some(marker)) => {
                    let text =
                        format!("{} at {} is not built: its commit's message says `{marker}`", in_words(&change.name), commit.short());
                    self.verdict(change, Some(rule), VerdictOutcome::Skipped, text)
                }
                (Err(verdict), _) => verdict,
            });
        }
        Ok(verdicts)
    }

    /// The tags that the rule makes of the ref, or its verdict that it makes none.
    fn matching(&self, situation: &Situation<'_>, rule: &BuildRule, change: &RefChange) -> Result<Vec<ImageTag>, Verdict> {
        let what = in_words(&change.name);
        if !rule.is_for(&change.name) {
            let text = format!("the rule builds {}, this is {what}", rule.describe());
            return Err(self.verdict(change, Some(rule), VerdictOutcome::NoMatch, text));
        }
        if !rule.autobuild && situation.autobuild.autotest == Autotest::Off {
            let text = format!("the rule matches {what}, but its autobuild is switched off, and so is autotest");
            return Err(self.verdict(change, Some(rule), VerdictOutcome::Disabled, text));
        }
        // Of a ref that is gone nothing is built, and so no tag made.
        let matched = change.after.as_ref().and_then(|commit| rule.matches(&change.name, commit, self.clock.now()));
        match matched.map(|matched| matched.tags) {
            Some(tags) if tags.is_empty() => {
                let text = format!("the rule matches {what}, but {}", rule.gives_no_tag(&change.name));
                Err(self.verdict(change, Some(rule), VerdictOutcome::Refused, text))
            }
            tags => Ok(tags.unwrap_or_default()),
        }
    }

    async fn build_one(
        &self,
        tx: &mut WriteTx,
        situation: &Situation<'_>,
        placed: &Placed<'_>,
        commit: &CommitId,
        (rule, tags): (&BuildRule, &[ImageTag]),
    ) -> Result<Verdict, Error> {
        let change = placed.change;
        let terms = Terms { publish: rule.autobuild, ..Terms::of_push() };
        let new = NewBuild {
            repository: situation.autobuild.repository,
            autobuild: situation.autobuild.id,
            rule,
            ref_event: placed.event,
            provider: &situation.autobuild.provider,
            source_id: &situation.autobuild.source_id,
            source_name: &situation.autobuild.source_name,
            source_ref: &change.name,
            ref_seq: placed.place,
            commit,
            commit_message: change.commit_message.as_deref(),
            commit_author: change.author.as_deref(),
            tags,
            no_cache: !rule.cache,
            terms: &terms,
            cause: situation.origin.cause(),
            started_by: if let Origin::Replay(account) = situation.origin { Some(*account) } else { None },
            retry_of: None,
        };
        let Some((id, number)) = builds::insert(tx, &new, self.clock.now()).await? else {
            return Ok(self.verdict(change, Some(rule), VerdictOutcome::Skipped, "this push was built by the rule already".to_owned()));
        };
        let names: Vec<&str> = tags.iter().map(ImageTag::as_str).collect();
        let by = if let Origin::Reconcile = situation.origin { "found by the reconciler: " } else { "" };
        let what = format!("{by}{} at {}", in_words(&change.name), commit.short());
        let superseding = match situation.origin {
            Origin::Delivery | Origin::Reconcile if situation.autobuild.cancel_superseded => self.supersede(tx, id, &change.name).await?,
            _ => Superseding::Older(Vec::new()),
        };
        let (outcome, text) = match superseding {
            Superseding::Itself(why) => (VerdictOutcome::Skipped, format!("{what} came late, #{number} is {why}")),
            Superseding::Older(older) => {
                let older: String = older.iter().map(|older| format!("; #{older} waited still and is cancelled")).collect();
                let purpose = if terms.publish {
                    names.join(", ")
                } else {
                    "its tests alone, because the rule's autobuild is switched off".to_owned()
                };
                (VerdictOutcome::Built, format!("{what} is built as #{number} for {purpose}{older}"))
            }
        };
        Ok(Verdict { build: Some(id), ..self.verdict(change, Some(rule), outcome, text) })
    }

    /// The reconciler was faster: each rule says which build that gave.
    async fn found_before(
        &self,
        tx: &mut WriteTx,
        situation: &Situation<'_>,
        change: &RefChange,
        found: &Found,
    ) -> Result<Vec<Verdict>, Error> {
        let what = match (&found.state, found.step) {
            (_, Step::Last) => format!("the reconciler had found this push at {}", found.at),
            (None, Step::Between) => format!("the ref was deleted after it, which the reconciler had found at {}", found.at),
            (Some(commit), Step::Between) => {
                format!("it was followed by {}, which the reconciler had found at {}", commit.short(), found.at)
            }
        };
        if found.state.is_none() {
            return Ok(vec![self.verdict(change, None, VerdictOutcome::Skipped, format!("{what}; there is nothing to build"))]);
        }
        let mut verdicts = Vec::with_capacity(situation.rules.len());
        for rule in situation.rules {
            if let Err(verdict) = self.matching(situation, rule, change) {
                verdicts.push(verdict);
                continue;
            }
            verdicts.push(match builds::answer_of(tx, rule.id, found.event).await? {
                Some((id, number)) => {
                    let outcome = if found.step == Step::Last { VerdictOutcome::Built } else { VerdictOutcome::Skipped };
                    Verdict { build: Some(id), ..self.verdict(change, Some(rule), outcome, format!("{what}: built as #{number}")) }
                }
                None => self.verdict(change, Some(rule), VerdictOutcome::Skipped, format!("{what}; the rule was not there then")),
            });
        }
        Ok(verdicts)
    }

    fn verdict(&self, change: &RefChange, rule: Option<&BuildRule>, outcome: VerdictOutcome, text: String) -> Verdict {
        Verdict {
            at: self.clock.now(),
            rule_id: rule.map(|rule| rule.id),
            rule: rule.map(BuildRule::describe).unwrap_or_default(),
            source_ref: change.name.to_string(),
            outcome,
            text,
            build: None,
        }
    }
}
