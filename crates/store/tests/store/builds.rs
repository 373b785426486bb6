//! The queue: what enters it, who gets it, in which order.

use slipway_model::{
    AccountId, BuildId, BuildRule, BuildState, BuilderId, FailureCode, FailureReason, Permission, Phase, ProviderId, RepositoryId,
    TokenKind, Visibility,
};
use slipway_store::builds::{self, BuildFilter, Ending, NewBuild, Part, Terms};
use slipway_store::refs::{self, NewRefEvent, Origin};
use slipway_store::repositories::{self, Eyes};
use slipway_store::{Db, StoreError, WriteTx, last_images, logs, progress, teams};

use crate::fixture::{
    NOW, ODD, World, account, after, begin, build, commit, done, look, provider, ref_name, repository, secret, tag, team, token, world,
};

on_both! {
    a_build_comes_back_as_it_was_asked_for;
    one_build_per_rule_and_event;
    eight_builders_share_two_hundred_builds;
    the_oldest_that_is_due_comes_first;
    a_build_ends_once;
    a_cancel_reaches_what_has_not_ended;
    a_final_build_never_changes;
    the_last_image_of_a_rule_and_ref_is_found;
    builds_are_listed_for_those_with_a_right;
    open_builds_are_counted;
    a_build_that_has_ended_is_removed;
    builds_that_no_link_could_serve_are_found_while_nothing_followed;
}

async fn a_build_comes_back_as_it_was_asked_for(db: &Db) {
    let (world, other) = (world(db, "web").await, repository(db, "acme", "other").await);
    let before = world.queued(db).await;
    let mut tx = begin(db).await;
    let name = ref_name("refs/tags/v1.0-🦀'\"");
    let (to, provider) = (commit('c'), provider());
    let event = NewRefEvent {
        autobuild: world.autobuild,
        name: &name,
        before: None,
        after: Some(&to),
        origin: Origin::Manual,
        delivery: None,
        place: None,
        covered_by: None,
        skips: false,
    };
    let (event, seq) = refs::insert(&mut tx, &event, NOW).await.expect("appends");
    let rule = BuildRule { dockerfile: "a 'b'/🦀".parse().expect("path"), ..world.rule.clone() };
    let tags = [tag("v1.0"), tag("latest")];
    let new = NewBuild {
        repository: world.repository,
        autobuild: world.autobuild,
        rule: &rule,
        ref_event: event,
        provider: &provider,
        source_id: "42",
        source_name: ODD,
        source_ref: &name,
        ref_seq: seq,
        commit: &to,
        // JSON can carry a NUL, PostgreSQL's TEXT cannot: a push must not be lost over it.
        commit_message: Some("fix\0 it"),
        commit_author: Some(ODD),
        tags: &tags,
        no_cache: true,
        terms: &Terms::of_push(),
        cause: "retry",
        started_by: Some(world.account),
        retry_of: Some(before),
    };
    let (id, number) = builds::insert(&mut tx, &new, after(3)).await.expect("inserts").expect("a new event");
    done(tx).await;
    assert_eq!(number, 2);
    let found = build(db, id).await;
    assert_eq!((found.id, found.repository, found.number, &found.rule), (id, world.repository, 2, &rule));
    assert_eq!((found.autobuild, found.ref_event, found.ref_seq), (world.autobuild, event, seq));
    assert_eq!((&found.provider, found.source_id.as_str(), found.source_name.as_str()), (&provider, "42", ODD));
    assert_eq!((&found.source_ref, &found.commit, found.tags.as_slice()), (&name, &to, tags.as_slice()));
    assert_eq!((found.commit_message.as_deref(), found.commit_author.as_deref()), (Some("fix\u{fffd} it"), Some(ODD)));
    assert_eq!(
        (found.no_cache, found.cause.as_str(), found.started_by, found.retry_of),
        (true, "retry", Some(world.account), Some(before))
    );
    assert_eq!((found.state, found.phase, found.reason, found.note, found.digest), (BuildState::Queued, None, None, None, None));
    assert_eq!((found.attempt, found.builder, found.lease_until, found.last_sequence, found.log_bytes), (0, None, None, 0, 0));
    assert_eq!((found.cancel_requested, found.queued_at, found.started_at, found.finished_at), (false, after(3), None, None));
    let mut tx = look(db).await;
    assert!(builds::get(&mut tx, world.repository, id).await.expect("query").is_some());
    assert!(builds::get(&mut tx, other, id).await.expect("query").is_none(), "another repository's");
    assert_eq!(builds::get_by_number(&mut tx, world.repository, 2).await.expect("query").expect("stands").id, id);
    assert!(builds::get_by_number(&mut tx, world.repository, 3).await.expect("query").is_none());
    assert!(builds::get_by_number(&mut tx, other, 2).await.expect("query").is_none());
    assert!(builds::get_by_number(&mut tx, world.repository, u64::MAX).await.expect("query").is_none());
    assert!(builds::get_any(&mut tx, BuildId::new()).await.expect("query").is_none());
    // Each filter leaves one of the two, all of them together too; none takes a text for a pattern.
    let all = BuildFilter::default();
    let (both, one, none) = (vec![id, before], vec![id], vec![]);
    for (filter, expected) in [
        (all.clone(), &both),
        (BuildFilter { state: Some(BuildState::Queued), ..all.clone() }, &both),
        (BuildFilter { source_ref: "v1.0-🦀'\"".into(), ..all.clone() }, &one),
        (BuildFilter { source_ref: "V1.0".into(), ..all.clone() }, &none),
        (BuildFilter { source_ref: "v1_0".into(), ..all.clone() }, &none),
        (BuildFilter { source_ref: "%".into(), ..all.clone() }, &none),
        (BuildFilter { rule: Some(rule.id), ..all.clone() }, &both),
        (BuildFilter { rule: Some(slipway_model::RuleId::new()), ..all.clone() }, &none),
        (BuildFilter { cause: "retry".into(), ..all.clone() }, &one),
        (BuildFilter { started_by: Some(world.account), ..all.clone() }, &one),
        (BuildFilter { started_by: Some(world.account), cause: "push".into(), ..all }, &none),
    ] {
        let found = builds::list(&mut tx, world.repository, &filter, None, 10).await.expect("lists");
        assert_eq!(found.iter().map(|build| build.id).collect::<Vec<_>>(), *expected, "{filter:?}");
    }
}

