//! What hangs on a link, and what an unlink would do about it: the preview, and the plan that the receipt keeps.
//!
//! Invariant: read from the database alone; whether another link really serves a source is asked only when it is done (`unlink`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use slipway_model::{AutobuildId, DeployKeyId, HookId, LinkId, LinkState, ProviderId};
use slipway_store::links::{self, Link};
use slipway_store::{ReadTx, deploy_keys, hooks, repositories, source_repositories, sources};

use super::LinkView;
use crate::{App, Error, NamespaceOwner};

/// As many hooks, deploy keys and sources as the store lists of an account at a provider.
pub(super) const LISTED: usize = 5000;
/// So many names stand in a sentence.
const NAMED: usize = 5;

/// What an unlink would do.
#[derive(Clone, Debug, Serialize)]
pub struct UnlinkPreview {
    /// The link.
    pub link: LinkView,
    /// Source repositories whose hook of ours would be removed.
    pub hooks: Vec<String>,
    /// Source repositories whose deploy key of ours would be removed.
    pub keys: Vec<String>,
    /// Repositories that would not be built any more.
    pub stops: Vec<String>,
    /// Each source with what is there and what becomes of it.
    pub sources: Vec<UnlinkSource>,
    /// What becomes of the grant at the provider.
    pub grant: String,
    /// What there is to know before.
    pub warnings: Vec<String>,
}

/// A source that the link serves.
#[derive(Clone, Debug, Serialize)]
pub struct UnlinkSource {
    /// The repository here.
    pub repository: String,
    /// The source at the provider.
    pub source: String,
    /// Whether a webhook of ours stands there.
    pub hook: bool,
    /// Whether a deploy key of ours stands there.
    pub key: bool,
    /// How many build rules there are.
    pub rules: usize,
    /// The link that serves it from then on; without one its rules stop.
    pub served_by: Option<String>,
    /// The link that may serve it again, but is disabled: hook and deploy key stay for it.
    pub kept_for: Option<String>,
}

