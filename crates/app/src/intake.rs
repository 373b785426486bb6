//! Requests at a hook's address: checked, and stored durably before they are acknowledged.
//!
//! Invariants: nothing of a body is read before its signature held; a delivery is stored only for the repository that its hook stands at;
//! whether a hook exists cannot be told from an answer or its time. Nothing here waits for a provider.
//! Deliberately elsewhere: what a stored delivery starts (`receive`), what is kept of refused requests (`refused`).

use std::net::IpAddr;

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use slipway_forge::{Forge, Payload, Refusal as SignatureRefusal, Verified};
use slipway_model::{DeliveryId, HookId, ProviderId, RepositoryId};
use slipway_store::hooks::{self, Hook};
use slipway_store::inbox::Incoming;
use slipway_store::refused::RefusedRequest;

use crate::{App, Error};

/// Words in the name of a header whose value must not be kept.
const SECRET_WORDS: [&str; 6] = ["authorization", "cookie", "secret", "signature", "token", "password"];
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_ID_BYTES: usize = 200;
const MASKED: &str = "[masked]";

/// What became of a request at a hook's address.
#[derive(Debug)]
pub enum Intake {
    /// Stored.
    Stored(DeliveryId),
    /// Stored as a repetition of an earlier one.
    Duplicate(DeliveryId, DeliveryId),
    /// No such provider is configured.
    UnknownProvider,
    /// There is no such hook. The sender is told what [`Intake::Refused`] would tell: who guesses addresses learns nothing.
    UnknownHook(SignatureRefusal),
    /// It is not authentic; nothing was stored but that it came.
    Refused(SignatureRefusal),
    /// It is authentic, but tells of another repository than the hook's; nothing was stored but that it came.
    WrongRepository,
}

/// An authentic request.
struct Authentic<'a> {
    hook: &'a Hook,
    repository: RepositoryId,
    verified: &'a Verified,
    secrets: &'a [SecretString],
}

fn kept_headers(headers: &HeaderMap) -> String {
    let mut kept: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let secret = SECRET_WORDS.iter().any(|word| name.as_str().contains(word));
        let text = if secret { MASKED.to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() };
        bytes += name.as_str().len() + text.len();
        if bytes > MAX_HEADER_BYTES {
            break;
        }
        let text = match kept.get(name.as_str()).and_then(|before| before.as_str()) {
            Some(before) => format!("{before}, {text}"),
            None => text,
        };
        kept.insert(name.as_str().to_owned(), text.into());
    }
    serde_json::Value::Object(kept).to_string()
}

/// Some providers write the hook's secret into the body, too. It is blotted out at its full length, so the body stays what it was otherwise.
fn without_secrets(body: &[u8], secrets: &[SecretString]) -> Vec<u8> {
    let mut kept = body.to_vec();
    for secret in secrets {
        let secret = secret.expose_secret();
        let found = std::str::from_utf8(body).map(|text| text.match_indices(secret).map(|(at, _)| at).collect::<Vec<_>>());
        for at in found.unwrap_or_default() {
            kept[at..at + secret.len()].fill(b'*');
        }
    }
    kept
}

/// A word of the provider, as it may be kept and shown.
pub(crate) fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_ID_BYTES).collect()
}

/// The repository that a request tells of, when it can be read and names one.
fn repository_of(forge: &dyn Forge, event: &str, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    match forge.read(event, headers, body) {
        Ok(
            Payload::Push { repository_id, .. } | Payload::PullRequest { repository_id, .. } | Payload::Repository { repository_id, .. },
        ) => Some(repository_id),
        Ok(Payload::Ping { repository_id }) => repository_id,
        Ok(Payload::Other { .. }) | Err(_) => None,
    }
}

