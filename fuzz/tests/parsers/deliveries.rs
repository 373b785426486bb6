//! The deliveries of webhooks: bodies and headers, signed by who knows the secret and by who does not.

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;

use bolero::check;
use hmac::{Hmac, KeyInit, Mac};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use slipway_forge::{Forge, Payload, PullRequestHead, PullRequestOrigin, Verified};
use slipway_fuzz::{Recipe, Seeds};
use slipway_model::ProviderKind;

use super::place::client;
use super::presentable;

const SECRET: &str = "the-secret-of-the-hook";

/// The headers by which a provider says what it sends, what stands before the digits of its signature, and what it signs of a form.
struct Family {
    event: &'static str,
    delivery: &'static str,
    signature: &'static str,
    prefix: &'static str,
    signs: Signs,
}

#[derive(Clone, Copy, PartialEq)]
enum Signs {
    /// The bytes as they are sent.
    Body,
    /// The JSON in the form.
    Json,
}

const GITHUB: &[Family] = &[Family {
    event: "x-github-event",
    delivery: "x-github-delivery",
    signature: "x-hub-signature-256",
    prefix: "sha256=",
    signs: Signs::Body,
}];
const BITBUCKET: &[Family] =
    &[Family { event: "x-event-key", delivery: "x-request-uuid", signature: "x-hub-signature", prefix: "sha256=", signs: Signs::Body }];
const GITEA: &[Family] = &[
    family("x-forgejo-event", "x-forgejo-delivery", "x-forgejo-signature"),
    family("x-gitea-event", "x-gitea-delivery", "x-gitea-signature"),
    family("x-gogs-event", "x-gogs-delivery", "x-gogs-signature"),
];

const fn family(event: &'static str, delivery: &'static str, signature: &'static str) -> Family {
    Family { event, delivery, signature, prefix: "", signs: Signs::Json }
}

/// The body; what is done to headers; which family; which event; and switches, one in each bit.
type Sent = (Recipe, Recipe, u8, u8, u16);

// The switches.
const BEND_EVENT: u16 = 1;
const BEND_DELIVERY: u16 = 2;
const BEND_SIGNATURE: u16 = 4;
const BEND_TYPE: u16 = 8;
const EVENT_TWICE: u16 = 16;
const SIGNATURE_TWICE: u16 = 32;
const AS_FORM: u16 = 64;
/// The headers of all ancestors and of GitHub, as Forgejo and Gitea send them.
const ANCESTORS: u16 = 128;
const UNSIGNED: u16 = 256;
const TROUBLES: u16 = BEND_EVENT | BEND_DELIVERY | BEND_SIGNATURE | BEND_TYPE | EVENT_TWICE | SIGNATURE_TWICE | UNSIGNED;

static IDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::of(&[b"731b8328-d4dd-11ee-99f2-1d75829a10e7", b"1", b""]));
static TYPES: LazyLock<Seeds> =
    LazyLock::new(|| Seeds::of(&[b"application/json", b"application/x-www-form-urlencoded; charset=utf-8", b"text/plain", b""]));

/// A request as the bits say. Values that no header can have are left out.
fn request(families: &[Family], events: &[&str], body: Vec<u8>, (_, twist, which, event, bits): &Sent) -> (HeaderMap, Vec<u8>) {
    let on = |bit: u16| bits & bit != 0;
    let family = &families[usize::from(*which) % families.len()];
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: Vec<u8>| {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append(HeaderName::from_static(name), value);
        }
    };
    let bent = |bit: u16, natural: &[u8], seeds: &Seeds| if on(bit) { seeds.bend(twist) } else { natural.to_vec() };
    let event = events[usize::from(*event) % events.len()].as_bytes();
    let (sent, media_type) = match on(AS_FORM) {
        false => (body.clone(), "application/json"),
        true => {
            let form = String::from_utf8_lossy(&body);
            let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &form).finish();
            (form.into_bytes(), "application/x-www-form-urlencoded")
        }
    };
    let signed: &[u8] = if family.signs == Signs::Json && on(AS_FORM) { &body } else { &sent };
    let digits = match on(UNSIGNED) {
        true => "00".repeat(31) + "ff",
        false => hex::encode(Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(signed).finalize().into_bytes()),
    };
    let signature = format!("{}{digits}", family.prefix).into_bytes();
    put(family.event, bent(BEND_EVENT, event, &Seeds::of(&[event, b"push"])));
    put(family.delivery, bent(BEND_DELIVERY, IDS.first(), &IDS));
    put(family.signature, bent(BEND_SIGNATURE, &signature, &Seeds::of(&[&signature, b"sha1=00", b""])));
    put("content-type", bent(BEND_TYPE, media_type.as_bytes(), &TYPES));
    if on(EVENT_TWICE) {
        put(family.event, event.to_vec());
    }
    if on(SIGNATURE_TWICE) {
        put(family.signature, signature.clone());
    }
    if on(ANCESTORS) {
        let after = families.iter().skip_while(|one| one.event != family.event).skip(1);
        for ancestor in after.chain(GITHUB).filter(|ancestor| ancestor.event != family.event) {
            put(ancestor.event, b"issues".to_vec());
            put(ancestor.delivery, b"of-an-ancestor".to_vec());
            put(ancestor.signature, b"00".repeat(32));
        }
    }
    (headers, sent)
}

