//! The queue from above: listing open tasks among many, and taking away claims among many.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::quiet;
use crate::crew::{More, work_together};
use crate::ids::Id;
use crate::loaded::{INSTRUCTION_BYTES, Loaded, created, new_task};
use crate::measure::{Measure, Place, Work};
use crate::options::{Plan, in_turn};
use crate::peer::{Answer, NewTask, Request, Seen};
use crate::recorder::{Recorder, value};
use crate::text::Texts;

/// How many open tasks are listed.
const LISTED: usize = 50;

/// How many claims time out at a time, and how long they last.
const DUE: usize = 10;
const DUE_AFTER_SECONDS: u32 = 1;

/// How long the others last: longer than all that the clock is advanced.
const LASTING_SECONDS: u32 = 3_650 * 24 * 3_600;

/// Requests per transaction.
const SLICE: usize = 5_000;

/// A store that has nothing but a queue.
struct Queue {
    store: Loaded,
    lasting: Vec<Id>,
    /// Those that are claimed for a short time, again and again.
    fleeting: Vec<Id>,
}

pub(super) fn run(plan: &Plan, base: &Path, recorder: &mut Recorder) -> Result<()> {
    let names = plan.stores().into_iter();
    let mut queues = names.map(|name| Queue::new(Loaded::fresh(name, base, 0)?, plan)).collect::<Result<Vec<_>>>()?;
    if plan.wants(Work::OpenTasks) {
        measure(plan, base, recorder, Measure::OpenTasks, &mut queues, Queue::list)?;
    }
    if plan.wants(Work::ExpireDue) || plan.wants(Work::ExpireNone) {
        queues.iter_mut().try_for_each(Queue::claim_all)?;
    }
    if plan.wants(Work::ExpireDue) {
        measure(plan, base, recorder, Measure::ExpireDue, &mut queues, Queue::expire_due)?;
    }
    if plan.wants(Work::ExpireNone) {
        measure(plan, base, recorder, Measure::ExpireNone, &mut queues, Queue::expire_none)?;
    }
    queues.into_iter().try_for_each(|queue| queue.store.close())
}

fn measure(
    plan: &Plan,
    base: &Path,
    recorder: &mut Recorder,
    measure: Measure,
    queues: &mut [Queue],
    slice: fn(&mut Queue, Duration) -> Result<f64>,
) -> Result<()> {
    let place = Place { measure, rows: plan.queue_tasks, threads: 1 };
    for round in 0..plan.rounds {
        for number in in_turn(round, (0..queues.len()).collect()) {
            let queue = queues.get_mut(number).context("a queue for everybody")?;
            quiet(base)?;
            let seconds = slice(queue, plan.slice)?;
            queue.store.peer.settle();
            recorder.add(place, queue.store.name, round, seconds);
        }
    }
    recorder.tell(place);
    Ok(())
}

impl Queue {
    fn new(mut store: Loaded, plan: &Plan) -> Result<Self> {
        let (texts, mut dice) = (Texts::of(INSTRUCTION_BYTES), Rng::with_seed(5));
        let threads = store.content.threads.clone();
        let mut create = |count: usize, timeout_seconds| {
            let requests = (0..count).map(|number| {
                let thread = threads.get(number % threads.len()).copied().context("a thread by turns")?;
                let task = NewTask { timeout_seconds, ..new_task(number, &texts, &mut dice) };
                Ok(Request::CreateTask { thread, task })
            });
            created(&in_slices(&store, &requests.collect::<Result<Vec<_>>>()?)?)
        };
        let (lasting, fleeting) = (create(plan.queue_tasks, LASTING_SECONDS)?, create(DUE, DUE_AFTER_SECONDS)?);
        store.expected.open = u64::try_from(lasting.len() + fleeting.len())?;
        Ok(Self { store, lasting, fleeting })
    }

    fn list(&mut self, time: Duration) -> Result<f64> {
        let expected = Seen { rows: LISTED, text_bytes: LISTED * INSTRUCTION_BYTES };
        let peer = self.store.peer.as_ref();
        let done = work_together(1, time, |_| {
            let seen = peer.open_tasks(LISTED)?;
            ensure!(seen == expected, "listed {seen:?}, not {expected:?}");
            Ok(More::Yes)
        })?;
        Ok(value(Measure::OpenTasks, done))
    }

    fn claim_all(&mut self) -> Result<()> {
        claim(&self.store, &self.lasting)?;
        let claimed = u64::try_from(self.lasting.len())?;
        self.store.expected.open -= claimed;
        self.store.expected.claimed += claimed;
        Ok(())
    }

    /// Only taking the claims away is timed, not how they came about.
    fn expire_due(&mut self, time: Duration) -> Result<f64> {
        let (mut expiring, mut times) = (Duration::ZERO, 0_u32);
        let began = Instant::now();
        while began.elapsed() < time {
            claim(&self.store, &self.fleeting)?;
            self.store.clock.advance(Duration::from_secs(u64::from(DUE_AFTER_SECONDS) + 1));
            let began = Instant::now();
            let expired = self.store.peer.expire()?;
            expiring += began.elapsed();
            times += 1;
            ensure!(expired == u64::try_from(DUE)?, "{expired} claims were taken away, not {DUE}");
        }
        Ok(expiring.as_secs_f64() / f64::from(times))
    }

    fn expire_none(&mut self, time: Duration) -> Result<f64> {
        let peer = self.store.peer.as_ref();
        let done = work_together(1, time, |_| {
            let expired = peer.expire()?;
            ensure!(expired == 0, "{expired} claims were taken away, and none was due");
            Ok(More::Yes)
        })?;
        Ok(value(Measure::ExpireNone, done))
    }
}

fn claim(store: &Loaded, tasks: &[Id]) -> Result<()> {
    let requests: Vec<_> = tasks
        .iter()
        .map(|&task| {
            Ok(Request::Claim { task, agent: "holder".into(), claim: crate::ids::fresh(store.clock.micros())? })
        })
        .collect::<Result<_>>()?;
    let answers = in_slices(store, &requests)?;
    ensure!(answers.iter().all(|answer| matches!(answer, Answer::Claimed(Some(_)))), "every task was open");
    Ok(())
}

fn in_slices(store: &Loaded, requests: &[Request]) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(requests.len());
    for slice in requests.chunks(SLICE) {
        answers.extend(store.peer.write_together(slice.to_vec())?);
    }
    Ok(answers)
}
