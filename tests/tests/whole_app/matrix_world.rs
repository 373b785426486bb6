//! The world of the matrix: two organizations with the same people in the same roles, `dark` with nothing public and `lit` with a public
//! repository; every credential of every role; and things that are made anew whenever a request used one up.
//!
//! Invariant: everything is made through the public API, except the builder's token, which is registered as the server registers its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use slipway_tests::registry::Registry;
use slipway_tests::repository::text;
use slipway_tests::{AUTHOR, Answer, Client, PASSWORD, PERSON, TestApp};

use super::matrix_rule::{Credential, Place, ROLES, Role, SCOPES, Who};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A token of the token service lives five minutes.
const REGISTRY_TOKEN_AGE: Duration = Duration::from_secs(200);

pub fn name(role: Role) -> &'static str {
    match role {
        Role::Stranger => "eve",
        Role::Member => "mia",
        Role::Read => "rita",
        Role::Write => "walt",
        Role::Admin => "ada",
        Role::Owner => "olga",
        Role::Administrator => PERSON,
    }
}

/// The organization of a place; and the name that it had before.
pub fn organization(place: Place) -> (&'static str, &'static str) {
    match place {
        Place::Private => ("dark", "dark-before"),
        Place::Public => ("lit", "lit-before"),
    }
}

/// Ids that rows ask for.
#[derive(Debug, Clone)]
struct Seeds {
    /// A build that has ended.
    build: String,
    /// A build that waits.
    waiting: String,
    delivery: String,
    manifest: Vec<u8>,
}

struct RoleKeys {
    session: Client,
    tokens: BTreeMap<&'static str, String>,
    all: String,
    limited: BTreeMap<&'static str, String>,
    limited_elsewhere: Option<String>,
    organization: BTreeMap<&'static str, String>,
    registry: Option<(String, Instant)>,
}

pub struct World {
    pub app: TestApp,
    keys: BTreeMap<Role, RoleKeys>,
    builder: String,
    seeds: BTreeMap<&'static str, Seeds>,
    counter: u64,
    /// How many requests were made.
    pub requests: u32,
}

/// Every caller of the matrix, each once.
pub fn everybody() -> Vec<Who> {
    let mut all = vec![
        Who { role: Role::Stranger, credential: Credential::Nothing },
        Who { role: Role::Stranger, credential: Credential::Builder },
        Who { role: Role::Stranger, credential: Credential::Organization },
        Who { role: Role::Owner, credential: Credential::Organization },
        Who { role: Role::Owner, credential: Credential::LimitedElsewhere },
    ];
    for role in ROLES {
        let mut add = |credential| all.push(Who { role, credential });
        add(Credential::Session);
        add(Credential::AllScopes);
        add(Credential::Registry);
        for scope in SCOPES {
            add(Credential::Scope(scope));
        }
        if matches!(role, Role::Read | Role::Write | Role::Admin | Role::Owner) {
            add(Credential::Limited);
        }
    }
    all
}

async fn token(api: &Client, path: &str, wish: Value) -> Result<String> {
    Ok(text(&api.post(path, &wish).await?, "token").to_owned())
}

impl World {
    pub async fn new() -> Result<Self> {
        let app = TestApp::start().await?;
        for person in ROLES.into_iter().map(name).filter(|name| *name != PERSON).chain(["temp"]) {
            app.add_user(person, PASSWORD, &[])?;
        }
        app.api.post("/admin/accounts", &json!({ "name": "robot" })).await?;
        let mut world = Self { app, keys: BTreeMap::new(), builder: String::new(), seeds: BTreeMap::new(), counter: 0, requests: 0 };
        for role in ROLES {
            let all = if role == Role::Administrator { world.app.token.clone() } else { world.app.make_token(name(role), &[])? };
            let session = world.app.sign_in(name(role), PASSWORD).await?;
            let keys = RoleKeys {
                session,
                tokens: BTreeMap::new(),
                all,
                limited: BTreeMap::new(),
                limited_elsewhere: None,
                organization: BTreeMap::new(),
                registry: None,
            };
            world.keys.insert(role, keys);
        }
        for place in [Place::Private, Place::Public] {
            world.found(place).await?;
        }
        world.make_tokens().await?;
        world.builder = world.app.builder("matrix").await?.token().to_owned();
        Ok(world)
    }

    fn key(&self, role: Role) -> &RoleKeys {
        &self.keys[&role]
    }

    pub fn api(&self, role: Role) -> Client {
        self.app.client(&self.key(role).all)
    }

