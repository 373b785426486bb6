//! The waterfall of a build: a row per step, its bar placed by time, cached steps hatched, grouped by phase.

use std::fmt::Write;

use slipway_model::{Phase, Step, StepState, Timestamp};

use super::ui::{self, Markup};

const MAX_ROWS: usize = 300;
/// The narrowest bar, in percent.
const LEAST: f64 = 0.6;

/// When a phase began and ended.
#[derive(Clone, Copy, Debug)]
pub struct PhaseSpan {
    /// Which.
    pub phase: Phase,
    /// Begin.
    pub from: Option<Timestamp>,
    /// End.
    pub to: Option<Timestamp>,
}

/// The time axis: everything between `from` and `to`, in percent.
struct Axis {
    from: i64,
    length: f64,
    now: Timestamp,
}

impl Axis {
    fn of(phases: &[PhaseSpan], steps: &[Step], now: Timestamp) -> Option<Self> {
        let begins = phases.iter().filter_map(|p| p.from).chain(steps.iter().filter_map(|s| s.started_at));
        let ends = phases
            .iter()
            .filter_map(|p| p.from.map(|_| p.to.unwrap_or(now)))
            .chain(steps.iter().filter_map(|s| s.started_at.map(|_| s.finished_at.unwrap_or(now))));
        let from = begins.map(Timestamp::as_millis).min()?;
        let to = ends.map(Timestamp::as_millis).max()?;
        Some(Self { from, length: (to - from).max(1) as f64, now })
    }

    /// Left edge and width in percent; a step of no time is still visible.
    fn place(&self, from: Timestamp, to: Option<Timestamp>) -> (f64, f64) {
        let left = ((from.as_millis() - self.from) as f64 / self.length * 100.0).clamp(0.0, 100.0 - LEAST);
        let width = (to.unwrap_or(self.now).as_millis() - from.as_millis()) as f64 / self.length * 100.0;
        // Not `clamp`: after rounding, what is left can be a hair less than the least.
        (left, width.max(LEAST).min(100.0 - left))
    }

