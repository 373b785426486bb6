//! Deploy keys at the real Gitea.

use std::process::Command;

use serde_json::json;
use slipway_forge::{ForgeError, Removal};
use slipway_testkit::gitea::{Settings, Ssh};

use crate::World;

const HELLO: &str = "octo/hello";

fn public_key() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&path).status().unwrap();
    assert!(made.success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_key_is_made_once_reads_only_and_goes() {
    let world = World::with(Settings { ssh: Ssh::On, ..Settings::default() }).await;
    let token = world.token().await;
    let (client, key) = (&world.client, public_key());
    let made = client.ensure_deploy_key(&token, HELLO, "Slipway", &format!("{key} a comment")).await.unwrap();
    assert_eq!((made.title.as_str(), made.public_key.as_str()), ("Slipway", key.as_str()));
    assert_eq!(world.gitea.deploy_keys(HELLO).await.unwrap()[0]["read_only"], true);
    assert_eq!(client.ensure_deploy_key(&token, HELLO, "Another title", &key).await.unwrap(), made, "adopted");

    // While a key is rotated there are two, and Gitea wants two titles.
    let rotated = client.ensure_deploy_key(&token, HELLO, "Slipway", &public_key()).await.unwrap();
    assert!(rotated.title.starts_with("Slipway ") && rotated.id != made.id, "{rotated:?}");
    let keys = client.deploy_keys(&token, HELLO).await.unwrap();
    assert!(keys.len() == 2 && keys.contains(&made) && keys.contains(&rotated), "{keys:?}");

    // The same key with the right to write is not what we asked for.
    let writer = public_key();
    let body = json!({ "title": "writer", "key": writer, "read_only": false });
    world.gitea.api(http::Method::POST, "/repos/octo/hello/keys", Some(body)).await.unwrap();
    client.ensure_deploy_key(&token, HELLO, "reader", &writer).await.unwrap();
    let stand = world.gitea.deploy_keys(HELLO).await.unwrap();
    assert!(stand.len() == 3 && stand.iter().all(|key| key["read_only"] == true), "{stand:?}");

    assert_eq!(client.delete_deploy_key(&token, HELLO, &made.id).await.unwrap(), Removal::Removed);
    assert_eq!(client.delete_deploy_key(&token, HELLO, &made.id).await.unwrap(), Removal::AlreadyGone);
    assert_eq!(client.delete_deploy_key(&token, "octo/none", &made.id).await.unwrap_err(), ForgeError::NotFound);
    assert_eq!(client.deploy_keys(&token, HELLO).await.unwrap().len(), 2);
    let error = client.ensure_deploy_key(&token, HELLO, "t", "ssh-ed25519 nonsense").await.unwrap_err();
    assert!(matches!(error, ForgeError::Unexpected { status: 422, .. }), "{error}");
    assert_eq!(client.deploy_keys_url(HELLO).path(), "/octo/hello/settings/keys");
}
