//! What GitHub's own recorded deliveries become, and that no bytes at all make the reader panic.

use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::webhook::{PullRequestChange, PullRequestHead, PullRequestOrigin, PullRequestStanding};

fn fixtures() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures").into()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn json_headers() -> HeaderMap {
    headers(&[("content-type", "application/json")])
}

fn secrets(texts: &[&str]) -> Vec<SecretString> {
    texts.iter().map(|text| SecretString::from(*text)).collect()
}

fn signed(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(body).finalize();
    format!("sha256={}", hex::encode(mac.into_bytes()))
}

fn read_json(event: &str, body: &Value) -> Result<Payload, Unreadable> {
    read(event, &json_headers(), body.to_string().as_bytes())
}

/// A push as GitHub sends it, recorded; with some fields set to others.
fn push_with(changes: &[(&str, Value)]) -> Value {
    let bytes = std::fs::read(fixtures().join("github/webhooks/goscm__push.json")).unwrap();
    let mut body: Value = serde_json::from_slice(&bytes).unwrap();
    for (field, value) in changes {
        body[*field] = value.clone();
    }
    body
}

fn only_change(payload: Payload) -> RefChange {
    match payload {
        Payload::Push { mut events, unusable, .. } if unusable.is_empty() && events.len() == 1 => events.remove(0),
        other => panic!("expected one change of a ref, found {other:?}"),
    }
}

fn only_unusable(payload: Payload) -> UnusableRef {
    match payload {
        Payload::Push { events, mut unusable, .. } if events.is_empty() && unusable.len() == 1 => unusable.remove(0),
        other => panic!("expected one unusable ref, found {other:?}"),
    }
}

const ZERO: &str = "0000000000000000000000000000000000000000";
const SHA: &str = "199edd7a9a1d34a9eb3ba0b4a2bb6bb26fe9f0a5";

#[test]
fn every_recorded_delivery_is_read_as_what_it_is() {
    let index = std::fs::read_to_string(fixtures().join("INDEX.tsv")).unwrap();
    let mut seen = 0;
    for line in index.lines().filter(|line| line.starts_with("github\t")) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [_, event, file, traits] = columns[..] else { panic!("{line}") };
        let event = event.trim_end_matches('?');
        let body = std::fs::read(fixtures().join("github/webhooks").join(file)).unwrap();
        let raw: Value = serde_json::from_slice(&body).unwrap();
        let payload = read(event, &json_headers(), &body).unwrap_or_else(|error| panic!("{file}: {error}"));
        match (event, payload) {
            ("push", Payload::Push { repository_id, events, unusable }) => {
                assert_eq!(repository_id, raw["repository"]["id"].to_string(), "{file}");
                assert!(unusable.is_empty() && events.len() == 1, "{file}");
                let change = &events[0];
                assert_eq!(change.name.as_str(), raw["ref"].as_str().unwrap(), "{file}");
                assert_eq!(change.after.is_none(), traits.contains("DELETED(after=0)"), "{file}");
                assert_eq!(change.before.is_none(), traits.contains("new-ref(before=0)"), "{file}");
                assert_eq!(change.commit_message.as_deref(), raw["head_commit"]["message"].as_str(), "{file}");
            }
            ("ping", Payload::Ping { repository_id }) => {
                assert_eq!(repository_id, raw["repository"]["id"].as_u64().map(|id| id.to_string()), "{file}");
            }
            ("repository" | "public", Payload::Repository { repository_id, what }) => {
                assert_eq!(repository_id, raw["repository"]["id"].to_string(), "{file}");
                assert!(what.starts_with("the repository "), "{file}: {what}");
            }
            ("pull_request", Payload::PullRequest { repository_id, change }) => {
                let told = &raw["pull_request"];
                assert_eq!(repository_id, raw["repository"]["id"].to_string(), "{file}");
                assert_eq!((change.number, change.origin), (told["number"].as_u64().unwrap(), PullRequestOrigin::Internal), "{file}");
                assert_eq!(change.head, PullRequestHead::Commit(told["head"]["sha"].as_str().unwrap().parse().unwrap()), "{file}");
                assert_eq!(change.base.short(), told["base"]["ref"].as_str().unwrap(), "{file}");
                assert_eq!(change.kept_at, Some(RefName::pull_request(change.number)), "{file}");
                assert_eq!(change.standing == PullRequestStanding::Open, told["state"] == "open", "{file}");
                assert_eq!(change.title, told["title"].as_str().unwrap(), "{file}");
                assert!(["opened", "reopened", "synchronize", "closed"].contains(&raw["action"].as_str().unwrap()), "{file}");
            }
            ("push" | "ping" | "public", other) => panic!("{file}: {other:?}"),
            (_, Payload::Other { what }) => assert!(what.starts_with("event `"), "{file}: {what}"),
            (_, other) => panic!("{file}: {other:?}"),
        }
        seen += 1;
    }
    let files = std::fs::read_dir(fixtures().join("github/webhooks")).unwrap().count();
    assert_eq!(seen, files, "every file is in the index");
}

