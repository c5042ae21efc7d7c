//! Draining: agents race for the open tasks until each has been claimed.
//!
//! Everybody looks at the oldest tasks that are not known to be taken and picks one of them; who comes too late is told so
//! and picks again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fastrand::Rng;

use super::quiet;
use crate::crew::{More, work_together};
use crate::loaded::Loaded;
use crate::measure::{Measure, Place};
use crate::options::{Plan, in_turn};
use crate::recorder::Recorder;

/// How many of the oldest tasks an agent picks from, for each agent in the race.
const PAGE_PER_AGENT: usize = 4;

pub(super) fn run(plan: &Plan, base: &Path, recorder: &mut Recorder) -> Result<()> {
    for &threads in &plan.drain_threads {
        let place = Place { measure: Measure::Drain, rows: plan.drain_tasks, threads };
        for round in 0..plan.rounds {
            for peer in in_turn(round, plan.stores()) {
                let mut store = Loaded::fresh(peer, base, plan.drain_tasks)?;
                quiet(base)?;
                let time = race(&mut store, threads)?;
                store.peer.settle();
                store.close()?;
                recorder.add(place, peer, round, time.as_secs_f64());
            }
        }
        recorder.tell(place);
    }
    Ok(())
}

fn race(store: &mut Loaded, agents: usize) -> Result<Duration> {
    let (peer, tasks) = (store.peer.as_ref(), store.left());
    let taken: Vec<_> = tasks.iter().map(|_| AtomicBool::new(false)).collect();
    // Everything before it is taken.
    let oldest = AtomicUsize::new(0);
    let claims: Vec<_> = tasks.iter().map(|_| AtomicUsize::new(0)).collect();
    let done = work_together(agents, Duration::MAX, |worker| {
        let Some(number) = pick(&taken, &oldest, PAGE_PER_AGENT * agents, &mut worker.dice) else {
            return Ok(More::No);
        };
        let of_the_list = (tasks.get(number), claims.get(number), taken.get(number));
        let (Some(task), Some(claims), Some(taken)) = of_the_list else { bail!("there is no task {number}") };
        if peer.claim(*task, &worker.agent)?.is_some() {
            claims.fetch_add(1, Ordering::Relaxed);
        }
        taken.store(true, Ordering::Relaxed);
        Ok(More::Yes)
    })?;
    ensure!(claims.iter().all(|claims| claims.load(Ordering::Relaxed) == 1), "every task is claimed exactly once");
    let all = u64::try_from(tasks.len())?;
    store.taken += tasks.len();
    store.expected.open -= all;
    store.expected.claimed += all;
    Ok(done.time)
}

/// One of the oldest tasks that are not known to be taken.
fn pick(taken: &[AtomicBool], oldest: &AtomicUsize, page: usize, dice: &mut Rng) -> Option<usize> {
    let is_free = |number: &usize| taken.get(*number).is_some_and(|taken| !taken.load(Ordering::Relaxed));
    let first = (oldest.load(Ordering::Relaxed)..taken.len()).find(is_free)?;
    oldest.fetch_max(first, Ordering::Relaxed);
    let free = (first..taken.len()).filter(is_free).take(page);
    dice.choice(free.collect::<Vec<_>>())
}
