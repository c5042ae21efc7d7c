//! Moving stores: what a long operation tells while it runs, and what it came to.
//!
//! | operation | from | to | wants |
//! |---|---|---|---|
//! | [`Store::backup`](crate::Store::backup) | a snapshot of an open store | a new file, the same store | – |
//! | [`Store::compact`](crate::Store::compact) | a file that nobody has open | the same file, without holes | – |
//! | `Store::export` | a snapshot of an open store | JSON Lines | the feature `json` |
//! | `Store::import` | JSON Lines, or what `sqlite3 -json` prints | an open store, in one step | the feature `json` |
//!
//! The format is described in `docs/moving-stores.md`. What a row must keep to that comes from outside stands with its
//! noun, in `agents/import.rs` and its like; here is how rows are read and written:
//!
//! | file | is about |
//! |---|---|
//! | `transfer/objects.rs` | where one JSON object ends and the next begins, and on which line |
//! | `transfer/columns.rs` | the columns of one object, by name and type |
//! | `transfer/rows.rs` | each table's columns, in order: a row as a line, and a line as a row |
//! | `transfer/export.rs`, `transfer/import.rs` | all rows out, all rows in |

#[cfg(feature = "json")]
mod columns;
#[cfg(feature = "json")]
mod export;
#[cfg(feature = "json")]
mod import;
#[cfg(feature = "json")]
mod objects;
#[cfg(feature = "json")]
mod rows;

#[cfg(feature = "json")]
pub use export::Exported;
#[cfg(feature = "json")]
pub(crate) use export::export;
#[cfg(feature = "json")]
pub(crate) use import::import;
#[cfg(feature = "json")]
pub use import::{ImportOptions, Imported};
#[cfg(feature = "json")]
pub use rows::Table;

/// How far a long operation is. The operation says what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many are done.
    pub done: u64,
    /// How many there are, if that is known beforehand.
    pub total: Option<u64>,
}

impl Progress {
    pub(crate) const fn new(done: u64, total: Option<u64>) -> Self {
        Self { done, total }
    }
}

/// So many rows of each table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowCounts {
    /// Registered agents.
    pub agents: u64,
    /// Threads.
    pub threads: u64,
    /// Messages.
    pub messages: u64,
    /// Tasks.
    pub tasks: u64,
}

impl RowCounts {
    /// Rows of all tables together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.agents.saturating_add(self.threads).saturating_add(self.messages).saturating_add(self.tasks)
    }
}

/// What a backup came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The rows in it.
    pub rows: RowCounts,
    /// What the store takes on its disk, in bytes. `None` in memory.
    pub bytes_before: Option<u64>,
    /// What the backup takes on its disk, in bytes.
    pub bytes_after: u64,
}

/// What a compaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// What the file took on its disk before, in bytes.
    pub bytes_before: u64,
    /// What it takes now, in bytes.
    pub bytes_after: u64,
}
