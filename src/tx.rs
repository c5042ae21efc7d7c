//! What an operation stands on: a snapshot to read from, or a transaction to write in.
//!
//! The operations themselves are in the nouns' files, one `impl` block each.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::clock::Timestamp;
#[cfg(feature = "tokio")]
use crate::db::UnledBatch;
#[cfg(feature = "json")]
use crate::db::moment_of_ulid;
use crate::db::{Batch, Counters, Operation, Outcome, Ran, Row, Tables, Writer, fresh_ulid};
use crate::error::{Error, Result};
use crate::id::{ClaimId, MessageId, TaskId, ThreadId};
#[cfg(feature = "json")]
use crate::limits::IMPORT_AHEAD_MAX_SECONDS;
use crate::nested::{self, Access, StoreKey};
use crate::trace::OperationSpan;
use crate::witness::{self, Serial};

/// A consistent view: the last durable commit in [`Store::read`](crate::Store::read), or the transaction so far in
/// [`Store::write`](crate::Store::write), whose [`WriteTx`] reads through this.
pub struct ReadTx<'t> {
    tables: Tables<'t>,
    now: Timestamp,
}

impl<'t> ReadTx<'t> {
    /// A view of these tables at this moment.
    pub(crate) fn new(tables: Tables<'t>, now: Timestamp) -> Self {
        Self { tables, now }
    }

    /// The moment of this transaction in stored time, which never goes back. What only reads goes by the clock and by the
    /// last write: see [`Clock`](crate::Clock).
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn tables(&self) -> &Tables<'t> {
        &self.tables
    }
}

impl fmt::Debug for ReadTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTx").finish_non_exhaustive()
    }
}

/// Several operations in one atomic step, handed to the closure of [`Store::write`](crate::Store::write).
///
/// It reads what it wrote. All of its operations happen at one moment, [`now`](ReadTx::now).
pub struct WriteTx<'t> {
    read: ReadTx<'t>,
    counters: Counters,
    news: News,
}

/// What those who wait for a task want to know of a transaction, once it is committed.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The tasks it left open, oldest first.
    pub(crate) opened: BTreeMap<TaskId, Opened>,
    /// How far off the first of what it wrote is that will be due: a claim that times out, a scheduled task.
    pub(crate) due_in: Option<Duration>,
    /// Whether it left more tasks open than are worth being told one by one.
    pub(crate) many_opened: bool,
}

/// How many opened tasks are told one by one. Beyond that everybody who waits is told to look.
const MOST_TOLD: usize = 1_000;

/// A task that was opened, and what decides who can take it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opened {
    pub(crate) task: TaskId,
    pub(crate) thread: ThreadId,
    pub(crate) role: String,
}

impl<'t> WriteTx<'t> {
    /// Stores a row, and its index entries with it.
    pub(crate) fn put<R: Row>(&mut self, row: &R) -> Result<()> {
        self.read.tables.put(row)
    }

    /// Tells those who wait, once this transaction is committed.
    pub(crate) fn tell_opened(&mut self, opened: Opened) {
        if self.news.opened.len() < MOST_TOLD {
            self.news.opened.insert(opened.task, opened);
        } else {
            self.news.many_opened = true;
        }
    }

    /// Takes back what was told of a task that is not open after all.
    pub(crate) fn tell_not_open(&mut self, task: TaskId) {
        self.news.opened.remove(&task);
    }

    /// Tells those who wait when something will be due, once this transaction is committed.
    pub(crate) fn tell_due(&mut self, moment: Timestamp) {
        let due_in = moment.duration_since(self.now());
        self.news.due_in = self.news.due_in.into_iter().chain([due_in]).min();
    }

    /// Removes a row, and its index entries with it. Whether there was one.
    pub(crate) fn remove<R: Row>(&mut self, id: &R::Id) -> Result<bool> {
        self.read.tables.remove::<R>(id)
    }

    pub(crate) fn new_thread_id(&mut self) -> Result<ThreadId> {
        self.counters.next_ulid(self.read.now).map(ThreadId::from_bytes)
    }

    pub(crate) fn new_task_id(&mut self) -> Result<TaskId> {
        self.counters.next_ulid(self.read.now).map(TaskId::from_bytes)
    }

    pub(crate) fn new_message_id(&mut self) -> Result<MessageId> {
        self.counters.next_message_id().map(MessageId::from_u64)
    }

    pub(crate) fn new_claim_id(&self) -> Result<ClaimId> {
        fresh_ulid(self.read.now).map(ClaimId::from_bytes)
    }

