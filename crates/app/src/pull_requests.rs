//! Pull requests: from what a delivery says of one to a verdict per rule and the builds that test it, and the approval of what strangers wrote.
//!
//! Invariants: what is built is the head commit of the pull request, under the rules and settings that we store, never under anything that it
//! brings along; nothing of it is pushed. Trusted is only what comes from a branch of the source repository itself, by its id. An approval is
//! one of exactly one commit: it is refused once the pull request went on, and what waited for it is cancelled by the next push. A delivery
//! says how the pull request stands, so one that comes late changes nothing.
//! Deliberately elsewhere: pull requests that no delivery told of (`untold`), settings that change while something waits (`covered`), pushes (`matching`), on which terms a builder gets a build (`claims`, `source_access`, `registry_auth`).

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use slipway_forge::{Forge, ForgeError, PullRequestChange, PullRequestHead, PullRequestOrigin, PullRequestStanding, SourceKey};
use slipway_model::{
    AccountId, Approval, Autotest, BuildId, BuildRule, CommitId, DeliveryId, FailureCode, FailureReason, ImageTag, Lane,
    PullRequest, RefName, SourceType, VerdictOutcome,
};
use slipway_store::builds::{self, Build, NewBuild, Terms, WaitingOf};
use slipway_store::deliveries::{self, Delivery, Verdict};
use slipway_store::pull_requests::{self, PullRequestState};
use slipway_store::refs::{self, NewRefEvent};
use slipway_store::repositories::{self, Autobuild};
use slipway_store::WriteTx;

use crate::audit::{self, Change, Place};
use crate::links::access::SourceAt;
use crate::matching::{Origin, in_words};
use crate::receive::{Begun, no_use_of_links};
use crate::{App, Error, RepositoryWrite};

/// A pull request as a delivery or a list told of it, with all that its verdicts need.
pub(crate) struct Told<'a> {
    pub(crate) autobuild: &'a Autobuild,
    pub(crate) delivery: DeliveryId,
    pub(crate) origin: &'a Origin,
    pub(crate) change: &'a PullRequestChange,
    pub(crate) name: RefName,
    /// Why nothing may be built, whatever the settings say.
    pub(crate) disabled: Option<&'static str>,
}

/// What is new of a pull request that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// It was opened, or opened again.
    Opened,
    /// It has other commits.
    Commits,
    /// It goes into another branch.
    Retargeted,
    /// Nothing that makes a difference to builds.
    Nothing,
}

pub(crate) fn news(known: Option<&PullRequestState>, head: &CommitId, base: &RefName) -> News {
    match known {
        None => News::Opened,
        Some(known) if !known.is_open => News::Opened,
        Some(known) if known.base != *base => News::Retargeted,
        Some(known) if known.head != *head => News::Commits,
        Some(_) => News::Nothing,
    }
}

/// "; #3 waited still and is cancelled"
fn cancelled_in_words(cancelled: &[(BuildId, u64)]) -> String {
    cancelled.iter().map(|(_, number)| format!("; #{number} waited still and is cancelled")).collect()
}

/// Whether a rule of pull requests has those into this branch for itself.
fn left_to<'a>(rules: &'a [BuildRule], base: &RefName) -> Option<&'a BuildRule> {
    rules.iter().find(|rule| rule.source_type == SourceType::PullRequest && rule.listens_to_pull_requests_into(base))
}

impl App {
    /// Decides about a delivery that tells of a pull request.
    pub(crate) async fn process_pull_request(
        &self,
        delivery: &Delivery,
        origin: &Origin,
        repository_id: &str,
        change: &PullRequestChange,
    ) -> Result<(), Error> {
        let head = self.whole_head(delivery, repository_id, change).await?;
        let Some(Begun { mut tx, autobuild, account, rules }) = self.begin(delivery, origin, repository_id).await? else { return Ok(()) };
        refs::lock(&mut tx, autobuild.id).await?;
        // Under the lock, once more: who changes the settings looks only once through what waits. What has become of another source meanwhile
        // is decided anew.
        let settings = repositories::get_autobuild_by_id(&mut tx, autobuild.id).await?;
        let Some(autobuild) = settings.filter(|settings| settings.source_id == repository_id) else { return Ok(()) };
        let disabled = no_use_of_links(&mut tx, account, &autobuild.provider).await?;
        let name = RefName::pull_request(change.number);
        let told = Told { autobuild: &autobuild, delivery: delivery.id, origin, change, name, disabled };
        let verdicts = match (change.standing, head) {
            (PullRequestStanding::Open, Ok(head)) => self.opened_or_changed(&mut tx, &told, &rules, &head).await?,
            (PullRequestStanding::Open, Err(why)) => {
                // What would not be tested anyhow is told as that.
                let said = not_tested(&told).map(|(outcome, why)| (outcome, format!("{} {why}", in_words(&told.name))));
                let (outcome, why) = said.unwrap_or((VerdictOutcome::Refused, why));
                vec![self.pull_request_verdict(&told, outcome, why)]
            }
            (PullRequestStanding::Merged | PullRequestStanding::Closed, head) => self.closed(&mut tx, &told, head.ok()).await?,
        };
        deliveries::insert_verdicts(&mut tx, delivery.id, &verdicts).await?;
        tx.commit().await?;
        self.announce_builds(&verdicts);
        Ok(())
    }

