//! What Slipway does: link, receive, match, queue, expire, promote, authorise.
//!
//! Invariant: store first, act after. Every decision is one transaction; no network call stands inside of one; whatever a crash
//! leaves half done is found again by a loop (`driver`) that reads the database, acts, and repeats.
//! Deliberately elsewhere: SQL (`store`), HTTP (`web`, `registry`), providers' APIs (`forge`), running builds (`builder`).

mod accounts;
mod at_source;
mod audit;
mod authorise;
mod autobuild_input;
mod autobuilds;
mod build_hooks;
mod build_logs;
mod build_rules;
mod builds;
mod chosen;
mod claims;
mod conversion;
mod covered;
mod deletion;
mod deploy_keys;
mod driver;
mod emails;
mod error;
mod external;
mod history;
mod hooks;
mod inbox;
mod intake;
mod invitations;
mod joining;
mod keys;
mod links;
mod mail;
mod matching;
mod nodes;
mod notes;
mod oidc;
mod organizations;
mod passwords;
mod peer;
mod people;
mod promote;
mod pull_requests;
mod queue;
mod receive;
mod reconcile;
mod refused;
mod registry_auth;
mod repositories;
mod roll_back;
mod schedule;
mod second_factor;
mod sessions;
mod sign_in;
mod sign_up;
mod skip;
mod source_access;
mod source_state;
mod sources;
mod statuses;
mod superseded;
mod teams;
mod throttle;
mod tokens;
mod totp;
mod triggers;
mod untold;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use slipway_distribution::Distribution;
use slipway_forge::{Egress, Forge};
use slipway_model::{BuildId, Clock, EgressPolicy, ProviderId, QueueLimits, SecretToken, TokenKind};
use slipway_store::{Db, ReadTx, StoreError, WriteTx};
use tokio::sync::{Notify, broadcast};
use tokio_util::task::TaskTracker;
use url::Url;

pub use accounts::Role;
pub use authorise::{
    Actor, Administrator, AuditReader, Caller, Initiator, NamespaceOwner, NamespaceView, OrganizationMember, OrganizationOwner,
    RepositoryAdmin, RepositoryOwner, RepositoryRead, RepositoryView, RepositoryWrite, Standing,
};
pub use autobuild_input::{AutobuildInput, PathsInput, RuleInput, VariableInput};
pub use autobuilds::{AutobuildSettings, PreviewRef, RulesPreview};
pub use build_hooks::BuildHooks;
pub use build_logs::{LogPlace, LogWindow};
pub use build_rules::RulesBuilt;
pub use builds::{BuildDetail, BuildsWanted, RetryBuild, StartBuild};
pub use claims::{Claimed, ComparedWith};
pub use conversion::Conversion;
pub use deletion::DoomedAccount;
pub use deploy_keys::DeployKeyStatus;
pub use error::{Error, Refusal, RefusalKind};
pub use external::{BaseRegistry, ExternalTagView, ExternalView, ExternalWish, Sending, Sent};
pub use hooks::{HookDeliveries, HookDelivery, HookSecret, HookStatus, LastDelivery};
pub use inbox::{DeliveryBody, DeliveryDetail, DeliveryEntry, DeliveryEvent};
pub use intake::Intake;
pub use invitations::{InvitationEntry, InvitationView, InvitationWish, Mailed, NewInvitation};
pub use joining::{Joined, Joining, NewJoinToken, TokenRefused};
pub use keys::{Keys, Sealed};
pub use links::{
    ConnectWish, Evidence, LinkSwitch, LinkView, Linked, OfferView, Offers, OrganizationView, Receipt, ReceiptItem, ScopeView,
    SourceNamespaces, SourcePage, SourceSearch, UnlinkPreview, UnlinkSource, UsedBy,
};
pub use mail::{MailConfig, MailTransport, Sender};
pub use nodes::{Drain, NodeEdit, NodeFacts, NodeState, NodeView, TooOld};
pub use notes::Notes;
pub use oidc::{CreateAccounts, OidcOutcome, OidcProvider, OidcProviderView, OidcPurpose};
pub use organizations::{Doomed, Membership, OrganizationChange};
pub use peer::client_address;
pub use queue::{BuilderOutcome, Fenced, KeyUse, Progress, RegisteredBuilder};
pub use registry_auth::{BUILD_USER, RegistryAccess, RegistryAction, RegistryCaller, RegistryGrant, RegistryToken};
pub use second_factor::{Enrolment, SecondFactor, SecondFactorState};
pub use sessions::{ClientInfo, SignIn};
pub use sign_in::{PendingSignIn, SignedIn};
pub use sign_up::SignUp;
pub use slipway_store as store;
pub use slipway_store::audit::{Entry as AuditEntry, Filter as AuditFilter};
pub use slipway_store::deliveries::Filter as DeliveryFilter;
pub use slipway_store::refused::RefusedRequest;
pub use source_access::{KeyOf, SourceAccess, SshKeyAccess};
pub use source_state::{SourceProblem, SourceState};
pub use statuses::CommitStatusView;
pub use teams::{Member, TeamChange, TeamMember};
pub use tokens::{NewToken, TokenView, TokenWish};
pub use triggers::{NewTrigger, TriggerCall, TriggerWish};
pub use waiting::Waiting;

