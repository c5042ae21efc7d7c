//! A long life under load: 16 threads and everything at once, for as long as one likes.
//!
//! ```text
//!   this test ── starts ──▶ the soak, a process of its own, whose memory is nobody else's
//!                             │  a round: 16 threads work and wait on the file, and the clock jumps
//!                             │    ├─ here, and then the store is closed and opened again, or not
//!                             │    └─ or in a worker process, which is killed in the middle of it
//!                             ▼
//!                           nobody works: everything is compared and measured, then what is old is deleted
//! ```
//!
//! | what must hold | how it is known |
//! |---|---|
//! | every answer, every row and index | each operation writes itself into a log in its own commit, which is replayed |
//! | what was acknowledged is there | who was told of a commit keeps the id of its line in the log |
//! | time does not go back | from line to line of the log, across rounds, kills and reopenings |
//! | somebody gets on | `watch.rs`: something is committed or compared at least every 5 seconds |
//! | memory does not keep growing | `watch.rs`: what the process holds after each round |
//! | the file is at most 3 times its live data | what it takes on the disk, against the most that was ever in it |
//!
//! `work.rs` is what the threads do, `rounds.rs` the process. The seed decides what the threads want and when a process is
//! killed, and not how the threads meet: a failure that needs a certain schedule need not come again.

mod rounds;
mod watch;
mod work;

use std::io::Read;

use serde::{Deserialize, Serialize};

use super::campaign::{report, seeds, times, with_seed};
use super::child;
use crate::planted::Bug;
pub(super) use rounds::soaks;
pub(super) use work::works_until_killed;

/// How long the soak takes by default.
const SECONDS: u64 = 15;

/// How long a control may take to be seen.
const CONTROL_SECONDS: u64 = 30;

/// What is wrong on purpose, for the controls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Flaw {
    ClaimWithoutCheck,
    CompleteWithoutCheck,
    TimeFollowsClock,
    /// Somebody's closure does not return.
    BlockedWriter,
    /// Every operation leaves memory behind.
    Leak,
    /// Somebody's read transaction does not end.
    HeldRead,
}

impl Flaw {
    fn bug(self) -> Option<Bug> {
        match self {
            Self::ClaimWithoutCheck => Some(Bug::ClaimWithoutCheck),
            Self::CompleteWithoutCheck => Some(Bug::CompleteWithoutCheck),
            Self::TimeFollowsClock => Some(Bug::TimeFollowsClock),
            Self::BlockedWriter | Self::Leak | Self::HeldRead => None,
        }
    }
}

/// How a soak went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Figures {
    operations: u64,
    acknowledged: u64,
    reopenings: u64,
    kills: u64,
    rounds: u64,
    most_memory_bytes: Option<u64>,
    file_bytes: u64,
    live_bytes: u64,
}

/// What the soak says as its last word: its figures, or what is wrong.
type Word = Result<Figures, String>;

/// Soaks a store for so long in a process of its own.
fn soak(seconds: u64, seed: u64, flaw: Option<Flaw>) -> Word {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("soak.khala");
    let flaw = serde_json::to_string(&flaw).unwrap();
    let arguments = [file.to_str().unwrap(), &seconds.to_string(), &seed.to_string(), &flaw];
    let mut process = child::start("soaks", &arguments, None);
    let last = child::lines(process.stdout.take().unwrap()).last();
    let mut cry = String::new();
    process.stderr.take().unwrap().read_to_string(&mut cry).unwrap();
    process.wait().unwrap();
    last.and_then(|word| serde_json::from_str(&word).ok())
        .unwrap_or_else(|| Err(format!("it ended without a word: {cry}")))
}

#[test]
fn a_store_under_load_stays_right_gets_on_and_keeps_to_its_room() {
    let (seconds, seed) = (times(SECONDS), seeds(1).start);
    let figures = with_seed(seed, |_| soak(seconds, seed, None));
    let Figures { operations, acknowledged, reopenings, kills, rounds, .. } = figures;
    let memory =
        figures.most_memory_bytes.map_or("NOT MEASURED here".into(), |bytes| format!("at most {}", mib(bytes)));
    report(format_args!(
        "soak: {seconds} s, {} threads, {operations} operations in {rounds} rounds, {acknowledged} acknowledged, \
         {reopenings} reopenings, {kills} kills, 0 violations; memory {memory}; file {}, {} % of the most it held",
        work::THREADS,
        mib(figures.file_bytes),
        figures.file_bytes * 100 / figures.live_bytes,
    ));
    assert!(reopenings > 0 && kills > 0, "somebody must have been killed");
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The control: with this flaw each of so many soaks must fail, with one of these words.
fn is_seen(flaw: Flaw, runs: usize, words: &[&str]) {
    let seen_in = |wrong: &String| words.iter().any(|words| wrong.contains(words));
    let seeds = seeds(1);
    let said: Vec<_> = (0..runs as u64).map(|run| soak(CONTROL_SECONDS, seeds.start + run, Some(flaw))).collect();
    let seen = said.iter().filter(|word| word.as_ref().is_err_and(seen_in)).count();
    report(format_args!("control of the soak: {flaw:?} was seen in {seen} of {runs} runs"));
    assert_eq!(seen, runs, "{flaw:?}: {said:?}");
}

#[test]
fn control_the_soak_sees_planted_bugs() {
    const OTHERWISE: &str = "and the model's answer is";
    // What was claimed from another state looks like damage to whoever reads it first.
    is_seen(Flaw::ClaimWithoutCheck, 3, &[OTHERWISE, "it cannot be claimed as it is"]);
    is_seen(Flaw::CompleteWithoutCheck, 3, &[OTHERWISE]);
    is_seen(Flaw::TimeFollowsClock, 3, &["time went back"]);
}

#[test]
fn control_the_soak_sees_a_writer_that_blocks_the_others() {
    is_seen(Flaw::BlockedWriter, 1, &[watch::NO_PROGRESS]);
}

#[test]
fn control_the_soak_sees_a_leak() {
    if watch::memory().is_none() {
        return report("control of the soak: Leak was SKIPPED, memory cannot be measured here");
    }
    is_seen(Flaw::Leak, 2, &[watch::KEEPS_GROWING]);
}

#[test]
fn control_the_soak_sees_a_read_transaction_that_is_held() {
    is_seen(Flaw::HeldRead, 2, &[watch::TOO_LARGE]);
}