    fn over(batch: Batch<'t>) -> Self {
        let Batch { tables, counters, now } = batch;
        Self { read: ReadTx::new(tables, now), counters, news: News::default() }
    }

    fn into_batch(self) -> (Batch<'t>, News) {
        let ReadTx { tables, now } = self.read;
        (Batch { tables, counters: self.counters, now }, self.news)
    }
}

/// What became of a row that came with its id.
#[cfg(feature = "json")]
pub(crate) enum Landed<R> {
    /// It is in the store now.
    Added,
    /// This one was there under its id.
    There(R),
}

/// Rows that bring their ids and times with them: what is given out after them lies behind them.
#[cfg(feature = "json")]
impl WriteTx<'_> {
    pub(crate) fn count_message(&mut self, id: u64) {
        self.counters.count_message(id);
    }

    /// An error if the id is of a moment too far ahead.
    pub(crate) fn count_ulid(&mut self, field: &'static str, id: [u8; 16]) -> Result<()> {
        self.check_is_near(field, "an id of ", moment_of_ulid(id))?;
        self.counters.count_ulid(id);
        Ok(())
    }

    /// An error if the moment is too far ahead.
    pub(crate) fn count_moment(&mut self, field: &'static str, moment: Timestamp) -> Result<()> {
        self.check_is_near(field, "", moment)?;
        self.counters.count_moment(moment);
        Ok(())
    }

    pub(crate) fn count_disorder(&mut self, disorder: Duration) {
        self.counters.count_disorder(disorder);
    }

    fn check_is_near(&self, field: &'static str, what: &str, moment: Timestamp) -> Result<()> {
        let latest = self.now() + Duration::from_secs(IMPORT_AHEAD_MAX_SECONDS);
        if moment <= latest {
            return Ok(());
        }
        let reason = format!("is {what}{moment}; the store's clock says {}, and a day more is the most", self.now());
        Err(Error::InvalidInput { field, reason })
    }
}

impl<'t> Deref for WriteTx<'t> {
    type Target = ReadTx<'t>;

    fn deref(&self) -> &ReadTx<'t> {
        &self.read
    }
}

impl fmt::Debug for WriteTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTx").field("now", &self.read.now).finish_non_exhaustive()
    }
}

/// Runs a closure through the writer and gives back what it gave back, or lets its panic go on here. With it comes what
/// the closure's transaction has to tell.
pub(crate) fn run<T, F>(writer: &Writer, store: StoreKey, span: OperationSpan, f: F) -> Result<(T, News)>
where
    T: Send + 'static,
    F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
{
    let call = Arc::new(Call { store, span, state: Mutex::new(CallState { f, answer: None }) });
    let operation: Arc<dyn Operation> = call.clone();
    let outcome = writer.run(operation);
    settle(outcome, call.take_answer())
}

/// Has a closure run by the writer and returns at once: `then` is told how it ended, on whichever thread led its batch.
/// If that batch has no leader yet, it comes back, and somebody has to lead it.
#[cfg(feature = "tokio")]
pub(crate) fn submit<T, F, G>(
    writer: &Writer,
    store: StoreKey,
    span: OperationSpan,
    f: F,
    then: G,
) -> Option<UnledBatch>
where
    T: Send + 'static,
    F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    G: FnOnce(Ending<T>) + Send + 'static,
{
    let call = Call { store, span, state: Mutex::new(CallState { f, answer: None }) };
    writer.submit(Arc::new(Submitted { call, then: Mutex::new(Some(then)) }))
}

