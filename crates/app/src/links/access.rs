//! The one way to act at a provider: which link is asked, which one takes over, and what is said when none can.
//!
//! Invariants: a link that is disabled or being unlinked is never asked; whatever is not a clear success is an error; a link that was
//! refused is looked at by the health loop at once; an installation's token is used for a link only where its person was seen to have access.
//! Deliberately elsewhere: the tokens themselves (`refresh`), a link's state (`health`).

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use slipway_forge::{Forge, ForgeError, SourceKey};
use slipway_model::{AccountId, AutobuildId, LinkId, LinkState, ProviderId, Timestamp};
use slipway_store::links::{self, Link};
use slipway_store::repositories::{self, Autobuild};
use slipway_store::{StoreError, sources};

use super::refresh::TokenTrouble;
use super::words::{moment, of_link, what_to_do};
use crate::audit::{self, Change, Place};
use crate::{Actor, App, Error, Refusal, RefusalKind};

/// A source at a provider, and whose links may be used for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceAt<'a> {
    /// Whose.
    pub(crate) account: AccountId,
    /// Where.
    pub(crate) provider: &'a ProviderId,
    /// Which.
    pub(crate) key: SourceKey<'a>,
    /// For which settings it is done: their link is asked first, and a takeover is noted there.
    pub(crate) autobuild: Option<AutobuildId>,
}

impl<'a> SourceAt<'a> {
    /// The source of some settings.
    pub(crate) fn of(account: AccountId, autobuild: &'a Autobuild) -> Self {
        Self {
            account,
            provider: &autobuild.provider,
            key: SourceKey { id: &autobuild.source_id, full_name: &autobuild.source_name },
            autobuild: Some(autobuild.id),
        }
    }
}

/// Something that was done at a provider, and through which link.
#[derive(Clone, Debug)]
pub(crate) struct Acted<T> {
    /// What came of it.
    pub(crate) value: T,
    /// The link that served.
    pub(crate) link: Link,
}

/// Which kind of trouble it is: each is another decision for whoever wanted something done.
#[derive(Debug)]
pub(crate) enum TroubleKind {
    /// There is nobody to ask: no link, or the provider is not configured.
    NotLinked,
    /// There are links, but people disabled them: nothing was sent.
    Disabled,
    /// A link that works is not shown it, and another one that may be was not asked, or not let in: nobody knows whether it is there.
    Unsure,
    /// Every link that may be asked was refused, or is known to be broken: it needs a person.
    Broken,
    /// As `Broken`, and every grant is dead: what was made with them may be gone at the provider too.
    Revoked,
    /// It may work later without anybody's help.
    Passing,
    /// The provider said something about the call that another link would not change.
    Provider,
    /// The database, or a secret that does not open.
    Ours(Error),
}

/// Why nothing was done at a provider.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct SourceTrouble {
    /// Which kind.
    pub(crate) kind: TroubleKind,
    /// What happened, with the link and its state.
    pub(crate) words: String,
    /// What a person does next.
    pub(crate) hint: String,
    provider: ProviderId,
    error: Option<ForgeError>,
}

impl SourceTrouble {
    /// What the provider said to the link that says most; `None` when that one was not asked.
    pub(crate) fn forge_error(&self) -> Option<&ForgeError> {
        self.error.as_ref()
    }

    /// Whether it may work later without anybody's help.
    pub(crate) fn is_passing(&self) -> bool {
        match &self.kind {
            TroubleKind::Passing => true,
            TroubleKind::Ours(error) => matches!(error, Error::Store(StoreError::Unavailable(_))),
            _ => false,
        }
    }

    /// Words and next step in one text, for logs of builds and mails.
    pub(crate) fn whole(&self) -> String {
        format!("{}; {}", self.words, self.hint)
    }

    fn new(kind: TroubleKind, provider: &ProviderId, words: String, hint: impl Into<String>) -> Self {
        Self { kind, words, hint: hint.into(), provider: provider.clone(), error: None }
    }

    fn of_call(provider: &ProviderId, error: ForgeError) -> Self {
        let kind = if error.is_temporary() { TroubleKind::Passing } else { TroubleKind::Provider };
        let hint = match &error {
            ForgeError::Unsupported { url: Some(url), .. } => format!("do it by hand at {url}"),
            error if error.is_temporary() => "it is tried again".to_owned(),
            _ => "look at the link under Source providers".to_owned(),
        };
        Self { error: Some(error.clone()), ..Self::new(kind, provider, format!("provider `{provider}`: {error}"), hint) }
    }

