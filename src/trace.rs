//! Spans for whoever collects them, with the feature `tracing`; without it nothing, at compile time.
//!
//! | span | is about | fields |
//! |---|---|---|
//! | named as the operation | a call of the application, from its beginning to its answer | ids it is about, what came of it |
//! | `batch` | a transaction or a few that share a commit, on the thread that leads it | how many, how much, how long |
//!
//! Nothing secret is in them: no token, no claim id, no text that an agent or a person wrote. Of an error only its kind is
//! told, since its text can repeat an input. This file alone names the crate.
//!
//! A subscriber is code of the application's and can panic, as one does that writes to a closed standard error. Where others
//! wait for what the thread does, that is kept from it: a batch has an outcome and a failure is set all the same.

#[cfg(not(feature = "tracing"))]
pub(crate) use for_nobody::{BatchSpan, Operation, OperationSpan, created, failed, migrated, opened};
#[cfg(feature = "tracing")]
pub(crate) use for_subscribers::{BatchSpan, Operation, OperationSpan, created, failed, migrated, opened};
use std::fmt::Display;

/// The span of an operation: its name, and the ids it is about as they are given to `tracing::span!`.
#[cfg(feature = "tracing")]
macro_rules! operation {
    ($name:literal $(, $($fields:tt)*)?) => {
        $crate::trace::Operation::new(tracing::debug_span!(
            target: "khala",
            $name,
            $($($fields)*,)?
            row = tracing::field::Empty,
            rows = tracing::field::Empty,
            outcome = tracing::field::Empty,
            elapsed_us = tracing::field::Empty,
        ))
    };
}

/// Nothing. The ids are not even looked at.
#[cfg(not(feature = "tracing"))]
macro_rules! operation {
    ($($fields:tt)*) => {
        $crate::trace::Operation
    };
}

#[cfg(all(feature = "tokio", not(feature = "tracing")))]
pub(crate) use for_nobody::current;
#[cfg(all(feature = "tokio", feature = "tracing"))]
pub(crate) use for_subscribers::current;
pub(crate) use operation;

/// What is told of an answer.
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "nobody is told"))]
pub(crate) trait Rows {
    /// How many rows it is: given back, changed, or found to be gone; `None` of one that is not about rows.
    fn rows(&self) -> Option<u64> {
        Some(1)
    }

    /// The id of the one row that it is, if that has an id.
    fn row(&self) -> Option<&dyn Display> {
        None
    }
}

impl Rows for () {
    fn rows(&self) -> Option<u64> {
        None
    }
}

