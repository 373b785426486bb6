//! A target for every parser of what comes from outside. Nothing panics, and what is accepted keeps its promise.
//!
//! Each runs for a second in an ordinary test run; `make fuzz` gives each its time (`FUZZ_SECONDS`, 30 when nothing is said). A finding is
//! repeated with the `BOLERO_RANDOM_SEED` that it prints. Here are the words that people and programs send; `deliveries` has the webhooks of
//! providers, `answers` what providers say to our clients, who stand in their `place`.

#![allow(clippy::unwrap_used)]

mod answers;
mod deliveries;
mod place;
mod promises;
mod recorded;

use std::str::FromStr;

use bolero::check;
use http::Method;
use slipway_forge::EgressPolicy;
use slipway_fuzz::{Recipe, Seeds};

/// Words that stand in a log, a database and on a page.
fn presentable(text: &str, longest: usize) {
    assert!(text.chars().count() <= longest, "{} characters", text.chars().count());
    assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{text:?}");
}

/// Reads texts; what is accepted reads the same once more when it is written out.
fn words<T: FromStr + ToString + PartialEq + std::fmt::Debug>(seeds: &[&str]) {
    let seeds = Seeds::of(&seeds.iter().map(|seed| seed.as_bytes()).collect::<Vec<_>>());
    check!().with_type::<Recipe>().for_each(|recipe| {
        let text = seeds.text(recipe);
        if let Ok(value) = text.parse::<T>() {
            let written = value.to_string();
            assert_eq!(written.parse::<T>().ok(), Some(value), "{written:?}");
            assert!(!written.chars().any(char::is_control), "{written:?}");
        }
    });
}

#[test]
fn refs() {
    words::<slipway_model::RefName>(&["refs/heads/main", "refs/tags/v1.0.0", "refs/heads/feature/a#b", "refs/heads/ü"]);
}

#[test]
fn names_of_accounts_and_repositories() {
    words::<slipway_model::RepositoryPath>(&["acme/website", "a-b/c_d.e", "acme/web/site"]);
}

#[test]
fn image_tags() {
    words::<slipway_model::ImageTag>(&["latest", "1.0.0-rc.1", "feature_x"]);
}

#[test]
fn external_repositories() {
    words::<slipway_model::ExternalRepository>(&[
        "registry.example.com:5000/team/app",
        "http://127.0.0.1:5000/a",
        "docker.io/a/b",
        "[::1]/x",
    ]);
}

#[test]
fn challenges_of_registries() {
    let seeds = Seeds::of(&[
        br#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        br#"Negotiate abc==, BEARER realm = "a\"b" , error="x", Basic realm=x"#,
    ]);
    check!().with_type::<Recipe>().for_each(|recipe| {
        let text = seeds.text(recipe);
        assert!(slipway_oci::parse_challenges(&text).len() <= 8);
    });
}

#[test]
fn digests() {
    words::<slipway_oci::Digest>(&["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "sha512:00"]);
}

#[test]
fn rules_and_tag_templates() {
    let seeds = Seeds::of(&[
        b"/^v([0-9.]+)$/",
        b"main",
        b"{sourceref}",
        b"{\\1}, latest",
        b"/(a|b)*c/",
        b"build/Dockerfile",
        b"services/**/*.{md,txt}\n[a-z]?x",
        b"{sha}-{date}",
    ]);
    check!().with_type::<Recipe>().for_each(|recipe| {
        let text = seeds.text(recipe);
        // Accepted or refused with words; a rule must answer in linear time, which the engine's own clock would show.
        for words in [
            text.parse::<slipway_model::SourcePattern>().err().map(|error| error.to_string()),
            text.parse::<slipway_model::TagTemplates>().err().map(|error| error.to_string()),
            text.parse::<slipway_model::RulePath>().err().map(|error| error.to_string()),
            text.parse::<slipway_model::TargetStage>().err().map(|error| error.to_string()),
            text.parse::<slipway_model::PathPatterns>().map(|patterns| patterns.contain(&text)).err().map(|error| error.to_string()),
        ] {
            assert!(words.is_none_or(|words| !words.is_empty()));
        }
    });
}

#[test]
fn manifests() {
    let seeds = Seeds::of(&[
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":32}],"annotations":{"a":"b"}}"#,
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7,"platform":{"architecture":"amd64","os":"linux"}}],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":7}}"#,
        br#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#,
    ]);
    check!().with_type::<(Recipe, bool)>().for_each(|(recipe, typed)| {
        let content_type = typed.then_some("application/vnd.oci.image.manifest.v1+json");
        if let Ok(manifest) = slipway_oci::Manifest::parse(&seeds.bend(recipe), content_type) {
            assert!(manifest.children.len() <= slipway_oci::MAX_REFERENCES);
            presentable(&manifest.media_type, 300);
        }
    });
}

