//! Claiming what is not there yet.

use std::time::{Duration, Instant};

use super::Store;
use crate::error::Result;
use crate::id::AgentId;
use crate::tasks::{Claim, TaskFilter};
use crate::trace::{Operation, operation};
use crate::tx::WriteTx;
use crate::waiters::Woken;

impl Store {
    /// Claims the task whose turn it is, as [`claim_next`](Self::claim_next) does, and waits for one while there is none,
    /// at most for `patience`; `Duration::MAX` is for ever. `None` says that there was none in all that time.
    ///
    /// It does not poll. It is woken by whatever makes a task claimable: one that is created, released or reopened; a
    /// claim that times out; a scheduled task whose time comes. Those who wait are served in the order they came, and one
    /// task wakes one of them, who can take it. A wait can end a moment late, never early.
    ///
    /// Times are slept for at the pace of the machine's clock, from what the store's clock last said. A
    /// [`Clock`](crate::Clock) that jumps forward is noticed when somebody next claims or sweeps, or when that sleep is
    /// over: whoever turns a [`ManualClock`](crate::ManualClock) calls
    /// [`expire_timed_out_tasks`](Self::expire_timed_out_tasks) to let it be known. One that jumps back delays nobody by
    /// more than what passed since somebody last wrote.
    ///
    /// ```
    /// use std::time::Duration;
    /// use khala::{AgentId, NewTask, Store, TaskFilter};
    ///
    /// # fn main() -> khala::Result<()> {
    /// let store = Store::in_memory()?;
    /// let agent = std::thread::spawn({
    ///     let store = store.clone();
    ///     move || {
    ///         let me = AgentId::new("writer-1")?;
    ///         store.claim_next_within(&me, &TaskFilter::new().role("writer"), Duration::from_secs(60))
    ///     }
    /// });
    /// let thread = store.create_thread("review", "ada")?.id;
    /// let task = store.create_task(thread, NewTask::new("writer", "Draft it."))?;
    /// let claim = agent.join().expect("it does not panic")?.expect("it was woken in time");
    /// assert_eq!(claim.task.id, task.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write). A store that fails wakes everybody who waits.
    pub fn claim_next_within(&self, agent: &AgentId, filter: &TaskFilter, patience: Duration) -> Result<Option<Claim>> {
        let operation = operation!("claim_next_within", %agent);
        let (agent, wanted) = (agent.clone(), filter.clone());
        self.claim_within(operation, filter, patience, move |tx| tx.claim_next(&agent, &wanted))
    }

    /// The same, with this for a try.
    pub(crate) fn claim_within(
        &self,
        mut operation: Operation,
        filter: &TaskFilter,
        patience: Duration,
        claim: impl Fn(&mut WriteTx<'_>) -> Result<Option<Claim>> + Clone + Send + 'static,
    ) -> Result<Option<Claim>> {
        let give_up_at = Instant::now().checked_add(patience);
        let place = self.inner.waiters.join(filter);
        loop {
            place.begin_try();
            let claim = claim.clone();
            let tried = self.write_in(operation.span(), move |tx| try_to_claim(tx, &claim));
            let (claim, due_in) = operation.step(tried)?;
            if let Some(claim) = claim {
                place.leave_with(claim.task.id);
                return operation.end_with_rows(Ok(Some(claim)));
            }
            if place.wait(give_up_at, due_in) == Woken::TimeIsUp {
                return operation.end_with_rows(Ok(None));
            }
        }
    }
}

/// What this claims, or how far off it is that something will be due.
pub(super) fn try_to_claim(
    tx: &mut WriteTx<'_>,
    claim: impl Fn(&mut WriteTx<'_>) -> Result<Option<Claim>>,
) -> Result<(Option<Claim>, Option<Duration>)> {
    let claim = claim(tx)?;
    let due = if claim.is_none() { tx.next_due()? } else { None };
    Ok((claim, due.map(|moment| moment.duration_since(tx.now()))))
}
