//! Builds: of a repository, of a namespace, and one alone.

use std::collections::HashMap;

use axum::response::Response;
use serde::Deserialize;
use slipway_app::store::builds::{Build, Part};
use slipway_app::store::progress::CacheUse;
use slipway_app::{BuildDetail, BuildsWanted, CommitStatusView, Error, NamespaceView, Notes, RetryBuild, Waiting};
use slipway_model::{
    AccountId, AccountName, Approval, BuildId, BuildState, CommitId, Lane, PullRequest, RepositoryName, RepositoryPath, RuleId, Scope,
    StepState, Timestamp,
};

use super::error::{PageError, sentence};
use super::external;
use super::fields::{At, Fields, Form, Query};
use super::frame::{RepositoryAt, Visit, go, show, show_refused};
use super::repository::{Opened, open};
use super::start_form;
use super::view::build::{Approvable, BuildPage};
use super::view::builds::{BuildListPage, BuildRow, BuildsFilter, QueuePage, StartForm};
use super::view::chart::{Bar, bars};
use super::view::plain;
use super::view::repositories::Tab;
use super::view::shell::{Area, Notice};
use super::view::timeline::days;
use super::view::ui::{self, Tone};
use super::view::waterfall::{Course, PhaseSpan, waterfall};
use crate::error::{ApiError, Code};

const PAGE: u32 = 30;
/// Of each part of a queue.
const QUEUE: u32 = 100;
/// More than these are not counted for a page.
const MOST_COUNTED: u32 = 10_000;
const CHART: u32 = 40;
/// Few enough that the last one, which says the most, is above the fold.
const TAIL: usize = 8;

/// A build in the address: its number, or its id.
#[derive(Debug, Deserialize)]
pub(super) struct BuildAt {
    ns: AccountName,
    name: RepositoryName,
    id: String,
}

impl BuildAt {
    fn at(&self) -> RepositoryAt {
        RepositoryAt { ns: self.ns.clone(), name: self.name.clone() }
    }
}

/// A build as a row.
pub(super) fn row(path: &RepositoryPath, build: &Build) -> BuildRow {
    let reason = || build.reason.as_ref().map(|reason| reason.text.clone());
    BuildRow {
        href: format!("/{path}/builds/{}", build.number),
        label: format!("#{}", build.number),
        repository: path.to_string(),
        state: build.state,
        detail: match build.state {
            BuildState::Queued if build.terms.await_approval() => Some("waits for approval".to_owned()),
            BuildState::Queued => came_back(build).map(str::to_owned),
            BuildState::Running if build.cancel_requested => Some("stopping".to_owned()),
            BuildState::Running => build.phase.map(|phase| phase.to_string()),
            BuildState::Failed | BuildState::Cancelled => reason(),
            BuildState::Success => others(build),
        },
        source_ref: build.source_ref.to_string(),
        commit: build.commit.to_string(),
        // Before the checkout nobody knows the message, but what a pull request is about is known.
        message: build
            .commit_message
            .as_deref()
            .or(build.terms.pull_request.as_ref().map(|pull_request| pull_request.title.as_str()))
            .map(plain::line),
        tags: if build.terms.publish { build.tags.iter().map(ToString::to_string).collect() } else { Vec::new() },
        cause: cause(&build.cause).to_owned(),
        queued_at: build.queued_at,
        started_at: build.started_at,
        finished_at: build.finished_at,
    }
}

/// What else was noted, in one line.
fn others(build: &Build) -> Option<String> {
    let others = Notes::of(build).others;
    (!others.is_empty()).then(|| others.join("; "))
}

/// What was noted last of a build that waits: why it came back into the queue.
fn came_back(build: &Build) -> Option<&str> {
    build.note.as_deref()?.lines().last()
}

fn cause(word: &str) -> &str {
    match word {
        "manual" => "by hand",
        "trigger" => "by a trigger",
        "reconcile" => "found by the reconciler",
        "pull_request" => "pull request",
        other => other,
    }
}

/// `/builds`: what runs, waits and ended in the person's own namespace.
pub(super) async fn queue(visit: Visit) -> Result<Response, PageError> {
    let view = NamespaceView::from(visit.own(Scope::RepoRead).await?);
    queue_of(visit, &view).await
}

/// `/o/{org}/builds`: the same in an organization, over the repositories that the person may read.
pub(super) async fn organization_queue(visit: Visit, At(org): At<AccountName>) -> Result<Response, PageError> {
    // Strangers see what is public, and builds are not: for them there is no such page.
    visit.app().organization_member(&visit.caller, &org).await?;
    let view = visit.app().namespace_view(Some(&visit.caller), &org).await?;
    queue_of(visit, &view).await
}