/// With all headers that GitHub sent; the secret is not known and the body is indented anew, so it is signed anew.
#[test]
fn a_delivery_for_an_app_is_read_by_its_headers() {
    let mut files = std::fs::read_dir(fixtures().join("github/deliveries")).unwrap();
    let recorded: Value = serde_json::from_slice(&std::fs::read(files.next().unwrap().unwrap().path()).unwrap()).unwrap();
    assert!(files.next().is_none(), "a new one wants to be read, too");
    let body = recorded["body"].to_string();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut sent: HeaderMap = recorded["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(&text(value)).unwrap()))
        .collect();
    assert_eq!(verify(&sent, body.as_bytes(), &secrets(&["s"])), Err(Refusal::BadSignature));
    sent.insert("x-hub-signature-256", signed("s", body.as_bytes()).parse().unwrap());
    let verified = verify(&sent, body.as_bytes(), &secrets(&["s"])).unwrap();
    assert_eq!((verified.event.as_str(), verified.delivery_id), ("push", text(&recorded["headers"]["X-GitHub-Delivery"])));
    let payload = read(&verified.event, &sent, body.as_bytes()).unwrap();
    assert!(matches!(&payload, Payload::Push { repository_id, .. } if repository_id == "439386909"), "{payload:?}");
    let change = only_change(payload);
    assert_eq!((change.name.as_str(), &change.after), ("refs/heads/branch-name", &None));
    assert_eq!(change.before.unwrap().as_str(), text(&recorded["body"]["before"]));
}

#[test]
fn published_signatures_hold_and_sha1_is_refused() {
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(fixtures().join("signature-vectors.json")).unwrap()).unwrap();
    let (mut strong, mut weak) = (0, 0);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or_default();
        let body = match (text("file"), text("payload_utf8")) {
            (file, _) if file.starts_with("github/") => std::fs::read(fixtures().join(file)).unwrap(),
            ("", payload) if text("test_repo").starts_with("docs.github.com") => payload.as_bytes().to_vec(),
            _ => continue,
        };
        let digest = text("hexdigest");
        let mut sent = headers(&[("x-github-event", "push"), ("x-github-delivery", "d-1")]);
        match text("alg") {
            "sha256" => {
                sent.insert("x-hub-signature-256", format!("sha256={digest}").parse().unwrap());
                let verified = verify(&sent, &body, &secrets(&["another", text("secret")])).unwrap();
                assert_eq!(verify(&sent, &body, &secrets(&[text("secret"), "another"])), Ok(verified.clone()));
                assert_eq!((verified.event.as_str(), verified.delivery_id.as_str()), ("push", "d-1"));
                let longer = [&body[..], b" "].concat();
                assert_eq!(verify(&sent, &longer, &secrets(&[text("secret")])), Err(Refusal::BadSignature));
                assert_eq!(verify(&sent, &body, &secrets(&["another"])), Err(Refusal::BadSignature));
                strong += 1;
            }
            _ => {
                sent.insert("x-hub-signature", format!("sha1={digest}").parse().unwrap());
                assert_eq!(verify(&sent, &body, &secrets(&[text("secret")])), Err(Refusal::WeakSignature));
                weak += 1;
            }
        }
    }
    assert!(strong >= 2 && weak >= 1, "{strong} sha256 and {weak} sha1 vectors found");
}

