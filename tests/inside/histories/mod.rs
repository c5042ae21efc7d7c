//! Histories of real threads: what each asked, what it was answered and when, checked against one order.
//!
//! | file | is about |
//! |---|---|
//! | `calls.rs` | what can be asked and answered |
//! | `choose.rs` | what a thread does next |
//! | `record.rs` | running the threads and writing down what happens |
//! | `world.rs`, `view.rs` | what a store must hold and answer |
//! | `replay.rs` | long histories: replayed in the order of the commits |
//! | `linear.rs` | whether a history has any order at all: it is searched for |
//! | `small.rs` | small histories, of which nothing is known but what was asked and answered, and when |
//!
//! A long history is checked by its witness, the order in which the store ran the transactions (`src/witness.rs`). Every
//! answer in it must be the model's: so at every moment one claim was live per task, no stale claim settled anything,
//! and who read saw what had been answered.
//!
//! The witness could be wrong, or wrong in the same way as the store. So small histories are checked without it, by a
//! search for an order that explains them.

mod calls;
mod choose;
mod controls;
mod linear;
mod record;
mod replay;
mod small;
mod view;
mod world;

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::campaign::{report, seeds, with_seed};
use super::harness::Wanted;
use crate::{ManualClock, Store, Timestamp};
use calls::Listed;
use choose::Board;
use record::{Race, Scene};
use replay::Replay;

/// Between two parts of a history nobody does anything, and it is looked whether somebody waits in vain.
const PART_CALLS: u64 = 50_000;

/// Those who do all kinds of things, and those who wait for tasks.
const THREADS: usize = 32;
const PATIENT: usize = 10;

fn all_tasks() -> Listed {
    let (role, thread, status, holder) = (None, None, None, None);
    Listed { role, thread, status, holder, newest_first: false, limit: usize::MAX }
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000))
}

/// Runs so many races on one store, one after the other, as one history, and checks it. With it comes how long the
/// checking took.
fn is_in_order(
    store: &Store,
    clock: &ManualClock,
    race: Race,
    parts: u64,
    random: &mut Rng,
) -> Result<(Replay, Duration), String> {
    let board = Board::default();
    let scene = Scene { store, clock, board: &board };
    let mut replay = Replay::default();
    let mut checking = Duration::ZERO;
    for _ in 0..parts {
        let log = scene.run(race, random)?;
        let started = Instant::now();
        replay.go_on(&log)?;
        replay.compare(store)?;
        checking += started.elapsed();
    }
    Ok((replay, checking))
}

#[test]
fn a_million_calls_of_many_threads_are_in_one_order() {
    for seed in seeds(1) {
        let started = Instant::now();
        let (checked, checking) = with_seed(seed, |mut random| {
            let folder = tempfile::tempdir().unwrap();
            let clock = clock();
            let store = Store::builder().clock(clock.clone()).open(folder.path().join("history.khala")).unwrap();
            let watch = Duration::from_secs(60);
            let race = Race { threads: THREADS, patient: PATIENT, calls: PART_CALLS, bug: None, watch };
            is_in_order(&store, &clock, race, 1_000_000 / PART_CALLS, &mut random)
        });
        report(format_args!(
            "a history of {} calls of {} threads, {} transactions and {} reads, in one order, 0 violations, in {} s, of \
             them {} s of checking",
            checked.calls,
            THREADS + PATIENT,
            checked.transactions,
            checked.reads,
            started.elapsed().as_secs(),
            checking.as_secs()
        ));
    }
}
