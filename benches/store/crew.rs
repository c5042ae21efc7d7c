//! Threads that start together, timed from the first start to the last end.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Runs `work` on this many threads at once, each with its number. Gives back how long that took on the wall clock, from
/// when the first began until the last was done, and what each gave back.
///
/// The threads themselves take the times: on a busy machine one that waits for them wakes up after they have begun.
pub(crate) fn time_together<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> (Duration, Vec<T>) {
    let (start, work) = (&Barrier::new(threads), &work);
    let timed = thread::scope(|scope| {
        let run = |number| {
            move || {
                start.wait();
                let began = Instant::now();
                let result = work(number);
                (began, Instant::now(), result)
            }
        };
        let crew: Vec<_> = (0..threads).map(|number| scope.spawn(run(number))).collect();
        crew.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let began = timed.iter().map(|(began, ..)| *began).min().unwrap();
    let done = timed.iter().map(|(_, done, _)| *done).max().unwrap();
    (done - began, timed.into_iter().map(|(.., result)| result).collect())
}
