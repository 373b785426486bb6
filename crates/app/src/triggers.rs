//! Build triggers: secret addresses that start builds, for schedulers and other services that have no account.
//!
//! Invariants: the secret is shown once and stored as a hash; a call is counted before the provider is asked, and one gets through in
//! [`PAUSE`]. What a call builds is as it was at Docker Cloud: without a body the branches that rules name, with one what it names.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use slipway_model::{BuildRule, CommitId, ImageTag, RefKind, RefName, SecretToken, SourceType, Timestamp, TokenKind, TriggerId};
use slipway_store::builds::Build;
use slipway_store::repositories::{self, Autobuild, Repository};
use slipway_store::triggers::{self, Trigger};
use url::Url;

use crate::audit::{self, Change, Place};
use crate::builds::Wanted;
use crate::{Actor, App, Error, Refusal, RefusalKind, RepositoryAdmin, StartBuild};

/// Between two calls of one trigger.
const PAUSE: Duration = Duration::from_secs(10);
const NAME_CHARACTERS: usize = 100;
/// As many as are listed.
const TRIGGERS: usize = 100;

/// A wish for a trigger.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerWish {
    /// For people.
    pub name: String,
    /// The only ref that it builds, `refs/heads/...` or `refs/tags/...`.
    #[serde(default, rename = "ref")]
    pub source_ref: Option<String>,
}

/// A trigger that was just made, or got another secret.
#[derive(Debug)]
pub struct NewTrigger {
    /// The trigger.
    pub trigger: Trigger,
    /// Its whole address, shown once.
    pub url: Url,
}

/// What a call asks for. What else a service sends with it is not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TriggerCall {
    /// `Branch` (as when absent) or `Tag`.
    #[serde(default)]
    pub source_type: Option<String>,
    /// Name of the branch or tag.
    #[serde(default)]
    pub source_name: Option<String>,
    /// Only builds that give this tag.
    #[serde(default)]
    pub docker_tag: Option<String>,
}

/// Rules by the ref that they are to build.
type Plan<'a> = BTreeMap<RefName, Vec<&'a BuildRule>>;

impl TriggerWish {
    fn check(&self) -> Result<Option<RefName>, Error> {
        let length = self.name.trim().chars().count();
        if !(1..=NAME_CHARACTERS).contains(&length) || self.name.chars().any(char::is_control) {
            let detail = format!("the name has {length} characters, expected 1 to {NAME_CHARACTERS} without control characters");
            return Err(Error::invalid("trigger_name", "name", detail));
        }
        let parse = |text: &str| match text.parse::<RefName>() {
            Ok(name) if name.kind() == RefKind::PullRequest => {
                Err(Error::invalid("ref", "ref", "a pull request is built by what its provider tells of it, not by a trigger"))
            }
            Ok(name) => Ok(name),
            Err(error) => Err(Error::invalid("ref", "ref", error.to_string())),
        };
        self.source_ref.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(parse).transpose()
    }
}

impl TriggerCall {
    fn source_ref(&self) -> Result<Option<RefName>, Error> {
        let Some(name) = &self.source_name else { return Ok(None) };
        let folder = match self.source_type.as_deref().unwrap_or("branch").to_ascii_lowercase().as_str() {
            "branch" => "refs/heads",
            "tag" => "refs/tags",
            _ => return Err(Error::invalid("source_type", "source_type", "this is no source type, expected `Branch` or `Tag`")),
        };
        let parsed = format!("{folder}/{name}").parse::<RefName>();
        parsed.map(Some).map_err(|error| Error::invalid("source_name", "source_name", error.to_string()))
    }

    fn plan<'a>(&self, rules: &'a [BuildRule], only: Option<&RefName>) -> Result<Plan<'a>, Error> {
        let asked = self.source_ref()?;
        if let (Some(asked), Some(only)) = (&asked, only)
            && asked != only
        {
            return Err(Error::invalid("ref", "source_name", format!("this trigger builds `{only}` and nothing else")));
        }
        let mut plan = Plan::new();
        for rule in rules {
            let Some(name) = asked.as_ref().or(only).cloned().or_else(|| named_branch(rule)) else { continue };
            if rule.is_for(&name) {
                plan.entry(name).or_default().push(rule);
            }
        }
        if plan.is_empty() { Err(no_rule()) } else { Ok(plan) }
    }

    /// The rules that give what was asked for at a commit, with their tags.
    fn at<'a>(&self, name: &RefName, rules: &[&'a BuildRule], commit: &CommitId, now: Timestamp) -> Vec<(&'a BuildRule, Vec<ImageTag>)> {
        let tags = rules.iter().filter_map(|rule| Some((*rule, rule.matches(name, commit, now)?.tags)));
        let wanted = |tag: &ImageTag| self.docker_tag.as_deref().is_none_or(|wanted| tag.as_str() == wanted);
        tags.filter(|(_, tags)| tags.iter().any(wanted)).collect()
    }
}