async fn queue_of(visit: Visit, view: &NamespaceView) -> Result<Response, PageError> {
    let part = async |part, limit| {
        let found = visit.app().list_namespace_builds(view, part, limit).await?;
        Ok::<_, Error>(found.iter().map(|(path, build)| row(path, build)).collect::<Vec<_>>())
    };
    let (running, queued, ended) =
        (part(Part::Running, QUEUE).await?, part(Part::Queued, QUEUE + 1).await?, part(Part::Ended, PAGE).await?);
    let stands = visit.app().next_of_namespace(view).await?.map(|next| stands(&next, visit.now()));
    let waiting = if queued.len() > QUEUE as usize {
        let all = visit.app().count_waiting_builds(view, MOST_COUNTED).await?;
        format!("{QUEUE} of {all}{}", if all < u64::from(MOST_COUNTED) { "" } else { " or more" })
    } else {
        queued.len().to_string()
    };
    let queued = queued.into_iter().take(QUEUE as usize).collect();
    Ok(show(&QueuePage { shell: visit.shell(Area::Builds), running, queued, waiting, stands, ended }))
}

/// What starts builds, in words for the filter.
const CAUSES: [(&str, &str); 7] = [
    ("push", "a push"),
    ("pull_request", "a pull request"),
    ("reconcile", "the reconciler"),
    ("manual", "somebody by hand"),
    ("trigger", "a trigger"),
    ("retry", "a retry"),
    ("replay", "a replay"),
];

fn filter(query: &Fields) -> BuildsFilter {
    let text = |name: &str| query.text(name).trim().chars().take(200).collect::<String>();
    BuildsFilter {
        state: query.filled("state").and_then(|word| word.parse().ok()),
        source_ref: text("ref"),
        // An id that cannot be one is no wish; a rule that is gone still has its builds.
        rule: text("rule").parse::<RuleId>().map(|id| id.to_string()).unwrap_or_default(),
        started: text("started"),
    }
}

fn wanted(filter: &BuildsFilter) -> BuildsWanted {
    let (cause, started_by) = match filter.started.strip_prefix("by:") {
        Some(name) => match name.parse() {
            Ok(name) => (String::new(), Some(name)),
            // Nobody is called so: nothing is found, as the list then says.
            Err(_) => (filter.started.clone(), None),
        },
        None => (filter.started.clone(), None),
    };
    BuildsWanted { state: filter.state, source_ref: filter.source_ref.clone(), rule: filter.rule.parse().ok(), cause, started_by }
}

/// `/{ns}/{name}/builds`.
pub(super) async fn list(visit: Visit, At(at): At<RepositoryAt>, Query(query): Query) -> Result<Response, PageError> {
    let opened = open(&visit, &at, Tab::Builds).await?;
    let start = start_form::empty(opened.watched());
    Ok(show(&list_page(&visit, opened, &query, start).await?))
}

async fn list_page(visit: &Visit, opened: Opened, query: &Fields, start: StartForm) -> Result<BuildListPage, PageError> {
    let read = opened.rights.read()?;
    let app = visit.app();
    let filter = filter(query);
    let before: Option<BuildId> = query.filled("cursor").and_then(|id| id.parse().ok());
    let wanted = wanted(&filter);
    let mut found = app.list_builds(read, &wanted, before, PAGE + 1).await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    let charted = app.list_builds(read, &wanted, None, CHART).await?;
    let lately = if filter.is_set() { app.list_builds(read, &BuildsWanted::default(), None, CHART).await? } else { charted.clone() };
    let names = app.starters(&[found.as_slice(), &lately].concat()).await?;
    let cache = app.cache_uses(read, &charted).await?;
    let rules = opened.autobuild.iter().flat_map(|settings| &settings.rules);
    let rules = rules.map(|rule| (rule.id.to_string(), rule.describe())).collect();
    let mut people: Vec<&String> = lately.iter().filter_map(|build| names.get(&build.started_by?)).collect();
    people.sort();
    people.dedup();
    let causes = CAUSES.iter().map(|(cause, words)| ((*cause).to_owned(), (*words).to_owned()));
    let mut starters: Vec<(String, String)> = causes.chain(people.into_iter().map(|name| (format!("by:{name}"), name.clone()))).collect();
    if !filter.started.is_empty() && starters.iter().all(|(value, _)| *value != filter.started) {
        starters.push((filter.started.clone(), filter.started.trim_start_matches("by:").to_owned()));
    }
    let rows = found.iter().map(|build| BuildRow { cause: started(build, &names), ..row(&opened.path, build) }).collect();
    Ok(BuildListPage {
        chart: bars(&charted.iter().rev().map(|build| bar(&opened.path, build, visit)).collect::<Vec<_>>()),
        cache: saved(cache.into_iter().flatten()),
        days: days(rows, visit.now()),
        filter,
        rules,
        starters,
        watched: opened.watched(),
        next,
        start,
        shell: opened.shell,
        head: opened.head,
    })
}

