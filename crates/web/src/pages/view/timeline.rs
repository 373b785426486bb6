//! The timeline of a repository's builds: a strip of 24 hours for each day, above that day's builds.
//!
//! Invariant: the strip is a picture of the rows beneath it and shows nothing that they do not say, so screen readers and the keyboard pass it by.
//! Days are of UTC, as all times of the pages are.

use std::fmt::Write;

use slipway_model::{BuildState, Timestamp};

use super::builds::BuildRow;
use super::ui::{self, Markup};

const DAY: i64 = 24 * 3600 * 1000;
/// Builds that ran side by side stand in so many lanes; more of them lie over each other.
const LANES: usize = 3;
const LANE: usize = 6;
/// The narrowest bar, in percent: about seven minutes.
const LEAST: f64 = 0.5;

/// A day with its builds.
#[derive(Clone, Debug)]
pub struct Day {
    /// `Today`, `21 Nov`.
    pub name: String,
    /// How many builds there were and how they ended.
    pub summary: String,
    /// The picture.
    pub strip: Markup,
    /// The builds, newest first.
    pub rows: Vec<BuildRow>,
}

/// The rows, newest first, by the day on which they entered the queue.
#[must_use]
pub fn days(rows: Vec<BuildRow>, now: Timestamp) -> Vec<Day> {
    let mut days: Vec<(i64, Vec<BuildRow>)> = Vec::new();
    for row in rows {
        let day = row.queued_at.as_millis().div_euclid(DAY);
        match days.last_mut() {
            Some((last, rows)) if *last == day => rows.push(row),
            _ => days.push((day, vec![row])),
        }
    }
    days.into_iter()
        .map(|(day, rows)| Day { name: name(day, now), summary: summary(&rows), strip: strip(day * DAY, &rows, now), rows })
        .collect()
}

fn name(day: i64, now: Timestamp) -> String {
    match now.as_millis().div_euclid(DAY) - day {
        0 => "Today".to_owned(),
        1 => "Yesterday".to_owned(),
        _ => {
            let text = ui::date_text(Timestamp::from_millis(day * DAY), now);
            text.strip_suffix(" 00:00").unwrap_or(&text).to_owned()
        }
    }
}

fn summary(rows: &[BuildRow]) -> String {
    let failed = rows.iter().filter(|row| row.state == BuildState::Failed).count();
    let builds = ui::count(rows.len(), "build", "builds");
    if failed > 0 { format!("{builds}, {failed} failed") } else { builds }
}

fn strip(midnight: i64, rows: &[BuildRow], now: Timestamp) -> Markup {
    let percent = |at: Timestamp| ((at.as_millis() - midnight) as f64 / DAY as f64 * 100.0).clamp(0.0, 100.0);
    let height = LANES * LANE;
    let mut out = format!(r#"<svg class="day-strip" width="100%" height="{}" aria-hidden="true" focusable="false">"#, height + 14);
    for hour in [0, 6, 12, 18, 24] {
        let x = f64::from(hour) / 24.0 * 100.0;
        let anchor = match hour {
            0 => "start",
            24 => "end",
            _ => "middle",
        };
        write!(out, r#"<line class="chart-grid" x1="{x}%" x2="{x}%" y1="0" y2="{height}"/><text class="fall-tick-text" text-anchor="{anchor}" x="{x}%" y="{}">{hour:02}:00</text>"#, height + 12).ok();
    }
    let mut ends = [f64::MIN; LANES];
    // The oldest first, so that lanes fill in the order of time.
    for row in rows.iter().rev() {
        let end = row.finished_at.unwrap_or(now);
        let (from, to) = (percent(row.queued_at), percent(end));
        let width = (to - from).max(LEAST).min(100.0 - from).max(0.1);
        let lane = ends.iter().position(|end| *end <= from).unwrap_or(LANES - 1);
        ends[lane] = from + width;
        let title = ui::escape(&format!("{}: {}, {}", row.label, row.state, ui::duration_text(end.since(row.queued_at))));
        write!(
            out,
            r#"<a href="{}" tabindex="-1"><title>{title}</title><rect class="bar bar-{}" x="{from:.3}%" y="{}" width="{width:.3}%" height="{}" rx="1"/></a>"#,
            ui::escape(&ui::address(&row.href)),
            ui::build_tone(row.state).as_str(),
            lane * LANE,
            LANE - 1
        )
        .ok();
    }
    out.push_str("</svg>");
    Markup::trusted(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_385_000_000;

    fn row(label: &str, queued: i64, minutes: i64) -> BuildRow {
        let at = Timestamp::from_millis;
        BuildRow {
            href: "/acme/shop/builds/1".into(),
            label: label.into(),
            repository: "acme/shop".into(),
            state: BuildState::Failed,
            detail: None,
            source_ref: "refs/heads/main".into(),
            commit: "c".into(),
            message: None,
            tags: vec![],
            cause: "push".into(),
            queued_at: at(queued),
            started_at: None,
            finished_at: Some(at(queued + minutes * 60_000)),
        }
    }

    #[test]
    fn builds_stand_under_their_day() {
        let midnight = NOW.div_euclid(DAY) * DAY;
        let rows = vec![
            row("#5", midnight, 10),
            row("#4", midnight - 1, 10),
            row("#3", midnight - DAY, 1),
            row("#2", midnight - 4 * DAY, 1),
            row("#1", midnight - 400 * DAY, 1),
        ];
        let days = days(rows, Timestamp::from_millis(NOW));
        let told: Vec<_> = days.iter().map(|day| (day.name.as_str(), day.summary.as_str())).collect();
        assert_eq!(
            told,
            [
                ("Today", "1 build, 1 failed"),
                ("Yesterday", "2 builds, 2 failed"),
                ("18 Nov", "1 build, 1 failed"),
                ("18 Oct 2025", "1 build, 1 failed")
            ]
        );
        assert!(days[1].strip.as_str().contains(r#"x="100.000%""#), "the last millisecond is still in the picture: {:?}", days[1].strip);
    }

    #[test]
    fn what_ran_side_by_side_stands_in_lanes() {
        let day = NOW.div_euclid(DAY) * DAY;
        let rows = (0..5).rev().map(|n| row(&format!("#{n}\"<"), day + n * 60_000, 120)).collect::<Vec<_>>();
        let html = days(rows, Timestamp::from_millis(NOW)).remove(0).strip;
        let lanes = |y: usize| html.as_str().matches(&format!(r#"y="{y}" width"#)).count();
        assert_eq!([lanes(0), lanes(6), lanes(12)], [1, 1, 3]);
        assert!(html.as_str().contains("#4&quot;&lt;: failed, 2h 00m") && !html.as_str().contains("\"<:"));
    }
}