    /// The whole id of the head. Where the provider writes only its first digits, the branch that it comes from says the rest.
    async fn whole_head(
        &self,
        delivery: &Delivery,
        repository_id: &str,
        change: &PullRequestChange,
    ) -> Result<Result<CommitId, String>, Error> {
        let digits = match &change.head {
            PullRequestHead::Commit(commit) => return Ok(Ok(commit.clone())),
            PullRequestHead::Abbreviated(digits) => digits,
        };
        let what = in_words(&RefName::pull_request(change.number));
        let Some(branch) = change.kept_at.as_ref().filter(|_| change.standing == PullRequestStanding::Open) else {
            return Ok(Err(not_kept(change)));
        };
        let mut tx = self.read().await?;
        let autobuild = repositories::get_autobuild(&mut tx, delivery.repository).await?.filter(|found| found.source_id == repository_id);
        let account = repositories::get(&mut tx, delivery.repository).await?.map(|repository| repository.account);
        drop(tx);
        let (Some(autobuild), Some(account)) = (autobuild, account) else { return Ok(Err("its source is another one by now".to_owned())) };
        let source = SourceAt::of(account, &autobuild);
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let found = forge.source_repository_by_id(&token, kept_by(change, source.key)).await?.ok_or(ForgeError::NotFound)?;
            forge.resolve(&token, &found.full_name, branch).await
        };
        Ok(match self.with_source(source, look).await {
            Ok(acted) => match acted.value {
                Some(commit) if commit.as_str().starts_with(digits.as_str()) => Ok(commit),
                _ => Err(format!("{what} told of {digits}, which its {} has left by now", in_words(branch))),
            },
            Err(trouble) => {
                let trouble = trouble.words;
                Err(format!(
                    "{what} told of {digits} and of no whole commit, which could not be asked for: {trouble}; replay this delivery"
                ))
            }
        })
    }

    pub(crate) async fn opened_or_changed(
        &self,
        tx: &mut WriteTx,
        told: &Told<'_>,
        rules: &[BuildRule],
        head: &CommitId,
    ) -> Result<Vec<Verdict>, Error> {
        let (change, autobuild) = (told.change, told.autobuild);
        let known = pull_requests::get(tx, autobuild.id, change.number).await?;
        let what = in_words(&told.name);
        let only = |outcome, text: String| Ok(vec![self.pull_request_verdict(told, outcome, text)]);
        let news = news(known.as_ref(), head, &change.base);
        let mut cancelled = Vec::new();
        let state = PullRequestState {
            number: change.number,
            head: head.clone(),
            base: change.base.clone(),
            is_open: true,
            changed_at: change.changed_at,
        };
        if let Origin::Replay(_) = told.origin {
            // What it says may be built once more, but it is no news.
            if let Some(known) = known.as_ref().filter(|_| news != News::Nothing) {
                let stands =
                    if known.is_open { format!("stands at {}, into", known.head.short()) } else { "is closed, was into".to_owned() };
                return only(VerdictOutcome::Skipped, format!("{what} {stands} {} by now", in_words(&known.base)));
            }
        } else if let Some(known) = known.as_ref().filter(|known| known.changed_at > change.changed_at) {
            let text = format!("{what} came late: it was told before how it stands since {}", known.changed_at);
            return only(VerdictOutcome::Skipped, text);
        } else {
            cancelled = self.cancel_obsolete(tx, told, news, head).await?;
            pull_requests::set(tx, autobuild.id, &state).await?;
            if news == News::Nothing {
                return only(VerdictOutcome::Skipped, format!("{what} is as it was told before, at {}", head.short()));
            }
        }
        if known.is_none() {
            pull_requests::set(tx, autobuild.id, &state).await?;
        }
        let before = known.as_ref().filter(|known| known.is_open).map(|known| &known.head);
        let event = self.append_pull_request(tx, told, before, Some(head)).await?;
        if let Some((outcome, why)) = not_tested(told) {
            return only(outcome, format!("{what} at {} {why}{}", head.short(), cancelled_in_words(&cancelled)));
        }
        let mut verdicts = Vec::with_capacity(rules.len());
        for rule in rules {
            verdicts.push(match self.matching_pull_request(told, rules, rule, head) {
                Ok(tags) => self.test_pull_request(tx, told, event, head, (rule, &tags), &cancelled).await?,
                Err(verdict) => verdict,
            });
        }
        Ok(verdicts)
    }

    pub(crate) async fn closed(&self, tx: &mut WriteTx, told: &Told<'_>, head: Option<CommitId>) -> Result<Vec<Verdict>, Error> {
        let (change, autobuild) = (told.change, told.autobuild);
        let known = pull_requests::get(tx, autobuild.id, change.number).await?;
        let how = if change.standing == PullRequestStanding::Merged { "merged" } else { "closed" };
        let what = in_words(&told.name);
        if let Some(known) = known.as_ref().filter(|known| known.changed_at > change.changed_at) {
            let text = format!("{what} was {how}, which came late: it was told before how it stands since {}", known.changed_at);
            return Ok(vec![self.pull_request_verdict(told, VerdictOutcome::Skipped, text)]);
        }
        let reason = FailureReason::new(FailureCode::PullRequestClosed, format!("{what} was {how} while it waited"));
        let now = self.clock.now();
        let cancelled = builds::cancel_waiting(tx, autobuild.id, Some(&told.name), WaitingOf::Everybody, &reason, now).await?;
        if let Some(head) = head.or(known.as_ref().map(|known| known.head.clone())) {
            let state =
                PullRequestState { number: change.number, head, base: change.base.clone(), is_open: false, changed_at: change.changed_at };
            pull_requests::set(tx, autobuild.id, &state).await?;
        }
        if let Some(before) = known.filter(|known| known.is_open).map(|known| known.head) {
            self.append_pull_request(tx, told, Some(&before), None).await?;
        }
        let text = format!("{what} was {how}; there is nothing to build{}", cancelled_in_words(&cancelled));
        Ok(vec![self.pull_request_verdict(told, VerdictOutcome::Skipped, text)])
    }

    /// Cancels what waited for a commit or a branch that the pull request has left. Approval is one of a commit, so what waits for it never
    /// outlives a push, whatever the settings say of superseded builds.
    async fn cancel_obsolete(&self, tx: &mut WriteTx, told: &Told<'_>, news: News, head: &CommitId) -> Result<Vec<(BuildId, u64)>, Error> {
        let (autobuild, what) = (told.autobuild, in_words(&told.name));
        let (which, text) = match news {
            News::Opened | News::Nothing => return Ok(Vec::new()),
            News::Retargeted => (WaitingOf::Deliveries, format!("{what} goes into {} by now", in_words(&told.change.base))),
            News::Commits => {
                let which = if autobuild.cancel_superseded { WaitingOf::Deliveries } else { WaitingOf::Unapproved };
                (which, format!("superseded by {}, a newer commit of {what}", head.short()))
            }
        };
        let reason = FailureReason::new(FailureCode::Superseded, text);
        Ok(builds::cancel_waiting(tx, autobuild.id, Some(&told.name), which, &reason, self.clock.now()).await?)
    }

    async fn append_pull_request(
        &self,
        tx: &mut WriteTx,
        told: &Told<'_>,
        before: Option<&CommitId>,
        after: Option<&CommitId>,
    ) -> Result<Event, Error> {
        let event = NewRefEvent {
            autobuild: told.autobuild.id,
            name: &told.name,
            before,
            after,
            origin: if let Origin::Replay(_) = told.origin { refs::Origin::Replay } else { refs::Origin::PullRequest },
            delivery: Some(told.delivery),
            place: None,
            covered_by: None,
            skips: false,
        };
        let (id, seq) = refs::insert(tx, &event, self.clock.now()).await?;
        Ok(Event { id, seq })
    }

    /// The tags that an image of the base branch would have under the rule, or its verdict that it does not look at this pull request.
    fn matching_pull_request(
        &self,
        told: &Told<'_>,
        rules: &[BuildRule],
        rule: &BuildRule,
        head: &CommitId,
    ) -> Result<Vec<ImageTag>, Verdict> {
        let base = &told.change.base;
        let no_match = |text: String| {
            let verdict = self.pull_request_verdict(told, VerdictOutcome::NoMatch, text);
            Verdict { rule_id: Some(rule.id), rule: rule.describe(), ..verdict }
        };
        let what = format!("{} into {}", in_words(&told.name), in_words(base));
        let Some(matched) = rule.matches_pull_request(base, head, self.clock.now()) else {
            return Err(no_match(format!("the rule builds {}, this is {what}", rule.describe())));
        };
        match left_to(rules, base) {
            Some(other) if rule.source_type == SourceType::Branch => {
                Err(no_match(format!("{what} is left to the rule {}", other.describe())))
            }
            _ if matched.tags.is_empty() => {
                let text = format!("the rule matches {what}, but {}", rule.gives_no_tag(base));
                let verdict = self.pull_request_verdict(told, VerdictOutcome::Refused, text);
                Err(Verdict { rule_id: Some(rule.id), rule: rule.describe(), ..verdict })
            }
            _ => Ok(matched.tags),
        }
    }

    async fn test_pull_request(
        &self,
        tx: &mut WriteTx,
        told: &Told<'_>,
        event: Event,
        head: &CommitId,
        (rule, tags): (&BuildRule, &[ImageTag]),
        cancelled: &[(BuildId, u64)],
    ) -> Result<Verdict, Error> {
        let terms = terms(told);
        let (cause, started_by) = match told.origin {
            Origin::Replay(by) => ("replay", Some(*by)),
            Origin::Delivery | Origin::Reconcile => ("pull_request", None),
        };
        let new = NewBuild {
            repository: told.autobuild.repository,
            autobuild: told.autobuild.id,
            rule,
            ref_event: event.id,
            provider: &told.autobuild.provider,
            source_id: &told.autobuild.source_id,
            source_name: &told.autobuild.source_name,
            source_ref: &told.name,
            ref_seq: event.seq,
            commit: head,
            commit_message: None,
            commit_author: None,
            tags,
            no_cache: !rule.cache,
            terms: &terms,
            cause,
            started_by,
            retry_of: None,
        };
        let (id, number) = builds::insert(tx, &new, self.clock.now()).await?.ok_or(Error::Internal("a new ref event has no build yet"))?;
        let waits = if terms.await_approval() { ", which waits for the approval of somebody who may write" } else { "" };
        let whose = if terms.lane == Lane::Untrusted { "from another repository " } else { "" };
        let text = format!(
            "{} {whose}at {} is tested as #{number} for {}{waits}{}",
            in_words(&told.name),
            head.short(),
            in_words(&told.change.base),
            cancelled_in_words(cancelled),
        );
        let verdict = self.pull_request_verdict(told, VerdictOutcome::Built, text);
        Ok(Verdict { rule_id: Some(rule.id), rule: rule.describe(), build: Some(id), ..verdict })
    }

    fn pull_request_verdict(&self, told: &Told<'_>, outcome: VerdictOutcome, text: String) -> Verdict {
        self.remark(told.name.as_str(), outcome, &text)
    }

    /// Lets what strangers wrote be built: exactly the commit that the person looked at.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a refusal when the build does not wait for approval, is of another commit, or its pull request went on.
    pub async fn approve_build(&self, right: &RepositoryWrite, id: BuildId, commit: &CommitId, by: AccountId) -> Result<Build, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let build = builds::get(&mut tx, right.repository().id, id).await?.ok_or(Error::NotFound)?;
        refs::lock(&mut tx, build.autobuild).await?;
        // Once more: until the lock was got a delivery may have cancelled it.
        let build = builds::get(&mut tx, right.repository().id, build.id).await?.ok_or(Error::NotFound)?;
        if build.commit != *commit {
            let detail = format!("build #{} is one of {}, not of {}", build.number, build.commit.short(), commit.short());
            return Err(Error::conflict("other_commit", detail));
        }
        if build.state.is_final() || !build.terms.await_approval() {
            let why = build.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let detail = format!("build #{} does not wait for approval, it is {}{why}", build.number, build.state);
            return Err(Error::conflict("not_awaiting_approval", detail));
        }
        self.check_approvable(&mut tx, &build).await?;
        let approved = builds::approve(&mut tx, build.autobuild, &build.source_ref, commit, by, now).await?;
        let facts = json!({"commit": commit, "pull_request": build.source_ref.pull_request_number(), "builds": approved.len()});
        let change = Change::new("build.approve", format!("{} #{}", right.repository().name, build.number)).now(facts);
        audit::write(&mut tx, now, right.actor(), Place::Repository(right.repository()), change).await?;
        let build = builds::get_any(&mut tx, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        self.builds_queued(approved);
        Ok(build)
    }
}

