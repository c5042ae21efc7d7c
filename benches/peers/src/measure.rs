//! What is measured, what the measurements were, and what they come to.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::peer::PeerName;

/// Work that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Work {
    /// Claim a task and complete it
    ClaimComplete,
    /// Create a task, claim it and complete it
    CreateClaimComplete,
    /// Append a message of 256 bytes
    #[value(name = "append-256")]
    Append256,
    /// Append a message of 4 KiB
    #[value(name = "append-4k")]
    Append4k,
    /// Race for open tasks until each has been claimed
    Drain,
    /// Read all messages of a thread
    ReadAll,
    /// Read the last 20 messages of a thread
    ReadLast,
    /// Read one step of a thread
    ReadStep,
    /// List the 50 oldest open tasks
    OpenTasks,
    /// Take away 10 claims that have timed out
    ExpireDue,
    /// Look for claims that have timed out when none has
    ExpireNone,
    /// Load the largest store: time, memory, room on the disk
    Load,
    /// Open the largest store, closed in order or killed before
    Reopen,
}

/// A figure in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    ClaimComplete,
    CreateClaimComplete,
    Append256,
    Append4k,
    Drain,
    ReadAll,
    ReadLast,
    ReadStep,
    OpenTasks,
    ExpireDue,
    ExpireNone,
    LoadTime,
    LoadMemory,
    DiskBytes,
    ReopenClean,
    ReopenKilled,
    ReopenCheckpointed,
    ReopenCleanChecked,
    ReopenKilledChecked,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Seconds,
    /// Less is better.
    Bytes,
}

impl Measure {
    pub(crate) const ALL: [Self; 19] = [
        Self::ClaimComplete,
        Self::CreateClaimComplete,
        Self::Append256,
        Self::Append4k,
        Self::Drain,
        Self::ReadAll,
        Self::ReadLast,
        Self::ReadStep,
        Self::OpenTasks,
        Self::ExpireDue,
        Self::ExpireNone,
        Self::LoadTime,
        Self::LoadMemory,
        Self::DiskBytes,
        Self::ReopenClean,
        Self::ReopenKilled,
        Self::ReopenCheckpointed,
        Self::ReopenCleanChecked,
        Self::ReopenKilledChecked,
    ];

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::ClaimComplete | Self::CreateClaimComplete | Self::Append256 | Self::Append4k => Unit::PerSecond,
            Self::LoadMemory | Self::DiskBytes => Unit::Bytes,
            _ => Unit::Seconds,
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ClaimComplete => "claim and complete",
            Self::CreateClaimComplete => "create, claim and complete",
            Self::Append256 => "append 256 bytes",
            Self::Append4k => "append 4 KiB",
            Self::Drain => "drain",
            Self::ReadAll => "all messages of a thread",
            Self::ReadLast => "the last 20 of a thread",
            Self::ReadStep => "one step of a thread, 10 messages",
            Self::OpenTasks => "the 50 oldest open tasks",
            Self::ExpireDue => "expire, 10 claims due",
            Self::ExpireNone => "expire, none due",
            Self::LoadTime => "time to load",
            Self::LoadMemory => "peak memory while loading",
            Self::DiskBytes => "room on the disk",
            Self::ReopenClean => "open, after it was closed",
            Self::ReopenKilled => "open, after a kill while writing",
            Self::ReopenCheckpointed => "open, after a checkpoint and a kill while idle",
            Self::ReopenCleanChecked => "open with the check of every page, after it was closed",
            Self::ReopenKilledChecked => "open with the check of every page, after a kill while writing",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) measure: Measure,
    pub(crate) rows: usize,
    pub(crate) threads: usize,
    pub(crate) peer: PeerName,
    pub(crate) round: usize,
    pub(crate) value: f64,
}

/// What was measured, on which machine, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) set_up: BTreeMap<PeerName, String>,
    pub(crate) rounds: usize,
    pub(crate) slice_seconds: f64,
    pub(crate) took_seconds: f64,
    pub(crate) samples: Vec<Sample>,
}

/// One place in the tables: everything but who was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) measure: Measure,
    pub(crate) rows: usize,
    pub(crate) threads: usize,
}

/// The middle and the spread of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) upper_quartile: f64,
}

impl Results {
    /// What one peer's measurements at this place come to.
    pub(crate) fn summary(&self, place: Place, peer: PeerName) -> Option<Summary> {
        Summary::of(self.at(place, peer).map(|(_, value)| value).collect())
    }

