//! How the source of a repository does: whether the provider still shows it, which link serves it and how that link is, when its refs
//! are looked at.
//!
//! Invariant: read from the database alone; no page waits for a provider because of it. Deliberately elsewhere: who finds it out
//! (`reconcile`, `links`).

use serde::Serialize;
use slipway_model::{LinkState, Timestamp};
use slipway_store::{links, reconciling, repositories, sources};

use crate::links::words::{of_link, what_to_do};
use crate::{App, Error, RepositoryRead};

/// How a source does.
#[derive(Clone, Debug, Serialize)]
pub struct SourceState {
    /// What is wrong with the source itself.
    pub problem: Option<SourceProblem>,
    /// How it came that another link serves it than before.
    pub takeover: Option<String>,
    /// Who is linked at the provider, of the link that serves it.
    pub login: Option<String>,
    /// How the link is that serves it, or would.
    pub link: LinkState,
    /// Since when.
    pub link_since: Option<Timestamp>,
    /// The link, its state and evidence in words; `None` when there is nothing to do about it.
    pub link_problem: Option<String>,
    /// The next step about it.
    pub link_hint: Option<String>,
    /// When the refs were last compared with the provider's.
    pub looked_at: Option<Timestamp>,
    /// When they are compared next.
    pub next_look_at: Timestamp,
}

/// What is wrong with a source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceProblem {
    /// For programs: `gone`, `no_access`, `forbidden`.
    pub code: String,
    /// In words.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

impl App {
    /// How the source of a repository does; `None` when it has none.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn get_source_state(&self, right: &RepositoryRead) -> Result<Option<SourceState>, Error> {
        let repository = right.repository();
        let mut tx = self.read().await?;
        let Some(autobuild) = repositories::get_autobuild(&mut tx, repository.id).await? else { return Ok(None) };
        let Some((looked_at, next_look_at)) = reconciling::looks(&mut tx, autobuild.id).await? else { return Ok(None) };
        let problem = reconciling::problem(&mut tx, autobuild.id).await?;
        let served = sources::served(&mut tx, autobuild.id).await?;
        // While any link works it serves, or takes over with the next call: then nothing is wrong here, whatever happened to another one.
        let serving = match served.as_ref().and_then(|served| served.link) {
            Some(id) => links::get_by_id(&mut tx, id).await?.filter(|link| link.state == LinkState::Ok && !link.unlinking),
            None => None,
        };
        let link = match serving {
            Some(link) => Some(link),
            None => links::get(&mut tx, repository.account, &autobuild.provider).await?,
        };
        let state = link.as_ref().map_or(LinkState::NotLinked, |link| link.state);
        let broken = state != LinkState::Ok;
        Ok(Some(SourceState {
            problem: problem.map(|(code, text, since)| SourceProblem { code, text, since }),
            takeover: served.and_then(|served| served.note),
            login: link.as_ref().map(|link| link.login.clone()),
            link: state,
            link_since: link.as_ref().map(|link| link.since),
            link_problem: broken.then(|| link.as_ref().map_or_else(|| not_linked(&autobuild.provider), of_link)),
            link_hint: broken.then(|| what_to_do(state).to_owned()),
            looked_at,
            next_look_at,
        }))
    }
}

fn not_linked(provider: &slipway_model::ProviderId) -> String {
    format!("nobody is linked to `{provider}` any more")
}
