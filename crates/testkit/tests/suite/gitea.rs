//! The real Gitea does what the scripts say, and what the product will rely on: grants, deliveries, renames.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use slipway_testkit::gitea::{Bent, Contents, Fault, Gitea, Hits, RefreshTokens, Role, Settings, Ssh};
use slipway_testkit::github::{OAuthApp, Visibility, sign_sha256};
use slipway_testkit::wait;

use crate::query;

const CALLBACK: &str = "http://127.0.0.1:9/oauth/gitea/callback";
const LIMIT: Duration = Duration::from_secs(20);

type Seen = Arc<Mutex<Vec<(HeaderMap, Vec<u8>)>>>;

/// A receiver of webhooks that answers 200.
async fn sink() -> (String, Seen) {
    async fn keep(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) {
        seen.lock().unwrap().push((headers, body.to_vec()));
    }
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/1", listener.local_addr().unwrap());
    let app = Router::new().fallback(keep).with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, seen)
}

async fn received(seen: &Seen, number: usize) -> Vec<(HeaderMap, Vec<u8>)> {
    let ask = async || Ok(Some(seen.lock().unwrap().clone()).filter(|all| all.len() >= number));
    wait::until("deliveries", LIMIT, ask).await.unwrap()
}

fn authorize_url(gitea: &Gitea, app: &OAuthApp, scope: &str) -> String {
    let scope = scope.replace(' ', "+").replace(':', "%3A");
    let id = &app.client_id;
    format!(
        "{}/login/oauth/authorize?client_id={id}&redirect_uri={CALLBACK}&response_type=code&state=s3cret&scope={scope}",
        gitea.web_url()
    )
}

