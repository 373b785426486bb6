//! What stands at the provider for a repository: its webhook and its deploy key; and the provider's own log of the webhook's deliveries.
//!
//! Invariant: a secret is on one page, the answer to a form; it is in no address and no other view.

use askama::Template;
use slipway_model::{DeliveryStatus, ProviderKind, Timestamp};

use super::repositories::{May, RepositoryHead, Tab};
use super::shell::Shell;
use super::ui::{self, Tone};

/// Who puts a webhook up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutUpBy {
    /// Slipway, through the link.
    Slipway,
    /// A person, because the link may not.
    Person,
}

/// How a delivery went, as the provider saw it.
#[derive(Clone, Debug)]
pub struct SeenThere {
    /// When, where it tells.
    pub at: Option<Timestamp>,
    /// What we answered.
    pub status: Option<u16>,
    /// In its words.
    pub words: String,
}

impl SeenThere {
    /// Whether the provider took our answer as a success.
    #[must_use]
    pub fn tone(&self) -> Tone {
        match self.status {
            Some(200..=299) => Tone::Good,
            _ => Tone::Bad,
        }
    }

    /// `202 OK`, `no answer: timed out`.
    #[must_use]
    pub fn text(&self) -> String {
        match (self.status, self.words.as_str()) {
            (Some(status), "") => format!("answered {status}"),
            (Some(status), words) => format!("answered {status}: {words}"),
            (None, "") => "no answer".to_owned(),
            (None, words) => format!("no answer: {words}"),
        }
    }
}

/// The webhook at the provider.
#[derive(Clone, Debug)]
pub struct HookPanel {
    /// Colour and shape.
    pub tone: Tone,
    /// The state in a word or two.
    pub word: String,
    /// What is wrong, and what that means, as sentences.
    pub problem: Option<String>,
    /// Since when.
    pub wrong_since: Option<Timestamp>,
    /// Who puts it up.
    pub by: PutUpBy,
    /// Where its deliveries go.
    pub address: String,
    /// What it has to send.
    pub events: Vec<String>,
    /// When its newest delivery came here.
    pub last_here: Option<Timestamp>,
    /// What the provider said of its last delivery.
    pub last_there: Option<SeenThere>,
    /// When it was last looked at.
    pub checked_at: Option<Timestamp>,
    /// When it is looked at, or tried, next.
    pub next_look_at: Timestamp,
    /// When it was last repaired without a person, and what was wrong.
    pub repaired: Option<(Timestamp, String)>,
    /// Until when the secret before this one is accepted.
    pub previous_secret_until: Option<Timestamp>,
    /// Its page at the provider.
    pub settings_url: String,
}

impl HookPanel {
    /// Whether a person has to put it up.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.by == PutUpBy::Person
    }

    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.tone == Tone::Good
    }
}

/// The deploy key of the source.
#[derive(Clone, Debug)]
pub struct KeyPanel {
    /// Colour and shape.
    pub tone: Tone,
    /// The state in a word or two.
    pub word: String,
    /// What is wrong, and how the source is cloned instead.
    pub problem: Option<String>,
    /// As providers show it.
    pub fingerprint: String,
    /// In OpenSSH's form.
    pub public_key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last seen there.
    pub checked_at: Option<Timestamp>,
    /// Its page at the provider.
    pub settings_url: String,
}

/// The panels of the autobuild settings about what stands at the provider.
#[derive(Clone, Debug, Default)]
pub struct AtProvider {
    /// How people call the provider.
    pub provider: String,
    /// The webhook; `None` while there is none.
    pub hook: Option<HookPanel>,
    /// The deploy key; `None` for a source that needs none.
    pub key: Option<KeyPanel>,
    /// How it came that another link serves the source than before.
    pub takeover: Option<String>,
}

/// What makes somebody wait or act, on the deliveries page.
#[derive(Clone, Debug)]
pub struct HookNotice {
    /// Colour and shape.
    pub tone: Tone,
    /// What is wrong.
    pub text: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Who finds pushes meanwhile.
    pub meanwhile: String,
    /// When the webhook is looked at next.
    pub next_look_at: Option<Timestamp>,
    /// Whether the button would help.
    pub by: PutUpBy,
}

