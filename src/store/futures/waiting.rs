//! Claiming what is not there yet, without a thread to wait in.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::super::waiting::try_to_claim;
use super::AsyncStore;
use crate::error::Result;
use crate::id::AgentId;
use crate::tasks::{Claim, TaskFilter};
use crate::trace::operation;
use crate::tx::WriteTx;
use crate::waiters::{Next, Place, Woken};

impl AsyncStore {
    /// Claims the task whose turn it is, and waits for one while there is none, at most for `patience`. See
    /// [`Store::claim_next_within`](crate::Store::claim_next_within), beside whose callers this one stands in line, in the order they came.
    ///
    /// A wait takes no thread. Its time is that of Tokio's timer, in milliseconds; it can end a moment late, never early.
    /// When the future is dropped, its place in line is given up, a wake-up passed on, and a claim given back.
    ///
    /// # Errors
    ///
    /// Those of [`Store::claim_next_within`](crate::Store::claim_next_within).
    ///
    /// # Panics
    ///
    /// Where the runtime was built without its timer (`enable_time`).
    pub async fn claim_next_within(
        &self,
        agent: &AgentId,
        filter: &TaskFilter,
        patience: Duration,
    ) -> Result<Option<Claim>> {
        let mut operation = operation!("claim_next_within", %agent);
        let give_up_at = Instant::now().checked_add(patience);
        let place = self.store().inner.waiters.join(filter);
        loop {
            place.begin_try();
            let (agent, wanted) = (agent.clone(), filter.clone());
            let a_try = move |tx: &mut WriteTx<'_>| try_to_claim(tx, |tx| tx.claim_next(&agent, &wanted));
            let tried = self.submit(operation.span(), a_try, |(claim, _)| claim.as_ref()).await;
            let (claim, due_in) = operation.step(tried)?;
            if let Some(claim) = claim {
                place.leave_with(claim.task.id);
                return operation.end_with_rows(Ok(Some(claim)));
            }
            place.end_try(due_in);
            if wait(&place, give_up_at).await == Woken::TimeIsUp {
                return operation.end_with_rows(Ok(None));
            }
        }
    }
}

/// Waits until there may be something or it is `give_up_at`.
async fn wait(place: &Place<'_>, give_up_at: Option<Instant>) -> Woken {
    let mut alarm = pin!(None);
    let mut set_for = None;
    poll_fn(|context| {
        let Next::Sleep(due_at) = place.next(context.waker()) else { return Poll::Ready(Woken::TryAgain) };
        // Of a moment of the machine's clock only how far off it is means something to the timer, whose time a test can stop.
        if set_for != Some(due_at) {
            set_for = Some(due_at);
            let due_in = due_at.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            let due_at = due_in.and_then(|due_in| Instant::now().checked_add(due_in));
            alarm.set(give_up_at.into_iter().chain(due_at).min().map(sleep_until));
        }
        let Some(alarm) = alarm.as_mut().as_pin_mut() else { return Poll::Pending };
        alarm.poll(context).map(|()| {
            let time_is_up = give_up_at.is_some_and(|at| at <= Instant::now());
            if time_is_up { Woken::TimeIsUp } else { Woken::TryAgain }
        })
    })
    .await
}