fn no_rule() -> Error {
    let refusal = Refusal::new(RefusalKind::Invalid, "no_rule", "no build rule gives what was asked for");
    refusal.hint("without a body the branches are built that rules with autobuild name").into()
}

/// The branch that a rule names, when its autobuild is on.
fn named_branch(rule: &BuildRule) -> Option<RefName> {
    let names = rule.autobuild && rule.source_type == SourceType::Branch && !rule.source.is_regex();
    names.then(|| RefName::branch(rule.source.as_str()).ok()).flatten()
}

impl App {
    fn trigger_url(&self, id: TriggerId, token: &SecretToken) -> Url {
        // The secret is in the query, which no log of ours keeps.
        self.address(&format!("/triggers/{id}?token={}", token.expose()))
    }

    /// The triggers of a repository.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list_triggers(&self, right: &RepositoryAdmin) -> Result<Vec<Trigger>, Error> {
        let mut tx = self.read().await?;
        Ok(triggers::list(&mut tx, right.repository().id).await?)
    }

    /// Makes a trigger.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub async fn create_trigger(&self, right: &RepositoryAdmin, wish: &TriggerWish) -> Result<NewTrigger, Error> {
        let (source_ref, repository, now) = (wish.check()?, right.repository(), self.clock.now());
        let token = SecretToken::generate(TokenKind::Trigger);
        let name = wish.name.trim().to_owned();
        let trigger = Trigger { id: TriggerId::new(), repository: repository.id, name, source_ref, created_at: now, called_at: None };
        let url = self.trigger_url(trigger.id, &token);
        let mut tx = self.write().await?;
        if triggers::list(&mut tx, repository.id).await?.len() >= TRIGGERS {
            return Err(Error::conflict(
                "too_many_triggers",
                format!("the repository has {TRIGGERS} triggers, which is the most it can have"),
            ));
        }
        triggers::insert(&mut tx, &trigger, &token.hash()).await?;
        let change = Change::new("trigger.create", repository.name.as_str()).now(json!({"name": trigger.name, "ref": trigger.source_ref}));
        audit::write(&mut tx, now, right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        Ok(NewTrigger { trigger, url })
    }

    /// Gives a trigger another secret; the address before is worth nothing from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn rotate_trigger(&self, right: &RepositoryAdmin, id: TriggerId) -> Result<NewTrigger, Error> {
        let repository = right.repository();
        let token = SecretToken::generate(TokenKind::Trigger);
        let url = self.trigger_url(id, &token);
        let mut tx = self.write().await?;
        let trigger = triggers::set_token(&mut tx, repository.id, id, &token.hash()).await?.ok_or(Error::NotFound)?;
        let change = Change::new("trigger.rotate", repository.name.as_str()).now(json!({"name": trigger.name}));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        Ok(NewTrigger { trigger, url })
    }

    /// Removes a trigger.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_trigger(&self, right: &RepositoryAdmin, id: TriggerId) -> Result<(), Error> {
        let repository = right.repository();
        let mut tx = self.write().await?;
        let trigger = triggers::delete(&mut tx, repository.id, id).await?.ok_or(Error::NotFound)?;
        let change = Change::new("trigger.delete", repository.name.as_str()).old(json!({"name": trigger.name}));
        audit::write(&mut tx, self.clock.now(), right.actor(), Place::Repository(repository), change).await?;
        Ok(tx.commit().await?)
    }

    /// Starts what a call of a trigger asks for.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a secret that opens nothing; a refusal when it was called a moment ago, when no rule gives what was asked for,
    /// or when the source cannot be used.
    pub async fn call_trigger(&self, id: TriggerId, token: &str, call: &TriggerCall, address: &str) -> Result<Vec<Build>, Error> {
        let token = SecretToken::presented(TokenKind::Trigger, token).ok_or(Error::NotFound)?;
        let now = self.clock.now();
        // Whoever does not know the secret must not hold up those who write.
        let mut tx = self.read().await?;
        triggers::get_by_token(&mut tx, id, &token.hash()).await?.ok_or(Error::NotFound)?;
        drop(tx);
        let mut tx = self.write().await?;
        let trigger = triggers::get_by_token(&mut tx, id, &token.hash()).await?.ok_or(Error::NotFound)?;
        if !triggers::call(&mut tx, id, now, now.minus(PAUSE)).await? {
            let wait = PAUSE.saturating_sub(trigger.called_at.map_or(Duration::ZERO, |at| now.since(at))).max(Duration::from_secs(1));
            let detail = format!("the trigger was called a moment ago, it takes one call in {} s", PAUSE.as_secs());
            return Err(Refusal::new(RefusalKind::TooMany, "trigger_pause", detail).retry_after(wait).into());
        }
        let repository = repositories::get(&mut tx, trigger.repository).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        let (autobuild, rules) = self.settings_for_start(repository.id).await?;
        let plan = call.plan(&rules, trigger.source_ref.as_ref())?;
        self.start_plan(&repository, &autobuild, (call, &plan), &Actor::trigger(&trigger.name, address)).await
    }

    async fn start_plan(
        &self,
        repository: &Repository,
        autobuild: &Autobuild,
        (call, plan): (&TriggerCall, &Plan<'_>),
        actor: &Actor,
    ) -> Result<Vec<Build>, Error> {
        let (mut heads, mut missing) = (Vec::new(), None);
        for (name, rules) in plan {
            let start = StartBuild { source_ref: name.clone(), commit: None, no_cache: false };
            match self.commit_to_build(repository.account, autobuild, &start).await {
                Ok(commit) => {
                    let rules = call.at(name, rules, &commit, self.clock.now());
                    heads.extend((!rules.is_empty()).then_some((name, commit, rules)));
                }
                // A rule for a branch that is not there yet is no reason not to build the others.
                Err(Error::Refused(refusal)) if refusal.code == "no_such_ref" => missing = Some(refusal),
                Err(error) => return Err(error),
            }
        }
        if heads.is_empty() {
            return Err(missing.map_or_else(no_rule, Error::from));
        }
        let wanted = heads.iter().map(|(source_ref, commit, rules)| Wanted {
            autobuild,
            source_ref,
            commit,
            rules,
            no_cache: false,
            cause: "trigger",
            by: None,
        });
        self.start_wanted(repository, &wanted.collect::<Vec<_>>(), "trigger.call", actor).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(source_type: SourceType, source: &str, tags: &str) -> BuildRule {
        BuildRule { source_type, tags: tags.parse().unwrap(), ..BuildRule::default_for(source.parse().unwrap()) }
    }

    fn planned(call: &serde_json::Value, only: Option<&str>) -> Result<Vec<String>, String> {
        let rules = [
            rule(SourceType::Branch, "main", "latest"),
            rule(SourceType::Branch, "main", "edge"),
            BuildRule { autobuild: false, ..rule(SourceType::Branch, "slow", "slow") },
            rule(SourceType::Branch, "/^release-(.*)$/", "{\\1}"),
            rule(SourceType::Tag, "/^v(.*)$/", "{\\1}"),
        ];
        let call: TriggerCall = serde_json::from_value(call.clone()).unwrap();
        let only = only.map(|name| name.parse().unwrap());
        match call.plan(&rules, only.as_ref()) {
            Ok(plan) => {
                let commit = "a1".repeat(20).parse().unwrap();
                let mut all = Vec::new();
                for (name, rules) in &plan {
                    for (rule, tags) in call.at(name, rules, &commit, Timestamp::from_millis(0)) {
                        all.push(format!("{name} by {}: {}", rule.describe(), tags[0]));
                    }
                }
                Ok(all)
            }
            Err(Error::Refused(refusal)) => Err(refusal.field.unwrap_or_else(|| refusal.code.to_owned())),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_call_builds_what_it_names_and_without_a_name_the_branches_of_the_rules() {
        let ok = |all: &[&str]| Ok(all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        let (latest, edge) = ("refs/heads/main by branch main: latest", "refs/heads/main by branch main: edge");
        assert_eq!(planned(&json!({}), None), ok(&[latest, edge]));
        assert_eq!(planned(&json!({"build": true, "anything": [1]}), None), ok(&[latest, edge]));
        assert_eq!(planned(&json!({"docker_tag": "edge"}), None), ok(&[edge]));
        assert_eq!(planned(&json!({"docker_tag": "other"}), None), ok(&[]));
        assert_eq!(planned(&json!({"source_type": "Branch", "source_name": "slow"}), None), ok(&["refs/heads/slow by branch slow: slow"]));
        assert_eq!(planned(&json!({"source_name": "release-2"}), None), ok(&["refs/heads/release-2 by branch /^release-(.*)$/: 2"]));
        assert_eq!(planned(&json!({"source_type": "Tag", "source_name": "v1"}), None), ok(&["refs/tags/v1 by tag /^v(.*)$/: 1"]));
        assert_eq!(planned(&json!({}), Some("refs/tags/v3")), ok(&["refs/tags/v3 by tag /^v(.*)$/: 3"]));
        for (call, only, field) in [
            (json!({"source_name": "main"}), Some("refs/tags/v3"), "source_name"),
            (json!({"source_name": "other"}), None, "no_rule"),
            (json!({"source_name": "a b"}), None, "source_name"),
            (json!({"source_type": "Commit", "source_name": "main"}), None, "source_type"),
        ] {
            assert_eq!(planned(&call, only), Err(field.to_owned()), "{call}");
        }
    }
}
