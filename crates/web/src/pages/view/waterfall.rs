//! The waterfall of a build: a row for the wait, for each phase and for each step, its bar placed by time. What came from the cache is hatched.
//!
//! Invariant: whatever a bar shows stands in words in its row, so that nothing is told by colour or place alone; a page stays usable
//! however many steps there are.

use std::fmt::Write;
use std::time::Duration;

use slipway_model::{Phase, Step, StepState, Timestamp};

use super::plain;
use super::ui::{self, Markup};

/// Steps that are drawn of one phase.
const MAX_ROWS: usize = 200;
/// The narrowest bar, in percent.
const LEAST: f64 = 0.6;
/// Of the time axis, the wait in the queue takes no more than this part.
const MOST_WAIT: f64 = 0.2;
const MAX_TICKS: f64 = 4.0;

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

/// What there is to draw.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// When the build entered the queue and when a builder took it.
    pub waited: Option<(Timestamp, Timestamp)>,
    /// Phases.
    pub phases: &'a [PhaseSpan],
    /// Steps.
    pub steps: &'a [Step],
    /// The moment up to which open ones are drawn.
    pub now: Timestamp,
}

/// The time axis: everything between `from` and `from + length`, in percent. `zero` is where the work began.
struct Axis {
    from: i64,
    length: f64,
    zero: Timestamp,
    now: Timestamp,
}

impl Axis {
    fn of(course: &Course<'_>) -> Option<Self> {
        let Course { waited, phases, steps, now } = *course;
        let begins = phases.iter().filter_map(|p| p.from).chain(steps.iter().filter_map(|s| s.started_at));
        let ends = phases
            .iter()
            .filter_map(|p| p.from.map(|_| p.to.unwrap_or(now)))
            .chain(steps.iter().filter_map(|s| s.started_at.map(|_| s.finished_at.unwrap_or(now))));
        let zero = begins.min()?;
        let worked = (ends.max()?.as_millis() - zero.as_millis()).max(1) as f64;
        // A night in the queue must not make a build of a minute a line.
        let wait = waited.map_or(0.0, |(queued, _)| (zero.as_millis() - queued.as_millis()).max(0) as f64);
        let wait = wait.min(worked * MOST_WAIT / (1.0 - MOST_WAIT)).ceil();
        Some(Self { from: zero.as_millis() - wait as i64, length: worked + wait, zero, now })
    }

    fn percent(&self, at: Timestamp) -> f64 {
        (at.as_millis() - self.from) as f64 / self.length * 100.0
    }

    /// Left edge and width in percent; a step of no time is still visible.
    fn place(&self, from: Timestamp, to: Option<Timestamp>) -> (f64, f64) {
        let left = self.percent(from).clamp(0.0, 100.0 - LEAST);
        let width = self.percent(to.unwrap_or(self.now)) - left;
        // Not `clamp`: after rounding, what is left can be a hair less than the least.
        (left, width.max(LEAST).min(100.0 - left))
    }

