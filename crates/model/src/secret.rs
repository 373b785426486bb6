//! Secrets that we make ourselves: random tokens, their hashes, and the one comparison of secrets in the product.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Compares secrets without telling by time where they differ. The only comparison of secrets; `==` on them is a defect.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// What a random token is for; its prefix lets people and secret scanners recognise it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// Personal access token.
    Personal,
    /// Browser session.
    Session,
    /// Builder.
    Builder,
    /// One-time token with which a machine becomes a builder node.
    Join,
    /// Registry credential of one build.
    Build,
    /// One-time address of the first start.
    Setup,
    /// `state` of an OAuth flow.
    State,
    /// Secret of a webhook.
    Hook,
    /// One-time address of an invitation.
    Invitation,
    /// One-time address that confirms an e-mail address.
    Email,
    /// A sign-in that waits for its second factor.
    SignIn,
    /// The browser that began an OpenID Connect sign-in.
    Browser,
    /// Secret of a build trigger's address.
    Trigger,
}

impl TokenKind {
    const ALL: [Self; 13] = [
        Self::Personal,
        Self::Session,
        Self::Builder,
        Self::Join,
        Self::Build,
        Self::Setup,
        Self::State,
        Self::Hook,
        Self::Invitation,
        Self::Email,
        Self::SignIn,
        Self::Browser,
        Self::Trigger,
    ];

    /// The kind that a text claims to be, by its prefix.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))
    }

    /// What it is, in words: `a personal access token`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Personal => "a personal access token",
            Self::Session => "a browser's session",
            Self::Builder => "a builder node's own credential",
            Self::Join => "a builder's join token",
            Self::Build => "the registry credential of a build",
            Self::Setup => "the token of the first start",
            Self::State => "the state of a sign-in at a provider",
            Self::Hook => "the secret of a webhook",
            Self::Invitation => "an invitation",
            Self::Email => "the confirmation of an e-mail address",
            Self::SignIn => "a sign-in that waits for its second factor",
            Self::Browser => "a browser's sign-in",
            Self::Trigger => "the secret of a build trigger",
        }
    }

    /// The beginning of every token of this kind.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "slp_",
            Self::Session => "sls_",
            Self::Builder => "slb_",
            Self::Join => "slj_",
            Self::Build => "slr_",
            Self::Setup => "slu_",
            Self::State => "slo_",
            Self::Hook => "slh_",
            Self::Invitation => "sli_",
            Self::Email => "sle_",
            Self::SignIn => "slq_",
            Self::Browser => "slw_",
            Self::Trigger => "slt_",
        }
    }
}

/// A random token of 256 bits behind its prefix, in hexadecimal. Shown once, stored as [`SecretHash`].
#[derive(Clone)]
pub struct SecretToken(SecretString);

impl SecretToken {
    /// A new token from the operating system's randomness.
    #[must_use]
    pub fn generate(kind: TokenKind) -> Self {
        let mut bytes = [0_u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        Self(format!("{}{}", kind.prefix(), hex::encode(bytes)).into())
    }

    /// A token that somebody presented; `None` when it cannot be one of that kind.
    #[must_use]
    pub fn presented(kind: TokenKind, text: &str) -> Option<Self> {
        let digits = text.strip_prefix(kind.prefix())?;
        (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_owned().into()))
    }

    /// The token, for the one place that shows or sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the database holds.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.expose().as_bytes()).into())
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken([redacted])")
    }
}

/// SHA-256 of a token of 256 random bits: nothing to guess, so no salt and no slow hash are needed.
#[derive(Clone)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hexadecimal, as the database holds it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Whether it is the hash of `token`.
    #[must_use]
    pub fn matches(&self, token: &SecretToken) -> bool {
        constant_time_eq(&self.0, &token.hash().0)
    }
}

impl FromStr for SecretHash {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_random_recognised_and_never_shown() {
        let token = SecretToken::generate(TokenKind::Personal);
        let other = SecretToken::generate(TokenKind::Personal);
        assert_ne!(token.expose(), other.expose());
        assert!(token.hash().matches(&token) && !token.hash().matches(&other));
        let hash: SecretHash = token.hash().to_hex().parse().unwrap();
        assert!(hash.matches(&token));
        assert!(SecretToken::presented(TokenKind::Personal, token.expose()).is_some());
        assert!(SecretToken::presented(TokenKind::Session, token.expose()).is_none());
        assert!(SecretToken::presented(TokenKind::Personal, "slp_zz").is_none());
        assert!(!format!("{token:?}").contains(token.expose()));
    }

    #[test]
    fn every_kind_is_known_by_its_prefix() {
        for kind in TokenKind::ALL {
            assert_eq!(TokenKind::of(SecretToken::generate(kind).expose()), Some(kind));
        }
        assert_eq!(TokenKind::of("ghp_x"), None);
    }
}
