//! Pull requests, the builds that test them, and the approval without which some are no builder's.

use slipway_model::{
    AccountId, Approval, BuildId, BuildState, BuilderId, FailureCode, FailureReason, Lane, PullRequest, RefEventId, RefName, TokenKind,
};
use slipway_store::builds::{self, Ending, NewBuild, Terms, WaitingOf};
use slipway_store::pull_requests::{self, PullRequestState};
use slipway_store::refs::{self, NewRefEvent, Origin};
use slipway_store::{Db, WriteTx, commit_statuses, last_images};

use crate::fixture::{NOW, ODD, World, after, begin, build, commit, done, look, provider, ref_name, secret, world};

on_both! {
    how_one_stands_is_written_over_and_forgotten_with_the_source;
    nothing_of_a_pull_request_moves_a_head;
    an_unapproved_build_is_nobodys_until_it_is_approved_of;
    what_waits_can_be_made_to_wait_for_approval;
    what_waits_is_cancelled_as_far_as_it_is_meant;
    a_commit_has_a_check_of_its_push_and_one_of_its_pull_request;
    what_was_not_pushed_is_no_last_image;
}

fn untrusted() -> Terms {
    let pull_request =
        PullRequest { number: 7, base: ref_name("refs/heads/main"), fetched_from: RefName::pull_request(7), fork: None, title: ODD.into() };
    Terms { lane: Lane::Untrusted, publish: false, pull_request: Some(pull_request), approval: Some(Approval::Awaited) }
}

fn trusted() -> Terms {
    Terms { lane: Lane::Trusted, approval: None, ..untrusted() }
}

async fn queue(tx: &mut WriteTx, world: &World, terms: &Terms, digit: char, cause: &str) -> BuildId {
    let (name, commit, provider) = (RefName::pull_request(7), commit(digit), provider());
    let new = NewBuild {
        repository: world.repository,
        autobuild: world.autobuild,
        rule: &world.rule,
        ref_event: RefEventId::new(),
        provider: &provider,
        source_id: "42",
        source_name: "acme/source",
        source_ref: &name,
        ref_seq: 1,
        commit: &commit,
        commit_message: None,
        commit_author: None,
        tags: &[],
        no_cache: false,
        terms,
        cause,
        started_by: None,
        retry_of: None,
    };
    builds::insert(tx, &new, NOW).await.expect("inserts").expect("a new event").0
}

async fn claim(tx: &mut WriteTx, seconds: u64) -> Option<BuildId> {
    let claimed =
        builds::claim(tx, BuilderId::new(), &secret(TokenKind::Build), &crate::fixture::FREE, after(seconds), after(seconds + 30))
            .await
            .expect("claims");
    claimed.map(|build| build.id)
}

async fn how_one_stands_is_written_over_and_forgotten_with_the_source(db: &Db) {
    let (one, other) = (world(db, "web").await, world(db, "api").await);
    let state = PullRequestState { number: 7, head: commit('a'), base: ref_name("refs/heads/main"), is_open: true, changed_at: after(5) };
    let mut tx = begin(db).await;
    assert_eq!(pull_requests::get(&mut tx, one.autobuild, 7).await.expect("query"), None);
    pull_requests::set(&mut tx, one.autobuild, &state).await.expect("writes");
    assert_eq!(pull_requests::get(&mut tx, one.autobuild, 7).await.expect("query"), Some(state.clone()));
    assert_eq!(pull_requests::get(&mut tx, one.autobuild, 8).await.expect("query"), None);
    assert_eq!(pull_requests::get(&mut tx, other.autobuild, 7).await.expect("query"), None);
    let open = PullRequestState { number: 9, ..state.clone() };
    pull_requests::set(&mut tx, one.autobuild, &open).await.expect("writes");
    let listed = async |tx: &mut WriteTx, limit| pull_requests::list_open(tx, one.autobuild, limit).await.expect("query");
    assert_eq!(listed(&mut tx, 10).await, [open.clone(), state.clone()]);
    assert_eq!(listed(&mut tx, 1).await, std::slice::from_ref(&open));
    assert_eq!(pull_requests::list_open(&mut tx, other.autobuild, 10).await.expect("query"), []);
    let closed = PullRequestState { head: commit('b'), base: ref_name("refs/heads/dev"), is_open: false, changed_at: after(9), ..state };
    pull_requests::set(&mut tx, one.autobuild, &closed).await.expect("writes");
    assert_eq!(pull_requests::get(&mut tx, one.autobuild, 7).await.expect("query"), Some(closed));
    assert_eq!(listed(&mut tx, 10).await, [open]);
    refs::forget(&mut tx, one.autobuild).await.expect("forgets");
    assert_eq!(pull_requests::get(&mut tx, one.autobuild, 7).await.expect("query"), None);
}

