//! What recorded deliveries of Gitea, Forgejo and Gogs become, and that no bytes at all make the reader panic.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::webhook::{PullRequestHead, PullRequestOrigin, PullRequestStanding};

const ZERO: &str = "0000000000000000000000000000000000000000";
const SHA: &str = "4522cbcefc20728a5b72b3a86af35e608622c514";

fn fixtures() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures").into()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn json_headers() -> HeaderMap {
    headers(&[("content-type", "application/json")])
}

fn secrets(texts: &[&str]) -> Vec<SecretString> {
    texts.iter().map(|text| SecretString::from(*text)).collect()
}

fn read_json(event: &str, body: &Value) -> Result<Payload, Unreadable> {
    read(event, &json_headers(), body.to_string().as_bytes())
}

/// A recorded push, with some fields set to others.
fn push_with(changes: &[(&str, Value)]) -> Value {
    let bytes = std::fs::read(fixtures().join("gitea/webhooks/goscm__push.json")).unwrap();
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

fn signed(secret: &str, body: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Provider, event, file of the recorded deliveries of the family.
fn recorded() -> Vec<(String, String, PathBuf)> {
    let index = std::fs::read_to_string(fixtures().join("INDEX.tsv")).unwrap();
    let rows = index.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let (provider, event, file) = (fields.next()?, fields.next()?, fields.next()?);
        let path = fixtures().join(provider).join("webhooks").join(file);
        matches!(provider, "gitea" | "forgejo" | "gogs").then(|| (provider.to_owned(), event.to_owned(), path))
    });
    rows.collect()
}

#[test]
fn every_recorded_delivery_is_read_as_what_it_is() {
    let recorded = recorded();
    let all = std::fs::read_dir(fixtures().join("gitea/webhooks")).unwrap().count();
    assert_eq!(recorded.iter().filter(|(provider, ..)| provider == "gitea").count(), all, "the index names every file");
    for (provider, event, path) in recorded {
        let body = std::fs::read(&path).unwrap();
        let value: Value = serde_json::from_slice(&body).unwrap();
        match read(&event, &json_headers(), &body) {
            Ok(Payload::Push { repository_id, events, unusable }) => {
                assert_eq!(event, "push", "{path:?}");
                assert_eq!((events.len(), unusable.len()), (1, 0), "{path:?}");
                assert_eq!(repository_id, value["repository"]["id"].to_string());
                assert_eq!(events[0].name.to_string(), value["ref"].as_str().unwrap());
                assert_eq!(events[0].after.as_ref().unwrap().as_str(), value["after"].as_str().unwrap());
                assert!(events[0].commit_message.is_some() && events[0].author.is_some() && events[0].pusher.is_some(), "{path:?}");
            }
            Ok(Payload::Repository { repository_id, what }) => {
                assert_eq!((event.as_str(), repository_id), ("repository", value["repository"]["id"].to_string()));
                assert!(what.contains("created"), "{what}");
            }
            Ok(Payload::PullRequest { repository_id, change }) => {
                let told = &value["pull_request"];
                assert_eq!((event.as_str(), repository_id), ("pull_request", value["repository"]["id"].to_string()), "{path:?}");
                assert_eq!(change.head, PullRequestHead::Commit(told["head"]["sha"].as_str().unwrap().parse().unwrap()), "{path:?}");
                let same = told["head"]["repo"]["id"] == value["repository"]["id"];
                assert_eq!(change.origin == PullRequestOrigin::Internal, same, "{path:?}");
                assert_eq!(change.standing == PullRequestStanding::Open, told["state"] == "open", "{path:?}");
                assert_eq!(change.standing == PullRequestStanding::Merged, told["merged"] == true, "{path:?}");
            }
            Ok(Payload::Other { what }) => assert!(what.starts_with(&format!("event `{event}`")), "{path:?}: {what}"),
            // Theirs have another shape, and nobody can be linked there.
            Err(_) if (provider.as_str(), event.as_str()) == ("gogs", "pull_request") => {}
            other => panic!("{provider} {path:?}: {other:?}"),
        }
    }
}

