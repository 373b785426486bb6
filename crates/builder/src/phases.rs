//! One build from checkout to push.
//!
//! The invariant: phases run in order, a failed one ends the build, and a failed test means no push. Dropping the future at
//! any point leaves only what `cleanup` removes. Deliberately elsewhere: leases, time limits, cancelling (`worker`).

use std::sync::OnceLock;

use slipway_buildkit::{BaseImages, Client, Engine, Export, RegistryRef, Tree};
use slipway_model::{FailureCode, Lane, Phase};
use slipway_wire::Assignment;

use crate::access::key_text;
use crate::failure::Failure;
use crate::home::BuildDir;
use crate::hooks::{Hook, Hooks};
use crate::image::Target;
use crate::leaks::Check;
use crate::mask::Secrets;
use crate::plan::Plan;
use crate::reach::Resolver;
use crate::report::Reporter;
use crate::sandbox::{self, Scopes, Seat};
use crate::submodules::Submodules;
use crate::sut::Tests;
use crate::variables::{Names, SshVariables, Variables};
use crate::{checkout, compose, git, history, image, plan, publish};

/// What the builds of a builder share.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// The builder's engine, for builds that need no other.
    pub(crate) client: Client,
    /// Its images, where it is a Docker Engine.
    pub(crate) store: Option<Engine>,
    pub(crate) scopes: Scopes,
}

/// What of an assignment must not be printed.
pub(crate) fn secrets(assignment: &Assignment) -> Secrets {
    let base = assignment.base_registry.iter().map(|base| &base.credential);
    let credentials = assignment.source.credential.iter().chain([&assignment.registry.credential]).chain(base);
    let forms: Vec<String> = credentials.flat_map(git::forms).collect();
    let key = assignment.source.ssh.iter().map(|ssh| ssh.private_key.as_str());
    let values = assignment.environment.iter().map(|variable| variable.value.as_str());
    // Its lines are secret too, however it was saved.
    let own_key = SshVariables::of(&assignment.environment).private.map(|key| key_text(&key));
    Secrets::new(forms.iter().map(String::as_str).chain(key).chain(values).chain(own_key.as_deref()))
}

/// One build at work.
pub(crate) struct Work<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) assignment: &'a Assignment,
    pub(crate) dir: &'a BuildDir,
    /// Name of its compose project.
    pub(crate) project: &'a str,
    /// Its place in an engine of its own, once it has one: whoever cleans up after it looks here.
    pub(crate) seat: &'a OnceLock<Seat>,
    pub(crate) reporter: &'a Reporter,
}

/// What is known of a build after its checkout.
struct Ready {
    variables: Variables,
    hooks: Hooks,
    /// What is built, where no hook can still change it.
    plan: Option<Plan>,
}

/// What phase build made.
struct Built {
    /// `None` where a hook built instead.
    plan: Option<Plan>,
    /// The digest that the engine pushed already.
    pushed: Option<String>,
}

