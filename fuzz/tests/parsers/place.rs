//! Where a client of each kind stands: what it is asked for, and the recorded answers that it gets, one of them bent.
//!
//! No request leaves the process. Each is looked at: it goes to one of the provider's own origins, no secret is in its address, and the
//! credentials are where nothing prints them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use slipway_forge::scripted::{Answer, Asked, Script, answering};
use slipway_forge::{Forge, Provider};
use slipway_fuzz::{Recipe, Seeds};
use slipway_model::ProviderKind;
use url::{Origin, Url};

pub const TOKEN: &str = "t0ken-of-a-person";
pub const REFRESH: &str = "r3fresh-of-a-person";
pub const CODE: &str = "c0de-of-a-person";
pub const VERIFIER: &str = "v3rifier-of-a-session";
pub const CLIENT_SECRET: &str = "s3cret-of-ours";
const SECRETS: &[&str] = &[TOKEN, REFRESH, CODE, VERIFIER, CLIENT_SECRET];

/// Answers that are given before the provider is said to be down: lists without an end are cut by a count that tests show.
const PATIENCE: usize = 12;

fn addresses(kind: ProviderKind) -> [Url; 2] {
    match kind {
        ProviderKind::GitHub => ["https://github.com", "https://api.github.com"],
        ProviderKind::Bitbucket => ["https://bitbucket.org", "https://api.bitbucket.org"],
        ProviderKind::Gitea => ["https://try.gitea.io", "https://try.gitea.io/api/v1"],
    }
    .map(|address| address.parse().unwrap())
}

/// A client as the product opens it.
pub fn client(kind: ProviderKind) -> Arc<dyn Forge> {
    let [web_url, api_url] = addresses(kind);
    let (id, client_id, client_secret) = ("fuzz".parse().unwrap(), "client".to_owned(), CLIENT_SECRET.into());
    slipway_forge::open(Provider { id, kind, web_url, api_url, client_id, client_secret, app: None, ssh: None }).unwrap()
}

/// Everything about one kind of provider.
pub struct Place {
    pub client: Arc<dyn Forge>,
    pub web: Origin,
    origins: [Origin; 2],
    pub namespace: &'static str,
    pub full_name: &'static str,
    /// The id of the repository.
    pub id: &'static str,
    /// The id of a hook.
    pub hook: &'static str,
    /// What a method and the end of a path are answered with.
    recorded: Vec<(Method, &'static str, Seeds)>,
    /// The bodies of refusals.
    problems: Seeds,
}

/// The answer that is bent.
pub struct Bent {
    /// Which request gets it.
    pub at: usize,
    /// Its status; `None` for the one of a success.
    pub status: Option<u16>,
    /// Headers beside and in the place of what a success has.
    pub headers: HeaderMap,
    pub body: Body,
}

pub enum Body {
    /// What was recorded for this request, changed so.
    Recorded(Recipe),
    /// A refusal, changed so.
    Problem(Recipe),
    /// This.
    Own(Bytes),
}

impl Bent {
    /// The first answer, as it was recorded.
    pub fn nothing() -> Self {
        Self { at: 0, status: None, headers: HeaderMap::new(), body: Body::Recorded((0, Vec::new(), Vec::new())) }
    }
}

/// A call by its method and the end of its path, with the files and texts that its answers begin from.
type Row<'a> = (Method, &'static str, &'a [&'a str], &'a [&'a [u8]]);

impl Place {
    pub fn of(kind: ProviderKind) -> Self {
        let client = client(kind);
        let origins = addresses(kind).map(|address| address.origin());
        let [web, _] = origins.clone();
        let rows =
            |rows: &[Row]| rows.iter().map(|(method, end, files, own)| (method.clone(), *end, Seeds::with_files(own, files))).collect();
        match kind {
            ProviderKind::GitHub => Self {
                client,
                web,
                origins,
                namespace: "octocat",
                full_name: "octocat/Hello-World",
                id: "1296269",
                hook: "12345678",
                recorded: rows(super::recorded::GITHUB),
                problems: Seeds::with_files(super::recorded::GITHUB_WORDS, super::recorded::GITHUB_REFUSALS),
            },
            ProviderKind::Bitbucket => Self {
                client,
                web,
                origins,
                namespace: "atlassian",
                full_name: "atlassian/stash-example-plugin",
                id: "{7dd600e6-0d9c-4801-b967-cb4cc17359ff}",
                hook: "{d53603cc-3f67-45ea-b310-aaa5ef6ec061}",
                recorded: rows(super::recorded::BITBUCKET),
                problems: Seeds::with_files(super::recorded::BITBUCKET_WORDS, super::recorded::BITBUCKET_REFUSALS),
            },
            ProviderKind::Gitea => Self {
                client,
                web,
                origins,
                namespace: "go-gitea",
                full_name: "go-gitea/gitea",
                id: "1",
                hook: "20",
                recorded: rows(super::recorded::GITEA),
                problems: Seeds::of(super::recorded::GITEA_WORDS),
            },
        }
    }

