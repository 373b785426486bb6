//! Mail to the owners about a link: once for each time that it breaks, and once when it works again.
//!
//! Invariant: the mail and the note that it was written are one transaction, so a crash or a second replica sends no second one.

use slipway_model::{AccountKind, LinkState};
use slipway_store::links::{self, Link};
use slipway_store::sources::Source;
use slipway_store::{WriteTx, accounts, source_namespaces, sources, teams};

use super::view::affected;
use super::words::{meaning, moment, what_to_do};
use super::works;
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
        let all = sources::list(tx, link.account, &link.provider, None).await?;
        let served: Vec<&Source> = all.iter().filter(|source| source.link == Some(link.id)).collect();
        let namespaces = source_namespaces::list(tx, link.id).await?;
        let named = |source: &Source| format!("{}/{} (from {})", account.name, source.repository_name, source.source_name);
        let built: Vec<String> = affected(link, served, &namespaces).into_iter().map(named).collect();
        let mut others = links::list_by_provider(tx, link.account, &link.provider).await?;
        others.retain(|other| other.id != link.id && works(other.state));
        let others: Vec<String> = others.into_iter().map(|other| format!("`{}`", other.login)).collect();
        let page = match account.kind {
            AccountKind::Organization => self.address(&format!("/o/{}/settings/source-providers", account.name)),
            _ => self.address("/settings/source-providers"),
        };
        let (subject, text) = match news {
            News::Broken => broken(link, account.name.as_str(), &effects(link.state, &built, &others), page.as_str()),
            News::Mended => mended(link, account.name.as_str(), page.as_str()),
        };
        for to in teams::owner_emails(tx, link.account).await? {
            let letter = Letter { to, subject: subject.clone(), text: text.clone(), until: None, invitation: None };
            self.post(tx, &letter).await?;
        }
        Ok(true)
    }
}

/// What it means for the repositories that are built through the link, while `others` are links that work.
fn effects(state: LinkState, built: &[String], others: &[String]) -> String {
    if built.is_empty() {
        return "No repository is built through it.\n".to_owned();
    }
    let until = match state {
        LinkState::Expiring => "not built any more once it has ended",
        LinkState::ScopeMissing | LinkState::Error => "builds may fail until it works again",
        _ => "not built until it works again",
    };
    let list: String = built.iter().map(|one| format!("  {one}\n")).collect();
    match others {
        [] => format!("Built through it, and {until}:\n\n{list}"),
        others => {
            let (others, works) = (others.join(", "), if others.len() == 1 { "works" } else { "work" });
            format!("Built through it, and {until} where no other link takes over ({others} {works}):\n\n{list}")
        }
    }
}

fn broken(link: &Link, namespace: &str, effects: &str, page: &str) -> (String, String) {
    let subject = format!("Slipway: the link of {namespace} to {} is {}", link.provider, meaning(link.state));
    let evidence = link.evidence.as_deref().unwrap_or("the provider gave no reason");
    let status = link.evidence_status.map(|status| format!(" (status {status})")).unwrap_or_default();
    let text = format!(
        "Hello,\n\nthe link of `{}` to `{}` for {namespace} is {} since {}.\n\nWhat the provider said: {evidence}{status}\n\n{effects}\n\
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
        "Hello,\n\nthe link of `{}` to `{}` for {namespace} works again since {}. Pushes that were missed are looked for now, and the \
         last builds that failed for want of it are repeated.\n\n{page}\n",
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
        let built = ["acme/api (from octo/api)".to_owned()];
        let (subject, text) = broken(&link, "acme", &effects(link.state, &built, &[]), "http://slipway.test/o/acme");
        assert!(subject.contains("acme") && subject.contains("revoked"), "{subject}");
        for part in
            ["`octo`", "2023-11-14 22:13 UTC", "Bad credentials (status 401)", "acme/api (from octo/api)", "http://slipway.test/o/acme"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("not built until it works again:"), "{text}");
    }

    #[test]
    fn a_mail_says_no_more_than_what_the_state_means() {
        let built = ["acme/api (from octo/api)".to_owned()];
        for (state, words) in [
            (LinkState::Expiring, "not built any more once it has ended:"),
            (LinkState::ScopeMissing, "builds may fail until it works again:"),
            (LinkState::Error, "builds may fail until it works again:"),
            (LinkState::Restricted, "not built until it works again:"),
            (LinkState::Suspended, "not built until it works again:"),
        ] {
            let text = effects(state, &built, &[]);
            assert!(text.contains(words) && text.contains("acme/api (from octo/api)"), "{state}: {text}");
        }
        let text = effects(LinkState::Revoked, &built, &["`ci-bot`".to_owned()]);
        assert!(text.contains("where no other link takes over (`ci-bot` works):"), "{text}");
        assert!(effects(LinkState::Revoked, &[], &[]).contains("No repository is built"));
    }
}
