//! The matrix of `/v2/`: every action of the registry with every credential in every role, in a private and in a public repository,
//! each with a token of the token service as real clients get it; and every credential by the wrong carrier.
//!
//! Invariant: an action without a row does not compile or fails. Deliberately elsewhere: mounting across namespaces (`tenants`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use slipway_oci::{Action, parse};
use slipway_tests::registry::{Registry, digest};
use slipway_tests::repository::text;
use slipway_tests::{Answer, PASSWORD, TestApp};

use super::matrix_rule::{Credential, Place, Role, Who, has_scope};
use super::matrix_world::{MANIFEST, World, everybody, organization};

/// Belongs to nothing.
const NOTHING: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const NO_UPLOAD: &str = "01977c9d-0000-7000-8000-000000000000";

/// What an action demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// A token of the token service, whatever it grants.
    Token,
    /// An administrator of the installation, with the scope `account`.
    Administrator,
    /// `read`, and the scope `repo:read`; in a public repository everybody.
    Pull,
    /// `write`, and the scope `repo:write`.
    Push,
}

struct Row {
    method: Method,
    path: String,
    demand: Demand,
    /// To those who may; refused ones get 401, by the catalog 403. What is not there is 404 only to those who may.
    answer: u16,
    body: Vec<u8>,
}

/// All of them in the repository of a place.
fn rows(world: &World, place: Place) -> Result<Vec<Row>> {
    let org = organization(place).0;
    let manifest = world.manifest(place).to_vec();
    let parsed: Value = serde_json::from_slice(&manifest)?;
    let (image, layer) = (digest(&manifest), text(&parsed["layers"][0], "digest").to_owned());
    let at = |rest: &str| format!("/v2/{org}/thing/{rest}");
    let row = |method: Method, path: String, demand, answer| Row { method, path, demand, answer, body: Vec::new() };
    let uploads = at(&format!("blobs/uploads/{NO_UPLOAD}"));
    let mut rows = vec![
        row(Method::GET, "/v2/".to_owned(), Demand::Token, 200),
        row(Method::GET, "/v2/_catalog".to_owned(), Demand::Administrator, 200),
        row(Method::GET, at("tags/list"), Demand::Pull, 200),
        row(Method::GET, at(&format!("referrers/{image}")), Demand::Pull, 200),
        row(Method::POST, at("blobs/uploads/"), Demand::Push, 202),
        row(Method::POST, format!("/v2/{org}/second/blobs/uploads/?mount={layer}&from={org}/thing"), Demand::Push, 201),
        row(Method::GET, uploads.clone(), Demand::Push, 404),
        row(Method::PATCH, uploads.clone(), Demand::Push, 404),
        row(Method::PUT, format!("{uploads}?digest={NOTHING}"), Demand::Push, 404),
        row(Method::DELETE, uploads, Demand::Push, 404),
        row(Method::DELETE, at(&format!("blobs/{NOTHING}")), Demand::Push, 404),
        row(Method::DELETE, at(&format!("manifests/{NOTHING}")), Demand::Push, 404),
        row(Method::DELETE, at("manifests/no-such-tag"), Demand::Push, 404),
    ];
    for method in [Method::GET, Method::HEAD] {
        for what in [format!("manifests/{image}"), "manifests/latest".to_owned(), format!("blobs/{layer}")] {
            rows.push(row(method.clone(), at(&what), Demand::Pull, 200));
        }
    }
    for reference in ["latest", &image] {
        let put = row(Method::PUT, at(&format!("manifests/{reference}")), Demand::Push, 201);
        rows.push(Row { body: manifest.clone(), ..put });
    }
    Ok(rows)
}

/// The word for an action. A new one does not compile here until it has a word, and fails below until it has a row.
fn word(action: &Action) -> &'static str {
    match action {
        Action::Ping => "ping",
        Action::Catalog(_) => "catalog",
        Action::BlobRead(..) => "blob read",
        Action::BlobDelete(..) => "blob delete",
        Action::UploadStart { mount: None, .. } => "upload start",
        Action::UploadStart { mount: Some(_), .. } => "mount",
        Action::UploadStatus(..) => "upload status",
        Action::UploadAppend(..) => "upload append",
        Action::UploadFinish(..) => "upload finish",
        Action::UploadCancel(..) => "upload cancel",
        Action::ManifestRead(..) => "manifest read",
        Action::ManifestWrite(..) => "manifest write",
        Action::ManifestDelete(..) => "manifest delete",
        Action::TagDelete(..) => "tag delete",
        Action::TagList(..) => "tag list",
        Action::Referrers { .. } => "referrers",
    }
}

const WORDS: usize = 16;

fn permission(who: Who) -> u8 {
    match (who.credential, who.role) {
        (Credential::Nothing | Credential::LimitedElsewhere, _) => 0,
        (_, Role::Stranger | Role::Member | Role::Administrator) => 0,
        (_, Role::Read) => 1,
        (_, Role::Write | Role::Admin | Role::Owner) => 2,
    }
}

/// The status that somebody gets who went to the token service first.
fn expected(row: &Row, place: Place, who: Who) -> u16 {
    let may = match row.demand {
        Demand::Token => true,
        Demand::Administrator => who.role == Role::Administrator && has_scope(who.credential, Some("account")),
        Demand::Pull => place == Place::Public || (permission(who) >= 1 && has_scope(who.credential, Some("repo:read"))),
        Demand::Push => permission(who) >= 2 && has_scope(who.credential, Some("repo:write")),
    };
    match (may, row.demand) {
        (true, _) => row.answer,
        (false, Demand::Administrator) => 403,
        (false, _) => 401,
    }
}

