//! A row of the report: what was measured, how it spread, and whether the target was met.
//! Invariant: a missed target is printed as missed. It is no failure of the program: that is only a row without figures.

use serde_json::{Value, json};

use crate::stats::{Spread, median, spread};

/// What a row should reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// The median is this or more.
    MedianAtLeast(f64),
    /// The median is this or less.
    MedianAtMost(f64),
    /// No run is above this.
    EachAtMost(f64),
    /// A figure beside the others, without a target of its own.
    None,
}

impl Target {
    fn met(self, found: Spread) -> Option<bool> {
        match self {
            Self::MedianAtLeast(bound) => Some(found.median >= bound),
            Self::MedianAtMost(bound) => Some(found.median <= bound),
            Self::EachAtMost(bound) => Some(found.max <= bound),
            Self::None => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::MedianAtLeast(bound) => format!("median >= {bound}"),
            Self::MedianAtMost(bound) => format!("median <= {bound}"),
            Self::EachAtMost(bound) => format!("each <= {bound}"),
            Self::None => String::new(),
        }
    }
}

/// A measured row.
#[derive(Debug, Clone)]
pub struct Row {
    /// Stable name, for machines.
    pub name: &'static str,
    /// What one value is.
    pub unit: &'static str,
    /// One value per run.
    pub values: Vec<f64>,
    /// What it should reach.
    pub target: Target,
    /// What was compared, in words, with the medians behind a ratio.
    pub note: String,
}

impl Row {
    /// The two lines of a row for people, then its JSON line.
    pub fn lines(&self, load: f64) -> Vec<String> {
        let Some(found) = spread(&self.values) else { return vec![not_measured(self.name, "there was no run")] };
        let met = self.target.met(found);
        let verdict = match met {
            Some(true) => format!("{}: met", self.target.words()),
            Some(false) => format!("{}: missed", self.target.words()),
            None => String::new(),
        };
        let runs = self.values.len();
        let Spread { median, min, max } = found;
        vec![
            format!("{:<34} {median:>9.2} {:<14} min {min:.2}, max {max:.2} of {runs} runs   {verdict}", self.name, self.unit),
            format!("    {}", self.note),
            json!({
                "row": self.name, "unit": self.unit, "median": rounded(median), "min": rounded(min), "max": rounded(max),
                "values": self.values.iter().copied().map(rounded).collect::<Vec<_>>(),
                "target": met.map(|_| self.target.words()), "met": met, "load_before": load, "note": self.note,
            })
            .to_string(),
        ]
    }
}

fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

/// The line of a row without figures.
pub fn not_measured(name: &str, why: &str) -> String {
    format!("{name:<34} not measured: {why}")
}

/// The median of some runs as text.
pub fn middle(values: &[f64], digits: usize) -> String {
    median(values).map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Runnable processes of the last minute, over all cores: how busy the machine is with other things.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_said() {
        let row = |target| Row { name: "x", unit: "ms", values: vec![1.0, 2.0, 9.0], target, note: String::new() };
        for (target, met) in [
            (Target::MedianAtMost(2.0), Some(true)),
            (Target::MedianAtMost(1.9), Some(false)),
            (Target::MedianAtLeast(2.0), Some(true)),
            (Target::MedianAtLeast(2.1), Some(false)),
            (Target::EachAtMost(8.9), Some(false)),
            (Target::EachAtMost(9.0), Some(true)),
            (Target::None, None),
        ] {
            let lines = row(target).lines(0.5);
            assert_eq!(lines[0].contains(": missed"), met == Some(false), "{target:?}: {}", lines[0]);
            let told: Value = serde_json::from_str(&lines[2]).unwrap();
            assert_eq!(told["met"], json!(met));
            assert_eq!(told["values"], json!([1.0, 2.0, 9.0]));
        }
    }
}
