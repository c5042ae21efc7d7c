//! Work that can be held against the store afterwards.
//!
//! ```text
//!   worker ── transaction: operations, and a line in the log that says what they came to ──> store
//!          <── acknowledged ──
//!          ── "did 17 {the line}" ──> audit.rs, which asks the store after its end
//! ```
//!
//! Each transaction of a worker does a few operations, chosen at random from the whole life of tasks and threads, and
//! appends a line to a log, which is a thread of the store itself. Message ids rise in commit order, so the log is the
//! order the store worked in. What a worker tells is a promise of the store's: `did` a transaction that was
//! acknowledged, `saw` the newest line that a read, or a write that wrote nothing, has shown to somebody.

use std::sync::{Mutex, PoisonError};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::{Deserialize, Serialize};

use super::life::{Call, Known, Made, answer_of, op};
use crate::planted::{Bug, with_bug};
use crate::{
    Error, MessageFilter, MessageId, NewMessage, ReadTx, Result, Store, TaskFilter, ThreadFilter, ThreadId, WriteTx,
};

/// The workflow of the thread that is the log.
const LOG: &str = "log";

/// What one transaction did.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) shift: u64,
    pub(super) worker: u64,
    /// Which transaction of this worker's in this shift, from 0.
    pub(super) number: u64,
    /// Each call, what it was answered and what it made.
    pub(super) done: Vec<(Call, String, Made)>,
    /// How much padding lies beside the line, so that commits differ in size.
    pub(super) padding_bytes: usize,
}

impl Line {
    /// What lies beside this line: a text that nobody else's line has.
    pub(super) fn padding(&self) -> String {
        let mut rng = fastrand::Rng::with_seed(self.shift << 32 | self.worker << 24 | self.number);
        std::iter::repeat_with(|| rng.alphanumeric()).take(self.padding_bytes).collect()
    }
}

/// Workers on one store, from its opening to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    /// Which opening of the file this is. No two of one file have the same number.
    pub(super) shift: u64,
    pub(super) workers: u64,
    pub(super) seed: u64,
    pub(super) padding_max_bytes: usize,
    /// How much each worker does; without it, for ever.
    pub(super) rounds: Option<u64>,
    /// What is wrong with the store.
    pub(super) bug: Option<Bug>,
}

impl Crew {
    /// One to eight workers who work for ever on a store without a planted bug.
    pub(super) fn choose(shift: u64, rng: &mut fastrand::Rng) -> Self {
        let (workers, seed) = (rng.u64(1..=8), rng.u64(..));
        Self { shift, workers, seed, padding_max_bytes: 16_000, rounds: None, bug: None }
    }

    /// Works until every worker has done its rounds or met an error, and gives those errors back.
    pub(super) fn work(&self, store: &Store, tell: &(dyn Fn(String) + Sync)) -> Vec<Error> {
        let found = log_or_new(store).and_then(|log| Ok((log, Mutex::new(known(store)?))));
        let (log, known) = match found {
            Ok(found) => found,
            Err(error) => return vec![error],
        };
        std::thread::scope(|scope| {
            let known = &known;
            let start = |number| {
                let mut worker = Worker::new(*self, number, store, log, known, tell);
                scope.spawn(move || with_bug(self.bug, || worker.work()))
            };
            let workers: Vec<_> = (0..self.workers).map(start).collect();
            workers.into_iter().filter_map(|worker| worker.join().unwrap().err()).collect()
        })
    }
}

struct Worker<'c> {
    crew: Crew,
    place: u64,
    /// How many transactions it has begun.
    number: u64,
    store: &'c Store,
    log: ThreadId,
    known: &'c Mutex<Known>,
    tell: &'c (dyn Fn(String) + Sync),
    rng: fastrand::Rng,
    choice: TestRunner,
}

impl<'c> Worker<'c> {
    fn new(
        crew: Crew,
        place: u64,
        store: &'c Store,
        log: ThreadId,
        known: &'c Mutex<Known>,
        tell: &'c (dyn Fn(String) + Sync),
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(crew.seed ^ (place + 1).rotate_right(8));
        let seed: [u8; 32] = std::array::from_fn(|_| rng.u8(..));
        let choice = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        Self { crew, place, number: 0, store, log, known, tell, rng, choice }
    }

