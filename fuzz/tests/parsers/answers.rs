//! What providers say: to every call of the clients, with one answer bent in its status, its headers or its body.
//!
//! Nothing panics. An error can be shown and holds no secret, a pause has bounds, a page that a person is sent to is the provider's own, what
//! is not whole is not accepted, and what is accepted keeps its `promises`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bolero::check;
use slipway_forge::{ForgeError, HookSpec, SourceKey};
use slipway_fuzz::{Recipe, Seeds};
use slipway_model::{ProviderKind, RefName};
use url::Url;

use super::place::{Bent, Body, CLIENT_SECRET, CODE, Place, REFRESH, TOKEN, VERIFIER, run};
use super::promises::{
    changed, delivery, grant, heads, hook_as_it_stands, key_as_it_stands, namespaces, person, pull_request, repository, sound,
};
use super::recorded::{ADVERTISEMENT, CONTENT_TYPE, EMPTY_ADVERTISEMENT, LINK, headers};

const CALLS: u8 = 21;
const HEADS: u8 = 6;
const EXCHANGE: u8 = 19;
const REFRESHING: u8 = 20;

/// The secrets that are sent for an answer to a call.
fn sent(call: u8) -> &'static [&'static str] {
    match call {
        EXCHANGE => &[CODE, VERIFIER, CLIENT_SECRET],
        REFRESHING => &[REFRESH, CLIENT_SECRET],
        _ => &[TOKEN, CLIENT_SECRET],
    }
}

/// Asks for one thing and looks at what came.
async fn ask(place: &Place, call: u8) -> Result<(), ForgeError> {
    let (client, token) = (&*place.client, TOKEN.into());
    let key = SourceKey { id: place.id, full_name: place.full_name };
    let main: RefName = "refs/heads/main".parse().unwrap();
    let url: Url = "https://slipway.example/hooks/1".parse().unwrap();
    let hook = HookSpec { url: &url, secret: &"h00k".into() };
    match call {
        0 => client.person(&token).await.map(|found| person(&found))?,
        1 => client.probe(&token, Some("repo \"e1\"")).await.map(|found| changed(found, |value| person(&value)))?,
        2 => client.source_namespaces(&token).await.map(|found| namespaces(place, &found))?,
        3 => client.source_repositories(&token, place.namespace, None).await?.items.iter().for_each(|found| repository(place, found)),
        4 => client.source_repository(&token, place.full_name).await?.iter().for_each(|found| repository(place, found)),
        5 => {
            if let Some(found) = client.source_repository_by_id(&token, key).await? {
                repository(place, &found);
                assert!(found.id.eq_ignore_ascii_case(key.id), "{found:?}");
            }
        }
        HEADS => client.heads(&token, place.full_name, None).await.map(|found| changed(found, |value| heads(place, &value)))?,
        7 => client.resolve(&token, place.full_name, &main).await.map(drop)?,
        8 => client.hooks(&token, place.full_name).await?.iter().for_each(hook_as_it_stands),
        9 => hook_as_it_stands(&client.ensure_hook(&token, place.full_name, &hook).await?),
        10 => client.delete_hook(&token, place.full_name, place.hook).await.map(drop)?,
        11 => client.hook_deliveries(&token, place.full_name, place.hook, None).await?.items.iter().for_each(delivery),
        12 => client.redeliver(&token, place.full_name, place.hook, "7").await?,
        13 => key_as_it_stands(&client.ensure_deploy_key(&token, place.full_name, "t", "ssh-ed25519 AAAB").await?),
        14 => client.deploy_keys(&token, place.full_name).await?.iter().for_each(key_as_it_stands),
        15 => client.delete_deploy_key(&token, place.full_name, "7").await.map(drop)?,
        16 => client.revoke_grant(&token).await.map(drop)?,
        17 => client.open_pull_requests(&token, key).await?.items.iter().for_each(pull_request),
        18 => {
            if let Some(found) = client.pull_request(&token, key, 7).await? {
                pull_request(&found);
                assert_eq!(found.number, 7);
            }
        }
        EXCHANGE => grant(&client.exchange_code(CODE, &url, &VERIFIER.into()).await?),
        _ => grant(&client.refresh(&REFRESH.into()).await?),
    }
    Ok(())
}

/// Otherwise the targets would bend what is refused as it is.
#[test]
fn recorded_answers_are_accepted() {
    for place in Place::all() {
        for call in 0..CALLS {
            let (result, asked) = run(&place, Bent::nothing(), ask(&place, call));
            let kind = place.client.provider().kind;
            assert!(result.is_ok() || asked.is_empty(), "{kind:?}, call {call}: {result:?} after {asked:?}");
        }
    }
}

