//! What is at work when the power goes.

use std::path::Path;

use fastrand::Rng;

use super::super::campaign::{report, seeds, with_seed};
use super::state::State;
use super::work::{Recording, Work};
use super::{Cuts, Figures, cut};
use crate::Store;
use crate::db::CrashDisk;

/// Tries a case with so many seeds and says what came of it.
fn try_often(what: &str, cases: u64, case: impl Fn(Rng) -> Result<Figures, String>) {
    let Figures { images, ahead } = seeds(cases).map(|seed| with_seed(seed, &case)).sum();
    report(format!(
        "power cuts, {what}: {images} images, {ahead} of them with a batch that was not acknowledged yet; violations: 0"
    ));
}

/// A store that works for a while.
pub(super) fn running(rng: &mut Rng) -> Result<Recording, String> {
    let mut work = Work::new(rng.fork())?;
    work.go_on(25)?;
    Ok(work.end())
}

#[test]
fn a_running_store_survives_power_cuts() {
    try_often("a running store", 125, |mut rng| cut(&running(&mut rng)?, Cuts::of(240), &mut rng));
}

#[test]
fn a_recovery_survives_power_cuts_and_the_recovery_from_those_as_well() {
    let cuts = Cuts { images: 12, deaths: 2, images_of_a_recovery: 4 };
    try_often("up to three in a row, some recoveries with a failed sync", 30, |mut rng| {
        cut(&running(&mut rng)?, cuts, &mut rng)
    });
}

/// A process dies in the middle of its work, and another opens what it left on the same machine: what the first wrote can
/// be read, though it is not durable.
fn a_successor(rng: &mut Rng) -> Result<Recording, String> {
    let died = running(rng)?;
    let moment = rng.usize(died.begins()..=died.events.len());
    let content = CrashDisk::of(died.start.clone());
    content.do_again(&died.events[..moment]);
    let failing_sync = (rng.u8(..4) == 0).then(|| rng.u64(..8));
    let mut work = Work::take_over(content.content(), died.expected(moment), failing_sync, rng.fork())?;
    if !work.go_on(4)? {
        work.reopen()?;
        work.go_on(2)?;
    }
    Ok(work.end().behind(&died, moment))
}

#[test]
fn who_takes_over_from_a_process_that_died_survives_power_cuts() {
    try_often("a process that takes over from one that was killed", 120, |mut rng| {
        cut(&a_successor(&mut rng)?, Cuts::of(30), &mut rng)
    });
}

/// A store whose disk fails to sync. It gives up, is opened again on the same machine, and works on; perhaps once more.
pub(super) fn with_failed_syncs(rng: &mut Rng) -> Result<Recording, String> {
    let mut work = Work::new(rng.fork())?;
    work.go_on(4)?;
    for _ in 0..rng.u8(1..4) {
        work.fail_a_sync_after(rng.u64(..12));
        if !work.go_on(12)? {
            work.reopen()?;
        }
        work.go_on(3)?;
    }
    Ok(work.end())
}

#[test]
fn a_failed_sync_and_a_power_cut_lose_nothing() {
    try_often("failed syncs before them", 100, |mut rng| {
        let recording = with_failed_syncs(&mut rng)?;
        // What became of the data of a failed sync is decided anew each time.
        (0..3).map(|_| cut(&recording, Cuts::of(20), &mut rng)).sum()
    });
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// A file of schema 1 that is opened, and with that upgraded.
fn a_migration(rng: &mut Rng) -> Result<Recording, String> {
    let token = String::from_utf8(fixture("schema-1.token")).unwrap().trim().to_owned();
    let whole = Store::builder().open_on(CrashDisk::of(fixture("schema-1.khala"))).unwrap();
    let upgraded = State::of(&whole, &[token]).unwrap();
    assert_eq!(upgraded.counts(), [2, 4, 4, 1], "threads, messages, tasks and agents of the fixture");
    Ok(Work::recover(fixture("schema-1.khala"), &[upgraded], None, rng.fork())?.end())
}

#[test]
fn a_migration_survives_power_cuts() {
    let cuts = Cuts { images: 60, deaths: 1, images_of_a_recovery: 2 };
    try_often("a migration", 20, |mut rng| cut(&a_migration(&mut rng)?, cuts, &mut rng));
}

/// A failure is tried again with its seed: then the disk is asked for the same.
#[test]
fn the_same_seed_does_the_same_to_the_disk() {
    for seed in seeds(5) {
        let again = || {
            let mut rng = Rng::with_seed(seed);
            let recordings = [running(&mut rng), with_failed_syncs(&mut rng), a_successor(&mut rng)];
            recordings.map(|recording| recording.unwrap().places())
        };
        assert_eq!(again(), again(), "seed {seed}");
    }
}