async fn nothing_of_a_pull_request_moves_a_head(db: &Db) {
    let world = world(db, "web").await;
    let (name, a) = (RefName::pull_request(7), commit('a'));
    let mut tx = begin(db).await;
    for (before, after) in [(None, Some(&a)), (Some(&a), None)] {
        let event = NewRefEvent {
            autobuild: world.autobuild,
            name: &name,
            before,
            after,
            origin: Origin::PullRequest,
            delivery: None,
            place: None,
            covered_by: None,
            skips: false,
        };
        refs::insert(&mut tx, &event, NOW).await.expect("appends");
        assert!(refs::list_heads(&mut tx, world.autobuild).await.expect("lists").is_empty());
    }
    assert_eq!(refs::last_seq(&mut tx, world.autobuild, &name).await.expect("query"), 2);
    assert!(refs::log(&mut tx, world.autobuild, &name, 10).await.expect("lists").is_empty(), "no push is judged by it");
}

async fn an_unapproved_build_is_nobodys_until_it_is_approved_of(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let waits = queue(&mut tx, &world, &untrusted(), 'a', "pull_request").await;
    let other = queue(&mut tx, &world, &untrusted(), 'b', "pull_request").await;
    done(tx).await;
    assert_eq!(build(db, waits).await.terms, untrusted(), "every field comes back");
    assert_eq!(build(db, waits).await.fetched_from(), &RefName::pull_request(7));

    let mut tx = begin(db).await;
    assert_eq!(claim(&mut tx, 1_000_000_000).await, None, "it waits however long");
    let pushed = world.queue(&mut tx, after(5)).await;
    assert_eq!(builds::queue_position(&mut tx, pushed, after(5)).await.expect("query"), 0, "it is in nobody's way");
    assert_eq!(claim(&mut tx, 5).await, Some(pushed));
    let (name, by) = (RefName::pull_request(7), AccountId::new());
    let wrong = builds::approve(&mut tx, world.autobuild, &RefName::pull_request(8), &commit('a'), by, after(9)).await.expect("writes");
    assert!(wrong.is_empty());
    assert_eq!(builds::approve(&mut tx, world.autobuild, &name, &commit('a'), by, after(9)).await.expect("writes"), [waits]);
    assert!(builds::approve(&mut tx, world.autobuild, &name, &commit('a'), by, after(9)).await.expect("writes").is_empty(), "once");
    done(tx).await;
    assert_eq!(build(db, waits).await.terms.approval, Some(Approval::Given { by, at: after(9) }));
    assert!(build(db, other).await.terms.await_approval(), "it is another commit's");

    let mut tx = begin(db).await;
    assert_eq!(claim(&mut tx, 8).await, None);
    assert_eq!(claim(&mut tx, 9).await, Some(waits));
    assert_eq!(claim(&mut tx, 9).await, None);
    done(tx).await;
}

async fn what_waits_can_be_made_to_wait_for_approval(db: &Db) {
    let (world, other) = (world(db, "web").await, world(db, "api").await);
    let mut tx = begin(db).await;
    let free = Terms { approval: None, ..untrusted() };
    let runs = queue(&mut tx, &world, &free, 'a', "pull_request").await;
    assert_eq!(claim(&mut tx, 5).await, Some(runs));
    let waits = queue(&mut tx, &world, &free, 'a', "pull_request").await;
    let given = Terms { approval: Some(Approval::Given { by: AccountId::new(), at: NOW }), ..untrusted() };
    let approved = queue(&mut tx, &world, &given, 'a', "retry").await;
    let inside = queue(&mut tx, &world, &trusted(), 'a', "pull_request").await;
    let elsewhere = queue(&mut tx, &other, &free, 'a', "pull_request").await;
    assert_eq!(builds::await_approval(&mut tx, world.autobuild, after(6)).await.expect("writes"), [waits]);
    assert!(builds::await_approval(&mut tx, world.autobuild, after(6)).await.expect("writes").is_empty(), "once");
    done(tx).await;
    assert!(build(db, waits).await.terms.await_approval());
    for id in [runs, approved, inside, elsewhere] {
        assert!(!build(db, id).await.terms.await_approval());
    }
    let mut tx = begin(db).await;
    let mut free = vec![claim(&mut tx, 9).await, claim(&mut tx, 9).await, claim(&mut tx, 9).await];
    free.sort();
    let mut expected = vec![Some(approved), Some(inside), Some(elsewhere)];
    expected.sort();
    assert_eq!(free, expected);
    assert_eq!(claim(&mut tx, 1_000_000_000).await, None, "it waits however long");
    done(tx).await;
}

