//! Where a told change of a ref belongs in the history of that ref: pure judgement, no database and no network.
//!
//! Deliveries come late, twice, in any order or never, and the reconciler finds changes whose deliveries are still on their way. Three things
//! hold whatever comes: the newest state of a ref is built in the end, no push is built twice, and no tag goes back to an older push.
//! What continues from the ref's head, with nothing doubtful in its recent history, is decided at once. Everything else is first compared
//! with where the ref stands at the provider ([`Truth`]); only when nobody can tell, the log alone decides.
//! Deliberately elsewhere: reading and writing the log (`store::refs`), asking (`receive`), rules and builds (`matching`).

use std::time::Duration;

use slipway_model::{CommitId, RefEventId, Timestamp};
use slipway_store::refs::{LogEntry, Origin};

/// No delivery comes later than this: providers send again for three days.
const LATE: Duration = Duration::from_secs(4 * 24 * 3600);

/// Where a ref stands: a commit, or nowhere when it does not exist.
pub(crate) type State = Option<CommitId>;

/// What the provider says of where the ref stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Truth {
    /// It was not asked.
    NotAsked,
    /// It was asked and did not say.
    Unknown,
    /// It said so.
    Is(State),
}

/// The recent history of a ref.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// What deliveries told and the reconciler found, oldest first.
    pub(crate) log: Vec<LogEntry>,
    /// Where the ref stood last; `None` while the source was never looked at and no delivery told of the ref.
    pub(crate) head: Option<State>,
}

/// What a told change is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The newest: the ref's head goes where it went.
    New {
        /// Whether it does not continue from the head.
        skips: bool,
    },
    /// The reconciler had found it, or what it led to.
    Found(Found),
    /// A push that was told before continues from it.
    Overtaken {
        /// Its place in the ref's history.
        place: u64,
    },
    /// The ref stands elsewhere at the provider, and nothing says where this push belongs.
    Outdated {
        /// Where it stands.
        stands: State,
    },
    /// The provider has to be asked.
    Doubtful,
}

/// The reconciler's event that answers a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The event.
    pub(crate) event: RefEventId,
    /// When it was found.
    pub(crate) at: Timestamp,
    /// Where it went.
    pub(crate) state: State,
    /// Whether the delivery tells of exactly that, or of a step on the way there.
    pub(crate) step: Step,
    /// The place of the delivery in the ref's history.
    pub(crate) place: u64,
}

/// Which part of a found change a delivery tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// One that others followed.
    Between,
    /// The last.
    Last,
}

/// How many deliveries an event of the reconciler may answer with where it went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// One: the next one that goes there may be another push.
    One,
    /// Any: they are known to be old.
    Any,
}

/// What is asked for before a push gets a place among older ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// An event continues from it.
    OneSide,
    /// It continues from the one before that, too.
    BothSides,
}

impl History {
    /// What a change from `before` to `after` is.
    pub(crate) fn judge(&self, before: &State, after: &State, truth: &Truth, now: Timestamp) -> Standing {
        let Some(head) = &self.head else { return Standing::New { skips: false } };
        let new = Standing::New { skips: before != head };
        if let Some(found) = self.found_last(head, after) {
            return Standing::Found(found);
        }
        if before == head && !self.is_doubtful(before, after, now) {
            return new;
        }
        match truth {
            Truth::NotAsked => Standing::Doubtful,
            Truth::Is(stands) if stands != after => {
                // It is old. Whatever was found on its way there was built, and is not built again.
                let found = self.find(before, after, Answers::Any, now).map(Standing::Found);
                found.or_else(|| self.overtaken(before, after, Proof::BothSides)).unwrap_or(Standing::Outdated { stands: stands.clone() })
            }
            // Where the ref stands already something was built: perhaps for this very push.
            Truth::Is(_) if head == after => self.find(before, after, Answers::One, now).map_or(new, Standing::Found),
            Truth::Is(_) => new,
            Truth::Unknown => match self.find(before, after, Answers::One, now) {
                Some(found) => Standing::Found(found),
                // A head that it continues from says more than an old event that it would fit too.
                None if before == head => new,
                None => self.overtaken(before, after, Proof::OneSide).unwrap_or(new),
            },
        }
    }

    /// The newest that we know is what the reconciler found, and the change went just there: nothing is left to be built.
    fn found_last(&self, head: &State, after: &State) -> Option<Found> {
        let last = self.in_order().next_back()?;
        (last.origin == Origin::Reconcile && last.after == *after && head == after).then(|| found(last, after))
    }