    pub(crate) fn ours(provider: &ProviderId, error: impl Into<Error>) -> Self {
        let error = error.into();
        let words = error.to_string();
        Self::new(TroubleKind::Ours(error), provider, words, "an administrator finds more in the log of the server")
    }
}

impl From<SourceTrouble> for Error {
    fn from(trouble: SourceTrouble) -> Self {
        let SourceTrouble { kind, words, hint, provider, error } = trouble;
        let code = match (kind, error) {
            (TroubleKind::Ours(error), _) => return error,
            (TroubleKind::Passing | TroubleKind::Provider, Some(error)) => return Self::forge(&provider)(error),
            (TroubleKind::NotLinked, _) => "not_linked",
            (TroubleKind::Disabled, _) => "link_disabled",
            _ => "link_unavailable",
        };
        Refusal::new(RefusalKind::Conflict, code, words).hint(hint).into()
    }
}

/// Whether another link may be let in where this one was not.
fn depends_on_the_link(error: &ForgeError) -> bool {
    matches!(
        error,
        ForgeError::Unauthorized { .. }
            | ForgeError::Forbidden { .. }
            | ForgeError::NotFound
            | ForgeError::Restricted { .. }
            | ForgeError::Suspended { .. }
            | ForgeError::MissingScope { .. }
    )
}

/// In which order links are asked: the one that served last, then those that work, then those that may work for this source all the same.
/// `None`: it is not asked at all. A grant that is known to be dead is not presented again: that gets the others of the person locked out.
fn rank(link: &Link, served: Option<LinkId>) -> Option<u8> {
    match link.state {
        LinkState::Disabled | LinkState::NotLinked | LinkState::Revoked | LinkState::Suspended => None,
        _ if Some(link.id) == served => Some(0),
        LinkState::Ok | LinkState::Expiring => Some(1),
        LinkState::ScopeMissing | LinkState::Restricted | LinkState::Error => Some(2),
    }
}

/// What was asked of a link, and why it could not.
struct Refused {
    link: Link,
    why: String,
    error: Option<ForgeError>,
}

impl App {
    /// Does something for a source: through the link that served it last, or through another one of the account that is let in. The token
    /// that the call gets is the one for background work on this repository.
    ///
    /// # Errors
    /// [`SourceTrouble`] when no link could, in words that name the links, their states and the next step.
    pub(crate) async fn with_source<T, F>(
        &self,
        source: SourceAt<'_>,
        call: impl Fn(Arc<dyn Forge>, SecretString) -> F + Send + Sync,
    ) -> Result<Acted<T>, SourceTrouble>
    where
        T: Send,
        F: Future<Output = Result<T, ForgeError>> + Send,
    {
        let served = self.served(&source).await?;
        let (call, server) = (&call, served.link);
        let in_full = |link: LinkId, forge: Arc<dyn Forge>, token: SecretString| async move {
            // A token of an installation is given for anybody's: a link that did not serve before shows first what its person sees.
            if forge.provider().app.is_some() && server != Some(link) {
                forge.source_repository_by_id(&token, source.key).await?.ok_or(ForgeError::NotFound)?;
            }
            let token = forge.repository_token(&token, source.key).await?;
            call(forge, token).await
        };
        self.serve(source, served, in_full).await
    }

    /// As [`App::with_source`], but with the person's own token.
    pub(crate) async fn with_source_in_person<T, F>(
        &self,
        source: SourceAt<'_>,
        call: impl Fn(Arc<dyn Forge>, SecretString) -> F + Send + Sync,
    ) -> Result<Acted<T>, SourceTrouble>
    where
        T: Send,
        F: Future<Output = Result<T, ForgeError>> + Send,
    {
        let served = self.served(&source).await?;
        self.serve(source, served, |_, forge, token| call(forge, token)).await
    }

