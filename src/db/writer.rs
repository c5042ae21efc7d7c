//! Group commit: writers that come together share one transaction and one sync of the disk.
//!
//! ```text
//!   write ──> is a batch open? ── yes ──> add to it, wait for its outcome            (follower)
//!                    │
//!                    no ──> open one ──> wait for the engine ──> close the batch      (leader)
//!                             run it in one transaction ──> commit ──> publish ──> let the engine go
//! ```
//!
//! While a leader waits for the engine, and while the batch before it commits, others join: the busier the store, the
//! larger the batches. A lone writer leads a batch of its own at once. There is no background thread.
//!
//! - All followers wait on one `OnceLock`, which wakes them with one system call.
//! - An operation that fails before it writes costs the batch nothing. One that fails or panics after it wrote makes
//!   the batch roll back, and the others run again without it.
//! - A batch in which nobody wrote is not committed.
//! - Nobody gets an answer, not even a "no", before the commit it was read under is durable.
//! - After a failed commit nobody knows what is on the disk: everybody in the batch is told so, and the store refuses
//!   further work until it is reopened.
//!
//! The scheme is an old one: David DeWitt et al., "Implementation techniques for main memory database systems" (1984).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::counters::Counters;
use super::engine::Engine;
use super::table::Tables;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::limits::BATCH_MAX_BYTES;
use crate::planted::{Bug, planted};

/// What a caller wants done in a transaction. It may be run more than once; what counts is the last time.
pub(crate) trait Operation: Send + Sync {
    /// Runs on this batch, gives it back, and says whether it succeeded. It must not panic.
    fn run<'t>(&self, batch: Batch<'t>) -> (Batch<'t>, Ran);
}

/// How an operation's run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ran {
    /// What it wrote is to be kept.
    Succeeded,
    /// What it wrote, if anything, must not be kept.
    Failed,
}

/// What an operation stands on: the tables and the counters of the batch, and the moment it runs at.
pub(crate) struct Batch<'t> {
    pub(crate) tables: Tables<'t>,
    pub(crate) counters: Counters,
    pub(crate) now: Timestamp,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// What its operations wrote is durable.
    Committed,
    /// Its commit failed, and may have happened or not.
    Unknown,
    /// Nothing was written: an earlier failure forbids it.
    Refused,
}

pub(crate) struct Writer {
    engine: Engine,
    clock: Arc<dyn Clock>,
    batch_max_operations: usize,
    /// The batch that others may still join.
    open: Mutex<Option<Arc<Joint>>>,
    /// Held by the leader whose turn it is.
    turn: Mutex<Turn>,
    /// The latest moment given out, for those who only read.
    latest_micros: AtomicI64,
    /// Why the store refuses further work.
    failure: OnceLock<String>,
}

/// A batch from the outside: who is in it, and what became of it.
struct Joint {
    /// Added to only under the lock of `Writer::open`, while the batch stands there.
    operations: Mutex<Vec<Arc<dyn Operation>>>,
    outcome: OnceLock<Outcome>,
}

/// What one leader hands to the next.
struct Turn {
    /// What the table `meta` holds.
    stored: Counters,
    /// Where the counters are: ahead of what is stored if a batch gave out times or ids and was not committed.
    counters: Counters,
}

impl Writer {
    pub(crate) fn new(engine: Engine, clock: Arc<dyn Clock>, batch_max_operations: usize) -> Result<Self> {
        let stored = engine.read(|tables| Counters::load(&tables))?;
        let latest_micros = AtomicI64::new(stored.highest_timestamp().as_micros());
        let turn = Mutex::new(Turn { counters: stored.clone(), stored });
        let (open, failure) = (Mutex::new(None), OnceLock::new());
        Ok(Self { engine, clock, batch_max_operations, open, turn, latest_micros, failure })
    }

