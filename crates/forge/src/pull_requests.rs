//! Pull requests as GitHub writes them in deliveries and lists, which Gitea and its family took over.
//!
//! Invariant: internal is only what comes from a *branch* of the repository that it goes into, by that repository's id. Gitea's AGit flow lets
//! anybody who reads a repository push to `refs/for/...`, and then names the repository itself as the head's: such a head has no branch.
//! Deliberately elsewhere: Bitbucket's, which have another shape; who asks for lists and for single ones (`refs` of each provider).

use serde::Deserialize;
use slipway_model::{CommitId, RefName};

use crate::error::ForgeError;
use crate::listing::Listing;
use crate::text;
use crate::types::{Coverage, OpenPullRequests};
use crate::webhook::{Payload, PullRequestChange, PullRequestHead, PullRequestOrigin, PullRequestStanding, Unreadable};

#[derive(Deserialize)]
pub(crate) struct Delivery {
    action: Option<String>,
    pull_request: Body,
    repository: Repository,
    #[serde(default)]
    changes: Option<Changes>,
}

/// What a list has an entry of, a delivery one, and what is asked for by its number.
#[derive(Deserialize)]
pub(crate) struct Body {
    number: u64,
    state: Option<String>,
    #[serde(default)]
    merged: Option<bool>,
    title: Option<String>,
    updated_at: String,
    head: Head,
    base: Base,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "ref")]
    name: Option<String>,
    sha: String,
    /// `null` when the fork is gone.
    repo: Option<Repository>,
}

#[derive(Deserialize)]
struct Base {
    #[serde(rename = "ref")]
    name: String,
    repo: Option<Repository>,
}

#[derive(Deserialize, PartialEq)]
struct Repository {
    id: u64,
}

/// Which words an edit changed. GitHub tells of another base branch as `base`, Gitea as `ref`; what else there is makes no difference.
#[derive(Deserialize)]
struct Changes {
    #[serde(default)]
    base: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "ref")]
    name: Option<serde::de::IgnoredAny>,
}

/// What a delivery says; [`Payload::Other`] for what makes no difference to builds, like a label.
pub(crate) fn read(delivery: Delivery) -> Result<Payload, Unreadable> {
    let Delivery { action, pull_request: body, repository, changes } = delivery;
    let action = action.unwrap_or_default();
    let closed = body.state.as_deref() == Some("closed");
    let retargeted = changes.is_some_and(|changes| changes.base.is_some() || changes.name.is_some());
    let standing = match action.as_str() {
        "closed" if body.merged == Some(true) => PullRequestStanding::Merged,
        "closed" => PullRequestStanding::Closed,
        // `synchronize` at GitHub, `synchronized` at Gitea.
        "opened" | "reopened" | "synchronize" | "synchronized" if !closed => PullRequestStanding::Open,
        "edited" if retargeted && !closed => PullRequestStanding::Open,
        other => {
            let what = format!("event `pull_request` with action `{}`: neither its commits nor its branch changed", text::line(other, 64));
            return Ok(Payload::Other { what });
        }
    };
    if body.base.repo.as_ref().is_some_and(|base| *base != repository) {
        return Err(Unreadable::new("`pull_request.base.repo` is not `repository`"));
    }
    let change = change_of(body, standing, &repository)?;
    Ok(Payload::PullRequest { repository_id: repository.id.to_string(), change: Box::new(change) })
}

/// What a list of the open pull requests of a repository says.
pub(crate) fn read_list(list: Listing<Body>, repository: &str) -> OpenPullRequests {
    OpenPullRequests::of(list, |body| {
        let repository = body.base.repo.as_ref().filter(|base| base.id.to_string() == repository).map(|base| Repository { id: base.id })?;
        change_of(body, PullRequestStanding::Open, &repository).ok()
    })
}

/// What is said of one of a repository that was asked for by its number.
pub(crate) fn read_one(body: Body, repository: &str, number: u64) -> Result<PullRequestChange, ForgeError> {
    let base = body.base.repo.as_ref().filter(|base| base.id.to_string() == repository);
    let repository = Repository { id: base.ok_or(ForgeError::NotFound)?.id };
    let standing = match (body.state.as_deref(), body.merged) {
        (Some("open"), _) => PullRequestStanding::Open,
        (Some("closed"), Some(true)) => PullRequestStanding::Merged,
        (Some("closed"), _) => PullRequestStanding::Closed,
        _ => return Err(Unreadable::new("`pull_request.state` is no state").of_answer()),
    };
    change_of(body, standing, &repository).and_then(|change| is_asked_for(change, number)).map_err(Unreadable::of_answer)
}

/// Whether it is the one that was asked for.
pub(crate) fn is_asked_for(change: PullRequestChange, number: u64) -> Result<PullRequestChange, Unreadable> {
    if change.number == number { Ok(change) } else { Err(Unreadable::new(format!("it answered with pull request #{}", change.number))) }
}

fn change_of(body: Body, standing: PullRequestStanding, repository: &Repository) -> Result<PullRequestChange, Unreadable> {
    let head = body.head.sha.parse::<CommitId>().map_err(|error| odd("head.sha", &error))?;
    let base = RefName::branch(&body.base.name).map_err(|error| odd("base.ref", &error))?;
    let changed_at = text::timestamp(&body.updated_at).ok_or_else(|| Unreadable::new("`pull_request.updated_at` is no time"))?;
    let is_branch = body.head.name.as_deref().is_some_and(|name| !name.is_empty() && !name.starts_with("refs/"));
    let origin = match &body.head.repo {
        None => PullRequestOrigin::DeletedFork,
        Some(head) if head == repository && is_branch => PullRequestOrigin::Internal,
        Some(_) => PullRequestOrigin::Fork,
    };
    Ok(PullRequestChange {
        number: body.number,
        standing,
        head: PullRequestHead::Commit(head),
        origin,
        kept_at: Some(RefName::pull_request(body.number)),
        fork: None,
        base,
        changed_at,
        title: text::line(&body.title.unwrap_or_default(), 200),
    })
}

/// As many has a page of each provider at least.
const SMALLEST_PAGE: usize = 50;

impl OpenPullRequests {
    /// From a provider's list. What `read` makes nothing of is left out, and then what is not in the list may still be open; so it may where the
    /// list has several pages, since one that is closed meanwhile moves another one from a page that is not read yet to one that was.
    pub(crate) fn of<T>(list: Listing<T>, read: impl Fn(T) -> Option<PullRequestChange>) -> Self {
        let listed = list.items.len();
        let items: Vec<PullRequestChange> = list.items.into_iter().filter_map(read).collect();
        let whole = !list.truncated && listed < SMALLEST_PAGE && items.len() == listed;
        Self { items, coverage: if whole { Coverage::Whole } else { Coverage::Part } }
    }
}

fn odd(field: &str, error: &impl std::fmt::Display) -> Unreadable {
    Unreadable::new(format!("`pull_request.{field}`: {}", text::line(&error.to_string(), 200)))
}