#[test]
fn only_a_whole_signature_of_a_real_secret_verifies() {
    let digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let secret = "It's a Secret to Everybody";
    let check = |signature: &str, secrets_text: &[&str]| {
        let sent = headers(&[("x-github-event", "push"), ("x-github-delivery", "d"), ("x-hub-signature-256", signature)]);
        verify(&sent, b"Hello, World!", &secrets(secrets_text))
    };
    assert!(check(&format!("sha256={digest}"), &[secret]).is_ok());
    for bad in [
        "",
        "sha256=",
        "sha256",
        digest,
        &format!("sha1={digest}"),
        &format!("sha256={}", &digest[2..]),
        &format!("sha256={digest}00"),
        "sha256=zz",
    ] {
        assert_eq!(check(bad, &[secret]), Err(Refusal::BadSignature), "{bad}");
    }
    assert_eq!(check(&format!("sha256={digest}"), &[]), Err(Refusal::BadSignature));
    // The signature by the empty secret, which anybody can make.
    assert_eq!(check(&signed("", b"Hello, World!"), &["", secret]), Err(Refusal::BadSignature));
}

#[test]
fn headers_must_be_there_once() {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let good = [("x-github-event", "push"), ("x-github-delivery", "d"), ("x-hub-signature-256", signature)];
    let check = |sent: &HeaderMap| verify(sent, b"Hello, World!", &secrets(&["It's a Secret to Everybody"]));
    assert!(check(&headers(&good)).is_ok());
    assert_eq!(check(&headers(&good[..2])), Err(Refusal::MissingSignature));
    assert_eq!(check(&headers(&good[1..])), Err(Refusal::MissingHeader("X-GitHub-Event")));
    assert_eq!(check(&headers(&[good[0], good[2]])), Err(Refusal::MissingHeader("X-GitHub-Delivery")));
    let mut twice = headers(&good);
    twice.append("x-github-delivery", "e".parse().unwrap());
    assert_eq!(check(&twice), Err(Refusal::MissingHeader("X-GitHub-Delivery")));
    let mut two_signatures = headers(&good);
    two_signatures.append("x-hub-signature-256", signature.parse().unwrap());
    assert_eq!(check(&two_signatures), Err(Refusal::BadSignature));
    let mut long = headers(&good);
    long.insert("x-github-delivery", "d".repeat(129).parse().unwrap());
    assert_eq!(check(&long), Err(Refusal::MissingHeader("X-GitHub-Delivery")));
}

#[test]
fn a_form_is_read_like_json() {
    let body = push_with(&[]);
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &body.to_string()).finish();
    let sent = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    assert_eq!(read("push", &sent, form.as_bytes()).unwrap(), read_json("push", &body).unwrap());
    assert!(read("push", &sent, b"other=1").unwrap_err().reason.contains("payload"));
    assert!(read("push", &headers(&[("content-type", "multipart/form-data")]), b"{}").unwrap_err().reason.contains("multipart/form-data"));
    assert!(read("push", &headers(&[("content-type", "application/json; charset=utf-8")]), body.to_string().as_bytes()).is_ok());
}

#[test]
fn an_annotated_tag_gives_its_commit() {
    let tag_object = "a".repeat(40);
    let head = push_with(&[])["head_commit"]["id"].as_str().unwrap().to_owned();
    let change = only_change(
        read_json("push", &push_with(&[("ref", json!("refs/tags/v1")), ("before", json!(ZERO)), ("after", json!(tag_object))])).unwrap(),
    );
    assert_eq!(change.after.unwrap().as_str(), head);
    let branch = push_with(&[("after", json!(tag_object))]);
    assert!(read_json("push", &branch).unwrap_err().reason.contains("head_commit"));
}