    /// Asks the links for a source, and notes when another one serves it from now on.
    async fn serve<T, F>(
        &self,
        source: SourceAt<'_>,
        served: sources::Served,
        call: impl Fn(LinkId, Arc<dyn Forge>, SecretString) -> F + Send + Sync,
    ) -> Result<Acted<T>, SourceTrouble>
    where
        T: Send,
        F: Future<Output = Result<T, ForgeError>> + Send,
    {
        let (acted, refused) = self.through_links(source.account, source.provider, served.link, call).await?;
        if let Some(autobuild) = source.autobuild
            && served.link != Some(acted.link.id)
        {
            let change = self.note_takeover(autobuild, &served, &acted.link, refused.as_ref()).await;
            change.map_err(|error| SourceTrouble::ours(source.provider, error))?;
        }
        Ok(acted)
    }

    /// As [`App::with_source`], but in the person's name and for no source in particular: `prefer` is asked first.
    pub(crate) async fn with_link<T, F>(
        &self,
        account: AccountId,
        provider: &ProviderId,
        prefer: Option<LinkId>,
        call: impl Fn(Arc<dyn Forge>, SecretString) -> F + Send + Sync,
    ) -> Result<Acted<T>, SourceTrouble>
    where
        T: Send,
        F: Future<Output = Result<T, ForgeError>> + Send,
    {
        Ok(self.through_links(account, provider, prefer, |_, forge, token| call(forge, token)).await?.0)
    }

    async fn served(&self, source: &SourceAt<'_>) -> Result<sources::Served, SourceTrouble> {
        let ours = |error: StoreError| SourceTrouble::ours(source.provider, error);
        let Some(autobuild) = source.autobuild else { return Ok(sources::Served { link: None, note: None }) };
        let mut tx = self.read().await.map_err(ours)?;
        Ok(sources::served(&mut tx, autobuild).await.map_err(ours)?.unwrap_or(sources::Served { link: None, note: None }))
    }

    /// Asks one link after the other; gives what was done, and which link could not before.
    async fn through_links<T, F>(
        &self,
        account: AccountId,
        provider: &ProviderId,
        prefer: Option<LinkId>,
        call: impl Fn(LinkId, Arc<dyn Forge>, SecretString) -> F + Send + Sync,
    ) -> Result<(Acted<T>, Option<Refused>), SourceTrouble>
    where
        T: Send,
        F: Future<Output = Result<T, ForgeError>> + Send,
    {
        let ours = |error: StoreError| SourceTrouble::ours(provider, error);
        let Some(forge) = self.forges.get(provider) else {
            let words = format!("the provider `{provider}` is not configured any more");
            return Err(SourceTrouble::new(TroubleKind::NotLinked, provider, words, "ask an administrator of this installation"));
        };
        if let Some(pause) = self.away.pause(provider, self.clock.now()) {
            let detail = format!("it did not answer lately; it is asked again in {} seconds", pause.as_secs() + 1);
            return Err(SourceTrouble::of_call(provider, ForgeError::Unreachable { detail }));
        }
        let mut tx = self.read().await.map_err(ours)?;
        let all = links::list_by_provider(&mut tx, account, provider).await.map_err(ours)?;
        drop(tx);
        let (mut asked, mut refused) = (Vec::new(), Vec::new());
        for link in all {
            match rank(&link, prefer) {
                Some(rank) => asked.push((rank, link)),
                None => refused.push(Refused { why: of_link(&link), link, error: None }),
            }
        }
        asked.sort_by_key(|(rank, link)| (*rank, link.id));
        for (_, link) in asked {
            let tried = self.try_link(forge, &link, &|forge, token| call(link.id, forge, token)).await;
            match &tried {
                Err(Tried::Forge(ForgeError::Unreachable { .. })) => self.away.failed(provider, self.clock.now()),
                Err(Tried::Ours(_)) => {}
                _ => self.away.answered(provider),
            }
            match tried {
                Ok(value) => {
                    let before = refused.into_iter().find(|refused: &Refused| Some(refused.link.id) == prefer);
                    return Ok((Acted { value, link }, before));
                }
                Err(Tried::Ours(error)) => return Err(SourceTrouble::ours(provider, error)),
                Err(Tried::Forge(error)) if depends_on_the_link(&error) => {
                    self.doubt(&link).await.map_err(ours)?;
                    let why = format!("`{}` at `{provider}`: {error}", link.login);
                    refused.push(Refused { link, why, error: Some(error) });
                }
                Err(Tried::Forge(error)) => return Err(SourceTrouble::of_call(provider, error)),
            }
        }
        Err(none_could(provider, &refused))
    }

