//! What the engine may ask the client for during a build besides files: registry credentials, secrets, health.
//!
//! The invariant: a credential is given for exactly the host it belongs to, a secret for exactly its id, and neither is
//! ever printed. Deliberately elsewhere: bearer tokens; the engine fetches them itself with the credentials from here.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::Health;
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::Secrets;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest, GetTokenAuthorityResponse,
    VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use bytes::Bytes;
use futures_util::Stream;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Response, Status};

/// A name and a password for one registry.
#[derive(Clone)]
pub struct RegistryAuth {
    /// The account.
    pub username: String,
    /// Its password or token.
    pub password: SecretString,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryAuth({}, ***)", self.username)
    }
}

/// Credentials by registry host, `host` or `host:port` as it stands in image names (Docker Hub: `docker.io`).
#[derive(Debug, Clone, Default)]
pub struct RegistryCredentials {
    by_host: BTreeMap<String, RegistryAuth>,
}

impl RegistryCredentials {
    /// Adds or replaces the credentials of a host.
    pub fn insert(&mut self, host: impl Into<String>, auth: RegistryAuth) {
        self.by_host.insert(canonical(&host.into()).to_owned(), auth);
    }

    /// The credentials of a host.
    pub fn get(&self, host: &str) -> Option<&RegistryAuth> {
        self.by_host.get(canonical(host))
    }

    /// All hosts with their credentials.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RegistryAuth)> {
        self.by_host.iter().map(|(host, auth)| (host.as_str(), auth))
    }
}

/// Docker Hub is asked for under three names.
fn canonical(host: &str) -> &str {
    match host {
        "registry-1.docker.io" | "index.docker.io" | "https://index.docker.io/v1/" => "docker.io",
        other => other,
    }
}

#[derive(Clone, Default)]
pub(crate) struct Answers {
    pub(crate) credentials: Arc<RegistryCredentials>,
    pub(crate) secrets: Arc<BTreeMap<String, Bytes>>,
}

#[tonic::async_trait]
impl Auth for Answers {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let auth = self.credentials.get(&request.into_inner().host);
        Ok(Response::new(CredentialsResponse {
            username: auth.map(|auth| auth.username.clone()).unwrap_or_default(),
            secret: auth.map(|auth| auth.password.expose_secret().to_owned()).unwrap_or_default(),
        }))
    }

    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens itself"))
    }

    async fn get_token_authority(&self, _: Request<GetTokenAuthorityRequest>) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens itself"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens itself"))
    }
}

#[tonic::async_trait]
impl Secrets for Answers {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.secrets.get(&id) {
            Some(data) => Ok(Response::new(GetSecretResponse { data: data.to_vec() })),
            None => Err(Status::not_found(format!("secret {id} is not given to this build"))),
        }
    }
}

const SERVING: HealthCheckResponse = HealthCheckResponse { status: ServingStatus::Serving as i32 };

#[tonic::async_trait]
impl Health for Answers {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(SERVING))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse { statuses: [(String::new(), SERVING)].into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        use futures_util::StreamExt as _;
        let once = futures_util::stream::once(async { Ok(SERVING) });
        Ok(Response::new(Box::pin(once.chain(futures_util::stream::pending()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_credential_goes_to_its_host_only_and_is_not_printed() {
        let mut credentials = RegistryCredentials::default();
        credentials.insert("127.0.0.1:5000", RegistryAuth { username: "u".into(), password: "hunter22".to_owned().into() });
        assert!(!format!("{credentials:?}").contains("hunter22"));
        let answers = Answers { credentials: Arc::new(credentials), ..Answers::default() };
        let of = |host: &str| answers.credentials(Request::new(CredentialsRequest { host: host.to_owned() }));
        assert_eq!(of("127.0.0.1:5000").await.expect("answer").into_inner().secret, "hunter22");
        for other in ["127.0.0.1", "127.0.0.1:5001", "", "docker.io", "127.0.0.1:5000.evil"] {
            assert_eq!(of(other).await.expect("answer").into_inner(), CredentialsResponse::default(), "{other}");
        }
    }
}
