//! What the provider is told of builds: once, in order, again until it takes it, and nothing where we may not.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;
use slipway_app::{AutobuildInput, BuilderOutcome, CommitStatusView, ConnectWish, LinkSwitch, RepositoryAdmin, StartBuild};
use slipway_model::{AccessLevel, BuildId, FailureCode, FailureReason, LinkState};
use slipway_store::builds::Build;
use slipway_store::commit_statuses;
use slipway_testkit::github::{Fault, OrgRole, Permission, Times, Visibility as Shown};

use crate::place::{Place, on_both, read, write};

const STATUSES: &str = "POST /api/v3/repos/octo/hello/statuses";

on_both! {
    a_build_is_told_from_the_queue_to_its_end;
    a_cancelled_build_is_an_error_and_a_newer_build_takes_over;
    what_the_provider_did_not_take_is_sent_again;
    what_a_crash_left_between_is_sent_once_more_and_never_backwards;
    nothing_is_sent_through_a_disabled_link;
    a_refusal_is_shown_at_the_build_and_does_not_break_the_link;
    a_link_that_only_reads_tells_nothing;
    each_rule_has_a_check_of_its_own;
    a_renamed_source_is_told_and_not_the_one_that_took_its_name;
}

async fn start(place: &Place, right: &RepositoryAdmin) -> Result<Build> {
    let start = StartBuild { source_ref: "refs/heads/main".parse()?, commit: None, no_cache: false };
    place.app.start_builds(&write(right), &start, place.caller.account().id).await?.pop().context("a build")
}

/// Tells all that is due now; gives how many.
async fn tell(place: &Place) -> Result<usize> {
    let mut told = 0;
    while place.app.tell_status_once().await? {
        told += 1;
    }
    Ok(told)
}

async fn fail(place: &Place, code: FailureCode) -> Result<()> {
    let token = place.app.register_builtin_builder("test").await?;
    let builder = place.app.builder_by_token(token.expose()).await?.context("a builder")?;
    let claimed = place.app.claim(&builder).await?.context("a build")?.build;
    let outcome = BuilderOutcome::Failed(FailureReason::new(code, "secret words of the log"));
    place.app.finish(&builder, claimed.id, claimed.attempt, &outcome).await?.map_err(|fenced| anyhow!(fenced.detail))?;
    Ok(())
}

async fn seen(place: &Place, right: &RepositoryAdmin, build: BuildId) -> Result<CommitStatusView> {
    place.app.get_build(&read(right), &build.to_string()).await?.commit_status.context("a status")
}

/// State and description of all statuses of a build's commit, oldest first.
fn there(place: &Place, source: &str, build: &Build) -> Vec<(String, String)> {
    let all = place.github.statuses(source, build.commit.as_str());
    all.into_iter().map(|one| (one.state, one.description.unwrap_or_default())).collect()
}

fn pair(state: &str, words: &str) -> (String, String) {
    (state.to_owned(), words.to_owned())
}

async fn a_build_is_told_from_the_queue_to_its_end(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let build = start(&place, &right).await?;
    assert_eq!(seen(&place, &right, build.id).await?.state, "waiting");
    assert_eq!(tell(&place).await?, 1);
    let pending = pair("pending", "build #1 is under way (branch main)");
    assert_eq!(there(&place, "octo/hello", &build), std::slice::from_ref(&pending));
    let one = place.github.statuses("octo/hello", build.commit.as_str()).remove(0);
    assert_eq!(one.context, "slipway/demo/hello");
    assert_eq!(one.target_url.as_deref(), Some("http://slipway.test:8080/demo/hello/builds/1"));
    let told = seen(&place, &right, build.id).await?;
    assert_eq!((told.state, told.context.as_str(), told.error), ("told", "slipway/demo/hello", None));
    fail(&place, FailureCode::TestFailed).await?;
    assert_eq!((tell(&place).await?, tell(&place).await?), (1, 0));
    assert_eq!(there(&place, "octo/hello", &build), [pending, pair("failure", "build #1 failed: test failed (branch main)")]);
    Ok(())
}

