//! A registry client that speaks to any registry alike: POST, PATCH with a streamed body, PUT; GET.
//! Source: OCI distribution specification 1.1; Docker's token authentication.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rand::RngExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, RequestBuilder};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

/// Bytes of a streamed body that go together, as docker's copy loop has them.
const PIECE: usize = 32 * 1024;

/// Name and password at a token service.
#[derive(Debug, Clone)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Access token.
    pub password: String,
}

/// A repository at a registry.
#[derive(Clone)]
pub struct Remote {
    http: reqwest::Client,
    site: Url,
    repository: String,
    login: Option<Login>,
    bearer: Option<String>,
}

/// Bytes with their digest.
#[derive(Clone)]
pub struct Blob {
    bytes: Bytes,
    digest: String,
}

impl Blob {
    /// New random bytes.
    pub fn random(length: usize) -> Self {
        let mut bytes = vec![0; length];
        rand::rng().fill(&mut bytes[..]);
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        Self { bytes: bytes.into(), digest }
    }

    fn pieces(&self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let bytes = self.bytes.clone();
        let starts = (0..bytes.len()).step_by(PIECE);
        futures_util::stream::iter(starts.map(move |start| Ok(bytes.slice(start..bytes.len().min(start + PIECE)))))
    }
}

impl Remote {
    /// A repository at `site`; with a login, tokens are asked for at its token service.
    pub fn new(site: &str, repository: &str, login: Option<Login>) -> Result<Self> {
        // A client of its own: no connection is shared with anything else.
        Ok(Self { http: slipway_testkit::http_client()?, site: site.parse()?, repository: repository.to_owned(), login, bearer: None })
    }

    /// Asks for a token, as docker does once per push or pull. Registries without logins have none.
    pub async fn log_in(&mut self) -> Result<()> {
        let Some(login) = &self.login else { return Ok(()) };
        let scope = format!("repository:{}:pull,push", self.repository);
        let host = format!("{}:{}", self.site.host_str().context("a host")?, self.site.port().context("a port")?);
        let request = self.http.get(self.site.join("/auth/token")?).query(&[("service", host), ("scope", scope)]);
        let answer = request.basic_auth(&login.user, Some(&login.password)).send().await?;
        ensure!(answer.status().is_success(), "the token service answered {}", answer.status());
        let answer: Value = answer.json().await?;
        self.bearer = Some(answer["token"].as_str().context("an answer with a token")?.to_owned());
        Ok(())
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn url(&self, rest: &str) -> Result<Url> {
        Ok(self.site.join(&format!("/v2/{}/blobs/{rest}", self.repository))?)
    }

    /// Pushes a blob.
    pub async fn push(&self, blob: &Blob) -> Result<()> {
        let location = self.push_stream(blob.pieces()).await?;
        self.finish(location, &blob.digest).await
    }

    /// Begins an upload and streams its bytes; gives where it ends.
    pub async fn push_stream(&self, pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Result<Url> {
        let begun = self.with_token(self.http.post(self.url("uploads/")?)).header(CONTENT_LENGTH, 0).send().await?;
        let location = self.next(begun, 202).await?;
        let patch = self.with_token(self.http.patch(location)).header(CONTENT_TYPE, "application/octet-stream");
        let sent = patch.body(Body::wrap_stream(pieces)).send().await?;
        self.next(sent, 202).await
    }

    /// Ends an upload.
    pub async fn finish(&self, mut location: Url, digest: &str) -> Result<()> {
        location.query_pairs_mut().append_pair("digest", digest);
        let done = self.with_token(self.http.put(location)).header(CONTENT_LENGTH, 0).send().await?;
        self.next(done, 201).await?;
        Ok(())
    }

    /// Where an answer leads, when its status is the expected one.
    async fn next(&self, answer: reqwest::Response, expected: u16) -> Result<Url> {
        let (status, location) = (answer.status(), answer.headers().get(LOCATION).cloned());
        let text = answer.text().await?;
        ensure!(status == expected, "an upload was answered {status}, expected {expected}: {text}");
        Ok(self.site.join(location.context("an upload has an address")?.to_str()?)?)
    }

    /// Pulls a blob and counts its bytes; what they are is checked once, by [`Remote::verify`].
    pub async fn pull(&self, blob: &Blob) -> Result<()> {
        let found = self.pull_counted(&blob.digest).await?;
        ensure!(found == blob.bytes.len() as u64, "a pull gave {found} bytes, expected {}", blob.bytes.len());
        Ok(())
    }

    /// Pulls a blob and gives the number of its bytes.
    pub async fn pull_counted(&self, digest: &str) -> Result<u64> {
        let answer = self.with_token(self.http.get(self.url(digest)?)).send().await?;
        ensure!(answer.status() == 200, "a pull was answered {}", answer.status());
        let count = answer.bytes_stream().map_ok(|piece| piece.len() as u64).try_fold(0, |sum, more| async move { Ok(sum + more) });
        Ok(count.await?)
    }

    /// Pulls a blob and holds every byte against what was pushed.
    pub async fn verify(&self, blob: &Blob) -> Result<()> {
        let answer = self.with_token(self.http.get(self.url(&blob.digest)?)).send().await?;
        ensure!(answer.bytes().await? == blob.bytes, "a pull gave other bytes than were pushed");
        Ok(())
    }

    /// Does something for every blob, so many at the same time.
    pub async fn each(&self, blobs: &[Blob], at_once: usize, what: What) -> Result<()> {
        let work = blobs.iter().map(|blob| async move {
            match what {
                What::Push => self.push(blob).await,
                What::Pull => self.pull(blob).await,
            }
        });
        // Collected first: a lazy stream of borrowing futures is too general for the compiler's `Send` check.
        let work: Vec<_> = work.collect();
        futures_util::stream::iter(work).buffer_unordered(at_once).try_collect::<()>().await
    }
}

/// What is done to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Sent.
    Push,
    /// Fetched.
    Pull,
}
