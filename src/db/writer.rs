//! Group commit: writers that come together share one transaction and one sync of the disk.
//!
//! Who leads a batch and who follows is decided in `queue.rs`; here is what the leader does:
//!
//! ```text
//!   run the operations in one transaction ──> commit, one sync ──> the outcome
//! ```
//!
//! - An operation that fails before it writes costs the batch nothing. One that fails or panics after it wrote makes
//!   the batch roll back, and the others run again without it.
//! - A batch in which nobody wrote is not committed.
//! - Nobody gets an answer, not even a "no", before the commit it was read under is durable.
//! - After a failed commit nobody knows what is on the disk: everybody in the batch is told so, and the store refuses
//!   further work until it is reopened.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::WriteTransaction;

use super::counters::{Counters, TimeForReaders};
use super::engine::{End, Engine};
#[cfg(feature = "tokio")]
use super::queue::Unled;
use super::queue::{Outcome, Queue};
use super::table::Tables;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::limits::BATCH_MAX_BYTES;
use crate::planted::{Bug, planted};
use crate::trace::{BatchSpan, OperationSpan};

/// What a caller wants done in a transaction. It may be run more than once; what counts is the last time.
pub(crate) trait Operation: Send + Sync {
    /// Runs on this batch, gives it back, and says whether it succeeded. It must not panic.
    fn run<'t>(&self, batch: Batch<'t>) -> (Batch<'t>, Ran);

    /// Is told that it cannot be run, and why.
    fn refuse(&self, error: Error);

    /// What it belongs to.
    fn span(&self) -> &OperationSpan;

    /// Is told what became of its batch, when that is durable or never will be. It must not panic. Who waits for that in
    /// a thread knows already.
    fn finished(&self, _: Outcome) {}

    /// Whether its commit is to be one after which a crashed file opens at once.
    fn is_checkpoint(&self) -> bool {
        false
    }
}

/// Writes nothing, and wants a commit all the same.
struct Checkpoint(OperationSpan);

impl Operation for Checkpoint {
    fn run<'t>(&self, batch: Batch<'t>) -> (Batch<'t>, Ran) {
        (batch, Ran::Succeeded)
    }

    /// It needs no moment, and gets its commit whatever the clock says.
    fn refuse(&self, _: Error) {}

    fn span(&self) -> &OperationSpan {
        &self.0
    }

    fn is_checkpoint(&self) -> bool {
        true
    }
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

pub(crate) struct Writer {
    engine: Engine,
    clock: Arc<dyn Clock>,
    queue: Queue<Arc<dyn Operation>, Turn>,
    time: TimeForReaders,
}