/// What started a build, with the person when there was one.
fn started(build: &Build, names: &HashMap<AccountId, String>) -> String {
    let words = cause(&build.cause);
    match build.started_by.and_then(|id| names.get(&id)) {
        Some(name) if build.cause == "manual" => format!("{words}, {name}"),
        Some(name) => format!("{words} by {name}"),
        None => words.to_owned(),
    }
}

/// What the cache saved over some builds; `None` when nothing could come from it.
fn saved(uses: impl Iterator<Item = CacheUse>) -> Option<String> {
    let (hits, steps) = uses.fold((0, 0), |(hits, steps), one| (hits + one.hits, steps + one.steps));
    let percent = (hits * 100 + steps / 2).checked_div(steps)?;
    Some(format!("{hits} of {} ({percent} %)", ui::count(usize::try_from(steps).unwrap_or(usize::MAX), "step", "steps")))
}

fn bar(path: &RepositoryPath, build: &Build, visit: &Visit) -> Bar {
    let end = build.finished_at.unwrap_or(visit.now());
    Bar {
        label: format!("#{}", build.number),
        href: format!("/{path}/builds/{}", build.number),
        state: build.state,
        queued: build.started_at.unwrap_or(end).since(build.queued_at),
        ran: build.started_at.map(|from| end.since(from)).unwrap_or_default(),
    }
}

/// `/{ns}/{name}/builds/{id}`.
pub(super) async fn page(visit: Visit, At(which): At<BuildAt>) -> Result<Response, PageError> {
    let opened = open(&visit, &which.at(), Tab::Builds).await?;
    let read = opened.rights.read()?;
    let detail = visit.app().get_build(read, &which.id).await?;
    let mut failed_step = None;
    let mut tail = Vec::new();
    if detail.build.state == BuildState::Failed {
        let tails = visit.app().build_log_tails(read, detail.build.id).await?;
        let failed = detail.steps.iter().rev().find(|step| step.state == StepState::Failed);
        let shown = failed.or_else(|| detail.steps.iter().rev().find(|step| tails.contains_key(&step.id)));
        if let Some((step, text)) = shown.and_then(|step| Some((step, tails.get(&step.id)?))) {
            tail = plain::last_lines(text, TAIL);
            failed_step = Some(plain::line(&step.name));
        }
    }
    Ok(show(&build_page(&visit, opened, detail, failed_step, tail)))
}

