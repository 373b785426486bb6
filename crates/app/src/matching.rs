//! Applies the rules to one change of one ref: one verdict per rule, one build per match, one entry in the ref-event log.

use slipway_forge::RefChange;
use slipway_model::{AccountId, BuildRule, DeliveryId, RefKind, VerdictOutcome};
use slipway_store::WriteTx;
use slipway_store::builds::{self, NewBuild};
use slipway_store::deliveries::{self, NewRefEvent, Verdict};
use slipway_store::repositories::Autobuild;

use crate::{App, Error};

/// Why a delivery is looked at.
#[derive(Debug)]
pub(crate) enum Origin {
    /// It came.
    Delivery,
    /// A person wants it decided again.
    Replay(AccountId),
}

/// What a push meets.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) autobuild: &'a Autobuild,
    pub(crate) rules: &'a [BuildRule],
    pub(crate) delivery: DeliveryId,
    pub(crate) origin: &'a Origin,
    /// Why nothing may be built, whatever the rules say.
    pub(crate) disabled: Option<&'a str>,
}

fn kind(kind: RefKind) -> &'static str {
    match kind {
        RefKind::Branch => "branch",
        RefKind::Tag => "tag",
    }
}

impl App {
    /// The place of a push in its ref's history, which decides which tags may move: that of its arrival, unless it was overtaken on the way
    /// (then just before the push that continues from it) or is a replay (then where it was told first).
    async fn place(&self, tx: &mut WriteTx, situation: &Situation<'_>, change: &RefChange, arrived: u64) -> Result<u64, Error> {
        let autobuild = situation.autobuild.id;
        if matches!(situation.origin, Origin::Replay(_)) {
            let first = deliveries::place_of_delivery(tx, situation.delivery, autobuild, &change.name).await?;
            return Ok(first.unwrap_or(arrived));
        }
        let Some(after) = &change.after else { return Ok(arrived) };
        let overtaken = deliveries::overtaken_by(tx, autobuild, &change.name, change.before.as_ref(), after, arrived).await?;
        Ok(overtaken.map_or(arrived, |newer| newer.saturating_sub(1)))
    }

    pub(crate) async fn decide_ref(&self, tx: &mut WriteTx, situation: &Situation<'_>, change: &RefChange) -> Result<Vec<Verdict>, Error> {
        let now = self.clock.now();
        let what = format!("{} `{}`", kind(change.name.kind()), change.name.short());
        let verdict = |rule: Option<&BuildRule>, outcome, text: String| Verdict {
            at: now,
            rule_id: rule.map(|rule| rule.id),
            rule: rule.map(BuildRule::describe).unwrap_or_default(),
            source_ref: change.name.to_string(),
            outcome,
            text,
            build: None,
        };
        let origin = match situation.origin {
            Origin::Delivery => "delivery",
            Origin::Replay(_) => "replay",
        };
        let event = NewRefEvent {
            autobuild: situation.autobuild.id,
            name: &change.name,
            before: change.before.as_ref(),
            after: change.after.as_ref(),
            origin,
            delivery: Some(situation.delivery),
        };
        let (event, seq) = deliveries::insert_ref_event(tx, &event, now).await?;
        let seq = self.place(tx, situation, change, seq).await?;
        let Some(commit) = &change.after else {
            return Ok(vec![verdict(
                None,
                VerdictOutcome::Skipped,
                format!("{what} was deleted; there is nothing to build, and tags that it gave stay"),
            )]);
        };
        if let Some(why) = situation.disabled {
            return Ok(vec![verdict(None, VerdictOutcome::Disabled, why.to_owned())]);
        }
        let mut verdicts = Vec::with_capacity(situation.rules.len());
        for rule in situation.rules {
            let Some(matched) = rule.matches(&change.name) else {
                verdicts.push(verdict(Some(rule), VerdictOutcome::NoMatch, format!("the rule builds {}, this is {what}", rule.describe())));
                continue;
            };
            if !rule.autobuild {
                verdicts.push(verdict(
                    Some(rule),
                    VerdictOutcome::Disabled,
                    format!("the rule matches {what}, but its autobuild is switched off"),
                ));
                continue;
            }
            let new = NewBuild {
                repository: situation.autobuild.repository,
                autobuild: situation.autobuild.id,
                rule,
                ref_event: event,
                provider: &situation.autobuild.provider,
                source_id: &situation.autobuild.source_id,
                source_name: &situation.autobuild.source_name,
                source_ref: &change.name,
                ref_seq: seq,
                commit,
                commit_message: change.commit_message.as_deref(),
                commit_author: change.author.as_deref(),
                tags: &matched.tags,
                no_cache: !rule.cache,
                cause: if matches!(situation.origin, Origin::Delivery) { "push" } else { "replay" },
                started_by: if let Origin::Replay(account) = situation.origin { Some(*account) } else { None },
                retry_of: None,
            };
            let tags: Vec<&str> = matched.tags.iter().map(slipway_model::ImageTag::as_str).collect();
            verdicts.push(match builds::insert(tx, &new, now).await? {
                Some((id, number)) => {
                    let text = format!("{what} at {} is built as #{number} for {}", commit.short(), tags.join(", "));
                    Verdict { build: Some(id), ..verdict(Some(rule), VerdictOutcome::Built, text) }
                }
                None => verdict(Some(rule), VerdictOutcome::Skipped, "this push was built by the rule already".to_owned()),
            });
        }
        Ok(verdicts)
    }
}
