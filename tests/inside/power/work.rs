//! Work on a store whose disk writes everything down: random operations in batches of one or several writers, some of
//! which fail late, and between batches clock steps and reopenings. Each batch is checked against the model.
//!
//! The same seed does the same to the disk, in the same order: which writers share a batch, and who comes first in it, is
//! forced. Ids and tokens come from the operating system as ever; they have one length, and their order is that of
//! their making.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::super::faults::Together;
use super::super::life::{Answer, Call, Known, Made, Op, answer_of, op};
use super::state::{Done, State};
use crate::db::{CrashDisk, Event, FAILED_SYNC};
use crate::{Clock, Error, ManualClock, MessageId, NewMessage, Result, Store, ThreadId, Timestamp, WriteTx};

/// A store at work.
pub(super) struct Work {
    disk: CrashDisk,
    /// What the disk held in the beginning.
    start: Vec<u8>,
    clock: ManualClock,
    store: Option<Store>,
    rng: fastrand::Rng,
    deeds: Deeds,
    states: Vec<State>,
    marks: Vec<Mark>,
    /// Which of the possible states was found when the store was opened last.
    found: u64,
}

/// From this event on, that many states are acknowledged, and that many have been asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mark {
    event: usize,
    acknowledged: usize,
    submitted: usize,
}

/// What a disk was asked to do, and what a store on it must have come to at each moment.
pub(super) struct Recording {
    pub(super) start: Vec<u8>,
    pub(super) events: Vec<Event>,
    states: Vec<State>,
    marks: Vec<Mark>,
}

impl Recording {
    /// The disk of one store, left alone at this moment by a process that died, and then that of the store that opened it
    /// on the same machine.
    pub(super) fn behind(self, died: &Self, moment: usize) -> Self {
        let events = [&died.events[..moment], &self.events].concat();
        let marks = self.marks.iter().map(|mark| Mark { event: mark.event + moment, ..*mark }).collect();
        Self { start: died.start.clone(), events, states: self.states, marks }
    }

    /// What the disk was asked for, without what was written.
    pub(super) fn places(&self) -> Vec<String> {
        self.events.iter().map(|event| format!("{event:?}")).collect()
    }

    /// The first event before which there is something to expect.
    pub(super) fn begins(&self) -> usize {
        self.marks[0].event
    }

    /// What a store may have come to when the power went before this event: the states from the last one that was
    /// acknowledged to the last one that was asked for.
    pub(super) fn expected(&self, event: usize) -> &[State] {
        let mark = self.marks.iter().rev().find(|mark| mark.event <= event).unwrap();
        &self.states[mark.acknowledged..=mark.submitted]
    }
}

/// What a closure does.
#[derive(Clone, Debug)]
enum Deed {
    Op(Op),
    /// Appends a message of so many bytes: files grow by it, and shrink when it is deleted.
    Large {
        thread: usize,
        bytes: usize,
    },
}

/// One writer's closure.
#[derive(Clone, Debug)]
struct Closure {
    deeds: Vec<Deed>,
    fails_late: bool,
}

/// Random deeds, the same for the same seed.
struct Deeds {
    runner: TestRunner,
    op: BoxedStrategy<Op>,
}

/// What became of a closure: what it did when it ran last, and the ids that it saw in all its runs.
#[derive(Default)]
struct Ran {
    done: Vec<Done>,
    seen: Vec<[u8; 16]>,
}

fn start_of_time() -> Timestamp {
    Timestamp::from_micros(1_000_000_000)
}

impl Deeds {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self { runner: TestRunner::new_with_rng(Config::default(), rng), op: op().boxed() }
    }

    fn closure(&mut self, rng: &mut fastrand::Rng, deeds: usize) -> Closure {
        let mut deed = || match rng.u8(..16) {
            0 => Deed::Large { thread: rng.usize(..), bytes: rng.usize(4_096..60_000) },
            _ => Deed::Op(self.op.new_tree(&mut self.runner).unwrap().current()),
        };
        let deeds = (0..deeds).map(|_| deed()).collect();
        Closure { deeds, fails_late: rng.u8(..10) == 0 }
    }
}

