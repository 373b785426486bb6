//! Builder nodes, and the tokens with which machines become one.

use std::time::Duration;

use slipway_model::{BuildState, BuilderId, JoinTokenId, TokenKind};
use slipway_store::builders::{self, NewNode, Said};
use slipway_store::builds;
use slipway_store::join_tokens::{self, JoinToken};
use slipway_store::{Db, StoreError};

use crate::fixture::{NOW, ODD, account, after, begin, done, secret, world};

on_both! {
    the_built_in_builder_stays_the_node_that_it_was;
    a_node_is_known_by_its_credential_until_it_is_removed;
    what_administrators_decide_of_a_node_stays;
    a_join_token_makes_one_node;
    join_tokens_end;
    what_a_removed_node_held_is_listed_and_handed_back;
    what_needs_an_engine_of_its_own_goes_to_a_node_that_can_have_one;
}

fn said<'a>(version: &'a str, engine: &'a str) -> Said<'a> {
    Said { version, protocol: 2, git: "git version 2.39.5", parallel: 4, engine, obstacle: None }
}

async fn the_built_in_builder_stays_the_node_that_it_was(db: &Db) {
    let (first, second, other) = (secret(TokenKind::Builder), secret(TokenKind::Builder), secret(TokenKind::Builder));
    let mut tx = begin(db).await;
    let one = builders::register_builtin(&mut tx, "host", &first, NOW).await.expect("writes");
    let far = builders::register_builtin(&mut tx, "another", &other, NOW).await.expect("writes");
    builders::set_labels(&mut tx, one, &"builder=1 ssd".parse().expect("labels")).await.expect("writes");
    assert_eq!(builders::register_builtin(&mut tx, "host", &second, after(1)).await.expect("writes"), one);
    assert!(builders::get_by_token(&mut tx, &first).await.expect("query").is_none(), "the token of the process before is worth nothing");
    let found = builders::get_by_token(&mut tx, &second).await.expect("query").expect("stands");
    assert_eq!((found.id, found.name.as_str(), found.builtin, found.parallel, found.last_seen_at), (one, "host", true, 0, after(1)));
    assert_eq!((found.labels.to_string().as_str(), found.created_at, found.joined_by), ("builder=1 ssd", NOW, None));
    builders::set_seen(&mut tx, one, &said(ODD, "{\"state\":\"ready\"}"), after(5)).await.expect("writes");
    builders::set_seen(&mut tx, BuilderId::new(), &said("x", ""), after(6)).await.expect("nobody");
    let listed = builders::list(&mut tx).await.expect("lists");
    assert_eq!(listed.iter().map(|builder| builder.id).collect::<Vec<_>>(), [far, one], "by name");
    let seen = &listed[1];
    assert_eq!((seen.version.as_str(), seen.parallel, seen.engine.as_str()), (ODD, 4, "{\"state\":\"ready\"}"));
    assert_eq!((seen.protocol, seen.git.as_str(), seen.places()), (2, "git version 2.39.5", 1));
    assert_eq!((seen.last_seen_at, listed[0].last_seen_at), (after(5), NOW));
    builders::set_alive(&mut tx, one, after(9)).await.expect("writes");
    let alive = builders::get(&mut tx, one).await.expect("query").expect("stands");
    assert_eq!((alive.last_seen_at, alive.version.as_str()), (after(9), ODD), "only the time changes");
}

async fn a_node_is_known_by_its_credential_until_it_is_removed(db: &Db) {
    let credential = secret(TokenKind::Builder);
    let labels = "builder=2".parse().expect("labels");
    let new = NewNode { name: ODD, credential: &credential, labels: &labels, joined_by: "root" };
    let mut tx = begin(db).await;
    let id = builders::insert(&mut tx, &new, NOW).await.expect("writes");
    let found = builders::get_by_token(&mut tx, &credential).await.expect("query").expect("stands");
    assert_eq!((found.id, found.name.as_str(), found.builtin, found.labels), (id, ODD, false, labels.clone()));
    assert_eq!((found.joined_by.as_deref(), found.protocol, found.draining_since), (Some("root"), 0, None));
    done(tx).await;
    let mut tx = begin(db).await;
    let twice = builders::insert(&mut tx, &new, NOW).await.expect_err("the credential has a node");
    assert!(matches!(twice, StoreError::Conflict(_)), "{twice:?}");
    drop(tx);
    let mut tx = begin(db).await;
    assert!(builders::delete(&mut tx, id).await.expect("writes"));
    assert!(!builders::delete(&mut tx, id).await.expect("writes"));
    assert!(builders::get_by_token(&mut tx, &credential).await.expect("query").is_none());
}

