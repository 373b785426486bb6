//! "Save and build": what the rules are for is built right after they were saved, and what is not is said with its reason.
//!
//! A rule that names a branch or tag is built there. A regular expression is built at the source's default branch, else at the one ref that it
//! matches: which of several is meant only a person knows. Without autobuild nothing is built that nobody asked for by its name.
//! Deliberately elsewhere: starting a ref that a person names (`builds`), the calls of triggers (`triggers`).

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use slipway_forge::{Forge, ForgeError, Fresh, SourceRef};
use slipway_model::{AccountId, BuildRule, CommitId, ImageTag, RefName, SourceType};
use slipway_store::builds::Build;
use slipway_store::repositories::{Autobuild, Repository};

use crate::audit::{self, Change, Place};
use crate::builds::Wanted;
use crate::links::access::SourceAt;
use crate::{Actor, App, Error, RepositoryWrite, StartBuild};

/// What was started, and what was not.
#[derive(Debug, Default)]
pub struct RulesBuilt {
    /// In the order of the rules.
    pub started: Vec<Build>,
    /// Why a rule was not built, a sentence without full stop each.
    pub left: Vec<String>,
}

/// What a rule is built at.
#[derive(Debug, PartialEq, Eq)]
enum Aim {
    At(RefName),
    /// Nothing, for this reason.
    Nothing(String),
    /// It tests pull requests, which push nothing.
    PullRequests,
}

fn aim(rule: &BuildRule, default_branch: &RefName, refs: &[SourceRef]) -> Aim {
    let kind = match rule.source_type {
        SourceType::PullRequest => return Aim::PullRequests,
        SourceType::Branch => "branches",
        SourceType::Tag => "tags",
    };
    let what = rule.describe();
    if !rule.autobuild {
        return Aim::Nothing(format!("the rule {what} has its autobuild off"));
    }
    if let Some(named) = named(rule) {
        return Aim::At(named);
    }
    if rule.is_for(default_branch) {
        return Aim::At(default_branch.clone());
    }
    let matching: Vec<&RefName> = refs.iter().map(|found| &found.name).filter(|name| rule.is_for(name)).collect();
    match matching.as_slice() {
        [] => Aim::Nothing(format!("the rule {what} matches nothing yet, and builds the first push that it matches")),
        [only] => Aim::At((*only).clone()),
        several => Aim::Nothing(format!("the rule {what} matches {} {kind}: start the one that you want under Builds", several.len())),
    }
}

/// The branch or tag that a rule names.
fn named(rule: &BuildRule) -> Option<RefName> {
    let folder = if rule.source_type == SourceType::Tag { "refs/tags" } else { "refs/heads" };
    (!rule.source.is_regex()).then(|| format!("{folder}/{}", rule.source.as_str()).parse().ok()).flatten()
}

