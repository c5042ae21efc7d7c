//! The line of writers: those who come together are one batch, which one of them leads.
//!
//! ```text
//!   run ──> is a batch open? ── yes ──> add to it, wait for its outcome            (follower)
//!                  │
//!                  no ──> open one ──> wait for the turn ──> close the batch        (leader)
//!                           do its work ──> publish the outcome ──> let the turn go
//! ```
//!
//! While a leader waits for its turn, and while the batch before it is at work, others join: the busier the store, the
//! larger the batches. A lone writer leads a batch of its own at once. There is no background thread.
//!
//! - All followers wait on one `OnceLock`, which wakes them with one system call.
//! - The outcome is published before the turn is let go, so that the next batch gathers meanwhile.
//!
//! The scheme is an old one: David DeWitt et al., "Implementation techniques for main memory database systems" (1984).
//! The locks come from the parent module, so that a checker of schedules can put its own in their place.

use super::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use crate::planted::{Bug, planted};

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

/// A line of operations `O`, whose leaders hand a state `T` from one to the next.
pub(crate) struct Queue<O, T> {
    batch_max_operations: usize,
    /// The batch that others may still join.
    open: Mutex<Option<Arc<Joint<O>>>>,
    /// Held by the leader whose turn it is.
    turn: Mutex<T>,
}

/// A batch from the outside: who is in it, and what became of it.
struct Joint<O> {
    /// Added to only under the lock of `Queue::open`, while the batch stands there.
    operations: Mutex<Vec<O>>,
    outcome: OnceLock<Outcome>,
}

impl<O, T> Queue<O, T> {
    pub(crate) fn new(batch_max_operations: usize, turn: T) -> Self {
        Self { batch_max_operations, open: Mutex::new(None), turn: Mutex::new(turn) }
    }

    /// Has this operation done in a batch with whoever else is there, by `work` or by the one of another who leads it.
    /// Returns when its batch has an outcome. `work` must not panic.
    pub(crate) fn run(&self, operation: O, work: impl FnOnce(&[O], &mut T) -> Outcome) -> Outcome {
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
        self.lead(&batch, work)
    }

    /// Has this work done by itself, when its turn comes. Others gather meanwhile.
    #[cfg(feature = "json")]
    pub(crate) fn alone<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut lock(&self.turn))
    }

    fn lead(&self, batch: &Arc<Joint<O>>, work: impl FnOnce(&[O], &mut T) -> Outcome) -> Outcome {
        let mut turn = lock(&self.turn);
        let operations = self.close(batch);
        if planted(Bug::AnswerBeforeCommit) {
            let _ = batch.outcome.set(Outcome::Committed);
        }
        let outcome = work(&operations, &mut turn);
        // Only the leader sets it, once.
        let outcome = *batch.outcome.get_or_init(|| outcome);
        drop(turn);
        // Callers' closures, whose destructors may do anything, go last.
        drop(operations);
        outcome
    }

    /// Takes the batch out of reach of those who might join it, and its operations out of it.
    fn close(&self, batch: &Arc<Joint<O>>) -> Vec<O> {
        let mut open = lock(&self.open);
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, batch)) && !planted(Bug::BatchLeftOpen) {
            *open = None;
        }
        std::mem::take(&mut *lock(&batch.operations))
    }

    /// How many operations wait in the batch that is open.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.open).as_ref().map_or(0, |batch| lock(&batch.operations).len())
    }
}

/// The lock, also after a panic under it: what these locks guard is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
