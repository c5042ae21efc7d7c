//! The operations as futures.
//!
//! A write is put into the open batch at the first poll, and its batch is led on a thread of the runtime's blocking pool, or
//! by whichever thread with a write of its own joins it first: one thread a batch, not one a write. Who waits for a task
//! holds a place in line and no thread. What only reads runs on the blocking pool.
//!
//! | file | is about |
//! |---|---|
//! | `delivery.rs` | how a write is put into a batch, who leads that, and how its answer comes back |
//! | `shortcuts.rs` | each operation in one line |
//! | `waiting.rs` | claiming what is not there yet |
//! | `upkeep.rs` | what takes long: checking, copying, moving |

mod delivery;
mod shortcuts;
mod upkeep;
mod waiting;

use tokio::runtime::Handle;

use super::Store;
use crate::error::{Error, Result};
use crate::nested::{self, Access};
use crate::tasks::Claim;
use crate::trace::{self, Operation, OperationSpan, Rows, operation};
use crate::tx::{ReadTx, WriteTx};

/// A [`Store`] whose operations are futures: they never block the thread that polls them. Needs the feature `tokio`.
///
/// A handle, as cheap to clone as [`Store`], and made from one: `AsyncStore::from(store)`, and back. Both can be used at the
/// same time; their writes share commits. Every operation has the name, the meaning and the errors that it has on
/// [`Store`], where it is documented.
///
/// ```
/// use std::time::Duration;
/// use khala::{AgentId, AsyncStore, NewTask, Store, TaskFilter};
///
/// # fn main() -> khala::Result<()> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// let store = AsyncStore::from(Store::in_memory()?);
/// let waiting = tokio::spawn({
///     let store = store.clone();
///     async move {
///         let me = AgentId::new("writer-1")?;
///         store.claim_next_within(&me, &TaskFilter::new().role("writer"), Duration::from_secs(60)).await
///     }
/// });
/// let thread = store.create_thread("review", "ada").await?.id;
/// let task = store.create_task(thread, NewTask::new("writer", "Draft it.")).await?;
/// let claim = waiting.await.expect("it does not panic")?.expect("it was woken in time");
/// assert_eq!(claim.task.id, task.id);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Cancellation
///
/// A future can be dropped at any moment, and leaves all of its operation or nothing:
///
/// - Before its first poll nothing has happened, and nothing will.
/// - From then on a write is carried out whole, whether or not somebody waits for the answer. Who must know looks, or does it
///   again where that is safe: [`complete_task`](Self::complete_task) says `true` again, [`NewTask::key`](crate::NewTask::key) creates nothing twice.
/// - **A claim whose future was dropped is given back**: [`claim_task`](Self::claim_task), [`claim_next`](Self::claim_next) and
///   [`claim_next_within`](Self::claim_next_within) release the task again, as [`release_task`](Self::release_task) does, the attempt not
///   counted, a moment after it was made. Only if the process ends before that does it have to time out. Claims that a closure of
///   [`write`](Self::write) makes are the closure's own.
/// - [`expire_timed_out_tasks`](Self::expire_timed_out_tasks) and [`prune`](Self::prune) commit a slice at a time, and end with
///   the one at work.
/// - What reads, copies or checks goes on to its end on its thread, and nobody is told; an import as well, all or nothing.
///
/// So `tokio::select!` and `tokio::time::timeout` around any of them are safe.
///
/// # Runtime
///
/// Futures are polled within a Tokio runtime, of either flavour, else they panic as Tokio's own do. Only `claim_next_within`
/// needs its timer. Of the threads for blocking work the batch at work takes one, the next in line another, and each
/// read at work one. Tokio's default of 512 leaves enough; but where they all wait for tasks with the methods of [`Store`], no
/// write of a future gets on.
///
/// Inside a closure of a store its futures give [`Error::Nested`], as its methods do.
///
/// The file is closed with the last handle, on a thread of the runtime, a moment after that was dropped;
/// [`close`](Self::close) says when.
#[derive(Clone, Debug)]
pub struct AsyncStore {
    /// `None` once it has been taken out, on the way to being dropped.
    store: Option<Store>,
}

impl From<Store> for AsyncStore {
    fn from(store: Store) -> Self {
        Self { store: Some(store) }
    }
}

impl From<AsyncStore> for Store {
    fn from(mut store: AsyncStore) -> Self {
        let taken = store.store.take();
        #[expect(
            clippy::expect_used,
            reason = "it is taken here, in `close` and in `drop`, each of which is the end of it"
        )]
        taken.expect("an AsyncStore has its store until it is dropped")
    }
}

impl Drop for AsyncStore {
    fn drop(&mut self) {
        let Some(store) = self.store.take() else { return };
        // Closing the file waits for the disk. Outside of a runtime it is done here.
        if let Some(last) = store.into_last()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(last));
        }
    }
}

impl AsyncStore {
    /// Runs `f` on one consistent snapshot, on a thread for blocking work. See [`Store::read`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::read`], and [`Error::Aborted`] if the runtime is shut down before `f` runs.
    pub async fn read<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&ReadTx<'_>) -> Result<T> + Send + 'static,
    {
        self.on_pool(Access::Read, move |store| store.read(f)).await
    }

    /// Runs `f` in one atomic step. When this gives `Ok`, what `f` did is durable. See [`Store::write`].
    ///
    /// A future that is dropped after its first poll still does what `f` does.
    ///
    /// # Errors
    ///
    /// Those of [`Store::write`].
    pub async fn write<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        let operation = operation!("write");
        let answer = self.write_in(operation.span(), f).await;
        operation.end(answer)
    }

    /// The same as an operation of its own.
    async fn write_as<T, F>(&self, operation: Operation, f: F) -> Result<T>
    where
        T: Rows + Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        let answer = self.write_in(operation.span(), f).await;
        operation.end_with_rows(answer)
    }

    async fn write_in<T, F>(&self, span: OperationSpan, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        self.submit(span, f, |_| None).await
    }

    /// The same for what claims: a claim that nobody receives is given back.
    async fn claim_as<F>(&self, operation: Operation, f: F) -> Result<Option<Claim>>
    where
        F: FnMut(&mut WriteTx<'_>) -> Result<Option<Claim>> + Send + 'static,
    {
        let answer = self.submit(operation.span(), f, Option::as_ref).await;
        operation.end_with_rows(answer)
    }

    /// Why the store refuses further work, if it does. See [`Store::failure`].
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.store().failure()
    }

    /// Drops this handle. When this returns, and it was the last one, the file is closed and can be opened again.
    pub async fn close(mut self) {
        let last = self.store.take().and_then(Store::into_last);
        if let Some(last) = last {
            // A runtime that is shut down drops it as well.
            let _ = Handle::current().spawn_blocking(move || drop(last)).await;
        }
    }

    fn store(&self) -> &Store {
        #[expect(clippy::expect_used, reason = "it is taken where the handle ends")]
        self.store.as_ref().expect("an AsyncStore has its store until it is dropped")
    }

    /// What `f` makes of this store on a thread that may block.
    async fn on_pool<T: Send + 'static>(
        &self,
        access: Access,
        f: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        // Whoever polls from inside a closure would wait for itself; the thread of the pool is inside none.
        nested::check(store.store().inner.key, access)?;
        on_pool(move || f(store.store())).await
    }
}

/// What `f` gives back, run on a thread that may block. A panic in it goes on here.
pub(crate) async fn on_pool<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = trace::current();
    match Handle::current().spawn_blocking(move || span.in_scope(f)).await {
        Ok(answer) => answer,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(Error::aborted(cancelled)),
        },
    }
}