    /// What `f` makes of a snapshot of the last durable commit, and of the moment it is: not before the latest one stored.
    pub(crate) fn read<T>(&self, f: impl FnOnce(Tables<'_>, Timestamp) -> Result<T>) -> Result<T> {
        let stored = Timestamp::from_micros(self.latest_micros.load(Ordering::Relaxed));
        let now = self.clock.now().max(stored);
        self.engine.read(|tables| f(tables, now))
    }

    /// Why the store refuses further work, if it does.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// An error if the store refuses further work.
    pub(crate) fn check(&self) -> Result<()> {
        if self.failure.get().is_some() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// How many operations wait in the batch that is open.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.open).as_ref().map_or(0, |batch| lock(&batch.operations).len())
    }

    /// Runs this operation in a batch with whoever else is there. Returns when what it did is durable, or never will be.
    pub(crate) fn run(&self, operation: Arc<dyn Operation>) -> Outcome {
        let mut open = lock(&self.open);
        if let Some(batch) = open.as_ref().map(Arc::clone) {
            let mut operations = lock(&batch.operations);
            operations.push(operation);
            if operations.len() >= self.batch_max_operations {
                *open = None;
            }
            drop(operations);
            drop(open);
            return *batch.outcome.wait();
        }
        let batch = Arc::new(Joint { operations: Mutex::new(vec![operation]), outcome: OnceLock::new() });
        if self.batch_max_operations > 1 {
            *open = Some(Arc::clone(&batch));
        }
        drop(open);
        self.lead(&batch)
    }

    fn lead(&self, batch: &Arc<Joint>) -> Outcome {
        let mut turn = lock(&self.turn);
        let operations = self.close(batch);
        if planted(Bug::AnswerBeforeCommit) {
            let _ = batch.outcome.set(Outcome::Committed);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_all(&operations, &mut turn)))
            .unwrap_or_else(|_| self.fail(Outcome::Unknown, "a panic in the engine or the clock"));
        // Only the leader sets it, once. Published before the engine is let go: the next batch gathers meanwhile.
        let outcome = *batch.outcome.get_or_init(|| outcome);
        drop(turn);
        // Callers' closures, whose destructors may do anything, go last.
        drop(operations);
        outcome
    }

    /// Takes the batch out of reach of those who might join it, and its operations out of it.
    fn close(&self, batch: &Arc<Joint>) -> Vec<Arc<dyn Operation>> {
        let mut open = lock(&self.open);
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, batch)) {
            *open = None;
        }
        std::mem::take(&mut *lock(&batch.operations))
    }

    fn run_all(&self, operations: &[Arc<dyn Operation>], turn: &mut Turn) -> Outcome {
        let mut pending: Vec<_> = operations.iter().collect();
        while !pending.is_empty() {
            if self.check().is_err() {
                return Outcome::Refused;
            }
            if let Err(outcome) = self.run_some(&mut pending, turn) {
                return outcome;
            }
        }
        Outcome::Committed
    }

    /// Runs pending operations in one transaction and removes from `pending` those that need not run again.
    fn run_some(&self, pending: &mut Vec<&Arc<dyn Operation>>, turn: &mut Turn) -> Result<(), Outcome> {
        let transaction = self.engine.begin_write().map_err(|error| self.fail(Outcome::Refused, error))?;
        let keep = self.run_in(Tables::of_batch(&transaction), pending, turn)?;
        if keep {
            transaction.commit().map_err(|error| self.fail(Outcome::Unknown, error))
        } else {
            transaction.abort().map_err(|error| self.fail(Outcome::Refused, error))
        }
    }

    /// Runs pending operations until all have run, they wrote as much as one commit should carry, or one of them spoils
    /// the transaction by failing after it wrote. Says whether there is something to commit; the error is what becomes of
    /// the batch when nothing can be done any more.
    fn run_in(
        &self,
        tables: Tables<'_>,
        pending: &mut Vec<&Arc<dyn Operation>>,
        turn: &mut Turn,
    ) -> Result<bool, Outcome> {
        let mut batch = Batch { tables, counters: turn.counters.clone(), now: Timestamp::MIN };
        let mut ran = 0;
        for operation in pending.iter() {
            let writes_before = batch.tables.writes();
            batch.now = batch.counters.now(self.clock.now());
            let end;
            (batch, end) = operation.run(batch);
            if let Some(failure) = batch.tables.io_failure() {
                return Err(self.fail(Outcome::Refused, failure));
            }
            if end == Ran::Failed && batch.tables.writes() > writes_before {
                turn.counters = batch.counters;
                turn.counters.roll_back_to(&turn.stored);
                pending.remove(ran);
                return Ok(false);
            }
            ran += 1;
            if batch.tables.written_bytes() >= BATCH_MAX_BYTES {
                break;
            }
        }
        pending.drain(..ran);
        turn.counters = batch.counters;
        self.latest_micros.store(turn.counters.highest_timestamp().as_micros(), Ordering::Relaxed);
        let wrote = batch.tables.writes() > 0;
        if wrote {
            // Part of the commit, so its failure is told as the commit's.
            let saved = turn.counters.save(&turn.stored, &mut batch.tables);
            saved.map_err(|error| self.fail(Outcome::Unknown, error))?;
            turn.stored = turn.counters.clone();
        }
        Ok(wrote)
    }

    /// From here on the store refuses further work, for this reason.
    fn fail(&self, outcome: Outcome, reason: impl fmt::Display) -> Outcome {
        self.failure.get_or_init(|| reason.to_string());
        outcome
    }
}

/// The lock, also after a panic under it: what these locks guard is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
