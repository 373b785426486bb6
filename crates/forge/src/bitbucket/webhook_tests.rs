//! What Bitbucket's own recorded deliveries become, what is derived from them, and that no bytes at all make the reader panic.

use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::webhook::{PullRequestChange, PullRequestHead, PullRequestOrigin, PullRequestStanding};

const ZERO: &str = "0000000000000000000000000000000000000000";
const SHA: &str = "141977fedf5cf35aa290ac87d4b5177ac4cd9de1";
const OTHER_SHA: &str = "40e7580cf11311d84a6e5e97e2cbba6df1675750";
const REPOSITORY: &str = "{bc771cbf-829e-4c4b-b71f-a0eb3ac2b860}";

fn fixtures() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures").into()
}

fn recorded(file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("bitbucket-cloud/webhooks").join(file)).unwrap()).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn secrets(texts: &[&str]) -> Vec<SecretString> {
    texts.iter().map(|text| SecretString::from(*text)).collect()
}

fn read_json(event: &str, body: &Value) -> Result<Payload, Unreadable> {
    read(event, body.to_string().as_bytes())
}

/// A recorded push, with other changes.
fn push_of(changes: Value) -> Value {
    let mut body = recorded("goscm__push.json");
    body["push"]["changes"] = changes;
    body
}

/// The recorded change of `master`, with some places in it set to other values.
fn change_with(edits: &[(&str, Value)]) -> Value {
    let mut change = recorded("goscm__push.json")["push"]["changes"][0].clone();
    for (place, value) in edits {
        *change.pointer_mut(place).unwrap() = value.clone();
    }
    change
}

/// A tip as it stands in a change, of any kind.
fn tip(kind: &str, name: &str, hash: &str) -> Value {
    json!({ "type": kind, "name": name, "target": { "type": "commit", "hash": hash, "message": "m", "author": { "raw": "A <a@b>" } } })
}

fn read_changes(changes: Value) -> (Vec<RefChange>, Vec<UnusableRef>) {
    match read_json("repo:push", &push_of(changes)).unwrap() {
        Payload::Push { repository_id, events, unusable } => {
            assert_eq!(repository_id, REPOSITORY);
            (events, unusable)
        }
        other => panic!("expected a push, found {other:?}"),
    }
}

fn only_change(change: Value) -> RefChange {
    let (mut events, unusable) = read_changes(json!([change]));
    assert!(unusable.is_empty() && events.len() == 1, "{unusable:?}");
    events.remove(0)
}

fn only_unusable(change: Value) -> UnusableRef {
    let (events, mut unusable) = read_changes(json!([change]));
    assert!(events.is_empty() && unusable.len() == 1, "{events:?}");
    unusable.remove(0)
}

#[test]
fn every_recorded_delivery_is_read_as_what_it_is() {
    let index = std::fs::read_to_string(fixtures().join("INDEX.tsv")).unwrap();
    let mut seen = 0;
    for line in index.lines().filter(|line| line.starts_with("bitbucket-cloud\t")) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [_, event, file, traits] = columns[..] else { panic!("{line}") };
        let raw = recorded(file);
        let payload = read(event, &std::fs::read(fixtures().join("bitbucket-cloud/webhooks").join(file)).unwrap())
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        match (event, payload) {
            ("repo:push", Payload::Push { repository_id, events, unusable }) => {
                assert_eq!(repository_id, raw["repository"]["uuid"], "{file}");
                let changes = raw["push"]["changes"].as_array().unwrap();
                // The documentation's own example is recorded with pieces in their place, but they are whole where we look.
                assert!(unusable.is_empty() && events.len() == changes.len(), "{file}: {unusable:?}");
                for (event, change) in events.iter().zip(changes) {
                    let [kind, name, what] = traits.split(':').collect::<Vec<_>>()[..] else { panic!("{file}: {traits}") };
                    let prefix = if kind == "tag" { "refs/tags/" } else { "refs/heads/" };
                    assert_eq!(event.name.as_str(), format!("{prefix}{name}"), "{file}");
                    assert_eq!((event.before.is_none(), event.after.is_none()), (what == "create", what == "close"), "{file}");
                    assert_eq!(event.after.as_ref().map(CommitId::as_str), change["new"]["target"]["hash"].as_str(), "{file}");
                    assert_eq!(event.before.as_ref().map(CommitId::as_str), change["old"]["target"]["hash"].as_str(), "{file}");
                    assert_eq!(event.commit_message.as_deref(), change["new"]["target"]["message"].as_str(), "{file}");
                    assert_eq!(event.pusher.as_deref(), raw["actor"]["display_name"].as_str(), "{file}");
                }
            }
            ("repo:updated", Payload::Repository { repository_id, what }) => {
                assert_eq!(repository_id, raw["repository"]["uuid"], "{file}");
                assert_eq!(what, "event `repo:updated` with a change of `name`, `full_name`", "{file}");
            }
            ("repo:push" | "repo:updated", other) => panic!("{file}: {other:?}"),
            (_, Payload::Other { what }) => assert!(what.starts_with("event `"), "{file}: {what}"),
            (_, other) => panic!("{file}: {other:?}"),
        }
        seen += 1;
    }
    let files = std::fs::read_dir(fixtures().join("bitbucket-cloud/webhooks")).unwrap().count();
    assert_eq!(seen, files, "every file is in the index");
}