impl App {
    /// Builds what the stored rules are for.
    ///
    /// # Errors
    /// A refusal when nothing is stored or the link cannot be used; the provider's trouble.
    pub async fn build_rules(&self, right: &RepositoryWrite, by: AccountId) -> Result<RulesBuilt, Error> {
        let repository = right.repository();
        let (autobuild, rules) = self.settings_for_start(repository.id).await?;
        let default_branch =
            RefName::branch(&autobuild.default_branch).map_err(|error| Error::invalid("ref", "ref", error.to_string()))?;
        let asks = |rule: &BuildRule| rule.autobuild && rule.source.is_regex() && !rule.is_for(&default_branch);
        let refs = if rules.iter().any(asks) { self.refs_of(repository, &autobuild).await? } else { Vec::new() };
        let mut left = Vec::new();
        let mut aims: Vec<(RefName, Vec<&BuildRule>)> = Vec::new();
        for rule in &rules {
            match aim(rule, &default_branch, &refs) {
                Aim::At(name) => match aims.iter_mut().find(|(aimed, _)| *aimed == name) {
                    Some((_, rules)) => rules.push(rule),
                    None => aims.push((name, vec![rule])),
                },
                Aim::Nothing(why) => left.push(why),
                Aim::PullRequests => {}
            }
        }
        let known: BTreeMap<&RefName, &CommitId> = refs.iter().map(|found| (&found.name, &found.commit)).collect();
        let mut heads: Vec<(RefName, CommitId, Vec<(&BuildRule, Vec<ImageTag>)>)> = Vec::new();
        for (name, rules) in aims {
            let commit = match known.get(&name) {
                Some(commit) => (*commit).clone(),
                None => {
                    let start = StartBuild { source_ref: name.clone(), commit: None, no_cache: false };
                    match self.commit_to_build(repository.account, &autobuild, &start).await {
                        Ok(commit) => commit,
                        // A rule for a branch that is not there yet is no reason not to build the others.
                        Err(Error::Refused(refusal)) if refusal.code == "no_such_ref" => {
                            left.push(refusal.detail);
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            let mut giving = Vec::new();
            for rule in rules {
                match rule.matches(&name, &commit, self.clock.now()) {
                    Some(matched) if !matched.tags.is_empty() => giving.push((rule, matched.tags)),
                    _ => left.push(format!("of the rule {} {}", rule.describe(), rule.gives_no_tag(&name))),
                }
            }
            if !giving.is_empty() {
                heads.push((name, commit, giving));
            }
        }
        let wanted: Vec<Wanted<'_>> = heads
            .iter()
            .map(|(source_ref, commit, rules)| Wanted {
                autobuild: &autobuild,
                source_ref,
                commit,
                rules,
                no_cache: false,
                cause: "manual",
                by: Some(by),
            })
            .collect();
        let started =
            if wanted.is_empty() { Vec::new() } else { self.start_wanted(repository, &wanted, "build.start", right.actor()).await? };
        Ok(RulesBuilt { started, left })
    }

    /// Queues all of these at once, with one entry in the audit log.
    pub(crate) async fn start_wanted(
        &self,
        repository: &Repository,
        wanted: &[Wanted<'_>],
        action: &'static str,
        actor: &Actor,
    ) -> Result<Vec<Build>, Error> {
        let mut tx = self.write().await?;
        let mut made = Vec::new();
        for wanted in wanted {
            made.extend(self.queue_wanted(&mut tx, wanted).await?);
        }
        let numbers: Vec<u64> = made.iter().map(|build| build.number).collect();
        let change = Change::new(action, repository.name.as_str()).now(json!({"builds": numbers}));
        audit::write(&mut tx, self.clock.now(), actor, Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.builds_queued(made.iter().map(|build| build.id));
        Ok(made)
    }

    /// Where the branches and tags of the source stand.
    async fn refs_of(&self, repository: &Repository, autobuild: &Autobuild) -> Result<Vec<SourceRef>, Error> {
        let source = SourceAt::of(repository.account, autobuild);
        let look = |forge: Arc<dyn Forge>, token: SecretString| async move {
            let found = forge.source_repository_by_id(&token, source.key).await?.ok_or(ForgeError::NotFound)?;
            forge.heads(&token, &found.full_name, None).await
        };
        Ok(match self.with_source(source, look).await?.value {
            Fresh::Changed { value, .. } => value.refs,
            Fresh::Unchanged => Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(source_type: SourceType, source: &str) -> BuildRule {
        BuildRule { source_type, ..BuildRule::default_for(source.parse().unwrap()) }
    }

    fn aimed(rule: &BuildRule, refs: &[&str]) -> String {
        let refs: Vec<SourceRef> =
            refs.iter().map(|name| SourceRef { name: name.parse().unwrap(), commit: "a1".repeat(20).parse().unwrap() }).collect();
        match aim(rule, &RefName::branch("trunk").unwrap(), &refs) {
            Aim::At(name) => name.to_string(),
            Aim::Nothing(why) => why,
            Aim::PullRequests => "pull requests".to_owned(),
        }
    }

    #[test]
    fn a_name_is_built_there_and_an_expression_where_it_is_clear_what_is_meant() {
        let (branch, tag) = (SourceType::Branch, SourceType::Tag);
        assert_eq!(aimed(&rule(branch, "dev"), &[]), "refs/heads/dev");
        assert_eq!(aimed(&rule(tag, "v1"), &[]), "refs/tags/v1");
        assert_eq!(aimed(&rule(branch, "/.*/"), &["refs/heads/a", "refs/heads/b"]), "refs/heads/trunk");
        assert_eq!(aimed(&rule(tag, "/^v/"), &["refs/heads/v", "refs/tags/v1"]), "refs/tags/v1");
        let several = aimed(&rule(tag, "/^v/"), &["refs/tags/v1", "refs/tags/v2"]);
        assert_eq!(several, "the rule tag /^v/ matches 2 tags: start the one that you want under Builds");
        assert!(aimed(&rule(tag, "/^v/"), &["refs/heads/v1"]).contains("matches nothing yet"));
        assert!(aimed(&BuildRule { autobuild: false, ..rule(branch, "dev") }, &[]).contains("autobuild off"));
        assert_eq!(aimed(&rule(SourceType::PullRequest, "main"), &[]), "pull requests");
    }
}
