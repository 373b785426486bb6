//! The steps of one build as they were last reported, so that none stays open when the build ends.

use std::collections::HashMap;

use slipway_model::{Clock, Phase, Step, StepState};

const MAX_NAME: usize = 1000;
const MAX_ID: usize = 128;

/// Steps by id.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    known: HashMap<String, Step>,
}

impl Steps {
    /// Keeps the step and returns it as it is to be sent; `None` when nothing changed.
    pub(crate) fn put(&mut self, mut step: Step) -> Option<Step> {
        step.id = cut(&step.id, MAX_ID);
        step.name = cut(&step.name, MAX_NAME);
        step.error = step.error.map(|error| cut(&error, MAX_NAME));
        if self.known.get(&step.id) == Some(&step) {
            return None;
        }
        self.known.insert(step.id.clone(), step.clone());
        Some(step)
    }

    /// Ends every step that is still at work.
    pub(crate) fn close(&mut self, state: StepState, clock: &Clock) -> Vec<Step> {
        let mut closed = Vec::new();
        for step in self.known.values_mut().filter(|step| step.state == StepState::Running) {
            step.state = state;
            step.finished_at = Some(clock.now());
            closed.push(step.clone());
        }
        closed.sort_by_key(|step| step.started_at);
        closed
    }
}

/// A step of ours that begins now.
pub(crate) fn begun(id: &str, phase: Phase, name: &str, clock: &Clock) -> Step {
    Step {
        id: id.to_owned(),
        phase,
        name: name.to_owned(),
        state: StepState::Running,
        cached: false,
        started_at: Some(clock.now()),
        finished_at: None,
        error: None,
    }
}

pub(crate) fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