/// Which call, which request, the status, the headers, what is done to the body, and what to the headers.
type Input = (u8, u8, u8, u16, Recipe, Recipe);

fn status(number: u8) -> Option<u16> {
    const STATUSES: &[u16] =
        &[200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409, 410, 422, 423, 429, 451, 500, 502, 503];
    number.checked_sub(128).map(|number| STATUSES[usize::from(number) % STATUSES.len()])
}

/// Every call of one kind of provider.
fn answers(kind: ProviderKind) {
    let place = AssertUnwindSafe(Arc::new(Place::of(kind)));
    check!().with_type::<Input>().for_each(|(call, at, number, bits, body, twist)| {
        let at = usize::from(at % 4);
        let bent = Bent { at, status: status(*number), headers: headers(*bits, twist), body: Body::Recorded(body.clone()) };
        let call = call % CALLS;
        if let (Err(error), _) = run(&place, bent, ask(&place, call)) {
            sound(&place, sent(call), &error);
        }
    });
}

#[test]
fn answers_of_github() {
    answers(ProviderKind::GitHub);
}

#[test]
fn answers_of_bitbucket() {
    answers(ProviderKind::Bitbucket);
}

#[test]
fn answers_of_gitea() {
    answers(ProviderKind::Gitea);
}

/// Grants are made of whole answers only, as JSON or as a form.
#[test]
fn token_answers() {
    let places = AssertUnwindSafe(Place::all());
    check!().with_type::<Input>().for_each(|(choice, at, number, bits, body, twist)| {
        let place = &places[usize::from(choice % 3)];
        let call = if choice & 128 == 0 { EXCHANGE } else { REFRESHING };
        // The second request is Gitea's about what was granted.
        let bent = Bent {
            at: usize::from(at & 1),
            status: status(*number),
            headers: headers(bits & CONTENT_TYPE, twist),
            body: Body::Recorded(body.clone()),
        };
        let (at, status) = (bent.at, bent.status);
        match run(place, bent, ask(place, call)).0 {
            Ok(()) => assert!(at == 1 || status.is_none_or(|status| (200..300).contains(&status)), "{status:?}"),
            Err(error) => {
                sound(place, sent(call), &error);
                // A server that is not well says nothing about a grant.
                let says = at == 1 || status.is_none_or(|status| status < 500 && status != 429);
                assert!(says || !matches!(error, ForgeError::Refused { .. } | ForgeError::Unauthorized { .. }), "{status:?}: {error:?}");
            }
        }
    });
}

/// A refusal is never a success, and each is the decision that it asks for.
#[test]
fn refusals() {
    let places = AssertUnwindSafe(Place::all());
    check!().with_type::<Input>().for_each(|(choice, call, number, bits, body, twist)| {
        let (place, call) = (&places[usize::from(choice % 3)], call % CALLS);
        let status = 400 + u16::from(*number) % 200;
        let bent = Bent { at: 0, status: Some(status), headers: headers(*bits, twist), body: Body::Problem(body.clone()) };
        let (result, asked) = run(place, bent, ask(place, call));
        // A 404 may be the answer to what was asked, a 409 may say that a repository is empty.
        let Err(error) = result else { return assert!(matches!(status, 404 | 409), "call {call} took {status} for an answer") };
        sound(place, sent(call), &error);
        if asked.is_empty() {
            assert!(matches!(error, ForgeError::Unsupported { .. }), "{error:?}");
        } else if status >= 500 {
            assert!(error.is_temporary(), "{status}: {error:?}");
        } else if status == 429 {
            assert!(matches!(error, ForgeError::RateLimited { .. }), "{error:?}");
        } else if status == 401 && call < EXCHANGE {
            assert!(matches!(error, ForgeError::Unauthorized { .. }), "{error:?}");
        } else {
            assert!(!matches!(error, ForgeError::Unauthorized { .. }) || status == 401, "{status}: {error:?}");
        }
    });
}

/// The next page, a redirect and a pause, in a true answer: nothing is asked elsewhere (every request is looked at).
#[test]
fn headers_of_answers() {
    let places = AssertUnwindSafe(Place::all());
    check!().with_type::<(u8, u8, u8, u16, Recipe)>().for_each(|(choice, call, number, bits, twist)| {
        let (place, call) = (&places[usize::from(choice % 3)], call % CALLS);
        let status = [None, None, Some(301), Some(302), Some(307), Some(308), Some(403), Some(429)][usize::from(number % 8)];
        let bent = Bent { status, headers: headers(*bits, twist), ..Bent::nothing() };
        if let (Err(error), _) = run(place, bent, ask(place, call)) {
            sound(place, sent(call), &error);
        }
    });
}

