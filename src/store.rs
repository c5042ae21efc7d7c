//! The store: a handle to one file.
//!
//! Each operation has one body, on [`WriteTx`] or [`ReadTx`] in its noun's file. Here are the two ways to run a
//! transaction, and in `store/shortcuts.rs` a shortcut for each single operation.

#[cfg(feature = "tokio")]
mod futures;
mod moving;
mod rows;
mod shortcuts;
mod stats;
mod waiting;

#[cfg(feature = "tokio")]
pub use futures::AsyncStore;
#[cfg(feature = "tokio")]
pub(crate) use futures::on_pool;
pub(crate) use moving::every_table;
pub use stats::Stats;
pub(crate) use stats::bytes_on_disk;

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::db::{AppliedMigration, Counted, Engine, Outcome, Row, Writer, history, verify_counters, verify_rows};
use crate::error::{Error, Result};
use crate::id::{MessageId, TaskId, ThreadId};
use crate::messages::Message;
use crate::nested::{self, Access, StoreKey};
use crate::tasks::TaskRow;
use crate::threads::Thread;
use crate::trace::{Operation, OperationSpan, Rows, operation};
use crate::tx::{self, ReadTx, WriteTx};
use crate::waiters::Waiters;

/// A coordination store in one file.
///
/// A handle: cheap to clone, to send and to share. Any number of threads use it at once; the file is closed when the
/// last clone is dropped.
///
/// Every operation stands here as a method of its own and, with inputs by reference, on the transaction that
/// [`write`](Self::write) and [`read`](Self::read) hand to a closure. The documentation of an operation is there.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    waiters: Waiters,
    key: StoreKey,
    /// `None` in memory.
    file: Option<PathBuf>,
}

impl Inner {
    /// Whoever waits for a task hears of it if the store fails in this call, however the call ends.
    fn tell_of_a_failure(&self) -> FailureTold<'_> {
        FailureTold(self)
    }
}

struct FailureTold<'a>(&'a Inner);

impl Drop for FailureTold<'_> {
    fn drop(&mut self) {
        if self.0.writer.failure().is_some() {
            self.0.waiters.wake_all();
        }
    }
}

