//! What the engine says went wrong, in this crate's words, and why the store refuses further work since.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::planted::{Bug, planted};
use crate::trace;

/// What is named when the damage cannot be put down to one table.
pub(super) const FILE: &str = "file";

/// Why the store refuses further work, once it does: one for everybody who uses an engine.
///
/// The engine does nothing more after its first I/O error. It gives that error to whoever met it, if anybody asked for
/// what it did; all others are told only that there was one, perhaps sooner. So what the operating system refuses is kept
/// here when it is met, before the engine hears of it.
#[derive(Debug, Default)]
pub(super) struct Failure {
    reason: OnceLock<String>,
    last_refusal: Mutex<Option<String>>,
}

impl Failure {
    /// Why the store refuses further work, if it does.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// From here on the store refuses further work, for this reason if it is the first.
    pub(super) fn set(&self, reason: impl fmt::Display) {
        let mut is_first = false;
        let reason = self.reason.get_or_init(|| {
            is_first = true;
            reason.to_string()
        });
        // Told once it is set: whoever hears of it may ask the store.
        if is_first {
            trace::failed(reason);
        }
    }

    /// Keeps what the operating system refused. It is not a failure yet: the engine can do without some of its writes.
    pub(super) fn keep_refusal(&self, refusal: &Error) {
        *self.last_refusal() = Some(refusal.to_string());
    }

    /// What the engine answers to a question about this table, or its error in our words.
    pub(super) fn ask<T, E: Into<redb::Error>>(
        &self,
        table: &'static str,
        question: impl FnOnce() -> Result<T, E>,
    ) -> Result<T> {
        caught(table, || question().map_err(|error| self.engine_error(table, error)))
    }

    /// What the engine said of this table, in our words. If it does nothing more from now on, this is the failure.
    fn engine_error(&self, table: &'static str, error: impl Into<redb::Error>) -> Error {
        let error = error.into();
        let said = error.to_string();
        let error = engine_error(table, error);
        match &error {
            Error::Io { .. } => self.set(&error),
            Error::Poisoned => self.set(self.last_refusal().as_ref().unwrap_or(&said)),
            _ => {}
        }
        error
    }

    fn last_refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is made of this table; an error also if the engine panics. It panics at bytes that it would not have written, and
/// a damaged file is an error to whoever meets it, not the end of their thread.
///
/// Nothing of a caller's runs in the question. The engine itself rolls back a transaction in which it panicked, and works
/// on; where it does not, its locks are poisoned, and it says so from then on.
pub(super) fn caught<T>(table: &'static str, question: impl FnOnce() -> Result<T>) -> Result<T> {
    if planted(Bug::PanicLetThrough) {
        return question();
    }
    catch_unwind(AssertUnwindSafe(question)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
        Err(Error::corrupt(table, format!("the engine panicked: {text}")))
    })
}

/// What the engine said of this table, in our words.
pub(super) fn engine_error(table: &'static str, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        // What `Watched` met comes back as it was told there.
        redb::Error::Io(source) => source.downcast().unwrap_or_else(|source| Error::Io {
            action: "read or write the store",
            path: None,
            source,
        }),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_) => Error::Poisoned,
        redb::Error::Corrupted(reason) => Error::corrupt(table, reason),
        redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => Error::NotAStore { path: Path::new(table).into() },
        other => Error::corrupt(table, other),
    }
}