impl Closure {
    fn run(
        &self,
        tx: &mut WriteTx<'_>,
        mut known: Known,
        mut newest: BTreeMap<ThreadId, MessageId>,
        ran: &Mutex<Ran>,
    ) -> Result<()> {
        let mut done = vec![];
        for deed in &self.deeds {
            let now = tx.now();
            let asked = match deed {
                Deed::Op(op) => known.resolve(op, now, |thread| newest.get(&thread).copied()).map(|call| (call, None)),
                Deed::Large { thread, bytes } => {
                    let thread = known.threads.get(thread % known.threads.len().max(1));
                    thread.map(|thread| (Call::Append(*thread, 0, None), Some(*bytes)))
                }
            };
            // At first there may be nothing to do it to.
            let Some((call, large)) = asked else { continue };
            let (answer, made) = match (&call, large) {
                (Call::Append(thread, ..), Some(bytes)) => append_large(tx, *thread, bytes)?,
                _ => answer_of(tx, &call)?,
            };
            known.learn(&made);
            match &made {
                Made::Thread(thread) => ran.lock().unwrap().seen.push(thread.id.to_bytes()),
                Made::Task(task) => ran.lock().unwrap().seen.push(task.id.to_bytes()),
                Made::Message(message) => drop(newest.insert(message.thread_id, message.id)),
                _ => {}
            }
            done.push(Done { now, call, answer, made });
        }
        ran.lock().unwrap().done = done;
        if self.fails_late { Err(Error::aborted("late")) } else { Ok(()) }
    }
}

fn append_large(tx: &mut WriteTx<'_>, thread: ThreadId, bytes: usize) -> Result<(Answer, Made)> {
    match tx.append_message(thread, &NewMessage::new("user", "x".repeat(bytes))) {
        Ok(message) => Ok((Answer::Appended, Made::Message(message))),
        Err(Error::ThreadNotFound(_)) => Ok((Answer::Refused("ThreadNotFound"), Made::Nothing)),
        Err(Error::ThreadFinished(_)) => Ok((Answer::Refused("ThreadFinished"), Made::Nothing)),
        Err(error) => Err(error),
    }
}

/// Whether this was certainly written, and did not find everything done already.
fn wrote(done: &Done, known: &Known) -> bool {
    match &done.made {
        Made::Thread(_) | Made::Claim(_) | Made::Message(_) | Made::Token(_) => true,
        Made::Task(task) => !known.tasks.contains(&task.id),
        Made::Nothing => false,
    }
}

impl Work {
    fn on(start: Vec<u8>, states: Vec<State>, mut rng: fastrand::Rng) -> Self {
        let deeds = Deeds::new(rng.u64(..));
        let disk = CrashDisk::of(start.clone());
        let clock = ManualClock::new(start_of_time());
        Self { disk, start, clock, store: None, rng, deeds, states, marks: vec![], found: 0 }
    }

    /// A new store on an empty disk, with something in it.
    pub(super) fn new(rng: fastrand::Rng) -> Result<Self, String> {
        let mut work = Self::on(vec![], vec![State::default()], rng);
        work.open().map_err(|error| format!("a new store cannot be made: {error}"))?;
        work.mark(0, 0);
        let closure = Closure { deeds: vec![Deed::Op(Op::CreateThread)], fails_late: false };
        work.write(&[closure])?;
        Ok(work)
    }

    /// The store on this image, all of it durable. It must hold one of these states; a sync can fail meanwhile.
    pub(super) fn recover(
        image: Vec<u8>,
        expected: &[State],
        failing_sync: Option<u64>,
        rng: fastrand::Rng,
    ) -> Result<Self, String> {
        let mut work = Self::take_over(image, expected, failing_sync, rng)?;
        // Which state it is was decided before it was opened.
        let found = work.marks.pop().unwrap();
        work.marks = vec![Mark { event: 0, ..found }];
        Ok(work)
    }