async fn token_request(gitea: &Gitea, app: &OAuthApp, fields: &[(&str, &str)]) -> (StatusCode, Value) {
    let mut form = vec![("client_id", app.client_id.as_str()), ("client_secret", &app.client_secret), ("redirect_uri", CALLBACK)];
    form.extend_from_slice(fields);
    let http = slipway_testkit::http_client().unwrap();
    let answer = http.post(format!("{}/login/oauth/access_token", gitea.web_url())).form(&form).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn status_of(gitea: &Gitea, token: &str, path: &str) -> StatusCode {
    let http = slipway_testkit::http_client().unwrap();
    http.get(format!("{}{path}", gitea.api_url())).bearer_auth(token).send().await.unwrap().status()
}

#[tokio::test]
async fn a_person_grants_and_revokes() {
    let settings = Settings { refresh_tokens: RefreshTokens::Rotating, ..Settings::default() };
    let gitea = Gitea::start_with(settings).await.unwrap();
    gitea.user("octo").await.unwrap();
    gitea.repository("octo/hello", Visibility::Private, Contents::FirstCommit).await.unwrap();
    let app = gitea.oauth_app("Slipway & sons", CALLBACK).await.unwrap();
    let url = authorize_url(&gitea, &app, "read:user read:repository");

    let denied = gitea.deny_oauth(&url, "octo").await.unwrap();
    assert_eq!((query(&denied, "error").as_str(), query(&denied, "state").as_str()), ("access_denied", "s3cret"));
    assert!(gitea.granted_applications("octo").await.unwrap().is_empty());

    let back = gitea.approve_oauth(&url, "octo").await.unwrap();
    assert!(back.starts_with(CALLBACK) && query(&back, "state") == "s3cret", "{back}");
    let (status, grant) = token_request(&gitea, &app, &[("grant_type", "authorization_code"), ("code", &query(&back, "code"))]).await;
    assert_eq!((status, &grant["token_type"], &grant["expires_in"]), (StatusCode::OK, &json!("bearer"), &json!(3600)), "{grant}");
    let token = grant["access_token"].as_str().unwrap();
    assert_eq!(status_of(&gitea, token, "/repos/octo/hello").await, StatusCode::OK);
    assert_eq!(status_of(&gitea, token, "/user/orgs").await, StatusCode::FORBIDDEN, "scopes count");
    assert_eq!(gitea.granted_applications("octo").await.unwrap(), ["Slipway & sons"]);

    let refresh = [("grant_type", "refresh_token"), ("refresh_token", grant["refresh_token"].as_str().unwrap())];
    assert_eq!(token_request(&gitea, &app, &refresh).await.0, StatusCode::OK);
    let (status, error) = token_request(&gitea, &app, &refresh).await;
    assert_eq!((status, &error["error_description"]), (StatusCode::BAD_REQUEST, &json!("token was already used")));

    gitea.revoke_grant("octo", &app.client_id).await.unwrap();
    assert_eq!(status_of(&gitea, token, "/repos/octo/hello").await, StatusCode::UNAUTHORIZED);
    assert!(gitea.granted_applications("octo").await.unwrap().is_empty());
    assert!(gitea.revoke_grant("octo", &app.client_id).await.is_err(), "there is nothing left to revoke");
}

#[tokio::test]
async fn pushes_are_delivered_with_a_signature() {
    let gitea = Gitea::start().await.unwrap();
    gitea.user("octo").await.unwrap();
    let id = gitea.repository("octo/hello", Visibility::Private, Contents::Empty).await.unwrap();
    let (url, seen) = sink().await;
    let config = json!({ "url": url, "content_type": "json", "secret": "s3cret" });
    let hook = json!({ "type": "gitea", "active": true, "events": ["push"], "config": config });
    let hook = gitea.add_hook("octo/hello", hook).await.unwrap();

    let commit = gitea.commit("octo/hello", "main", &[("Dockerfile", "FROM scratch\n")], "First").await.unwrap();
    let tag = gitea.annotated_tag("octo/hello", "v1", &commit, "One").await.unwrap();
    let all = received(&seen, 2).await;
    for (headers, body) in &all {
        assert_eq!(headers["x-gitea-event"], "push");
        assert_eq!(headers["x-gitea-signature"], sign_sha256("s3cret", body));
        assert_eq!(serde_json::from_slice::<Value>(body).unwrap()["repository"]["id"], id);
    }
    let refs: Vec<(Value, Value)> = all
        .iter()
        .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap())
        .map(|mut body| (body["ref"].take(), body["after"].take()))
        .collect();
    assert!(refs.contains(&(json!("refs/heads/main"), json!(commit))), "{refs:?}");
    assert!(refs.iter().any(|(name, _)| name == "refs/tags/v1"), "{refs:?}");
    assert_eq!(gitea.ref_head("octo/hello", "refs/tags/v1").await.unwrap(), Some(tag));

    let shown = wait::until("both deliveries on the page", LIMIT, async || {
        let shown = gitea.deliveries("octo/hello", hook, "octo").await?;
        Ok(Some(shown).filter(|shown| shown.len() == 2 && shown.iter().all(|one| one.succeeded == Some(true))))
    });
    let shown = shown.await.unwrap();
    let ids: Vec<&str> = all.iter().map(|(headers, _)| headers["x-gitea-delivery"].to_str().unwrap()).collect();
    assert!(shown.iter().all(|one| ids.contains(&one.id.as_str())), "{shown:?} {ids:?}");
    gitea.redeliver("octo/hello", hook, &shown[0].id, "octo").await.unwrap();
    received(&seen, 3).await;

    gitea.delete_ref("octo/hello", "refs/tags/v1").await.unwrap();
    assert_eq!(gitea.ref_head("octo/hello", "refs/tags/v1").await.unwrap(), None);
}

