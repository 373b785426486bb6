//! The bar chart of a repository's builds: queue time beneath, duration above, the newest at the right. Each result has a colour and a pattern.
//!
//! Horizontal lengths are percentages, so the chart fills its place at every width without scaling its strokes.

use std::fmt::Write;
use std::time::Duration;

use slipway_model::BuildState;

use super::ui::{self, Markup};

const HEIGHT: f64 = 120.0;
const SLOTS: usize = 40;

/// Success is plain; what lies over the others is seen without colours too.
const PATTERNS: &str = r#"<defs><pattern id="over-failed" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="over-line" d="M0 1h7M1 0v7"/></pattern><pattern id="over-cancelled" width="5" height="5" patternUnits="userSpaceOnUse"><circle class="over-dot" cx="2.5" cy="2.5" r="1.2"/></pattern><pattern id="over-running" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-line" width="3" height="6"/></pattern></defs>"#;

/// What each state looks like in the chart.
#[must_use]
pub fn legend() -> Markup {
    let drawn = BuildState::ALL.iter().filter(|state| **state != BuildState::Queued).map(|state| swatch(*state));
    Markup::trusted(drawn.collect())
}

fn swatch(state: BuildState) -> String {
    let rect = |class: &str, fill: &str| format!(r#"<rect class="{class}"{fill} width="12" height="12" rx="2"/>"#);
    let tone = ui::build_tone(state).as_str();
    let over = over(state).map(|fill| rect("over", &format!(" fill=\"{fill}\""))).unwrap_or_default();
    let bar = rect(&format!("bar bar-{tone}"), "");
    format!(
        r#"<span class="state"><svg class="swatch" width="12" height="12" aria-hidden="true" focusable="false">{bar}{over}</svg><span>{state}</span></span>"#
    )
}

fn over(state: BuildState) -> Option<&'static str> {
    match state {
        BuildState::Failed => Some("url(#over-failed)"),
        BuildState::Cancelled => Some("url(#over-cancelled)"),
        BuildState::Running => Some("url(#over-running)"),
        BuildState::Success | BuildState::Queued => None,
    }
}

/// One build in the chart.
#[derive(Clone, Debug)]
pub struct Bar {
    /// `#42` or the like.
    pub label: String,
    /// The build's page.
    pub href: String,
    /// Colour.
    pub state: BuildState,
    /// How long it waited.
    pub queued: Duration,
    /// How long it ran.
    pub ran: Duration,
}

