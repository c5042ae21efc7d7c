//! A write on its way into a batch, and its answer on its way back.
//!
//! ```text
//!   first poll ──▶ into the open batch ──▶ the leader runs it, commits, and sends ──▶ accepted by the future
//!                      │                                                  │
//!                      └── it opened one: a thread of the pool is         └── nobody is there any more: a claim
//!                          asked to lead it                                   in it is given back
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::AsyncStore;
use crate::db::UnledBatch;
use crate::error::{Error, Result};
use crate::id::{ClaimId, TaskId};
use crate::nested::{self, Access};
use crate::planted::{Bug, planted};
use crate::tasks::Claim;
use crate::trace::{OperationSpan, operation};
use crate::tx::{self, Ending, WriteTx};

impl AsyncStore {
    /// What a write closure gives back, when it is durable. If the future is dropped before, the claim that `claimed` finds
    /// in it is given back.
    pub(super) async fn submit<T, F>(&self, span: OperationSpan, f: F, claimed: fn(&T) -> Option<&Claim>) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        // Asked first: who polls outside of a runtime is told so before anything is done.
        let runtime = Handle::current();
        let inner = &self.store().inner;
        nested::check(inner.key, Access::Write)?;
        inner.writer.check()?;
        let (sender, receiver) = oneshot::channel();
        let (store, then_on) = (self.clone(), runtime.clone());
        self.start(&runtime, span, f, move |ending| {
            // If nobody is there any more, it comes back and is dropped.
            let _ = sender.send(Delivery { ending: Some(ending), claimed, store, runtime: then_on });
        });
        // Whoever leads a batch tells everybody in it.
        receiver.await.map_err(|_| Error::CommitUnknown)?.accept()
    }

    /// Has a write closure run, and what becomes of it told to `then`, on whichever thread leads its batch.
    fn start<T, F, G>(&self, runtime: &Handle, span: OperationSpan, f: F, then: G)
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
        G: FnOnce(Ending<T>) + Send + 'static,
    {
        let inner = &self.store().inner;
        let store = self.clone();
        let unled = tx::submit(&inner.writer, inner.key, span, f, move |mut ending| {
            store.store().inner.waiters.announce(ending.take_news());
            then(ending);
        });
        if let Some(batch) = unled {
            let lead = Lead(Some((self.clone(), batch)));
            runtime.spawn_blocking(move || lead.take());
        }
    }

    fn lead(&self, batch: UnledBatch) {
        let inner = &self.store().inner;
        let _told = inner.tell_of_a_failure();
        inner.writer.lead_unled(batch);
    }

    fn give_back(&self, runtime: &Handle, task: TaskId, claim: ClaimId) {
        if !planted(Bug::ClaimNotGivenBack) {
            let operation = operation!("give_back", %task);
            let release = move |tx: &mut WriteTx<'_>| tx.release_task(task, claim);
            self.start(runtime, operation.span(), release, move |ending| {
                drop(operation.end_with_rows(ending.settle()));
            });
        }
    }
}

/// The lead of a batch, on its way to a thread that can take it.
struct Lead(Option<(AsyncStore, UnledBatch)>);

impl Lead {
    fn take(mut self) {
        if let Some((store, batch)) = self.0.take() {
            store.lead(batch);
        }
    }
}

/// A runtime that is shut down drops what it has not begun. Others may wait for the batch all the same, and the runtime may
/// hold locks of its own here, so a thread is made for it; where none can be made, this one has to do.
impl Drop for Lead {
    fn drop(&mut self) {
        let Some(lead) = self.0.take() else { return };
        let lead = Arc::new(Mutex::new(Self(Some(lead))));
        let take = |lead: &Mutex<Self>| {
            let taken = lead.lock().unwrap_or_else(PoisonError::into_inner).0.take();
            Self(taken).take();
        };
        let shared = Arc::clone(&lead);
        if std::thread::Builder::new().spawn(move || take(&shared)).is_err() {
            take(&lead);
        }
    }
}

/// An answer on its way to a future, which may be gone.
struct Delivery<T> {
    /// `None` once it was accepted.
    ending: Option<Ending<T>>,
    claimed: fn(&T) -> Option<&Claim>,
    store: AsyncStore,
    runtime: Handle,
}

impl<T> Delivery<T> {
    fn accept(mut self) -> Result<T> {
        self.ending.take().map_or(Err(Error::CommitUnknown), Ending::settle)
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        let claim = self.ending.as_ref().and_then(Ending::done).and_then(self.claimed);
        if let Some(claim) = claim {
            self.store.give_back(&self.runtime, claim.task.id, claim.id);
        }
    }
}
