//! The inbox, the webhook and the deploy key over HTTP: what is shown to whom, what is filtered, how a body leaves.

use std::num::NonZeroU32;

use http::{Method, header};
use serde_json::{Value, json};
use slipway_app::Keys;
use slipway_app::store::deliveries::{self, NewDelivery, Verdict};
use slipway_app::store::hooks::{self, Hook, HookState, MadeBy};
use slipway_app::store::refused::{self, RefusedRequest};
use slipway_app::store::{reconciling, repositories};
use slipway_model::{
    AutobuildId, Autotest, DeliveryId, DeliveryStatus, HookId, ProviderId, RepositoryId, ScopeSet, Timestamp, VerdictOutcome,
};

use super::{Answer, JSON, SITE, Site};

const HOSTILE: &str = "<script>alert('x')</script>";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const AT: &str = "/api/v1/repositories/octo/hello";

/// A repository with a source, a webhook that does not stand, deliveries of three kinds and a refused request.
struct Inbox {
    site: Site,
    bearer: String,
    cookie: String,
    autobuild: AutobuildId,
    pushed: DeliveryId,
    found: DeliveryId,
}

fn now() -> Timestamp {
    slipway_model::Clock::System.now()
}

impl Inbox {
    async fn new() -> Self {
        Self::at(Site::new(SITE).await).await
    }

