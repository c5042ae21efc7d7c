//! Keeps what is measured, and says how it goes.

use std::time::Instant;

use crate::format::{in_unit, ratio};
use crate::measure::{Measure, Place, Results, Sample, Unit};
use crate::peer::PeerName;

pub(crate) struct Recorder {
    pub(crate) results: Results,
    began: Instant,
}

impl Recorder {
    pub(crate) fn new(results: Results) -> Self {
        Self { results, began: Instant::now() }
    }

    pub(crate) fn add(&mut self, place: Place, peer: PeerName, round: usize, value: f64) {
        let Place { measure, rows, threads } = place;
        self.results.samples.push(Sample { measure, rows, threads, peer, round, value });
    }

    /// Says on the terminal what came out at this place.
    pub(crate) fn tell(&self, place: Place) {
        let Place { measure, rows, threads } = place;
        let with = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        println!("[{:4.0} s] {}, {rows} rows, {with}", self.began.elapsed().as_secs_f64(), measure.title());
        for peer in self.results.peers(&[place]) {
            let Some(summary) = self.results.summary(place, peer) else { continue };
            let figure = format!("{} ±{:.0} %", in_unit(summary.median, measure.unit()), summary.spread() * 100.0);
            let advantage = self.results.advantage(place, PeerName::Khala, peer).filter(|_| peer != PeerName::Khala);
            let compared = advantage.map(|times| format!("khala is {} of it", ratio(times)));
            println!("           {:<16} {figure:<22} {}", peer.label(), compared.unwrap_or_default());
        }
    }

    /// Adds up how long it took.
    pub(crate) fn finish(mut self) -> Results {
        self.results.took_seconds = self.began.elapsed().as_secs_f64();
        self.results
    }
}

/// What a slice of work came to, in the unit of its measure.
pub(crate) fn value(measure: Measure, done: crate::crew::Done) -> f64 {
    match measure.unit() {
        Unit::PerSecond => done.per_second(),
        Unit::Seconds | Unit::Bytes => 1.0 / done.per_second(),
    }
}
