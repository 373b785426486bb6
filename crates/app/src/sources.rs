//! What is seen of a source at its provider, written in one place: name, default branch, visibility, pushes, and that it is gone.
//!
//! Invariants: a source is known by its id, so another repository under the old name is never taken for it; every change that was not made
//! here is in the audit log as made by Slipway itself. Deliberately elsewhere: who looks (`links::picker`, the reconciler).

use serde_json::{Value, json};
use slipway_forge::SourceRepository;
use slipway_model::{AccountId, ProviderId};
use slipway_store::sources::{self, Source};
use slipway_store::{WriteTx, repositories};

use crate::audit::{self, Change, Place};
use crate::links::words::moment;
use crate::{Actor, App, Error};

/// [`Source::problem`] of one that no link of the account is shown any more.
pub(crate) const GONE: &str = "gone";

/// What an observation changed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Observed {
    /// Something is different from what stood.
    pub(crate) changed: bool,
    /// Something was pushed: the heads are to be compared.
    pub(crate) pushed: bool,
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
    /// Writes how a source is seen now to everything of the account that is built from it. Call [`App::wake_reconciler`] after the commit when
    /// something was pushed.
    pub(crate) async fn observe_source(
        &self,
        tx: &mut WriteTx,
        account: AccountId,
        provider: &ProviderId,
        found: &SourceRepository,
    ) -> Result<Observed, Error> {
        let now = self.clock.now();
        let mut observed = Observed::default();
        for before in sources::list(tx, account, provider, Some(&found.id)).await? {
            let differences = differences(&before, found);
            let pushed = found.pushed.is_some() && found.pushed != before.pushed;
            if differences.is_empty() && !pushed {
                continue;
            }
            observed.changed |= !differences.is_empty();
            observed.pushed |= pushed;
            let back = before.problem.as_deref() == Some(GONE);
            let seen = Source {
                source_name: found.full_name.clone(),
                default_branch: found.default_branch.clone(),
                private: found.private,
                archived: found.archived,
                pushed: found.pushed.clone().or_else(|| before.pushed.clone()),
                problem: before.problem.clone().filter(|_| !back),
                problem_text: before.problem_text.clone().filter(|_| !back),
                problem_since: before.problem_since.filter(|_| !back),
                ..before.clone()
            };
            sources::set_seen(tx, account, provider, &seen).await?;
            if pushed || back {
                sources::reconcile_by(tx, before.autobuild, now).await?;
            }
            self.audit_source(tx, &before, differences).await?;
        }
        Ok(observed)
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