impl App {
    /// Takes a request at a hook's address: authentic ones are stored durably before this returns.
    ///
    /// # Errors
    /// [`Error::Store`] when it could not be stored: the provider must not be told that it was.
    pub async fn intake(
        &self,
        provider: &ProviderId,
        hook: &str,
        address: IpAddr,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Intake, Error> {
        let Some(forge) = self.forges.get(provider) else { return Ok(Intake::UnknownProvider) };
        // An id that is none is asked for too: what is unknown takes the time of what is known.
        let id = hook.parse::<HookId>().unwrap_or_default();
        let mut tx = self.read().await?;
        let found = hooks::get_receiving(&mut tx, id, provider).await?;
        drop(tx);
        let Some((hook, repository)) = found else {
            let refusal = forge.verify(headers, body, std::slice::from_ref(&self.nobodys_secret)).err();
            return Ok(Intake::UnknownHook(refusal.unwrap_or(SignatureRefusal::BadSignature)));
        };
        let secrets = self.hook_secrets(&hook, self.clock.now())?;
        let verified = match forge.verify(headers, body, &secrets) {
            Ok(verified) => verified,
            Err(refusal) => {
                self.refuse(hook.id, address, refusal.to_string(), body.len());
                return Ok(Intake::Refused(refusal));
            }
        };
        if let Some(other) = repository_of(forge.as_ref(), &verified.event, headers, body).filter(|id| *id != hook.source_id) {
            let why = format!("it tells of the source repository with the id `{}`, expected `{}`", word(&other), hook.source_id);
            self.refuse(hook.id, address, why, body.len());
            return Ok(Intake::WrongRepository);
        }
        let kept = self.keep(&Authentic { hook: &hook, repository, verified: &verified, secrets: &secrets }, headers, body).await?;
        if hook.waits_for_proof() && forge.verify(headers, body, &secrets[..1]).is_ok() {
            self.prove_hook(hook.id).await?;
        }
        Ok(kept)
    }

    async fn keep(&self, authentic: &Authentic<'_>, headers: &HeaderMap, body: &[u8]) -> Result<Intake, Error> {
        let incoming = Incoming {
            hook: authentic.hook.id,
            repository: authentic.repository,
            delivery_id: word(&authentic.verified.delivery_id),
            event: word(&authentic.verified.event),
            headers: kept_headers(headers),
            body_sha256: hex::encode(Sha256::digest(body)),
            body: without_secrets(body, authentic.secrets),
            received_at: self.clock.now(),
        };
        let (id, first) = self.inbox.store(incoming).await?;
        self.wake.deliveries.notify_one();
        Ok(match first {
            None => Intake::Stored(id),
            Some(first) => Intake::Duplicate(id, first),
        })
    }

    fn refuse(&self, hook: HookId, address: IpAddr, reason: String, size: usize) {
        self.refused.note(hook, RefusedRequest { at: self.clock.now(), address, reason, size: size as u64 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_kept() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-hub-signature",
            "x-hub-signature-256",
            "x-gitlab-token",
            "x-gitea-signature",
            "x-forgejo-signature",
            "x-gogs-signature",
            "webhook-signature",
            "x-access-token",
        ] {
            headers.insert(name, "hunter2".parse().unwrap());
        }
        headers.append("x-github-event", "push".parse().unwrap());
        headers.append("via", "one".parse().unwrap());
        headers.append("via", "two".parse().unwrap());
        let kept = kept_headers(&headers);
        assert!(!kept.contains("hunter2"), "{kept}");
        let kept: std::collections::BTreeMap<String, String> = serde_json::from_str(&kept).unwrap();
        assert_eq!((kept["x-github-event"].as_str(), kept["via"].as_str(), kept["cookie"].as_str()), ("push", "one, two", MASKED));
    }

    #[test]
    fn a_secret_in_a_body_is_blotted_out_and_nothing_else() {
        let secret: SecretString = "swh_0123".to_owned().into();
        let body = br#"{"secret":"swh_0123","x":"swh_012","y":["swh_0123"]}"#;
        let kept = without_secrets(body, &[secret]);
        assert_eq!(kept, br#"{"secret":"********","x":"swh_012","y":["********"]}"#);
        assert_eq!(without_secrets(b"\xff\xfe", &["\u{fffd}".to_owned().into()]), b"\xff\xfe");
    }
}