/// What comes back from a browser, or from a database that somebody else may have written: no cursor and no marker leads to another place.
#[test]
fn cursors_and_markers() {
    let places = AssertUnwindSafe(Place::all());
    let seeds = Seeds::of(&[
        b"2",
        b"user.1",
        b"organization.7",
        b"4200000000000.100000",
        b"pagelen=100&role=member&page=2",
        b"v1_12345",
        b"read:org,repo \"e1\"",
        b"\"e1\" W/\"e2\"",
        b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"/../../user?page=2#x",
    ]);
    check!().with_type::<(u8, u8, u16, Recipe, Recipe)>().for_each(|(choice, call, bits, recipe, twist)| {
        let (place, list) = (&places[usize::from(choice % 3)], call % 4);
        // Heads and persons have no pages that the header could lead to.
        let link = if list < 2 { bits & LINK } else { 0 };
        let (next, asked) = next_of(place, Bent { headers: headers(link, twist), ..Bent::nothing() }, list, &seeds.text(recipe));
        for url in &asked {
            assert!(may_be_asked(place, url.path()), "{url}");
        }
        match next {
            Ok(None) => {}
            Ok(Some(next)) => assert!(!next_of(place, Bent::nothing(), list, &next).1.is_empty(), "our own cursor {next:?} is refused"),
            Err(error) => sound(place, sent(list), &error),
        }
    });
}

/// The cursor of the next page of what has pages, and everything that was asked for.
fn next_of(place: &Arc<Place>, bent: Bent, list: u8, text: &str) -> (Result<Option<String>, ForgeError>, Vec<Url>) {
    let (client, token) = (&place.client, TOKEN.into());
    let step = async {
        Ok(match list {
            0 => client.source_repositories(&token, place.namespace, Some(text)).await?.next,
            1 => client.hook_deliveries(&token, place.full_name, place.hook, Some(text)).await?.next,
            2 => client.heads(&token, place.full_name, Some(text)).await.map(|_| None)?,
            _ => client.probe(&token, Some(text)).await.map(|_| None)?,
        })
    };
    run(place, bent, step)
}

/// The addresses of the lists that a cursor or a marker belongs to.
fn may_be_asked(place: &Place, path: &str) -> bool {
    let installed = path.strip_prefix("/user/installations/").and_then(|rest| rest.strip_suffix("/repositories"));
    if let Some(id) = installed {
        return place.client.provider().kind == ProviderKind::GitHub && id.bytes().all(|b| b.is_ascii_digit());
    }
    let known: &[&str] = match place.client.provider().kind {
        ProviderKind::GitHub => &[
            "/user",
            "/user/repos",
            "/orgs/octocat/repos",
            "/repos/octocat/Hello-World/hooks/12345678/deliveries",
            "/repos/octocat/Hello-World/branches",
            "/repos/octocat/Hello-World/tags",
        ],
        ProviderKind::Bitbucket => &["/2.0/user", "/2.0/repositories/atlassian", "/2.0/repositories/atlassian/stash-example-plugin/refs"],
        ProviderKind::Gitea => {
            &["/api/v1/user", "/api/v1/users/go-gitea/repos", "/go-gitea/gitea.git/info/refs", "/login/oauth/introspect"]
        }
    };
    known.contains(&path)
}

/// Git's list of refs: one that is cut anywhere is an error, never a shorter list.
#[test]
fn git_advertisements() {
    let place = AssertUnwindSafe(Arc::new(Place::of(ProviderKind::Gitea)));
    let seeds = Seeds::of(&[ADVERTISEMENT, EMPTY_ADVERTISEMENT]);
    let read = |body: Vec<u8>| {
        let bent = Bent { body: Body::Own(body.into()), ..Bent::nothing() };
        run(&place, bent, ask(&place, HEADS)).0
    };
    assert_eq!((read(ADVERTISEMENT.to_vec()), read(EMPTY_ADVERTISEMENT.to_vec())), (Ok(()), Ok(())), "the seeds are lists");
    check!().with_type::<(Recipe, u16)>().for_each(|(recipe, cut)| {
        let body = seeds.bend(recipe);
        match read(body.clone()) {
            Err(error) => sound(&place, sent(HEADS), &error),
            Ok(()) => {
                let end = usize::from(*cut) % body.len();
                assert!(read(body[..end].to_vec()).is_err(), "cut at {end} of {}", body.len());
            }
        }
    });
}