    /// All three.
    pub fn all() -> Vec<Arc<Self>> {
        [ProviderKind::GitHub, ProviderKind::Bitbucket, ProviderKind::Gitea].into_iter().map(|kind| Arc::new(Self::of(kind))).collect()
    }

    /// What a success says to this request.
    fn success(&self, asked: &Asked<'_>) -> (StatusCode, Option<&Seeds>) {
        let path = asked.url.path();
        let found = self.recorded.iter().find(|(method, end, _)| method == asked.method && path.ends_with(end));
        match (found, asked.method) {
            (_, &Method::DELETE) => (StatusCode::NO_CONTENT, None),
            (None, _) => (StatusCode::NOT_FOUND, None),
            (Some(_), &Method::POST) if path.ends_with("/attempts") => (StatusCode::ACCEPTED, None),
            (Some((_, _, seeds)), _) => (StatusCode::OK, Some(seeds)),
        }
    }

    /// A request as it must be.
    fn look_at(&self, asked: &Asked<'_>) {
        let url = asked.url;
        assert!(self.origins.contains(&url.origin()), "asked elsewhere: {url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        assert!(SECRETS.iter().all(|secret| !url.as_str().contains(secret)), "a secret in {url}");
        assert!(asked.headers.get(AUTHORIZATION).is_none_or(HeaderValue::is_sensitive), "{url}");
    }

    fn answer(&self, asked: &Asked<'_>, number: usize, bent: &Bent) -> Answer {
        const NOT_FOUND: &[u8] = b"{\"type\":\"error\",\"message\":\"Not Found\",\"error\":{\"message\":\"Not Found\"}}";
        let (natural, seeds) = self.success(asked);
        let refusal = if natural == StatusCode::NOT_FOUND { NOT_FOUND } else { b"" };
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))]);
        if asked.url.path().ends_with("/info/refs") {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-git-upload-pack-advertisement"));
        }
        if number >= PATIENCE {
            return Answer { status: StatusCode::SERVICE_UNAVAILABLE, headers, body: Bytes::new() };
        }
        if number != bent.at {
            return Answer { status: natural, headers, body: Bytes::copy_from_slice(seeds.map_or(refusal, Seeds::first)) };
        }
        headers.extend(bent.headers.clone());
        let body = match &bent.body {
            Body::Recorded(recipe) => seeds.map_or_else(|| refusal.to_vec(), |seeds| seeds.bend(recipe)).into(),
            Body::Problem(recipe) => self.problems.bend(recipe).into(),
            Body::Own(bytes) => bytes.clone(),
        };
        let status = bent.status.map_or(natural, |status| StatusCode::from_u16(status).unwrap());
        Answer { status, headers, body }
    }
}

/// Runs a step with these answers; gives the addresses that were asked, too. Nothing in it waits, for nothing leaves the process.
pub fn run<T>(place: &Arc<Place>, bent: Bent, step: impl Future<Output = T>) -> (T, Vec<Url>) {
    let asked = Arc::new((AtomicUsize::new(0), std::sync::Mutex::new(Vec::new())));
    let script: Script = {
        let (place, asked) = (Arc::clone(place), Arc::clone(&asked));
        Arc::new(move |request| {
            place.look_at(request);
            asked.1.lock().unwrap().push(request.url.clone());
            place.answer(request, asked.0.fetch_add(1, Ordering::Relaxed), &bent)
        })
    };
    let value = answering(script, step).now_or_never().expect("what is answered at once never waits");
    let urls = std::mem::take(&mut *asked.1.lock().unwrap());
    (value, urls)
}