    /// Calls with the token of one link. A token that was not accepted is renewed once: somebody else may have rotated it, or it ended early.
    pub(super) async fn try_link<T, F>(
        &self,
        forge: &Arc<dyn Forge>,
        link: &Link,
        call: &(impl Fn(Arc<dyn Forge>, SecretString) -> F + Send + Sync),
    ) -> Result<T, Tried>
    where
        T: Send,
        F: Future<Output = Result<T, ForgeError>> + Send,
    {
        let token = self.person_token(link).await?;
        match call(Arc::clone(forge), token.secret).await {
            Err(error @ ForgeError::Unauthorized { .. }) => match self.renewed_token(link.id, token.version).await {
                Ok(Some(token)) => Ok(call(Arc::clone(forge), token.secret).await?),
                Ok(None) => Err(error.into()),
                Err(trouble) => Err(trouble.into()),
            },
            other => Ok(other?),
        }
    }

    /// A link was refused: the health loop looks at it at once.
    async fn doubt(&self, link: &Link) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        links::doubt_by(&mut tx, link.id, self.clock.now(), super::health::DOUBTS_APART).await?;
        tx.commit().await?;
        self.wake.links.notify_one();
        Ok(())
    }

    async fn note_takeover(
        &self,
        autobuild: AutobuildId,
        served: &sources::Served,
        link: &Link,
        refused: Option<&Refused>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let note = served.link.map(|_| takeover_words(link, refused, now));
        if !sources::set_served(&mut tx, autobuild, served.link, link.id, note.as_deref()).await? {
            return Ok(());
        }
        let settings = repositories::get_autobuild_by_id(&mut tx, autobuild).await?;
        if let Some(settings) = &settings {
            self.watch_namespace(&mut tx, link.id, &settings.source_name).await?;
        }
        if let (Some(note), Some(settings)) = (&note, &settings)
            && let Some(repository) = repositories::get(&mut tx, settings.repository).await?
        {
            let change = Change::new("link.takeover", repository.name.as_str())
                .old(json!({"login": refused.map(|refused| refused.link.login.as_str())}))
                .now(json!({"login": link.login, "because": note}));
            audit::write(&mut tx, now, &Actor::system(), Place::Repository(&repository), change).await?;
            tracing::info!(%autobuild, link = %link.id, provider = %link.provider, "{note}");
        }
        metrics::counter!("slipway_link_takeovers_total", "provider" => link.provider.to_string()).increment(1);
        Ok(tx.commit().await?)
    }
}

fn takeover_words(link: &Link, refused: Option<&Refused>, now: Timestamp) -> String {
    match refused {
        Some(refused) => {
            format!("`{}` took over from `{}` on {}, because {}", link.login, refused.link.login, moment(now), refused.why)
        }
        None => format!("`{}` took over on {}, because the link before is gone", link.login, moment(now)),
    }
}

fn none_could(provider: &ProviderId, refused: &[Refused]) -> SourceTrouble {
    // "Not found" is the answer only when everybody says so: one that is not let in, or was not asked, may well see it.
    let unseen = |refused: &&Refused| matches!(refused.error, Some(ForgeError::NotFound));
    let says_more = |refused: &&Refused| refused.error.is_some() && !unseen(refused);
    let not_asked = |refused: &&Refused| refused.error.is_none();
    let first = refused.iter().find(says_more).or_else(|| refused.iter().find(not_asked)).or(refused.first());
    let Some(first) = first else {
        let words = format!("the provider `{provider}` is not linked");
        return SourceTrouble::new(TroubleKind::NotLinked, provider, words, "link it under Source providers");
    };
    let words = refused.iter().map(|refused| refused.why.as_str()).collect::<Vec<_>>().join("; ");
    let all_disabled = refused.iter().all(|refused| refused.link.state == LinkState::Disabled);
    let dead = |one: &Refused| one.link.state == LinkState::Revoked || matches!(one.error, Some(ForgeError::Unauthorized { .. }));
    let kind = match refused {
        _ if all_disabled => TroubleKind::Disabled,
        refused if refused.iter().all(dead) => TroubleKind::Revoked,
        _ if !unseen(&first) && refused.iter().any(|one| unseen(&one)) => TroubleKind::Unsure,
        _ => TroubleKind::Broken,
    };
    let hint = match &first.error {
        None => what_to_do(first.link.state).to_owned(),
        Some(ForgeError::Restricted { grant_url: Some(url), .. }) => format!("grant access at {url}"),
        Some(ForgeError::Unauthorized { .. }) => what_to_do(LinkState::Revoked).to_owned(),
        Some(ForgeError::Restricted { .. }) => what_to_do(LinkState::Restricted).to_owned(),
        Some(ForgeError::Suspended { .. }) => what_to_do(LinkState::Suspended).to_owned(),
        Some(ForgeError::MissingScope { .. }) => what_to_do(LinkState::ScopeMissing).to_owned(),
        Some(_) => "give the linked account access to it at the provider, or link one that has access under Source providers".to_owned(),
    };
    SourceTrouble { error: first.error.clone(), ..SourceTrouble::new(kind, provider, words, hint) }
}

