//! The line of writers of a rival with group commit: the scheme of khala's `src/db/queue.rs`, so that what is compared is
//! what stands behind it.
//!
//! ```text
//!   run ──> is a batch open? ── yes ──> add to it, wait for its outcome            (follower)
//!                  │
//!                  no ──> open one ──> wait for the turn ──> close the batch        (leader)
//!                           do its work ──> publish the outcome ──> let the turn go
//! ```
//!
//! All followers of a batch wait on one `OnceLock`, which wakes them with one system call. Nobody lingers for more to
//! come, and the outcome is published before the turn is let go, so that the next batch gathers meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Result, anyhow};

/// The most operations of one batch, as in khala.
const BATCH_MAX_OPERATIONS: usize = 1_000;

/// A line of operations `O` with answers `A`, whose leaders hand a state `T` from one to the next.
pub(crate) struct Queue<O, A, T> {
    /// The batch that others may still join.
    open: Mutex<Option<Arc<Batch<O, A>>>>,
    turn: Mutex<T>,
}

struct Batch<O, A> {
    operations: Mutex<Vec<O>>,
    /// The answers in the order of the operations, or `None` if it failed.
    outcome: OnceLock<Option<Vec<A>>>,
}

impl<O, A: Copy, T> Queue<O, A, T> {
    pub(crate) fn new(turn: T) -> Self {
        Self { open: Mutex::new(None), turn: Mutex::new(turn) }
    }

    /// The turn of somebody who has a batch already.
    pub(crate) fn turn(&self) -> MutexGuard<'_, T> {
        lock(&self.turn)
    }

    /// Has this operation done in a batch with whoever else is there, by `work` or by that of another who leads it.
    pub(crate) fn run(&self, operation: O, work: impl FnOnce(&mut T, &[O]) -> Result<Vec<A>>) -> Result<A> {
        let mut open = lock(&self.open);
        if let Some(batch) = open.as_ref().map(Arc::clone) {
            let mut operations = lock(&batch.operations);
            let place = operations.len();
            operations.push(operation);
            if operations.len() >= BATCH_MAX_OPERATIONS {
                *open = None;
            }
            drop(operations);
            drop(open);
            return answer(batch.outcome.wait().as_ref(), place);
        }
        let batch = Arc::new(Batch { operations: Mutex::new(vec![operation]), outcome: OnceLock::new() });
        *open = Some(Arc::clone(&batch));
        drop(open);
        self.lead(&batch, work)
    }

    fn lead(&self, batch: &Arc<Batch<O, A>>, work: impl FnOnce(&mut T, &[O]) -> Result<Vec<A>>) -> Result<A> {
        let mut turn = lock(&self.turn);
        let operations = self.close(batch);
        let publish = Publish(&batch.outcome);
        let answers = work(&mut turn, &operations)?;
        let answer = answer(batch.outcome.get_or_init(|| Some(answers)).as_ref(), 0);
        drop(publish);
        drop(turn);
        answer
    }

    /// Takes the batch out of reach of those who might join it, and its operations out of it.
    fn close(&self, batch: &Arc<Batch<O, A>>) -> Vec<O> {
        let mut open = lock(&self.open);
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, batch)) {
            *open = None;
        }
        std::mem::take(&mut *lock(&batch.operations))
    }
}

/// Lets nobody wait for a leader that failed or panicked.
struct Publish<'a, A>(&'a OnceLock<Option<Vec<A>>>);

impl<A> Drop for Publish<'_, A> {
    fn drop(&mut self) {
        self.0.get_or_init(|| None);
    }
}

fn answer<A: Copy>(outcome: Option<&Vec<A>>, place: usize) -> Result<A> {
    let answer = outcome.and_then(|answers| answers.get(place));
    answer.copied().ok_or_else(|| anyhow!("the batch that this was in failed"))
}

/// The lock, also after a panic under it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