    /// How many times as fast (or as small) the first is as the second: the median of the ratios of the rounds that
    /// both took part in.
    pub(crate) fn advantage(&self, place: Place, first: PeerName, second: PeerName) -> Option<f64> {
        let seconds: BTreeMap<_, _> = self.at(place, second).collect();
        let ratios = self.at(place, first).filter_map(|(round, first)| {
            let second = seconds.get(&round)?;
            Some(if place.measure.unit() == Unit::PerSecond { first / second } else { second / first })
        });
        Summary::of(ratios.collect()).map(|summary| summary.median)
    }

    /// How many times as long one operation takes among `many` rows as among `few`: the median of the rounds' ratios.
    pub(crate) fn growth(&self, place: Place, peer: PeerName, few: usize, many: usize) -> Option<f64> {
        let among_few: BTreeMap<_, _> = self.at(Place { rows: few, ..place }, peer).collect();
        let ratios = self.at(Place { rows: many, ..place }, peer).filter_map(|(round, many)| {
            let few = among_few.get(&round)?;
            Some(if place.measure.unit() == Unit::PerSecond { few / many } else { many / few })
        });
        Summary::of(ratios.collect()).map(|summary| summary.median)
    }

    /// The places of this measure, in order.
    pub(crate) fn places(&self, measure: Measure) -> Vec<Place> {
        let of_measure = self.samples.iter().filter(|sample| sample.measure == measure);
        let mut places: Vec<_> = of_measure.map(Sample::place).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Who was measured at any of these places.
    pub(crate) fn peers(&self, places: &[Place]) -> Vec<PeerName> {
        let there = self.samples.iter().filter(|sample| places.contains(&sample.place()));
        let mut peers: Vec<_> = there.map(|sample| sample.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn at(&self, place: Place, peer: PeerName) -> impl Iterator<Item = (usize, f64)> {
        let samples = self.samples.iter().filter(move |sample| sample.place() == place && sample.peer == peer);
        samples.map(|sample| (sample.round, sample.value))
    }
}

impl Sample {
    fn place(&self) -> Place {
        Place { measure: self.measure, rows: self.rows, threads: self.threads }
    }
}

impl Summary {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let quartile = |fourths| quantile(&values, fourths);
        Some(Self { median: quartile(2)?, lower_quartile: quartile(1)?, upper_quartile: quartile(3)? })
    }

    /// Half of the distance between the quartiles, in parts of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.upper_quartile - self.lower_quartile) / 2.0 / self.median
    }
}

/// The value so many fourths of the way through these, which are sorted; between two of them in proportion.
fn quantile(values: &[f64], fourths: usize) -> Option<f64> {
    let way = values.len().checked_sub(1)? * fourths;
    let (low, high) = (values.get(way / 4)?, values.get(way.div_ceil(4))?);
    #[expect(clippy::cast_precision_loss, reason = "0 to 3")]
    let part = (way % 4) as f64 / 4.0;
    Some(low + (high - low) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(samples: &[(PeerName, usize, usize, f64)]) -> Results {
        let sample =
            |&(peer, rows, round, value)| Sample { measure: Measure::Append256, rows, threads: 8, peer, round, value };
        Results {
            machine: Machine::default(),
            date: String::new(),
            command: String::new(),
            set_up: BTreeMap::new(),
            rounds: 0,
            slice_seconds: 0.0,
            took_seconds: 0.0,
            samples: samples.iter().map(sample).collect(),
        }
    }

    const PLACE: Place = Place { measure: Measure::Append256, rows: 10, threads: 8 };

    #[test]
    fn medians_and_quartiles_lie_between_the_values() {
        let summary = Summary::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(summary, Summary { median: 2.5, lower_quartile: 1.75, upper_quartile: 3.25 });
        assert!(Summary::of(vec![7.0]).unwrap().spread().abs() < f64::EPSILON);
        assert_eq!(Summary::of(Vec::new()), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        use PeerName::{Khala, Sqlite};
        let results = results(&[
            (Khala, 10, 0, 100.0),
            (Khala, 10, 1, 10.0),
            (Khala, 10, 2, 1.0),
            (Sqlite, 10, 0, 50.0),
            (Sqlite, 10, 1, 5.0),
            (Sqlite, 10, 2, 2.0),
            (Sqlite, 10, 3, 900.0),
        ]);
        assert_eq!(results.advantage(PLACE, Khala, Sqlite), Some(2.0));
        assert_eq!(results.advantage(PLACE, Khala, PeerName::Redb), None);
    }

    #[test]
    fn growth_compares_the_rows_of_one_round() {
        use PeerName::Khala;
        let results = results(&[(Khala, 10, 0, 300.0), (Khala, 99, 0, 200.0)]);
        assert_eq!(results.growth(PLACE, Khala, 10, 99), Some(1.5));
    }
}