    fn bar(&self, class: &str, from: Timestamp, to: Option<Timestamp>, hatched: &str) -> String {
        let (x, width) = self.place(from, to);
        format!(
            r#"<svg class="fall-bar" width="100%" height="12" aria-hidden="true" focusable="false"><rect class="bar bar-{class}" x="{x:.2}%" y="1" width="{width:.2}%" height="10" rx="2"/>{}</svg>"#,
            if hatched.is_empty() {
                String::new()
            } else {
                format!(r#"<rect fill="url(#hatch)" x="{x:.2}%" y="1" width="{width:.2}%" height="10" rx="2"/>"#)
            }
        )
    }
}

/// The waterfall; empty while nothing has begun.
#[must_use]
pub fn waterfall(phases: &[PhaseSpan], steps: &[Step], now: Timestamp) -> Markup {
    let Some(axis) = Axis::of(phases, steps, now) else { return Markup::default() };
    let mut out = String::with_capacity(400 * (steps.len() + 4));
    out.push_str(r#"<svg width="0" height="0" class="defs" aria-hidden="true" focusable="false"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-line" width="3" height="6"/></pattern></defs></svg>"#);
    out.push_str(r#"<ol class="fall">"#);
    for phase in Phase::ALL {
        let own: Vec<&Step> = steps.iter().filter(|step| step.phase == *phase).collect();
        let span = phases.iter().find(|span| span.phase == *phase);
        if own.is_empty() && span.is_none_or(|span| span.from.is_none()) {
            continue;
        }
        write_phase(&mut out, &axis, *phase, span, &own);
        for step in own.iter().take(MAX_ROWS) {
            write_step(&mut out, &axis, step);
        }
        if own.len() > MAX_ROWS {
            write!(out, r#"<li class="fall-more">{} more steps; the log has all of them</li>"#, own.len() - MAX_ROWS).ok();
        }
    }
    out.push_str("</ol>");
    Markup::trusted(out)
}

fn write_phase(out: &mut String, axis: &Axis, phase: Phase, span: Option<&PhaseSpan>, own: &[&Step]) {
    let from = span.and_then(|span| span.from).or_else(|| own.iter().filter_map(|step| step.started_at).min());
    let to = span.and_then(|span| span.to).or_else(|| own.iter().map(|step| step.finished_at).max().flatten());
    let (bar, time) = match from {
        Some(from) => (axis.bar("phase", from, to, ""), ui::duration_text(to.unwrap_or(axis.now).since(from))),
        None => (String::new(), String::new()),
    };
    write!(out, r#"<li class="fall-phase"><span class="fall-name">{phase}</span><span class="fall-track">{bar}</span><span class="fall-time">{time}</span></li>"#).ok();
}

fn write_step(out: &mut String, axis: &Axis, step: &Step) {
    let tone = ui::step_tone(step.state);
    let word = if step.cached { "cached" } else { step.state.as_str() };
    let (bar, time) = match step.started_at {
        Some(from) => (
            axis.bar(if step.cached { "cached" } else { tone.as_str() }, from, step.finished_at, if step.cached { "hatched" } else { "" }),
            if step.cached { "cached".to_owned() } else { ui::duration_text(step.finished_at.unwrap_or(axis.now).since(from)) },
        ),
        None => (String::new(), if step.state == StepState::Pending { String::new() } else { word.to_owned() }),
    };
    let name = ui::escape(&step.name);
    write!(
        out,
        r##"<li class="fall-step fall-{}"><span class="fall-name" title="{name}">{}<span class="sr">{word}: </span><a class="fall-link" href="#log" data-step="{}"><code dir="ltr">{name}</code></a></span><span class="fall-track">{bar}</span><span class="fall-time">{time}</span></li>"##,
        tone.as_str(), ui::mark(tone), ui::escape(&step.id)
    )
    .ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: &str, name: &str, from: i64, to: i64) -> Step {
        Step {
            id: id.to_owned(),
            phase: Phase::Build,
            name: name.to_owned(),
            state: StepState::Success,
            cached: false,
            started_at: Some(Timestamp::from_millis(from)),
            finished_at: Some(Timestamp::from_millis(to)),
            error: None,
        }
    }

    #[test]
    fn every_step_has_a_place_wherever_it_begins_and_ends() {
        let at = Timestamp::from_millis;
        for length in [1, 7, 1_000, 20_777] {
            let axis = Axis { from: 0, length: length as f64, now: at(length) };
            for (from, to) in [(0, 0), (0, length), (length, length), (length - 1, length), (length, 0), (length + 5_000, length + 6_000)] {
                let (left, width) = axis.place(at(from), Some(at(to)));
                assert!(
                    (0.0..=100.0).contains(&left) && width > 0.5 && left + width <= 100.001,
                    "{length}: {from} to {to} is {left} + {width}"
                );
            }
        }
    }

    #[test]
    fn bars_stand_where_their_time_is() {
        let steps = [step("a", "first", 0, 5000), step("b", "second", 5000, 10_000)];
        let html = waterfall(&[], &steps, Timestamp::from_millis(20_000));
        assert!(html.as_str().contains(r#"x="0.00%" y="1" width="50.00%""#), "{html}");
        assert!(html.as_str().contains(r#"x="50.00%" y="1" width="50.00%""#), "{html}");
    }

    #[test]
    fn cached_steps_are_hatched_and_names_escaped() {
        let mut cached = step("a\"", "<script>alert(1)</script>", 0, 1000);
        cached.cached = true;
        let html = waterfall(&[], &[cached], Timestamp::from_millis(1000));
        assert!(html.as_str().contains("url(#hatch)") && html.as_str().contains("data-step=\"a&quot;\""));
        assert!(!html.as_str().contains("<script>"));
    }

    #[test]
    fn nothing_begun_draws_nothing() {
        assert_eq!(waterfall(&[], &[], Timestamp::from_millis(0)).as_str(), "");
    }
}
