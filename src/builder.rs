//! How a store is opened: every setting, with its unit and its default.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::db::{Engine, Options};
use crate::error::{Error, Result};
use crate::limits::{BATCH_MAX_OPERATIONS, CACHE_DEFAULT_BYTES};
#[cfg(feature = "tokio")]
use crate::store::{AsyncStore, on_pool};
use crate::store::{Store, bytes_on_disk, every_table};
use crate::trace::operation;
use crate::transfer::{Compaction, Progress};

impl Store {
    /// Opens the store at `path`, or creates it if nothing is there, and runs pending migrations.
    ///
    /// A new file appears under its name only when it is whole and on the disk, readable for its owner alone. An
    /// existing file is checked page by page first, see [`Builder::check_on_open`], and is changed only once it is known
    /// to be a store of this version or an earlier one.
    ///
    /// # Errors
    ///
    /// - [`Error::NotAStore`]: the file is something else.
    /// - [`Error::AlreadyOpen`]: this or another process has it open.
    /// - [`Error::SchemaTooNew`]: a later version of khala wrote it.
    /// - [`Error::Corrupt`]: it is damaged.
    /// - [`Error::InvalidInput`]: the clock says more than [`CLOCK_MAX`](crate::limits::CLOCK_MAX).
    /// - [`Error::Io`]: the folder does not exist, the file may not be written, the disk is full.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// A new store in memory, gone with its last handle. For tests and for work that need not survive.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] when the machine's clock says more than [`CLOCK_MAX`](crate::limits::CLOCK_MAX).
    pub fn in_memory() -> Result<Self> {
        Self::builder().in_memory()
    }

    /// Gives back the room that the file at `path` takes and does not need, and says how much it was. Nobody may have the
    /// file open. See [`Builder::compact`], which does it with other settings.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::compact`].
    pub fn compact(path: impl AsRef<Path>, watch: impl FnMut(Progress)) -> Result<Compaction> {
        Self::builder().compact(path, watch)
    }

    /// The settings, to change some before opening.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

#[cfg(feature = "tokio")]
impl AsyncStore {
    /// Opens the store at `path`, or creates it if nothing is there, and runs pending migrations, on a thread for blocking
    /// work. See [`Store::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(Store::builder(), path).await
    }

    /// The same with these settings. See [`Builder::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Builder::open`].
    pub async fn open_with(builder: Builder, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        on_pool(move || builder.open(path)).await.map(Self::from)
    }
}