/// No vector of Bitbucket Cloud is published; Bitbucket Data Center's have the same header and the same scheme.
#[test]
fn published_signatures_of_bitbucket_hold() {
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(fixtures().join("signature-vectors.json")).unwrap()).unwrap();
    let mut held = 0;
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or_default();
        if !text("file").starts_with("bitbucket-") {
            continue;
        }
        let body = std::fs::read(fixtures().join(text("file"))).unwrap();
        let signature = format!("{}={}", text("alg"), text("hexdigest"));
        let sent = headers(&[("x-event-key", "repo:push"), ("x-request-uuid", "d-1"), ("x-hub-signature", &signature)]);
        let verified = verify(&sent, &body, &secrets(&["another", text("secret")])).unwrap();
        assert_eq!(verify(&sent, &body, &secrets(&[text("secret"), "another"])), Ok(verified.clone()));
        assert_eq!((verified.event.as_str(), verified.delivery_id.as_str()), ("repo:push", "d-1"));
        assert_eq!(verify(&sent, &[&body[..], b" "].concat(), &secrets(&[text("secret")])), Err(Refusal::BadSignature));
        assert_eq!(verify(&sent, &body, &secrets(&["another"])), Err(Refusal::BadSignature));
        held += 1;
    }
    assert!(held >= 10, "only {held} vectors found");
}

fn signature_by(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(body).finalize().into_bytes();
    format!("sha256={}", hex::encode(mac))
}

#[test]
fn only_one_whole_sha256_of_a_real_secret_verifies() {
    let good = signature_by("s3cret", b"{}");
    let digest = &good["sha256=".len()..];
    let check = |signature: &str, known: &[&str]| {
        verify(&headers(&[("x-event-key", "repo:push"), ("x-request-uuid", "d"), ("x-hub-signature", signature)]), b"{}", &secrets(known))
    };
    assert!(check(&good, &["s3cret"]).is_ok());
    for bad in [
        "",
        "sha256=",
        "sha256",
        digest,
        "sha256=zz",
        &good[..good.len() - 2],
        &format!("{good}00"),
        &format!("sha512={digest}"),
        &format!("md5={digest}"),
    ] {
        assert_eq!(check(bad, &["s3cret"]), Err(Refusal::BadSignature), "{bad}");
    }
    assert_eq!(check(&format!("sha1={}", &digest[..40]), &["s3cret"]), Err(Refusal::WeakSignature));
    assert_eq!(check(&good, &[]), Err(Refusal::BadSignature));
    // The signature by the empty secret, which anybody can make.
    assert_eq!(check(&signature_by("", b"{}"), &["", "s3cret"]), Err(Refusal::BadSignature));
    // GitHub's header of the same scheme is not Bitbucket's.
    let other = headers(&[("x-event-key", "repo:push"), ("x-request-uuid", "d"), ("x-hub-signature-256", &good)]);
    assert_eq!(verify(&other, b"{}", &secrets(&["s3cret"])), Err(Refusal::MissingSignature));
}

#[test]
fn headers_must_be_there_once() {
    let signature = signature_by("s3cret", b"{}");
    let good = [("x-event-key", "repo:push"), ("x-request-uuid", "d"), ("x-hub-signature", signature.as_str())];
    let check = |sent: &HeaderMap| verify(sent, b"{}", &secrets(&["s3cret"]));
    assert!(check(&headers(&good)).is_ok());
    assert_eq!(check(&headers(&good[..2])), Err(Refusal::MissingSignature));
    assert_eq!(check(&headers(&good[1..])), Err(Refusal::MissingHeader("X-Event-Key")));
    assert_eq!(check(&headers(&[good[0], good[2]])), Err(Refusal::MissingHeader("X-Request-UUID")));
    for (name, again, refusal) in [
        ("x-event-key", "repo:fork", Refusal::MissingHeader("X-Event-Key")),
        ("x-request-uuid", "e", Refusal::MissingHeader("X-Request-UUID")),
        ("x-hub-signature", &signature, Refusal::BadSignature),
    ] {
        let mut twice = headers(&good);
        twice.append(name, again.parse().unwrap());
        assert_eq!(check(&twice), Err(refusal), "{name}");
    }
}

