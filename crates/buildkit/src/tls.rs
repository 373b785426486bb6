//! What protects the way to an engine on another machine: whom we believe, and what we show of ourselves.
//!
//! The invariant: the engine has to show a certificate of the given authority for the name that was dialled, and the private key is printed
//! nowhere. Deliberately elsewhere: where the files lie and who may read them (whoever configures), dialling (`connect`).

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::EngineKind;

/// Certificates for the way to one engine.
#[derive(Clone)]
pub struct EngineTls {
    config: Arc<ClientConfig>,
}

/// A client certificate in PEM.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, and those between it and the authority.
    pub certificate: String,
    /// Its private key.
    pub key: SecretString,
}

/// Which of the texts cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TlsError {
    /// The authority's.
    #[error("{0}")]
    Authority(String),
    /// The client's certificate.
    #[error("{0}")]
    Certificate(String),
    /// The client's private key, by itself or for this certificate.
    #[error("{0}")]
    Key(String),
}

impl EngineTls {
    /// Believes what `authority` (PEM, one certificate or several) signed, and shows `identity` where the engine asks for one.
    pub fn new(authority: &str, identity: Option<&ClientIdentity>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority).map_err(TlsError::Authority)? {
            roots.add(certificate).map_err(|error| TlsError::Authority(format!("is no certificate of an authority: {error}")))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Authority(error.to_string()))?
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates(&identity.certificate).map_err(TlsError::Certificate)?;
                let key = PrivateKeyDer::from_pem_slice(identity.key.expose_secret().as_bytes())
                    .map_err(|_| TlsError::Key("holds no private key in PEM".to_owned()))?;
                config.with_client_auth_cert(chain, key).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => TlsError::Key("does not belong to the certificate".to_owned()),
                    error => TlsError::Key(format!("cannot be used: {error}")),
                })?
            }
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// The protocol is named during the handshake: a buildkitd takes no client that does not, and an Engine's API is spoken in HTTP/1.
    pub(crate) fn speaking(self, kind: EngineKind) -> Self {
        let mut config = Arc::unwrap_or_clone(self.config);
        config.alpn_protocols = match kind {
            EngineKind::Docker => vec![b"http/1.1".to_vec()],
            EngineKind::Buildkitd => vec![b"h2".to_vec()],
        };
        Self { config: Arc::new(config) }
    }

    pub(crate) async fn handshake(&self, host: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

impl fmt::Debug for EngineTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineTls([redacted])")
    }
}

impl PartialEq for EngineTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for EngineTls {}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("holds no certificate in PEM".to_owned()),
    }
}

/// What a failure of TLS means for whoever configured it; `None` when it is none, or one that says it itself.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    // What an engine says of our certificate comes with its first answer; by then HTTP/2 has made a text of it.
    if let Some((_, alert)) = error.to_string().rsplit_once("received fatal alert: ") {
        return of_alert(alert);
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref());
    let text = match error.downcast_ref::<rustls::Error>().or(inner)? {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name than the one that was dialled".to_owned()
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not of the configured authority".to_owned()
            }
            other => format!("its certificate cannot be used: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        _ => return None,
    };
    Some(text)
}

fn of_alert(alert: &str) -> Option<String> {
    let text = match alert {
        "CertificateRequired" => "it wants a client certificate, and none is configured".to_owned(),
        "CertificateExpired" => "the client certificate has expired".to_owned(),
        "UnknownCA" => "it does not know the authority of the client certificate".to_owned(),
        "BadCertificate" | "AccessDenied" | "DecryptError" => format!("it refuses the client certificate ({alert})"),
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_understood_as_text_and_a_refusal_by_its_type() {
        let io = |text: &str| std::io::Error::other(text.to_owned());
        assert!(words(&io("received fatal alert: CertificateRequired")).is_some_and(|said| said.contains("none is configured")));
        assert_eq!(words(&io("received fatal alert: HandshakeFailure")), None);
        assert_eq!(words(&io("connection refused")), None);
        let refused = std::io::Error::other(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(words(&refused).is_some_and(|said| said.contains("configured authority")));
    }
}
