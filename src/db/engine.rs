//! The engine: one file, one writer, any number of snapshots.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    CommitError, CompactionError, DatabaseError, ReadableDatabase, StorageBackend, StorageError, WriteTransaction,
};

use super::counters::Counters;
use super::fault::{FILE, Failure, caught, engine_error};
use super::file::{self, Draft};
use super::held::Held;
use super::migrate;
use super::receipt;
use super::table::Tables;
use super::watched::Watched;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::planted::{Bug, planted};
use crate::trace;

/// How to open a file.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cache_bytes: usize,
    pub(crate) check_on_open: bool,
}

pub(crate) struct Engine {
    /// `Some` until it is dropped.
    database: Option<redb::Database>,
    /// Where receipts go: none in memory.
    file: Option<Held>,
    failure: Arc<Failure>,
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    /// Nobody wrote, or what was written must not be kept.
    Abort,
    Commit,
    /// With what an open after a crash would otherwise have to find out: twice the syncs.
    Checkpoint,
}

impl Engine {
    /// Opens the store at `path`, or creates it, and runs pending migrations.
    pub(crate) fn open(path: &Path, options: &Options, clock: &dyn Clock) -> Result<Self> {
        loop {
            if let Some(engine) = Self::open_existing(path, options, clock)? {
                return Ok(engine);
            }
            if let Some(draft) = Draft::begin(path)? {
                let backend = FileBackend::new(draft.file()?).map_err(|e| open_error(path, e))?;
                let engine = Self::create_in(backend, path, options, clock)?;
                draft.publish()?;
                trace::created(path, migrate::newest());
                return Ok(engine);
            }
        }
    }

    /// Opens the store at `path` and runs pending migrations; `None` if nothing is there.
    pub(crate) fn open_existing(path: &Path, options: &Options, clock: &dyn Clock) -> Result<Option<Self>> {
        while let Some(file) = file::open_existing(path)? {
            let identity = file::identity(&file, path)?;
            let backend = FileBackend::new(file).map_err(|e| open_error(path, e))?;
            let engine = Self::open_backend(backend, path, options, clock)?;
            // A compaction may have put another file there between the two steps. This one is gone with its name.
            if file::is_at(path, identity)? {
                return Ok(Some(engine));
            }
        }
        Ok(None)
    }

    /// A new store that lives in memory, and only as long as it is open.
    pub(crate) fn in_memory(options: &Options, clock: &dyn Clock) -> Result<Self> {
        Self::create_in(InMemoryBackend::new(), Path::new("memory"), options, clock)
    }

    /// The store on this disk, or a new one if it is empty.
    #[cfg(test)]
    pub(crate) fn open_on(
        disk: impl StorageBackend,
        path: &Path,
        options: &Options,
        clock: &dyn Clock,
    ) -> Result<Self> {
        if disk.len().map_err(|source| Error::Io { action: "measure the store", path: Some(path.into()), source })? == 0
        {
            return Self::create_in(disk, path, options, clock);
        }
        Self::open_backend(disk, path, options, clock)
    }

    /// A new store in an empty backend.
    fn create_in(backend: impl StorageBackend, path: &Path, options: &Options, clock: &dyn Clock) -> Result<Self> {
        let engine = Self::empty_in(backend, path, options)?;
        engine.migrate(0, clock)?;
        Ok(engine)
    }

    /// A file without any table in an empty backend.
    pub(super) fn empty_in(backend: impl StorageBackend, path: &Path, options: &Options) -> Result<Self> {
        let failure = Arc::new(Failure::default());
        let file = Held::released(Watched::new(backend, path.into(), Arc::clone(&failure)));
        Self::over(file.clone(), Some(file), failure, path, options)
    }

    /// The store in this backend. Nothing in it changes until it is known to be a store of a version known here.
    pub(super) fn open_backend(
        backend: impl StorageBackend,
        path: &Path,
        options: &Options,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let failure = Arc::new(Failure::default());
        let watched = Watched::new(backend, path.into(), Arc::clone(&failure));
        let held = Held::new(watched).map_err(|source| open_io_error(path, source))?;
        if planted(Bug::RepairedBeforeRefused) {
            let _ = held.release();
        }
        let engine = Self::over(held.clone(), Some(held.clone()), failure, path, options)?;
        // Some other program's file has no such table, one of another shape, or nothing in it.
        let not_a_store = || Error::NotAStore { path: path.into() };
        let history = match engine.read(|tables| migrate::history(&tables)) {
            Ok(history) if history.is_empty() => return Err(not_a_store()),
            Err(Error::NotAStore { .. }) => return Err(not_a_store()),
            history => history?,
        };
        let applied = migrate::version_of(&history)?;
        if options.check_on_open && !planted(Bug::ReceiptIgnored) {
            engine.check_receipt(receipt::read(&held).map_err(|source| open_io_error(path, source))?)?;
        }
        let was_closed = held.was_closed();
        held.release().map_err(|source| open_io_error(path, source))?;
        engine.migrate(applied, clock)?;
        trace::opened(path, migrate::newest(), was_closed);
        Ok(engine)
    }