#[test]
fn one_delivery_carries_many_refs_or_none() {
    assert_eq!(read_changes(json!([])), (vec![], vec![]));
    let (events, unusable) = read_changes(json!([
        { "old": tip("branch", "main", OTHER_SHA), "new": tip("branch", "main", SHA), "forced": true, "truncated": true },
        { "old": null, "new": tip("branch", "feature/a#123", SHA) },
        { "old": tip("branch", "gone", SHA), "new": null },
        { "old": null, "new": tip("tag", "v1", SHA) },
        { "old": tip("tag", "v0", SHA), "new": null },
        { "old": null, "new": tip("branch", "a..b", SHA) },
    ]));
    let seen: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.before.is_some(), event.after.is_some())).collect();
    assert_eq!(
        seen,
        [
            ("refs/heads/main", true, true),
            ("refs/heads/feature/a#123", false, true),
            ("refs/heads/gone", true, false),
            ("refs/tags/v1", false, true),
            ("refs/tags/v0", true, false),
        ]
    );
    assert_eq!((unusable.len(), unusable[0].name.as_str()), (1, "a..b"));
    let many: Vec<Value> = (0..500).map(|n| json!({ "old": null, "new": tip("branch", &format!("b{n}"), SHA) })).collect();
    assert_eq!(read_changes(Value::from(many)).0.len(), 500);
}

#[test]
fn an_annotated_tag_gives_its_commit() {
    let mut change = recorded("goscm__push_tag_create.json")["push"]["changes"][0].clone();
    change["new"]["tagger"] = json!({ "raw": "Tagger <t@example.com>", "type": "author" });
    change["new"]["message"] = json!("of the tag, not of the commit");
    let event = only_change(change);
    assert_eq!(event.after.unwrap().as_str(), SHA);
    assert_eq!((event.commit_message.as_deref(), event.author.as_deref()), (Some("Update README\n"), Some("Brad Rydzewski")));
}

#[test]
fn names_of_any_kind_and_sha256_ids_are_read() {
    let id = "b".repeat(64);
    for name in ["ü/a#b%2F--x", "feature/日本語", "-h", "--upload-pack=x", "a@b", "ветка"] {
        let event = only_change(json!({ "old": tip("branch", name, &"0".repeat(64)), "new": tip("branch", name, &id) }));
        assert_eq!((event.name.short(), event.before, event.after.unwrap().as_str()), (name, None, id.as_str()));
    }
}

#[test]
fn what_no_rule_can_match_is_unusable_with_the_reason() {
    let created = |name: &str| json!({ "old": null, "new": tip("branch", name, SHA) });
    for (change, why) in [
        (created("a..b"), "`..`"),
        (created("a\u{0}\nb"), "control character"),
        (created(""), "empty"),
        (created("a b"), "blank"),
        (json!({ "old": null, "new": tip("bookmark", "x", SHA) }), "`bookmark`, neither branch nor tag"),
        (json!({ "old": null, "new": tip("named_branch", "default", SHA) }), "neither branch nor tag"),
        (json!({ "old": null, "new": null }), "both `old` and `new` are null"),
        (json!({}), "both `old` and `new` are null"),
        (json!({ "old": tip("branch", "x", SHA), "new": tip("branch", "y", SHA) }), "different refs"),
        (json!({ "old": tip("branch", "x", SHA), "new": tip("tag", "x", SHA) }), "different refs"),
        (json!({ "old": null, "new": tip("branch", "x", ZERO) }), "no commit"),
        (json!({ "old": null, "new": tip("branch", "x", &"0".repeat(64)) }), "no commit"),
        (json!({ "old": null, "new": { "type": "tag", "name": "x", "target": null } }), "no commit"),
        (json!({ "old": tip("branch", "x", ZERO), "new": null }), "`old` led to no commit"),
        (json!({ "old": null, "new": tip("branch", "x", "main") }), "`new.target.hash`"),
        (json!({ "old": tip("branch", "x", "$(id)"), "new": tip("branch", "x", SHA) }), "`old.target.hash`"),
        (json!({ "old": null, "new": { "type": "branch", "target": { "hash": SHA } } }), "`name`"),
        (json!({ "old": 7, "new": "x" }), "not what Bitbucket sends"),
        (json!("x"), "no JSON object"),
        (json!([]), "no JSON object"),
        (Value::Null, "no JSON object"),
    ] {
        let found = only_unusable(change.clone());
        assert!(found.why.contains(why), "{change}: {}", found.why);
        assert!(!found.name.chars().chain(found.why.chars()).any(char::is_control) && !found.name.contains('\n'), "{found:?}");
    }
    assert_eq!(only_unusable(created(&"x".repeat(5000))).name.len(), 200);
}

