//! Autobuild settings: source, rules, variables; and the preview of what they would do.
//! Deliberately elsewhere: what is checked of what a person wrote (`autobuild_input`), which repository they mean (`chosen`).

use std::sync::Arc;

use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;
use slipway_forge::{Coverage, Forge, Fresh, Heads, SourceKey};
use slipway_model::{AutobuildId, Autotest, BuildRule, EnvironmentVariable, ImageTag, ProviderId, RefName, SourcePattern, Timestamp};
use slipway_store::builds::WaitingOf;
use slipway_store::hooks;
use slipway_store::repositories::{self, Autobuild};
use slipway_store::sources;

use crate::audit::{self, Change, Place};
use crate::autobuild_input::{AutobuildInput, RuleInput, check_rules, check_variables, rule_error};
use crate::hooks::STEP;
use crate::{App, DeployKeyStatus, Error, HookStatus, Refusal, RefusalKind, RepositoryAdmin, RepositoryRead};

const ENVIRONMENT: &str = "autobuilds.environment";

/// The settings of a repository.
#[derive(Clone, Debug)]
pub struct AutobuildSettings {
    /// Identity.
    pub id: AutobuildId,
    /// Which provider.
    pub provider: ProviderId,
    /// `owner/name` at the provider.
    pub source: String,
    /// The source's id there, which never changes.
    pub source_id: String,
    /// The source's default branch.
    pub default_branch: String,
    /// Whether pull requests are tested.
    pub autotest: Autotest,
    /// Whether those from outside of the source repository wait for a writer's word.
    pub approve_external: bool,
    /// Whether a newer push cancels builds of older ones that wait still.
    pub cancel_superseded: bool,
    /// Rules in order.
    pub rules: Vec<BuildRule>,
    /// Variables; whether their values may be shown is the edge's to decide by the caller's right.
    pub environment: Vec<EnvironmentVariable>,
    /// How the webhook stands; `None` while there is none.
    pub hook: Option<HookStatus>,
    /// How the source's deploy key stands; `None` for a source that has none.
    pub deploy_key: Option<DeployKeyStatus>,
    /// When they were last changed.
    pub updated_at: Timestamp,
}

/// What a ref would give under some rules.
#[derive(Clone, Debug, Serialize)]
pub struct PreviewRef {
    /// Full name.
    #[serde(rename = "ref")]
    pub source_ref: RefName,
    /// Where it stands.
    pub commit: String,
    /// Position of the rule in the list, from 0.
    pub rule: usize,
    /// The tags that would come out; none, when every template comes out empty.
    pub tags: Vec<ImageTag>,
    /// Whether a push gives them. Where the rule's autobuild is off only a start by hand does.
    pub on_push: bool,
    /// Tags that pushes of another ref, or another rule, give too.
    pub collisions: Vec<ImageTag>,
}

/// What rules would make of a source's refs.
#[derive(Clone, Debug)]
pub struct RulesPreview {
    /// The refs that match, by rule.
    pub refs: Vec<PreviewRef>,
    /// How many refs were looked at.
    pub looked_at: usize,
    /// Whether these were all that the source has.
    pub coverage: Coverage,
}

/// Settings as the audit log keeps them: of variables the names, never the values.
fn facts(autobuild: &Autobuild, rules: &[BuildRule], variables: &[EnvironmentVariable]) -> serde_json::Value {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| {
            json!({"type": rule.source_type, "source": rule.source, "tags": rule.tags, "autobuild": rule.autobuild, "target": rule.target, "args": rule.args, "paths": rule.paths})
        })
        .collect();
    let variables: Vec<_> = variables.iter().map(|variable| variable.name.as_str()).collect();
    json!({"provider": autobuild.provider, "source": autobuild.source_name, "autotest": autobuild.autotest,
           "approve_external": autobuild.approve_external, "cancel_superseded": autobuild.cancel_superseded, "rules": rules, "variables": variables})
}

impl App {
    pub(crate) fn open_environment(&self, autobuild: &Autobuild) -> Result<Vec<EnvironmentVariable>, Error> {
        let text = self.keys.open_text(&[ENVIRONMENT, &autobuild.id.to_string()], &autobuild.environment_sealed)?;
        serde_json::from_str(text.expose_secret()).map_err(|_| Error::Sealed)
    }