async fn what_administrators_decide_of_a_node_stays(db: &Db) {
    let (credential, labels) = (secret(TokenKind::Builder), "builder".parse().expect("labels"));
    let mut tx = begin(db).await;
    let new = NewNode { name: "far", credential: &credential, labels: &labels, joined_by: "root" };
    let id = builders::insert(&mut tx, &new, NOW).await.expect("writes");
    builders::set_draining(&mut tx, id, Some(after(3))).await.expect("writes");
    builders::set_labels(&mut tx, id, &"zone=a".parse().expect("labels")).await.expect("writes");
    builders::set_seen(&mut tx, id, &said("1", ""), after(4)).await.expect("writes");
    let found = builders::get(&mut tx, id).await.expect("query").expect("stands");
    assert_eq!((found.draining_since, found.labels.to_string().as_str(), found.places()), (Some(after(3)), "zone=a", 0));
    builders::set_draining(&mut tx, id, None).await.expect("writes");
    assert_eq!(builders::get(&mut tx, id).await.expect("query").expect("stands").draining_since, None);
}

async fn a_join_token_makes_one_node(db: &Db) {
    let by = account(db, "root").await;
    let mut tx = begin(db).await;
    let token = secret(TokenKind::Join);
    let new = JoinToken {
        id: JoinTokenId::new(),
        labels: "builder=2 ssd".parse().expect("labels"),
        created_by: by,
        created_by_name: "root".to_owned(),
        created_at: NOW,
        expires_at: after(60),
        used_by: None,
    };
    join_tokens::insert(&mut tx, &token, &new).await.expect("writes");
    assert_eq!(join_tokens::get_by_token(&mut tx, &token).await.expect("query"), Some(new.clone()));
    assert!(join_tokens::get_by_token(&mut tx, &secret(TokenKind::Join)).await.expect("query").is_none());
    let node = async |tx: &mut slipway_store::WriteTx| {
        let credential = secret(TokenKind::Builder);
        let node = NewNode { name: "far", credential: &credential, labels: &new.labels, joined_by: "root" };
        builders::insert(tx, &node, NOW).await.expect("writes")
    };
    let (one, two) = (node(&mut tx).await, node(&mut tx).await);
    assert!(join_tokens::take(&mut tx, new.id, one, after(59)).await.expect("writes"));
    assert!(!join_tokens::take(&mut tx, new.id, two, after(59)).await.expect("writes"), "it made a node already");
    let used = join_tokens::get_by_token(&mut tx, &token).await.expect("query").expect("stays beside its node");
    assert_eq!(used.used_by, Some(one));
    assert_eq!(join_tokens::count_standing(&mut tx, NOW).await.expect("counts"), 0);
    assert!(join_tokens::delete_standing(&mut tx, new.id).await.expect("writes").is_none(), "what was used is not revoked");
    assert!(builders::delete(&mut tx, one).await.expect("writes"));
    assert!(join_tokens::get_by_token(&mut tx, &token).await.expect("query").is_none(), "it goes with its node");
}

async fn join_tokens_end(db: &Db) {
    let by = account(db, "root").await;
    let mut tx = begin(db).await;
    let mut made = Vec::new();
    for life in [10, 20, 30] {
        let token = JoinToken {
            id: JoinTokenId::new(),
            labels: "builder".parse().expect("labels"),
            created_by: by,
            created_by_name: "root".to_owned(),
            created_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(life)),
            used_by: None,
        };
        join_tokens::insert(&mut tx, &secret(TokenKind::Join), &token).await.expect("writes");
        made.push(token);
    }
    let standing = join_tokens::list_standing(&mut tx, after(10)).await.expect("lists");
    assert_eq!(standing, [made[2].clone(), made[1].clone()], "newest first");
    assert_eq!(join_tokens::count_standing(&mut tx, after(10)).await.expect("counts"), 2);
    assert!(!join_tokens::take(&mut tx, made[0].id, BuilderId::new(), after(10)).await.expect("writes"), "it has expired");
    assert_eq!(join_tokens::delete_expired(&mut tx, after(10)).await.expect("writes"), 1);
    assert_eq!(join_tokens::delete_standing(&mut tx, made[1].id).await.expect("writes"), Some(made[1].clone()));
    assert_eq!(join_tokens::list_standing(&mut tx, NOW).await.expect("lists"), [made[2].clone()]);
}

