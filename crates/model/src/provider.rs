//! Providers of source code and the state of a link to one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::build::words;

words! {
    /// The kind of a provider: which API it speaks.
    ProviderKind {
        /// github.com and GitHub Enterprise Server.
        GitHub = "github",
        /// Bitbucket Cloud.
        Bitbucket = "bitbucket",
        /// Gitea and Forgejo.
        Gitea = "gitea",
    }
}

words! {
    /// How much a link asks for.
    AccessLevel {
        /// Private and public sources; webhooks and deploy keys are made for the person.
        Full = "full",
        /// Public sources only; webhooks are made for the person.
        Public = "public",
        /// Reading only: the person adds the webhook.
        ReadOnly = "read_only",
    }
}

words! {
    /// Whether a namespace at the provider lets us in.
    NamespaceAccess {
        /// It does.
        Granted = "granted",
        /// Its owners have to approve us first, or the session has to be renewed there.
        Restricted = "restricted",
        /// Its owners said no.
        Denied = "denied",
        /// The provider did not tell.
        Unknown = "unknown",
    }
}

words! {
    /// Whom a link belongs to at the provider.
    LinkedAs {
        /// A person, who may leave.
        Person = "person",
        /// A user that was made for machines.
        ServiceUser = "service_user",
    }
}

words! {
    /// The state of an account's link to a provider.
    LinkState {
        /// There is no link.
        NotLinked = "not_linked",
        /// It works.
        Ok = "ok",
        /// Disabled by a person, not revoked: nothing is sent to or taken from the provider.
        Disabled = "disabled",
        /// The tokens end soon and cannot be renewed.
        Expiring = "expiring",
        /// A scope that is needed was not granted.
        ScopeMissing = "scope_missing",
        /// The provider's organization restricts access.
        Restricted = "restricted",
        /// The person or installation is suspended at the provider.
        Suspended = "suspended",
        /// The grant was withdrawn at the provider.
        Revoked = "revoked",
        /// The provider answers with errors.
        Error = "error",
    }
}

/// The id of a configured provider instance, as it stands in addresses: `github`, `ghe-acme`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderId(String);

impl ProviderId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text != "receipts"
            && (1..=40).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !text.starts_with('-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{}` is no id of a provider, expected 1 to 40 of `a-z 0-9 -`", text.chars().take(40).collect::<String>()))
        }
    }
}

impl TryFrom<String> for ProviderId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ProviderId> for String {
    fn from(id: ProviderId) -> Self {
        id.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
