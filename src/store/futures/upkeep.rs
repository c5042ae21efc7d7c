//! What takes long: each of these runs on a thread for blocking work, from its beginning to its end.

#[cfg(feature = "json")]
use std::io;
use std::path::Path;

use super::AsyncStore;
use crate::db::AppliedMigration;
use crate::error::Result;
use crate::nested::Access;
use crate::store::{Stats, Store};
use crate::transfer::{Backup, Progress};
#[cfg(feature = "json")]
use crate::transfer::{Exported, ImportOptions, Imported};

impl AsyncStore {
    /// Makes the file one that opens at once, should the process or the machine stop before the next write. See
    /// [`Store::checkpoint`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::checkpoint`].
    pub async fn checkpoint(&self) -> Result<()> {
        self.on_pool(Access::Write, Store::checkpoint).await
    }

    /// Reads every row, recomputes every index entry from it, and compares. See [`Store::verify`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::verify`].
    pub async fn verify(&self) -> Result<()> {
        self.on_pool(Access::Read, Store::verify).await
    }

    /// How much is in the store, and how much room it takes. See [`Store::stats`].
    ///
    /// # Errors
    ///
    /// Those of [`Store::stats`].
    pub async fn stats(&self) -> Result<Stats> {
        self.on_pool(Access::Read, Store::stats).await
    }

    /// The migrations this store has been through, oldest first.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub async fn schema_history(&self) -> Result<Vec<AppliedMigration>> {
        self.on_pool(Access::Read, Store::schema_history).await
    }

    /// Copies the store into a new file at `to`. See [`Store::backup`]; `watch` is called on the thread that copies.
    ///
    /// # Errors
    ///
    /// Those of [`Store::backup`].
    pub async fn backup(&self, to: impl AsRef<Path>, watch: impl FnMut(Progress) + Send + 'static) -> Result<Backup> {
        let to = to.as_ref().to_owned();
        self.on_pool(Access::Read, move |store| store.backup(to, watch)).await
    }

    /// Writes every row as a line of JSON, and gives back what they were written to. See [`Store::export`]; `watch` is called
    /// on the thread that writes. Needs the feature `json` as well.
    ///
    /// # Errors
    ///
    /// Those of [`Store::export`].
    #[cfg(feature = "json")]
    pub async fn export<W: io::Write + Send + 'static>(
        &self,
        mut to: W,
        watch: impl FnMut(Progress) + Send + 'static,
    ) -> Result<(Exported, W)> {
        self.on_pool(Access::Read, move |store| Ok((store.export(&mut to, watch)?, to))).await
    }

    /// Adds the rows that these lines of JSON describe, all of them or none. See [`Store::import`]; `from` is read, and
    /// `watch` called, on the thread that imports. Needs the feature `json` as well.
    ///
    /// # Errors
    ///
    /// Those of [`Store::import`].
    #[cfg(feature = "json")]
    pub async fn import(
        &self,
        from: impl io::BufRead + Send + 'static,
        options: &ImportOptions,
        watch: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Imported> {
        let options = options.clone();
        self.on_pool(Access::Write, move |store| store.import(from, &options, watch)).await
    }
}