/// What the configuration says about behaviour.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address under which people, providers and engines reach us.
    pub public_url: Url,
    /// How long a builder may be silent before its build is given to another.
    pub lease: Duration,
    /// How long each try of a build may take.
    pub time_limit: Duration,
    /// How often a build is tried, at most, when what ends it lies outside of its source.
    pub attempts: u32,
    /// How many builds may run at once.
    pub queue: QueueLimits,
    /// Most bytes of log that are kept of one build.
    pub log_limit_bytes: u64,
    /// How long deliveries are kept.
    pub delivery_retention: Duration,
    /// How often a source is compared with its provider when nothing else tells of its pushes.
    pub reconcile_interval: Duration,
    /// For how many things an account may ask a provider in an hour, to compare.
    pub reconcile_calls: u32,
    /// How often a link is looked at, give or take a fifth.
    pub link_check_interval: Duration,
    /// How often what a used link sees is read anew, give or take a fifth.
    pub source_sweep_interval: Duration,
    /// How long whoever unlinks waits for the end of it; it goes on without them.
    pub unlink_wait: Duration,
    /// How mail leaves, if it does.
    pub mail: Option<MailConfig>,
    /// Where people may sign in beside here.
    pub oidc: Vec<OidcProvider>,
    /// Whether people may make accounts without an invitation.
    pub sign_up: SignUp,
    /// Whose `hooks/` may run.
    pub hooks: BuildHooks,
    /// What besides the public internet and the providers submodules and external registries may lead to.
    pub egress: EgressPolicy,
}

impl Config {
    /// The defaults under this address.
    #[must_use]
    pub fn new(public_url: Url) -> Self {
        Self {
            public_url,
            lease: Duration::from_secs(30),
            time_limit: Duration::from_secs(4 * 3600),
            attempts: 3,
            queue: QueueLimits::default(),
            log_limit_bytes: 128 * 1024 * 1024,
            delivery_retention: Duration::from_secs(90 * 24 * 3600),
            reconcile_interval: Duration::from_secs(300),
            reconcile_calls: 1000,
            link_check_interval: Duration::from_secs(5 * 60),
            source_sweep_interval: Duration::from_secs(5 * 60),
            unlink_wait: Duration::from_secs(20),
            mail: None,
            oidc: Vec::new(),
            sign_up: SignUp::Closed,
            hooks: BuildHooks::Everyone,
            egress: EgressPolicy::public_only(),
        }
    }
}

/// Hints inside of this process that something is to be done. Losing one costs a poll interval, never work.
#[derive(Debug)]
pub(crate) struct Wake {
    /// A delivery was stored.
    pub(crate) deliveries: Notify,
    /// A hook's wish changed.
    pub(crate) hooks: Notify,
    /// Standing hooks are to be looked at.
    pub(crate) checks: Notify,
    /// A deploy key's wish changed.
    pub(crate) keys: Notify,
    /// A link is to be looked at.
    pub(crate) links: Notify,
    /// What a link sees is to be read.
    pub(crate) sources: Notify,
    /// The heads of a source are to be compared.
    pub(crate) reconcile: Notify,
    /// A mail waits.
    pub(crate) mail: Notify,
    /// A build is to be told of.
    pub(crate) statuses: Notify,
    /// A tag is to go to an external registry.
    pub(crate) external: Notify,
    /// A build entered the queue.
    pub(crate) queue: Notify,
    /// A build changed: state, steps or log.
    pub(crate) builds: broadcast::Sender<BuildId>,
}