#[tokio::test]
async fn repositories_move_and_organizations_have_people() {
    let gitea = Gitea::start().await.unwrap();
    for login in ["octo", "hubot"] {
        gitea.user(login).await.unwrap();
    }
    gitea.organization("acme", "octo", Visibility::Private).await.unwrap();
    gitea.add_member("acme", "hubot", Role::Admin).await.unwrap();
    let id = gitea.repository("octo/hello", Visibility::Private, Contents::FirstCommit).await.unwrap();
    gitea.rename_repository("octo/hello", "world").await.unwrap();
    gitea.transfer_repository("octo/world", "acme").await.unwrap();
    assert_eq!(gitea.repository_id("acme/world").await.unwrap(), id);
    gitea.set_visibility("acme/world", Visibility::Public).await.unwrap();
    let first = gitea.commit("acme/world", "next", &[("a", "1")], "a").await.unwrap();
    let forced = gitea.force_commit("acme/world", "next", None, &[("a", "2")], "b").await.unwrap();
    assert_ne!(first, forced);
    gitea.set_default_branch("acme/world", "next").await.unwrap();
    gitea.archive_repository("acme/world").await.unwrap();
    let shown = gitea.read_repository("acme/world").await.unwrap();
    assert_eq!((&shown["private"], &shown["default_branch"], &shown["archived"]), (&json!(false), &json!("next"), &json!(true)), "{shown}");
    gitea.delete_repository("acme/world").await.unwrap();
    let anew = gitea.repository("acme/world", Visibility::Private, Contents::Empty).await.unwrap();
    assert_ne!(anew, id);
    gitea.rename_organization("acme", "umbrella").await.unwrap();
    assert_eq!(gitea.repository_id("umbrella/world").await.unwrap(), anew);
    gitea.remove_member("umbrella", "hubot").await.unwrap();
    let members = gitea.api(Method::GET, "/orgs/umbrella/members", None).await.unwrap();
    assert_eq!(members.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn git_is_served_over_ssh_to_a_deploy_key() {
    let gitea = Gitea::start_with(Settings { ssh: Ssh::On, ..Settings::default() }).await.unwrap();
    gitea.user("octo").await.unwrap();
    gitea.repository("octo/hello", Visibility::Private, Contents::FirstCommit).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let ssh = gitea.ssh().unwrap();
    std::fs::write(folder.path().join("known"), format!("[{}]:{} {}\n", ssh.host, ssh.port, ssh.host_key)).unwrap();
    let list = || {
        let (key, known) = (key.display(), folder.path().join("known"));
        let options = "-F none -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes";
        Command::new("git")
            .args(["ls-remote", &format!("ssh://{}@{}:{}/octo/hello.git", ssh.user, ssh.host, ssh.port)])
            .env("GIT_SSH_COMMAND", format!("ssh {options} -i {key} -o UserKnownHostsFile={}", known.display()))
            .output()
            .unwrap()
    };
    assert!(!list().status.success(), "an unknown key gets nothing");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let body = json!({ "title": "test", "key": public.trim(), "read_only": true });
    gitea.api(Method::POST, "/repos/octo/hello/keys", Some(body)).await.unwrap();
    assert_eq!(gitea.deploy_keys("octo/hello").await.unwrap().len(), 1);
    let listed = list();
    let said = (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
    assert!(listed.status.success() && said.0.contains("refs/heads/main"), "{said:?} {}", gitea.log());
}

#[tokio::test]
async fn what_stands_before_it_passes_on_records_and_bends() {
    let gitea = Gitea::start().await.unwrap();
    let hello = gitea.user("octo").await.unwrap();
    let bent = Bent::before(gitea.web_url()).await.unwrap();
    let http = slipway_testkit::http_client().unwrap();
    let ask = async |path: &str| http.get(format!("{}{path}", bent.origin())).send().await;
    let show = async |token: &str| http.get(format!("{}/api/v1/user", bent.origin())).bearer_auth(token).send().await.unwrap();

    // A token that nobody gave is refused by Gitea itself.
    assert_eq!(show("a-token").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask("/api/v1/users/octo").await.unwrap().json::<Value>().await.unwrap()["id"], hello);
    let seen = bent.requests();
    assert_eq!((seen[0].line().as_str(), seen[0].header("authorization")), ("GET /api/v1/user", "Bearer a-token"));
    assert_eq!(bent.secrets().into_iter().collect::<Vec<_>>(), ["a-token"]);

    bent.add_fault("/api/v1/users", Fault::RateLimited(Duration::from_secs(7)), Hits::Next(1));
    let limited = ask("/api/v1/users/octo").await.unwrap();
    assert_eq!((limited.status(), limited.headers()["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "7"));
    bent.add_fault("/api/v1/settings", Fault::AnswerLost, Hits::All);
    let lost = match ask("/api/v1/settings/api").await {
        Ok(answer) => answer.text().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(lost.is_err(), "an answer came");
    bent.clear_faults();
    assert!(ask("/api/v1/settings/api").await.unwrap().text().await.unwrap().contains("max_response_items"));
    bent.add_fault("/api/v1/users/octo/repos", Fault::EndlessPages, Hits::All);
    let endless = ask("/api/v1/users/octo/repos?page=3").await.unwrap();
    let link = endless.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains(bent.origin()) && link.ends_with("page=4>; rel=\"next\""), "{link}");

    // Ended is what was shown, and nothing else.
    bent.end_tokens();
    assert_eq!(show("a-token").await.json::<Value>().await.unwrap()["message"], "token is expired");
    assert_ne!(show("another").await.json::<Value>().await.unwrap()["message"], "token is expired");
}
