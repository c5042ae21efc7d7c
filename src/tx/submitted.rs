//! A call whose caller has no thread to wait in: it is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::call::{Answer, Call, settle};
use super::{News, WriteTx};
use crate::db::{Batch, Operation, Outcome, Ran, UnledBatch, Writer};
use crate::error::{Error, Result};
use crate::nested::StoreKey;
use crate::trace::OperationSpan;

/// Has a closure run by the writer and returns at once: `then` is told how it ended, on whichever thread led its batch.
/// If that batch has no leader yet, it comes back, and somebody has to lead it.
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
    let call = Call::new(store, span, f);
    writer.submit(Arc::new(Submitted { call, then: Mutex::new(Some(then)) }))
}

/// How a call that was submitted ended.
pub(crate) struct Ending<T> {
    outcome: Outcome,
    answer: Option<Answer<T>>,
}

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

/// A call whose caller does not wait for it in a thread.
struct Submitted<T, F, G> {
    call: Call<T, F>,
    /// Told once.
    then: Mutex<Option<G>>,
}

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