#[test]
fn a_delivery_without_its_frame_is_unreadable_and_says_why() {
    let with = |field: &str, value: Value| {
        let mut body = recorded("goscm__push.json");
        body[field] = value;
        body
    };
    for (body, word) in [
        (with("repository", json!({})), "uuid"),
        (with("repository", Value::Null), "null"),
        (with("repository", json!({ "uuid": 7 })), "string"),
        (with("repository", json!({ "uuid": "bc771cbf-829e-4c4b-b71f-a0eb3ac2b860" })), "braces"),
        (with("repository", json!({ "uuid": "{../../x}" })), "braces"),
        (with("push", json!({})), "changes"),
        (with("push", json!({ "changes": null })), "null"),
        (with("push", json!({ "changes": {} })), "map"),
        (with("push", Value::Null), "null"),
    ] {
        let error = read_json("repo:push", &body).unwrap_err();
        assert!(error.reason.contains(word), "{word}: {}", error.reason);
    }
    let deep = format!("{{\"repository\":{}", "[".repeat(100_000));
    for body in [&b""[..], b"{", b"[]", b"[null]", b"null", b"\xff\xfe", b"<html>", deep.as_bytes()] {
        for event in ["repo:push", "repo:transfer", "pullrequest:created"] {
            assert!(read(event, body).is_err(), "{event}");
        }
    }
}

fn pull_request(event: &str, body: &Value) -> Result<PullRequestChange, Unreadable> {
    match read_json(event, body)? {
        Payload::PullRequest { repository_id, change } => {
            assert_eq!(repository_id, REPOSITORY);
            Ok(*change)
        }
        other => panic!("expected a pull request, found {other:?}"),
    }
}

#[test]
fn recorded_pull_requests_are_read() {
    for (event, file, standing) in [
        ("pullrequest:created", "goscm__pr_created.json", PullRequestStanding::Open),
        ("pullrequest:updated", "goscm__pr_updated.json", PullRequestStanding::Open),
        ("pullrequest:fulfilled", "goscm__pr_fulfilled.json", PullRequestStanding::Merged),
        ("pullrequest:rejected", "goscm__pr_declined.json", PullRequestStanding::Closed),
    ] {
        let raw = recorded(file);
        let change = pull_request(event, &raw).unwrap();
        let told = &raw["pullrequest"];
        assert_eq!((change.number, change.standing), (told["id"].as_u64().unwrap(), standing), "{file}");
        assert_eq!(change.head, PullRequestHead::Abbreviated(told["source"]["commit"]["hash"].as_str().unwrap().to_owned()), "{file}");
        assert_eq!((change.base.as_str(), change.origin), ("refs/heads/master", PullRequestOrigin::Internal), "{file}");
        assert_eq!(change.kept_at.unwrap().as_str(), "refs/heads/develop", "{file}");
    }
}

#[test]
fn a_pull_request_from_elsewhere_is_kept_by_its_fork() {
    let mut body = recorded("goscm__pr_created.json");
    const OTHER: &str = "{11111111-2222-3333-4444-555555555555}";
    body["pullrequest"]["source"]["repository"]["uuid"] = json!(OTHER);
    let change = pull_request("pullrequest:created", &body).unwrap();
    let fork = change.fork.unwrap();
    assert_eq!((fork.id.as_str(), &json!(fork.full_name)), (OTHER, &body["pullrequest"]["source"]["repository"]["full_name"]));
    assert_eq!((change.origin, change.kept_at), (PullRequestOrigin::Fork, Some(RefName::branch("develop").unwrap())));
    for odd in [json!("../../x"), json!("one"), Value::Null] {
        let mut body = body.clone();
        body["pullrequest"]["source"]["repository"]["full_name"] = odd;
        let change = pull_request("pullrequest:created", &body).unwrap();
        assert_eq!((change.origin, change.kept_at, change.fork), (PullRequestOrigin::Fork, None, None));
    }
    body["pullrequest"]["source"]["repository"] = Value::Null;
    let change = pull_request("pullrequest:created", &body).unwrap();
    assert_eq!((change.origin, change.kept_at), (PullRequestOrigin::DeletedFork, None));
    for (place, value, reason) in [
        ("/pullrequest/state", json!("OPEN|MERGED|DECLINED"), "no state"),
        ("/pullrequest/source/commit/hash", json!("507a57"), "no commit"),
        ("/pullrequest/source/commit/hash", json!("--upload-pack"), "no commit"),
        ("/pullrequest/destination/branch/name", json!("a..b"), "destination.branch"),
        ("/pullrequest/destination/repository/uuid", json!("{x}"), "is not `repository`"),
        ("/pullrequest/updated_on", json!("soon"), "no time"),
    ] {
        let mut body = recorded("goscm__pr_created.json");
        *body.pointer_mut(place).unwrap() = value;
        let error = pull_request("pullrequest:created", &body).unwrap_err();
        assert!(error.reason.contains(reason), "{place}: {error}");
    }
}

