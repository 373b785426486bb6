//! Mail to the owners about a link: once for each time that it breaks, and once when it works again.
//!
//! Invariant: the mail and the note that it was written are one transaction, so a crash or a second replica sends no second one.

use slipway_model::{AccountKind, LinkState};
use slipway_store::links::{self, Link};
use slipway_store::{WriteTx, accounts, sources, teams};

use super::words::{meaning, moment, what_to_do};
use crate::mail::Letter;
use crate::{App, Error};

/// What the owners are to hear now.
enum News {
    Broken,
    Mended,
}

fn news(link: &Link) -> Option<News> {
    match link.state {
        LinkState::Ok => link.told_since.map(|_| News::Mended),
        // People did it themselves.
        LinkState::Disabled | LinkState::NotLinked => None,
        _ => (link.told_since != Some(link.since)).then_some(News::Broken),
    }
}

impl App {
    /// Writes to the owners when there is something new to tell; gives whether it did. Call [`App::mail_waits`] after the commit.
    pub(super) async fn tell_owners(&self, tx: &mut WriteTx, link: &Link) -> Result<bool, Error> {
        let Some(news) = news(link) else { return Ok(false) };
        let told = match news {
            News::Broken => Some(link.since),
            News::Mended => None,
        };
        // Without mail nothing was told; when mail is configured later, a link that is broken then is news.
        if !self.sends_mail() || !links::set_told(tx, link.id, told).await? {
            return Ok(false);
        }
        let Some(account) = accounts::get(tx, link.account).await? else { return Ok(false) };
        let affected: Vec<String> = sources::list(tx, link.account, &link.provider, None)
            .await?
            .into_iter()
            .filter(|source| source.link == Some(link.id))
            .map(|source| format!("{}/{} (from {})", account.name, source.repository_name, source.source_name))
            .collect();
        let page = match account.kind {
            AccountKind::Organization => self.address(&format!("/o/{}/settings/source-providers", account.name)),
            _ => self.address("/settings/source-providers"),
        };
        let (subject, text) = match news {
            News::Broken => broken(link, account.name.as_str(), &affected, page.as_str()),
            News::Mended => mended(link, account.name.as_str(), page.as_str()),
        };
        for to in teams::owner_emails(tx, link.account).await? {
            let letter = Letter { to, subject: subject.clone(), text: text.clone(), until: None, invitation: None };
            self.post(tx, &letter).await?;
        }
        Ok(true)
    }
}

fn broken(link: &Link, namespace: &str, affected: &[String], page: &str) -> (String, String) {
    let subject = format!("Slipway: the link of {namespace} to {} is {}", link.provider, meaning(link.state));
    let evidence = link.evidence.as_deref().unwrap_or("the provider gave no reason");
    let status = link.evidence_status.map(|status| format!(" (status {status})")).unwrap_or_default();
    let repositories = if affected.is_empty() {
        "No repository is built through it.\n".to_owned()
    } else {
        let until =
            if link.state == LinkState::Expiring { "not built any more once it has ended" } else { "not built until it works again" };
        format!("Built through it, and {until}:\n\n{}\n", affected.iter().map(|one| format!("  {one}\n")).collect::<String>())
    };
    let text = format!(
        "Hello,\n\nthe link of `{}` to `{}` for {namespace} is {} since {}.\n\nWhat the provider said: {evidence}{status}\n\n{repositories}\n\
         What to do: {}.\n\n{page}\n\nThis is told once. You get one more mail when the link works again.\n",
        link.login,
        link.provider,
        meaning(link.state),
        moment(link.since),
        what_to_do(link.state),
    );
    (subject, text)
}

fn mended(link: &Link, namespace: &str, page: &str) -> (String, String) {
    let subject = format!("Slipway: the link of {namespace} to {} works again", link.provider);
    let text = format!(
        "Hello,\n\nthe link of `{}` to `{}` for {namespace} works again since {}. Pushes that were missed are looked for now.\n\n{page}\n",
        link.login,
        link.provider,
        moment(link.since),
    );
    (subject, text)
}

#[cfg(test)]
mod tests {
    use slipway_model::Timestamp;

    use super::*;

    #[test]
    fn each_break_is_news_once_and_so_is_its_end() {
        let link = super::super::sample;
        assert!(news(&link(LinkState::Ok)).is_none());
        assert!(news(&link(LinkState::Disabled)).is_none());
        for state in [LinkState::Revoked, LinkState::Suspended, LinkState::Restricted, LinkState::ScopeMissing, LinkState::Error] {
            let fresh = link(state);
            assert!(matches!(news(&fresh), Some(News::Broken)), "{state}");
            let told = Link { told_since: Some(fresh.since), ..fresh };
            assert!(news(&told).is_none(), "{state}");
            let later = Link { since: Timestamp::from_millis(told.since.as_millis() + 1), ..told.clone() };
            assert!(matches!(news(&later), Some(News::Broken)), "{state}");
            assert!(matches!(news(&Link { state: LinkState::Ok, ..told }), Some(News::Mended)), "{state}");
        }
    }

    #[test]
    fn a_mail_names_the_link_the_reason_the_repositories_and_the_page() {
        let link =
            Link { evidence: Some("Bad credentials".into()), evidence_status: Some(401), ..super::super::sample(LinkState::Revoked) };
        let (subject, text) = broken(&link, "acme", &["acme/api (from octo/api)".to_owned()], "http://slipway.test/o/acme");
        assert!(subject.contains("acme") && subject.contains("revoked"), "{subject}");
        for part in
            ["`octo`", "2023-11-14 22:13 UTC", "Bad credentials (status 401)", "acme/api (from octo/api)", "http://slipway.test/o/acme"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("not built until it works again"), "{text}");
        let (_, text) =
            broken(&super::super::sample(LinkState::Expiring), "acme", &["acme/api (from octo/api)".to_owned()], "http://slipway.test");
        assert!(text.contains("about to expire") && text.contains("not built any more once it has ended"), "{text}");
    }
}