    fn work(&mut self) -> Result<()> {
        let mut rounds = 0;
        while self.crew.rounds.is_none_or(|most| rounds < most) {
            rounds += 1;
            match self.round() {
                // A planted bug can say so of a commit that did not fail, and is to be found by what it loses.
                Err(Error::CommitUnknown) if self.crew.bug.is_some() && self.store.failure().is_none() => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn round(&mut self) -> Result<()> {
        let log = self.log;
        match self.rng.u8(..100) {
            0..4 => self.saw(self.store.read(|tx| newest_line(tx, log))?),
            4..8 => self.saw(self.store.write(move |tx| newest_line(tx, log))?),
            8 => self.store.verify()?,
            9..12 => self.spoil()?,
            _ => self.transact()?,
        }
        Ok(())
    }

    fn saw(&self, newest: Option<MessageId>) {
        if let Some(newest) = newest {
            (self.tell)(format!("saw {newest}"));
        }
    }

    /// Writes, and then wants nothing of it kept.
    fn spoil(&mut self) -> Result<()> {
        let calls = self.choose()?;
        let spoilt = self.store.write(move |tx| {
            calls.iter().try_for_each(|call| answer_of(tx, call).map(drop))?;
            Err::<(), _>(Error::aborted("on purpose"))
        });
        match spoilt {
            Err(Error::Aborted { .. }) => Ok(()),
            other => other,
        }
    }

    fn transact(&mut self) -> Result<()> {
        let calls = self.choose()?;
        let padding_bytes = match self.rng.u8(..20) {
            0 => self.rng.usize(..=self.crew.padding_max_bytes),
            1..4 => self.rng.usize(..=self.crew.padding_max_bytes.min(4_000)),
            _ => self.rng.usize(..200),
        };
        let (shift, worker, number, log) = (self.crew.shift, self.place, self.number, self.log);
        self.number += 1;
        let (id, text, made) = self.store.write(move |tx| {
            let mut line = Line { shift, worker, number, done: Vec::new(), padding_bytes };
            for call in &calls {
                let (answer, made) = answer_of(tx, call)?;
                line.done.push((call.clone(), format!("{answer:?}"), made));
            }
            let text = serde_json::to_string(&line).unwrap();
            let id = tx.append_message(log, &NewMessage::new(LOG, &*text).meta(line.padding()))?.id;
            Ok((id, text, line.done.into_iter().map(|(_, _, made)| made).collect::<Vec<_>>()))
        })?;
        (self.tell)(format!("did {id} {text}"));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for made in &made {
            known.learn(made);
        }
        Ok(())
    }

    /// What to do next: one to three calls.
    fn choose(&mut self) -> Result<Vec<Call>> {
        let now = self.store.read(|tx| Ok(tx.now()))?;
        let newest_of = |thread| {
            let messages = self.store.thread_messages(thread, &MessageFilter::new()).ok()?;
            messages.iter().map(|message| message.id).max()
        };
        let ops: Vec<_> = (0..self.rng.u8(1..4)).map(|_| op().new_tree(&mut self.choice).unwrap().current()).collect();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ops.iter().filter_map(|op| known.resolve(op, now, newest_of)).collect())
    }
}

fn newest_line(tx: &ReadTx<'_>, log: ThreadId) -> Result<Option<MessageId>> {
    Ok(tx.thread_messages(log, &MessageFilter::new().last(1))?.pop().map(|message| message.id))
}

/// The log of this store, if it has one already.
pub(super) fn log_of(tx: &ReadTx<'_>) -> Result<Option<ThreadId>> {
    let threads = tx.threads(&ThreadFilter::new().newest_first().limit(usize::MAX))?.items;
    Ok(threads.into_iter().find(|thread| thread.workflow == LOG).map(|thread| thread.id))
}

pub(super) fn new_log(tx: &mut WriteTx<'_>) -> Result<ThreadId> {
    tx.create_thread(LOG, "witness").map(|thread| thread.id)
}

fn log_or_new(store: &Store) -> Result<ThreadId> {
    store.write(|tx| match log_of(tx)? {
        Some(log) => Ok(log),
        None => new_log(tx),
    })
}

/// What there is in this store to do things to.
fn known(store: &Store) -> Result<Known> {
    store.read(|tx| {
        let threads = tx.threads(&ThreadFilter::new().limit(usize::MAX))?.items;
        let threads = threads.into_iter().filter(|thread| thread.workflow != LOG).map(|thread| thread.id).collect();
        let tasks = tx.tasks(&TaskFilter::new().limit(usize::MAX))?.items;
        let claims = tasks.iter().filter_map(|task| Some((task.id, task.claim_id?))).collect();
        Ok(Known { threads, tasks: tasks.iter().map(|task| task.id).collect(), claims })
    })
}