/// A provider's deliveries: one line per kind of provider below.
fn deliveries(kind: ProviderKind, folders: &[&str], events: &'static [&'static str], families: &'static [Family]) {
    // A parser changes nothing, so there is nothing that a panic could leave half done.
    let client = AssertUnwindSafe(client(kind));
    let seeds = Seeds::recorded(folders);
    let secrets = ["another".into(), SECRET.into()];
    check!().with_type::<Sent>().for_each(|sent| {
        let (body, bits) = (seeds.bend(&sent.0), sent.4);
        // What is no text cannot be put into a form.
        let body = if bits & AS_FORM == 0 { body } else { String::from_utf8_lossy(&body).into_owned().into_bytes() };
        let (headers, body) = request(families, events, body, sent);
        let event = match client.verify(&headers, &body, &secrets) {
            Ok(Verified { event, delivery_id }) => {
                assert!(bits & UNSIGNED == 0, "a signature that nobody made");
                for word in [&event, &delivery_id] {
                    assert!((1..=128).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic()), "{word:?}");
                }
                event
            }
            Err(refusal) => {
                assert!(bits & TROUBLES != 0, "{refusal}");
                presentable(&refusal.to_string(), 200);
                events[usize::from(sent.3) % events.len()].to_owned()
            }
        };
        read(&**client, &event, &headers, &body);
    });
}

/// Reads a body; what it becomes can be kept and shown.
fn read(client: &dyn Forge, event: &str, headers: &HeaderMap, body: &[u8]) {
    match client.read(event, headers, body) {
        Ok(Payload::Push { repository_id, events, unusable }) => {
            presentable(&repository_id, 100);
            for change in &events {
                assert!(change.before.is_some() || change.after.is_some(), "{change:?}");
                presentable(change.commit_message.as_deref().unwrap_or_default(), 4096);
                presentable(change.author.as_deref().unwrap_or_default(), 200);
                presentable(change.pusher.as_deref().unwrap_or_default(), 200);
            }
            for odd in &unusable {
                presentable(&odd.name, 200);
                presentable(&odd.why, 400);
            }
        }
        Ok(Payload::PullRequest { repository_id, change }) => {
            presentable(&repository_id, 100);
            presentable(&change.title, 200);
            assert!(change.kept_at.is_some() || change.origin != PullRequestOrigin::Internal, "{change:?}");
            assert!(change.fork.is_none() || (change.origin == PullRequestOrigin::Fork && change.kept_at.is_some()), "{change:?}");
            if let PullRequestHead::Abbreviated(digits) = &change.head {
                assert!(digits.len() >= 7 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{change:?}");
            }
        }
        Ok(Payload::Repository { repository_id, what }) => {
            presentable(&repository_id, 100);
            presentable(&what, 400);
        }
        Ok(Payload::Ping { repository_id }) => presentable(&repository_id.unwrap_or_default(), 100),
        Ok(Payload::Other { what }) => presentable(&what, 400),
        Err(unreadable) => {
            assert!(!unreadable.reason.is_empty(), "{:?}", headers.get(CONTENT_TYPE));
            presentable(&unreadable.reason, 400);
        }
    }
}

#[test]
fn github_deliveries() {
    let events = &["push", "pull_request", "ping", "repository", "public", "create"];
    deliveries(ProviderKind::GitHub, &["github/webhooks", "github/deliveries"], events, GITHUB);
}

#[test]
fn bitbucket_deliveries() {
    let events = &["repo:push", "pullrequest:created", "pullrequest:rejected", "repo:updated", "repo:deleted", "repo:fork"];
    deliveries(ProviderKind::Bitbucket, &["bitbucket-cloud/webhooks"], events, BITBUCKET);
}

#[test]
fn gitea_deliveries() {
    let folders = &["gitea/webhooks", "forgejo/deliveries", "gogs/webhooks"];
    deliveries(ProviderKind::Gitea, folders, &["push", "pull_request", "repository", "create"], GITEA);
}
