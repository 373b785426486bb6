//! The matrix: every route of the server with every credential in every role, held against `matrix.txt`; and every route with credentials
//! that come by the wrong carrier.
//!
//! Invariant: a route without a row fails, and so does a row without a route; a request that is refused changes nothing, and what an
//! allowed one uses up is made anew. Deliberately elsewhere: the rule (`matrix_rule`), the people (`matrix_world`), `/v2/`
//! (`matrix_registry`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, ORIGIN};
use slipway_model::AccountName;
use slipway_tests::Answer;

use super::matrix_rule::{Credential, Expected, Place, Right, Role, Row, Who, expected};
use super::matrix_world::{World, everybody, look, name};

const TABLE: &str = include_str!("matrix.txt");

/// Pages are for browsers; everything else says itself who asks.
fn is_page(route: &str) -> bool {
    !["/api/", "/builder/", "/hooks/", "/triggers/", "/oauth/", "/healthz", "/readyz", "/metrics"]
        .iter()
        .any(|machine| route.starts_with(machine))
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() -> Result<()> {
    let rows: BTreeSet<(String, String)> = Row::read(TABLE)?.into_iter().map(|row| (row.method.to_string(), row.route)).collect();
    let routes: BTreeSet<(String, String)> = slipway_web::routes().into_iter().map(|(method, path)| (method.to_string(), path)).collect();
    let missing: Vec<_> = routes.difference(&rows).map(|(method, path)| format!("{method} {path}")).collect();
    assert!(missing.is_empty(), "these routes have no row in `matrix.txt`:\n{}", missing.join("\n"));
    let stale: Vec<_> = rows.difference(&routes).map(|(method, path)| format!("{method} {path}")).collect();
    assert!(stale.is_empty(), "these rows of `matrix.txt` have no route:\n{}", stale.join("\n"));
    Ok(())
}

/// A namespace is the first part of its pages' addresses: one that is called like an address of ours would lose them.
#[test]
fn no_account_may_be_called_like_the_first_part_of_a_route() {
    let firsts: BTreeSet<String> =
        slipway_web::routes().into_iter().filter_map(|(_, path)| path.split('/').nth(1).map(str::to_owned)).collect();
    let free: Vec<_> = firsts.iter().filter(|first| !first.starts_with('{') && first.parse::<AccountName>().is_ok()).collect();
    assert!(firsts.len() > 10 && free.is_empty(), "not reserved: {free:?}");
}

/// What a page answers: a browser is told by its session alone, and a stranger is led to the sign-in where the API says 401.
fn expected_of_page(row: &Row, place: Place, who: Who) -> Expected {
    let credential = if who.credential == Credential::Session { Credential::Session } else { Credential::Nothing };
    match expected(row, place, Who { credential, ..who }) {
        // Whether it exists is told after the sign-in.
        Expected::NotFound if credential == Credential::Nothing => Expected::Unauthorized,
        other => other,
    }
}

fn is_as_expected(row: &Row, who: Who, wanted: Expected, answer: &Answer) -> Result<bool> {
    let page = is_page(&row.route);
    let signed_in = row.part("session").filter(|_| who.credential == Credential::Session);
    let done = signed_in.map(str::parse).transpose()?.unwrap_or(row.answer);
    Ok(match wanted {
        Expected::Done => answer.status == done && (row.right == Right::Anybody || !is_sign_in(answer)),
        Expected::Unauthorized if page => is_sign_in(answer),
        Expected::Unauthorized => answer.status == 401,
        Expected::Forbidden => answer.status == 403,
        Expected::NotFound => answer.status == 404,
    })
}

/// Where a browser without a session is led: back to where it wanted to go, after the sign-in.
fn is_sign_in(answer: &Answer) -> bool {
    answer.status == 303 && answer.location().starts_with("/signin?next=")
}

/// What was made for a row and is not used up yet.
type Made = BTreeMap<String, String>;

async fn address(world: &mut World, row: &Row, place: Place, made: &mut Made) -> Result<String> {
    let mut address = row.address.clone();
    while let Some((head, rest)) = address.split_once('{') {
        let (part, tail) = rest.split_once('}').context("a part ends with `}`")?;
        let value = match row.part(part) {
            None => world.usual(part, place),
            Some(word) => match word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
                None => word.to_owned(),
                Some(word) => match made.get(word) {
                    Some(value) => value.clone(),
                    None => {
                        let value = world.make(word, place).await.with_context(|| format!("making `<{word}>`"))?;
                        made.insert(word.to_owned(), value.clone());
                        value
                    }
                },
            },
        };
        address = format!("{head}{value}{tail}");
    }
    Ok(address)
}

async fn ask(world: &mut World, row: &Row, place: Place, who: Who, made: &mut Made) -> Result<(String, Answer)> {
    let address = address(world, row, place, made).await?;
    let client = world.client(who, place).await?;
    let answer = send(world, row, who, client.request(row.method.clone(), &address)).await?;
    Ok((address, answer))
}