/// An entry in the log of a pull request.
#[derive(Clone, Copy)]
struct Event {
    id: slipway_model::RefEventId,
    seq: u64,
}

/// The repository that has its commits.
pub(crate) fn kept_by<'a>(change: &'a PullRequestChange, source: SourceKey<'a>) -> SourceKey<'a> {
    change.fork.as_ref().map_or(source, |fork| SourceKey { id: &fork.id, full_name: &fork.full_name })
}

fn not_kept(change: &PullRequestChange) -> String {
    let whose = match change.origin {
        PullRequestOrigin::Internal => "the source repository",
        PullRequestOrigin::Fork => "another repository",
        PullRequestOrigin::DeletedFork => "a repository that is gone",
    };
    format!("comes from {whose}, and Bitbucket Cloud gives the source no ref of it: its commits cannot be fetched")
}

/// Why a pull request is not tested, whatever the rules say.
fn not_tested(told: &Told<'_>) -> Option<(VerdictOutcome, String)> {
    let external = told.change.origin != PullRequestOrigin::Internal;
    if let Some(why) = told.disabled {
        return Some((VerdictOutcome::Disabled, format!("is not tested, {why}, and replay this delivery")));
    }
    match told.autobuild.autotest {
        Autotest::Off => Some((VerdictOutcome::Disabled, "is not tested, because autotest is off".to_owned())),
        Autotest::Internal if external => {
            let whose =
                if told.change.origin == PullRequestOrigin::DeletedFork { "a repository that is gone" } else { "another repository" };
            let text = format!("is not tested: it comes from {whose}, and autotest is for pull requests of the source repository itself");
            Some((VerdictOutcome::Disabled, text))
        }
        _ if told.change.kept_at.is_none() => Some((VerdictOutcome::Refused, not_kept(told.change))),
        _ => None,
    }
}