async fn a_cancelled_build_is_an_error_and_a_newer_build_takes_over(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let first = start(&place, &right).await?;
    place.app.cancel_build(&write(&right), first.id, "demo").await?;
    assert_eq!(tell(&place).await?, 1, "what it was before is not told any more");
    let cancelled = pair("error", "build #1 was cancelled (branch main)");
    assert_eq!(there(&place, "octo/hello", &first), std::slice::from_ref(&cancelled));
    let second = start(&place, &right).await?;
    let third = start(&place, &right).await?;
    place.app.cancel_build(&write(&right), second.id, "demo").await?;
    tell(&place).await?;
    assert_eq!(there(&place, "octo/hello", &first), [cancelled, pair("pending", "build #3 is under way (branch main)")]);
    assert!(place.app.get_build(&read(&right), &second.id.to_string()).await?.commit_status.is_none());
    assert_eq!(seen(&place, &right, third.id).await?.state, "told");
    Ok(())
}

async fn what_the_provider_did_not_take_is_sent_again(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    place.github.trouble(STATUSES, Fault::Status(500), Times::Next(2));
    let build = start(&place, &right).await?;
    assert_eq!(tell(&place).await?, 1, "not again at once");
    let waiting = seen(&place, &right, build.id).await?;
    assert_eq!(waiting.state, "waiting");
    assert!(waiting.error.is_some_and(|error| error.contains("500")));
    for seconds in [6, 12] {
        place.clock.advance(Duration::from_secs(seconds));
        assert_eq!(tell(&place).await?, 1);
    }
    assert_eq!(there(&place, "octo/hello", &build).len(), 1);
    assert_eq!(seen(&place, &right, build.id).await?.error, None);

    // An end that nobody takes is given up after three days, and not before.
    place.github.trouble(STATUSES, Fault::Status(502), Times::UntilCleared);
    fail(&place, FailureCode::StepFailed).await?;
    for _ in 0..71 {
        tell(&place).await?;
        place.hours(1);
    }
    assert_eq!(seen(&place, &right, build.id).await?.state, "waiting");
    place.hours(2);
    tell(&place).await?;
    let given_up = seen(&place, &right, build.id).await?;
    assert_eq!(given_up.state, "not_told");
    assert!(given_up.error.is_some_and(|error| error.starts_with("given up after three days") && error.contains("502")));
    Ok(())
}

async fn what_a_crash_left_between_is_sent_once_more_and_never_backwards(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let build = start(&place, &right).await?;
    // A replica took it and died, before or after the provider did.
    let now = place.clock.now();
    let mut tx = place.app.db().write().await?;
    let taken = commit_statuses::claim(&mut tx, now, now.plus(Duration::from_secs(120))).await?.context("due")?;
    tx.commit().await?;
    assert_eq!((taken.build, tell(&place).await?), (build.id, 0), "one sender at a time");
    fail(&place, FailureCode::StepFailed).await?;
    assert_eq!(tell(&place).await?, 0, "the end waits for the pending that may be on its way");
    place.clock.advance(Duration::from_secs(121));
    assert_eq!(tell(&place).await?, 1);
    assert_eq!(there(&place, "octo/hello", &build), [pair("failure", "build #1 failed: step failed (branch main)")]);

    // The answer is lost: it is said twice, and stays what it is.
    let again = start(&place, &right).await?;
    place.github.trouble(STATUSES, Fault::AnswerLost, Times::Next(1));
    tell(&place).await?;
    place.clock.advance(Duration::from_secs(10));
    assert_eq!(tell(&place).await?, 1);
    let states: Vec<_> = there(&place, "octo/hello", &again).into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["failure", "pending", "pending"]);
    Ok(())
}

async fn nothing_is_sent_through_a_disabled_link(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let build = start(&place, &right).await?;
    place.app.switch_link(&place.owner().await?, &place.provider, None, LinkSwitch::Disable).await?;
    let asked = place.github.count_requests();
    for _ in 0..3 {
        assert_eq!(tell(&place).await?, 1);
        place.hours(1);
    }
    assert_eq!(place.github.count_requests(), asked);
    let waiting = seen(&place, &right, build.id).await?;
    assert!(waiting.state == "waiting" && waiting.error.as_deref().is_some_and(|error| error.contains("disabled")), "{waiting:?}");
    place.app.switch_link(&place.owner().await?, &place.provider, None, LinkSwitch::Enable).await?;
    assert_eq!(tell(&place).await?, 1);
    assert_eq!(there(&place, "octo/hello", &build).len(), 1);
    Ok(())
}