    /// The store in this content of a disk. It must hold one of these states; a sync can fail meanwhile.
    pub(super) fn take_over(
        content: Vec<u8>,
        expected: &[State],
        failing_sync: Option<u64>,
        mut rng: fastrand::Rng,
    ) -> Result<Self, String> {
        let latest = expected.iter().filter_map(|state| state.latest).max().unwrap_or(start_of_time());
        let mut work = Self::on(content, expected.to_vec(), rng.fork());
        // Whatever the clock says after the restart, stored time goes on.
        let clock = match rng.u8(..3) {
            0 => latest,
            1 => start_of_time(),
            _ => latest + Duration::from_secs(rng.u64(..100)),
        };
        work.clock.set(clock);
        if let Some(syncs) = failing_sync {
            work.disk.fail_a_sync_after(syncs);
        }
        work.mark(0, expected.len() - 1);
        work.reopen()?;
        Ok(work)
    }

    /// Opens what is on the disk, however it got there, and finds out which of the possible states it is.
    pub(super) fn reopen(&mut self) -> Result<(), String> {
        self.store = None;
        if let Err(error) = self.open() {
            if !matches!(&error, Error::Io { source, .. } if source.to_string() == FAILED_SYNC) {
                return Err(format!("the store cannot be opened: {error}"));
            }
            self.open().map_err(|error| format!("after a failed sync the store cannot be opened: {error}"))?;
        }
        let store = self.store.as_ref().unwrap();
        let last = *self.marks.last().unwrap();
        let mut unlike = vec![];
        for number in last.acknowledged..=last.submitted {
            match self.states[number].differs(store) {
                Ok(()) => {
                    self.found = (number - last.acknowledged) as u64;
                    let state = self.states[number].clone();
                    self.states.push(state);
                    self.mark(self.states.len() - 1, self.states.len() - 1);
                    return Ok(());
                }
                Err(difference) => unlike.push(format!("\n  not {number}: {difference}")),
            }
        }
        Err(format!("what is stored is none of {} states that it may be{}", unlike.len(), unlike.concat()))
    }

    fn open(&mut self) -> Result<()> {
        let cache_bytes = *self.rng.choice([0, 64 * 1024, 1 << 20].iter()).unwrap();
        let builder = Store::builder().clock(self.clock.clone()).cache_bytes(cache_bytes);
        self.store = Some(builder.check_on_open(self.rng.bool()).open_on(self.disk.clone())?);
        Ok(())
    }

    fn mark(&mut self, acknowledged: usize, submitted: usize) {
        self.marks.push(Mark { event: self.disk.events(), acknowledged, submitted });
    }