#[test]
fn requests_of_the_registry() {
    let seeds = Seeds::of(&[
        b"/v2/",
        b"/v2/acme/web/manifests/latest",
        b"/v2/a/b/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"/v2/a/b/blobs/uploads/?mount=sha256:00&from=c/d",
        b"/v2/a/b/tags/list?n=10&last=x",
        b"/v2/a/b/referrers/sha256:00?artifactType=x",
    ]);
    check!().with_type::<(Recipe, u8)>().for_each(|(recipe, method)| {
        let text = seeds.text(recipe);
        let (path, query) = text.split_once('?').unwrap_or((&text, ""));
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        // Whatever it is, it is an action, a refusal, or none of ours.
        drop(slipway_oci::parse(&methods[usize::from(*method) % methods.len()], path, query));
        std::hint::black_box(slipway_oci::parse_range(&text));
        std::hint::black_box(slipway_oci::ContentRange::parse(&text));
    });
}

#[test]
fn git_addresses_that_people_type() {
    let seeds = Seeds::of(&[b"https://git.example.com/o/r.git", b"https://127.0.0.1/r", b"https://[::1]/r", b"ext::sh -c id"]);
    let policy = EgressPolicy::public_only();
    check!().with_type::<Recipe>().for_each(|recipe| {
        let text = seeds.text(recipe);
        if let Ok(url) = policy.check_git_url(&text) {
            assert_eq!((url.scheme(), url.username(), url.password(), url.query()), ("https", "", None, None));
            match url.host().unwrap() {
                url::Host::Ipv4(v4) => {
                    let inside = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast();
                    assert!(!inside && !v4.is_broadcast() && !v4.is_documentation(), "{url}");
                }
                url::Host::Ipv6(v6) => {
                    let inside = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local();
                    assert!(!inside && !v6.is_unicast_link_local() && v6.to_ipv4_mapped().is_none(), "{url}");
                }
                url::Host::Domain(name) => {
                    assert!(name != "localhost" && !name.ends_with(".localhost") && !name.ends_with(".internal"), "{url}");
                    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')), "{url}");
                    assert!(name.parse::<std::net::IpAddr>().is_err(), "{url}");
                }
            }
        }
    });
}

#[test]
fn configuration_files() {
    let example = include_bytes!("../../../slipway.example.toml");
    let provider = b"[[provider]]\nid = \"a\"\nkind = \"gitea\"\nweb_url = \"https://git.example\"\nclient_id = \"c\"\nclient_secret = \"hush-hush\"\nssh_url = \"ssh://git@git.example:22\"\n";
    let seeds = Seeds::of(&[example, provider]);
    let folder = tempfile::tempdir().unwrap();
    check!().with_type::<Recipe>().for_each(|recipe| {
        std::fs::write(folder.path().join("slipway.toml"), seeds.bend(recipe)).unwrap();
        match slipway_server::config::load(&Default::default(), &Vec::new(), folder.path()) {
            Ok(loaded) => assert!(loaded.shown.iter().all(|line| !line.text.contains("hush-hush") || line.name.ends_with("client_id"))),
            Err(failure) => assert!(!failure.to_string().is_empty()),
        }
    });
}