async fn a_refusal_is_shown_at_the_build_and_does_not_break_the_link(place: Place) -> Result<()> {
    place.github.user("other");
    place.github.organization("acme", &[("other", OrgRole::Admin), ("octo", OrgRole::Member)]);
    place.github.repository("acme/app", Shown::Private).await?;
    place.github.collaborator("acme/app", "octo", Permission::Read);
    place.github.commit("acme/app", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    let (right, _) = place.build("app", "acme/app").await?;
    let build = start(&place, &right).await?;
    assert_eq!(tell(&place).await?, 1);
    let refused = seen(&place, &right, build.id).await?;
    assert_eq!(refused.state, "not_told");
    assert!(refused.error.as_deref().is_some_and(|error| error.contains("`octo` at `github`")), "{refused:?}");
    place.hours(2);
    assert_eq!(tell(&place).await?, 0, "not asked again");
    while place.app.check_links_once().await? > 0 {}
    let links = place.app.list_links(&place.owner().await?).await?;
    assert!(links.iter().all(|link| link.provider != place.provider || link.state == LinkState::Ok), "{links:?}");
    // Who gets the right meanwhile is told of the end.
    place.github.collaborator("acme/app", "octo", Permission::Write);
    fail(&place, FailureCode::StepFailed).await?;
    assert_eq!(tell(&place).await?, 1);
    assert_eq!(there(&place, "acme/app", &build), [pair("failure", "build #1 failed: step failed (branch main)")]);

    let (hello, _) = place.build("hello", "octo/hello").await?;
    place.github.trouble(STATUSES, Fault::Status(403), Times::Next(1));
    let build = start(&place, &hello).await?;
    assert_eq!(tell(&place).await?, 1);
    assert_eq!(seen(&place, &hello, build.id).await?.state, "not_told");
    Ok(())
}

async fn a_link_that_only_reads_tells_nothing(place: Place) -> Result<()> {
    place.github.repository("octo/open", Shown::Public).await?;
    place.github.commit("octo/open", "main", &[("Dockerfile", "FROM scratch\n")], "first").await?;
    place.link(ConnectWish { access: AccessLevel::ReadOnly, ..ConnectWish::default() }).await?;
    let (right, _) = place.build("open", "octo/open").await?;
    let build = start(&place, &right).await?;
    let asked = place.github.count_requests();
    assert_eq!((tell(&place).await?, tell(&place).await?), (1, 0));
    assert_eq!(place.github.count_requests(), asked);
    let quiet = seen(&place, &right, build.id).await?;
    assert_eq!((quiet.state, quiet.error.as_deref()), ("not_told", Some("the link only reads")));
    Ok(())
}

async fn each_rule_has_a_check_of_its_own(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let rule = |tags: &str| json!({"source_type": "branch", "source": "main", "tags": tags});
    let input: AutobuildInput =
        serde_json::from_value(json!({"provider": "github", "source": "octo/hello", "rules": [rule("latest"), rule("main")]}))?;
    place.app.put_autobuild(&right, &input).await?;
    let build = start(&place, &right).await?;
    assert_eq!(tell(&place).await?, 2);
    start(&place, &right).await?;
    assert_eq!(tell(&place).await?, 2);
    let mut contexts: Vec<_> =
        place.github.statuses("octo/hello", build.commit.as_str()).into_iter().map(|status| status.context).collect();
    contexts.sort();
    contexts.dedup();
    assert!(contexts.len() == 2 && contexts[0] == "slipway/demo/hello" && contexts[1].starts_with("slipway/demo/hello/"), "{contexts:?}");
    Ok(())
}

async fn a_renamed_source_is_told_and_not_the_one_that_took_its_name(place: Place) -> Result<()> {
    let (right, _) = place.build("hello", "octo/hello").await?;
    let build = start(&place, &right).await?;
    place.github.rename_repository("octo/hello", "renamed");
    place.github.repository("octo/hello", Shown::Private).await?;
    assert_eq!(tell(&place).await?, 1);
    assert_eq!(there(&place, "octo/renamed", &build).len(), 1);
    Ok(())
}