#[test]
fn a_change_of_the_repository_is_told_by_its_uuid() {
    let body = json!({ "repository": { "uuid": REPOSITORY, "full_name": "evil/name" }, "changes": { "full_name": { "old": "a/b", "new": "c/d" }, "x": 1 } });
    for event in ["repo:updated", "repo:transfer", "repo:deleted", "repo:renamed"] {
        let what = format!("event `{event}` with a change of `full_name`");
        assert_eq!(read_json(event, &body), Ok(Payload::Repository { repository_id: REPOSITORY.to_owned(), what }));
        assert!(read_json(event, &json!({ "repository": { "uuid": "x" } })).is_err());
    }
    assert_eq!(read_json("repo:fork", &body), Ok(Payload::Other { what: "event `repo:fork`".to_owned() }));
    assert_eq!(read_json("x\ny", &json!({})), Ok(Payload::Other { what: "event `x y`".to_owned() }));
}

#[test]
fn words_for_display_are_cut_and_cleaned() {
    let change = change_with(&[
        ("/new/target/message", json!(format!("a\u{0}\n{}", "m".repeat(9000)))),
        ("/new/target/author/raw", json!("x\u{1b}[2J".repeat(100))),
    ]);
    let event = only_change(change);
    let message = event.commit_message.unwrap();
    assert!(message.starts_with("a \nmmm") && message.chars().count() == 4096);
    let author = event.author.unwrap();
    assert!(author.chars().count() <= 200 && !author.contains('\u{1b}'));
    // Without a name before the address, the account's name stands for it.
    let event = only_change(change_with(&[("/new/target/author/raw", json!("<a@example.com>"))]));
    assert_eq!(event.author.as_deref(), Some("Brad Rydzewski"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!(ZERO)),
        Just(json!(SHA)),
        Just(json!(REPOSITORY)),
        "branch|tag|\\PC{0,20}".prop_map(Value::from),
    ];
    let field = prop::sample::select(vec![
        "push",
        "changes",
        "old",
        "new",
        "type",
        "name",
        "target",
        "hash",
        "message",
        "author",
        "raw",
        "user",
        "display_name",
        "actor",
        "repository",
        "uuid",
    ]);
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(field.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(event in "repo:push|repo:updated|[a-z:_]{0,20}", body in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Err(error) = read(&event, &body) {
            prop_assert!(!error.reason.is_empty());
        }
        prop_assert!(verify(&HeaderMap::new(), &body, &secrets(&["s"])).is_err());
    }

    #[test]
    fn no_json_makes_it_panic(body in any_json()) {
        for event in ["repo:push", "repo:updated", "pullrequest:created"] {
            if let Err(error) = read_json(event, &body) {
                prop_assert!(!error.reason.is_empty() && error.reason.chars().count() <= 300);
            }
        }
    }

    #[test]
    fn every_change_is_an_event_or_has_a_reason(changes in prop::collection::vec(any_json(), 0..5)) {
        let count = changes.len();
        let (events, unusable) = read_changes(Value::from(changes));
        prop_assert_eq!(events.len() + unusable.len(), count);
        prop_assert!(events.iter().all(|change| change.before.is_some() || change.after.is_some()));
        prop_assert!(unusable.iter().all(|found| !found.why.is_empty()));
    }

    #[test]
    fn one_odd_field_makes_no_false_commit(place in prop::sample::select(vec!["/old", "/new", "/new/name", "/new/type", "/new/target", "/new/target/hash", "/old/target/hash"]), value in any_json()) {
        let (events, unusable) = read_changes(json!([change_with(&[(place, value)])]));
        prop_assert_eq!(events.len() + unusable.len(), 1);
        for event in events {
            prop_assert!([None, Some(SHA)].contains(&event.after.as_ref().map(CommitId::as_str)));
        }
    }
}
