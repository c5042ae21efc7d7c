//! The line of writers in whatever order threads run: a checker chooses the schedule.
//!
//! Nobody waits for ever, every operation is done once, whoever has an answer has it after the commit it was read under,
//! and no batch is larger than it may be. A schedule in which somebody waits for ever is a deadlock to the checker, which
//! prints how to replay it.

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::campaign::{report, times};
use super::schedules::{random, seen_in, with_few_switches};
use super::shuttled::queue::{Outcome, Queue};
use crate::planted::Bug;

/// What stands for the disk: the operations of each batch, in the order of the commits.
pub(super) type Disk = Mutex<Vec<Vec<u8>>>;

/// What one leader hands to the next: how many batches there were.
type Turn = usize;

fn write(queue: &Queue<u8, Turn>, disk: &Disk, operation: u8) {
    let outcome = queue.run(operation, |operations, batches| {
        *batches += 1;
        let mut disk = disk.lock().unwrap();
        // A commit that fails is an outcome as any other: everybody of the batch has it.
        let outcome = if operations.contains(&FAILING) { Outcome::Unknown } else { Outcome::Committed };
        disk.push(operations.to_vec());
        assert_eq!(disk.len(), *batches, "the leaders take turns");
        outcome
    });
    let disk = disk.lock().unwrap();
    let batch = disk.iter().find(|batch| batch.contains(&operation)).expect("an answer comes after the commit");
    let failed = batch.contains(&FAILING);
    assert_eq!(
        outcome,
        if failed { Outcome::Unknown } else { Outcome::Committed },
        "everybody has the batch's outcome"
    );
}

const FAILING: u8 = 3;

/// Five writers with two operations each; batches of two at the most, or without a bound that matters.
fn everybody_is_answered<const BATCH_MAX: usize>() {
    let queue = Arc::new(Queue::new(BATCH_MAX, 0, |_, _| {}));
    let disk = Arc::new(Disk::default());
    let writers: Vec<_> = (0..5)
        .map(|number| {
            let (queue, disk) = (Arc::clone(&queue), Arc::clone(&disk));
            thread::spawn(move || [number, number + 100].into_iter().for_each(|n| write(&queue, &disk, n)))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    each_is_done_once(&disk, BATCH_MAX, &[0, 1, 2, 3, 4, 100, 101, 102, 103, 104]);
}

/// No batch is empty or too large, and each of these operations is in one of them.
pub(super) fn each_is_done_once(disk: &Disk, batch_max: usize, operations: &[u8]) {
    let disk = disk.lock().unwrap();
    assert!(disk.iter().all(|batch| (1..=batch_max).contains(&batch.len())), "{disk:?}");
    let mut done = disk.concat();
    done.sort_unstable();
    assert_eq!(done, operations, "each is done once: {disk:?}");
}

#[test]
fn every_writer_is_answered_once_and_after_the_commit_in_random_schedules() {
    random(everybody_is_answered::<1000>, times(50_000));
    random(everybody_is_answered::<2>, times(50_000));
    report(format_args!("the line of writers in {} random schedules, 0 violations", times(100_000)));
}

#[test]
fn every_writer_is_answered_once_and_after_the_commit_in_schedules_with_few_and_evil_switches() {
    with_few_switches(everybody_is_answered::<1000>, times(50_000));
    with_few_switches(everybody_is_answered::<2>, times(50_000));
    report(format_args!("the line of writers in {} schedules with few switches (PCT), 0 violations", times(100_000)));
}

#[test]
fn a_batch_of_one_at_the_most_is_one() {
    random(everybody_is_answered::<1>, times(10_000));
}

/// Two fill a batch while the leader before them is at work; a third opens the next one. Whichever of the two batches has
/// its turn first, the full one leaves the other open.
fn a_full_batch_does_not_close_the_next_one() {
    let queue = Arc::new(Queue::new(2, (), |_, _| {}));
    let third_is_done = Arc::new(Mutex::new(false));
    let join = |operation| {
        let (queue, third_is_done) = (Arc::clone(&queue), Arc::clone(&third_is_done));
        thread::spawn(move || {
            queue.run(operation, |operations, ()| {
                let mut third_is_done = third_is_done.lock().unwrap();
                *third_is_done |= operations.contains(&3);
                assert!(*third_is_done || queue.waiting() == 1, "{operations:?} closed it");
                Outcome::Committed
            })
        })
    };
    let mut others = Vec::new();
    queue.run(0, |_, ()| {
        for (operation, waiting) in [(1, 1), (2, 0), (3, 1)] {
            others.push(join(operation));
            while queue.waiting() != waiting {
                thread::yield_now();
            }
        }
        Outcome::Committed
    });
    for other in others {
        assert_eq!(other.join().unwrap(), Outcome::Committed);
    }
}

#[test]
fn a_batch_that_is_full_does_not_close_the_one_that_others_are_joining() {
    random(a_full_batch_does_not_close_the_next_one, times(1_000));
}

#[test]
fn control_an_answer_before_the_commit_is_seen() {
    seen_in(Bug::AnswerBeforeCommit, everybody_is_answered::<1000>);
}

#[test]
fn control_a_batch_that_is_left_open_is_seen() {
    seen_in(Bug::BatchLeftOpen, everybody_is_answered::<1000>);
}
