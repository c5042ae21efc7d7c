//! Stores that are copied and moved.

#[cfg(feature = "json")]
use std::io;
use std::path::Path;

use super::{Store, bytes_on_disk};
use crate::agents::Registration;
use crate::db::{AppliedMigration, Counters, TableDef};
use crate::error::Result;
use crate::messages::Message;
#[cfg(feature = "json")]
use crate::nested::{self, Access};
use crate::tasks::{Instruction, TaskRow};
use crate::threads::Thread;
use crate::trace::{OperationSpan, operation};
#[cfg(feature = "json")]
use crate::transfer::{self, Exported, ImportOptions, Imported};
use crate::transfer::{Backup, Progress};
#[cfg(feature = "json")]
use crate::tx;

/// Every table of a store, for what goes through all of them.
pub(crate) fn every_table() -> Vec<TableDef> {
    std::iter::once(Counters::TABLE)
        .chain(TableDef::all_of::<AppliedMigration>())
        .chain(TableDef::all_of::<Registration>())
        .chain(TableDef::all_of::<Thread>())
        .chain(TableDef::all_of::<Message>())
        .chain(TableDef::all_of::<TaskRow>())
        .chain(TableDef::all_of::<Instruction>())
        .collect()
}

impl Store {
    /// Copies the store into a new file at `to`, and says what that came to. The copy is the store as it was at one
    /// moment, while others go on reading and writing; it opens as any store does, and goes on where this one was. It is
    /// packed, so it takes as much room as the original or less. A store in memory is kept this way.
    ///
    /// The file appears under its name when it is whole and on the disk, readable for its owner alone. What is there
    /// already is never overwritten. A crash leaves a file beside it, named like it with a dot before and `.new` behind,
    /// which the next backup to that name clears away.
    ///
    /// `watch` is told how many entries were copied, rows and what the indexes have of them, after each; it can stop the
    /// backup only by a panic. Until the backup is done, nobody else creates a store in the folder of `to`, and the pages
    /// of the snapshot are not reused: what is written meanwhile makes the file grow.
    ///
    /// ```
    /// # fn main() -> khala::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("agents.khala");
    /// let store = khala::Store::in_memory()?;
    /// let thread = store.create_thread("review", "ada")?;
    /// let backup = store.backup(&path, |_| {})?;
    /// assert_eq!(backup.rows.threads, 1);
    /// assert_eq!(khala::Store::open(&path)?.thread(thread.id)?, Some(thread));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::FileExists`](crate::Error::FileExists) when there is something at `to`. It was not touched.
    /// - [`Error::Io`](crate::Error::Io) when the folder does not exist, the disk is full, or the like. Nothing is at `to`.
    /// - Those of [`read`](Self::read).
    pub fn backup(&self, to: impl AsRef<Path>, mut watch: impl FnMut(Progress)) -> Result<Backup> {
        let to = to.as_ref();
        let operation = operation!("backup", path = %to.display());
        let backup = self.back_up(&operation.span(), to, &mut watch);
        operation.end_with_rows(backup)
    }

    fn back_up(&self, span: &OperationSpan, to: &Path, watch: &mut dyn FnMut(Progress)) -> Result<Backup> {
        let bytes_before = self.inner.file.as_deref().map(bytes_on_disk).transpose()?;
        let rows = self.read_in(span, |tx| {
            crate::db::back_up(tx.tables(), to, &every_table(), &mut |done, total| {
                watch(Progress::new(done, Some(total)));
            })?;
            tx.count_rows()
        })?;
        Ok(Backup { rows, bytes_before, bytes_after: bytes_on_disk(to)? })
    }

    /// Writes every row as a line of JSON, and says how many. The rows are those of one moment, while others go on
    /// reading and writing. They come table by table, agents, threads, messages, tasks, each in the order of its ids.
    /// [`import`](Self::import) reads them; a store that was imported exports the same bytes.
    ///
    /// The format is described in `docs/moving-stores.md`.
    /// It has the hashes of the agents' tokens in it, and everything that was said.
    ///
    /// `watch` is told how many rows were written, after each. Needs the feature `json`.
    ///
    /// ```
    /// # fn main() -> khala::Result<()> {
    /// let store = khala::Store::in_memory()?;
    /// store.create_thread("review", "ada")?;
    /// let mut lines = Vec::new();
    /// let exported = store.export(&mut lines, |_| {})?;
    /// assert_eq!(exported.rows.threads, 1);
    /// assert!(lines.starts_with(br#"{"table":"threads","id":""#));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) when `to` cannot be written, and those of [`read`](Self::read).
    #[cfg(feature = "json")]
    pub fn export(&self, to: impl io::Write, mut watch: impl FnMut(Progress)) -> Result<Exported> {
        self.read_as(operation!("export"), |tx| transfer::export(tx, to, &mut watch))
    }

    /// Adds the rows that these lines of JSON describe, all of them or, when one is refused, none, and says how many. A
    /// row that is there already, and the same, is counted apart; so an import that was interrupted is simply run again.
    ///
    /// What [`export`](Self::export) writes is read, and what `sqlite3 -json` prints of the tables of the SQL original;
    /// see [`ImportOptions`] and `docs/moving-stores.md`. Rows keep their ids. A thread must come before what belongs to it.
    /// Every rule that the operations keep holds for these rows too. Those who wait for a task are woken when the rows are
    /// there.
    ///
    /// All is done in one transaction, at one moment, and every other writer waits until it is over: a second or so for
    /// each 100,000 rows. `from` is read meanwhile, so nothing that it waits for may write to this store. Memory is
    /// bounded, whatever the number of rows.
    ///
    /// `watch` is told how many rows were read, after each. Needs the feature `json`.
    ///
    /// ```
    /// use khala::{ImportOptions, Store, Table};
    ///
    /// # fn main() -> khala::Result<()> {
    /// let printed_by_sqlite3 = r#"[{"id":"01D39ZY06FGSCTVN4T2V9PKHFZ","workflow":"review","status":"active",
    ///     "initiator":"ada","result":null,"created_at":"2025-11-25 10:22:00","updated_at":"2025-11-25 10:22:00"}]"#;
    /// let store = Store::in_memory()?;
    /// let imported = store.import(printed_by_sqlite3.as_bytes(), &ImportOptions::new().table(Table::Threads), |_| {})?;
    /// assert_eq!(imported.added.threads, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Import`](crate::Error::Import) names the line, and within it what is wrong: the column, the value and the bound.
    /// - [`Error::Io`](crate::Error::Io) when `from` cannot be read.
    /// - Those of [`write`](Self::write).
    #[cfg(feature = "json")]
    pub fn import(
        &self,
        from: impl io::BufRead,
        options: &ImportOptions,
        mut watch: impl FnMut(Progress),
    ) -> Result<Imported> {
        let operation = operation!("import");
        let import = |tx: &mut tx::WriteTx<'_>| transfer::import(tx, from, options, &mut watch);
        let imported = operation.span().in_scope(|| self.run_alone(import));
        operation.end_with_rows(imported)
    }

    /// Runs this in a transaction of its own, while every other writer waits.
    #[cfg(feature = "json")]
    fn run_alone<T>(&self, f: impl FnOnce(&mut tx::WriteTx<'_>) -> Result<T>) -> Result<T> {
        nested::check(self.inner.key, Access::Write)?;
        self.inner.writer.check()?;
        let _told = self.inner.tell_of_a_failure();
        let (answer, news) = tx::run_alone(&self.inner.writer, self.inner.key, f)?;
        self.inner.waiters.announce(news);
        Ok(answer)
    }
}
