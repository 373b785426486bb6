//! GitHub's own log of what it sent to a hook, and the way to have it sent again.
//!
//! Invariant: the cursor that goes out is the one that GitHub gave, as a parameter; never an address.

use http::{Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::wire::Call;
use super::{FullName, GitHub, is_id};
use crate::error::ForgeError;
use crate::text;
use crate::types::{DeliveryOutcome, Page, RemoteDelivery};

const MAX_CURSOR: usize = 300;

#[derive(Deserialize)]
struct Delivery {
    id: u64,
    guid: String,
    delivered_at: Option<String>,
    status: Option<String>,
    status_code: Option<i64>,
    event: String,
    action: Option<String>,
    #[serde(default)]
    redelivery: bool,
}

impl From<Delivery> for RemoteDelivery {
    fn from(delivery: Delivery) -> Self {
        let event = match &delivery.action {
            Some(action) => format!("{}.{action}", delivery.event),
            None => delivery.event,
        };
        let words = delivery.status.unwrap_or_default();
        let words = if delivery.redelivery { format!("{words} (sent again)") } else { words };
        Self {
            id: delivery.id.to_string(),
            delivery_id: text::line(&delivery.guid, 128),
            event: text::line(&event, 128),
            outcome: DeliveryOutcome {
                at: delivery.delivered_at.as_deref().and_then(text::timestamp),
                status: delivery.status_code.and_then(status),
                words: text::line(&words, 200),
            },
        }
    }
}

/// The status that we answered; GitHub writes 0, or a number that is no status, when there was no answer.
pub(super) fn status(code: i64) -> Option<u16> {
    u16::try_from(code).ok().filter(|code| (100..=999).contains(code))
}

/// Whether the text can be a cursor of GitHub's.
fn is_cursor(text: &str) -> bool {
    (1..=MAX_CURSOR).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl GitHub {
    fn deliveries_address(&self, full_name: FullName<'_>, hook: &str) -> Result<Url, ForgeError> {
        if !is_id(hook) {
            return Err(ForgeError::NotFound);
        }
        Ok(self.api_address(["repos", full_name.owner, full_name.name, "hooks", hook, "deliveries"]))
    }

    pub(super) async fn list_deliveries(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        hook: &str,
        cursor: Option<&str>,
    ) -> Result<Page<RemoteDelivery>, ForgeError> {
        let mut url = self.deliveries_address(full_name, hook)?;
        url.query_pairs_mut().append_pair("per_page", "100");
        if let Some(cursor) = cursor {
            if !is_cursor(cursor) {
                return Err(ForgeError::Unexpected { status: 400, detail: "the cursor is not one of GitHub's".to_owned() });
            }
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let reply = self.call(token, Call::manage(Method::GET, url)).await?;
        let items = reply.json::<Vec<Delivery>>()?.into_iter().map(RemoteDelivery::from).collect();
        let next = reply.next_page()?.and_then(|url| {
            url.query_pairs().find(|(name, _)| name == "cursor").map(|(_, cursor)| cursor.into_owned()).filter(|cursor| is_cursor(cursor))
        });
        Ok(Page { items, next })
    }

    pub(super) async fn send_again(
        &self,
        token: &SecretString,
        full_name: FullName<'_>,
        hook: &str,
        delivery: &str,
    ) -> Result<(), ForgeError> {
        if !is_id(delivery) {
            return Err(ForgeError::NotFound);
        }
        let mut url = self.deliveries_address(full_name, hook)?;
        url.path_segments_mut().expect("an address of the API has a path").extend([delivery, "attempts"]);
        let reply = self.call(token, Call::manage(Method::POST, url)).await?;
        if reply.status == StatusCode::ACCEPTED {
            return Ok(());
        }
        Err(reply.unexpected("it does not say that it will send it again, expected status 202".to_owned()))
    }
}
