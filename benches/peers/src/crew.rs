//! Threads that start together, timed from the first start to the last end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use fastrand::Rng;

/// One thread at work.
pub(crate) struct Worker {
    pub(crate) agent: Arc<str>,
    pub(crate) dice: Rng,
}

/// What threads did together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) operations: usize,
    pub(crate) time: Duration,
}

impl Done {
    pub(crate) fn per_second(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of what was done in a second or so")]
        let operations = self.operations as f64;
        operations / self.time.as_secs_f64()
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum More {
    Yes,
    No,
}

/// Has so many threads do `operation` again and again for this long, or until there is no more.
///
/// The threads themselves take the times: on a busy machine one that waits for them wakes up after they have begun.
pub(crate) fn work_together(
    threads: usize,
    most: Duration,
    operation: impl Fn(&mut Worker) -> Result<More> + Sync,
) -> Result<Done> {
    static CREWS: AtomicU64 = AtomicU64::new(0);
    // Other choices each time, or what was read in one round would be in memory in the next.
    let crew = CREWS.fetch_add(1, Ordering::Relaxed);
    let (start, operation) = (&Barrier::new(threads), &operation);
    let work = |number: usize| {
        let seed = crew << 16 | u64::try_from(number)?;
        let mut worker = Worker { agent: format!("agent-{number}").into(), dice: Rng::with_seed(seed) };
        start.wait();
        let (began, mut operations) = (Instant::now(), 0);
        loop {
            if operation(&mut worker)? == More::No {
                break;
            }
            operations += 1;
            if began.elapsed() >= most {
                break;
            }
        }
        Ok::<_, anyhow::Error>((began, Instant::now(), operations))
    };
    let work = &work;
    let shares = thread::scope(|scope| {
        let crew: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        crew.into_iter()
            .map(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let began = shares.iter().map(|(began, ..)| *began).min();
    let ended = shares.iter().map(|(_, ended, _)| *ended).max();
    let (began, ended) = began.zip(ended).ok_or_else(|| anyhow!("nobody worked"))?;
    Ok(Done { operations: shares.iter().map(|(.., operations)| operations).sum(), time: ended - began })
}