/// The chart of at most the last 40 builds, given oldest first; empty when there is none.
#[must_use]
pub fn bars(bars: &[Bar]) -> Markup {
    let shown = &bars[bars.len().saturating_sub(SLOTS)..];
    let Some(longest) = shown.iter().map(|bar| (bar.queued + bar.ran).as_secs_f64()).reduce(f64::max) else {
        return Markup::default();
    };
    let top = round_up(longest);
    let mut out = String::with_capacity(256 * shown.len());
    write!(out, r#"<svg class="chart" width="100%" height="{}" role="group" aria-label="Queue time and duration of the last {} builds, newest right">"#, HEIGHT + 6.0, shown.len()).ok();
    out.push_str(PATTERNS);
    for line in [0.0, 0.5, 1.0] {
        let y = 3.0 + HEIGHT * line;
        write!(out, r#"<line class="chart-grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>"#).ok();
    }
    let width = 100.0 / SLOTS as f64;
    for (index, bar) in shown.iter().enumerate() {
        let x = width * (SLOTS - shown.len() + index) as f64;
        write_bar(&mut out, bar, x + width * 0.15, width * 0.7, top);
    }
    out.push_str("</svg>");
    let legend = format!(
        r#"<div class="chart-scale" aria-hidden="true"><span>{}</span><span>{}</span><span>0</span></div>"#,
        ui::duration_text(Duration::from_secs_f64(top)),
        ui::duration_text(Duration::from_secs_f64(top / 2.0))
    );
    Markup::trusted(format!(r#"<div class="chart-frame">{legend}{out}</div>"#))
}

fn write_bar(out: &mut String, bar: &Bar, x: f64, width: f64, top: f64) {
    let height = |duration: Duration| (duration.as_secs_f64() / top * HEIGHT).max(if duration.is_zero() { 0.0 } else { 1.5 });
    let (queued, ran) = (height(bar.queued), height(bar.ran).max(3.0));
    let ran_y = 3.0 + HEIGHT - queued - ran;
    let text = format!("Build {}: {}, waited {}, ran {}", bar.label, bar.state, ui::duration_text(bar.queued), ui::duration_text(bar.ran));
    let text = ui::escape(&text);
    let over = over(bar.state)
        .map(|fill| {
            format!(r#"<rect class="over" fill="{fill}" x="{x:.3}%" y="{ran_y:.1}" width="{width:.3}%" height="{ran:.1}" rx="1.5"/>"#)
        })
        .unwrap_or_default();
    // A transparent bar over the whole height makes short builds easy to hit.
    write!(
        out,
        r#"<a href="{}" aria-label="{text}"><title>{text}</title><rect class="chart-hit" x="{x:.3}%" y="3" width="{width:.3}%" height="{HEIGHT}"/><rect class="bar bar-{}" x="{x:.3}%" y="{ran_y:.1}" width="{width:.3}%" height="{ran:.1}" rx="1.5"/>{over}<rect class="bar bar-wait" x="{x:.3}%" y="{:.1}" width="{width:.3}%" height="{queued:.1}"/></a>"#,
        ui::escape(&ui::address(&bar.href)), ui::build_tone(bar.state).as_str(), 3.0 + HEIGHT - queued
    )
    .ok();
}

/// The next round number of seconds, minutes or hours.
fn round_up(seconds: f64) -> f64 {
    const STEPS: [f64; 20] = [
        2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0, 21_600.0,
        43_200.0, 86_400.0,
    ];
    STEPS.into_iter().find(|step| *step >= seconds).unwrap_or(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, ran: u64) -> Bar {
        Bar {
            label: label.to_owned(),
            href: "/demo/hello/builds/1".to_owned(),
            state: BuildState::Success,
            queued: Duration::from_secs(1),
            ran: Duration::from_secs(ran),
        }
    }

    #[test]
    fn no_builds_draw_nothing_and_many_only_the_last() {
        assert_eq!(bars(&[]).as_str(), "");
        let many: Vec<Bar> = (0..60).map(|n| bar(&format!("#{n}"), n)).collect();
        let svg = bars(&many);
        assert_eq!(svg.as_str().matches("<a ").count(), SLOTS);
        assert!(svg.as_str().contains("Build #59:") && !svg.as_str().contains("Build #19:"));
    }

    #[test]
    fn a_result_is_not_told_by_its_colour_alone() {
        let shown = |state| bars(&[Bar { state, ..bar("#1", 5) }]).as_str().split("<a ").nth(1).unwrap().to_owned();
        let pattern = |state: &BuildState| Some(shown(*state).split_once("fill=\"")?.1.split('"').next()?.to_owned());
        let told: std::collections::BTreeSet<_> = BuildState::ALL.iter().filter_map(pattern).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for &state in BuildState::ALL {
            assert!(shown(state).contains(&format!("Build #1: {state}, waited 1.0s, ran 5.0s")), "{state}");
            assert!(swatch(state).contains(state.as_str()));
        }
    }

    #[test]
    fn labels_and_addresses_are_escaped() {
        let mut hostile = bar("<script>\"", 3);
        hostile.href = "javascript:alert(1)".to_owned();
        let svg = bars(&[hostile]);
        assert!(!svg.as_str().contains("<script>") && !svg.as_str().contains("javascript:"));
    }
}
