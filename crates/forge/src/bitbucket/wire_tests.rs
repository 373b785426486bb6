//! That no answer at all makes a reader of answers panic, and that errors stay short.

use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::egress::Egress;
use crate::types::Provider;

fn client() -> Bitbucket {
    let provider = Provider {
        id: "bitbucket".parse().unwrap(),
        kind: slipway_model::ProviderKind::Bitbucket,
        web_url: "https://bitbucket.example".parse().unwrap(),
        api_url: "https://api.bitbucket.example".parse().unwrap(),
        client_id: "key".to_owned(),
        client_secret: "s3cret".into(),
        app: None,
        ssh: None,
    };
    Bitbucket::open(provider, Egress::default()).unwrap()
}

fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.into(),
        url: "https://api.bitbucket.example/2.0/repositories/acme/site/hooks?pagelen=100".parse().unwrap(),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "(https?:)?//[a-z.]{0,30}(:[0-9]{0,6})?/\\PC{0,20}".prop_map(Value::from),
    ];
    let field = prop::sample::select(vec![
        "values",
        "next",
        "type",
        "error",
        "message",
        "detail",
        "fields",
        "required",
        "granted",
        "uuid",
        "slug",
        "workspace",
        "full_name",
    ]);
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(field.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn the_workspace_of_a_request_is_named() {
    let named = |url: &str| workspace_of(&url.parse().unwrap());
    assert_eq!(named("https://h/2.0/repositories/acme/site/hooks").as_deref(), Some("acme"));
    for other in ["https://h/2.0/user", "https://h/2.0/repositories", "https://h/2.0/repositories/%7B%7D/x"] {
        assert_eq!(named(other), None, "{other}");
    }
}

#[test]
fn the_next_page_stays_at_the_origin() {
    let client = client();
    let next = |next: Value| client.read_page::<Value>(&"t".into(), &reply(200, json!({ "values": [], "next": next }).to_string()));
    assert_eq!(next(Value::Null).unwrap().1, None);
    assert_eq!(next(json!("")).unwrap().1, None);
    assert_eq!(next(json!("/2.0/x?page=2")).unwrap().1.unwrap().as_str(), "https://api.bitbucket.example/2.0/x?page=2");
    for bad in [
        "https://evil.example/x",
        "http://api.bitbucket.example/2.0/x",
        "//api.bitbucket.example:444/x",
        "https://u:p@api.bitbucket.example/2.0/x",
        "https://[/",
        "javascript:x",
        "?pagelen=100",
    ] {
        assert!(next(json!(bad)).is_err(), "{bad}");
    }
    assert!(next(json!(7)).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(status in 100_u16..600, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let (client, token) = (client(), SecretString::from("t0ken"));
        if let Err(error) = check(reply(status, body.clone()), &["t0ken"]) {
            prop_assert!(error.to_string().chars().count() < 600);
        }
        client.read_page::<Value>(&token, &reply(status, body)).ok();
    }

    #[test]
    fn no_json_makes_it_panic(status in 200_u16..600, body in any_json()) {
        let (client, token) = (client(), SecretString::from("t0ken"));
        match check(reply(status, body.to_string()), &["t0ken"]) {
            Ok(_) => prop_assert!((200..300).contains(&status)),
            Err(error) => prop_assert!(error.to_string().chars().count() < 2500 && !error.to_string().contains('\n')),
        }
        if let Ok((_, Some(next))) = client.read_page::<Value>(&token, &reply(200, body.to_string())) {
            prop_assert_eq!(next.origin().ascii_serialization(), "https://api.bitbucket.example");
        }
    }
}
