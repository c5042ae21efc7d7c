//! The store: a handle to one file.
//!
//! Each operation has one body, on [`WriteTx`] or [`ReadTx`] in its noun's file. What is here are the two ways to run
//! a transaction, and a shortcut for each single operation.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::agents::{Agent, Token};
use crate::clock::Clock;
use crate::db::{AppliedMigration, Engine, Writer, history, verify_counters, verify_rows};
use crate::error::Result;
use crate::id::{AgentId, ClaimId, MessageId, TaskId, ThreadId};
use crate::limits::EXPIRE_SLICE_TASKS;
use crate::messages::{Message, MessageFilter, NewMessage};
use crate::nested::{self, Access, StoreKey};
use crate::tasks::{Claim, NewTask, Task};
use crate::threads::Thread;
use crate::tx::{self, ReadTx, WriteTx};

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
    key: StoreKey,
    path: PathBuf,
}

impl Store {
    pub(crate) fn over(
        engine: Engine,
        clock: Arc<dyn Clock>,
        batch_max_operations: usize,
        path: &Path,
    ) -> Result<Self> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(0);
        let writer = Writer::new(engine, clock, batch_max_operations)?;
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        Ok(Self { inner: Arc::new(Inner { writer, key, path: path.into() }) })
    }

    /// Runs `f` on one consistent snapshot: the last durable commit, whatever is written meanwhile. Readers wait for
    /// nobody.
    ///
    /// A snapshot keeps the pages it sees from being reused, so a long one makes the file grow.
    ///
    /// # Errors
    ///
    /// What `f` gives back; [`Error::Nested`](crate::Error::Nested) from inside a closure of this store;
    /// [`Error::Poisoned`](crate::Error::Poisoned) after a failure.
    pub fn read<T>(&self, f: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        nested::check(self.inner.key, Access::Read)?;
        self.inner.writer.check()?;
        let _inside = nested::enter(self.inner.key, Access::Read);
        self.inner.writer.engine().read(|tables| f(&ReadTx::new(tables)))
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
    /// - What `f` gives back; its own refusal is [`Error::aborted`](crate::Error::aborted).
    /// - [`Error::Nested`](crate::Error::Nested) from inside a closure of this store, or from inside a write closure of
    ///   any.
    /// - [`Error::CommitUnknown`](crate::Error::CommitUnknown) when the commit failed, and
    ///   [`Error::Poisoned`](crate::Error::Poisoned) from then on.
    pub fn write<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        nested::check(self.inner.key, Access::Write)?;
        self.inner.writer.check()?;
        tx::run(&self.inner.writer, self.inner.key, f)
    }

    /// Why the store refuses further work with [`Error::Poisoned`](crate::Error::Poisoned), if it does.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.inner.writer.failure()
    }

    #[cfg(test)]
    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    /// Reads every row, recomputes every index entry from it, and compares. Takes time in proportion to the store.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) with the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        self.read(|tx| tx.verify())
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
        self.read(|tx| tx.schema_history())
    }
}

/// The operations, one by one.
impl Store {
    /// Opens a thread. See [`WriteTx::create_thread`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::create_thread`] and of [`write`](Self::write).
    pub fn create_thread(&self, workflow: &str, initiator: &str) -> Result<Thread> {
        let (workflow, initiator) = (workflow.to_owned(), initiator.to_owned());
        self.write(move |tx| tx.create_thread(&workflow, &initiator))
    }

    /// The thread with this id, or `None`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn thread(&self, id: ThreadId) -> Result<Option<Thread>> {
        self.read(|tx| tx.thread(id))
    }

    /// Appends a message to a thread. See [`WriteTx::append_message`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::append_message`] and of [`write`](Self::write).
    pub fn append_message(&self, thread: ThreadId, message: NewMessage) -> Result<Message> {
        self.write(move |tx| tx.append_message(thread, &message))
    }

    /// The messages of a thread that match, by step. See [`ReadTx::thread_messages`].
    ///
    /// # Errors
    ///
    /// Those of [`ReadTx::thread_messages`] and of [`read`](Self::read).
    pub fn thread_messages(&self, thread: ThreadId, filter: &MessageFilter) -> Result<Vec<Message>> {
        self.read(|tx| tx.thread_messages(thread, filter))
    }

    /// Adds a task to a thread. See [`WriteTx::create_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::create_task`] and of [`write`](Self::write).
    pub fn create_task(&self, thread: ThreadId, task: NewTask) -> Result<Task> {
        self.write(move |tx| tx.create_task(thread, &task))
    }

    /// The task with this id, or `None`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn task(&self, id: TaskId) -> Result<Option<Task>> {
        self.read(|tx| tx.task(id))
    }

    /// The open tasks of all roles, oldest first, at most `limit`. See [`ReadTx::open_tasks`].
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn open_tasks(&self, limit: usize) -> Result<Vec<Task>> {
        self.read(|tx| tx.open_tasks(limit))
    }

    /// Claims an open task; `None` says that somebody else was first. See [`WriteTx::claim_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::claim_task`] and of [`write`](Self::write).
    pub fn claim_task(&self, id: TaskId, agent: &AgentId) -> Result<Option<Claim>> {
        let agent = agent.clone();
        self.write(move |tx| tx.claim_task(id, &agent))
    }

    /// Completes a task under a claim; `false` says that the claim is no longer the task's. See
    /// [`WriteTx::complete_task`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::complete_task`] and of [`write`](Self::write).
    pub fn complete_task(&self, id: TaskId, claim: ClaimId) -> Result<bool> {
        self.write(move |tx| tx.complete_task(id, claim))
    }

    /// Reopens every claimed task whose claim has timed out, and says how many. See
    /// [`WriteTx::expire_timed_out_tasks`].
    ///
    /// It commits a thousand at a time, so that others get their turn. After an error those already committed stay
    /// reopened; call it again.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn expire_timed_out_tasks(&self) -> Result<u64> {
        let mut total = 0;
        loop {
            let reopened = self.write(|tx| tx.expire_at_most(EXPIRE_SLICE_TASKS))?;
            total += u64::try_from(reopened).unwrap_or(u64::MAX);
            if reopened < EXPIRE_SLICE_TASKS {
                return Ok(total);
            }
        }
    }

    /// Registers an agent and gives back its token. See [`WriteTx::register_agent`].
    ///
    /// # Errors
    ///
    /// Those of [`WriteTx::register_agent`] and of [`write`](Self::write).
    pub fn register_agent(&self, id: &AgentId) -> Result<Token> {
        let id = id.clone();
        self.write(move |tx| tx.register_agent(&id))
    }

    /// The agent whose token this is, or `None`. See [`ReadTx::authenticate`].
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn authenticate(&self, token: &str) -> Result<Option<Agent>> {
        self.read(|tx| tx.authenticate(token))
    }

    /// The registered agent of this name, or `None`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn agent(&self, id: &AgentId) -> Result<Option<Agent>> {
        self.read(|tx| tx.agent(id))
    }
}

/// What concerns every noun at once.
impl ReadTx<'_> {
    /// Reads every row, recomputes every index entry from it, and compares.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) with the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        verify_rows::<AppliedMigration>(self.tables())?;
        self.verify_agents()?;
        verify_rows::<Thread>(self.tables())?;
        verify_rows::<Message>(self.tables())?;
        verify_rows::<Task>(self.tables())?;
        verify_counters(self.tables(), self.newest_message()?.map(MessageId::as_u64))
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
        f.debug_struct("Store").field("path", &self.inner.path).field("failure", &self.failure()).finish()
    }
}