#[test]
fn deliveries_of_a_forgejo_are_read_by_their_own_headers() {
    for (file, event) in [("push.json", "push"), ("pr.json", "pull_request")] {
        let bytes = std::fs::read(fixtures().join("forgejo/deliveries").join(file)).unwrap();
        let delivery: Value = serde_json::from_slice(&bytes).unwrap();
        let sent = delivery["headers"].as_object().unwrap();
        let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect();
        // The secret is not known and the body is indented anew, so it is signed anew; everything else is as it was.
        let body = delivery["body"].to_string();
        let mut sent = headers(&sent);
        assert_eq!(verify(&sent, body.as_bytes(), &secrets(&["s"])), Err(Refusal::BadSignature));
        sent.insert("x-forgejo-signature", HeaderValue::from_str(&signed("s", body.as_bytes())).unwrap());
        let verified = verify(&sent, body.as_bytes(), &secrets(&["s"])).unwrap();
        assert_eq!((verified.event.as_str(), verified.delivery_id.len()), (event, 36));
        match read(&verified.event, &sent, body.as_bytes()).unwrap() {
            Payload::Push { repository_id, events, .. } => {
                assert_eq!(repository_id, delivery["body"]["repository"]["id"].to_string());
                let change = &events[0];
                assert_eq!((change.name.to_string().as_str(), change.author.as_deref()), ("refs/heads/main", Some("Jakub Kadlcik")));
                assert_eq!(change.pusher.as_deref(), Some("Michal Konečný"));
                assert!(change.commit_message.as_ref().unwrap().starts_with("copr: update"));
            }
            Payload::PullRequest { repository_id, change } => {
                assert_eq!(repository_id, delivery["body"]["repository"]["id"].to_string());
                assert_eq!((change.number, change.standing), (delivery["body"]["number"].as_u64().unwrap(), PullRequestStanding::Open));
                assert_eq!(change.origin, PullRequestOrigin::Fork);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_signature_vector_of_the_family_holds() {
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(fixtures().join("signature-vectors.json")).unwrap()).unwrap();
    let mut seen = 0;
    for vector in &vectors {
        let Some(file) = vector["file"].as_str() else { continue };
        let family = match file.split('/').next().unwrap() {
            "gitea" => "gitea",
            "forgejo" => "forgejo",
            "gogs" => "gogs",
            _ => continue,
        };
        seen += 1;
        let body = std::fs::read(fixtures().join(file)).unwrap();
        let (secret, digest) = (vector["secret"].as_str().unwrap(), vector["hexdigest"].as_str().unwrap());
        let sent = headers(&[
            (&format!("x-{family}-event"), "push"),
            (&format!("x-{family}-delivery"), "1"),
            (&format!("x-{family}-signature"), digest),
        ]);
        assert!(verify(&sent, &body, &secrets(&["other", secret])).is_ok(), "{file}");
        assert_eq!(verify(&sent, &body, &secrets(&["other"])), Err(Refusal::BadSignature), "{file}");
        assert_eq!(verify(&sent, &[&body[..], b" "].concat(), &secrets(&[secret])), Err(Refusal::BadSignature), "{file}");
    }
    assert_eq!(seen, 17, "the vectors of Gitea and Gogs");
}

#[test]
fn what_is_not_signed_by_the_secret_is_refused_with_the_reason() {
    let body = b"{}";
    let digest = signed("s", body);
    let base = [("x-gitea-event", "push"), ("x-gitea-delivery", "1")];
    let with = |more: &[(&str, &str)]| headers(&[&base, more].concat());
    assert!(verify(&with(&[("x-gitea-signature", &digest)]), body, &secrets(&["s"])).is_ok());
    let cases: &[(HeaderMap, Refusal)] = &[
        (with(&[]), Refusal::MissingSignature),
        (with(&[("x-gitea-signature", "")]), Refusal::MissingSignature),
        // The signatures of the ancestors do not count.
        (with(&[("x-gogs-signature", &digest), ("x-hub-signature-256", &format!("sha256={digest}"))]), Refusal::MissingSignature),
        (with(&[("x-gitea-signature", &format!("sha256={digest}"))]), Refusal::BadSignature),
        (with(&[("x-gitea-signature", &digest[1..])]), Refusal::BadSignature),
        (with(&[("x-gitea-signature", "zz")]), Refusal::BadSignature),
        (headers(&[("x-github-event", "push"), ("x-hub-signature-256", &digest)]), Refusal::MissingHeader("X-Gitea-Event")),
        (headers(&[("x-gitea-event", "push"), ("x-gitea-signature", &digest)]), Refusal::MissingHeader("X-Gitea-Delivery")),
        (with(&[("x-gitea-signature", &digest), ("content-type", "text/plain")]), Refusal::BadSignature),
    ];
    for (sent, expected) in cases {
        assert_eq!(verify(sent, body, &secrets(&["s"])), Err(*expected), "{sent:?}");
    }
    let mut twice = with(&[("x-gitea-signature", &digest)]);
    twice.append("x-gitea-signature", HeaderValue::from_str(&digest).unwrap());
    assert_eq!(verify(&twice, body, &secrets(&["s"])), Err(Refusal::BadSignature));
    for none in [&[][..], &[""][..]] {
        assert_eq!(verify(&with(&[("x-gitea-signature", &signed("", body))]), body, &secrets(none)), Err(Refusal::BadSignature));
    }
}

/// A webhook that is set to GET sends no body, and its payload stands in the address.
#[test]
fn a_get_hook_is_never_verified() {
    let payload = push_with(&[]).to_string();
    let sent = headers(&[("x-gitea-event", "push"), ("x-gitea-delivery", "1"), ("x-gitea-signature", &signed("s", payload.as_bytes()))]);
    assert_eq!(verify(&sent, b"", &secrets(&["s"])), Err(Refusal::BadSignature));
}

#[test]
fn a_form_is_signed_over_the_json_in_it() {
    let json = push_with(&[]).to_string();
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &json).finish();
    let digest = |bytes: &str| signed("s", bytes.as_bytes());
    let sent = |digest: &str| {
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        headers(&[("x-gitea-event", "push"), ("x-gitea-delivery", "1"), ("x-gitea-signature", digest), form])
    };
    assert!(verify(&sent(&digest(&json)), form.as_bytes(), &secrets(&["s"])).is_ok());
    assert_eq!(verify(&sent(&digest(&form)), form.as_bytes(), &secrets(&["s"])), Err(Refusal::BadSignature));
    assert_eq!(verify(&sent(&digest(&json)), b"other=1", &secrets(&["s"])), Err(Refusal::BadSignature));
    let change = only_change(read("push", &sent(""), form.as_bytes()).unwrap());
    assert_eq!(change.after.unwrap().as_str(), SHA);
    // What stands first is what was signed.
    let doubled = format!("{form}&payload=%7B%7D");
    assert!(verify(&sent(&digest(&json)), doubled.as_bytes(), &secrets(&["s"])).is_ok());
    assert!(read("push", &sent(""), doubled.as_bytes()).is_ok());
}

#[test]
fn new_deleted_and_moved_refs_are_told_apart() {
    let new = only_change(read_json("push", &push_with(&[("before", json!(ZERO))])).unwrap());
    assert_eq!((new.before, new.after.unwrap().as_str()), (None, SHA));
    let long_zero = "0".repeat(64);
    for zero in [ZERO, long_zero.as_str()] {
        let body =
            push_with(&[("ref", json!("refs/tags/v1")), ("after", json!(zero)), ("head_commit", Value::Null), ("commits", Value::Null)]);
        let deleted = only_change(read_json("push", &body).unwrap());
        assert_eq!((deleted.name.to_string().as_str(), deleted.after, deleted.commit_message), ("refs/tags/v1", None, None));
    }
    // An annotated tag: `after` is the tag's own object.
    let tag_object = "c5b97d5ae6c19d5c5df71a34c7fbeeda2479ccbc";
    let head = json!({ "id": SHA, "message": "m", "author": { "name": "A" } });
    let body = push_with(&[("ref", json!("refs/tags/v1")), ("after", json!(tag_object)), ("head_commit", head), ("commits", json!([]))]);
    let tag = only_change(read_json("push", &body).unwrap());
    assert_eq!((tag.after.unwrap().as_str(), tag.commit_message.as_deref()), (SHA, Some("m")));
    // Another commit's words are not this commit's.
    let body = push_with(&[("after", json!(tag_object))]);
    let cut = only_change(read_json("push", &body).unwrap());
    assert_eq!((cut.after.unwrap().as_str(), cut.commit_message), (tag_object, None));
}

/// Whoever reads a repository may push there for review; Gitea then names the repository itself as the head's, and no branch.
#[test]
fn a_pull_request_of_the_agit_flow_is_a_strangers() {
    let bytes = std::fs::read(fixtures().join("gitea/webhooks/goscm__pull_request_synchronized.json")).unwrap();
    let mut body: Value = serde_json::from_slice(&bytes).unwrap();
    let origin = |body: &Value| match read_json("pull_request", body).unwrap() {
        Payload::PullRequest { change, .. } => change.origin,
        other => panic!("{other:?}"),
    };
    assert_eq!(origin(&body), PullRequestOrigin::Internal);
    (body["pull_request"]["head"]["ref"], body["pull_request"]["head"]["label"]) = (json!("refs/pull/1/head"), json!(""));
    assert_eq!(origin(&body), PullRequestOrigin::Fork);
}

#[test]
fn another_base_branch_is_told_by_its_ref() {
    let bytes = std::fs::read(fixtures().join("gitea/webhooks/goscm__pull_request_edited.json")).unwrap();
    let mut body: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(matches!(read_json("pull_request", &body).unwrap(), Payload::Other { .. }), "its title was changed");
    body["changes"] = json!({ "ref": { "from": "dev" } });
    assert!(matches!(read_json("pull_request", &body).unwrap(), Payload::PullRequest { change, .. } if change.base.short() == "master"));
}

#[test]
fn refs_that_git_would_refuse_are_told_with_the_reason() {
    for name in ["refs/heads/a..b", "refs/heads/", "refs/pull/1/head", "main", "refs/heads/a\u{7}b", "refs/heads/-x y"] {
        match read_json("push", &push_with(&[("ref", json!(name))])).unwrap() {
            Payload::Push { events, unusable, repository_id } => {
                assert_eq!((events.len(), unusable.len(), repository_id.as_str()), (0, 1, "61"), "{name}");
                assert!(!unusable[0].why.is_empty() && !unusable[0].name.contains('\u{7}'));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn bodies_that_make_no_sense_are_unreadable_with_the_reason() {
    let cases = [
        (push_with(&[("before", json!(ZERO)), ("after", json!(ZERO))]).to_string(), "both"),
        (push_with(&[("after", json!("xyz"))]).to_string(), "`after`"),
        (push_with(&[("repository", json!({ "id": "61" }))]).to_string(), "not what Gitea sends"),
        (push_with(&[("repository", Value::Null)]).to_string(), "not what Gitea sends"),
        ("[]".to_owned(), "no JSON object"),
        (String::new(), "no JSON object"),
        ("{\"ref\":".to_owned(), "not what Gitea sends"),
    ];
    for (body, reason) in cases {
        let error = read("push", &json_headers(), body.as_bytes()).unwrap_err();
        assert!(error.reason.contains(reason), "{body}: {error}");
    }
    let odd = read("push", &headers(&[("content-type", "text/plain")]), b"{}").unwrap_err();
    assert!(odd.reason.contains("text/plain"), "{odd}");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(event in "[a-z_]{0,20}", body: Vec<u8>, text in "\\{\"ref\":\"[ -~]{0,40}\",\"before\":\"[0-9a-f]{0,70}\".{0,80}") {
        for content_type in ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"] {
            let sent = headers(&[("content-type", content_type), ("x-gitea-event", "push"), ("x-gitea-signature", "00")]);
            for body in [&body[..], text.as_bytes()] {
                read(&event, &sent, body).ok();
                read("push", &sent, body).ok();
                prop_assert!(verify(&sent, body, &secrets(&["s"])).is_err());
            }
        }
    }

    #[test]
    fn any_field_may_be_anything(field in "ref|before|after|repository|head_commit|commits|pusher|action", value in "null|0|-1|\"\"|\"x\"|\\[\\]|\\{\\}|\\[1\\]") {
        let body = push_with(&[(&field, serde_json::from_str(&value).unwrap())]);
        for event in ["push", "create", "repository", "pull_request"] {
            read_json(event, &body).ok();
        }
    }
}
