//! A link that works again: what its sources missed is looked for, what the provider was not told of is told, and builds that no link could
//! serve are built.
//!
//! Invariant: a build is repeated once, however many links are mended at the same moment: the logs of its source are locked before it is seen
//! that nothing followed it. Deliberately elsewhere: when a link is mended (`health`, `connect`, the switch).

use std::collections::BTreeSet;

use serde_json::json;
use slipway_model::{AccountId, AutobuildId, BuildId, ProviderId};
use slipway_store::builds::{self, Build};
use slipway_store::{WriteTx, commit_statuses, reconciling, refs, repositories};

use crate::audit::{self, Change, Place};
use crate::statuses::WORTH_TELLING;
use crate::{Actor, App, Error};

/// So many builds are repeated at most. Their refs may be built by hand all the same.
const REPEATED: u32 = 300;

impl App {
    /// Looks at the account's sources at the provider soon, tells it again of what it was not told of, and repeats the builds that ended for
    /// want of a link. Call [`App::builds_queued`] with what it gives after the commit.
    pub(crate) async fn mended(&self, tx: &mut WriteTx, account: AccountId, provider: &ProviderId) -> Result<Vec<BuildId>, Error> {
        let now = self.clock.now();
        reconciling::hurry_account(tx, account, provider, now).await?;
        commit_statuses::try_again(tx, account, provider, now.minus(WORTH_TELLING), now).await?;
        let waiting = builds::list_unserved(tx, account, provider, REPEATED).await?;
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let sources: BTreeSet<AutobuildId> = waiting.iter().map(|build| build.autobuild).collect();
        for id in &sources {
            refs::lock(tx, *id).await?;
        }
        let mut made = Vec::new();
        for old in builds::list_unserved(tx, account, provider, REPEATED).await? {
            if sources.contains(&old.autobuild) && is_wanted(tx, &old).await? {
                match self.build_again(tx, &old).await {
                    Ok(build) => made.push(build),
                    // The settings are not for it any more.
                    Err(Error::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(made)
    }

    async fn build_again(&self, tx: &mut WriteTx, old: &Build) -> Result<BuildId, Error> {
        let build = self.repeat_build(tx, old, None).await?;
        if let Some(repository) = repositories::get(tx, old.repository).await? {
            let change = Change::new("build.retry", format!("{} #{}", repository.name, old.number))
                .now(json!({"build": build.number, "because": "the link works again"}));
            audit::write(tx, self.clock.now(), &Actor::system(), Place::Repository(&repository), change).await?;
        }
        Ok(build.id)
    }
}

/// Whether its rule would still build it: what a person started, always while the rule stands.
async fn is_wanted(tx: &mut WriteTx, old: &Build) -> Result<bool, Error> {
    let rules = repositories::list_rules(tx, old.autobuild).await?;
    Ok(rules.iter().any(|rule| rule.id == old.rule.id && (rule.autobuild || old.started_by.is_some())))
}