#[test]
fn refs_with_sha256_ids_and_odd_names_are_read() {
    let id = "b".repeat(64);
    let change = only_change(
        read_json(
            "push",
            &push_with(&[
                ("ref", json!("refs/heads/ü/a#b%2F--x")),
                ("before", json!("0".repeat(64))),
                ("after", json!(id)),
                ("head_commit", Value::Null),
            ]),
        )
        .unwrap(),
    );
    assert_eq!(change.name.short(), "ü/a#b%2F--x");
    assert_eq!((change.before, change.after.unwrap().as_str()), (None, id.as_str()));
}

#[test]
fn refs_that_no_rule_can_match_are_unusable_with_the_reason() {
    for (name, why) in [
        ("refs/heads/gh-readonly-queue/main/pr-104-abc", "merge queue"),
        ("refs/heads/a..b", "`..`"),
        ("refs/heads/a\u{0}\nb", "control character"),
        ("refs/notes/commits", "refs/heads/"),
        ("main", "refs/heads/"),
        ("--upload-pack=touch /tmp/x", "refs/heads/"),
        ("", "refs/heads/"),
    ] {
        let found = only_unusable(read_json("push", &push_with(&[("ref", json!(name))])).unwrap());
        assert!(found.why.contains(why), "{name:?}: {}", found.why);
        assert!(!found.name.chars().chain(found.why.chars()).any(char::is_control), "{found:?}");
    }
    let long = only_unusable(read_json("push", &push_with(&[("ref", json!(format!("refs/heads/{}", "x".repeat(5000))))])).unwrap());
    assert_eq!(long.name.len(), 200);
}

#[test]
fn odd_fields_are_unreadable_and_name_themselves() {
    for (changes, word) in [
        (vec![("repository", json!({}))], "id"),
        (vec![("repository", json!({ "id": "1; drop" }))], "u64"),
        (vec![("repository", json!({ "id": -1 }))], "u64"),
        (vec![("repository", Value::Null)], "null"),
        (vec![("ref", json!(7))], "string"),
        (vec![("after", json!("main"))], "after"),
        (vec![("before", json!("$(id)"))], "before"),
        (vec![("before", json!(ZERO)), ("after", json!(ZERO)), ("deleted", json!(true))], "zero"),
        (vec![("deleted", json!(true))], "deleted"),
        (vec![("after", json!(ZERO))], "deleted"),
        (vec![("head_commit", json!({ "id": "--upload-pack" }))], "commit"),
    ] {
        let error = read_json("push", &push_with(&changes)).unwrap_err();
        assert!(error.reason.contains(word), "{changes:?}: {}", error.reason);
    }
    let deep = format!("{{\"repository\":{}", "[".repeat(100_000));
    for body in [&b""[..], b"{", b"[]", b"[null]", b"null", b"\xff\xfe", b"{\"repository\":1e999}", deep.as_bytes()] {
        for event in ["push", "ping", "release"] {
            assert!(read(event, &json_headers(), body).is_err() || (event == "release" && body.ends_with(b"1e999}")), "{event}");
        }
    }
}

#[test]
fn words_for_display_are_cut_and_cleaned() {
    let change = only_change(read_json("push", &push_with(&[
        ("after", json!(SHA)),
        ("head_commit", json!({ "id": SHA, "message": format!("a\u{0}\n{}", "m".repeat(9000)), "author": { "name": "x\u{1b}[2J".repeat(100) } })),
        ("pusher", json!({ "name": "" , "username": "octo\ncat" })),
    ])).unwrap());
    let message = change.commit_message.unwrap();
    assert!(message.starts_with("a \nmmm") && message.chars().count() == 4096);
    let author = change.author.unwrap();
    assert!(author.chars().count() <= 200 && !author.contains('\u{1b}'));
    assert_eq!(change.pusher.as_deref(), Some("octo cat"));
}