/// Sends a row's request, with its body and what a browser would add.
async fn send(world: &mut World, row: &Row, who: Who, mut request: reqwest::RequestBuilder) -> Result<Answer> {
    // Each from an address of its own, as behind a proxy: what slows one stranger down is another test's.
    world.requests += 1;
    let [_, a, b, c] = world.requests.to_be_bytes();
    request = request.header("x-forwarded-for", format!("10.{a}.{b}.{c}"));
    let body = row.body.as_ref().map(|body| {
        let body = body.replace("{unique}", &world.requests.to_string()).replace("{long}", &"x".repeat(10_000));
        body.replace("{own}", name(who.role))
    });
    if is_page(&row.route) {
        // A browser's write comes from one of our pages.
        request = request.header(ORIGIN, world.app.site());
    }
    request = match body.as_deref() {
        Some(form) if form.starts_with("form:") => {
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form["form:".len()..].to_owned())
        }
        Some(json) => request.header(CONTENT_TYPE, "application/json").body(json.to_owned()),
        None if row.method == Method::POST && is_page(&row.route) => {
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body("")
        }
        None => request,
    };
    look(request.send().await?).await
}

/// What is worth something elsewhere is worth nothing here, although it belongs to an owner or to an administrator.
async fn by_wrong_carriers(world: &mut World, row: &Row, made: &mut Made) -> Result<Vec<String>> {
    let (nobody, place) = (Who { role: Role::Stranger, credential: Credential::Nothing }, Place::Private);
    let address = address(world, row, place, made).await?;
    let mut wrong = Vec::new();
    for role in [Role::Owner, Role::Administrator] {
        let who = Who { role, credential: Credential::AllScopes };
        let (user, token) = world.login(who, place).map(|(user, token)| (user.to_owned(), token.to_owned())).context("an access token")?;
        let cookie = world.session(role).cookie().to_owned();
        let (cookie_name, session) = cookie.split_once('=').context("a session's cookie")?;
        let separator = if address.contains('?') { '&' } else { '?' };
        let stranger = world.app.stranger();
        let carriers = [
            ("an access token by Basic", stranger.request(row.method.clone(), &address).basic_auth(&user, Some(&token))),
            ("an access token in the query", stranger.request(row.method.clone(), &format!("{address}{separator}access_token={token}"))),
            (
                "an access token as a session",
                stranger.clone().with_cookie(&format!("{cookie_name}={token}")).request(row.method.clone(), &address),
            ),
            ("a session as a bearer", stranger.request(row.method.clone(), &address).bearer_auth(session)),
        ];
        for (carrier, request) in carriers {
            // A credential that is none is refused by everything that looks at it; without one, a private thing is not known of.
            let wanted = match is_page(&row.route) {
                true => expected_of_page(row, place, nobody),
                false if carrier.ends_with("Basic") || carrier.ends_with("bearer") => Expected::Unauthorized,
                false => expected(row, place, nobody),
            };
            let answer = send(world, row, nobody, request).await?;
            if !is_as_expected(row, nobody, wanted, &answer)? {
                let (method, status, location) = (&row.method, answer.status, answer.location());
                wrong.push(format!("{method} {} with {carrier} of {role:?}: expected {wanted:?}, got {status} {location}", row.address));
            }
        }
    }
    Ok(wrong)
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says_and_nothing_else() -> Result<()> {
    let mut world = World::new().await?;
    let (mut wrong, mut asked, mut carried) = (Vec::new(), 0_u32, 0_u32);
    for row in Row::read(TABLE)? {
        let places: &[Place] = if row.is_placed() { &[Place::Private, Place::Public] } else { &[Place::Private] };
        for place in places.iter().copied() {
            let mut made = Made::new();
            for who in everybody() {
                let wanted = if is_page(&row.route) { expected_of_page(&row, place, who) } else { expected(&row, place, who) };
                let what = || format!("{} {} ({place:?}) as {who}", row.method, row.address);
                let (address, answer) = ask(&mut world, &row, place, who, &mut made).await.with_context(what)?;
                asked += 1;
                if !is_as_expected(&row, who, wanted, &answer)? {
                    let start: String = answer.text.chars().take(300).collect();
                    wrong.push(format!(
                        "{}: expected {wanted:?} ({}), got {} {}: {start} [{address}]",
                        what(),
                        row.answer,
                        answer.status,
                        answer.location()
                    ));
                }
                if matches!(answer.status, 200..=399) && row.method != Method::GET {
                    made.clear();
                    if row.part("after") == Some("sign-in") && wanted == Expected::Done {
                        world.sign_in_again(who.role).await?;
                    }
                }
            }
            if place == Place::Private && !matches!(row.right, Right::Anybody | Right::Counted | Right::Guest) {
                wrong.extend(by_wrong_carriers(&mut world, &row, &mut made).await?);
                carried += 1;
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{} of {asked} answers are not what the table says:\n{}", wrong.len(), wrong.join("\n"));
    }
    assert!(asked > 8000, "only {asked} requests were made");
    assert!(carried > 200, "only {carried} rows were asked by wrong carriers");
    world.app.finish().await
}
