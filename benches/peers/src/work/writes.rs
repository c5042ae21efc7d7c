//! Writing: as many operations as so many threads get done, each durable before the next.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Kept, quiet};
use crate::crew::{Done, More, work_together};
use crate::loaded::{INSTRUCTION_BYTES, Loaded, MESSAGE_BYTES, new_message, new_task};
use crate::measure::{Measure, Place, Work};
use crate::options::{Plan, in_turn};
use crate::peer::PeerName;
use crate::recorder::{Recorder, value};
use crate::text::Texts;

pub(super) const WORK: [(Work, Measure); 4] = [
    (Work::ClaimComplete, Measure::ClaimComplete),
    (Work::CreateClaimComplete, Measure::CreateClaimComplete),
    (Work::Append256, Measure::Append256),
    (Work::Append4k, Measure::Append4k),
];

const LONG_MESSAGE_BYTES: usize = 4_096;

/// What part of a slice a new store is warmed up for.
const WARM_UP: u32 = 3;

/// The step of new messages, behind all that were loaded.
const NEW_STEP: u64 = 1_000;

pub(super) fn run(plan: &Plan, base: &Path, kept: &mut Kept, recorder: &mut Recorder) -> Result<()> {
    let texts = Samples::new();
    for (_, measure) in WORK.into_iter().filter(|(work, _)| plan.wants(*work)) {
        for &threads in &plan.threads {
            for round in 0..plan.rounds {
                // Few rows and many in the same round, so that they can be compared.
                let all = plan.peers.iter().flat_map(|peer| plan.rows.iter().map(move |rows| (*peer, *rows)));
                for (peer, rows) in in_turn(round, all.collect()) {
                    let place = Place { measure, rows, threads };
                    let rate = one_slice(plan, base, kept, &texts, place, peer)?;
                    recorder.add(place, peer, round, rate);
                }
            }
            plan.rows.iter().for_each(|&rows| recorder.tell(Place { measure, rows, threads }));
        }
    }
    Ok(())
}

fn one_slice(plan: &Plan, base: &Path, kept: &mut Kept, texts: &Samples, place: Place, peer: PeerName) -> Result<f64> {
    if plan.is_kept(place.rows) && peer.is_store() {
        let store = kept.get_mut(&(peer, place.rows)).context("the store was loaded")?;
        store.fill_up()?;
        return slice(base, store, texts, place, plan.slice);
    }
    let mut store = Loaded::fresh(peer, base, place.rows)?;
    // The first writes to a new file also pay for its blocks, which no store in use does.
    let few = store.left().len() / 4;
    work(&mut store, texts, place, plan.slice / WARM_UP, few)?;
    let rate = slice(base, &mut store, texts, place, plan.slice)?;
    store.close()?;
    Ok(rate)
}

/// What messages and tasks are made of.
struct Samples {
    short: Texts,
    long: Texts,
    instructions: Texts,
}

impl Samples {
    fn new() -> Self {
        let (short, long) = (Texts::of(MESSAGE_BYTES), Texts::of(LONG_MESSAGE_BYTES));
        Self { short, long, instructions: Texts::of(INSTRUCTION_BYTES) }
    }
}

fn slice(base: &Path, store: &mut Loaded, texts: &Samples, place: Place, time: Duration) -> Result<f64> {
    quiet(base)?;
    let done = work(store, texts, place, time, usize::MAX)?;
    store.peer.settle();
    ensure!(done.operations > 0, "{} did nothing", store.name.label());
    Ok(value(place.measure, done))
}

/// Does the work of this place for so long, on at most so many of the tasks that were loaded.
fn work(store: &mut Loaded, texts: &Samples, place: Place, time: Duration, most_tasks: usize) -> Result<Done> {
    let threads = place.threads;
    match place.measure {
        Measure::ClaimComplete => claim_and_complete(store, threads, time, most_tasks),
        Measure::CreateClaimComplete => create_claim_and_complete(store, &texts.instructions, threads, time),
        Measure::Append4k => append(store, &texts.long, threads, time),
        _ => append(store, &texts.short, threads, time),
    }
}

/// Neighbours in the queue go to different agents, as they do when everybody takes what is oldest.
fn claim_and_complete(store: &mut Loaded, threads: usize, time: Duration, most_tasks: usize) -> Result<Done> {
    let (peer, next) = (store.peer.as_ref(), AtomicUsize::new(0));
    let tasks: Vec<_> = store.left().iter().copied().take(most_tasks).collect();
    let done = work_together(threads, time, |worker| {
        let Some(&task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(More::No) };
        let claim = peer.claim(task, &worker.agent)?.context("nobody else wanted the task")?;
        ensure!(peer.complete(task, claim)?, "the claim is the task's");
        Ok(More::Yes)
    })?;
    let operations = u64::try_from(done.operations)?;
    store.taken += done.operations;
    store.expected.open -= operations;
    store.expected.completed += operations;
    Ok(done)
}

fn create_claim_and_complete(store: &mut Loaded, texts: &Texts, threads: usize, time: Duration) -> Result<Done> {
    let (peer, content) = (store.peer.as_ref(), &store.content);
    let done = work_together(threads, time, |worker| {
        let thread = content.busy_thread(&mut worker.dice)?;
        let task = peer.create_task(thread, new_task(worker.dice.usize(..), texts, &mut worker.dice))?;
        let claim = peer.claim(task, &worker.agent)?.context("nobody else knows the task")?;
        ensure!(peer.complete(task, claim)?, "the claim is the task's");
        Ok(More::Yes)
    })?;
    store.expected.completed += u64::try_from(done.operations)?;
    Ok(done)
}

fn append(store: &mut Loaded, texts: &Texts, threads: usize, time: Duration) -> Result<Done> {
    let (peer, content) = (store.peer.as_ref(), &store.content);
    let done = work_together(threads, time, |worker| {
        let thread = content.busy_thread(&mut worker.dice)?;
        peer.append(thread, new_message(worker.dice.usize(..), NEW_STEP, texts, &mut worker.dice))?;
        Ok(More::Yes)
    })?;
    store.expected.messages += u64::try_from(done.operations)?;
    Ok(done)
}
