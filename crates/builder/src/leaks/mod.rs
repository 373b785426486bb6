//! Before anything is promoted: whether an image holds a secret that its build was given.
//!
//! The invariant: a secret that is found is named and never shown; its image is not pushed, and when a hook pushed it by itself, no tag moves.
//! It is a net under honest mistakes: what compresses or encrypts a secret hides it. Deliberately elsewhere: output (`mask`).

mod search;
mod tar;

use std::collections::BTreeSet;

use slipway_buildkit::{Engine, SavedImage};
use slipway_model::{FailureCode, Phase};

use self::search::{Found, Leak, Place};
pub(crate) use self::search::{Search, Wanted};
use crate::failure::Failure;
use crate::report::Reporter;
use crate::steps::begun;

const STEP: &str = "secrets";
/// Leaks that a person is told of at once.
const TOLD: usize = 3;
/// Characters of an instruction or a file's name that are shown.
const SHOWN: usize = 120;

/// Looks at the images of one build, at each once.
pub(crate) struct Check<'a> {
    engine: &'a Engine,
    wanted: Option<Wanted>,
    reporter: &'a Reporter,
    /// Ids of images that hold none.
    clean: BTreeSet<String>,
}

impl<'a> Check<'a> {
    /// For values by what they are called.
    pub(crate) fn new<'v>(engine: &'a Engine, values: impl IntoIterator<Item = (&'v str, &'v str)>, reporter: &'a Reporter) -> Self {
        Self { engine, wanted: Wanted::new(values), reporter, clean: BTreeSet::new() }
    }

    /// Looks at an image, if it is there.
    pub(crate) async fn image(&mut self, name: &str) -> Result<(), Failure> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let Some(id) = self.engine.image_id(name).await?.filter(|id| !self.clean.contains(id)) else { return Ok(()) };
        let step = begun(STEP, Phase::Push, "look for secrets in the image", &self.reporter.clock);
        self.reporter.step(step.clone()).await;
        let looked = look(self.engine, &id, wanted).await;
        let done = match looked {
            Ok(found) if found.leaks.is_empty() => {
                self.reporter.line(Some(STEP), &none_found(wanted.names(), found.compressed)).await;
                self.clean.insert(id);
                Ok(())
            }
            Ok(found) => {
                // Another build of the same source would take it for its own.
                self.engine.remove_image(name).await.ok();
                Err(Failure::new(FailureCode::SecretInImage, words(&found, |text| self.reporter.mask(text))))
            }
            Err(failure) => Err(failure),
        };
        self.reporter.end_step(step, done.as_ref().err().map(|failure| failure.reason.text.clone())).await;
        done
    }

    /// Looks at all images that have a name in a repository: the engine is one build's alone, so each of them is this build's.
    pub(crate) async fn names_in(&mut self, repository: &str) -> Result<(), Failure> {
        if self.wanted.is_none() {
            return Ok(());
        }
        for name in self.engine.names_in(repository).await?.into_keys() {
            self.image(&name).await?;
        }
        Ok(())
    }
}

async fn look(engine: &Engine, image: &str, wanted: &Wanted) -> Result<Found, Failure> {
    let mut tar = match engine.save(image).await? {
        SavedImage::Tar(tar) => tar,
        SavedImage::Configuration(text) => return Ok(wanted.in_configuration(&text)),
    };
    let mut search = Search::new(wanted);
    while let Some(bytes) = tar.chunk().await? {
        search.feed(&bytes);
        // An engine beside us sends faster than anything waits.
        tokio::task::yield_now().await;
    }
    search.finish().map_err(|why| Failure::internal("whether the image holds secrets cannot be told", why))
}

fn none_found(names: &[String], compressed: usize) -> String {
    let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let unseen = if compressed == 0 {
        String::new()
    } else {
        format!("; {compressed} layers that the engine keeps compressed were not looked into")
    };
    format!("not in the image: {names}{unseen}")
}

/// What is cut for a person is masked before: a piece of a secret is no secret that `mask` knows.
fn words(found: &Found, mask: impl Fn(&str) -> String) -> String {
    let short = |text: &str| {
        let text: String = mask(text).chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect();
        if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN).chain(['…']).collect() }
    };
    let told: Vec<String> = found.leaks.iter().take(TOLD).map(|leak| one(leak, &short)).collect();
    let more = found.leaks.len().saturating_sub(TOLD);
    let more = match more {
        0 => String::new(),
        1 => "; and one place more".to_owned(),
        _ => format!("; and {more} places more"),
    };
    format!("the image holds what is secret: {}{more}", told.join("; "))
}

fn one(leak: &Leak, short: &impl Fn(&str) -> String) -> String {
    let by = |instruction: &Option<String>| {
        let text = instruction.as_deref().filter(|text| !text.is_empty());
        text.map(|text| format!(", by `{}`", short(text))).unwrap_or_default()
    };
    let place = match &leak.place {
        Place::Layer { number, instruction, file } => {
            let file = file.as_deref().map(|file| format!(", file `{}`", short(file))).unwrap_or_default();
            format!("in layer {number}{file}{}", by(instruction))
        }
        Place::Configuration { instruction } => format!("in its configuration{}", by(instruction)),
    };
    format!("`{}` {place}", leak.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_which_secret_and_where_and_never_its_value() {
        let leak = |place| Leak { name: "TOKEN".into(), place };
        let long = format!("RUN echo {} {}", "x".repeat(108), "s3cret-value");
        let found = Found {
            leaks: vec![
                leak(Place::Layer { number: 2, instruction: Some("COPY `x` /app".into()), file: Some("app/s3cret-value".into()) }),
                leak(Place::Configuration { instruction: Some(long) }),
                leak(Place::Configuration { instruction: None }),
                leak(Place::Layer { number: 3, instruction: None, file: None }),
            ],
            compressed: 0,
        };
        let said = words(&found, |text| text.replace("s3cret-value", "***"));
        assert_eq!(
            said,
            format!(
                "the image holds what is secret: `TOKEN` in layer 2, file `app/***`, by `COPY  x  /app`; `TOKEN` in its configuration, by `RUN echo {} **…`; `TOKEN` in its configuration; and one place more",
                "x".repeat(108)
            )
        );
    }
}