/// On which terms a pull request is tested. Only where it comes from decides.
fn terms(told: &Told<'_>) -> Terms {
    let change = told.change;
    let lane = if change.origin == PullRequestOrigin::Internal { Lane::Trusted } else { Lane::Untrusted };
    let pull_request = PullRequest {
        number: change.number,
        base: change.base.clone(),
        fetched_from: change.kept_at.clone().unwrap_or_else(|| told.name.clone()),
        fork: change.fork.clone(),
        title: change.title.clone(),
    };
    let approval = (lane == Lane::Untrusted && told.autobuild.approve_external).then_some(Approval::Awaited);
    Terms { lane, publish: false, pull_request: Some(pull_request), approval }
}

#[cfg(test)]
mod tests {
    use slipway_model::Timestamp;

    use super::*;

    #[test]
    fn only_another_commit_branch_or_life_is_news() {
        let (a, b): (CommitId, CommitId) = ("a".repeat(40).parse().unwrap(), "b".repeat(40).parse().unwrap());
        let (main, dev) = (RefName::branch("main").unwrap(), RefName::branch("dev").unwrap());
        let known =
            |is_open| PullRequestState { number: 1, head: a.clone(), base: main.clone(), is_open, changed_at: Timestamp::from_millis(0) };
        assert_eq!(news(None, &a, &main), News::Opened);
        assert_eq!(news(Some(&known(false)), &a, &main), News::Opened);
        assert_eq!(news(Some(&known(true)), &a, &main), News::Nothing);
        assert_eq!(news(Some(&known(true)), &b, &main), News::Commits);
        assert_eq!(news(Some(&known(true)), &b, &dev), News::Retargeted);
    }
}