impl Rows for u64 {
    fn rows(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Rows for bool {
    fn rows(&self) -> Option<u64> {
        Some((*self).into())
    }
}

impl<T: Rows> Rows for Option<T> {
    fn rows(&self) -> Option<u64> {
        Some(self.is_some().into())
    }

    fn row(&self) -> Option<&dyn Display> {
        self.as_ref().and_then(Rows::row)
    }
}

impl<T> Rows for Vec<T> {
    fn rows(&self) -> Option<u64> {
        self.len().try_into().ok()
    }
}

#[cfg(feature = "tracing")]
mod for_subscribers {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use std::time::{Duration, Instant};

    use tracing::Span;
    use tracing::field::{Empty, display};

    use super::Rows;
    use crate::error::{Error, Result};

    /// What a closure runs in, on whichever thread.
    pub(crate) type OperationSpan = Span;

    /// An operation under way. If it ends without an answer, because its future is dropped or somebody panics, that is what
    /// came of it.
    #[derive(Debug)]
    pub(crate) struct Operation {
        span: Span,
        started: Option<Instant>,
        outcome: &'static str,
    }

    impl Operation {
        pub(crate) fn new(span: Span) -> Self {
            // Nobody looks at the clock for a span that nobody collects.
            let started = (!span.is_disabled()).then(Instant::now);
            Self { span, started, outcome: "dropped" }
        }

        pub(crate) fn span(&self) -> OperationSpan {
            self.span.clone()
        }

        /// Ends it with this answer, and gives it back.
        pub(crate) fn end<T>(mut self, answer: Result<T>) -> Result<T> {
            self.outcome = "ok";
            self.step(answer)
        }

        /// The same, and how many rows that are.
        pub(crate) fn end_with_rows<T: Rows>(self, answer: Result<T>) -> Result<T> {
            // A span that nobody collects would look for its fields by name all the same.
            if self.started.is_some()
                && let Ok(answer) = &answer
            {
                self.span.record("row", answer.row().map(display));
                self.span.record("rows", answer.rows());
            }
            self.end(answer)
        }

        /// A part of it has this answer, and it ends there if that is an error.
        pub(crate) fn step<T>(&mut self, answer: Result<T>) -> Result<T> {
            if let Err(error) = &answer {
                self.outcome = kind(error);
                // Its reason can repeat what is stored.
                if let Error::Corrupt { table, .. } = error {
                    self.span.in_scope(|| tracing::error!(target: "khala", table, "the store is damaged"));
                }
            }
            answer
        }
    }

    impl Drop for Operation {
        fn drop(&mut self) {
            let Some(started) = self.started else { return };
            // A second panic, in a thread that unwinds, would be the end of the process.
            let_panic(|| {
                self.span.record("outcome", self.outcome);
                self.span.record("elapsed_us", micros(started.elapsed()));
            });
        }
    }

    /// A batch at work.
    #[derive(Debug)]
    pub(crate) struct BatchSpan {
        span: Span,
        started: Option<Instant>,
        transactions: u64,
        bytes: u64,
        committing: Duration,
    }

    impl BatchSpan {
        /// Of so many operations. It belongs to none of those who share it: it follows from each.
        pub(crate) fn of(operations: usize) -> Self {
            let span = let_panic(|| {
                tracing::debug_span!(
                    target: "khala",
                    parent: None,
                    "batch",
                    operations,
                    transactions = Empty,
                    bytes = Empty,
                    outcome = Empty,
                    committing_us = Empty,
                    elapsed_us = Empty,
                )
            });
            let span = span.unwrap_or_else(Span::none);
            let started = (!span.is_disabled()).then(Instant::now);
            Self { span, started, transactions: 0, bytes: 0, committing: Duration::ZERO }
        }

        pub(crate) fn follows_from(&self, operation: &OperationSpan) {
            let_panic(|| {
                self.span.follows_from(operation);
            });
        }

        /// What `commit` gives back: the end of a transaction that wrote so many bytes.
        pub(crate) fn commit<T>(&mut self, bytes: usize, commit: impl FnOnce() -> T) -> T {
            let started = self.started.map(|_| Instant::now());
            let committed = commit();
            self.transactions += 1;
            self.bytes = self.bytes.saturating_add(bytes.try_into().unwrap_or(u64::MAX));
            self.committing += started.map_or(Duration::ZERO, |started| started.elapsed());
            committed
        }

        /// Ends it with this outcome, and gives it back.
        pub(crate) fn end<T>(self, outcome: &'static str, answer: T) -> T {
            let Self { span, started, transactions, bytes, committing } = self;
            let_panic(|| {
                if let Some(started) = started {
                    span.record("transactions", transactions);
                    span.record("bytes", bytes);
                    span.record("outcome", outcome);
                    span.record("committing_us", micros(committing));
                    span.record("elapsed_us", micros(started.elapsed()));
                }
                drop(span);
            });
            answer
        }
    }

    /// What the caller is in.
    #[cfg(feature = "tokio")]
    pub(crate) fn current() -> OperationSpan {
        Span::current()
    }

    /// The store refuses further work. The reason has file names in it and what the operating system or the engine said.
    pub(crate) fn failed(reason: &str) {
        let_panic(|| tracing::error!(target: "khala", reason, "the store has failed; reopen it"));
    }

    /// There is a new file, of this schema.
    pub(crate) fn created(path: &Path, schema: u32) {
        tracing::info!(target: "khala", path = %path.display(), schema, "created");
    }

    /// A file is open and is of this schema now. One that was not closed was repaired, if it had not come to a checkpoint.
    pub(crate) fn opened(path: &Path, schema: u32, was_closed: bool) {
        tracing::info!(target: "khala", path = %path.display(), schema, was_closed, "opened");
    }

    /// A file has been brought to this schema.
    pub(crate) fn migrated(version: u32, name: &str) {
        tracing::info!(target: "khala", version, name, "migrated");
    }

    /// What `tell` gives back; `None` if a subscriber panics in it.
    fn let_panic<T>(tell: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(tell)).ok()
    }

    fn micros(duration: Duration) -> u64 {
        duration.as_micros().try_into().unwrap_or(u64::MAX)
    }

    /// The name of an error's variant.
    fn kind(error: &Error) -> &'static str {
        match error {
            Error::ThreadNotFound(_) => "ThreadNotFound",
            Error::TaskNotFound(_) => "TaskNotFound",
            Error::AgentExists(_) => "AgentExists",
            Error::AgentNotFound(_) => "AgentNotFound",
            Error::ThreadFinished(_) => "ThreadFinished",
            Error::ThreadMoved { .. } => "ThreadMoved",
            Error::ClaimLost(_) => "ClaimLost",
            Error::KeyConflict { .. } => "KeyConflict",
            Error::InvalidInput { .. } => "InvalidInput",
            Error::TooLarge { .. } => "TooLarge",
            Error::SchemaTooNew { .. } => "SchemaTooNew",
            Error::NotAStore { .. } => "NotAStore",
            Error::AlreadyOpen { .. } => "AlreadyOpen",
            Error::FileExists { .. } => "FileExists",
            Error::Import { .. } => "Import",
            Error::Corrupt { .. } => "Corrupt",
            Error::Poisoned => "Poisoned",
            Error::CommitUnknown => "CommitUnknown",
            Error::Io { .. } => "Io",
            Error::Aborted { .. } => "Aborted",
            Error::Nested => "Nested",
        }
    }
}