    /// An organization with teams, repositories, a source, builds and an image.
    async fn found(&mut self, place: Place) -> Result<()> {
        let (org, before) = organization(place);
        let olga = self.api(Role::Owner);
        let visibility = if place == Place::Public { "public" } else { "private" };
        olga.post("/organizations", &json!({ "name": before, "display_name": "An organization" })).await?;
        olga.patch(&format!("/organizations/{before}"), &json!({ "name": org })).await?;
        for repository in ["thing", "second"] {
            olga.post(&format!("/repositories/{org}"), &json!({ "name": repository, "visibility": visibility })).await?;
        }
        let teams = [
            ("everyone", None, &["mia", "rita", "walt", "ada"][..]),
            ("readers", Some("read"), &["rita"]),
            ("writers", Some("write"), &["walt"]),
            ("admins", Some("admin"), &["ada"]),
            ("spare", None, &[]),
        ];
        for (team, permission, members) in teams {
            let at = format!("/organizations/{org}/teams");
            olga.post(&at, &json!({ "name": team })).await?;
            for member in members {
                olga.put(&format!("{at}/{team}/members/{member}"), &Value::Null).await?;
            }
            for repository in ["thing", "second"].into_iter().filter(|_| permission.is_some()) {
                olga.put(&format!("{at}/{team}/repositories/{repository}"), &json!({ "permission": permission })).await?;
            }
        }
        let seeds = self.seed(org).await?;
        self.seeds.insert(org, seeds);
        Ok(())
    }

