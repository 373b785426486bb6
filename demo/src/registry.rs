//! The registry as any client asks it: a challenge, a token, a manifest's digest.
//! Source: OCI distribution spec 1.1; Docker's token authentication.

use anyhow::{Context as _, Result, bail};
use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use serde_json::Value;

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Digest of a tag by `HEAD /v2/{repository}/manifests/{tag}`, with a token from the token service.
pub async fn digest(http: &reqwest::Client, site: &str, repository: &str, tag: &str, user: &str, password: &str) -> Result<String> {
    let url = format!("{site}/v2/{repository}/manifests/{tag}");
    let challenged = http.head(&url).header(ACCEPT, MANIFESTS).send().await?;
    if challenged.status() != 401 {
        bail!("a private manifest answered {} to a stranger, expected 401", challenged.status());
    }
    let challenge = challenged.headers().get(WWW_AUTHENTICATE).context("a 401 has a challenge")?.to_str()?.to_owned();
    let part = |name: &str| -> Result<String> {
        let start = format!("{name}=\"");
        let (_, rest) = challenge.split_once(&start).with_context(|| format!("the challenge has no `{name}`: {challenge}"))?;
        Ok(rest.split('"').next().unwrap_or_default().to_owned())
    };
    let query = [("service", part("service")?), ("scope", format!("repository:{repository}:pull"))];
    let answer = http.get(part("realm")?).query(&query).basic_auth(user, Some(password)).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await.with_context(|| format!("the token service answered {status}"))?;
    let token = body["token"].as_str().or(body["access_token"].as_str()).with_context(|| format!("no token in {body}"))?;
    let found = http.head(&url).header(ACCEPT, MANIFESTS).bearer_auth(token).send().await?;
    if !found.status().is_success() {
        bail!("`{url}` answered {}", found.status());
    }
    Ok(found.headers().get("docker-content-digest").context("a manifest has a digest")?.to_str()?.to_owned())
}