    fn over(
        backend: impl StorageBackend,
        file: Option<Held>,
        failure: Arc<Failure>,
        path: &Path,
        options: &Options,
    ) -> Result<Self> {
        let database = caught(FILE, || {
            redb::Builder::new()
                .set_cache_size(options.cache_bytes)
                .set_check_integrity_on_open(options.check_on_open && !planted(Bug::CheckSkipped))
                .create_with_backend(backend)
                .map_err(|e| open_error(path, e))
        })?;
        Ok(Self { database: Some(database), file, failure })
    }

    /// An error if the last commit that is known to have been durable is not there.
    fn check_receipt(&self, receipt: Option<u64>) -> Result<()> {
        let Some(durable) = receipt else { return Ok(()) };
        let there = self.read(|tables| Counters::load(&tables))?.commits();
        if durable > there {
            let reason = format!("commit {durable} was durable, and {there} is the last that is whole");
            return Err(Error::corrupt(FILE, reason));
        }
        Ok(())
    }

    /// Notes that what these counters were saved with is durable.
    pub(super) fn acknowledge(&self, saved: &Counters) {
        if let Some(file) = &self.file {
            receipt::write(file, saved.commits());
        }
    }

    fn database(&self) -> Result<&redb::Database> {
        self.database.as_ref().ok_or(Error::Poisoned)
    }

    /// Applies what is pending after the first `applied` migrations, each in a transaction of its own.
    fn migrate(&self, applied: usize, clock: &dyn Clock) -> Result<()> {
        migrate::pending(applied).try_for_each(|pending| {
            self.write_alone(clock, |tables, now| pending.apply(tables, now))?;
            pending.tell();
            Ok(())
        })
    }

    /// What `f` makes of a snapshot of the last durable commit.
    pub(crate) fn read<T>(&self, f: impl FnOnce(Tables<'_>) -> Result<T>) -> Result<T> {
        let database = self.database()?;
        let transaction = self.failure.ask(FILE, || database.begin_read())?;
        f(Tables::of_snapshot(&transaction, &self.failure))
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction> {
        let database = self.database()?;
        self.failure.ask(FILE, || database.begin_write())
    }

    pub(super) fn tables_of<'t>(&'t self, transaction: &'t WriteTransaction) -> Tables<'t> {
        Tables::of_batch(transaction, &self.failure)
    }

    /// Ends the transaction. When this returns `Ok`, what it did is durable, or gone.
    pub(super) fn end_write(&self, mut transaction: WriteTransaction, end: End) -> Result<()> {
        transaction.set_quick_repair(end == End::Checkpoint);
        self.failure.ask(FILE, || match end {
            End::Abort => transaction.abort().map_err(CommitError::from),
            End::Commit | End::Checkpoint => transaction.commit(),
        })
    }

    /// Gives back the room at the end of the file that nothing is on.
    pub(super) fn trim(&mut self) -> Result<()> {
        let database = self.database.as_mut().ok_or(Error::Poisoned)?;
        self.failure.ask(FILE, || match database.compact() {
            Ok(_) => Ok(()),
            Err(CompactionError::Storage(error)) => Err(error),
            Err(other) => Err(StorageError::Corrupted(other.to_string())),
        })
    }

    /// Why nothing more can be done, if so.
    pub(super) fn failure(&self) -> &Failure {
        &self.failure
    }

    /// One durable transaction outside the queue of writers, for a store that nobody shares yet.
    fn write_alone(&self, clock: &dyn Clock, f: impl FnOnce(&mut Tables<'_>, Timestamp) -> Result<()>) -> Result<()> {
        let transaction = self.begin_write()?;
        let now = clock.now();
        let changed = caught(FILE, || {
            let mut tables = self.tables_of(&transaction);
            let before = Counters::load(&tables)?;
            let mut counters = before.clone();
            f(&mut tables, counters.now(now)?)?;
            counters.save(&before, &mut tables)?;
            Ok(counters)
        });
        // Ended here in any case: an engine that panicked before can panic again where a transaction is dropped.
        let ended = self.end_write(transaction, if changed.is_ok() { End::Commit } else { End::Abort });
        let counters = changed?;
        ended?;
        self.acknowledge(&counters);
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let database = self.database.take();
        // Closing commits, and nobody is there to be told what came in between: the next open finds out.
        let _ = caught(FILE, || {
            drop(database);
            Ok(())
        });
    }
}

pub(super) fn open_error(path: &Path, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::AlreadyOpen { path: path.into() }
        }
        DatabaseError::UpgradeRequired(_) => Error::NotAStore { path: path.into() },
        DatabaseError::Storage(StorageError::Io(source)) => open_io_error(path, source),
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            Error::corrupt(FILE, format!("{}: {reason}", path.display()))
        }
        other => engine_error(FILE, other),
    }
}

