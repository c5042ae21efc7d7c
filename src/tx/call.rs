//! A caller's closure on its way through the writer, and its answer on the way back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{News, WriteTx};
use crate::db::{Batch, Operation, Outcome, Ran, Writer};
use crate::error::{Error, Result};
use crate::nested::{self, Access, StoreKey};
use crate::trace::OperationSpan;
use crate::witness::{self, Serial};

/// Runs a closure through the writer and gives back what it gave back, or lets its panic go on here. With it comes what
/// the closure's transaction has to tell.
pub(crate) fn run<T, F>(writer: &Writer, store: StoreKey, span: OperationSpan, f: F) -> Result<(T, News)>
where
    T: Send + 'static,
    F: FnMut(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
{
    let call = Arc::new(Call::new(store, span, f));
    let operation: Arc<dyn Operation> = call.clone();
    let outcome = writer.run(operation);
    settle(outcome, call.take_answer())
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
pub(super) struct Answer<T> {
    /// What it gave back, or its panic.
    pub(super) said: thread::Result<Result<T>>,
    pub(super) news: News,
    serial: Serial,
}

/// What the caller is told when its batch has this outcome.
pub(super) fn settle<T>(outcome: Outcome, answer: Option<Answer<T>>) -> Result<(T, News)> {
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
pub(super) struct Call<T, F> {
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
    pub(super) fn new(store: StoreKey, span: OperationSpan, f: F) -> Self {
        Self { store, span, state: Mutex::new(CallState { f, answer: None }) }
    }

    pub(super) fn take_answer(&self) -> Option<Answer<T>> {
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
        // A subscriber that panics as the span is entered is the caller's, as the closure is.
        let (batch, ran, answer) = run_on(batch, self.store, |tx| self.span.in_scope(|| (state.f)(tx)));
        state.answer = Some(answer);
        (batch, ran)
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
