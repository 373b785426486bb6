//! Bitbucket's pull requests, in deliveries and lists.
//!
//! Invariant: internal is only what comes from a branch of the repository that it goes into, by that repository's id. Bitbucket Cloud keeps no
//! ref of a pull request, so others are fetched from where they come from; and it writes only the first digits of commits here.

use serde::Deserialize;
use slipway_model::{ForkRepository, RefName};

use super::webhook::{Repository, checked_id};
use super::{FullName, is_uuid};
use crate::error::ForgeError;
use crate::listing::Listing;
use crate::pull_requests::is_asked_for;
use crate::text;
use crate::types::OpenPullRequests;
use crate::webhook::{Payload, PullRequestChange, PullRequestHead, PullRequestOrigin, PullRequestStanding, Unreadable};

#[derive(Deserialize)]
pub(super) struct Delivery {
    pullrequest: Body,
    repository: Repository,
}

/// What we need of each entry of a list.
pub(super) const FIELDS: &str = "next,values.id,values.title,values.state,values.updated_on,values.source.branch.name,\
    values.source.commit.hash,values.source.repository.uuid,values.source.repository.full_name,values.destination.branch.name,\
    values.destination.repository.uuid";

/// The same of one that is asked for by its number.
pub(super) const FIELDS_OF_ONE: &str = "id,title,state,updated_on,source.branch.name,source.commit.hash,source.repository.uuid,\
    source.repository.full_name,destination.branch.name,destination.repository.uuid";

/// What a list has an entry of, a delivery one, and what is asked for by its number.
#[derive(Deserialize)]
pub(super) struct Body {
    id: u64,
    title: Option<String>,
    state: String,
    updated_on: String,
    source: Source,
    destination: Destination,
}

#[derive(Deserialize)]
struct Source {
    branch: Branch,
    commit: Option<Commit>,
    /// `null` when the fork is gone.
    repository: Option<NamedRepository>,
}

#[derive(Deserialize)]
struct Destination {
    branch: Branch,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct NamedRepository {
    uuid: String,
    full_name: Option<String>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct Commit {
    hash: String,
}

impl NamedRepository {
    /// `None` when it cannot be asked for.
    fn into_fork(self) -> Option<ForkRepository> {
        let full_name = self.full_name.filter(|name| FullName::parse(name).is_ok())?;
        is_uuid(&self.uuid).then_some(ForkRepository { id: self.uuid, full_name })
    }
}

pub(super) fn read(delivery: Delivery) -> Result<Payload, Unreadable> {
    let Delivery { pullrequest: body, repository } = delivery;
    let standing = standing(&body)?;
    if body.destination.repository.as_ref().is_some_and(|destination| *destination != repository) {
        return Err(Unreadable::new("`pullrequest.destination.repository` is not `repository`"));
    }
    let change = change_of(body, standing, &repository)?;
    Ok(Payload::PullRequest { repository_id: checked_id(repository)?, change: Box::new(change) })
}

fn standing(body: &Body) -> Result<PullRequestStanding, Unreadable> {
    match body.state.as_str() {
        "OPEN" => Ok(PullRequestStanding::Open),
        "MERGED" => Ok(PullRequestStanding::Merged),
        "DECLINED" | "SUPERSEDED" => Ok(PullRequestStanding::Closed),
        other => Err(Unreadable::new(format!("`pullrequest.state` is `{}`, which is no state", text::line(other, 40)))),
    }
}

/// What is said of one of a repository that was asked for by its number.
pub(super) fn read_one(mut body: Body, id: &str, number: u64) -> Result<PullRequestChange, ForgeError> {
    let destination = body.destination.repository.take().filter(|destination| destination.uuid == id);
    let repository = destination.ok_or(ForgeError::NotFound)?;
    let change = standing(&body).and_then(|standing| change_of(body, standing, &repository));
    change.and_then(|change| is_asked_for(change, number)).map_err(Unreadable::of_answer)
}

/// What a list of the open pull requests of a repository says.
pub(super) fn read_list(list: Listing<Body>, id: &str) -> OpenPullRequests {
    OpenPullRequests::of(list, |mut body| {
        let repository = body.destination.repository.take().filter(|destination| destination.uuid == id)?;
        change_of(body, PullRequestStanding::Open, &repository).ok()
    })
}

fn change_of(body: Body, standing: PullRequestStanding, repository: &Repository) -> Result<PullRequestChange, Unreadable> {
    let branch = |field: &str, branch: &Branch| {
        let name = RefName::branch(&branch.name);
        name.map_err(|error| Unreadable::new(format!("`pullrequest.{field}.branch`: {}", text::line(&error.to_string(), 300))))
    };
    let base = branch("destination", &body.destination.branch)?;
    let (origin, fork) = match body.source.repository {
        None => (PullRequestOrigin::DeletedFork, None),
        Some(source) if source.uuid == repository.uuid => (PullRequestOrigin::Internal, None),
        Some(source) => (PullRequestOrigin::Fork, source.into_fork()),
    };
    let kept_at = match origin {
        PullRequestOrigin::Internal => Some(branch("source", &body.source.branch)?),
        // Whatever others call their branches makes no delivery unreadable.
        _ => fork.as_ref().and_then(|_| RefName::branch(&body.source.branch.name).ok()),
    };
    let fork = fork.filter(|_| kept_at.is_some());
    let digits = body.source.commit.map(|commit| commit.hash).unwrap_or_default();
    let head = match digits.parse() {
        Ok(commit) => PullRequestHead::Commit(commit),
        Err(_) if (7..40).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
            PullRequestHead::Abbreviated(digits)
        }
        Err(_) => return Err(Unreadable::new("`pullrequest.source.commit.hash` is no commit")),
    };
    let changed_at = text::timestamp(&body.updated_on).ok_or_else(|| Unreadable::new("`pullrequest.updated_on` is no time"))?;
    let title = text::line(&body.title.unwrap_or_default(), 200);
    Ok(PullRequestChange { number: body.id, standing, head, origin, kept_at, fork, base, changed_at, title })
}