    /// A link, a source for both repositories, a build that ended, one that waits, a delivery and an image.
    async fn seed(&self, org: &str) -> Result<Seeds> {
        let (app, olga) = (&self.app, self.api(Role::Owner));
        app.link_as(&olga, org, AUTHOR).await?;
        let source = format!("{AUTHOR}/{org}");
        app.github.repository(&source, slipway_testkit::github::Visibility::Private).await?;
        app.github.commit(&source, "main", &[("Dockerfile", "FROM scratch\n")], "A change").await?;
        let at = format!("/repositories/{org}/thing");
        self.put_autobuild(org, "thing").await?;
        app.wait_for("the webhook to stand", || async {
            let settings = olga.get(&format!("{at}/autobuild")).await?;
            Ok((settings["hook"]["standing"] == true).then_some(()))
        })
        .await?;
        app.github.commit(&source, "main", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")], "Another change").await?;
        app.github.settle().await;
        let built = app
            .wait_for("a build", || async {
                Ok(olga.items(&format!("{at}/builds")).await?.first().map(|build| text(build, "id").to_owned()))
            })
            .await?;
        olga.post(&format!("{at}/builds/{built}/cancel"), &Value::Null).await?;
        let waiting = olga.post(&format!("{at}/builds"), &json!({ "ref": "refs/heads/main" })).await?;
        let waiting = text(&waiting["items"][0], "id").to_owned();
        let deliveries = olga.items(&format!("{at}/deliveries")).await?;
        let delivery = deliveries.iter().find(|delivery| delivery["event"] == "push").context("the push was delivered")?;
        let registry = Registry::new(app, "olga", &self.key(Role::Owner).all);
        registry.push(&format!("{org}/thing"), Some("latest"), &[b"a layer".to_vec()]).await?;
        let manifest = registry.manifest(&format!("{org}/thing"), "latest").await?.text.into_bytes();
        Ok(Seeds { build: built, waiting, delivery: text(delivery, "id").to_owned(), manifest })
    }

    async fn put_autobuild(&self, org: &str, repository: &str) -> Result<()> {
        let body = json!({ "provider": "github", "source": format!("{AUTHOR}/{org}"), "autotest": "off", "rules": [] });
        self.api(Role::Owner).put(&format!("/repositories/{org}/{repository}/autobuild"), &body).await?;
        Ok(())
    }

    async fn make_tokens(&mut self) -> Result<()> {
        let places = [Place::Private, Place::Public].map(|place| organization(place).0);
        let limited_scopes = json!(["repo:read", "repo:write", "repo:admin", "build:write"]);
        for role in ROLES {
            let api = self.api(role);
            let mut tokens = BTreeMap::new();
            for scope in SCOPES {
                tokens.insert(scope, token(&api, "/tokens", json!({ "name": scope, "scopes": [scope] })).await?);
            }
            let mut limited = BTreeMap::new();
            for org in places.into_iter().filter(|_| matches!(role, Role::Read | Role::Write | Role::Admin | Role::Owner)) {
                let repositories = [format!("{org}/thing"), format!("{org}/second")];
                let wish = json!({ "name": "limited", "scopes": limited_scopes, "repositories": repositories });
                limited.insert(org, token(&api, "/tokens", wish).await?);
            }
            let keys = self.keys.get_mut(&role).context("every role has keys")?;
            (keys.tokens, keys.limited) = (tokens, limited);
        }
        let (olga, eve) = (self.api(Role::Owner), self.api(Role::Stranger));
        olga.post("/repositories/olga", &json!({ "name": "own" })).await?;
        let wish = json!({ "name": "elsewhere", "scopes": limited_scopes, "repositories": ["olga/own"] });
        let elsewhere = token(&olga, "/tokens", wish).await?;
        eve.post("/organizations", &json!({ "name": "elsewhere" })).await?;
        for org in places {
            let own = token(&olga, &format!("/organizations/{org}/tokens"), json!({ "name": "ci" })).await?;
            let foreign = token(&eve, "/organizations/elsewhere/tokens", json!({ "name": "ci" })).await?;
            for (role, secret) in [(Role::Owner, own), (Role::Stranger, foreign)] {
                self.keys.get_mut(&role).context("every role has keys")?.organization.insert(org, secret);
            }
        }
        self.keys.get_mut(&Role::Owner).context("every role has keys")?.limited_elsewhere = Some(elsewhere);
        Ok(())
    }

    /// A sender for a caller.
    pub async fn client(&mut self, who: Who, place: Place) -> Result<Client> {
        let org = organization(place).0;
        let keys = self.key(who.role);
        let secret = match who.credential {
            Credential::Nothing => return Ok(self.app.stranger()),
            Credential::Session => return Ok(keys.session.clone()),
            Credential::Scope(scope) => keys.tokens[scope].clone(),
            Credential::AllScopes => keys.all.clone(),
            Credential::Limited => keys.limited[org].clone(),
            Credential::LimitedElsewhere => keys.limited_elsewhere.clone().context("the owner has one")?,
            Credential::Organization => keys.organization[org].clone(),
            Credential::Builder => self.builder.clone(),
            Credential::Registry => self.registry_token(who.role, org).await?,
        };
        Ok(self.app.client(&secret))
    }

    /// A token of the token service for all that the role may do with both repositories.
    async fn registry_token(&mut self, role: Role, org: &str) -> Result<String> {
        if let Some((token, made)) = &self.key(role).registry
            && made.elapsed() < REGISTRY_TOKEN_AGE
        {
            return Ok(token.clone());
        }
        let registry = Registry::new(&self.app, name(role), &self.key(role).all);
        let answer = registry.ask_token(&[format!("repository:{org}/thing:pull,push,delete").as_str()]).await?.json()?;
        let token = text(&answer, "token").to_owned();
        self.keys.get_mut(&role).context("every role has keys")?.registry = Some((token.clone(), Instant::now()));
        Ok(token)
    }

    /// What a caller types at `docker login`; nothing for who has no access token.
    pub fn login(&self, who: Who, place: Place) -> Option<(&str, &str)> {
        let user = match (who.credential, who.role) {
            (Credential::Organization, Role::Stranger) => "elsewhere",
            (Credential::Organization, _) => organization(place).0,
            (_, role) => name(role),
        };
        self.secret(who, place).map(|secret| (user, secret))
    }

    fn secret(&self, who: Who, place: Place) -> Option<&str> {
        let (keys, org) = (self.key(who.role), organization(place).0);
        match who.credential {
            Credential::Scope(scope) => keys.tokens.get(scope).map(String::as_str),
            Credential::AllScopes => Some(&keys.all),
            Credential::Limited => keys.limited.get(org).map(String::as_str),
            Credential::LimitedElsewhere => keys.limited_elsewhere.as_deref(),
            Credential::Organization => keys.organization.get(org).map(String::as_str),
            Credential::Nothing | Credential::Session | Credential::Registry | Credential::Builder => None,
        }
    }

    /// The image of a place: the bytes of its manifest.
    pub fn manifest(&self, place: Place) -> &[u8] {
        &self.seeds[organization(place).0].manifest
    }

    /// The builder's token.
    pub fn builder(&self) -> &str {
        &self.builder
    }

    /// The browser of a role.
    pub fn session(&self, role: Role) -> &Client {
        &self.key(role).session
    }

    /// Signs in again after the sessions were ended.
    pub async fn sign_in_again(&mut self, role: Role) -> Result<()> {
        let session = self.app.sign_in(name(role), PASSWORD).await?;
        self.keys.get_mut(&role).context("every role has keys")?.session = session;
        Ok(())
    }

    /// The thing that `<word>` in a row stands for, made anew when it must be: its name or id.
    pub async fn make(&mut self, word: &str, place: Place) -> Result<String> {
        let org = organization(place).0;
        let (olga, root) = (self.api(Role::Owner), self.app.api.clone());
        let id = |made: Value| text(&made, "id").to_owned();
        self.counter += 1;
        let at = format!("/organizations/{org}");
        let seeds = &self.seeds[org];
        Ok(match word {
            "former-name" => organization(place).1.to_owned(),
            "build" => seeds.build.clone(),
            "waiting-build" => seeds.waiting.clone(),
            "delivery" => seeds.delivery.clone(),
            "member" => {
                olga.put(&format!("{at}/teams/everyone/members/temp"), &Value::Null).await?;
                "temp".to_owned()
            }
            "owner" => {
                olga.put(&format!("{at}/teams/owners/members/temp"), &Value::Null).await?;
                "temp".to_owned()
            }
            "permission" => {
                olga.put(&format!("{at}/teams/spare/repositories/thing"), &json!({ "permission": "read" })).await?;
                "thing".to_owned()
            }
            "left-team" => {
                for member in ["rita", "olga"] {
                    olga.put(&format!("{at}/teams/spare/members/{member}"), &Value::Null).await?;
                }
                "spare".to_owned()
            }
            "token" => id(olga.post(&format!("{at}/tokens"), &json!({ "name": "spare" })).await?),
            "invitation" => id(olga.post(&format!("{at}/invitations"), &json!({ "team": "everyone" })).await?),
            "account-invitation" => id(root.post("/admin/invitations", &json!({})).await?),
            "join-token" => id(root.post("/admin/builder-join-tokens", &json!({})).await?),
            "builder-node" => {
                let nodes = root.items("/admin/builders").await?;
                text(nodes.first().context("the builder of this world")?, "id").to_owned()
            }
            "service-token" => id(root.post("/admin/accounts/robot/tokens", &json!({ "name": "spare", "scopes": ["repo:read"] })).await?),
            "personal-token" => id(olga.post("/tokens", &json!({ "name": "spare", "scopes": ["repo:read"] })).await?),
            "repository" => {
                let name = format!("spare-{}", self.counter);
                olga.post(&format!("/repositories/{org}"), &json!({ "name": name, "visibility": self.visibility(place) })).await?;
                for (team, permission) in [("readers", "read"), ("writers", "write"), ("admins", "admin")] {
                    olga.put(&format!("{at}/teams/{team}/repositories/{name}"), &json!({ "permission": permission })).await?;
                }
                name
            }
            "autobuild" => {
                self.put_autobuild(org, "second").await?;
                "second".to_owned()
            }
            "trigger" => {
                let triggers = format!("/repositories/{org}/thing/triggers");
                match olga.items(&triggers).await?.first() {
                    // Another secret does not use it up.
                    Some(trigger) => text(trigger, "id").to_owned(),
                    None => id(olga.post(&triggers, &json!({ "name": "spare" })).await?),
                }
            }
            "tag" => {
                let tag = format!("spare-{}", self.counter);
                let registry = Registry::new(&self.app, "olga", &self.key(Role::Owner).all);
                let (repository, reference) = (format!("{org}/thing"), format!("manifests/{tag}"));
                let put = registry.send(Method::PUT, &repository, &reference, MANIFEST, seeds.manifest.clone()).await?;
                ensure!(put.status == 201, "a tag was answered {}: {}", put.status, put.text);
                tag
            }
            "link" => {
                self.link_other(org).await?;
                "other".to_owned()
            }
            "receipt" => match olga.items(&format!("/namespaces/{org}/receipts")).await?.first() {
                // Receipts are never used up.
                Some(receipt) => text(receipt, "id").to_owned(),
                None => {
                    self.link_other(org).await?;
                    id(olga.delete(&format!("/namespaces/{org}/links/other")).await?)
                }
            },
            other => bail!("nobody knows how to make `<{other}>`"),
        })
    }

    /// Links the second provider: the first one's link is what the repositories are built through.
    async fn link_other(&self, org: &str) -> Result<()> {
        let olga = self.api(Role::Owner);
        let begun = olga.post(&format!("/namespaces/{org}/links/other/connect"), &json!({})).await?;
        let back = self.app.github.approve_oauth(text(&begun, "authorize_url"), AUTHOR).await?;
        olga.open(&back).await?.json()?;
        Ok(())
    }

    fn visibility(&self, place: Place) -> &'static str {
        if place == Place::Public { "public" } else { "private" }
    }

    /// What a part of an address is when its row does not say.
    pub fn usual(&self, part: &str, place: Place) -> String {
        match part {
            "ns" | "org" => organization(place).0,
            "name" => "thing",
            "team" => "everyone",
            "user" => "temp",
            "provider" => "github",
            "tag" => "latest",
            "token" => "sli_0000000000000000000000000000000000000000000000000000000000000000",
            // An id of the right form that belongs to nothing.
            _ => "01977c9d-0000-7000-8000-000000000000",
        }
        .to_owned()
    }
}

/// The status of an answer, and enough of it to say what was wrong. Streams are not read to their end.
pub async fn look(response: reqwest::Response) -> Result<Answer> {
    if response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream") {
        return Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), text: String::new() });
    }
    Answer::of(response).await
}
