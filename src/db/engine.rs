//! The engine: one file, one writer, any number of snapshots.
//!
//! Everything redb says is put in this crate's words here.

use std::fmt;
use std::path::Path;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{DatabaseError, ReadableDatabase, StorageBackend, StorageError};

use super::counters::Counters;
use super::file::{self, Draft};
use super::held::Held;
use super::migrate;
use super::table::Tables;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};

/// How to open a file.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cache_bytes: usize,
    pub(crate) check_on_open: bool,
}

pub(crate) struct Engine {
    database: redb::Database,
}

impl Engine {
    /// Opens the store at `path`, or creates it, and runs pending migrations.
    pub(crate) fn open(path: &Path, options: &Options, clock: &dyn Clock) -> Result<Self> {
        loop {
            if let Some(file) = file::open_existing(path)? {
                let backend = FileBackend::new(file).map_err(|e| open_error(path, e))?;
                return Self::open_backend(backend, path, options, clock);
            }
            if let Some(draft) = Draft::begin(path)? {
                let backend = FileBackend::new(draft.file()?).map_err(|e| open_error(path, e))?;
                let engine = Self::create_in(backend, path, options, clock)?;
                draft.publish()?;
                return Ok(engine);
            }
        }
    }

    /// A new store that lives in memory, and only as long as it is open.
    pub(crate) fn in_memory(options: &Options, clock: &dyn Clock) -> Result<Self> {
        Self::create_in(InMemoryBackend::new(), Path::new("memory"), options, clock)
    }

    /// The store on this disk, or a new one if it is empty.
    #[cfg(test)]
    pub(crate) fn open_on(
        disk: super::test_disk::TestDisk,
        path: &Path,
        options: &Options,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let is_empty = disk.len().is_ok_and(|len| len == 0);
        let open = if is_empty { Self::create_in } else { Self::open_backend };
        open(disk, path, options, clock)
    }

    /// A new store in an empty backend.
    fn create_in(backend: impl StorageBackend, path: &Path, options: &Options, clock: &dyn Clock) -> Result<Self> {
        let engine = Self::over(backend, path, options)?;
        migrate::run_pending(&engine, 0, clock)?;
        Ok(engine)
    }

    /// The store in this backend. Nothing in it changes until it is known to be a store of a version known here.
    fn open_backend(backend: impl StorageBackend, path: &Path, options: &Options, clock: &dyn Clock) -> Result<Self> {
        let held = Held::new(backend).map_err(|source| Error::Io {
            action: "open the store",
            path: Some(path.into()),
            source,
        })?;
        let engine = Self::over(held.clone(), path, options)?;
        let history = engine.read(|tables| migrate::history(&tables)).map_err(|error| match error {
            // Some other program's file: it has no such table, or one of another shape.
            Error::NotAStore { .. } => Error::NotAStore { path: path.into() },
            other => other,
        })?;
        let applied = migrate::version_of(&history)?;
        held.release().map_err(|source| Error::Io { action: "open the store", path: Some(path.into()), source })?;
        migrate::run_pending(&engine, applied, clock)?;
        Ok(engine)
    }

    fn over(backend: impl StorageBackend, path: &Path, options: &Options) -> Result<Self> {
        let database = redb::Builder::new()
            .set_cache_size(options.cache_bytes)
            .set_check_integrity_on_open(options.check_on_open)
            .create_with_backend(backend)
            .map_err(|e| open_error(path, e))?;
        Ok(Self { database })
    }

    /// What `f` makes of a snapshot of the last durable commit.
    pub(crate) fn read<T>(&self, f: impl FnOnce(Tables<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.database.begin_read().map_err(|e| engine_error(FILE, e))?;
        f(Tables::of_snapshot(&transaction))
    }

    pub(super) fn begin_write(&self) -> Result<redb::WriteTransaction> {
        self.database.begin_write().map_err(|e| engine_error(FILE, e))
    }

    /// One durable transaction outside the queue of writers, for a store that nobody shares yet.
    pub(super) fn write_alone(
        &self,
        clock: &dyn Clock,
        f: impl FnOnce(&mut Tables<'_>, Timestamp) -> Result<()>,
    ) -> Result<()> {
        let transaction = self.begin_write()?;
        let mut tables = Tables::of_batch(&transaction);
        let before = Counters::load(&tables)?;
        let mut counters = before.clone();
        f(&mut tables, counters.now(clock.now()))?;
        counters.save(&before, &mut tables)?;
        drop(tables);
        transaction.commit().map_err(|e| engine_error(FILE, e))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What is named when the damage cannot be put down to one table.
const FILE: &str = "file";

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

fn open_error(path: &Path, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::AlreadyOpen { path: path.into() }
        }
        DatabaseError::UpgradeRequired(_) => Error::NotAStore { path: path.into() },
        DatabaseError::Storage(StorageError::Io(source)) => {
            Error::Io { action: "open the store", path: Some(path.into()), source }
        }
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            Error::corrupt(FILE, format!("{}: {reason}", path.display()))
        }
        other => engine_error(FILE, other),
    }
}