/// A build of `world` for this event, whoever asks.
async fn answer(db: &Db, world: &World, event: slipway_model::RefEventId) -> Option<(BuildId, u64)> {
    let (name, commit, provider) = (ref_name("refs/heads/main"), commit('a'), provider());
    let new = NewBuild {
        repository: world.repository,
        autobuild: world.autobuild,
        rule: &world.rule,
        ref_event: event,
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
        terms: &Terms::of_push(),
        cause: "push",
        started_by: None,
        retry_of: None,
    };
    let mut tx = begin(db).await;
    let inserted = builds::insert(&mut tx, &new, NOW).await.expect("inserts");
    done(tx).await;
    inserted
}

async fn one_build_per_rule_and_event(db: &Db) {
    let world = world(db, "web").await;
    let event = slipway_model::RefEventId::new();
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (db, world) = (db.clone(), world.clone());
        askers.spawn(async move { answer(&db, &world, event).await });
    }
    let made: Vec<(BuildId, u64)> = askers.join_all().await.into_iter().flatten().collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].1, 1);
    // The same event under another rule, and another event under the same rule, are other builds.
    let second_rule = World { rule: crate::fixture::rule(), ..world.clone() };
    let (_, second) = answer(db, &second_rule, event).await.expect("another rule");
    let (_, third) = answer(db, &world, slipway_model::RefEventId::new()).await.expect("another event");
    assert_eq!((second, third), (2, 3), "a build that was not made uses up no number");
    let gone = World { repository: RepositoryId::new(), ..world };
    let (name, commit, provider) = (ref_name("refs/heads/main"), commit('a'), provider());
    let new = NewBuild {
        repository: gone.repository,
        autobuild: gone.autobuild,
        rule: &gone.rule,
        ref_event: slipway_model::RefEventId::new(),
        provider: &provider,
        source_id: "",
        source_name: "",
        source_ref: &name,
        ref_seq: 1,
        commit: &commit,
        commit_message: None,
        commit_author: None,
        tags: &[],
        no_cache: false,
        terms: &Terms::of_push(),
        cause: "push",
        started_by: None,
        retry_of: None,
    };
    let nowhere = builds::insert(&mut begin(db).await, &new, NOW).await;
    assert!(matches!(nowhere, Err(StoreError::Conflict(_))), "{nowhere:?}");
}

