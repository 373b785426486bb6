//! One type per id. Every id is a UUID of version 7 in its hyphenated text form, so ids sort by time of creation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, later in order than every id made before it on this machine.
            #[must_use]
            pub fn new() -> Self { Self(Uuid::now_v7()) }

            /// The 128 bits, for use as associated data or as a key.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] { self.0.as_bytes() }

            /// The last 12 hexadecimal digits: short enough for names of containers and folders, random enough to be unique.
            #[must_use]
            pub fn short(&self) -> String { self.0.simple().to_string()[20..].to_owned() }
        }

        impl Default for $name { fn default() -> Self { Self::new() } }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.hyphenated().fmt(f) }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> { Uuid::try_parse(text).map(Self) }
        }
    )*};
}

ids! {
    /// A user, service account or organization.
    AccountId;
    /// One signed-in browser.
    SessionId;
    /// A personal access token.
    TokenId;
    /// A sign-in that waits for its second factor.
    PendingSignInId;
    /// Who somebody is at an OpenID Connect provider.
    IdentityId;
    /// An invitation to the installation or to a team.
    InvitationId;
    /// A team of an organization.
    TeamId;
    /// A mail that waits to be sent.
    MailId;
    /// An entry of the audit log.
    AuditId;
    /// An account's connection to a provider.
    LinkId;
    /// What became of everything that a link had made.
    ReceiptId;
    /// An image repository; a repository made again under the same name has another id.
    RepositoryId;
    /// The autobuild settings of one repository.
    AutobuildId;
    /// A build rule.
    RuleId;
    /// A secret address that starts builds; part of that address.
    TriggerId;
    /// A webhook that stands at a provider; part of its public address.
    HookId;
    /// A key pair with which a source repository is read.
    DeployKeyId;
    /// One received webhook request.
    DeliveryId;
    /// One change of one ref: an entry of the ref-event log.
    RefEventId;
    /// One execution of one rule for one commit.
    BuildId;
    /// A registered worker.
    BuilderId;
    /// A one-time token with which a machine becomes a builder node.
    JoinTokenId;
    /// An unfinished upload of a blob.
    UploadId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_creation_and_survive_text() {
        let first = BuildId::new();
        let second = BuildId::new();
        assert!(first < second);
        assert!(first.to_string() < second.to_string());
        assert_eq!(first.to_string().parse::<BuildId>().unwrap(), first);
        assert!("../etc/passwd".parse::<BuildId>().is_err());
        assert_eq!(first.short().len(), 12);
    }
}
