//! Workers.

use slipway_model::{BuilderId, TokenKind};
use slipway_store::{Db, builders};

use crate::fixture::{NOW, ODD, after, begin, secret};

on_both! {
    the_built_in_builder_is_replaced;
}

async fn the_built_in_builder_is_replaced(db: &Db) {
    let (first, second, other) = (secret(TokenKind::Builder), secret(TokenKind::Builder), secret(TokenKind::Builder));
    let mut tx = begin(db).await;
    let one = builders::replace_builtin(&mut tx, "host", &first, NOW).await.expect("writes");
    let far = builders::replace_builtin(&mut tx, "another", &other, NOW).await.expect("writes");
    assert_eq!(builders::list_builtin(&mut tx, "host").await.expect("lists"), [one]);
    let two = builders::replace_builtin(&mut tx, "host", &second, after(1)).await.expect("writes");
    assert_ne!(one, two);
    assert_eq!(builders::list_builtin(&mut tx, "host").await.expect("lists"), [two]);
    assert!(builders::get_by_token(&mut tx, &first).await.expect("query").is_none(), "the token of the process before is worth nothing");
    let found = builders::get_by_token(&mut tx, &second).await.expect("query").expect("stands");
    assert_eq!((found.id, found.name.as_str(), found.builtin, found.parallel, found.last_seen_at), (two, "host", true, 0, after(1)));
    builders::set_seen(&mut tx, two, ODD, 4, "{\"state\":\"ready\"}", after(5)).await.expect("writes");
    builders::set_seen(&mut tx, BuilderId::new(), "x", 9, "", after(6)).await.expect("nobody");
    let listed = builders::list(&mut tx).await.expect("lists");
    assert_eq!(listed.iter().map(|builder| builder.id).collect::<Vec<_>>(), [far, two], "by name");
    let seen = &listed[1];
    assert_eq!((seen.version.as_str(), seen.parallel, seen.engine.as_str()), (ODD, 4, "{\"state\":\"ready\"}"));
    assert_eq!((seen.last_seen_at, listed[0].last_seen_at), (after(5), NOW));
    builders::set_alive(&mut tx, two, after(9)).await.expect("writes");
    let alive = builders::get_by_token(&mut tx, &second).await.expect("query").expect("stands");
    assert_eq!((alive.last_seen_at, alive.version.as_str()), (after(9), ODD), "only the time changes");
    assert!(builders::list_builtin(&mut tx, "nobody").await.expect("lists").is_empty());
}