async fn eight_builders_share_two_hundred_builds(db: &Db) {
    const BUILDS: usize = 200;
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let mut queued = Vec::new();
    for _ in 0..BUILDS {
        queued.push(world.queue(&mut tx, NOW).await);
    }
    done(tx).await;
    let mut builders = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        builders.spawn(async move {
            let builder = BuilderId::new();
            let mut mine = Vec::new();
            loop {
                let mut tx = begin(&db).await;
                let claimed = builds::claim(&mut tx, builder, &secret(TokenKind::Build), &crate::fixture::FREE, after(1), after(31))
                    .await
                    .expect("claims");
                // An empty answer may only mean that others hold the last rows; the count below says whether any was left.
                let waiting = builds::queue_length(&mut tx).await.expect("query").0;
                done(tx).await;
                match claimed {
                    Some(build) => {
                        assert_eq!((build.state, build.attempt, build.builder), (BuildState::Running, 1, Some(builder)));
                        mine.push(build.id);
                    }
                    None if waiting == 0 => break,
                    None => tokio::task::yield_now().await,
                }
            }
            let held = builds::count_held(&mut look(&db).await, builder).await.expect("query");
            assert_eq!(usize::try_from(held).expect("small"), mine.len());
            mine
        });
    }
    let mut claimed: Vec<BuildId> = builders.join_all().await.into_iter().flatten().collect();
    claimed.sort();
    assert_eq!(claimed, queued, "each build once, none left");
    assert_eq!(builds::queue_length(&mut look(db).await).await.expect("query"), (0, BUILDS as u64));
}

async fn the_oldest_that_is_due_comes_first(db: &Db) {
    let world = world(db, "web").await;
    let builder = BuilderId::new();
    let first = world.running(db, builder).await;
    let mut tx = begin(db).await;
    let second = world.queue(&mut tx, after(1)).await;
    let third = world.queue(&mut tx, after(2)).await;
    // The first build goes back and waits until second 20: the others are in front of it.
    assert!(builds::requeue(&mut tx, first.id, "again", after(20)).await.expect("writes"));
    for (id, position) in [(second, 0), (third, 1), (first.id, 2), (BuildId::new(), 0)] {
        assert_eq!(builds::queue_position(&mut tx, id, after(30)).await.expect("query"), position, "{id}");
    }
    assert_eq!(builds::queue_length(&mut tx).await.expect("query"), (3, 0));
    done(tx).await;
    let mut tx = begin(db).await;
    let mut order = Vec::new();
    for second in [3, 3, 19, 20, 20] {
        let claimed = builds::claim(&mut tx, builder, &secret(TokenKind::Build), &crate::fixture::FREE, after(second), after(50))
            .await
            .expect("claims");
        order.push(claimed.map(|build| build.id));
    }
    assert_eq!(order, [Some(second), Some(third), None, Some(first.id), None], "what is not due is left alone");
}

async fn a_build_ends_once(db: &Db) {
    let world = world(db, "web").await;
    let running = world.running(db, BuilderId::new()).await;
    let reason = FailureReason::new(FailureCode::StepFailed, format!("exit code 1\0 {ODD}"));
    let mut enders = tokio::task::JoinSet::new();
    for n in 0..6_u64 {
        let (db, reason) = (db.clone(), reason.clone());
        enders.spawn(async move {
            let mut tx = begin(&db).await;
            let note = n.to_string();
            let ending = Ending { state: BuildState::Failed, reason: Some(&reason), note: Some(&note), digest: None };
            let ended = builds::finish(&mut tx, running.id, &ending, after(n)).await.expect("writes");
            done(tx).await;
            ended.then_some(n)
        });
    }
    let winners: Vec<u64> = enders.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    let found = build(db, running.id).await;
    let clean = FailureReason { code: FailureCode::StepFailed, text: reason.text.replace('\0', "\u{fffd}") };
    assert_eq!((found.state, found.reason, found.note), (BuildState::Failed, Some(clean), Some(winners[0].to_string())));
    assert_eq!((found.finished_at, found.lease_until), (Some(after(winners[0])), None));
    assert_eq!(found.builder, running.builder, "who had it stays readable");
    let unknown = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    assert!(!builds::finish(&mut begin(db).await, BuildId::new(), &unknown, NOW).await.expect("writes"));
}

