//! The only place that sleeps: level-triggered loops that read the database, act, and repeat. A wake-up makes them quick; the poll makes them right.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use slipway_store::{accounts, audit, deliveries, emails, hooks, identities, invitations, sessions, sign_in};

use crate::{App, Error};

const RECEIVE_POLL: Duration = Duration::from_secs(2);
const HOOKS_POLL: Duration = Duration::from_secs(5);
const CHECKS_POLL: Duration = Duration::from_secs(20);
const LINKS_POLL: Duration = Duration::from_secs(5);
/// So many namespaces are swept at once: one with many repositories, or a slow provider, must not hold up the others.
const SWEEPS: usize = 4;
const UNLINKS_POLL: Duration = Duration::from_secs(10);
const STATUSES_POLL: Duration = Duration::from_secs(5);
/// So many providers are told at once: one that is slow must not hold up the others.
const TELLERS: usize = 4;
const LEASES_POLL: Duration = Duration::from_secs(1);
const MAIL_POLL: Duration = Duration::from_secs(20);
const RECONCILE_POLL: Duration = Duration::from_secs(2);
/// Also how seldom requests that were refused are written, however many come.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
const SWEEP_POLL: Duration = Duration::from_secs(300);
/// How long the audit log is kept.
const AUDIT_RETENTION: Duration = Duration::from_secs(400 * 24 * 3600);
const AFTER_ERROR: Duration = Duration::from_secs(2);

async fn pause(stop: &CancellationToken, wake: Option<&Notify>, limit: Duration) {
    let woken = async {
        match wake {
            Some(notify) => notify.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = woken => {}
        () = tokio::time::sleep(limit) => {}
    }
}

/// What only reads at a provider may be cut off: its claim ends, and the next process does it.
async fn unless_stopped<T>(stop: &CancellationToken, step: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.cancelled() => None,
        done = step => Some(done),
    }
}

impl App {
    /// Runs every loop until `stop`. Each ends after the step that it is in.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(
            self.receive_loop(&stop),
            self.hooks_loop(&stop),
            self.hook_checks_loop(&stop),
            self.deploy_keys_loop(&stop),
            self.links_loop(&stop),
            self.unlinks_loop(&stop),
            join_all((0..SWEEPS).map(|_| self.sources_loop(&stop))),
            join_all((0..TELLERS).map(|_| self.statuses_loop(&stop))),
            self.leases_loop(&stop),
            self.mail_loop(&stop),
            self.reconcile_loop(&stop),
            self.refused_loop(&stop),
            self.sweep_loop(&stop),
            async {
                stop.cancelled().await;
                self.unlinks.close();
            }
        );
        self.unlinks.wait().await;
        // What a provider answers to a renewal must still be stored: the tokens before are dead there.
        self.renewals.close();
        self.renewals.wait().await;
    }

    async fn receive_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.receive_once().await {
                Ok(0) => pause(stop, Some(&self.wake.deliveries), RECEIVE_POLL).await,
                Ok(_) => {}
                Err(error) => self.complain("deliveries", &error, stop).await,
            }
        }
    }

    async fn hooks_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.settle_hooks_once().await {
                Ok(0) => pause(stop, Some(&self.wake.hooks), HOOKS_POLL).await,
                Ok(_) => {}
                Err(error) => self.complain("webhooks", &error, stop).await,
            }
        }
    }

    async fn hook_checks_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.check_hooks_once().await {
                Ok(0) => pause(stop, Some(&self.wake.checks), CHECKS_POLL).await,
                Ok(_) => {}
                Err(error) => self.complain("webhook checks", &error, stop).await,
            }
        }
    }

    async fn deploy_keys_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.settle_deploy_keys_once().await {
                Ok(0) => pause(stop, Some(&self.wake.keys), HOOKS_POLL).await,
                Ok(_) => {}
                Err(error) => self.complain("deploy keys", &error, stop).await,
            }
        }
    }

    async fn links_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match unless_stopped(stop, self.check_links_once()).await {
                Some(Ok(0)) | None => pause(stop, Some(&self.wake.links), LINKS_POLL).await,
                Some(Ok(_)) => {}
                Some(Err(error)) => self.complain("links", &error, stop).await,
            }
        }
    }

    async fn unlinks_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.finish_unlinks_once().await {
                Ok(false) => pause(stop, None, UNLINKS_POLL).await,
                Ok(true) => {}
                Err(error) => self.complain("unlinks", &error, stop).await,
            }
        }
    }

    async fn sources_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match unless_stopped(stop, self.sweep_sources_once()).await {
                Some(Ok(true)) | None => {}
                Some(Ok(false)) => pause(stop, Some(&self.wake.sources), LINKS_POLL).await,
                Some(Err(error)) => self.complain("sources", &error, stop).await,
            }
        }
    }

    async fn statuses_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.tell_status_once().await {
                Ok(true) => {}
                Ok(false) => pause(stop, Some(&self.wake.statuses), STATUSES_POLL).await,
                Err(error) => self.complain("commit statuses", &error, stop).await,
            }
        }
    }

    async fn leases_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.expire_leases_once().await {
                Ok(_) => pause(stop, None, LEASES_POLL).await,
                Err(error) => self.complain("leases", &error, stop).await,
            }
        }
    }

    async fn mail_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.send_mails_once().await {
                Ok(_) => pause(stop, Some(&self.wake.mail), MAIL_POLL).await,
                Err(error) => self.complain("mail", &error, stop).await,
            }
        }
    }

    async fn reconcile_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.look_at_everything_soon().await {
                Ok(()) => break,
                Err(error) => self.complain("reconciler", &error, stop).await,
            }
        }
        while !stop.is_cancelled() {
            match self.reconcile_once().await {
                Ok(0) => pause(stop, Some(&self.wake.reconcile), RECONCILE_POLL).await,
                Ok(_) => {}
                Err(error) => self.complain("reconciler", &error, stop).await,
            }
        }
    }

    async fn refused_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.keep_refused_once().await {
                Ok(()) => pause(stop, None, REFUSED_PAUSE).await,
                Err(error) => self.complain("refused requests", &error, stop).await,
            }
        }
    }

    async fn sweep_loop(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.sweep_once().await {
                Ok(()) => pause(stop, None, SWEEP_POLL).await,
                Err(error) => self.complain("sweep", &error, stop).await,
            }
        }
    }

    /// Removes what has ended: sessions, OAuth flows, old deliveries.
    async fn sweep_once(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        accounts::delete_expired_flows(&mut tx, now).await?;
        sessions::delete_expired(&mut tx, now).await?;
        identities::delete_expired_flows(&mut tx, now).await?;
        emails::delete_expired(&mut tx, now).await?;
        invitations::delete_expired(&mut tx, now).await?;
        sign_in::delete_old(&mut tx, now, now.minus(crate::throttle::FORGOTTEN)).await?;
        audit::delete_before(&mut tx, now.minus(AUDIT_RETENTION)).await?;
        hooks::forget_previous_secrets(&mut tx, now).await?;
        tx.commit().await?;
        // In steps: deliveries come in while old ones go.
        loop {
            let mut tx = self.write().await?;
            let gone = deliveries::delete_old(&mut tx, now.minus(self.config.delivery_retention), 1000).await?;
            tx.commit().await?;
            if gone < 1000 {
                return Ok(());
            }
        }
    }

    async fn complain(&self, of: &str, error: &Error, stop: &CancellationToken) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(r#loop = of, %error, cause, "a background step failed; it is tried again");
        metrics::counter!("slipway_loop_errors_total", "loop" => of.to_owned()).increment(1);
        pause(stop, None, AFTER_ERROR).await;
    }
}