async fn what_waits_is_cancelled_as_far_as_it_is_meant(db: &Db) {
    let world = world(db, "web").await;
    let name = RefName::pull_request(7);
    let reason = FailureReason::new(FailureCode::Superseded, "superseded");
    for (which, named, gone) in [
        (WaitingOf::Unapproved, true, vec![0, 1]),
        (WaitingOf::Deliveries, true, vec![0, 1, 2]),
        (WaitingOf::Everybody, true, vec![0, 1, 2, 3]),
        (WaitingOf::Untrusted, true, vec![0, 1]),
        (WaitingOf::Unapproved, false, vec![0, 1]),
    ] {
        let mut tx = begin(db).await;
        let pushed = world.queue(&mut tx, NOW).await;
        let made = [
            queue(&mut tx, &world, &untrusted(), 'a', "pull_request").await,
            queue(&mut tx, &world, &untrusted(), 'a', "retry").await,
            queue(&mut tx, &world, &trusted(), 'b', "pull_request").await,
            queue(&mut tx, &world, &trusted(), 'b', "retry").await,
        ];
        let (named, now) = (named.then_some(&name), after(3));
        let cancelled = builds::cancel_waiting(&mut tx, world.autobuild, named, which, &reason, now).await.expect("writes");
        done(tx).await;
        let expected: Vec<BuildId> = gone.iter().map(|n| made[*n]).collect();
        assert_eq!(cancelled.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected, "{which:?}");
        for (n, id) in made.iter().enumerate() {
            let found = build(db, *id).await;
            let ended = gone.contains(&n);
            assert_eq!(found.state == BuildState::Cancelled, ended, "{which:?} {n}");
            assert_eq!((found.reason, found.finished_at), if ended { (Some(reason.clone()), Some(after(3))) } else { (None, None) });
        }
        assert_eq!(build(db, pushed).await.state, BuildState::Queued, "a push is none of it");
        let mut tx = begin(db).await;
        builds::cancel_waiting(&mut tx, world.autobuild, None, WaitingOf::Everybody, &reason, now).await.expect("writes");
        done(tx).await;
    }
}

async fn a_commit_has_a_check_of_its_push_and_one_of_its_pull_request(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let pushed = world.queue(&mut tx, NOW).await;
    let tested = queue(&mut tx, &world, &trusted(), 'a', "pull_request").await;
    done(tx).await;
    let context = async |build| commit_statuses::get(&mut look(db).await, build).await.expect("query").expect("stands").context;
    assert_eq!(context(pushed).await, "slipway/acme/web");
    assert_eq!(context(tested).await, "slipway/acme/web/pull-request");
    let mut tx = begin(db).await;
    for _ in 0..2 {
        let status = commit_statuses::claim(&mut tx, after(1), after(60)).await.expect("claims").expect("due");
        commit_statuses::set_told(&mut tx, &status, after(2)).await.expect("writes");
    }
    done(tx).await;
    for build in [pushed, tested] {
        let status = commit_statuses::get(&mut look(db).await, build).await.expect("query").expect("stands");
        assert_eq!((status.due_at, status.told_at), (None, Some(after(2))), "each is told by itself");
    }
}

async fn what_was_not_pushed_is_no_last_image(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let tested = queue(&mut tx, &world, &trusted(), 'a', "pull_request").await;
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    assert!(builds::finish(&mut tx, tested, &ending, NOW).await.expect("ends"));
    assert!(last_images::get(&mut tx, world.rule.id, &RefName::pull_request(7), 9).await.expect("query").is_none());
}
