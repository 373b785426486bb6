//! Signing of ID tokens: ES256 or RS256, with keys made when they are needed.
//! Source: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms).

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::ecdsa::signature::Signer as _;
use rand::Rng as _;
use rsa::signature::SignatureEncoding as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

/// How ID tokens are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// ECDSA on P-256: quick to make keys for.
    Es256,
    /// RSA of 2048 bits: what most providers use.
    Rs256,
}

enum Secret {
    Es256(p256::ecdsa::SigningKey),
    Rs256(Box<rsa::pkcs1v15::SigningKey<rsa::sha2::Sha256>>),
}

/// A key with its public id.
pub(super) struct SigningKey {
    id: String,
    secret: Secret,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Random text for codes and tokens.
pub(super) fn random_word() -> String {
    encode(&random::<24>())
}

impl SigningKey {
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self> {
        let secret = match algorithm {
            Algorithm::Es256 => Secret::Es256(p256::ecdsa::SigningKey::from_slice(&random::<32>())?),
            Algorithm::Rs256 => {
                let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048)?;
                Secret::Rs256(Box::new(rsa::pkcs1v15::SigningKey::new(key)))
            }
        };
        Ok(Self { id: random_word(), secret })
    }

    /// Another key of the same kind that claims to be this one.
    pub(super) fn impostor(&self) -> Result<Self> {
        Ok(Self { id: self.id.clone(), ..Self::generate(self.algorithm())? })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self.secret {
            Secret::Es256(_) => Algorithm::Es256,
            Secret::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// `alg` of RFC 7518.
    pub(super) fn word(&self) -> &'static str {
        match self.algorithm() {
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
        }
    }

    /// The public key as a JWK.
    pub(super) fn public(&self) -> Value {
        let mut key = json!({"kid": self.id, "use": "sig", "alg": self.word()});
        match &self.secret {
            Secret::Es256(secret) => {
                // Uncompressed: 4, then 32 bytes of x, then 32 of y.
                let point = secret.verifying_key().to_sec1_point(false);
                let coordinates = &point.as_bytes()[1..];
                key["kty"] = json!("EC");
                key["crv"] = json!("P-256");
                key["x"] = json!(encode(&coordinates[..32]));
                key["y"] = json!(encode(&coordinates[32..]));
            }
            Secret::Rs256(secret) => {
                let public: &rsa::RsaPrivateKey = secret.as_ref().as_ref();
                key["kty"] = json!("RSA");
                key["n"] = json!(encode(&public.n().to_bytes_be()));
                key["e"] = json!(encode(&public.e().to_bytes_be()));
            }
        }
        key
    }

    /// The claims as a signed token.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let text = unsigned(&json!({"alg": self.word(), "typ": "JWT", "kid": self.id}), claims);
        let signature = match &self.secret {
            Secret::Es256(secret) => {
                let signature: p256::ecdsa::Signature = secret.sign(text.as_bytes());
                signature.to_bytes().to_vec()
            }
            Secret::Rs256(secret) => rsa::signature::Signer::sign(secret.as_ref(), text.as_bytes()).to_vec(),
        };
        format!("{text}.{}", encode(&signature))
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

/// The claims with `alg` `none` and no signature.
pub(super) fn sign_with_nothing(claims: &Value) -> String {
    format!("{}.", unsigned(&json!({"alg": "none"}), claims))
}

/// The claims signed with a secret that both sides know.
pub(super) fn sign_with_secret(claims: &Value, secret: &str) -> String {
    let text = unsigned(&json!({"alg": "HS256", "typ": "JWT"}), claims);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(text.as_bytes());
    format!("{text}.{}", encode(&mac.finalize().into_bytes()))
}