    async fn at(site: Site) -> Self {
        let bearer = format!("Bearer {}", site.token(&ScopeSet::all()).await);
        let made = site.send(Method::POST, "/api/v1/repositories/octo", &[("authorization", &bearer), JSON], r#"{"name":"hello"}"#).await;
        assert_eq!(made.status, 201);
        let mut tx = site.app.db().write().await.unwrap();
        let account = slipway_app::store::accounts::find(&mut tx, &"octo".parse().unwrap()).await.unwrap().unwrap();
        let repository = repositories::get_by_name(&mut tx, &"octo".parse().unwrap(), &"hello".parse().unwrap()).await.unwrap().unwrap().id;
        let autobuild = AutobuildId::new();
        let provider: ProviderId = "github".parse().unwrap();
        let settings = repositories::Autobuild {
            id: autobuild,
            repository,
            provider: provider.clone(),
            source_id: "1".into(),
            source_name: "octo/hello".into(),
            default_branch: "main".into(),
            autotest: Autotest::Off,
            approve_external: true,
            cancel_superseded: true,
            environment_sealed: no_variables(autobuild),
            updated_at: now(),
        };
        repositories::upsert_autobuild(&mut tx, &settings).await.unwrap();
        let hook = HookId::new();
        hooks::insert(&mut tx, &hook_of(hook, autobuild, account.id, provider)).await.unwrap();
        let body = format!("{{\"ref\":\"refs/heads/main\",\"text\":\"{HOSTILE}\"}}");
        let pushed = deliver(&mut tx, hook, repository, "one", "push", body.as_bytes()).await;
        let verdict = Verdict {
            at: now(),
            rule_id: None,
            rule: "branch `main`".into(),
            source_ref: "refs/heads/main".into(),
            outcome: VerdictOutcome::NoMatch,
            text: HOSTILE.into(),
            build: None,
        };
        deliveries::insert_verdicts(&mut tx, pushed, &[verdict]).await.unwrap();
        deliver(&mut tx, hook, repository, "two", "ping", b"{}").await;
        let found = deliveries::insert_found(&mut tx, autobuild, repository, "a change of `octo/hello` that no delivery told", now())
            .await
            .unwrap();
        let stranger = RefusedRequest { at: now(), address: "203.0.113.7".parse().unwrap(), reason: HOSTILE.into(), size: 12 };
        refused::keep(&mut tx, hook, &[stranger]).await.unwrap();
        tx.commit().await.unwrap();
        let cookie = site.cookie().await;
        Self { site, bearer, cookie, autobuild, pushed, found }
    }

    async fn api(&self, path: &str) -> Answer {
        self.site.get(&format!("{AT}{path}"), &[("authorization", &self.bearer)]).await
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.site.get(&format!("/octo/hello{path}"), &[("cookie", &self.cookie)]).await;
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {text}");
        assert!(!text.contains("<script>alert"), "{path}");
        text
    }

    /// What the filter leaves, as events.
    async fn events(&self, query: &str) -> Vec<String> {
        let list = self.api(&format!("/deliveries?{query}")).await.json();
        list["items"].as_array().unwrap().iter().map(|item| item["event"].as_str().unwrap().to_owned()).collect()
    }
}

/// As the application seals them for the settings of this site.
pub fn no_variables(autobuild: AutobuildId) -> Vec<u8> {
    Keys::derive(&[7; 32]).seal(&["autobuilds.environment", &autobuild.to_string()], b"[]")
}

fn hook_of(id: HookId, autobuild: AutobuildId, account: slipway_model::AccountId, provider: ProviderId) -> Hook {
    Hook {
        id,
        autobuild: Some(autobuild),
        account,
        provider,
        source_id: "1".into(),
        source_name: "octo/hello".into(),
        secret_sealed: vec![1],
        previous: None,
        state: HookState::Wanted,
        remote_id: None,
        error: Some("GitHub answered 403".into()),
        tries: 1,
        next_try_at: now(),
        made_by: MadeBy::Service,
        checked_at: None,
        next_check_at: now(),
        problem: None,
        problem_since: None,
        repaired_at: None,
        repaired_why: None,
        last_there: None,
        created_at: now(),
    }
}

async fn deliver(
    tx: &mut slipway_app::store::WriteTx,
    hook: HookId,
    repository: RepositoryId,
    delivery_id: &str,
    event: &str,
    body: &[u8],
) -> DeliveryId {
    let headers = json!({ "x-github-event": event, "x-hub-signature-256": "[masked]" }).to_string();
    let new = NewDelivery { hook, repository, delivery_id, event, headers: &headers, body, body_sha256: delivery_id };
    let (id, _) = deliveries::insert(tx, &new, now()).await.unwrap();
    let status = if event == "push" { DeliveryStatus::Accepted } else { DeliveryStatus::Ignored };
    assert!(deliveries::set_processed(tx, id, status, None, now()).await.unwrap());
    id
}

#[tokio::test]
async fn deliveries_are_filtered_by_all_that_is_known_of_them() {
    let inbox = Inbox::new().await;
    assert_eq!(inbox.events("").await, ["reconcile", "ping", "push"]);
    for (query, expected) in [
        ("status=ignored", vec!["ping"]),
        ("event=reconcile", vec!["reconcile"]),
        ("ref=main", vec!["push"]),
        ("ref=refs/heads/main&outcome=no_match", vec!["push"]),
        ("ref=main&outcome=built", vec![]),
        ("outcome=no_match&status=ignored", vec![]),
        ("after=2100-01-01T00:00:00Z", vec![]),
        ("before=2100-01-01T00:00:00Z&event=push", vec!["push"]),
        ("status=&ref=&limit=1", vec!["reconcile"]),
    ] {
        assert_eq!(inbox.events(query).await, expected, "{query}");
    }
    inbox.api("/deliveries?status=lost").await.problem(422, "invalid");
    inbox.api("/deliveries?outcome=%3Cb%3E").await.problem(422, "invalid");
    inbox.api("/deliveries?after=yesterday").await.problem(400, "bad_request");

    // The same in the address of the page, without a script.
    let all = inbox.page("/deliveries").await;
    assert!(all.contains("found by the reconciler") && all.contains("203.0.113.7"), "{all}");
    assert!(all.contains("does not stand") && all.contains("/octo/hello/autobuild/webhook/repair"), "the banner has its button");
    let one = inbox.page("/deliveries?ref=main&outcome=no_match&status=&event=&after=&before=").await;
    assert!(one.contains(&inbox.pushed.to_string()) && !one.contains(&inbox.found.to_string()));
    assert!(one.contains("value=\"main\""), "what was asked for stays in the form");
    assert!(inbox.page("/deliveries?event=nothing").await.contains("No delivery matches the filter"));
    let odd = inbox.site.get("/octo/hello/deliveries?status=lost", &[("cookie", &inbox.cookie)]).await;
    assert_eq!(odd.status, 422);
}

#[tokio::test]
async fn a_body_leaves_as_a_file_and_never_as_a_page() {
    let inbox = Inbox::new().await;
    let detail = inbox.api(&format!("/deliveries/{}", inbox.pushed)).await.json();
    assert_eq!(detail["headers"]["x-hub-signature-256"], "[masked]");
    assert_eq!(detail["body_is_cut"], false);
    assert!(detail["body"].as_str().unwrap().contains(HOSTILE) && detail["body_bytes"].as_u64().unwrap() > 30, "{detail}");
    let body = inbox.api(&format!("/deliveries/{}/body", inbox.pushed)).await;
    assert_eq!(String::from_utf8(body.body).unwrap(), detail["body"].as_str().unwrap());
    assert_eq!(body.headers[header::CONTENT_TYPE], "application/octet-stream");
    assert!(body.headers[header::CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment;"));
    assert_eq!(body.headers["x-content-type-options"], "nosniff");
    inbox.api(&format!("/deliveries/{}/body", DeliveryId::new())).await.problem(404, "not_found");
    let page = inbox.page(&format!("/deliveries/{}", inbox.pushed)).await;
    assert!(page.contains(&format!("{AT}/deliveries/{}/body", inbox.pushed)), "the page leads to the whole body");
    assert!(page.contains("Came with a valid signature") && page.contains("Replay"));
    let found = inbox.page(&format!("/deliveries/{}", inbox.found)).await;
    assert!(found.contains("Found by the reconciler") && !found.contains("/replay"), "nothing brought it, so nothing is decided again");
}

#[tokio::test]
async fn refused_requests_say_that_they_came_and_nothing_else() {
    let inbox = Inbox::new().await;
    let list = inbox.api("/refused-requests").await.json();
    let request = &list["items"][0];
    assert_eq!((&request["address"], &request["size"], &request["reason"]), (&json!("203.0.113.7"), &json!(12), &json!(HOSTILE)));
    assert_eq!(request.as_object().unwrap().len(), 4, "{request}");
    assert_eq!(list["next"], Value::Null);
}

#[tokio::test]
async fn the_webhook_is_told_in_words_and_its_buttons_need_our_own_pages() {
    let inbox = Inbox::new().await;
    let hook = inbox.api("/hook").await.json();
    assert_eq!((&hook["standing"], &hook["right"], &hook["manual"]), (&json!(false), &json!(false), &json!(false)));
    assert!(hook["wrong_since"].is_string() && hook["next_look_at"].is_string(), "{hook}");
    assert!(hook["address"].as_str().unwrap().starts_with(&format!("{SITE}/hooks/github/")), "{hook}");
    assert!(!hook.to_string().contains("secret_sealed") && !hook.to_string().contains("slh_"), "{hook}");
    let settings = inbox.page("/autobuild").await;
    assert!(!settings.contains("slh_"), "no page shows a secret by itself");

    // A webhook that Slipway puts up has no secret for anybody.
    let headers = [("authorization", inbox.bearer.as_str()), JSON];
    let post = async |path: &str| inbox.site.send(Method::POST, &format!("{AT}{path}"), &headers, "").await;
    post("/hook/show-secret").await.problem(409, "hook_not_manual");
    post("/hook/rotate-secret").await.problem(409, "hook_not_standing");
    inbox.api("/deploy-key").await.problem(404, "not_found");
    post("/deploy-key/rotate").await.problem(404, "not_found");
    inbox.site.get(&format!("{AT}/hook/check"), &headers).await.problem(405, "method_not_allowed");

    for path in ["webhook/check", "webhook/repair", "webhook/rotate", "webhook/secret", "deploy-key/rotate"] {
        let path = format!("/octo/hello/autobuild/{path}");
        let foreign = [("cookie", inbox.cookie.as_str()), FORM, ("origin", "https://evil.example")];
        assert_eq!(inbox.site.send(Method::POST, &path, &foreign, "").await.status, 403, "{path}");
        assert_eq!(inbox.site.send(Method::POST, &path, &[FORM, ("origin", SITE)], "").await.status, 303, "{path}: a stranger signs in");
    }
    let own = [("cookie", inbox.cookie.as_str()), FORM, ("origin", SITE)];
    let looked = inbox.site.send(Method::POST, "/octo/hello/autobuild/webhook/check", &own, "back=deliveries").await;
    assert_eq!(looked.status, 303);
    assert_eq!(looked.headers[header::LOCATION], "/octo/hello/deliveries?done=webhook-wrong");
    let looked = inbox.site.send(Method::POST, "/octo/hello/autobuild/webhook/check", &own, "back=//evil.example").await;
    assert_eq!(looked.headers[header::LOCATION], "/octo/hello/autobuild?done=webhook-wrong#webhook");
    let none = inbox.site.send(Method::POST, "/octo/hello/deliveries/at-provider/redeliver", &own, "").await;
    assert_eq!(none.status, 422);
}

#[tokio::test]
async fn trouble_of_a_source_stands_on_every_page_of_its_repository() {
    let inbox = Inbox::new().await;
    let mut tx = inbox.site.app.db().write().await.unwrap();
    reconciling::set_problem(&mut tx, inbox.autobuild, Some(("gone", HOSTILE)), now()).await.unwrap();
    tx.commit().await.unwrap();
    for path in ["", "/builds", "/autobuild", "/tags", "/deliveries", "/settings"] {
        let page = inbox.page(path).await;
        assert!(page.contains("&#60;script&#62;alert") || page.contains("&lt;script&gt;alert"), "{path} does not say what is wrong");
        assert!(page.contains("nobody is linked to") || page.contains("Nobody is linked to"), "{path} does not say that the link is gone");
        assert!(page.contains("/settings/source-providers"), "{path} does not lead to the links");
    }
    let settings = inbox.api("/autobuild").await.json();
    assert_eq!((&settings["source_state"]["problem"]["code"], &settings["source_state"]["link"]), (&json!("gone"), &json!("not_linked")));
}

/// "Save" keeps the repository that was chosen, whoever has its name by now; choosing another one names that one.
#[tokio::test]
async fn the_form_carries_the_identity_of_the_source_that_it_shows() {
    let provider = slipway_forge::Provider {
        id: "github".parse().unwrap(),
        kind: slipway_model::ProviderKind::GitHub,
        web_url: "http://127.0.0.1:9".parse().unwrap(),
        api_url: "http://127.0.0.1:9/api/v3".parse().unwrap(),
        client_id: "id".into(),
        client_secret: "secret".to_owned().into(),
        app: None,
        ssh: None,
    };
    let forge = slipway_forge::open(provider).unwrap();
    let inbox = Inbox::at(Site::beside(SITE, NonZeroU32::new(1_000_000).unwrap(), [forge]).await).await;
    assert_eq!(inbox.api("/autobuild").await.json()["source_id"], "1");
    let stored = r#"name="source_id" value="1""#;
    assert!(inbox.page("/autobuild").await.contains(stored));
    let picked = inbox.page("/autobuild?provider=github&source=octo/other&source_id=77&branch=main").await;
    assert!(picked.contains(r#"name="source_id" value="77""#) && !picked.contains(stored), "{picked}");
    let typed = inbox.page("/autobuild?provider=github&source=octo/typed").await;
    assert!(typed.contains(r#"name="source" value="octo/typed""#) && !typed.contains(r#"name="source_id""#), "{typed}");
    // A refused form comes back with what it was sent with.
    let own = [("cookie", inbox.cookie.as_str()), FORM, ("origin", SITE)];
    let form = "action=add-rule&provider=github&source=octo/other&source_id=77&rules.0.source=main&rules.0.tags=latest";
    let again = inbox.site.send(Method::POST, "/octo/hello/autobuild", &own, form).await;
    assert!(String::from_utf8(again.body).unwrap().contains(r#"name="source_id" value="77""#));
}