async fn the_last_image_of_a_rule_and_ref_is_found(db: &Db) {
    let (world, other) = (world(db, "web").await, world(db, "other").await);
    let main = ref_name("refs/heads/main");
    let ids = [world.queued(db).await, world.queued(db).await, world.queued(db).await, other.queued(db).await];
    let mut tx = begin(db).await;
    for (id, state) in ids.iter().zip([BuildState::Success, BuildState::Success, BuildState::Failed, BuildState::Success]) {
        assert!(builds::finish(&mut tx, *id, &Ending { state, reason: None, note: None, digest: None }, NOW).await.expect("writes"));
    }
    let (first, second, third) = (build_in(&mut tx, ids[0]).await, build_in(&mut tx, ids[1]).await, build_in(&mut tx, ids[2]).await);
    let number = async |tx: &mut WriteTx, before: u64| {
        let found = last_images::get(tx, world.rule.id, &main, before).await.expect("query");
        found.map(|last| {
            assert_eq!((&last.rule, &last.commit), (&world.rule, &first.commit));
            last.number
        })
    };
    assert_eq!(number(&mut tx, third.ref_seq).await, Some(second.number), "the newest that has an image");
    assert_eq!(number(&mut tx, third.ref_seq + 1).await, Some(second.number), "a failed one has none");
    assert_eq!(number(&mut tx, second.ref_seq).await, Some(first.number), "of before this push");
    assert_eq!(number(&mut tx, first.ref_seq).await, None);
    let elsewhere = last_images::get(&mut tx, world.rule.id, &ref_name("refs/heads/dev"), u64::from(u32::MAX)).await.expect("query");
    assert!(elsewhere.is_none());
}

async fn build_in(tx: &mut WriteTx, id: BuildId) -> builds::Build {
    builds::get_any(tx, id).await.expect("query").expect("stands")
}

async fn a_cancel_reaches_what_has_not_ended(db: &Db) {
    let world = world(db, "web").await;
    let running = world.running(db, BuilderId::new()).await;
    let queued = world.queued(db).await;
    let mut tx = begin(db).await;
    for id in [running.id, queued] {
        assert!(builds::request_cancel(&mut tx, id).await.expect("writes"));
        assert!(builds::request_cancel(&mut tx, id).await.expect("again is fine"));
        assert!(builds::get_any(&mut tx, id).await.expect("query").expect("stands").cancel_requested);
    }
    let ending = Ending { state: BuildState::Cancelled, reason: None, note: None, digest: None };
    assert!(builds::finish(&mut tx, queued, &ending, after(1)).await.expect("a queued build ends too"));
    assert!(!builds::request_cancel(&mut tx, queued).await.expect("too late"));
    assert!(!builds::request_cancel(&mut tx, BuildId::new()).await.expect("unknown"));
    let next = builds::claim(&mut tx, BuilderId::new(), &secret(TokenKind::Build), &crate::fixture::FREE, after(2), after(9))
        .await
        .expect("claims");
    assert!(next.is_none(), "nobody gets a build that has ended");
}

async fn a_final_build_never_changes(db: &Db) {
    let world = world(db, "web").await;
    for state in [BuildState::Success, BuildState::Failed, BuildState::Cancelled] {
        let builder = BuilderId::new();
        let running = world.running(db, builder).await;
        let mut tx = begin(db).await;
        let reason = FailureReason::new(FailureCode::Internal, "x");
        let ending = Ending { state, reason: Some(&reason), note: Some("note"), digest: Some("sha256:a") };
        assert!(builds::finish(&mut tx, running.id, &ending, after(1)).await.expect("writes"));
        done(tx).await;
        let before = format!("{:?}", build(db, running.id).await);
        let mut tx = begin(db).await;
        let other = Ending { state: BuildState::Success, reason: None, note: None, digest: Some("sha256:b") };
        assert!(!builds::finish(&mut tx, running.id, &other, after(2)).await.expect("writes"));
        assert!(!builds::requeue(&mut tx, running.id, "again", after(2)).await.expect("writes"));
        assert!(!builds::request_cancel(&mut tx, running.id).await.expect("writes"));
        assert!(builds::hold(&mut tx, running.id, builder, 1, after(2)).await.expect("query").is_none());
        builds::extend_lease(&mut tx, running.id, after(99)).await.expect("nothing to do");
        builds::set_last_sequence(&mut tx, running.id, 9, 9).await.expect("nothing to do");
        builds::set_commit(&mut tx, running.id, &commit('f'), "m", "a").await.expect("nothing to do");
        assert_eq!(builds::expire_leases_of(&mut tx, &builder, after(2)).await.expect("writes"), 0);
        done(tx).await;
        assert_eq!(format!("{:?}", build(db, running.id).await), before, "{state}");
    }
}