/// What is to be done, and how far it came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Plan {
    pub(super) actor: Option<StoredActor>,
    /// Sources not looked at yet: whether another link serves them decides what happens to hook and key.
    pub(super) sources: Vec<PlannedSource>,
    pub(super) hooks: Vec<PlannedHook>,
    pub(super) keys: Vec<PlannedKey>,
    pub(super) grant_settled: bool,
    /// There may be more than is in the lists: they are as long as the store gives them.
    pub(super) cut: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredActor {
    pub(super) account: Option<slipway_model::AccountId>,
    pub(super) name: String,
    pub(super) via: String,
    pub(super) address: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlannedSource {
    pub(super) autobuild: AutobuildId,
    pub(super) repository: String,
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlannedHook {
    pub(super) id: HookId,
    pub(super) source_id: String,
    pub(super) source: String,
    pub(super) remote_id: Option<String>,
    /// A person put it up.
    pub(super) by_person: bool,
    /// It was seen to stand.
    pub(super) stands: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlannedKey {
    pub(super) id: DeployKeyId,
    pub(super) public_key: String,
    pub(super) source_id: String,
    pub(super) source: String,
    pub(super) remote_id: Option<String>,
}

/// Whether a link could serve something by its state alone.
fn may_serve(link: &Link) -> bool {
    !matches!(link.state, LinkState::Disabled | LinkState::Revoked | LinkState::Suspended)
}

impl App {
    /// What an unlink would remove, stop and leave.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such link; the refusal `which_link` when none is named and there are several.
    pub async fn preview_unlink(&self, owner: &NamespaceOwner, provider: &ProviderId, id: Option<LinkId>) -> Result<UnlinkPreview, Error> {
        let account = owner.account().id;
        let mut tx = self.read().await?;
        let link = super::find_one(&mut tx, account, provider, id, |_| true).await?;
        let others: Vec<Link> = other_links(&mut tx, &link).await?;
        let disabled = only_disabled(&mut tx, &link).await?;
        let plan = plan(&mut tx, &link, &others).await?;
        let mut rows = Vec::new();
        let mut stays = BTreeSet::new();
        for source in &plan.sources {
            let rules = repositories::list_rules(&mut tx, source.autobuild).await?.len();
            let row = UnlinkSource {
                repository: source.repository.clone(),
                source: source.name.clone(),
                hook: plan.hooks.iter().any(|hook| hook.source_id == source.id && hook.remote_id.is_some()),
                key: plan.keys.iter().any(|key| key.source_id == source.id && key.remote_id.is_some()),
                rules,
                served_by: sees(&mut tx, &others, &source.id).await?,
                kept_for: disabled.clone(),
            };
            if row.stays() {
                stays.insert(source.id.as_str());
            }
            rows.push(row);
        }
        let shared = shared_with(&mut tx, &link).await?;
        drop(tx);
        let goes = |source: &str, remote: &Option<String>| remote.is_some() && !stays.contains(source);
        let ours = |hook: &&PlannedHook| !hook.by_person && goes(&hook.source_id, &hook.remote_id);
        let mut warnings: Vec<String> = shared_warning(link.login.as_str(), shared).into_iter().collect();
        warnings.extend(disabled.filter(|_| !rows.is_empty()).map(|login| disabled_warning(&login)));
        let of_people = plan.hooks.iter().filter(|hook| hook.by_person && hook.stands && !stays.contains(hook.source_id.as_str()));
        warnings.extend(by_hand_warning(&of_people.map(|hook| hook.source.as_str()).collect::<Vec<_>>()));
        Ok(UnlinkPreview {
            hooks: plan.hooks.iter().filter(ours).map(|hook| hook.source.clone()).collect(),
            keys: plan.keys.iter().filter(|key| goes(&key.source_id, &key.remote_id)).map(|key| key.source.clone()).collect(),
            stops: rows.iter().filter(|row| !row.stays()).map(|row| row.repository.clone()).collect(),
            sources: rows,
            grant: grant_words(shared),
            warnings,
            link: self.get_link(owner, provider, Some(link.id)).await?,
        })
    }
}

impl UnlinkSource {
    /// Whether hook and deploy key stay, for another link.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.served_by.is_some() || self.kept_for.is_some()
    }
}

/// The login of another link, when there are others and all of them are disabled: nobody can tell what they would serve.
async fn only_disabled(tx: &mut ReadTx, link: &Link) -> Result<Option<String>, Error> {
    let mut others = links::list_by_provider(tx, link.account, &link.provider).await?;
    others.retain(|other| other.id != link.id);
    let all = others.iter().all(|other| other.state == LinkState::Disabled);
    Ok(others.into_iter().next().filter(|_| all).map(|other| other.login))
}

pub(super) async fn other_links(tx: &mut ReadTx, link: &Link) -> Result<Vec<Link>, Error> {
    let mut others = links::list_by_provider(tx, link.account, &link.provider).await?;
    others.retain(|other| other.id != link.id && may_serve(other));
    Ok(others)
}

/// The login of another link whose copy of the provider shows the source.
async fn sees(tx: &mut ReadTx, others: &[Link], source_id: &str) -> Result<Option<String>, Error> {
    for other in others {
        if source_repositories::contains(tx, other.id, source_id).await? {
            return Ok(Some(other.login.clone()));
        }
    }
    Ok(None)
}

/// Everything that hangs on the link: what it serves, and what no other link could remove.
pub(super) async fn plan(tx: &mut ReadTx, link: &Link, others: &[Link]) -> Result<Plan, Error> {
    let all = sources::list(tx, link.account, &link.provider, None).await?;
    let others_serve =
        |id: &str| all.iter().any(|source| source.source_id == id && others.iter().any(|other| source.link == Some(other.id)));
    let planned: Vec<PlannedSource> = all
        .iter()
        .filter(|source| !others.iter().any(|other| source.link == Some(other.id)))
        .map(|source| PlannedSource {
            autobuild: source.autobuild,
            repository: source.repository_name.to_string(),
            id: source.source_id.clone(),
            name: source.source_name.clone(),
        })
        .collect();
    let hooks = hooks::list_by_provider(tx, link.account, &link.provider).await?;
    let keys = deploy_keys::list_by_provider(tx, link.account, &link.provider).await?;
    Ok(Plan {
        actor: None,
        cut: [all.len(), hooks.len(), keys.len()].contains(&LISTED),
        sources: planned,
        hooks: hooks
            .into_iter()
            .filter(|hook| !others_serve(&hook.source_id))
            .map(|hook| PlannedHook {
                id: hook.id,
                by_person: hook.made_by == hooks::MadeBy::Person,
                stands: hook.state == hooks::HookState::Standing,
                source_id: hook.source_id,
                source: hook.source_name,
                remote_id: hook.remote_id,
            })
            .collect(),
        keys: keys
            .into_iter()
            .filter(|key| !others_serve(&key.source_id))
            .map(|key| PlannedKey {
                id: key.id,
                public_key: key.public_key,
                source_id: key.source_id,
                source: key.source_name,
                remote_id: key.remote_id,
            })
            .collect(),
        grant_settled: false,
    })
}

/// How many other namespaces of this installation are linked to the same person.
pub(super) async fn shared_with(tx: &mut ReadTx, link: &Link) -> Result<usize, Error> {
    let all = links::list_by_person(tx, &link.provider, &link.remote_user_id).await?;
    Ok(all.iter().filter(|other| other.id != link.id && other.account != link.account && !other.unlinking).count())
}

pub(super) fn grant_words(shared: usize) -> String {
    match shared {
        0 => "the grant is withdrawn at the provider, where it has a way to do that".to_owned(),
        1 => "the grant stays: another namespace here is linked to the same account at the provider, and withdrawing it would end that link and \
              its deploy keys too; only our copy of the tokens is deleted"
            .to_owned(),
        n => format!(
            "the grant stays: {n} other namespaces here are linked to the same account at the provider, and withdrawing it would end those links \
             and their deploy keys too; only our copy of the tokens is deleted"
        ),
    }
}

fn shared_warning(login: &str, shared: usize) -> Option<String> {
    (shared > 0).then(|| {
        format!("`{login}` is also linked for {shared} other namespace(s) here: whoever withdraws the grant at the provider ends those links too")
    })
}

fn disabled_warning(login: &str) -> String {
    format!("`{login}` is linked too, but disabled: webhooks and deploy keys stay for it, and nothing is built until it is enabled")
}

fn by_hand_warning(sources: &[&str]) -> Option<String> {
    let named = sources.iter().take(NAMED).map(|source| format!("`{source}`")).collect::<Vec<_>>().join(", ");
    let more = if sources.len() > NAMED { format!(" and {} more", sources.len() - NAMED) } else { String::new() };
    (!sources.is_empty()).then(|| format!("people put up the webhook of {named}{more}, so people remove it: the receipt says where"))
}
