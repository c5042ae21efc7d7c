//! Two sides of a comparison, measured by turns.

use std::time::Duration;

/// Two sides measured by turns, A B A B, so that whatever else the machine does meanwhile meets both alike.
pub(crate) struct Turns<A, B> {
    first: A,
    second: B,
    times: Vec<(Duration, Duration)>,
}

impl<A: FnMut() -> Duration, B: FnMut() -> Duration> Turns<A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        Self { first, second, times: Vec::new() }
    }

    /// Measures both sides so many times, and gives back how long each took in all.
    pub(crate) fn take(&mut self, rounds: u64) -> (Duration, Duration) {
        let mut total = (Duration::ZERO, Duration::ZERO);
        for _ in 0..rounds {
            let round = ((self.first)(), (self.second)());
            total = (total.0 + round.0, total.1 + round.1);
            self.times.push(round);
        }
        total
    }

    /// The medians of all rounds so far, if there were any.
    pub(crate) fn medians(&self) -> Option<Medians> {
        let first = median(self.times.iter().map(|times| times.0).collect())?;
        let second = median(self.times.iter().map(|times| times.1).collect())?;
        Some(Medians { first, second, rounds: self.times.len() })
    }
}

/// What a comparison came to.
pub(crate) struct Medians {
    pub(crate) first: Duration,
    pub(crate) second: Duration,
    pub(crate) rounds: usize,
}

impl Medians {
    /// How many times as long the second side takes as the first.
    pub(crate) fn ratio(&self) -> f64 {
        self.second.as_secs_f64() / self.first.as_secs_f64()
    }
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