async fn what_needs_an_engine_of_its_own_goes_to_a_node_that_can_have_one(db: &Db) {
    let world = world(db, "web").await;
    let mut tx = begin(db).await;
    let hindered = builders::register_builtin(&mut tx, "hindered", &secret(TokenKind::Builder), NOW).await.expect("writes");
    assert!(builders::any_has_engines(&mut tx).await.expect("query"), "it has said nothing yet");
    builders::set_seen(&mut tx, hindered, &Said { obstacle: Some(ODD), ..said("1", "") }, NOW).await.expect("writes");
    let found = builders::get(&mut tx, hindered).await.expect("query").expect("stands");
    assert_eq!(found.obstacle.as_deref(), Some(ODD));
    assert!(!builders::any_has_engines(&mut tx).await.expect("query"));
    let (first, second) = (world.queue(&mut tx, NOW).await, world.queue(&mut tx, after(1)).await);
    let claims = [secret(TokenKind::Build), secret(TokenKind::Build), secret(TokenKind::Build), secret(TokenKind::Build)];
    let claim = async |tx: &mut slipway_store::WriteTx, node, number: usize| {
        builds::claim(tx, node, &claims[number], &crate::fixture::FREE, after(9), after(99)).await.expect("claims")
    };
    let claimed = claim(&mut tx, hindered, 0).await.expect("waits");
    assert_eq!((claimed.id, claimed.own_engine), (first, false));
    assert!(builds::hand_on(&mut tx, first, "needs one", NOW).await.expect("writes"));
    assert!(!builds::hand_on(&mut tx, first, "again", NOW).await.expect("writes"), "it does not run any more");
    let back = builds::get_any(&mut tx, first).await.expect("query").expect("stands");
    assert_eq!((back.state, back.own_engine, back.tries(), back.note.as_deref()), (BuildState::Queued, true, 0, Some("needs one")));
    // A node that can have them joins: from now on the other one gets what it can build, whatever stands before it.
    let able = builders::register_builtin(&mut tx, "able", &secret(TokenKind::Builder), NOW).await.expect("writes");
    builders::set_seen(&mut tx, able, &said("1", ""), NOW).await.expect("writes");
    assert_eq!(claim(&mut tx, hindered, 1).await.map(|build| build.id), Some(second));
    assert!(claim(&mut tx, hindered, 2).await.is_none());
    assert!(builders::delete(&mut tx, able).await.expect("writes"));
    assert_eq!(claim(&mut tx, hindered, 3).await.map(|build| build.id), Some(first), "nobody else could ever take it");
}

async fn what_a_removed_node_held_is_listed_and_handed_back(db: &Db) {
    let world = world(db, "web").await;
    let builder = BuilderId::new();
    let running = world.running(db, builder).await;
    let mut tx = begin(db).await;
    builds::lock_claims(&mut tx).await.expect("locks");
    builds::lock_claims(&mut tx).await.expect("again is fine");
    assert!(builds::list_held(&mut tx, BuilderId::new()).await.expect("lists").is_empty());
    let held = builds::list_held(&mut tx, builder).await.expect("lists");
    assert_eq!(held.iter().map(|build| build.id).collect::<Vec<_>>(), [running.id]);
    assert_eq!((running.tries(), running.handed_back), (1, 0));
    assert!(builds::hand_back(&mut tx, running.id, "its builder was removed", after(1)).await.expect("writes"));
    assert!(!builds::hand_back(&mut tx, running.id, "again", after(1)).await.expect("writes"), "it does not run any more");
    assert!(builds::hold(&mut tx, running.id, builder, 1, after(1)).await.expect("query").is_none());
    let back = builds::get_any(&mut tx, running.id).await.expect("query").expect("stands");
    assert_eq!((back.state, back.attempt, back.handed_back, back.tries()), (BuildState::Queued, 1, 1, 0));
    let again = builds::claim(&mut tx, builder, &secret(TokenKind::Build), &crate::fixture::FREE, after(2), after(32)).await;
    let again = again.expect("claims").expect("waits");
    assert_eq!((again.attempt, again.tries()), (2, 1), "fenced off by its number, and as good as the first try");
}
