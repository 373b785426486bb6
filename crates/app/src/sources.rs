//! What is seen of a source at its provider, written in one place: name, default branch, visibility, pushes, and that it is gone.
//!
//! Invariants: a source is known by its id, so another repository under the old name is never taken for it; every change that was not made
//! here is in the audit log as made by Slipway itself. Deliberately elsewhere: who looks (`links::picker`, the reconciler).

use std::time::Duration;

use serde_json::{Value, json};
use slipway_forge::{SourceKey, SourceRepository};
use slipway_model::{AccountId, ProviderId};
use slipway_store::sources::{self, Source};
use slipway_store::{WriteTx, reconciling, repositories};

use crate::audit::{self, Change, Place};
use crate::links::words::moment;
use crate::{Actor, App, Error};

/// Providers write the time of a push in seconds: the heads are read when no other push can have the time that was seen.
const SAME_TIME: Duration = Duration::from_millis(1500);

/// [`Source::problem`] of one that no link of the account is shown any more.
pub(crate) const GONE: &str = "gone";

/// [`Source::problem`] of one that no link which works is shown, while another link may be.
pub(crate) const NO_ACCESS: &str = "no_access";

/// [`Source::problem`] of one that the provider does not let us read, though the grant is good.
pub(crate) const SHUT: &str = "forbidden";

/// Whether who looks at the source compares its heads too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heads {
    /// It does.
    Compared,
    /// It does not: when something was pushed, the reconciler shall.
    NotCompared,
}

/// One difference, for the audit log.
struct Difference {
    action: &'static str,
    old: Value,
    now: Value,
}

fn owner(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(owner, _)| owner)
}

fn differences(before: &Source, found: &SourceRepository) -> Vec<Difference> {
    let mut all = Vec::new();
    if before.source_name != found.full_name {
        let moved = !owner(&before.source_name).eq_ignore_ascii_case(owner(&found.full_name));
        let action = if moved { "source.transfer" } else { "source.rename" };
        all.push(Difference { action, old: json!(before.source_name), now: json!(found.full_name) });
    }
    if before.default_branch != found.default_branch {
        all.push(Difference { action: "source.default_branch", old: json!(before.default_branch), now: json!(found.default_branch) });
    }
    if before.private != found.private {
        let word = |private| json!(if private { "private" } else { "public" });
        all.push(Difference { action: "source.visibility", old: word(before.private), now: word(found.private) });
    }
    if before.archived != found.archived {
        all.push(Difference { action: "source.archived", old: json!(before.archived), now: json!(found.archived) });
    }
    if before.problem.as_deref() == Some(GONE) {
        all.push(Difference { action: "source.back", old: json!(before.problem_text), now: Value::Null });
    }
    all
}

impl App {
    /// Writes how a source is seen now to everything of the account that is built from it; gives whether the reconciler has something to do.
    pub(crate) async fn observe_source(
        &self,
        tx: &mut WriteTx,
        account: AccountId,
        provider: &ProviderId,
        found: &SourceRepository,
        heads: Heads,
    ) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut to_compare = false;
        for before in sources::list(tx, account, provider, Some(&found.id)).await? {
            let differences = differences(&before, found);
            // Who compares has read the heads before this: a push between the two is told to whoever looks next.
            let pushed = heads == Heads::NotCompared && found.pushed.is_some() && found.pushed != before.pushed;
            if differences.is_empty() && !pushed {
                continue;
            }
            let back = before.problem.as_deref() == Some(GONE);
            let seen = Source {
                source_name: found.full_name.clone(),
                default_branch: found.default_branch.clone(),
                private: found.private,
                archived: found.archived,
                pushed: if pushed { found.pushed.clone() } else { before.pushed.clone() },
                problem: before.problem.clone().filter(|_| !back),
                problem_text: before.problem_text.clone().filter(|_| !back),
                problem_since: before.problem_since.filter(|_| !back),
                ..before.clone()
            };
            sources::set_seen(tx, account, provider, &seen).await?;
            if heads == Heads::NotCompared && (pushed || back) {
                reconciling::hurry(tx, before.autobuild, now.plus(SAME_TIME)).await?;
                to_compare = true;
            }
            if before.private != found.private {
                let key = SourceKey { id: &found.id, full_name: &found.full_name };
                self.want_deploy_key(tx, account, provider, key, now).await?;
                self.release_deploy_key(tx, account, provider, &found.id).await?;
            }
            self.audit_source(tx, &before, differences).await?;
        }
        Ok(to_compare)
    }

    /// No link of the account is shown the source any more. It stays bound to its id: a new repository under the old name is another one.
    pub(crate) async fn source_is_gone(
        &self,
        tx: &mut WriteTx,
        account: AccountId,
        provider: &ProviderId,
        source_id: &str,
        why: &str,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        for before in sources::list(tx, account, provider, Some(source_id)).await? {
            if before.problem.as_deref() == Some(GONE) {
                continue;
            }
            let text = format!(
                "`{}` (id `{source_id}`) is not shown to any link of this account since {}: it was deleted, or access was taken away ({why}); \
                 a repository that is made anew under this name is another one and is not built",
                before.source_name,
                moment(now)
            );
            let difference = Difference { action: "source.gone", old: json!(before.source_name), now: json!(text) };
            let seen = Source { problem: Some(GONE.to_owned()), problem_text: Some(text), problem_since: Some(now), ..before.clone() };
            sources::set_seen(tx, account, provider, &seen).await?;
            self.audit_source(tx, &before, vec![difference]).await?;
        }
        Ok(())
    }

    async fn audit_source(&self, tx: &mut WriteTx, source: &Source, differences: Vec<Difference>) -> Result<(), Error> {
        let Some(repository) = repositories::get(tx, source.repository).await? else { return Ok(()) };
        for difference in differences {
            tracing::info!(repository = %source.repository, source = source.source_id, action = difference.action, old = %difference.old, now = %difference.now, "a source changed at its provider");
            let change = Change::new(difference.action, repository.name.as_str()).old(difference.old).now(difference.now);
            audit::write(tx, self.clock.now(), &Actor::system(), Place::Repository(&repository), change).await?;
        }
        Ok(())
    }
}
