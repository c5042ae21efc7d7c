//! What can go wrong, and what to do about it.

use std::path::PathBuf;
use std::{fmt, io};

use crate::id::{AgentId, MessageId, TaskId, ThreadId};

/// The result of every operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Each message names the thing, the value and the bound.
///
/// Three predicates sort the variants by what a caller does next: [`is_not_found`](Error::is_not_found),
/// [`is_conflict`](Error::is_conflict) and [`is_retryable`](Error::is_retryable).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No thread has this id.
    #[error("thread {0} does not exist")]
    ThreadNotFound(ThreadId),

    /// No task has this id.
    #[error("task {0} does not exist")]
    TaskNotFound(TaskId),

    /// An agent of this name is registered already; its token was shown then.
    #[error("agent {0} is registered already")]
    AgentExists(AgentId),

    /// No agent of this name is registered.
    #[error("agent {0} is not registered")]
    AgentNotFound(AgentId),

    /// The thread is finished: nothing more is said or done in it.
    #[error("thread {0} is finished")]
    ThreadFinished(ThreadId),

    /// The thread's newest message is not the one that was expected: somebody has spoken in between. Nothing was
    /// appended; read what is new and decide again.
    #[error("the thread has moved on: its newest message is {}", newest.map_or_else(|| "none".to_owned(), |id| id.to_string()))]
    ThreadMoved {
        /// The newest message there is, if there is one.
        newest: Option<MessageId>,
    },

    /// The claim no longer holds this task. Nothing was changed.
    #[error("the claim of task {0} no longer holds")]
    ClaimLost(TaskId),

    /// A different task of the thread has this key. Nothing was created.
    #[error("key {key:?} is that of a different task, {task}")]
    KeyConflict {
        /// The key.
        key: String,
        /// The task that has it.
        task: TaskId,
    },

    /// A value that the store does not take. Nothing was changed.
    #[error("{field} {reason}")]
    InvalidInput {
        /// Which input.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },

    /// A value over its bound. Nothing was changed.
    #[error("{field} has {bytes} bytes; the most is {max}")]
    TooLarge {
        /// Which input.
        field: &'static str,
        /// Its length, in bytes.
        bytes: usize,
        /// The bound, in bytes.
        max: usize,
    },

    /// The file was written by a later version of khala. It was not touched.
    #[error("the file has schema {found}; this version of khala knows schemas up to {supported}")]
    SchemaTooNew {
        /// The file's schema version.
        found: u32,
        /// The newest this version knows.
        supported: u32,
    },

    /// The file exists and is not a khala store. It was not touched.
    #[error("{} is not a khala store", path.display())]
    NotAStore {
        /// The path as it was given.
        path: PathBuf,
    },

    /// Another handle, in this process or another, has the file open.
    #[error("{} is open already, in this process or another", path.display())]
    AlreadyOpen {
        /// The path as it was given.
        path: PathBuf,
    },

    /// There is something at this path already, where a new file was to be made. It was not touched.
    #[error("{} exists already", path.display())]
    FileExists {
        /// The path as it was given.
        path: PathBuf,
    },

    /// A row that was to be imported is refused, and with it the whole input: nothing of it was stored.
    #[error("line {line}: {source}")]
    Import {
        /// The line of the input on which the row begins, from 1.
        line: u64,
        /// What is wrong with the row. A column is named with its table, as in `tasks.role`.
        source: Box<Error>,
    },

    /// What is stored contradicts itself or its checksums: the disk, another program, or a bug changed it.
    #[error("{table} is damaged: {reason}")]
    Corrupt {
        /// The table, or `file` for the file as a whole.
        table: &'static str,
        /// What was found.
        reason: String,
    },

    /// An earlier failure left the store unusable; [`Store::failure`](crate::Store::failure) says which. Nothing was
    /// changed by this call. Reopening the file recovers everything that was acknowledged.
    #[error("the store refuses further work after an earlier failure; reopen it")]
    Poisoned,

    /// The commit failed half-way: whether this call's changes are stored is unknown until the file is reopened. The
    /// store is poisoned; [`Store::failure`](crate::Store::failure) says by what.
    #[error("the commit failed and its outcome is unknown; reopen the store and look")]
    CommitUnknown,

    /// The operating system refused a file operation.
    #[error("cannot {action}{}: {source}", Named(path.as_ref()))]
    Io {
        /// What was attempted, as a verb and its object.
        action: &'static str,
        /// The file or folder it was attempted on, where there is one.
        path: Option<PathBuf>,
        /// What the operating system said.
        source: io::Error,
    },

    /// A closure's own refusal, made with [`Error::aborted`]. Nothing it did was kept.
    #[error("aborted: {source}")]
    Aborted {
        /// The caller's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The store was called from inside a closure that runs in it, which could only wait for itself. Nothing was
    /// changed. Use the closure's `tx`.
    #[error("the store was called from inside one of its own closures; use the closure's transaction instead")]
    Nested,
}

impl Error {
    /// A closure's own refusal: returned as `Err` from [`Store::write`](crate::Store::write), it undoes what the
    /// closure did and reaches the caller as [`Error::Aborted`].
    ///
    /// ```
    /// # fn main() -> khala::Result<()> {
    /// let store = khala::Store::in_memory()?;
    /// let refused = store.write(|tx| {
    ///     tx.create_thread("review", "ada")?;
    ///     Err::<(), _>(khala::Error::aborted("not today"))
    /// });
    /// assert_eq!(refused.unwrap_err().to_string(), "aborted: not today");
    /// # Ok(())
    /// # }
    /// ```
    pub fn aborted(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Aborted { source: reason.into() }
    }

    /// Whether something that the call named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::ThreadNotFound(_) | Self::TaskNotFound(_) | Self::AgentNotFound(_))
    }

    /// Whether the state of things stands in the way: somebody else was there before, or the thing has ended.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::AgentExists(_)
                | Self::AlreadyOpen { .. }
                | Self::FileExists { .. }
                | Self::ThreadFinished(_)
                | Self::ThreadMoved { .. }
                | Self::ClaimLost(_)
                | Self::KeyConflict { .. }
        )
    }

    /// Whether the same call may succeed later, unchanged: the file is open elsewhere, or the store must be reopened
    /// first. After [`CommitUnknown`](Error::CommitUnknown) look before repeating: the first try may have been stored.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::AlreadyOpen { .. } | Self::Poisoned | Self::CommitUnknown)
    }

    pub(crate) fn corrupt(table: &'static str, reason: impl fmt::Display) -> Self {
        Self::Corrupt { table, reason: reason.to_string() }
    }
}

/// A path in a message, or nothing.
struct Named<'a>(Option<&'a PathBuf>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |path| write!(f, " {}", path.display()))
    }
}
