//! What the engine says went wrong, in this crate's words.

use std::path::Path;

use crate::error::Error;

/// What is named when the damage cannot be put down to one table.
pub(super) const FILE: &str = "file";

/// What the engine said of this table, in our words.
pub(super) fn engine_error(table: &'static str, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(source) => Error::Io { action: "read or write the store", path: None, source },
        redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_) => Error::Poisoned,
        redb::Error::Corrupted(reason) => Error::corrupt(table, reason),
        redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => Error::NotAStore { path: Path::new(table).into() },
        other => Error::corrupt(table, other),
    }
}