/// A pull request as GitHub sends it, recorded; with some places set to others.
fn pull_request_with(file: &str, changes: &[(&str, Value)]) -> Result<PullRequestChange, Unreadable> {
    let bytes = std::fs::read(fixtures().join("github/webhooks").join(file)).unwrap();
    let mut body: Value = serde_json::from_slice(&bytes).unwrap();
    for (place, value) in changes {
        *body.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = value.clone();
    }
    match read_json("pull_request", &body)? {
        Payload::PullRequest { change, .. } => Ok(*change),
        other => panic!("expected a pull request, found {other:?}"),
    }
}

#[test]
fn only_the_id_of_the_repository_says_that_a_pull_request_is_internal() {
    let origin = |changes: &[(&str, Value)]| pull_request_with("goscm__pr_sync.json", changes).unwrap().origin;
    assert_eq!(origin(&[]), PullRequestOrigin::Internal);
    assert_eq!(origin(&[("/pull_request/head/repo/id", json!(1))]), PullRequestOrigin::Fork);
    assert_eq!(origin(&[("/pull_request/head/repo", Value::Null)]), PullRequestOrigin::DeletedFork);
    for (place, lie) in [
        ("/pull_request/author_association", json!("OWNER")),
        ("/pull_request/head/repo/full_name", json!("bradrydzewski/test")),
        ("/pull_request/head/label", json!("bradrydzewski:master")),
        ("/pull_request/user/login", json!("bradrydzewski")),
    ] {
        assert_eq!(origin(&[("/pull_request/head/repo/id", json!(1)), (place, lie)]), PullRequestOrigin::Fork, "{place}");
    }
    // Not a branch, whatever repository it is said to be in.
    for name in [json!("refs/pull/1/head"), json!(""), Value::Null] {
        assert_eq!(origin(&[("/pull_request/head/ref", name.clone())]), PullRequestOrigin::Fork, "{name}");
    }
}

#[test]
fn a_pull_request_that_makes_no_sense_is_unreadable_with_the_reason() {
    for (place, value, reason) in [
        ("/pull_request/head/sha", json!("--upload-pack=x"), "`pull_request.head.sha`"),
        ("/pull_request/head/sha", json!(ZERO), "`pull_request.head.sha`"),
        ("/pull_request/base/ref", json!("a..b"), "`pull_request.base.ref`"),
        ("/pull_request/updated_at", json!("yesterday"), "updated_at"),
        ("/pull_request/base/repo/id", json!(1), "is not `repository`"),
        ("/pull_request/number", json!(-1), "not what GitHub sends"),
        ("/pull_request/head", Value::Null, "not what GitHub sends"),
    ] {
        let error = pull_request_with("goscm__pr_sync.json", &[(place, value)]).unwrap_err();
        assert!(error.reason.contains(reason), "{place}: {error}");
    }
    let long = pull_request_with("goscm__pr_sync.json", &[("/pull_request/title", json!("a\u{0}\n".repeat(999)))]).unwrap();
    assert!(long.title.chars().count() <= 200 && !long.title.contains(['\0', '\n']));
}

#[test]
fn what_makes_no_difference_to_a_build_is_not_looked_at() {
    let bytes = std::fs::read(fixtures().join("github/webhooks/goscm__pr_edited.json")).unwrap();
    let edited: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(matches!(read_json("pull_request", &edited).unwrap(), Payload::Other { what } if what.contains("`edited`")));
    let mut retargeted = edited;
    retargeted["changes"] = json!({ "base": { "ref": { "from": "main" }, "sha": { "from": SHA } } });
    assert!(matches!(read_json("pull_request", &retargeted).unwrap(), Payload::PullRequest { .. }));
    // It was closed meanwhile.
    retargeted["pull_request"]["state"] = json!("closed");
    assert!(matches!(read_json("pull_request", &retargeted).unwrap(), Payload::Other { .. }));
    let merged = pull_request_with("octokit__pull_request.closed.json", &[("/pull_request/merged", json!(true))]).unwrap();
    assert_eq!(merged.standing, PullRequestStanding::Merged);
}