/// A batch of operations that somebody has to lead.
#[cfg(feature = "tokio")]
pub(crate) type UnledBatch = Unled<Arc<dyn Operation>>;

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
        let mut counters = stored.clone();
        // So that a clock behind what is stored counts from here on, and not from the first write.
        counters.now(clock.now())?;
        let time = TimeForReaders::of(&counters);
        let tell = |operation: &Arc<dyn Operation>, outcome| operation.finished(outcome);
        let queue = Queue::new(batch_max_operations, Turn { stored, counters }, tell);
        Ok(Self { engine, clock, queue, time })
    }

    /// What `f` makes of a snapshot of the last durable commit, and of the moment it is: not before the latest one stored.
    pub(crate) fn read<T>(&self, f: impl FnOnce(Tables<'_>, Timestamp) -> Result<T>) -> Result<T> {
        let now = self.time.now(self.clock.as_ref())?;
        self.engine.read(|tables| f(tables, now))
    }

    /// Why the store refuses further work, if it does.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.engine.failure().reason()
    }

    /// An error if the store refuses further work.
    pub(crate) fn check(&self) -> Result<()> {
        if self.failure().is_some() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// How many operations wait in the batch that is open.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Runs this operation in a batch with whoever else is there. Returns when what it did is durable, or never will be.
    pub(crate) fn run(&self, operation: Arc<dyn Operation>) -> Outcome {
        self.queue.run(operation, |operations, turn| self.lead(operations, turn))
    }

    /// Has this operation run in the next batch, and returns at once. If it opened that batch, somebody has to
    /// [lead](Self::lead_unled) it.
    #[cfg(feature = "tokio")]
    pub(crate) fn submit(&self, operation: Arc<dyn Operation>) -> Option<UnledBatch> {
        self.queue.submit(operation)
    }

    /// Runs the batch, unless somebody else does.
    #[cfg(feature = "tokio")]
    pub(crate) fn lead_unled(&self, batch: UnledBatch) {
        self.queue.lead_unled(batch, |operations, turn| self.lead(operations, turn));
    }

    fn lead(&self, operations: &[Arc<dyn Operation>], turn: &mut Turn) -> Outcome {
        let mut span = BatchSpan::of(operations.len());
        for operation in operations {
            span.follows_from(operation.span());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_all(operations, turn, &mut span)))
            .unwrap_or_else(|_| self.fail(Outcome::Unknown, "a panic in the engine or the clock"));
        span.end(outcome.name(), outcome)
    }

    /// Runs this once, on the calling thread, in a transaction of its own, while every other writer waits. For what cannot
    /// be run again, such as the reading of a stream, or is too much to share a commit. It must not panic.
    #[cfg(feature = "json")]
    pub(crate) fn run_alone<T>(
        &self,
        f: impl for<'t> FnOnce(Batch<'t>) -> (Batch<'t>, Ran, T),
    ) -> Result<(Outcome, Option<T>)> {
        self.queue.alone(|turn| {
            if self.failure().is_some() {
                return Ok((Outcome::Refused, None));
            }
            let now = turn.counters.now(self.clock.now())?;
            let mut answer = None;
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                self.run_one(now, turn, |batch| {
                    let (batch, ran, said) = f(batch);
                    answer = Some(said);
                    (batch, ran)
                })
            }))
            .unwrap_or_else(|_| Err(self.fail(Outcome::Unknown, "a panic in the engine")));
            Ok((outcome.unwrap_or_else(|outcome| outcome), answer))
        })
    }

    #[cfg(feature = "json")]
    fn run_one(
        &self,
        now: Timestamp,
        turn: &mut Turn,
        f: impl for<'t> FnOnce(Batch<'t>) -> (Batch<'t>, Ran),
    ) -> Result<Outcome, Outcome> {
        let transaction = self.engine.begin_write().map_err(|error| self.fail(Outcome::Refused, error))?;
        let batch = Batch { tables: self.engine.tables_of(&transaction), counters: turn.counters.clone(), now };
        let (batch, ran) = f(batch);
        // Its own, or that of a reader meanwhile: the engine does nothing more.
        if self.failure().is_some() {
            return Err(Outcome::Refused);
        }
        let end = match ran {
            Ran::Succeeded => self.keep(batch, turn)?,
            Ran::Failed => {
                drop(batch);
                End::Abort
            }
        };
        self.finish(transaction, end, turn)?;
        Ok(Outcome::Committed)
    }

    /// Commits so that a crash from here on, until the next write, leaves a file that opens at once.
    pub(crate) fn checkpoint(&self, span: OperationSpan) -> Outcome {
        self.run(Arc::new(Checkpoint(span)))
    }

    fn run_all(&self, operations: &[Arc<dyn Operation>], turn: &mut Turn, span: &mut BatchSpan) -> Outcome {
        let mut pending: Vec<_> = operations.iter().collect();
        let mut stored_some = false;
        while !pending.is_empty() {
            let ended =
                if self.failure().is_some() { Err(Outcome::Refused) } else { self.run_some(&mut pending, turn, span) };
            match ended {
                Ok(stored) => stored_some |= stored,
                // Nobody is told which part of the batch is stored and which is not.
                Err(Outcome::Refused) if stored_some => return Outcome::Unknown,
                Err(outcome) => return outcome,
            }
        }
        Outcome::Committed
    }

    /// Runs pending operations in one transaction and removes from `pending` those that need not run again. Says if it
    /// stored something.
    fn run_some(
        &self,
        pending: &mut Vec<&Arc<dyn Operation>>,
        turn: &mut Turn,
        span: &mut BatchSpan,
    ) -> Result<bool, Outcome> {
        let transaction = self.engine.begin_write().map_err(|error| self.fail(Outcome::Refused, error))?;
        let (end, bytes) = self.run_in(self.engine.tables_of(&transaction), pending, turn)?;
        let keep = end != End::Abort;
        if keep && planted(Bug::CommitNotAwaited) {
            std::thread::spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                transaction.commit()
            });
            return Ok(keep);
        }
        span.commit(bytes, || self.finish(transaction, end, turn))?;
        Ok(keep)
    }

    /// Ends the transaction, and notes what is durable.
    fn finish(&self, transaction: WriteTransaction, end: End, turn: &Turn) -> Result<(), Outcome> {
        let keep = end != End::Abort;
        match self.engine.end_write(transaction, end) {
            Err(error) if !planted(Bug::FaultSwallowed) => {
                Err(self.fail(if keep { Outcome::Unknown } else { Outcome::Refused }, error))
            }
            _ => {
                if keep {
                    self.engine.acknowledge(&turn.stored);
                }
                Ok(())
            }
        }
    }

    /// Runs pending operations until all have run, they wrote as much as one commit should carry, or one of them spoils
    /// the transaction by failing after it wrote. Says how the transaction is to end, and how many bytes it has written;
    /// the error is what becomes of the batch when nothing can be done any more.
    fn run_in(
        &self,
        tables: Tables<'_>,
        pending: &mut Vec<&Arc<dyn Operation>>,
        turn: &mut Turn,
    ) -> Result<(End, usize), Outcome> {
        let mut batch = Batch { tables, counters: turn.counters.clone(), now: Timestamp::MIN };
        let mut ran = 0;
        let mut is_checkpoint = false;
        for operation in pending.iter() {
            let writes_before = batch.tables.writes();
            let end;
            match batch.counters.now(self.clock.now()) {
                Ok(now) => {
                    batch.now = now;
                    (batch, end) = operation.run(batch);
                }
                Err(error) => {
                    operation.refuse(error);
                    end = Ran::Failed;
                }
            }
            // Its own, or that of a reader meanwhile: the engine does nothing more.
            if self.failure().is_some() {
                return Err(Outcome::Refused);
            }
            if end == Ran::Failed && batch.tables.writes() > writes_before {
                turn.counters = batch.counters;
                turn.counters.roll_back_to(&turn.stored);
                pending.remove(ran);
                return Ok((End::Abort, 0));
            }
            ran += 1;
            is_checkpoint |= operation.is_checkpoint();
            if batch.tables.written_bytes() >= BATCH_MAX_BYTES {
                break;
            }
        }
        pending.drain(..ran);
        let bytes = batch.tables.written_bytes();
        let end = self.keep(batch, turn)?;
        Ok((if is_checkpoint { End::Checkpoint } else { end }, bytes))
    }

    /// Takes over what the batch counted, and stores it if the batch wrote. How its transaction is to end.
    fn keep(&self, mut batch: Batch<'_>, turn: &mut Turn) -> Result<End, Outcome> {
        turn.counters = batch.counters;
        self.time.follow(&turn.counters);
        if batch.tables.writes() == 0 {
            return Ok(End::Abort);
        }
        // Part of the commit, so its failure is told as the commit's.
        if !planted(Bug::CountersNotSaved) {
            let saved = turn.counters.save(&turn.stored, &mut batch.tables);
            saved.map_err(|error| self.fail(Outcome::Unknown, error))?;
        }
        turn.stored = turn.counters.clone();
        Ok(End::Commit)
    }

    /// From here on the store refuses further work, for this reason.
    fn fail(&self, outcome: Outcome, reason: impl fmt::Display) -> Outcome {
        self.engine.failure().set(reason);
        outcome
    }
}