    /// `took` is how long it was; a bar whose beginning lies before the axis is shorter than that.
    fn bar(&self, class: &str, from: Timestamp, to: Option<Timestamp>, words: &str) -> String {
        let (x, width) = self.place(from, to);
        let hatch = match class {
            "cached" => format!(r#"<rect fill="url(#hatch)" x="{x:.2}%" y="1" width="{width:.2}%" height="10" rx="2"/>"#),
            _ => String::new(),
        };
        format!(
            r#"<svg class="fall-bar" width="100%" height="12" aria-hidden="true" focusable="false"><title>{words}</title><rect class="bar bar-{class}" x="{x:.2}%" y="1" width="{width:.2}%" height="10" rx="2"/>{hatch}</svg>"#
        )
    }

    /// When something began, counted from the beginning of the work.
    fn began(&self, at: Timestamp) -> String {
        match at.as_millis() < self.zero.as_millis() {
            true => "before the build began".to_owned(),
            false => format!("began at {}", ui::duration_text(at.since(self.zero))),
        }
    }

    /// The scale above the bars.
    fn write_scale(&self, out: &mut String) {
        const STEPS: [u64; 18] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 604_800];
        let worked = self.length - (self.zero.as_millis() - self.from) as f64;
        let step = STEPS.into_iter().find(|step| worked / (*step as f64 * 1000.0) <= MAX_TICKS).unwrap_or(STEPS[17]);
        out.push_str(r#"<div class="fall-scale" aria-hidden="true"><svg width="100%" height="20" focusable="false">"#);
        let mut at = Duration::ZERO;
        while (at.as_millis() as f64) < worked && at < Duration::from_secs(step * 8) {
            let x = self.percent(self.zero.plus(at));
            // The last one would stand out of the picture.
            if x <= 90.0 {
                let words = if at.is_zero() { "0".to_owned() } else { tick_text(at.as_secs()) };
                write!(out, r#"<line class="fall-tick" x1="{x:.2}%" x2="{x:.2}%" y1="13" y2="20"/><text class="fall-tick-text" x="{x:.2}%" y="10">{words}</text>"#).ok();
            }
            at += Duration::from_secs(step);
        }
        out.push_str("</svg></div>");
    }
}

fn tick_text(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ => ui::duration_text(Duration::from_secs(seconds)),
    }
}

/// The waterfall; empty while nothing has begun.
#[must_use]
pub fn waterfall(course: &Course<'_>) -> Markup {
    let Some(axis) = Axis::of(course) else { return Markup::default() };
    let steps = course.steps;
    let mut out = String::with_capacity(600 * (steps.len().min(MAX_ROWS) + 8));
    out.push_str(r#"<svg width="0" height="0" class="defs" aria-hidden="true" focusable="false"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-line" width="3" height="6"/></pattern></defs></svg>"#);
    axis.write_scale(&mut out);
    out.push_str(r#"<ol class="fall">"#);
    if let Some((queued, taken)) = course.waited {
        let time = ui::duration_text(taken.since(queued));
        let bar = axis.bar("wait", queued, Some(taken), &format!("waited {time}"));
        write_phase(&mut out, "queue", &bar, &time, "waited for a builder");
    }
    for phase in Phase::ALL {
        let own: Vec<&Step> = steps.iter().filter(|step| step.phase == *phase).collect();
        let span = course.phases.iter().find(|span| span.phase == *phase);
        if own.is_empty() && span.is_none_or(|span| span.from.is_none()) {
            continue;
        }
        write_own_phase(&mut out, &axis, *phase, span, &own);
        let (drawn, left_out) = worth_drawing(&own, axis.now);
        for step in drawn {
            write_step(&mut out, &axis, step);
        }
        if left_out > 0 {
            let words = ui::count(left_out, "step is", "steps are");
            write!(out, r#"<li class="fall-more">{words} not drawn: those that took the least time. The log has all of them.</li>"#).ok();
        }
    }
    out.push_str("</ol>");
    Markup::trusted(out)
}

fn took(step: &Step, now: Timestamp) -> Duration {
    step.started_at.map(|from| step.finished_at.unwrap_or(now).since(from)).unwrap_or_default()
}

/// The steps that are drawn, in their order, and how many are not: what failed or is at work first, then what took longest.
fn worth_drawing<'s>(own: &[&'s Step], now: Timestamp) -> (Vec<&'s Step>, usize) {
    let mut order: Vec<usize> = (0..own.len()).collect();
    order.sort_by_key(|at| {
        let step = own[*at];
        let first = matches!(step.state, StepState::Failed | StepState::Running);
        (std::cmp::Reverse(first), std::cmp::Reverse(took(step, now)), *at)
    });
    order.truncate(MAX_ROWS);
    order.sort_unstable();
    (order.iter().map(|at| own[*at]).collect(), own.len().saturating_sub(MAX_ROWS))
}

fn write_phase(out: &mut String, name: &str, bar: &str, time: &str, words: &str) {
    write!(out, r#"<li class="fall-phase"><span class="fall-name">{name}<span class="sr">: {words} </span></span><span class="fall-track">{bar}</span><span class="fall-time">{time}</span></li>"#).ok();
}

fn write_own_phase(out: &mut String, axis: &Axis, phase: Phase, span: Option<&PhaseSpan>, own: &[&Step]) {
    let from = span.and_then(|span| span.from).or_else(|| own.iter().filter_map(|step| step.started_at).min());
    // A phase whose end nobody told ended with its last step, unless one is at work.
    let open = own.iter().any(|step| matches!(step.state, StepState::Running | StepState::Pending));
    let last = if open { None } else { own.iter().filter_map(|step| step.finished_at).max() };
    let to = span.and_then(|span| span.to).or(last);
    let Some(from) = from else { return write_phase(out, phase.as_str(), "", "", "not begun") };
    let time = ui::duration_text(to.unwrap_or(axis.now).since(from));
    let words = axis.began(from);
    let bar = axis.bar("phase", from, to, &format!("{phase}: {words}, took {time}"));
    write_phase(out, phase.as_str(), &bar, &time, &words);
}

fn write_step(out: &mut String, axis: &Axis, step: &Step) {
    let tone = ui::step_tone(step.state);
    let word = if step.cached { "cached" } else { step.state.as_str() };
    let time = ui::duration_text(took(step, axis.now));
    let name = ui::escape(&plain::line(&step.name));
    let (bar, time, words) = match step.started_at {
        Some(from) => {
            let words = format!("{word}, {}, took {time}", axis.began(from));
            let class = if step.cached { "cached" } else { tone.as_str() };
            (axis.bar(class, from, step.finished_at, &words), if step.cached { "cached".to_owned() } else { time }, words)
        }
        None if step.state == StepState::Pending => (String::new(), String::new(), "not begun".to_owned()),
        None => (String::new(), word.to_owned(), word.to_owned()),
    };
    write!(
        out,
        r##"<li class="fall-step fall-{}"><span class="fall-name">{}<a class="fall-link" href="#log" data-step="{}"><code dir="ltr">{name}</code><span class="tip"> {words}</span></a></span><span class="fall-track">{bar}</span><span class="fall-time">{time}</span></li>"##,
        tone.as_str(), ui::mark(tone), ui::escape(&step.id)
    )
    .ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn step(id: &str, name: &str, from: i64, to: i64) -> Step {
        Step {
            id: id.to_owned(),
            phase: Phase::Build,
            name: name.to_owned(),
            state: StepState::Success,
            cached: false,
            started_at: Some(at(from)),
            finished_at: Some(at(to)),
            error: None,
        }
    }

    fn drawn(waited: Option<(Timestamp, Timestamp)>, steps: &[Step], now: i64) -> String {
        waterfall(&Course { waited, phases: &[], steps, now: at(now) }).as_str().to_owned()
    }

    #[test]
    fn every_step_has_a_place_wherever_it_begins_and_ends() {
        for length in [1, 7, 1_000, 20_777] {
            let axis = Axis { from: 0, length: length as f64, zero: at(0), now: at(length) };
            for (from, to) in
                [(0, 0), (0, length), (length, length), (length - 1, length), (length, 0), (length + 5_000, length + 6_000), (-9_000, 0)]
            {
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
        let html = drawn(None, &steps, 20_000);
        assert!(html.contains(r#"x="0.00%" y="1" width="50.00%""#), "{html}");
        assert!(html.contains(r#"x="50.00%" y="1" width="50.00%""#), "{html}");
        assert!(html.contains("success, began at 5.0s, took 5.0s") && html.contains(">0</text>"), "{html}");
    }

    #[test]
    fn a_long_wait_leaves_room_for_the_work() {
        let steps = [step("a", "first", 100_000, 180_000)];
        let short = drawn(Some((at(90_000), at(100_000))), &steps, 0);
        assert!(short.contains(r#"x="0.00%" y="1" width="11.11%""#) && short.contains("waited 10s"), "{short}");
        let long = drawn(Some((at(-86_400_000), at(100_000))), &steps, 0);
        assert!(long.contains(r#"x="0.00%" y="1" width="20.00%""#) && long.contains("waited 1d 00h"), "{long}");
        assert!(long.contains(r#"x="20.00%" y="1" width="80.00%""#), "{long}");
    }

    #[test]
    fn cached_steps_are_hatched_and_names_are_words() {
        let mut cached = step("a\"", "<script>alert(1)</script>\u{202e}\u{1b}[31mred", 0, 1000);
        cached.cached = true;
        let html = drawn(None, &[cached], 1000);
        assert!(html.contains("url(#hatch)") && html.contains("data-step=\"a&quot;\"") && html.contains("cached, began at"));
        assert!(!html.contains("<script>") && !html.contains('\u{202e}') && !html.contains('\u{1b}'), "{html}");
    }

    #[test]
    fn of_thousands_of_steps_those_that_matter_are_drawn() {
        let mut steps: Vec<Step> = (0..5000).map(|n| step(&n.to_string(), &format!("step {n}"), n * 10, n * 10 + 9)).collect();
        steps[17].state = StepState::Failed;
        steps[18].finished_at = Some(at(60_000));
        let html = drawn(None, &steps, 60_000);
        assert_eq!(html.matches("fall-step").count(), MAX_ROWS);
        assert!(html.contains("4800 steps are not drawn") && html.contains(">step 17<") && html.contains(">step 18<"));
        assert!(html.len() < 300_000, "{}", html.len());
    }

    #[test]
    fn a_phase_goes_on_while_a_step_is_at_work() {
        let mut running = step("b", "second", 2000, 0);
        (running.state, running.finished_at) = (StepState::Running, None);
        let phases = [PhaseSpan { phase: Phase::Build, from: Some(at(0)), to: None }];
        let drawn = |steps: &[Step]| waterfall(&Course { waited: None, phases: &phases, steps, now: at(10_000) }).as_str().to_owned();
        assert!(drawn(&[step("a", "first", 0, 2000), running]).contains("build: began at 0.0s, took 10s"));
        assert!(drawn(&[step("a", "first", 0, 2000)]).contains("build: began at 0.0s, took 2.0s"));
    }

    #[test]
    fn nothing_begun_draws_nothing() {
        assert_eq!(drawn(Some((at(0), at(5))), &[], 0), "");
    }
}
