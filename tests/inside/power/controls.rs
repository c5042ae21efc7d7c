//! Bugs that the power cuts must bring to light: each is planted while the work is recorded, and the images are opened
//! without it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;

use super::super::campaign::{report, seeds};
use super::cases::{running, with_failed_syncs};
use super::work::{Recording, Work};
use super::{Cuts, cut};
use crate::planted::{Bug, with_bug};

const RUNS: u64 = 20;
const IMAGES: u64 = 40;

/// Records work with the bug somewhere in it, and says in how many of how many images it was seen. A recording in which the
/// model or the store itself notices has no images.
fn is_seen(bug: Bug, record: fn(Bug, &mut Rng) -> Result<Recording, String>) {
    let (mut runs, mut early, mut seen, mut wrong) = (0, 0, 0, 0);
    for seed in seeds(RUNS) {
        let mut rng = Rng::with_seed(seed);
        runs += 1;
        let recorded = catch_unwind(AssertUnwindSafe(|| record(bug, &mut rng)));
        let Ok(Ok(recording)) = recorded else {
            early += 1;
            continue;
        };
        let mut is_wrong = || {
            let survived = catch_unwind(AssertUnwindSafe(|| cut(&recording, Cuts::of(1), &mut rng)));
            !matches!(survived, Ok(Ok(_)))
        };
        let wrong_here = (0..IMAGES).filter(|_| is_wrong()).count();
        wrong += wrong_here;
        seen += u64::from(wrong_here > 0);
    }
    report(format!(
        "power cuts, control {bug:?}: seen in {seen} of {runs} runs, in {wrong} of {} images; in {early} runs before a cut",
        IMAGES * (runs - early)
    ));
    // How often depends on what the work happens to be; in 20 runs of it the bug must come to light.
    assert!(seen + early > 0, "{bug:?} is planted, and nobody sees it");
}

/// All the work is done with the bug.
fn all_along(bug: Bug, rng: &mut Rng) -> Result<Recording, String> {
    with_bug(Some(bug), || running(rng))
}

/// The last batch alone has it: nothing afterwards can stumble over it.
fn in_the_last_batch(bug: Bug, rng: &mut Rng) -> Result<Recording, String> {
    let mut work = Work::new(rng.fork())?;
    work.go_on(10)?;
    with_bug(Some(bug), || work.batch(4))?;
    work.begin_here();
    Ok(work.end())
}

/// The last batch has it, and its sync fails.
fn in_a_batch_that_fails(bug: Bug, rng: &mut Rng) -> Result<Recording, String> {
    let mut work = Work::new(rng.fork())?;
    work.go_on(10)?;
    work.fail_a_sync_after(0);
    with_bug(Some(bug), || work.batch(4))?;
    work.begin_here();
    Ok(work.end())
}

fn around_failed_syncs(bug: Bug, rng: &mut Rng) -> Result<Recording, String> {
    with_bug(Some(bug), || with_failed_syncs(rng))
}

#[test]
fn control_a_sync_that_is_skipped_is_seen() {
    is_seen(Bug::SyncSkipped, all_along);
}

#[test]
fn control_an_answer_before_the_commit_is_seen() {
    is_seen(Bug::AnswerBeforeCommit, in_a_batch_that_fails);
}

#[test]
fn control_an_answer_before_the_commit_is_seen_whatever_goes_on() {
    is_seen(Bug::AnswerBeforeCommit, all_along);
}

#[test]
fn control_an_index_entry_that_is_not_deleted_is_seen() {
    is_seen(Bug::StaleIndexEntryKept, in_the_last_batch);
}

#[test]
fn control_counters_that_are_not_stored_are_seen() {
    is_seen(Bug::CountersNotSaved, in_the_last_batch);
}

#[test]
fn control_a_failed_sync_that_is_forgotten_is_seen() {
    is_seen(Bug::NotWrittenBack, around_failed_syncs);
}