impl Store {
    pub(crate) fn over(
        engine: Engine,
        clock: Arc<dyn Clock>,
        batch_max_operations: usize,
        file: Option<&Path>,
    ) -> Result<Self> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(0);
        let writer = Writer::new(engine, clock, batch_max_operations)?;
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        Ok(Self { inner: Arc::new(Inner { writer, waiters: Waiters::default(), key, file: file.map(Into::into) }) })
    }

    /// Runs `f` on one consistent snapshot: the last durable commit, whatever is written meanwhile. Readers wait for
    /// nobody.
    ///
    /// A snapshot keeps the pages it sees from being reused, so a long one makes the file grow.
    ///
    /// # Errors
    ///
    /// - What `f` gives back.
    /// - [`Error::Nested`] from inside a closure of this store.
    /// - [`Error::InvalidInput`] while the clock says more than [`CLOCK_MAX`](crate::limits::CLOCK_MAX).
    /// - [`Error::Io`] when the file cannot be read, and [`Error::Poisoned`] from
    ///   then on.
    pub fn read<T>(&self, f: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        let operation = operation!("read");
        let answer = self.read_in(&operation.span(), f);
        operation.end(answer)
    }

    /// The same as an operation of its own.
    fn read_as<T: Rows>(&self, operation: Operation, f: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        let answer = self.read_in(&operation.span(), f);
        operation.end_with_rows(answer)
    }

    fn read_in<T>(&self, span: &OperationSpan, f: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        nested::check(self.inner.key, Access::Read)?;
        self.inner.writer.check()?;
        let _told = self.inner.tell_of_a_failure();
        let _inside = nested::enter(self.inner.key, Access::Read);
        span.in_scope(|| self.inner.writer.read(|tables, now| f(&ReadTx::new(tables, now))))
    }

    /// Runs `f` in one atomic step. When this returns `Ok`, what `f` did is durable: it survives a power cut. When it
    /// returns an `Err` that `f` gave back, nothing of it is there.
    ///
    /// Concurrent writes share one commit, so `f` can run on another writer's thread, and again if another's failure
    /// spoils the commit. Its only effects therefore go through `tx`; keep slow work and other locks out of it, for
    /// every other writer waits.
    ///
    /// A panic in `f` leaves nothing behind either, and continues on the thread that called this.
    ///
    /// # Errors
    ///
    /// - What `f` gives back; its own refusal is [`Error::aborted`].
    /// - [`Error::Nested`] from inside a closure of this store, or from inside a write closure of
    ///   any.
    /// - [`Error::InvalidInput`] while the clock says more than [`CLOCK_MAX`](crate::limits::CLOCK_MAX).
    /// - [`Error::Io`] when the file cannot be read or written, and nothing was done;
    ///   [`Error::CommitUnknown`] when the commit failed. From then on
    ///   [`Error::Poisoned`].
    pub fn write<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        let operation = operation!("write");
        let answer = self.write_in(operation.span(), f);
        operation.end(answer)
    }

    /// The same as an operation of its own.
    fn write_as<T, F>(&self, operation: Operation, f: F) -> Result<T>
    where
        T: Rows + Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        let answer = self.write_in(operation.span(), f);
        operation.end_with_rows(answer)
    }

    fn write_in<T, F>(&self, span: OperationSpan, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        nested::check(self.inner.key, Access::Write)?;
        self.inner.writer.check()?;
        let _told = self.inner.tell_of_a_failure();
        let (answer, news) = tx::run(&self.inner.writer, self.inner.key, span, f)?;
        self.inner.waiters.announce(news);
        Ok(answer)
    }

    /// Makes the file one that opens at once, should the process or the machine stop before the next write. Otherwise
    /// the first open after a crash walks the whole file: seconds per gigabyte. A store whose last handle is dropped
    /// leaves such a file by itself.
    ///
    /// It costs about two commits, one shared with whoever writes meanwhile, and holds only until the next write: call
    /// it when the application falls idle. With [`check_on_open`](crate::Builder::check_on_open), the default, every
    /// open reads the whole file all the same.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn checkpoint(&self) -> Result<()> {
        let operation = operation!("checkpoint");
        let answer = self.checkpoint_in(operation.span());
        operation.end(answer)
    }

    fn checkpoint_in(&self, span: OperationSpan) -> Result<()> {
        nested::check(self.inner.key, Access::Write)?;
        self.inner.writer.check()?;
        let _told = self.inner.tell_of_a_failure();
        match self.inner.writer.checkpoint(span) {
            Outcome::Committed => Ok(()),
            Outcome::Unknown => Err(Error::CommitUnknown),
            Outcome::Refused => Err(Error::Poisoned),
        }
    }

    /// Why the store refuses further work with [`Error::Poisoned`], if it does: what could not be
    /// done, with which file, and what the operating system said.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.inner.writer.failure()
    }

    /// What is to be closed with this handle, if it is the last.
    #[cfg(feature = "tokio")]
    fn into_last(self) -> Option<impl Send + use<>> {
        Arc::into_inner(self.inner)
    }

    #[cfg(test)]
    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    #[cfg(test)]
    pub(crate) fn waiters(&self) -> &Waiters {
        &self.inner.waiters
    }

    /// Reads every row, recomputes every index entry from it, and compares. Takes time in proportion to the store.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] with the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        self.read_as(operation!("verify"), |tx| tx.verify())
    }

    /// How much is in the store, and how much room it takes. See [`Stats`].
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and [`Error::Io`] when the file cannot be measured.
    pub fn stats(&self) -> Result<Stats> {
        let operation = operation!("stats");
        let stats = self.stats_in(&operation.span());
        operation.end(stats)
    }

    fn stats_in(&self, span: &OperationSpan) -> Result<Stats> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        let mut stats = self.read_in(span, |tx| tx.stats())?;
        stats.bytes_on_disk = self.inner.file.as_deref().map(bytes_on_disk).transpose()?;
        Ok(stats)
    }

    /// The migrations this store has been through, oldest first.
    ///
    /// # Errors
    ///
    /// Only what reading can meet.
    pub fn schema_history(&self) -> Result<Vec<AppliedMigration>> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        self.read_as(operation!("schema_history"), |tx| tx.schema_history())
    }
}

/// What concerns every noun at once.
impl ReadTx<'_> {
    /// Reads every row, recomputes every index entry from it, and compares.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] with the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        verify_rows::<AppliedMigration>(self.tables())?;
        self.verify_agents()?;
        verify_rows::<Thread>(self.tables())?;
        verify_rows::<Message>(self.tables())?;
        self.verify_tasks()?;
        let stored = Counted {
            newest_message: self.newest_message()?.map(MessageId::as_u64),
            newest_thread: self.newest::<Thread>()?.map(ThreadId::to_bytes),
            newest_task: self.newest::<TaskRow>()?.map(TaskId::to_bytes),
            disorder: self.disorder_of_messages()?,
        };
        verify_counters(self.tables(), &stored)
    }

    /// The highest id there is.
    fn newest<R: Row>(&self) -> Result<Option<R::Id>> {
        let newest = self.tables().keys(&R::TABLE, &(Bound::Unbounded, Bound::Unbounded))?.next_back();
        newest.map(|key| R::id_of_key(&key?)).transpose()
    }

    /// The migrations this store has been through, oldest first.
    ///
    /// # Errors
    ///
    /// Only what reading can meet.
    pub fn schema_history(&self) -> Result<Vec<AppliedMigration>> {
        history(self.tables())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("file", &self.inner.file).field("failure", &self.failure()).finish()
    }
}