/// How a try with one link ended.
pub(super) enum Tried {
    Forge(ForgeError),
    Ours(Error),
}

impl From<ForgeError> for Tried {
    fn from(error: ForgeError) -> Self {
        Self::Forge(error)
    }
}

impl From<TokenTrouble> for Tried {
    fn from(trouble: TokenTrouble) -> Self {
        match trouble {
            TokenTrouble::Forge(error) => Self::Forge(error),
            TokenTrouble::Ours(error) => Self::Ours(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::meaning;
    use super::*;

    fn link(state: LinkState) -> Link {
        super::super::sample(state)
    }

    #[test]
    fn the_link_that_served_is_asked_first_and_a_dead_or_disabled_one_never() {
        let ok = link(LinkState::Ok);
        assert_eq!(rank(&ok, Some(ok.id)), Some(0));
        assert_eq!(rank(&ok, None), Some(1));
        assert_eq!(rank(&link(LinkState::Expiring), None), Some(1));
        assert_eq!(rank(&link(LinkState::Restricted), None), Some(2));
        for state in [LinkState::Disabled, LinkState::Revoked, LinkState::Suspended] {
            let link = link(state);
            assert_eq!(rank(&link, Some(link.id)), None, "{state}");
        }
    }

    #[test]
    fn trouble_names_the_link_its_state_and_the_next_step() {
        let provider: ProviderId = "github".parse().unwrap();
        let refused = |state, error: Option<ForgeError>| {
            let link = link(state);
            Refused { why: error.as_ref().map_or_else(|| of_link(&link), ToString::to_string), link, error }
        };
        assert!(none_could(&provider, &[]).whole().contains("not linked"));
        let disabled = none_could(&provider, &[refused(LinkState::Disabled, None)]);
        assert!(matches!(disabled.kind, TroubleKind::Disabled), "{disabled:?}");
        assert!(disabled.whole().contains("`octo`") && disabled.whole().contains("enable"), "{}", disabled.whole());
        let revoked = none_could(&provider, &[refused(LinkState::Revoked, None), refused(LinkState::Disabled, None)]);
        assert!(matches!(revoked.kind, TroubleKind::Broken), "{revoked:?}");
        assert!(revoked.whole().contains("revoked since 2023-11-14 22:13 UTC"), "{}", revoked.whole());
        assert!(revoked.whole().contains("link it again"), "{}", revoked.whole());
        let unseen = none_could(&provider, &[refused(LinkState::Ok, Some(ForgeError::NotFound))]);
        assert!(matches!(unseen.forge_error(), Some(ForgeError::NotFound)));
        assert!(!unseen.is_passing());
        let shut = ForgeError::Restricted { organization: None, grant_url: None };
        let some = none_could(&provider, &[refused(LinkState::Ok, Some(ForgeError::NotFound)), refused(LinkState::Ok, Some(shut))]);
        assert!(matches!(some.forge_error(), Some(ForgeError::Restricted { .. })), "not gone: one link is not let in");
        assert!(matches!(some.kind, TroubleKind::Unsure), "{some:?}");
        for state in [LinkState::Revoked, LinkState::Disabled, LinkState::Suspended] {
            let unasked = none_could(&provider, &[refused(LinkState::Ok, Some(ForgeError::NotFound)), refused(state, None)]);
            assert!(matches!(unasked.kind, TroubleKind::Unsure) && unasked.forge_error().is_none(), "{unasked:?}");
            assert!(unasked.whole().contains(meaning(state)) && unasked.hint == what_to_do(state), "{}", unasked.whole());
        }
        let slow = SourceTrouble::of_call(&provider, ForgeError::Unreachable { detail: "silence".into() });
        assert!(slow.is_passing());
    }
}