/// The settings of a store, and the two ways to open one with them.
///
/// ```
/// # fn main() -> khala::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("agents.khala");
/// let store = khala::Store::builder().cache_bytes(256 * 1024 * 1024).open(path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    clock: Arc<dyn Clock>,
    options: Options,
    create_if_missing: bool,
    batch_max_operations: usize,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            options: Options { cache_bytes: CACHE_DEFAULT_BYTES, check_on_open: true },
            create_if_missing: true,
            batch_max_operations: BATCH_MAX_OPERATIONS,
        }
    }

    /// Where the store gets its time from. A [`SystemClock`] unless set.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How much memory the engine may use to keep pages, in bytes. 64 MiB unless set. More makes a large store faster to
    /// read; none is taken before it is needed.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.options.cache_bytes = bytes;
        self
    }

    /// Whether opening a file checks every page of it against its checksum, so that a damaged file is an error and never
    /// a wrong answer. On unless set. It reads the whole file: about a second per gigabyte that the operating system
    /// has in memory, else the time the disk needs.
    ///
    /// Switched off, damage is found only where it happens to be met, and can go unnoticed.
    pub fn check_on_open(mut self, check: bool) -> Self {
        self.options.check_on_open = check;
        self
    }

    /// Whether [`open`](Self::open) creates a store where there is none. On unless set. Switched off, nothing at the path is
    /// an [`Error::Io`] whose source is [`NotFound`](std::io::ErrorKind::NotFound), and nothing is created: for programs
    /// that look into a store somebody else made, where a mistyped name must not leave an empty one behind.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("agnets.khala");
    /// let error = khala::Store::builder().create_if_missing(false).open(&path).unwrap_err();
    /// assert!(matches!(error, khala::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
    /// assert!(!path.exists());
    /// ```
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// How many concurrent writes may share one durable commit, from 1 to 1,000. 1,000 unless set. There is no reason to
    /// lower it but to measure what sharing gains.
    pub fn batch_max_operations(mut self, operations: usize) -> Self {
        self.batch_max_operations = operations;
        self
    }

    /// Opens the store at `path`, or creates it if nothing is there and that is [allowed](Self::create_if_missing), and runs
    /// pending migrations. See [`Store::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`], and [`Error::InvalidInput`] for any other setting out of its bounds.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let operation = operation!("open", path = %path.display());
        let opened = operation.span().in_scope(|| self.open_at(path));
        operation.end(opened)
    }

    fn open_at(self, path: &Path) -> Result<Store> {
        self.check()?;
        let engine = if self.create_if_missing {
            Engine::open(path, &self.options, self.clock.as_ref())?
        } else {
            let there = Engine::open_existing(path, &self.options, self.clock.as_ref())?;
            let source = ErrorKind::NotFound.into();
            there.ok_or_else(|| Error::Io { action: "open the store", path: Some(path.into()), source })?
        };
        Store::over(engine, self.clock, self.batch_max_operations, Some(path))
    }

    /// A new store in memory. See [`Store::in_memory`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a setting out of its bounds.
    pub fn in_memory(self) -> Result<Store> {
        let operation = operation!("in_memory");
        let created = operation.span().in_scope(|| self.in_memory_alone());
        operation.end(created)
    }

    fn in_memory_alone(self) -> Result<Store> {
        self.check()?;
        let engine = Engine::in_memory(&self.options, self.clock.as_ref())?;
        Store::over(engine, self.clock, self.batch_max_operations, None)
    }

    /// Gives back the room that the file at `path` takes and does not need, and says how much it was: pages that nothing
    /// is on, and the empty half of those that are half full. Nobody may have the file open, and there must be room for a
    /// packed copy beside it.
    ///
    /// The copy takes the file's place, its mode and its owner when it is whole and on the disk, so a crash at any moment
    /// leaves the old file or the new one. What was left of a crash beside it, named like it with a dot before and `.new`
    /// behind, the next compaction clears away. A link is followed. Pending migrations are run.
    ///
    /// `watch` is told how many entries were copied, rows and what the indexes have of them, after each.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), but that a file that does not exist is [`Error::Io`] and not created; and
    /// [`Error::Io`] when the copy cannot be made, or cannot be given to the file's owner.
    pub fn compact(self, path: impl AsRef<Path>, mut watch: impl FnMut(Progress)) -> Result<Compaction> {
        let path = path.as_ref();
        let operation = operation!("compact", path = %path.display());
        let compacted = operation.span().in_scope(|| self.compact_at(path, &mut watch));
        operation.end(compacted)
    }

    fn compact_at(self, path: &Path, watch: &mut dyn FnMut(Progress)) -> Result<Compaction> {
        self.check()?;
        let bytes_before = bytes_on_disk(path)?;
        Engine::compact(path, &self.options, self.clock.as_ref(), &every_table(), &mut |done, total| {
            watch(Progress::new(done, Some(total)));
        })?;
        Ok(Compaction { bytes_before, bytes_after: bytes_on_disk(path)? })
    }

    /// The store on this disk, or a new one if it is empty: for tests of what a store does to a disk.
    #[cfg(test)]
    pub(crate) fn open_on(self, disk: impl crate::db::StorageBackend) -> Result<Store> {
        let path = Path::new("disk");
        let engine = Engine::open_on(disk, path, &self.options, self.clock.as_ref())?;
        Store::over(engine, self.clock, self.batch_max_operations, None)
    }

    fn check(&self) -> Result<()> {
        if (1..=BATCH_MAX_OPERATIONS).contains(&self.batch_max_operations) {
            return Ok(());
        }
        let reason = format!("is {}; a batch has 1 to {BATCH_MAX_OPERATIONS} operations", self.batch_max_operations);
        Err(Error::InvalidInput { field: "batch_max_operations", reason })
    }
}
