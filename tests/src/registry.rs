//! A registry client: what docker and skopeo do, one request at a time, and skopeo itself.
//! Source: OCI distribution specification 1.1, Docker's token authentication.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Answer, PERSON, TestApp};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The registry as one person or build sees it.
#[derive(Debug, Clone)]
pub struct Registry {
    http: reqwest::Client,
    site: String,
    host: String,
    /// Empty: anonymous.
    user: String,
    password: String,
}

/// `sha256:...` of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl TestApp {
    /// The registry with the administrator's token.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(self, PERSON, &self.token)
    }
}

impl Registry {
    /// The registry with name and password; with neither it is anonymous.
    #[must_use]
    pub fn new(app: &TestApp, user: &str, password: &str) -> Self {
        Self {
            http: app.http().clone(),
            site: app.site().to_owned(),
            host: app.host(),
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    /// Asks the token service.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask_token(&self, scopes: &[&str]) -> Result<Answer> {
        let mut query = vec![("service", self.host.as_str())];
        query.extend(scopes.iter().map(|scope| ("scope", *scope)));
        let mut request = self.http.get(format!("{}/auth/token", self.site)).query(&query);
        if !self.user.is_empty() {
            request = request.basic_auth(&self.user, Some(&self.password));
        }
        Answer::of(request.send().await?).await
    }

    async fn token(&self, scope: &str) -> Result<String> {
        let answer = self.ask_token(&[scope]).await?.json().context("the token service")?;
        Ok(answer["token"].as_str().context("an answer with a token")?.to_owned())
    }

    /// A request below `/v2/` with a token for `repository`, as a client makes it after the challenge.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, method: Method, repository: &str, rest: &str, kind: &str, body: Vec<u8>) -> Result<Answer> {
        let actions = if matches!(method, Method::GET | Method::HEAD) { "pull" } else { "pull,push" };
        let token = self.token(&format!("repository:{repository}:{actions}")).await?;
        let url = format!("{}/v2/{repository}/{rest}", self.site);
        let mut request = self.http.request(method.clone(), url).bearer_auth(token).header(ACCEPT, MANIFEST);
        if method != Method::GET && method != Method::HEAD {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        Answer::of(request.send().await?).await
    }

    async fn push_blob(&self, repository: &str, token: &str, bytes: &[u8]) -> Result<String> {
        let digest = digest(bytes);
        let begun = self.http.post(format!("{}/v2/{repository}/blobs/uploads/", self.site)).bearer_auth(token).send().await?;
        ensure!(begun.status() == 202, "an upload was answered {}: {}", begun.status(), begun.text().await?);
        let location = begun.headers().get(LOCATION).context("an upload has an address")?.to_str()?.to_owned();
        let mut url = url::Url::parse(&self.site)?.join(&location)?;
        url.query_pairs_mut().append_pair("digest", &digest);
        let request = self.http.put(url).bearer_auth(token).header(CONTENT_TYPE, "application/octet-stream").body(bytes.to_vec());
        let done = request.send().await?;
        ensure!(done.status() == 201, "a blob was answered {}: {}", done.status(), done.text().await?);
        Ok(digest)
    }

    /// Pushes an image with layers that are tar archives or, where nobody runs it, anything; by tag or by digest alone.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn push(&self, repository: &str, tag: Option<&str>, layers: &[Vec<u8>]) -> Result<String> {
        let token = self.token(&format!("repository:{repository}:pull,push")).await?;
        let mut listed = Vec::new();
        for layer in layers {
            let digest = self.push_blob(repository, &token, layer).await?;
            listed.push(json!({ "mediaType": LAYER, "digest": digest, "size": layer.len() }));
        }
        let ids: Vec<&Value> = listed.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids },
            "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
        });
        let config = serde_json::to_vec(&config)?;
        let config_digest = self.push_blob(repository, &token, &config).await?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": listed,
            "config": { "mediaType": CONFIG, "digest": config_digest, "size": config.len() },
        }))?;
        let digest = digest(&manifest);
        let url = format!("{}/v2/{repository}/manifests/{}", self.site, tag.unwrap_or(&digest));
        let done = self.http.put(url).bearer_auth(&token).header(CONTENT_TYPE, MANIFEST).body(manifest).send().await?;
        ensure!(done.status() == 201, "a manifest was answered {}: {}", done.status(), done.text().await?);
        Ok(digest)
    }

    /// A manifest by tag or digest, whatever the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<Answer> {
        self.send(Method::GET, repository, &format!("manifests/{reference}"), MANIFEST, Vec::new()).await
    }

    /// Pulls everything of an image and holds it against its digests; gives the manifest's digest.
    ///
    /// # Errors
    /// When a part is missing or not what it should be.
    pub async fn pull(&self, repository: &str, reference: &str) -> Result<String> {
        let manifest = self.manifest(repository, reference).await?;
        let parsed = manifest.json()?;
        let found = digest(manifest.text.as_bytes());
        ensure!(manifest.header("docker-content-digest") == found, "the manifest's digest is not that of its bytes");
        let token = self.token(&format!("repository:{repository}:pull")).await?;
        let layers = parsed["layers"].as_array().context("an image has layers")?;
        for wanted in layers.iter().chain([&parsed["config"]]).map(|part| part["digest"].as_str().unwrap_or_default()) {
            let answer = self.http.get(format!("{}/v2/{repository}/blobs/{wanted}", self.site)).bearer_auth(&token).send().await?;
            ensure!(answer.status() == 200, "the blob {wanted} was answered {}", answer.status());
            ensure!(digest(&answer.bytes().await?) == wanted, "the blob {wanted} has other bytes");
        }
        Ok(found)
    }

    /// `skopeo inspect`: the digest that another program sees behind a tag.
    ///
    /// # Errors
    /// With skopeo's words, when it is refused.
    pub async fn skopeo_digest(&self, repository: &str, tag: &str) -> Result<String> {
        let image = format!("docker://{}/{repository}:{tag}", self.host);
        let mut command = tokio::process::Command::new("skopeo");
        command.args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]);
        if self.user.is_empty() {
            command.arg("--no-creds");
        } else {
            command.args(["--creds", &format!("{}:{}", self.user, self.password)]);
        }
        let output =
            command.arg(&image).stdin(Stdio::null()).output().await.context("`skopeo` did not start; hint: scripts/install-test-parts")?;
        if !output.status.success() {
            bail!("skopeo: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// The fields of a challenge, without the word `Bearer`.
///
/// # Errors
/// When there is none.
pub fn challenge(answer: &Answer) -> Result<BTreeMap<String, String>> {
    let text = answer.header(WWW_AUTHENTICATE.as_str());
    let fields = text.strip_prefix("Bearer ").with_context(|| format!("no challenge in {} `{text}`", answer.status))?;
    let mut found = BTreeMap::new();
    for part in fields.split("\",") {
        let (name, value) = part.split_once("=\"").with_context(|| format!("`{part}` in `{text}`"))?;
        found.insert(name.to_owned(), value.trim_end_matches('"').to_owned());
    }
    Ok(found)
}