/// Slipway: the database, the keys and the providers, and everything that can be done with them.
pub struct App {
    db: Db,
    clock: Clock,
    keys: Arc<Keys>,
    forges: BTreeMap<ProviderId, Arc<dyn Forge>>,
    /// Speaks to external registries.
    distribution: Distribution,
    config: Config,
    wake: Wake,
    /// A flood of sign-ins must not take the machine.
    hashing: passwords::Hashing,
    /// Which source providers do not answer.
    away: links::Away,
    /// Exchanges of tokens and codes that are under way.
    renewals: TaskTracker,
    /// Unlinks that are under way. It is closed when they shall stop after the step that they are in.
    unlinks: TaskTracker,
    /// What OpenID Connect providers said about themselves.
    discovered: oidc::Discovered,
    /// Where deliveries become durable.
    inbox: slipway_store::inbox::Inbox,
    /// Requests at hooks that were refused, until the loop writes them.
    refused: refused::Refused,
    /// Takes the place of the secret of a hook that does not exist.
    nobodys_secret: SecretString,
    /// What providers were asked for in this hour, to compare.
    budgets: schedule::Budgets,
    /// What they were asked for in this hour, to look at webhooks.
    hook_budgets: schedule::Budgets,
    /// Providers that did not answer a moment ago.
    quiet: receive::Quiet,
}

impl App {
    /// Puts the parts together; nothing runs until [`App::run`].
    #[must_use]
    pub fn new(db: Db, clock: Clock, keys: Keys, forges: impl IntoIterator<Item = Arc<dyn Forge>>, config: Config) -> Self {
        let forges = forges.into_iter().map(|forge| (forge.provider().id.clone(), forge)).collect();
        let (builds, _) = broadcast::channel(1024);
        let wake = Wake {
            deliveries: Notify::new(),
            hooks: Notify::new(),
            checks: Notify::new(),
            keys: Notify::new(),
            links: Notify::new(),
            sources: Notify::new(),
            reconcile: Notify::new(),
            mail: Notify::new(),
            statuses: Notify::new(),
            external: Notify::new(),
            queue: Notify::new(),
            builds,
        };
        Self {
            inbox: slipway_store::inbox::Inbox::new(db.clone()),
            refused: refused::Refused::default(),
            nobodys_secret: SecretToken::generate(TokenKind::Hook).expose().to_owned().into(),
            budgets: schedule::Budgets::default(),
            hook_budgets: schedule::Budgets::default(),
            quiet: receive::Quiet::default(),
            db,
            clock,
            keys: Arc::new(keys),
            forges,
            distribution: Distribution::new(Egress::new(config.egress.clone())),
            config,
            wake,
            hashing: passwords::Hashing::new(),
            discovered: oidc::Discovered::default(),
            away: links::Away::default(),
            renewals: TaskTracker::new(),
            unlinks: TaskTracker::new(),
        }
    }

    /// The clock of this process.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the configuration says.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The database, for rooms that keep rows of their own (the registry).
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The configured providers, by id.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<dyn Forge>> {
        self.forges.values()
    }

    /// One provider.
    #[must_use]
    pub fn provider(&self, id: &ProviderId) -> Option<&Arc<dyn Forge>> {
        self.forges.get(id)
    }

    /// Tells of each change of any build. A receiver that lags simply reads the database again.
    #[must_use]
    pub fn watch_builds(&self) -> broadcast::Receiver<BuildId> {
        self.wake.builds.subscribe()
    }

    pub(crate) fn build_changed(&self, id: BuildId) {
        // An error says that nobody watches.
        self.wake.builds.send(id).ok();
    }

    /// A build may have ended: whoever watches it is told, its provider, and the external registry.
    pub(crate) fn build_ended(&self, id: BuildId) {
        self.build_changed(id);
        self.wake.statuses.notify_one();
        self.wake.external.notify_one();
    }

    /// `host[:port]` of the registry, as image names carry it.
    #[must_use]
    pub fn registry_host(&self) -> String {
        let url = &self.config.public_url;
        let host = url.host_str().unwrap_or("localhost");
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub(crate) async fn read(&self) -> Result<ReadTx, StoreError> {
        self.db.read().await
    }

    pub(crate) async fn write(&self) -> Result<WriteTx, StoreError> {
        self.db.write().await
    }

    /// An address of ours. `path` is a constant or made of typed names, so joining cannot fail.
    #[must_use]
    pub fn address(&self, path: &str) -> Url {
        self.config.public_url.join(path).unwrap_or_else(|_| self.config.public_url.clone())
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}