async fn send(app: &TestApp, row: &Row, dress: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Result<Answer> {
    let mut request = app.http().request(row.method.clone(), format!("{}{}", app.site(), row.path)).header(ACCEPT, MANIFEST);
    if !row.body.is_empty() {
        request = request.header(CONTENT_TYPE, MANIFEST).body(row.body.clone());
    }
    Answer::of(dress(request).send().await?).await
}

/// A token for everything that there is to be done in both repositories: the service grants what is allowed of it.
async fn ask_token(world: &World, who: Who, place: Place) -> Result<String> {
    let org = organization(place).0;
    let (user, secret) = world.login(who, place).unwrap_or(("", ""));
    let scopes = ["thing", "second"].map(|name| format!("repository:{org}/{name}:pull,push,delete"));
    let answer = Registry::new(&world.app, user, secret).ask_token(&[&scopes[0], &scopes[1], "registry:catalog:*"]).await?;
    Ok(text(&answer.json().with_context(|| format!("a token for {who}"))?, "token").to_owned())
}

#[tokio::test]
async fn the_registry_does_what_the_table_says_and_nothing_else() -> Result<()> {
    let world = World::new().await?;
    let mut words = BTreeSet::new();
    let (mut wrong, mut asked) = (Vec::new(), 0_u32);
    // Those who log in: with an access token, or not at all.
    let clients: Vec<Who> = everybody()
        .into_iter()
        .filter(|who| !matches!(who.credential, Credential::Session | Credential::Registry | Credential::Builder))
        .collect();
    for place in [Place::Private, Place::Public] {
        let rows = rows(&world, place)?;
        for who in clients.iter().copied() {
            let token = ask_token(&world, who, place).await?;
            for row in &rows {
                let (path, query) = row.path.split_once('?').unwrap_or((&row.path, ""));
                words.insert(word(&parse(&row.method, path, query)?.context("a row is an action")?));
                let wanted = expected(row, place, who);
                let answer = send(&world.app, row, |request| request.bearer_auth(&token)).await?;
                asked += 1;
                let challenged = answer.status != 401 || answer.header(WWW_AUTHENTICATE.as_str()).starts_with("Bearer ");
                if answer.status != wanted || !challenged {
                    wrong.push(format!(
                        "{} {} ({place:?}) as {who}: expected {wanted}, got {}: {}",
                        row.method, row.path, answer.status, answer.text
                    ));
                }
            }
        }
        wrong.extend(by_wrong_carriers(&world, &rows).await?);
    }
    if !wrong.is_empty() {
        bail!("{} of {asked} answers are not what the table says:\n{}", wrong.len(), wrong.join("\n"));
    }
    assert_eq!(words.len(), WORDS, "not every action has a row: {words:?}");
    assert!(asked > 1500, "only {asked} requests were made");
    world.app.finish().await
}

/// What is worth something elsewhere is worth nothing here, although it belongs to an owner or to an administrator.
async fn by_wrong_carriers(world: &World, rows: &[Row]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for role in [Role::Owner, Role::Administrator] {
        let who = Who { role, credential: Credential::AllScopes };
        let (user, secret) = world.login(who, Place::Private).context("an access token")?;
        let session = world.session(role);
        let cookie = session.cookie();
        let session = cookie.split_once('=').map_or("", |(_, value)| value);
        for row in rows {
            let mut carriers: BTreeMap<&str, Answer> = BTreeMap::new();
            carriers.insert("an access token as a bearer", send(&world.app, row, |request| request.bearer_auth(secret)).await?);
            carriers.insert("an access token by Basic", send(&world.app, row, |request| request.basic_auth(user, Some(secret))).await?);
            carriers.insert("a session cookie", send(&world.app, row, |request| request.header("cookie", cookie)).await?);
            carriers.insert("a session as a bearer", send(&world.app, row, |request| request.bearer_auth(session)).await?);
            carriers.insert("a builder's token", send(&world.app, row, |request| request.bearer_auth(world.builder())).await?);
            carriers.insert("nothing", send(&world.app, row, |request| request).await?);
            for (carrier, answer) in carriers.into_iter().filter(|(_, answer)| answer.status != 401) {
                wrong.push(format!("{} {} with {carrier} of {role:?}: expected 401, got {}", row.method, row.path, answer.status));
            }
        }
        // Nor can it be changed into a token here.
        let jwt = ask_token(world, who, Place::Private).await?;
        for password in [PASSWORD, session, world.builder(), &jwt, ""] {
            let answer = Registry::new(&world.app, user, password).ask_token(&["repository:dark/thing:pull"]).await?;
            if answer.status != 401 {
                wrong.push(format!("/auth/token took `{}` for {role:?}: {}", password.get(..4).unwrap_or_default(), answer.status));
            }
        }
        for stranger in ["eve", "dark", "nobody", "slipway-build", ""] {
            let answer = Registry::new(&world.app, stranger, secret).ask_token(&["repository:dark/thing:pull"]).await?;
            // Without a name the harness sends no credential: an anonymous token, which grants nothing here.
            let wanted = if stranger.is_empty() { 200 } else { 401 };
            if answer.status != wanted {
                wrong.push(format!("/auth/token took the token of {role:?} for `{stranger}`: {}", answer.status));
            }
        }
        // And what it gives is worth nothing on the API and on pages.
        for (method, path) in
            [(Method::GET, "/api/v1/me"), (Method::GET, "/api/v1/repositories/lit/thing"), (Method::POST, "/builder/v1/claim")]
        {
            let answer = world.app.client(&jwt).send(method.clone(), path, Some(&json!({}))).await?;
            if answer.status != 401 {
                wrong.push(format!("{method} {path} with a registry token of {role:?}: expected 401, got {}", answer.status));
            }
        }
    }
    Ok(wrong)
}
