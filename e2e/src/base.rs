//! The base image of the builds: a static busybox, because there is nothing to pull. It is pushed as any client pushes.
//! Source: OCI distribution specification 1.1, Docker's token authentication.

use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result, ensure};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{PERSON, Stage, process};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const APPLETS: [&str; 9] = ["sh", "cat", "echo", "sleep", "test", "true", "false", "grep", "printf"];

fn layer() -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let bin = folder.path().join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir_all(folder.path().join("tmp"))?;
    std::fs::copy(process::find("busybox")?, bin.join("busybox"))?;
    for applet in APPLETS {
        symlink("busybox", bin.join(applet))?;
    }
    process::run(&process::find("tar")?, &["--create", "--owner=0", "--group=0", "."], folder.path(), "")
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Stage {
    /// Makes the repository `demo/base` with an image of busybox and gives its name for `FROM`.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn push_base(&self) -> Result<String> {
        self.post(&format!("/repositories/{PERSON}"), &json!({ "name": "base", "visibility": "private" })).await?;
        let (site, name) = (self.site(), format!("{PERSON}/base"));
        let query = [("service", self.host()), ("scope", format!("repository:{name}:pull,push"))];
        let asked = self.http().get(format!("{site}/auth/token")).query(&query).basic_auth(PERSON, Some(self.token())).send().await?;
        let token = asked.error_for_status()?.json::<Value>().await?["token"].as_str().context("an answer with a token")?.to_owned();
        let (layer, mut parts) = (layer()?, Vec::new());
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
            "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
        });
        let kinds = ["application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"];
        for (kind, bytes) in kinds.into_iter().zip([serde_json::to_vec(&config)?, layer]) {
            let begun = self.http().post(format!("{site}/v2/{name}/blobs/uploads/")).bearer_auth(&token).send().await?;
            let location = begun.headers().get(LOCATION).context("an upload has an address")?.to_str()?.to_owned();
            let mut url = url::Url::parse(site)?.join(&location)?;
            url.query_pairs_mut().append_pair("digest", &digest(&bytes));
            parts.push(json!({ "mediaType": kind, "digest": digest(&bytes), "size": bytes.len() }));
            let request = self.http().put(url).bearer_auth(&token).header(CONTENT_TYPE, "application/octet-stream").body(bytes);
            let done = request.send().await?;
            ensure!(done.status() == 201, "a blob was answered {}: {}", done.status(), done.text().await?);
        }
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": [parts[1]] });
        let request = self.http().put(format!("{site}/v2/{name}/manifests/latest")).bearer_auth(&token);
        let done = request.header(CONTENT_TYPE, MANIFEST).body(serde_json::to_vec(&manifest)?).send().await?;
        ensure!(done.status() == 201, "a manifest was answered {}: {}", done.status(), done.text().await?);
        Ok(format!("{}/{name}", self.host()))
    }
}