#[cfg(not(feature = "tracing"))]
#[expect(clippy::unused_self, reason = "the same face as above, with nothing behind it")]
mod for_nobody {
    use std::path::Path;

    use super::Rows;
    use crate::error::Result;

    /// Nothing.
    #[derive(Clone, Debug)]
    pub(crate) struct OperationSpan;

    impl OperationSpan {
        pub(crate) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
            f()
        }
    }

    /// Nothing.
    #[derive(Debug)]
    pub(crate) struct Operation;

    impl Operation {
        pub(crate) const fn span(&self) -> OperationSpan {
            OperationSpan
        }

        pub(crate) fn end<T>(self, answer: Result<T>) -> Result<T> {
            answer
        }

        pub(crate) fn end_with_rows<T: Rows>(self, answer: Result<T>) -> Result<T> {
            answer
        }

        pub(crate) fn step<T>(&mut self, answer: Result<T>) -> Result<T> {
            answer
        }
    }

    /// Nothing.
    #[derive(Debug)]
    pub(crate) struct BatchSpan;

    impl BatchSpan {
        pub(crate) const fn of(_: usize) -> Self {
            Self
        }

        pub(crate) const fn follows_from(&self, _: &OperationSpan) {}

        pub(crate) fn commit<T>(&mut self, _: usize, commit: impl FnOnce() -> T) -> T {
            commit()
        }

        pub(crate) fn end<T>(self, _: &'static str, answer: T) -> T {
            answer
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) const fn current() -> OperationSpan {
        OperationSpan
    }

    pub(crate) const fn failed(_: &str) {}

    pub(crate) const fn created(_: &Path, _: u32) {}

    pub(crate) const fn opened(_: &Path, _: u32, _: bool) {}

    pub(crate) const fn migrated(_: u32, _: &str) {}
}