/// The same for a closure that runs once, on this thread, while every other writer waits.
#[cfg(feature = "json")]
pub(crate) fn run_alone<T>(
    writer: &Writer,
    store: StoreKey,
    f: impl FnOnce(&mut WriteTx<'_>) -> Result<T>,
) -> Result<(T, News)> {
    let (outcome, answer) = writer.run_alone(|batch| run_on(batch, store, f))?;
    settle(outcome, answer)
}

/// What a closure's last run came to.
struct Answer<T> {
    /// What it gave back, or its panic.
    said: thread::Result<Result<T>>,
    news: News,
    serial: Serial,
}

/// How a call that was submitted ended.
#[cfg(feature = "tokio")]
pub(crate) struct Ending<T> {
    outcome: Outcome,
    answer: Option<Answer<T>>,
}

#[cfg(feature = "tokio")]
impl<T> Ending<T> {
    /// What those who wait for a task are to be told: nothing, if nothing was done.
    pub(crate) fn take_news(&mut self) -> News {
        let answer = self.answer.as_mut().filter(|answer| matches!(answer.said, Ok(Ok(_))));
        let done = answer.filter(|_| self.outcome == Outcome::Committed);
        done.map(|answer| std::mem::take(&mut answer.news)).unwrap_or_default()
    }

    /// What the closure gave back, if that is durable.
    pub(crate) fn done(&self) -> Option<&T> {
        let said = self.answer.as_ref().filter(|_| self.outcome == Outcome::Committed);
        said.and_then(|answer| answer.said.as_ref().ok()?.as_ref().ok())
    }

    /// What the caller is told; a panic of its closure goes on here.
    pub(crate) fn settle(self) -> Result<T> {
        settle(self.outcome, self.answer).map(|(answer, _)| answer)
    }
}

/// What the caller is told when its batch has this outcome.
fn settle<T>(outcome: Outcome, answer: Option<Answer<T>>) -> Result<(T, News)> {
    let (said, news, serial) = match answer {
        Some(Answer { said, news, serial }) => (Some(said), news, serial),
        None => (None, News::default(), Serial::default()),
    };
    witness::note(&serial);
    match (outcome, said) {
        (Outcome::Committed, Some(Ok(answer))) => answer.map(|answer| (answer, news)),
        (Outcome::Committed, Some(Err(panic))) => std::panic::resume_unwind(panic),
        // A committed batch has run every operation in it.
        (Outcome::Unknown, _) | (Outcome::Committed, None) => Err(Error::CommitUnknown),
        // The one whose operation met the failure is told what it was.
        (Outcome::Refused, Some(Ok(Err(error @ Error::Io { .. })))) => Err(error),
        (Outcome::Refused, _) => Err(Error::Poisoned),
    }
}

/// A caller's closure and its answer, where any writer's thread can run the one and leave the other.
struct Call<T, F> {
    store: StoreKey,
    /// What the closure runs in, whoever runs it.
    span: OperationSpan,
    state: Mutex<CallState<T, F>>,
}

struct CallState<T, F> {
    f: F,
    answer: Option<Answer<T>>,
}

impl<T, F> Call<T, F> {
    fn take_answer(&self) -> Option<Answer<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).answer.take()
    }
}

impl<T, F> Operation for Call<T, F>
where
    T: Send,
    F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send,
{
    fn span(&self) -> &OperationSpan {
        &self.span
    }

    fn refuse(&self, error: Error) {
        let answer = Answer { said: Ok(Err(error)), news: News::default(), serial: Serial::default() };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).answer = Some(answer);
    }

    fn run<'t>(&self, batch: Batch<'t>) -> (Batch<'t>, Ran) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _in_span = self.span.enter();
        let (batch, ran, answer) = run_on(batch, self.store, |tx| (state.f)(tx));
        state.answer = Some(answer);
        (batch, ran)
    }
}

/// A call whose caller does not wait for it in a thread.
#[cfg(feature = "tokio")]
struct Submitted<T, F, G> {
    call: Call<T, F>,
    /// Told once.
    then: Mutex<Option<G>>,
}

#[cfg(feature = "tokio")]
impl<T, F, G> Operation for Submitted<T, F, G>
where
    T: Send,
    F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send,
    G: FnOnce(Ending<T>) + Send,
{
    fn run<'t>(&self, batch: Batch<'t>) -> (Batch<'t>, Ran) {
        self.call.run(batch)
    }

    fn span(&self) -> &OperationSpan {
        self.call.span()
    }

    fn refuse(&self, error: Error) {
        self.call.refuse(error);
    }

    fn finished(&self, outcome: Outcome) {
        let then = self.then.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ending = Ending { outcome, answer: self.call.take_answer() };
        // An answer that nobody wants any more is dropped in there, and its destructor may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| then.map(|then| then(ending))));
    }
}

/// Runs a closure on this batch, and gives it back with how it ended and what came of it.
fn run_on<'t, T>(
    batch: Batch<'t>,
    store: StoreKey,
    f: impl FnOnce(&mut WriteTx<'t>) -> Result<T>,
) -> (Batch<'t>, Ran, Answer<T>) {
    let _inside = nested::enter(store, Access::Write);
    let serial = witness::next(batch.now);
    let mut tx = WriteTx::over(batch);
    let mut said = catch_unwind(AssertUnwindSafe(|| f(&mut tx)));
    let (batch, news) = tx.into_batch();
    if let Some(failure) = batch.tables.failure()
        && matches!(said, Ok(Ok(_)))
    {
        said = Ok(Err(failure));
    }
    let ran = if matches!(said, Ok(Ok(_))) { Ran::Succeeded } else { Ran::Failed };
    (batch, ran, Answer { said, news, serial })
}