fn build_page(visit: &Visit, opened: Opened, detail: BuildDetail, failed_step: Option<String>, tail: Vec<String>) -> BuildPage {
    let build = &detail.build;
    let names = build.started_by.into_iter().zip(detail.started_by.clone()).collect();
    let mut shown = BuildRow { cause: started(build, &names), ..row(&opened.path, build) };
    if build.state == BuildState::Queued {
        shown.detail = Some(waiting(&detail, visit.now()));
    }
    let phases: Vec<PhaseSpan> =
        detail.phases.iter().map(|times| PhaseSpan { phase: times.phase, from: Some(times.started_at), to: times.finished_at }).collect();
    let notes = Notes::of(build);
    let tags: Vec<&str> = build.tags.iter().map(slipway_model::ImageTag::as_str).collect();
    let gives = match (build.terms.publish, tags.is_empty()) {
        (false, _) => "tested, not pushed".to_owned(),
        (true, true) => "no tag".to_owned(),
        (true, false) => tags.join(", "),
    };
    let web = visit.app().provider(&build.provider).map(|forge| forge.provider().web_url.as_str().trim_end_matches('/').to_owned());
    BuildPage {
        id: build.id.to_string(),
        rule: format!("{} → {gives}", build.rule.describe()),
        author: build.commit_author.as_deref().map(plain::line),
        commit_url: web.map(|web| format!("{web}/{}/commit/{}", build.source_name, build.commit)),
        attempt: build.attempt,
        // What was handed back is no try.
        attempts: visit.app().config().attempts + build.handed_back,
        digest: build.digest.clone(),
        reason: build.reason.clone().map(|reason| slipway_model::FailureReason { text: sentence(&reason.text), ..reason }),
        note: others(build).filter(|_| build.state == BuildState::Success).map(|text| sentence(&text)),
        earlier: notes.attempts.iter().map(|text| sentence(&plain::line(text))).collect(),
        cloned: notes.cloned.filter(|_| build.state != BuildState::Queued).map(plain::line),
        commit_status: detail.commit_status.as_ref().map(told),
        external: detail.external.iter().map(|tag| external::row(tag, visit.now())).collect(),
        waterfall: waterfall(&Course {
            waited: build.started_at.map(|taken| (build.queued_at, taken)),
            phases: &phases,
            steps: &detail.steps,
            now: visit.now(),
        }),
        source: format!("{} at {}", plain::line(&build.source_name), build.provider),
        cache: match detail.cache {
            Some(cache) => saved([cache].into_iter()).unwrap_or_else(|| "no step could use it".to_owned()),
            None => "off for this build".to_owned(),
        },
        pull_request: build.terms.pull_request.as_ref().map(|pull_request| {
            let PullRequest { number, base, title, .. } = pull_request;
            plain::line(&format!("#{number} into {}: {title}", base.short()))
        }),
        lane: (build.terms.lane == Lane::Untrusted)
            .then_some("untrusted: no variables, no hooks, no private images, no cache of other builds, no push"),
        approval: approval(&detail, visit),
        approvable: if build.state == BuildState::Queued && build.terms.await_approval() { Approvable::Yes } else { Approvable::No },
        cancelling: (build.cancel_requested && !build.state.is_final()).then(|| "Stopping…".to_owned()),
        shell: opened.shell,
        head: opened.head,
        hook_tags: detail.hook_tags.iter().map(|(tag, _)| tag.to_string()).collect(),
        builder: detail.builder,
        steps: detail.steps,
        build: shown,
        failed_step,
        tail,
    }
}

/// Who approved of the commit, and when.
fn approval(detail: &BuildDetail, visit: &Visit) -> Option<String> {
    let Some(Approval::Given { at, .. }) = detail.build.terms.approval else { return None };
    let by = detail.approved_by.as_deref().unwrap_or("somebody who is gone");
    Some(format!("by {by}, {}", ui::relative_text(at, visit.now())))
}

/// What became of the status of the commit.
fn told(status: &CommitStatusView) -> String {
    let why = status.error.as_deref().map(plain::line);
    match (status.state, why) {
        ("told", _) => format!("told to the provider as `{}`", status.context),
        ("waiting", None) => "on its way to the provider".to_owned(),
        ("waiting", Some(why)) => format!("not told yet, and tried again: {why}"),
        (_, why) => format!("not told: {}", why.unwrap_or_default()),
    }
}

/// Place, cause and beginning.
fn stands(waiting: &Waiting, now: Timestamp) -> String {
    let place = match waiting.position {
        None => String::new(),
        Some(0) => "Next in the queue. ".to_owned(),
        Some(1) => "One build is in front of it. ".to_owned(),
        Some(n) => format!("{n} builds are in front of it. "),
    };
    let begins = waiting.starts_at.filter(|at| *at > now).map(|at| format!(". May start in about {}", ui::duration_text(at.since(now))));
    format!("{place}Waits for: {}{}", waiting.waits_for, begins.unwrap_or_default())
}

/// How a waiting build stands, and what was noted of it.
fn waiting(detail: &BuildDetail, now: Timestamp) -> String {
    let stands = detail.waiting.as_ref().map(|waiting| stands(waiting, now)).unwrap_or_default();
    let note = came_back(&detail.build).map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{stands}{note}")
}