/// What was met where the file was read or written, or else this.
fn open_io_error(path: &Path, source: io::Error) -> Error {
    source.downcast().unwrap_or_else(|source| Error::Io { action: "open the store", path: Some(path.into()), source })
}

#[cfg(test)]
mod tests {
    use super::super::migrate::AppliedMigration;
    use super::super::test_disk::TestDisk;
    use super::*;
    use crate::clock::ManualClock;

    fn open(disk: &TestDisk) -> Result<Engine> {
        let options = Options { cache_bytes: 1 << 20, check_on_open: true };
        Engine::open_on(disk.clone(), Path::new("disk"), &options, &ManualClock::new(Timestamp::from_micros(0)))
    }

    /// What a file looks like closed, and what a power cut leaves of it while it is open.
    fn images<T>(disk: &TestDisk, handle: T) -> [TestDisk; 2] {
        let cut = disk.durable();
        drop(handle);
        [TestDisk::of(&cut), TestDisk::of(&disk.content())]
    }

    fn is_refused(image: &TestDisk) -> Error {
        let before = image.content();
        let Err(error) = open(image) else { panic!("it is opened") };
        assert!(image.content() == before, "{error}: and yet it was changed");
        error
    }

    #[test]
    fn a_database_of_another_program_is_refused_untouched_also_after_its_crash() {
        for table in ["other", "schema_version"] {
            let disk = TestDisk::default();
            let other = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
            let transaction = other.begin_write().unwrap();
            let definition = redb::TableDefinition::<&str, u64>::new(table);
            transaction.open_table(definition).unwrap().insert("x", 1).unwrap();
            transaction.commit().unwrap();
            for image in images(&disk, other) {
                assert!(matches!(is_refused(&image), Error::NotAStore { path } if path == Path::new("disk")));
            }
        }
    }

    /// A store whose history has one more entry.
    fn with_migration(version: u32, name: &str) -> [TestDisk; 2] {
        let disk = TestDisk::default();
        let engine = open(&disk).unwrap();
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let applied = |now| AppliedMigration { version, name: name.into(), applied_at: now };
        engine.write_alone(&clock, |tables, now| tables.put(&applied(now))).unwrap();
        images(&disk, engine)
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_untouched_also_after_its_crash() {
        for image in with_migration(7, "0007_from_the_future") {
            let error = is_refused(&image);
            assert!(matches!(error, Error::SchemaTooNew { found: 7, supported: 3 }), "{error}");
            assert_eq!(error.to_string(), "the file has schema 7; this version of khala knows schemas up to 3");
        }
    }

    #[test]
    fn a_history_that_is_not_ours_is_damage() {
        for image in with_migration(1, "0001_something_else") {
            assert!(matches!(is_refused(&image), Error::Corrupt { table: "schema_version", .. }));
        }
    }

    #[test]
    fn a_database_without_a_history_is_not_a_store() {
        for with_table in [false, true] {
            let disk = TestDisk::default();
            let other = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
            let transaction = other.begin_write().unwrap();
            if with_table {
                transaction.open_table(redb::TableDefinition::<&[u8; 4], &[u8]>::new("schema_version")).unwrap();
            }
            transaction.commit().unwrap();
            for image in images(&disk, other) {
                assert!(matches!(is_refused(&image), Error::NotAStore { .. }));
            }
        }
    }

    #[test]
    fn a_crashed_store_is_opened_and_repaired() {
        let disk = TestDisk::default();
        let engine = open(&disk).unwrap();
        for image in images(&disk, engine) {
            let engine = open(&image).unwrap();
            assert_eq!(engine.read(|tables| migrate::history(&tables)).unwrap().len(), 3);
        }
    }
}
