//! What the settings say of pull requests reaches the builds that wait: those that are not tested any more are cancelled, and those that need
//! an approval by now wait for one. What runs is not stopped.
//!
//! Invariant: a build of a pull request that waits is one that the settings, as they stand, have tested, and one of the untrusted lane has
//! been approved of or waits for that wherever they ask for it. It holds because the row of the settings is written, and so locked, before
//! what waits is looked through, and read under that lock before something new is queued.
//! Deliberately elsewhere: what a delivery makes of the settings, and who approves (`pull_requests`).

use slipway_model::{Approval, AutobuildId, Autotest, BuildId, BuildState, FailureCode, FailureReason, Lane};
use slipway_store::builds::{self, AT_ONCE, Build, Ending, Terms, WaitingOf};
use slipway_store::repositories::{self, Autobuild};
use slipway_store::{ReadTx, WriteTx, pull_requests, refs};

use crate::matching::in_words;
use crate::{App, Error, Refusal, RefusalKind};

/// Why the settings do not have pull requests of this lane tested; `None` when they do.
fn not_covered(autotest: Autotest, lane: Lane) -> Option<&'static str> {
    match autotest {
        Autotest::Off => Some("autotest is off by now"),
        Autotest::Internal if lane == Lane::Untrusted => Some("autotest is by now for pull requests of the source repository itself alone"),
        Autotest::Internal | Autotest::All => None,
    }
}

impl App {
    /// Makes what waits follow the settings, which were just written; gives the builds that changed. Call [`App::builds_queued`] with them
    /// after the commit.
    pub(crate) async fn follow_settings(&self, tx: &mut WriteTx, settings: &Autobuild) -> Result<Vec<BuildId>, Error> {
        let mut changed = Vec::new();
        for (lane, which) in [(Lane::Trusted, WaitingOf::Everybody), (Lane::Untrusted, WaitingOf::Untrusted)] {
            if let Some(why) = not_covered(settings.autotest, lane) {
                changed.extend(self.forget_waiting(tx, settings.id, which, why).await?);
            }
        }
        while settings.approve_external {
            let waiting = builds::await_approval(tx, settings.id, self.clock.now()).await?;
            for id in &waiting {
                self.forget_unapprovable(tx, *id).await?;
            }
            changed.extend(&waiting);
            if waiting.len() < AT_ONCE {
                break;
            }
        }
        Ok(changed)
    }

    /// Cancels builds of pull requests that wait and that the settings are not for any more; gives which these are.
    pub(crate) async fn forget_waiting(
        &self,
        tx: &mut WriteTx,
        autobuild: AutobuildId,
        which: WaitingOf,
        why: &str,
    ) -> Result<Vec<BuildId>, Error> {
        let reason = FailureReason::new(FailureCode::SettingsChanged, format!("cancelled while it waited: {why}"));
        let mut gone = Vec::new();
        loop {
            let cancelled = builds::cancel_waiting(tx, autobuild, None, which, &reason, self.clock.now()).await?;
            gone.extend(cancelled.iter().map(|(id, _)| *id));
            if cancelled.len() < AT_ONCE {
                return Ok(gone);
            }
        }
    }

    /// Nothing waits for an approval that nobody can give.
    async fn forget_unapprovable(&self, tx: &mut WriteTx, id: BuildId) -> Result<(), Error> {
        let Some(build) = builds::get_any(tx, id).await? else { return Ok(()) };
        let Err(Error::Refused(refusal)) = self.check_approvable(tx, &build).await else { return Ok(()) };
        let text = format!("cancelled while it waited: external pull requests wait for approval by now, and {}", refusal.detail);
        let reason = FailureReason::new(FailureCode::SettingsChanged, text);
        let ending = Ending { state: BuildState::Cancelled, reason: Some(&reason), note: None, digest: None };
        builds::finish(tx, id, &ending, self.clock.now()).await?;
        Ok(())
    }

    /// Whether somebody can approve of a build: the settings have it tested, its pull request is open and has got nothing newer.
    pub(crate) async fn check_approvable(&self, tx: &mut ReadTx, build: &Build) -> Result<(), Error> {
        check_covered(tx, build).await?;
        let number = build.source_ref.pull_request_number().unwrap_or_default();
        let what = in_words(&build.source_ref);
        let refuse = |detail: String| Err(Error::conflict("pull_request_moved", detail));
        match pull_requests::get(tx, build.autobuild, number).await? {
            None => refuse(format!("nothing is known of {what} any more, because the settings name another source")),
            Some(state) if !state.is_open => refuse(format!("{what} is closed by now")),
            Some(state) if state.head != build.commit => {
                refuse(format!("{what} stands at {} by now, and this build is one of {}", state.head.short(), build.commit.short()))
            }
            Some(_) => Ok(()),
        }
    }

    /// The terms on which a build is made once more: its own, under the settings as they are now. An approval was one of the commit, so it
    /// stays; one that nobody asked for then is asked for where the settings want it.
    ///
    /// # Errors
    /// A refusal when the settings do not have it tested any more, or nobody could approve of it.
    pub(crate) async fn terms_again(&self, tx: &mut WriteTx, old: &Build) -> Result<Terms, Error> {
        let mut terms = old.terms.clone();
        if terms.pull_request.is_none() {
            return Ok(terms);
        }
        refs::lock(tx, old.autobuild).await?;
        let settings = check_covered(tx, old).await?;
        if terms.lane == Lane::Untrusted && terms.approval.is_none() && settings.approve_external {
            terms.approval = Some(Approval::Awaited);
        }
        if terms.await_approval() {
            self.check_approvable(tx, old).await?;
        }
        Ok(terms)
    }
}

/// The settings, when they have a build's pull request tested.
async fn check_covered(tx: &mut ReadTx, build: &Build) -> Result<Autobuild, Error> {
    let settings = repositories::get_autobuild_by_id(tx, build.autobuild).await?;
    let settings =
        settings.ok_or_else(|| Error::conflict("no_autobuild", "the settings that this build was made under are gone; start a new build"))?;
    match not_covered(settings.autotest, build.terms.lane) {
        Some(why) => {
            let detail = format!("{} is not tested: {why}", in_words(&build.source_ref));
            Err(Refusal::new(RefusalKind::Conflict, "not_tested", detail).hint("autotest is set under Autobuild").into())
        }
        None => Ok(settings),
    }
}
