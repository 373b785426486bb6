//! Deploy keys: what GitHub takes, refuses and stops.

use reqwest::Method;
use serde_json::{Value, json};
use slipway_testkit::github::{DeployKeyPolicy, KeyMaker, Visibility};

use crate::{World, key};

async fn create(world: &World, repo: &str, key: &str) -> (u16, Value) {
    let body = json!({ "title": "Slipway", "key": key, "read_only": true });
    let answer = world.call(Method::POST, &format!("/repos/{repo}/keys"), Some(body)).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_key_is_made_listed_and_deleted() {
    let world = World::new().await;
    let (status, made) = create(&world, "octo/hello", &format!("{} a comment", key(1))).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["key"], &made["read_only"], &made["added_by"]), (&json!(key(1)), &json!(true), &json!("octo")));
    let path = format!("/repos/octo/hello/keys/{}", made["id"]);
    assert_eq!(world.get(&path).await, made);
    assert_eq!(world.get("/repos/octo/hello/keys").await, json!([made]));
    let maker = &world.github.deploy_keys("octo/hello")[0].maker;
    assert_eq!(*maker, KeyMaker::OAuthApp(world.app.client_id.clone()));
    let access = world.github.deploy_key_access(&key(1)).unwrap();
    assert_eq!((access.full_name.as_str(), access.read_only), ("octo/hello", true));
    assert_eq!(world.call(Method::DELETE, &path, None).await.status(), 204);
    assert_eq!(world.call(Method::DELETE, &path, None).await.status(), 404);
    assert_eq!(world.github.deploy_key_access(&key(1)), None);
}

#[tokio::test]
async fn a_key_is_on_one_repository_and_must_be_one() {
    let world = World::new().await;
    assert_eq!(create(&world, "octo/hello", &key(1)).await.0, 201);
    for repo in ["octo/hello", "acme/site"] {
        let (status, refused) = create(&world, repo, &key(1)).await;
        assert_eq!((status, &refused["errors"][0]["message"]), (422, &json!("key is already in use")));
    }
    for wrong in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-dss AAAAB3NzaC1kc3MAAACB", &key(1).replace("ssh-ed25519", "ssh-rsa")] {
        let (status, refused) = create(&world, "octo/hello", wrong).await;
        let message = refused["errors"][0]["message"].as_str().unwrap();
        assert!(status == 422 && message.starts_with("key is invalid"), "{wrong}: {refused}");
    }
    let hubot = world.link("hubot", "repo").await;
    let listed = world.call_as(&hubot, Method::GET, "/repos/acme/site/keys", None).await;
    assert_eq!(listed.status(), 404, "keys are for admins");
}

#[tokio::test]
async fn an_organization_forbids_deploy_keys() {
    let world = World::new().await;
    assert_eq!(create(&world, "acme/site", &key(1)).await.0, 201);
    assert!(world.github.deploy_key_access(&key(1)).is_some());
    world.github.set_deploy_key_policy("acme", DeployKeyPolicy::Forbidden);
    assert!(world.github.deploy_key_access(&key(1)).is_none(), "those that stand stop working");
    assert_eq!(world.get("/repos/acme/site/keys").await[0]["enabled"], false);
    let (status, refused) = create(&world, "acme/site", &key(2)).await;
    let why = json!([{ "resource": "PublicKey", "code": "custom", "message": "Deploy keys are disabled for this repository" }]);
    assert_eq!((status, &refused["message"], &refused["errors"]), (422, &json!("Validation Failed"), &why));
    world.github.set_deploy_key_policy("acme", DeployKeyPolicy::Allowed);
    assert!(world.github.deploy_key_access(&key(1)).is_some());
}

#[tokio::test]
async fn keys_of_an_app_stop_where_it_is_kept_out_and_move_with_the_repository() {
    let world = World::new().await;
    assert_eq!(create(&world, "acme/site", &key(1)).await.0, 201);
    world.github.add_deploy_key("acme/site", "by hand", &key(2)).unwrap();
    world.github.restrict_organization("acme");
    assert!(world.github.deploy_key_access(&key(1)).is_none() && world.github.deploy_key_access(&key(2)).is_some());
    world.github.transfer_repository("acme/site", "octo");
    assert_eq!(world.github.deploy_key_access(&key(1)).unwrap().full_name, "octo/site");
    world.github.repository("octo/other", Visibility::Private).await.unwrap();
    world.github.delete_repository("octo/site");
    assert_eq!(create(&world, "octo/other", &key(1)).await.0, 201, "a deleted repository frees its keys");
}