impl Work<'_> {
    /// Runs all phases and returns the digest that was pushed; `None` when nothing had to be.
    pub(crate) async fn run(&self) -> Result<Option<String>, Failure> {
        let failure = match self.all_phases().await {
            Ok(digest) => return Ok(digest),
            Err(failure) => failure,
        };
        match self.seat() {
            // A hook or a test that lost its engine says anything; the source is not to blame for it.
            Some(seat) if seat.sandbox.has_ended() || seat.sandbox.engine.info().await.is_err() => {
                Err(Failure::passing(FailureCode::EngineUnavailable, format!("the engine ended in the midst of it: {}", failure.reason)))
            }
            _ => Err(failure),
        }
    }

    async fn all_phases(&self) -> Result<Option<String>, Failure> {
        let names = Names::new(self.assignment);
        let ready = self.phase(Phase::Checkout, self.check_out()).await?;
        let built = self.phase(Phase::Build, self.build(&ready, &names)).await?;
        self.phase(Phase::Test, self.test(&ready, built.plan.as_ref(), &names)).await?;
        if !self.assignment.publish {
            self.reporter.line(None, "built and tested; it is not to be pushed").await;
            return Ok(None);
        }
        self.phase(Phase::Push, self.push(&ready, &built, &names)).await
    }

    fn seat(&self) -> Option<&Seat> {
        self.seat.get()
    }

    /// The images of the engine that this build uses. A buildkitd has none; what has hooks or tests has a seat, where there are some.
    fn store(&self) -> Option<&Engine> {
        self.seat().map(|seat| &seat.sandbox.engine).or(self.tools.store.as_ref())
    }

    fn images(&self) -> &Engine {
        self.store().expect("asked only where hooks or tests have a seat, or of a Docker Engine")
    }

    fn client(&self) -> &Client {
        self.seat().map_or(&self.tools.client, |seat| &seat.sandbox.client)
    }

    async fn hook(&self, ready: &Ready, hook: Hook) -> Result<bool, Failure> {
        ready.hooks.run(hook, self.seat(), self.reporter).await
    }

    async fn check_out(&self) -> Result<Ready, Failure> {
        let Self { assignment, dir, reporter, .. } = *self;
        if assignment.scope.lane == Lane::Untrusted {
            sandbox::ready()?;
        }
        let submodules = match assignment.scope.lane {
            Lane::Trusted => Submodules::On(SshVariables::of(&assignment.environment), Resolver::System),
            Lane::Untrusted => Submodules::Off,
        };
        let checked_out = checkout::run(&assignment.source, &assignment.rule.paths, &submodules, dir, reporter).await?;
        let source = plan::open(&dir.source())?;
        let location = plan::location(&source, &assignment.rule);
        let folder = plan::folder(&location);
        let variables = Variables::new(assignment, &checked_out.message, plan::from_context(&location, &assignment.rule));
        // A folder that leads out of the source is the rule's trouble first.
        let hooks = Hooks::find(&source, folder).map_err(|failure| plan::make(&dir.source(), &assignment.rule).err().unwrap_or(failure))?;
        let hooks = if assignment.scope.lane == Lane::Untrusted && !assignment.hooks && !hooks.is_empty() {
            reporter.line(None, &format!("{} are not run: this commit comes from outside of the source", hooks.names())).await;
            Hooks::default()
        } else {
            hooks
        };
        if !hooks.is_empty() && !assignment.hooks {
            let text = format!(
                "the source has {}, and the administrator of this installation does not let this namespace run hooks",
                hooks.names()
            );
            return Err(Failure::new(FailureCode::HooksForbidden, text));
        }
        // Without a hook that might still make it, what is missing is said before anything is started.
        let plan = if hooks.is_empty() { Some(plan::make(&dir.source(), &assignment.rule)?) } else { None };
        check_tests(&source, folder, &hooks)?;
        let tests = plan.as_ref().is_some_and(|plan| !plan.tests.is_empty());
        // What was given secrets is looked through before it is pushed, and a buildkitd pushes what it built at once.
        let looked_through = self.tools.store.is_none() && variables.secret().next().is_some();
        if hooks.is_empty() && !tests && !looked_through && assignment.scope.lane == Lane::Trusted {
            return Ok(Ready { variables, hooks, plan });
        }
        if assignment.scope.lane == Lane::Trusted && hooks.want_history(&source) {
            history::fetch(&assignment.source, dir, reporter).await?;
        }
        let seat = self.tools.scopes.seat(assignment, dir).await?;
        let config = compose::docker_config(&image::credentials(&assignment.registry));
        let seat = self.seat.get_or_init(|| seat);
        seat.settle(dir, &config, &assignment.source.clone_url).await?;
        seat.set_variables(variables.iter())?;
        let ready = Ready { variables, hooks, plan };
        self.hook(&ready, Hook::PostCheckout).await?;
        Ok(ready)
    }

    /// Makes the image under the build's own local name, and under its public one for whatever is run of the source.
    async fn build(&self, ready: &Ready, names: &Names) -> Result<Built, Failure> {
        self.client().info().await?;
        note(self.dir, &[&names.local(), &names.image()])?;
        self.hook(ready, Hook::PreBuild).await?;
        let built = if self.hook(ready, Hook::Build).await? {
            if !self.images().has_image(&names.image()).await? {
                let text = format!("`hooks/build` ended well and made no image `{}`, which `$IMAGE_NAME` asks for", names.image());
                return Err(Failure::new(FailureCode::HookFailed, text));
            }
            Built { plan: None, pushed: None }
        } else {
            let plan = match &ready.plan {
                Some(plan) => plan.clone(),
                None => plan::make(&self.source(), &self.assignment.rule)?,
            };
            // What a hook made counts: the engine is this build's alone, and began without a name.
            let base_images = if ready.hooks.is_empty() { BaseImages::AlwaysAsk } else { BaseImages::PreferLocal };
            let (target, variables) = (self.target(names), &ready.variables);
            let pushes = matches!(target.export, Export::Push { .. });
            let digest = image::run(self.client(), self.assignment, &plan, variables, base_images, target, self.reporter).await?;
            if !ready.hooks.is_empty() {
                self.images().tag(&names.local(), &names.repository, &names.first_tag).await?;
            }
            Built { plan: Some(plan), pushed: digest.filter(|_| pushes) }
        };
        self.hook(ready, Hook::PostBuild).await?;
        Ok(built)
    }

    /// An engine without images pushes what it built at once: nothing has to be tested then, and a push by digest moves no tag.
    /// It keeps its results in the registry too, so that a fleet's next builder has them.
    fn target(&self, names: &Names) -> Target {
        let insecure = self.assignment.registry.insecure;
        match self.store() {
            Some(_) => Target { export: Export::EngineStore { name: names.local() }, cache: None },
            None if self.assignment.publish => Target {
                export: Export::Push { repository: names.repository.clone(), insecure },
                cache: Some(RegistryRef { name: names.cache(), insecure }),
            },
            None => Target { export: Export::None, cache: None },
        }
    }

    fn source(&self) -> std::path::PathBuf {
        self.seat().map_or_else(|| self.dir.source(), Seat::source)
    }

    async fn test(&self, ready: &Ready, plan: Option<&Plan>, names: &Names) -> Result<(), Failure> {
        self.hook(ready, Hook::PreTest).await?;
        if !self.hook(ready, Hook::Test).await? {
            self.compose_tests(ready, plan, names).await?;
        }
        self.hook(ready, Hook::PostTest).await.map(drop)
    }

    async fn compose_tests(&self, ready: &Ready, plan: Option<&Plan>, names: &Names) -> Result<(), Failure> {
        // Hooks may have made or changed test files.
        let source = plan::open(&self.source())?;
        let folder =
            plan.map_or_else(|| plan::folder(&plan::location(&source, &self.assignment.rule)).to_owned(), |plan| plan.folder.clone());
        let tests = plan::tests(&source, &folder)?;
        let seat = match self.seat() {
            Some(seat) if !tests.is_empty() => seat,
            _ => {
                let place = if folder.is_empty() { "the source's root" } else { &folder };
                self.reporter.line(None, &format!("no `*.test.yml` in `{place}`: nothing to test")).await;
                return Ok(());
            }
        };
        let (source, folder, variables) = (&source, folder.as_str(), &ready.variables);
        let tests = Tests { seat, source, folder, files: &tests, variables, project: self.project, reporter: self.reporter };
        if ready.hooks.is_empty() {
            self.images().tag(&names.local(), &names.repository, &names.first_tag).await?;
        }
        tests.run().await
    }

    async fn push(&self, ready: &Ready, built: &Built, names: &Names) -> Result<Option<String>, Failure> {
        if self.store().is_none() {
            let digest = built.pushed.clone().ok_or_else(|| Failure::internal("push", "the engine ended without naming a digest"))?;
            publish::done(&digest, names, self.reporter).await;
            return Ok(Some(digest));
        }
        self.hook(ready, Hook::PrePush).await?;
        let mut secrets = self.check(ready);
        secrets.image(&if ready.hooks.is_empty() { names.local() } else { names.image() }).await?;
        let digest = if self.hook(ready, Hook::Push).await? {
            let digest = self.images().repository_digest(&names.image(), &names.repository).await?;
            if digest.is_none() {
                let text = format!(
                    "`hooks/push` did not push `{}` to `{}`: the tags of its rule stay where they are",
                    names.image(),
                    names.repository
                );
                self.reporter.line(None, &text).await;
            }
            digest
        } else {
            if !ready.hooks.is_empty() {
                // Hooks may have made another image of it.
                self.images().tag(&names.image(), &names.repository, &names.build_tag).await?;
            }
            Some(publish::run(self.images(), self.assignment, self.reporter).await?)
        };
        if let Some(digest) = &digest {
            // The engine keeps a pushed image under its digest even when its last tag goes.
            note(self.dir, &[&names.local(), &names.image(), &format!("{}@{digest}", names.repository)])?;
        }
        self.hook(ready, Hook::PostPush).await?;
        if !ready.hooks.is_empty() {
            // Whatever hooks pushed themselves: no tag moves before the build has ended well.
            secrets.names_in(&names.repository).await?;
        }
        Ok(digest)
    }

    /// For what this build was given: steps get secret variables, hooks also the login to the registry.
    fn check(&self, ready: &Ready) -> Check<'_> {
        let assignment = self.assignment;
        let secret = ready.variables.secret();
        let login =
            (!ready.hooks.is_empty()).then_some(("the build's login to the registry", assignment.registry.credential.password.as_str()));
        Check::new(self.images(), secret.chain(login), self.reporter)
    }

    async fn phase<T>(&self, phase: Phase, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.reporter.phase_started(phase).await;
        let done = work.await;
        self.reporter.phase_finished(phase).await;
        done
    }
}

/// What can be told of test files before anything is built: those that are there now. Hooks may write more, and what these lead to.
fn check_tests(source: &Tree, folder: &str, hooks: &Hooks) -> Result<(), Failure> {
    if hooks.has(Hook::Test) {
        return Ok(());
    }
    let check = if hooks.is_empty() { compose::check_whole } else { compose::check_alone };
    plan::tests(source, folder)?.iter().try_for_each(|name| check(source, &plan::beside(folder, name)))
}

/// Before the name exists: a crash after this line leaves a note of what to remove.
fn note(dir: &BuildDir, names: &[&str]) -> Result<(), Failure> {
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    BuildDir::write_private(&dir.image_note(), &text).map_err(|error| Failure::internal("the note of the image's name", error))
}