    /// Which of the states that it could be it was when it was opened.
    pub(super) fn found(&self) -> u64 {
        self.found
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Lets so many syncs succeed and the one behind them fail.
    pub(super) fn fail_a_sync_after(&self, syncs: u64) {
        self.disk.fail_a_sync_after(syncs);
    }

    /// Does so many steps of work, or fewer if the store gives up. Whether it did not.
    pub(super) fn go_on(&mut self, steps: usize) -> Result<bool, String> {
        for _ in 0..steps {
            match self.rng.u8(..20) {
                0 => self.reopen()?,
                1..5 => {
                    let seconds = *self.rng.choice([1, 5, 15, -5, 3_600, -3_600].iter()).unwrap();
                    self.clock.set(Timestamp::from_micros(self.clock.now().as_micros() + seconds * 1_000_000));
                }
                5 => {
                    // A commit that changes nothing, so what is expected stays.
                    if self.store().checkpoint().is_err() {
                        return Ok(false);
                    }
                }
                _ => {
                    let writers = self.rng.usize(1..5);
                    if !self.batch(writers)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// So many writers who share a batch. Whether the store goes on afterwards.
    pub(super) fn batch(&mut self, writers: usize) -> Result<bool, String> {
        let closures: Vec<_> = (0..writers)
            .map(|_| {
                let deeds = self.rng.usize(1..5);
                self.deeds.closure(&mut self.rng, deeds)
            })
            .collect();
        self.write(&closures)
    }

    fn write(&mut self, closures: &[Closure]) -> Result<bool, String> {
        if self.store().failure().is_some() {
            return Ok(false);
        }
        let before = self.states.last().unwrap().clone();
        let from = self.states.len() - 1;
        self.mark(from, from + 1);
        let (outcomes, answered) = self.run(closures, &before);
        let (mut after, mut committed, mut failed) = (before.clone(), false, false);
        let mut seen = vec![];
        for (closure, (outcome, ran)) in closures.iter().zip(outcomes) {
            seen.extend(ran.seen);
            match outcome {
                Ok(()) => {}
                Err(Error::Aborted { .. }) if closure.fails_late => continue,
                Err(Error::CommitUnknown) => failed = true,
                Err(Error::Io { .. } | Error::Poisoned) => {
                    failed = true;
                    continue;
                }
                Err(error) => return Err(format!("{closure:?} failed: {error}")),
            }
            // A closure that was refused with its batch does not know.
            if closure.fails_late {
                continue;
            }
            for done in ran.done {
                committed |= wrote(&done, &after.history.known);
                after.apply(&done)?;
                after.latest = after.latest.max(Some(done.now).filter(|_| committed));
            }
        }
        if committed {
            for id in seen {
                after.see_id(id);
            }
        }
        self.states.push(after);
        if !failed {
            self.marks.push(Mark { event: answered, acknowledged: from + 1, submitted: from + 1 });
            // A store that gave up after it said yes is refused as a witness; the images are not.
            if self.store().failure().is_none() {
                self.states[from + 1].differs(self.store())?;
            }
        }
        Ok(!failed)
    }

    /// Runs the closures in one batch, in this order. With what came of each comes how many events there had been when
    /// the first of them had its answer.
    fn run(&self, closures: &[Closure], before: &State) -> (Vec<(Result<()>, Ran)>, usize) {
        let mut newest = BTreeMap::new();
        newest.extend(before.history.model.messages.iter().map(|(message, thread)| (*thread, *message)));
        let call = |closure: &Closure| {
            let ran = Arc::new(Mutex::new(Ran::default()));
            let (closure, known, newest) = (closure.clone(), before.history.known.clone(), newest.clone());
            let (disk, notes) = (self.disk.clone(), Arc::clone(&ran));
            move |store: &Store| {
                let outcome = store.write(move |tx| closure.run(tx, known.clone(), newest.clone(), &notes));
                let answered = if outcome.is_ok() { disk.events() } else { usize::MAX };
                (outcome, std::mem::take(&mut *ran.lock().unwrap()), answered)
            }
        };
        let returned: Vec<_> = match closures {
            [alone] => vec![call(alone)(self.store())],
            several => std::thread::scope(|scope| {
                let mut batch = Together::new(scope, self.store());
                let writers: Vec<_> = several.iter().map(|closure| batch.join_by(call(closure))).collect();
                batch.go();
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            }),
        };
        let answered = returned.iter().map(|(.., answered)| *answered).min().unwrap().min(self.disk.events());
        (returned.into_iter().map(|(outcome, ran, _)| (outcome, ran)).collect(), answered)
    }

    /// Lets the cuts begin here.
    pub(super) fn begin_here(&mut self) {
        self.marks.drain(..self.marks.len() - 1);
    }

    /// Ends the work: the store is closed.
    pub(super) fn end(mut self) -> Recording {
        self.store = None;
        let Self { start, disk, states, marks, .. } = self;
        Recording { start, events: disk.take_events(), states, marks }
    }
}