/// `POST /{ns}/{name}/builds`: a branch or tag by hand, or a commit of it. What cannot be built comes back in the form.
pub(super) async fn start(visit: Visit, At(at): At<RepositoryAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&at).await?;
    let write = rights.write()?;
    let (mut typed, wish) = start_form::read(&form);
    if let Some(wish) = wish {
        match visit.app().start_builds(write, &wish, visit.caller.account().id).await {
            Ok(made) => {
                return Ok(match made.as_slice() {
                    [only] => go(&format!("/{}/{}/builds/{}", at.ns, at.name, only.number)),
                    _ => go(&format!("/{}/{}/builds", at.ns, at.name)),
                });
            }
            Err(Error::Refused(refusal)) if start_form::refuse(&mut typed, &refusal) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut opened = open(&visit, &at, Tab::Builds).await?;
    // The form stands below the list.
    let problem = typed.problem().unwrap_or_default();
    opened.shell.notice = Some(Notice { tone: Tone::Attention, text: format!("Nothing was started. {problem}") });
    Ok(show_refused(&list_page(&visit, opened, &Fields::default(), typed).await?))
}

/// The id of a build in an address that may hold its number.
async fn id_of(visit: &Visit, which: &BuildAt) -> Result<BuildId, PageError> {
    let rights = visit.rights(&which.at()).await?;
    Ok(visit.app().get_build(rights.read()?, &which.id).await?.build.id)
}

/// `POST …/cancel`.
pub(super) async fn cancel(visit: Visit, At(which): At<BuildAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&which.at()).await?;
    let id = id_of(&visit, &which).await?;
    let page = format!("/{}/{}/builds", which.ns, which.name);
    match visit.app().cancel_build(rights.write()?, id, visit.caller.account().name.as_str()).await {
        Ok(build) => Ok(go(&format!("{page}/{}", build.number))),
        // It ended between the page and the click: the page shows how.
        Err(Error::Refused(_)) => Ok(go(&format!("{page}/{}", which.id))),
        Err(error) => Err(error.into()),
    }
}

/// `POST …/approve`: of the commit that the page showed.
pub(super) async fn approve(visit: Visit, At(which): At<BuildAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&which.at()).await?;
    let id = id_of(&visit, &which).await?;
    let commit = form.text("commit").parse::<CommitId>().map_err(|error| ApiError::new(Code::Invalid, error.to_string()))?;
    let build = visit.app().approve_build(rights.write()?, id, &commit, visit.caller.account().id).await?;
    Ok(go(&format!("/{}/{}/builds/{}", which.ns, which.name, build.number)))
}

/// `POST …/retry`: as it was, or without cache.
pub(super) async fn retry(visit: Visit, At(which): At<BuildAt>, Form(form): Form) -> Result<Response, PageError> {
    let rights = visit.rights(&which.at()).await?;
    let id = id_of(&visit, &which).await?;
    let retry = RetryBuild { build: id, no_cache: form.ticked("no_cache") };
    let build = visit.app().retry_build(rights.write()?, retry, visit.caller.account().id).await?;
    Ok(go(&format!("/{}/{}/builds/{}", which.ns, which.name, build.number)))
}

/// `POST …/delete`: for owners, of a build that has ended.
pub(super) async fn delete(visit: Visit, At(which): At<BuildAt>) -> Result<Response, PageError> {
    let rights = visit.rights(&which.at()).await?;
    let id = id_of(&visit, &which).await?;
    visit.app().delete_build(rights.owner()?, id).await?;
    Ok(go(&format!("/{}/{}/builds?done=build-deleted", which.ns, which.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_its_own_address() {
        let query = "state=failed&ref=%22%3E+x%26y&rule=0198f3c2-7d11-7c3e-9a55-0d7f3f0a91c4&started=by%3Aada&cursor=z";
        let read = filter(&Fields::of(query));
        assert!(read.is_set() && (read.source_ref.as_str(), read.started.as_str()) == ("\"> x&y", "by:ada"));
        let again = filter(&Fields::of(&read.rest()));
        assert_eq!(
            (again.state, &again.source_ref, &again.rule, &again.started),
            (read.state, &read.source_ref, &read.rule, &read.started)
        );
        let wanted = wanted(&read);
        assert_eq!((wanted.state, wanted.cause.as_str()), (Some(BuildState::Failed), ""));
        assert!(wanted.rule.is_some() && wanted.started_by.is_some_and(|name| name.as_str() == "ada"));
        let nothing = filter(&Fields::of("state=x&ref=++&rule=1&started="));
        assert!(!nothing.is_set() && nothing.rest().is_empty());
        assert_eq!(super::wanted(&filter(&Fields::of("started=by:No Name"))).cause, "by:No Name", "nobody's builds are not everybody's");
    }

    #[test]
    fn what_the_cache_saved_is_counted_over_builds() {
        let uses = |list: &[(u64, u64)]| saved(list.iter().map(|(hits, steps)| CacheUse { hits: *hits, steps: *steps }));
        assert_eq!(uses(&[]), None);
        assert_eq!(uses(&[(0, 0)]), None);
        assert_eq!(uses(&[(2, 3), (0, 0)]).as_deref(), Some("2 of 3 steps (67 %)"));
        assert_eq!(uses(&[(1, 1)]).as_deref(), Some("1 of 1 step (100 %)"));
    }
}