    /// The events that moved the head, in order.
    fn in_order(&self) -> impl DoubleEndedIterator<Item = &LogEntry> {
        self.log.iter().filter(|entry| entry.place.is_none() && entry.covered_by.is_none())
    }

    fn covered_by(&self, event: RefEventId) -> impl Iterator<Item = &LogEntry> {
        self.log.iter().filter(move |entry| entry.covered_by == Some(event))
    }

    /// Whether something of the recent history leaves more than one way to read the change.
    fn is_doubtful(&self, before: &State, after: &State, now: Timestamp) -> bool {
        let recent = |entry: &&LogEntry| now.since(entry.at) < LATE;
        let skipped = |entry: &LogEntry| match entry.origin {
            Origin::Reconcile => !self.is_bridged(entry),
            _ => entry.skips,
        };
        let gap = self.in_order().filter(recent).any(skipped);
        // The ref was there before, or it was where it starts from more than once: it may be an old push of that time.
        let last = self.in_order().next_back().map(|entry| entry.id);
        let mentions = |entry: &LogEntry, state: &State| entry.before == *state || (entry.after == *state && Some(entry.id) != last);
        let again = |state: &State| self.log.iter().filter(recent).any(|entry| mentions(entry, state));
        // Removing a ref builds nothing: should it be an old removal, the next look finds the ref.
        gap || again(before) || (after.is_some() && again(after))
    }

    /// Whether deliveries told of the whole way that the reconciler's event went.
    fn is_bridged(&self, event: &LogEntry) -> bool {
        let steps: Vec<_> = self.covered_by(event.id).collect();
        let mut reached = vec![&event.before];
        let mut next = 0;
        while let Some(state) = reached.get(next).copied() {
            for step in &steps {
                if step.before == *state && !reached.contains(&&step.after) {
                    reached.push(&step.after);
                }
            }
            next += 1;
        }
        reached.contains(&&event.after)
    }

    /// The reconciler's event that had found the change: best the one that went exactly so, then one that went there, then one that passed by.
    fn find(&self, before: &State, after: &State, answers: Answers, now: Timestamp) -> Option<Found> {
        let candidates = || {
            let recent = self.log.iter().rev().filter(|entry| entry.origin == Origin::Reconcile && now.since(entry.at) < LATE);
            recent.filter(|entry| entry.place.is_none())
        };
        let open = |event: &LogEntry| answers == Answers::Any || !self.covered_by(event.id).any(|step| step.after == event.after);
        let exactly = |event: &&LogEntry| event.after == *after && event.before == *before && open(event);
        let there = |event: &&LogEntry| event.after == *after && open(event);
        let passing = |event: &&LogEntry| {
            let leaves = event.before == *before || self.covered_by(event.id).any(|step| step.after == *before);
            (leaves && open(event)) || self.covered_by(event.id).any(|step| step.before == *after)
        };
        let event = candidates().find(exactly).or_else(|| candidates().find(there)).or_else(|| candidates().find(passing))?;
        Some(found(event, after))
    }

    /// A push that another event continues from stands just before that one, when the event before it leads there: it fills the gap. When
    /// nobody can tell more, the event that continues from it is enough.
    fn overtaken(&self, before: &State, after: &State, proof: Proof) -> Option<Standing> {
        let newest = self.in_order().next_back()?;
        if after.is_none() || newest.after == *before {
            return None;
        }
        let continued = self.log.iter().find(|entry| entry.before == *after)?;
        let is_in_order = continued.place.is_none() && continued.covered_by.is_none();
        // With nothing told before it there is nothing that it could be older than. That the ref did not exist before proves nothing.
        let fills = || match self.in_order().take_while(|entry| entry.id != continued.id).last() {
            None => is_in_order,
            Some(earlier) => is_in_order && before.is_some() && earlier.after == *before,
        };
        let place = continued.place.unwrap_or(continued.seq).saturating_sub(1);
        (proof == Proof::OneSide || fills()).then_some(Standing::Overtaken { place })
    }
}

fn found(event: &LogEntry, after: &State) -> Found {
    let (step, place) = if event.after == *after { (Step::Last, event.seq) } else { (Step::Between, event.seq.saturating_sub(1)) };
    Found { event: event.id, at: event.at, state: event.after.clone(), step, place }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
