//! Two sides of a comparison, measured by turns.

use std::time::Duration;

/// Two sides measured by turns, A B A B, so that whatever else the machine does meanwhile meets both alike.
pub(crate) struct Turns<A, B> {
    first: A,
    second: B,
    most: usize,
    times: Vec<(Duration, Duration)>,
}

impl<A: FnMut() -> Duration, B: FnMut() -> Duration> Turns<A, B> {
    /// Both sides are measured this many times at the most, and from then on the first alone: criterion insists on ten
    /// samples, and a slow second side may be clear after fewer.
    pub(crate) fn new(most: usize, first: A, second: B) -> Self {
        Self { first, second, most, times: Vec::new() }
    }

    /// Measures so many rounds, and gives back how long each side took in all.
    pub(crate) fn take(&mut self, rounds: u64) -> (Duration, Duration) {
        let mut total = (Duration::ZERO, Duration::ZERO);
        for _ in 0..rounds {
            let first = (self.first)();
            total.0 += first;
            if self.times.len() < self.most {
                let second = (self.second)();
                total.1 += second;
                self.times.push((first, second));
            }
        }
        total
    }

    /// The medians of the rounds that both sides took part in, if there were any.
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
