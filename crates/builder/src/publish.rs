//! Phase push: the image goes to the registry, and its digest comes back.
//!
//! The invariant: a digest is reported only when the registry took the image. Deliberately elsewhere: moving tags; a
//! build's credential cannot.

use std::collections::BTreeMap;
use std::time::Duration;

use slipway_buildkit::{Engine, PushProgress};
use slipway_model::Phase;
use slipway_wire::Assignment;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::image::auth;
use crate::report::Reporter;
use crate::steps::begun;
use crate::variables::Names;

const STEP: &str = "push";
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Pushes and returns the manifest's digest.
pub(crate) async fn run(engine: &Engine, assignment: &Assignment, reporter: &Reporter) -> Result<String, Failure> {
    let names = Names::new(assignment);
    let step = begun(STEP, Phase::Push, &format!("push {}", names.repository), &reporter.clock);
    reporter.step(step.clone()).await;
    let auth = auth(&assignment.registry);
    let mut pause = PAUSE;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (progress, lines) = mpsc::channel(256);
        let pushing = async {
            let done = engine.push(&names.repository, &names.build_tag, Some(&auth), &progress).await;
            drop(progress);
            done
        };
        let (pushed, ()) = tokio::join!(pushing, relay(lines, reporter));
        match pushed {
            Ok(digest) => {
                reporter.line(Some(STEP), &format!("digest: {digest}")).await;
                reporter.end_step(step, None).await;
                return Ok(digest);
            }
            Err(error) if attempt < TRIES && error.is_transient() => {
                reporter.line(Some(STEP), &format!("{error}; another try in {} s", pause.as_secs())).await;
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            Err(error) => {
                reporter.end_step(step, Some(error.to_string())).await;
                return Err(Failure::from(error));
            }
        }
    }
}

/// The engine pushed while it built; this tells of it.
pub(crate) async fn done(digest: &str, names: &Names, reporter: &Reporter) {
    let step = begun(STEP, Phase::Push, &format!("push {}", names.repository), &reporter.clock);
    reporter.step(step.clone()).await;
    reporter.line(Some(STEP), &format!("pushed by the engine as it was built; digest: {digest}")).await;
    reporter.end_step(step, None).await;
}

/// One line per layer and word: the engine repeats itself several times a second.
async fn relay(mut lines: mpsc::Receiver<PushProgress>, reporter: &Reporter) {
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    while let Some(line) = lines.recv().await {
        let Some(id) = line.id else { continue };
        if said.get(&id) != Some(&line.status) {
            reporter.line(Some(STEP), &format!("{id}: {}", line.status)).await;
            said.insert(id, line.status);
        }
    }
}
