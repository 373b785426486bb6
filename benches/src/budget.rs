//! How much a row may cost: so many runs, and no new one when its time is up.
//! Invariant: a run that has begun is counted or fails the row; fewer runs than wished are seen in the row's count.

use std::time::{Duration, Instant};

/// For the runs of one part, beside what it takes to prepare them.
const TIME: Duration = Duration::from_secs(115);

/// Bounds of one row.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    runs: usize,
    until: Instant,
}

impl Budget {
    /// So many runs from now on.
    pub fn new(runs: usize) -> Self {
        Self { runs, until: Instant::now() + TIME }
    }

    /// Numbers of the runs, as long as there is time; the first run is never refused.
    pub fn runs(self) -> impl Iterator<Item = usize> {
        (0..self.runs).take_while(move |run| *run == 0 || Instant::now() < self.until)
    }

    /// The same with a first run 0 that warms up and is not counted.
    pub fn warmed_up(self) -> impl Iterator<Item = usize> {
        (0..=self.runs).take_while(move |run| *run <= 1 || Instant::now() < self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_with_the_count_or_the_time() {
        assert_eq!(Budget::new(3).runs().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Budget::new(3).warmed_up().collect::<Vec<_>>(), [0, 1, 2, 3]);
        let late = Budget { runs: 3, until: Instant::now() };
        assert_eq!(late.runs().collect::<Vec<_>>(), [0]);
        assert_eq!(late.warmed_up().collect::<Vec<_>>(), [0, 1]);
    }
}
