//! Writes of those who have no thread to wait in, in the line of writers, in whatever order threads run.
//!
//! Each is told once what became of it, after the commit, and a pool of threads never waits for a lead that waits for the
//! pool.

use shuttle::sync::mpsc::{Sender, channel};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::campaign::{report, times};
use super::schedules::{random, seen_in, with_few_switches};
use super::shuttled::queue::{Outcome, Queue};
use super::writers::{Disk, each_is_done_once};
use crate::planted::Bug;

/// A write of a thread, or of somebody who is told.
struct Asked {
    number: u8,
    told: Option<Sender<(u8, Outcome)>>,
}

impl Asked {
    fn tell(&self, outcome: Outcome) {
        self.told.iter().for_each(|told| told.send((self.number, outcome)).unwrap());
    }
}

fn commit(operations: &[Asked], disk: &Disk) -> Outcome {
    disk.lock().unwrap().push(operations.iter().map(|asked| asked.number).collect());
    Outcome::Committed
}

/// A pool of two threads, whose jobs are to lead batches that were submitted, and writes that wait for their batch. Four
/// submit a write each, and give the pool one more.
fn a_pool_leads_and_writes<const BATCH_MAX: usize>() {
    type Job = Box<dyn FnOnce() + Send>;
    let queue = Arc::new(Queue::new(BATCH_MAX, (), Asked::tell));
    let disk = Arc::new(Disk::default());
    let (jobs, to_do) = channel::<Job>();
    let to_do = Arc::new(Mutex::new(to_do));
    let work = |to_do: &Mutex<shuttle::sync::mpsc::Receiver<Job>>| {
        loop {
            let job = to_do.lock().unwrap().recv();
            let Ok(job) = job else { return };
            job();
        }
    };
    let on_pool = |_| {
        let to_do = Arc::clone(&to_do);
        thread::spawn(move || work(&to_do))
    };
    let pool: Vec<_> = (0..2).map(on_pool).collect();
    let (told, answers) = channel();
    let submit = |number| {
        let (queue, disk, jobs, told) = (Arc::clone(&queue), Arc::clone(&disk), jobs.clone(), told.clone());
        thread::spawn(move || {
            let theirs = (Arc::clone(&queue), Arc::clone(&disk));
            let write = move || {
                let asked = Asked { number: number + 100, told: None };
                theirs.0.run(asked, |operations, ()| commit(operations, &theirs.1));
            };
            jobs.send(Box::new(write)).unwrap();
            if let Some(unled) = queue.submit(Asked { number, told: Some(told) }) {
                let lead = move || queue.lead_unled(unled, |operations, ()| commit(operations, &disk));
                jobs.send(Box::new(lead)).unwrap();
            }
        })
    };
    let submitting: Vec<_> = (0..4).map(submit).collect();
    drop((jobs, told));
    let mut heard = Vec::new();
    while let Ok((number, outcome)) = answers.recv() {
        assert_eq!(outcome, Outcome::Committed);
        assert!(disk.lock().unwrap().iter().flatten().any(|done| *done == number), "it is told after the commit");
        heard.push(number);
    }
    submitting.into_iter().chain(pool).for_each(|thread| thread.join().unwrap());
    heard.sort_unstable();
    assert_eq!(heard, [0, 1, 2, 3], "each is told once");
    each_is_done_once(&disk, BATCH_MAX, &[0, 1, 2, 3, 100, 101, 102, 103]);
}

#[test]
fn a_write_that_was_submitted_is_told_once_and_its_batch_is_led_in_any_schedule() {
    random(a_pool_leads_and_writes::<1000>, times(10_000));
    random(a_pool_leads_and_writes::<2>, times(10_000));
    with_few_switches(a_pool_leads_and_writes::<1000>, times(10_000));
    with_few_switches(a_pool_leads_and_writes::<2>, times(10_000));
    report(format_args!("writes that were submitted, in {} schedules, 0 violations", times(40_000)));
}

#[test]
fn control_a_lead_that_nobody_takes_is_seen() {
    seen_in(Bug::LeadNotTaken, a_pool_leads_and_writes::<1000>);
}

#[test]
fn control_a_write_that_is_told_before_its_commit_is_seen() {
    seen_in(Bug::AnswerBeforeCommit, a_pool_leads_and_writes::<1000>);
}