async fn builds_are_listed_for_those_with_a_right(db: &Db) {
    let (web, api, open) = (world(db, "web").await, world(db, "api").await, world(db, "open").await);
    let (ada, bob) = (account(db, "ada").await, account(db, "bob").await);
    let mut ids = Vec::new();
    for world in [&web, &api, &open, &web, &open, &api] {
        ids.push(world.queued(db).await);
    }
    let mut tx = begin(db).await;
    for _ in 0..2 {
        builds::claim(&mut tx, BuilderId::new(), &secret(TokenKind::Build), &crate::fixture::FREE, NOW, after(30)).await.expect("claims");
    }
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    assert!(builds::finish(&mut tx, ids[1], &ending, NOW).await.expect("ends"));
    done(tx).await;
    let (first, second) = (team(db, web.account, "first", &[ada]).await, team(db, web.account, "second", &[ada, bob]).await);
    let mut tx = begin(db).await;
    repositories::update(&mut tx, open.repository, Some(""), Some(Visibility::Public)).await.expect("writes");
    for (team, repository) in [(first, web.repository), (second, web.repository), (first, api.repository)] {
        teams::set_permission(&mut tx, team, repository, Permission::Read).await.expect("sets");
    }
    done(tx).await;
    let (limited, _) = token(db, ada, Some(&[api.repository, open.repository])).await;
    for (eyes, wanted) in [
        (Eyes::owner(), vec![2, 3, 4, 5, 0, 1]),
        (Eyes::account(ada), vec![3, 5, 0, 1]),
        (Eyes::account(bob), vec![3, 0]),
        (Eyes::account(ada).limited(limited), vec![5, 1]),
        (Eyes::owner().limited(limited), vec![2, 4, 5, 1]),
        // What is public shows its tags to everybody, not its builds.
        (Eyes::account(AccountId::new()), vec![]),
        (Eyes::stranger(), vec![]),
        (Eyes::stranger().limited(limited), vec![]),
    ] {
        // The parts of a namespace are apart, and each is cut.
        let mut seen: Vec<BuildId> = Vec::new();
        for part in [Part::Queued, Part::Running, Part::Ended] {
            let page = builds::list_by_account(&mut look(db).await, web.account, eyes, part, 10).await.expect("lists");
            let cut = builds::list_by_account(&mut look(db).await, web.account, eyes, part, 1).await.expect("lists");
            assert_eq!(cut.first().map(|build| build.id), page.first().map(|build| build.id));
            assert!(cut.len() <= 1);
            if part == Part::Queued {
                for limit in [10, 2] {
                    let waiting = builds::count_waiting(&mut look(db).await, web.account, eyes, limit).await.expect("counts");
                    assert_eq!(waiting, (page.len() as u64).min(u64::from(limit)), "{eyes:?}");
                }
            }
            seen.extend(page.into_iter().map(|build| build.id));
        }
        assert_eq!(seen, wanted.into_iter().map(|n| ids[n]).collect::<Vec<_>>(), "{eyes:?}");
    }
}

async fn open_builds_are_counted(db: &Db) {
    let (web, api) = (world(db, "web").await, world(db, "api").await);
    let other = account(db, "other").await;
    let running = web.running(db, BuilderId::new()).await;
    web.queued(db).await;
    api.queued(db).await;
    let ending = Ending { state: BuildState::Success, reason: None, note: None, digest: None };
    let mut tx = begin(db).await;
    assert_eq!(builds::count_open(&mut tx, web.account).await.expect("query"), 3);
    assert_eq!(builds::count_running(&mut tx, web.account).await.expect("query"), 1);
    assert_eq!(builds::count_running(&mut tx, other).await.expect("query"), 0);
    assert!(builds::finish(&mut tx, running.id, &ending, after(1)).await.expect("writes"));
    assert_eq!(builds::count_open(&mut tx, web.account).await.expect("query"), 2);
    assert_eq!(builds::count_running(&mut tx, web.account).await.expect("query"), 0);
    assert_eq!(builds::count_open(&mut tx, other).await.expect("query"), 0);
}

