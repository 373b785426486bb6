//! The real `skopeo` (Debian's) pushes, pulls, lists, inspects and deletes; it is installed by the test command.

mod common;

use std::path::Path;
use std::process::Output;

use common::{Harness, Login, image};
use slipway_model::Visibility;
use slipway_oci::Digest;

/// Runs skopeo with a home of its own, so that nobody's credentials or policies are read or changed.
async fn skopeo(harness: &Harness, arguments: &[&str]) -> Output {
    let home = harness.folder.path().join("home");
    std::fs::create_dir_all(&home).expect("folder");
    tokio::process::Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments)
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", &home)
        .env("REGISTRY_AUTH_FILE", home.join("auth.json"))
        .output()
        .await
        .expect("skopeo is installed")
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An OCI layout with one image; gives its digest.
fn layout(folder: &Path, layer: &[u8]) -> Digest {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("folder");
    let write = |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).expect("writes");
        digest
    };
    let config = br#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = image(&write(config), config.len(), &write(layer), layer.len());
    let digest = write(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}]}}"#,
        slipway_oci::media_type::OCI_MANIFEST,
        manifest.len()
    );
    std::fs::write(folder.join("index.json"), index).expect("writes");
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("writes");
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pushes_and_pulls() {
    let harness = Harness::start().await;
    let ann = harness.user("ann").await;
    let bob = harness.user("bob").await;
    for name in ["ann/app", "ann/copy"] {
        harness.repository(name, Visibility::Private).await;
    }
    let creds = |login: &Login| format!("{}:{}", login.username, login.password);
    let (mine, stranger) = (creds(&ann), creds(&bob));
    let source = harness.folder.path().join("source");
    let layer: Vec<u8> = (0..5_000_000_u64).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let digest = layout(&source, &layer);
    let source = format!("oci:{}:v1", source.display());
    let remote = format!("docker://{}/ann/app", harness.address);
    let tagged = format!("{remote}:v1");
    let push = |creds: String| {
        let (harness, source, tagged) = (&harness, &source, &tagged);
        async move { skopeo(harness, &["copy", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", &creds, source, tagged]).await }
    };
    assert!(!push(stranger.clone()).await.status.success());
    assert!(!push("ann:wrong".to_owned()).await.status.success());
    succeeded(&push(mine.clone()).await);
    succeeded(&push(mine.clone()).await);
    let inspect = skopeo(&harness, &["inspect", "--raw", "--tls-verify=false", "--creds", &mine, &tagged]).await;
    assert_eq!(Digest::sha256(succeeded(&inspect).as_bytes()), digest, "byte for byte");
    // From one repository to another: skopeo mounts.
    let copy = format!("docker://{}/ann/copy:v2", harness.address);
    let flags = [
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--src-creds",
        &mine,
        "--dest-creds",
        &mine,
        &tagged,
        &copy,
    ];
    succeeded(&skopeo(&harness, &flags).await);
    let pulled = harness.folder.path().join("pulled");
    let target = format!("oci:{}:v2", pulled.display());
    succeeded(&skopeo(&harness, &["copy", "--preserve-digests", "--src-tls-verify=false", "--src-creds", &mine, &copy, &target]).await);
    let back = std::fs::read(pulled.join("blobs/sha256").join(Digest::sha256(&layer).hex())).expect("the layer");
    assert!(back == layer);
    let tags = skopeo(&harness, &["list-tags", "--tls-verify=false", "--creds", &mine, &remote]).await;
    assert!(succeeded(&tags).contains("\"v1\""));
    let foreign = skopeo(&harness, &["inspect", "--raw", "--tls-verify=false", "--creds", &stranger, &tagged]).await;
    assert!(!foreign.status.success());
    succeeded(&skopeo(&harness, &["delete", "--tls-verify=false", "--creds", &mine, &tagged]).await);
    let gone = skopeo(&harness, &["inspect", "--raw", "--tls-verify=false", "--creds", &mine, &tagged]).await;
    assert!(!gone.status.success());
}
