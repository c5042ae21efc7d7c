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
//! Who has no thread to wait in submits an operation instead, and is told. The batch that it opens is led by whoever gets
//! to it first: somebody it asks to, or the next who joins and has a thread. So it waits for no pool of threads to have
//! one free while they all wait for it.
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

impl Outcome {
    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// A line of operations `O`, whose leaders hand a state `T` from one to the next.
pub(crate) struct Queue<O, T> {
    batch_max_operations: usize,
    /// The batch that others may still join.
    open: Mutex<Option<Arc<Joint<O>>>>,
    /// Held by the leader whose turn it is.
    turn: Mutex<T>,
    /// Tells an operation what became of it, after all who wait for that know.
    tell: fn(&O, Outcome),
}

/// A batch from the outside: who is in it, and what became of it.
struct Joint<O> {
    /// Added to only under the lock of `Queue::open`, while the batch stands there.
    gathered: Mutex<Gathered<O>>,
    outcome: OnceLock<Outcome>,
}

struct Gathered<O> {
    operations: Vec<O>,
    /// Whether somebody waits for the turn with it.
    is_led: bool,
}

/// A batch that somebody has to lead.
#[cfg(feature = "tokio")]
pub(crate) struct Unled<O>(Arc<Joint<O>>);

/// How somebody joined a batch.
struct Joined {
    /// Nobody was in it before.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "of interest to who cannot lead"))]
    is_first: bool,
    /// It has to lead from here on.
    leads: bool,
}

impl<O, T> Queue<O, T> {
    pub(crate) fn new(batch_max_operations: usize, turn: T, tell: fn(&O, Outcome)) -> Self {
        Self { batch_max_operations, open: Mutex::new(None), turn: Mutex::new(turn), tell }
    }

    /// Has this operation done in a batch with whoever else is there, by `work` or by the one of another who leads it.
    /// Returns when its batch has an outcome. `work` must not panic, nor may what an operation is told.
    pub(crate) fn run(&self, operation: O, work: impl FnOnce(&[O], &mut T) -> Outcome) -> Outcome {
        let (batch, joined) = self.join(operation, true);
        if joined.leads { self.lead(&batch, work) } else { *batch.outcome.wait() }
    }

    /// Has this operation done in the next batch, and tells it what became of it. If it opens that batch, somebody has to
    /// [lead](Self::lead_unled) it, and soon: others wait for it.
    #[cfg(feature = "tokio")]
    pub(crate) fn submit(&self, operation: O) -> Option<Unled<O>> {
        let (batch, joined) = self.join(operation, false);
        joined.is_first.then_some(Unled(batch))
    }

    /// Leads the batch, unless somebody does already.
    #[cfg(feature = "tokio")]
    pub(crate) fn lead_unled(&self, Unled(batch): Unled<O>, work: impl FnOnce(&[O], &mut T) -> Outcome) {
        let was_led = std::mem::replace(&mut lock(&batch.gathered).is_led, true);
        if !was_led {
            self.lead(&batch, work);
        }
    }

    /// Adds the operation to the open batch, or opens one; leads it if it can and nobody does.
    fn join(&self, operation: O, can_lead: bool) -> (Arc<Joint<O>>, Joined) {
        let mut open = lock(&self.open);
        let batch = Arc::clone(open.get_or_insert_with(|| {
            let gathered = Gathered { operations: Vec::new(), is_led: false };
            Arc::new(Joint { gathered: Mutex::new(gathered), outcome: OnceLock::new() })
        }));
        let mut gathered = lock(&batch.gathered);
        let is_first = gathered.operations.is_empty();
        let leads = can_lead && !gathered.is_led && (is_first || !planted(Bug::LeadNotTaken));
        gathered.is_led |= leads;
        gathered.operations.push(operation);
        if gathered.operations.len() >= self.batch_max_operations {
            *open = None;
        }
        drop(gathered);
        (batch, Joined { is_first, leads })
    }

    /// Has this work done by itself, when its turn comes. Others gather meanwhile.
    #[cfg(feature = "json")]
    pub(crate) fn alone<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut lock(&self.turn))
    }

    fn lead(&self, batch: &Arc<Joint<O>>, work: impl FnOnce(&[O], &mut T) -> Outcome) -> Outcome {
        let mut turn = lock(&self.turn);
        let operations = self.close(batch);
        let tell = |outcome| operations.iter().for_each(|operation| (self.tell)(operation, outcome));
        if planted(Bug::AnswerBeforeCommit) {
            let _ = batch.outcome.set(Outcome::Committed);
            tell(Outcome::Committed);
        }
        let outcome = work(&operations, &mut turn);
        // Only the leader sets it, once.
        let outcome = *batch.outcome.get_or_init(|| outcome);
        drop(turn);
        tell(outcome);
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
        std::mem::take(&mut lock(&batch.gathered).operations)
    }

    /// How many operations wait in the batch that is open.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.open).as_ref().map_or(0, |batch| lock(&batch.gathered).operations.len())
    }
}

/// The lock, also after a panic under it: what these locks guard is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