async fn a_build_that_has_ended_is_removed(db: &Db) {
    let (web, api) = (world(db, "web").await, world(db, "api").await);
    for state in [BuildState::Success, BuildState::Failed, BuildState::Cancelled] {
        let running = web.running(db, BuilderId::new()).await;
        let mut tx = begin(db).await;
        logs::append(&mut tx, running.id, 1, &[(None, "text", NOW)]).await.expect("appends");
        progress::start_phase(&mut tx, running.id, 1, Phase::Build, NOW).await.expect("writes");
        assert!(!builds::delete(&mut tx, web.repository, running.id).await.expect("deletes"), "it runs");
        let reason = FailureReason::new(FailureCode::Internal, "x");
        assert!(
            builds::finish(&mut tx, running.id, &Ending { state, reason: Some(&reason), note: None, digest: None }, after(1))
                .await
                .expect("writes")
        );
        assert!(!builds::delete(&mut tx, api.repository, running.id).await.expect("deletes"), "another repository's");
        done(tx).await;
        assert_eq!(build(db, running.id).await.state, state);
        let mut tx = begin(db).await;
        assert!(builds::delete(&mut tx, web.repository, running.id).await.expect("deletes"));
        assert!(!builds::delete(&mut tx, web.repository, running.id).await.expect("deletes"));
        done(tx).await;
        let mut tx = look(db).await;
        assert!(builds::get_any(&mut tx, running.id).await.expect("query").is_none());
        assert!(logs::list(&mut tx, running.id, 0, 10).await.expect("lists").is_empty());
        assert!(progress::list_phases(&mut tx, running.id, 1).await.expect("lists").is_empty());
    }
    let queued = web.queued(db).await;
    let mut tx = begin(db).await;
    assert!(!builds::delete(&mut tx, web.repository, queued).await.expect("deletes"), "it waits");
    let number = builds::get_any(&mut tx, queued).await.expect("query").expect("stands").number;
    assert_eq!(number, 4, "the numbers of builds that are gone are not given again");
}

async fn builds_that_no_link_could_serve_are_found_while_nothing_followed(db: &Db) {
    let world = world(db, "web").await;
    let (other, github) = (account(db, "bob").await, provider());
    let found = async |account: AccountId, provider: &ProviderId, limit: u32| {
        let all = builds::list_unserved(&mut look(db).await, account, provider, limit).await.expect("lists");
        all.into_iter().map(|build| build.id).collect::<Vec<_>>()
    };
    let end = async |id: BuildId, code| {
        let mut tx = begin(db).await;
        let reason = FailureReason::new(code, ODD);
        let ending = Ending { state: BuildState::Failed, reason: Some(&reason), note: None, digest: None };
        assert!(builds::finish(&mut tx, id, &ending, NOW).await.expect("ends"));
        done(tx).await;
    };
    let first = world.queued(db).await;
    assert!(found(world.account, &github, 10).await.is_empty(), "it waits");
    end(first, FailureCode::LinkUnavailable).await;
    assert_eq!(found(world.account, &github, 10).await, [first]);
    assert!(found(world.account, &github, 0).await.is_empty());
    assert!(found(other, &github, 10).await.is_empty(), "another account's links serve it not");
    assert!(found(world.account, &"elsewhere".parse().expect("provider"), 10).await.is_empty());
    // The ref went on, and that ended for another reason.
    let second = world.queued(db).await;
    assert!(found(world.account, &github, 10).await.is_empty());
    end(second, FailureCode::StepFailed).await;
    assert!(found(world.account, &github, 10).await.is_empty());
    let third = world.queued(db).await;
    end(third, FailureCode::LinkUnavailable).await;
    assert_eq!(found(world.account, &github, 10).await, [third]);
    // A person's event moves nothing; that the ref is gone does.
    let (name, mut tx) = (ref_name("refs/heads/main"), begin(db).await);
    let event = NewRefEvent {
        autobuild: world.autobuild,
        name: &name,
        before: None,
        after: None,
        origin: Origin::Manual,
        delivery: None,
        place: None,
        covered_by: None,
        skips: false,
    };
    refs::insert(&mut tx, &event, NOW).await.expect("appends");
    done(tx).await;
    assert_eq!(found(world.account, &github, 10).await, [third]);
    let mut tx = begin(db).await;
    refs::insert(&mut tx, &NewRefEvent { origin: Origin::Reconcile, ..event }, NOW).await.expect("appends");
    done(tx).await;
    assert!(found(world.account, &github, 10).await.is_empty());
}