impl HookNotice {
    /// Whether the button would help.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        self.by == PutUpBy::Slipway && self.next_look_at.is_some() && self.tone == Tone::Attention
    }
}

/// The answer to "show the secret": everything that a person needs to put the webhook up.
#[derive(Template)]
#[template(path = "webhook_secret.html")]
pub struct HookSecretPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// Which provider's pages the steps are about.
    pub kind: ProviderKind,
    /// How people call the provider.
    pub provider: String,
    /// Where deliveries go.
    pub address: String,
    /// What they are signed with.
    pub secret: String,
    /// What has to be sent.
    pub events: Vec<String>,
    /// The page at the provider.
    pub settings_url: String,
    /// Until when the secret before this one is accepted, when it was changed just now.
    pub previous_secret_until: Option<Timestamp>,
}

impl HookSecretPage {
    /// What to do at the provider, one step after the other.
    #[must_use]
    pub fn steps(&self) -> &'static [&'static str] {
        if self.previous_secret_until.is_some() {
            return match self.kind {
                ProviderKind::GitHub => &[
                    "Choose `Edit` beside the webhook with the address below.",
                    "Paste the secret into `Secret`.",
                    "Choose `Update webhook`.",
                ],
                ProviderKind::Bitbucket => &[
                    "Choose `Edit` beside the webhook with the address below.",
                    "Choose `Change secret` and paste the secret.",
                    "Choose `Save`.",
                ],
                ProviderKind::Gitea => {
                    &["Choose the webhook with the address below.", "Paste the secret into `Secret`.", "Choose `Update Webhook`."]
                }
            };
        }
        match self.kind {
            ProviderKind::GitHub => &[
                "Choose `Add webhook`.",
                "Paste the address into `Payload URL`, and choose the content type `application/json`.",
                "Paste the secret into `Secret`.",
                "Choose `Let me select individual events` and tick only those named below.",
                "Leave `Active` ticked and choose `Add webhook`.",
            ],
            ProviderKind::Bitbucket => &[
                "Choose `Add webhook` and give it a title, like `Slipway`.",
                "Paste the address into `URL` and the secret into `Secret`.",
                "Leave `Active` ticked, and of the triggers tick only `Repository push`.",
                "Choose `Save`.",
            ],
            ProviderKind::Gitea => &[
                "Choose `Add Webhook`, then `Gitea` (or `Forgejo`).",
                "Paste the address into `Target URL`; leave `POST` and `application/json`.",
                "Paste the secret into `Secret`.",
                "Choose `Push events` as the trigger, leave `Active` ticked, and choose `Add Webhook`.",
            ],
        }
    }
}

/// A delivery as the provider logged it.
#[derive(Clone, Debug)]
pub struct LoggedRow {
    /// The provider's id of the entry.
    pub id: String,
    /// The id that the request carried.
    pub delivery_id: String,
    /// The provider's word for what happened.
    pub event: String,
    /// How it went there.
    pub there: SeenThere,
    /// Status and page of the delivery here; `None` when it never came.
    pub here: Option<(DeliveryStatus, String)>,
}

impl LoggedRow {
    /// Colour and shape of what it is here.
    #[must_use]
    pub fn here_tone(&self) -> Tone {
        self.here.as_ref().map_or(Tone::Attention, |(status, _)| super::deliveries::status_tone(*status))
    }
}

/// `/{ns}/{name}/deliveries/at-provider`.
#[derive(Template)]
#[template(path = "deliveries_there.html")]
pub struct RemoteLogPage {
    /// Frame.
    pub shell: Shell,
    /// Repository.
    pub head: RepositoryHead,
    /// How people call the provider.
    pub provider: String,
    /// Newest first.
    pub rows: Vec<LoggedRow>,
    /// Cursor of this page, for the way back after the button.
    pub cursor: Option<String>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// Why the provider shows none, or did not answer.
    pub problem: Option<String>,
    /// Where a person sees it at the provider.
    pub settings_url: Option<String>,
}