    fn seal_environment(&self, id: AutobuildId, variables: &[EnvironmentVariable]) -> Vec<u8> {
        let text = serde_json::to_vec(variables).expect("names and values are text");
        self.keys.seal(&[ENVIRONMENT, &id.to_string()], &text)
    }

    /// The settings of a repository; `None` when it is not built automatically.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn get_autobuild(&self, right: &RepositoryRead) -> Result<Option<AutobuildSettings>, Error> {
        let mut tx = self.read().await?;
        let Some(autobuild) = repositories::get_autobuild(&mut tx, right.repository().id).await? else { return Ok(None) };
        let rules = repositories::list_rules(&mut tx, autobuild.id).await?;
        let hook = match hooks::get_by_autobuild(&mut tx, autobuild.id).await? {
            Some(hook) => Some(self.hook_status(&mut tx, &hook).await?),
            None => None,
        };
        let deploy_key = self.deploy_key_status(&mut tx, right.repository().account, &autobuild).await?;
        Ok(Some(AutobuildSettings {
            id: autobuild.id,
            environment: self.open_environment(&autobuild)?,
            provider: autobuild.provider,
            source: autobuild.source_name,
            source_id: autobuild.source_id,
            default_branch: autobuild.default_branch,
            autotest: autobuild.autotest,
            approve_external: autobuild.approve_external,
            cancel_superseded: autobuild.cancel_superseded,
            rules,
            hook,
            deploy_key,
            updated_at: autobuild.updated_at,
        }))
    }

    /// Writes the settings of a repository, and makes its webhook. A provider that refuses the webhook does not undo the settings:
    /// the hook's error is in the answer and it is tried again.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub async fn put_autobuild(&self, right: &RepositoryAdmin, input: &AutobuildInput) -> Result<AutobuildSettings, Error> {
        let repository = right.repository();
        let provider: ProviderId = input.provider.parse().map_err(|detail: String| Error::invalid("provider", "provider", detail))?;
        if !self.forges.contains_key(&provider) {
            return Err(Error::invalid("provider", "provider", format!("there is no provider `{provider}`")));
        }
        let autotest: Autotest =
            input.autotest.as_deref().unwrap_or("off").parse().map_err(|detail: String| Error::invalid("autotest", "autotest", detail))?;
        let mut rules = check_rules(&input.rules)?;
        let (source, link) = self.find_source(repository, &provider, input).await?;
        if rules.is_empty() {
            let branch: SourcePattern = source.default_branch.parse().map_err(|error| rule_error(0, &error))?;
            rules.push(BuildRule::default_for(branch));
        }
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let before = repositories::get_autobuild(&mut tx, repository.id).await?;
        let id = before.as_ref().map_or_else(AutobuildId::new, |before| before.id);
        for (index, rule) in rules.iter().enumerate() {
            if repositories::rule_belongs_elsewhere(&mut tx, rule.id, id).await? {
                return Err(Error::invalid("rule", &format!("rules[{index}].id"), "this is not the id of a rule of this repository"));
            }
        }
        let stored = before.as_ref().map(|before| self.open_environment(before)).transpose()?.unwrap_or_default();
        let variables = match &input.env {
            Some(inputs) => check_variables(inputs, &stored)?,
            None => stored,
        };
        let autobuild = Autobuild {
            id,
            repository: repository.id,
            provider: provider.clone(),
            source_id: source.id.clone(),
            source_name: source.full_name.clone(),
            default_branch: source.default_branch.clone(),
            autotest,
            approve_external: input.approve_external.or(before.as_ref().map(|before| before.approve_external)).unwrap_or(true),
            cancel_superseded: input.cancel_superseded.or(before.as_ref().map(|before| before.cancel_superseded)).unwrap_or(true),
            environment_sealed: self.seal_environment(id, &variables),
            updated_at: now,
        };
        repositories::upsert_autobuild(&mut tx, &autobuild).await?;
        if before.as_ref().is_none_or(|before| before.provider != provider || before.source_id != source.id) {
            self.forget_waiting(&mut tx, id, WaitingOf::Unapproved, "the settings name another source by now").await?;
            sources::set_source(&mut tx, id, link.id).await?;
            self.watch_namespace(&mut tx, link.id, &source.full_name).await?;
        }
        let followed = self.follow_settings(&mut tx, &autobuild).await?;
        sources::set_look(&mut tx, id, source.private, source.archived).await?;
        repositories::replace_rules(&mut tx, id, &rules).await?;
        let mut hook = hooks::get_by_autobuild(&mut tx, id).await?;
        if let Some(old) = hook.take_if(|hook| hook.provider != provider || hook.source_id != source.id) {
            hooks::set_unwanted(&mut tx, old.id, now).await?;
        }
        if hook.is_none() {
            // Not due for the loop: it is made at once, below.
            self.want_hook(&mut tx, repository.account, &autobuild, now.plus(STEP)).await?;
        }
        let source_key = SourceKey { id: &source.id, full_name: &source.full_name };
        self.want_deploy_key(&mut tx, repository.account, &provider, source_key, now.plus(STEP)).await?;
        if let Some(before) = &before {
            self.release_deploy_key(&mut tx, repository.account, &before.provider, &before.source_id).await?;
        }
        let mut change = Change::new("autobuild.change", repository.name.as_str()).now(facts(&autobuild, &rules, &variables));
        if let Some(before) = &before {
            change = change.old(json!({"provider": before.provider, "source": before.source_name, "autotest": before.autotest, "approve_external": before.approve_external, "cancel_superseded": before.cancel_superseded}));
        }
        audit::write(&mut tx, now, right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.builds_queued(followed);
        self.settle_hook_of(id).await?;
        self.settle_deploy_keys_of(repository.account, &provider, &source.id).await?;
        self.wake.hooks.notify_one();
        self.wake.keys.notify_one();
        self.get_autobuild(&RepositoryRead::from(crate::RepositoryWrite::from(right.clone()))).await?.ok_or(Error::NotFound)
    }

    /// Tries at once what the loop would try later, so that the person sees the outcome.
    async fn settle_hook_of(&self, autobuild: AutobuildId) -> Result<(), Error> {
        let mut tx = self.read().await?;
        let hook = hooks::get_by_autobuild(&mut tx, autobuild).await?;
        drop(tx);
        match hook {
            Some(hook) => self.settle_hook(&hook).await,
            None => Ok(()),
        }
    }

    /// Stops building a repository automatically: rules go, and its webhook.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there are no settings.
    pub async fn delete_autobuild(&self, right: &RepositoryAdmin) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let autobuild = repositories::get_autobuild(&mut tx, right.repository().id).await?.ok_or(Error::NotFound)?;
        let hook = hooks::get_by_autobuild(&mut tx, autobuild.id).await?;
        if let Some(hook) = &hook {
            hooks::set_unwanted(&mut tx, hook.id, now.plus(STEP)).await?;
        }
        let why = "the repository is not built automatically any more";
        let forgotten = self.forget_waiting(&mut tx, autobuild.id, WaitingOf::Everybody, why).await?;
        repositories::delete_autobuild(&mut tx, autobuild.id).await?;
        let repository = right.repository();
        self.release_deploy_key(&mut tx, repository.account, &autobuild.provider, &autobuild.source_id).await?;
        let change = Change::new("autobuild.remove", repository.name.as_str())
            .old(json!({"provider": autobuild.provider, "source": autobuild.source_name}));
        audit::write(&mut tx, now, right.actor(), Place::Repository(repository), change).await?;
        tx.commit().await?;
        self.builds_queued(forgotten);
        if let Some(hook) = hook {
            let mut tx = self.read().await?;
            let unwanted = hooks::get(&mut tx, hook.id).await?;
            drop(tx);
            if let Some(unwanted) = unwanted {
                self.settle_hook(&unwanted).await?;
            }
        }
        self.wake.keys.notify_one();
        Ok(())
    }

    /// What some rules would make of the source's refs as they stand now. `rules` may be unsaved; without any the stored ones are asked.
    ///
    /// # Errors
    /// A refusal that names the field; the provider's trouble.
    pub async fn preview_rules(
        &self,
        right: &RepositoryRead,
        provider: &str,
        source: &str,
        inputs: &[RuleInput],
    ) -> Result<RulesPreview, Error> {
        let provider: ProviderId = provider.parse().map_err(|detail: String| Error::invalid("provider", "provider", detail))?;
        if !self.forges.contains_key(&provider) {
            return Err(Error::invalid("provider", "provider", format!("there is no provider `{provider}`")));
        }
        let rules = check_rules(inputs)?;
        let look = |forge: Arc<dyn Forge>, token| async move { forge.heads(&token, source.trim(), None).await };
        let heads = match self.with_link(right.repository().account, &provider, None, look).await?.value {
            Fresh::Changed { value, .. } => value,
            Fresh::Unchanged => return Err(Error::Internal("the refs were asked for without what was known of them")),
        };
        Ok(preview(&rules, &heads, self.clock.now()))
    }

    pub(crate) async fn settings_for_start(&self, repository: slipway_model::RepositoryId) -> Result<(Autobuild, Vec<BuildRule>), Error> {
        let mut tx = self.read().await?;
        let Some(autobuild) = repositories::get_autobuild(&mut tx, repository).await? else {
            let refusal = Refusal::new(RefusalKind::Conflict, "no_autobuild", "this repository has no source to build from");
            return Err(refusal.hint("choose a source under Autobuild").into());
        };
        let rules = repositories::list_rules(&mut tx, autobuild.id).await?;
        Ok((autobuild, rules))
    }
}