#[test]
fn other_events_come_with_words() {
    assert_eq!(
        read_json("issues", &json!({ "action": "opened" })),
        Ok(Payload::Other { what: "event `issues` with action `opened`".into() })
    );
    assert_eq!(read_json("watch", &json!({})), Ok(Payload::Other { what: "event `watch`".into() }));
    assert!(matches!(read_json("create", &json!({ "ref": "v1" })), Ok(Payload::Other { what }) if what.contains("push")));
    assert!(read_json("issues", &json!({ "action": 1 })).is_err());
}

#[test]
fn what_happens_to_the_repository_itself_is_told_with_its_id() {
    for (event, body, expected) in [
        ("repository", json!({ "action": "renamed" }), "was renamed"),
        ("repository", json!({ "action": "transferred" }), "was moved to another owner"),
        ("repository", json!({ "action": "deleted" }), "was deleted"),
        ("repository", json!({ "action": "privatized" }), "was made private"),
        ("repository", json!({ "action": "publicized" }), "was made public"),
        ("repository", json!({ "action": "archived" }), "was archived"),
        ("repository", json!({ "action": "unarchived" }), "takes pushes again"),
        ("repository", json!({ "action": "edited", "changes": { "default_branch": { "from": "master" } } }), "has another default branch"),
        ("repository", json!({ "action": "edited", "changes": { "description": { "from": null } } }), "has other settings"),
        ("public", json!({}), "was made public"),
    ] {
        let mut body = body;
        assert!(read_json(event, &body).unwrap_err().reason.contains("repository"), "{event}: a body without its repository");
        body["repository"] = json!({ "id": 7, "full_name": "o/r" });
        let expected = Payload::Repository { repository_id: "7".into(), what: format!("the repository {expected}") };
        assert_eq!(read_json(event, &body), Ok(expected));
    }
    let made = read_json("repository", &json!({ "action": "created", "repository": { "id": 7 } }));
    assert_eq!(made, Ok(Payload::Other { what: "event `repository` with action `created`".into() }));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!(ZERO)),
        Just(json!(SHA)),
        "refs/(heads|tags)/\\PC{0,20}".prop_map(Value::from),
    ];
    let field = prop_oneof![
        Just("ref"),
        Just("before"),
        Just("after"),
        Just("deleted"),
        Just("head_commit"),
        Just("repository"),
        Just("id"),
        Just("pusher"),
        Just("name"),
        Just("author"),
        Just("message"),
        Just("action"),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(field.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(event in "push|ping|create|[a-z_]{0,20}", kind in "application/json|application/x-www-form-urlencoded|.{0,20}", body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut sent = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&kind) {
            sent.insert(CONTENT_TYPE, value);
        }
        if let Err(error) = read(&event, &sent, &body) {
            prop_assert!(!error.reason.is_empty());
        }
        prop_assert!(verify(&sent, &body, &secrets(&["s"])).is_err());
    }

    #[test]
    fn no_json_makes_it_panic(body in any_json()) {
        for event in ["push", "ping", "release"] {
            if let Err(error) = read_json(event, &body) {
                prop_assert!(!error.reason.is_empty() && error.reason.chars().count() <= 300);
            }
        }
    }

    #[test]
    fn one_odd_field_makes_no_false_commit(field in "ref|before|after|deleted|head_commit|repository|pusher", value in any_json()) {
        if let Ok(Payload::Push { events, unusable, .. }) = read_json("push", &push_with(&[(field.as_str(), value)])) {
            prop_assert_eq!(events.len() + unusable.len(), 1);
            prop_assert!(events.iter().all(|change| change.before.is_some() || change.after.is_some()));
        }
    }
}