fn preview(rules: &[BuildRule], heads: &Heads, now: Timestamp) -> RulesPreview {
    let mut found = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for source in &heads.refs {
            if let Some(matched) = rule.matches(&source.name, &source.commit, now) {
                found.push(PreviewRef {
                    source_ref: source.name.clone(),
                    commit: source.commit.to_string(),
                    rule: index,
                    tags: matched.tags,
                    on_push: rule.autobuild,
                    collisions: Vec::new(),
                });
            }
        }
    }
    let mut uses = std::collections::BTreeMap::new();
    for tag in found.iter().filter(|entry| entry.on_push).flat_map(|entry| &entry.tags) {
        *uses.entry(tag.clone()).or_insert(0_u32) += 1;
    }
    for entry in found.iter_mut().filter(|entry| entry.on_push) {
        entry.collisions = entry.tags.iter().filter(|tag| uses.get(*tag).is_some_and(|n| *n > 1)).cloned().collect();
    }
    RulesPreview { refs: found, looked_at: heads.refs.len(), coverage: heads.coverage }
}

#[cfg(test)]
mod tests {
    use slipway_forge::SourceRef;

    use super::*;

    #[test]
    fn collisions_are_seen_across_refs_and_rules_but_not_with_what_no_push_gives() {
        let input = |source: &str, tags: &str, autobuild| RuleInput {
            source_type: "branch".into(),
            source: source.into(),
            tags: tags.into(),
            autobuild: Some(autobuild),
            ..RuleInput::default()
        };
        let at = |name: &str| SourceRef { name: name.parse().unwrap(), commit: "a".repeat(40).parse().unwrap() };
        let heads = Heads { refs: vec![at("refs/heads/main"), at("refs/heads/dev"), at("refs/tags/v1")], coverage: Coverage::Part };
        let look = |inputs: &[RuleInput]| preview(&check_rules(inputs).unwrap(), &heads, Timestamp::from_millis(0));
        let found = look(&[input("/.*/", "latest", true), input("main", "main", true)]);
        assert_eq!((found.refs.len(), found.looked_at, found.coverage), (3, 3, Coverage::Part));
        assert_eq!(found.refs[0].collisions.len(), 1);
        assert!(found.refs[2].collisions.is_empty());
        let found = look(&[input("main", "latest", true), input("dev", "latest", false), input("/^dev()$/", "{\\1}", true)]).refs;
        assert_eq!(found.iter().map(|entry| (entry.on_push, entry.tags.len())).collect::<Vec<_>>(), [(true, 1), (false, 1), (true, 0)]);
        assert!(found.iter().all(|entry| entry.collisions.is_empty()), "{found:?}");
    }
}
