//! A store copied whole: every entry of every table of one snapshot, in the order of the keys, into a new file.
//!
//! ```text
//!   snapshot ──> a draft beside the destination ──> one commit, synced ──> it takes its name, the folder is synced
//! ```
//!
//! What comes in order fills its pages, where a store that has lived has half-full ones and holes: so a copy is also how a
//! file is compacted. The engine's own compaction moves pages to the front as they are: of a file of 285 MB from which two
//! thirds were deleted it leaves 140 MB in 5.3 s and many commits, where a copy has 71 MB in 3.8 s and one.
//!
//! The copy goes on where the original was, counters included. What stands outside the tables, the engine's header and the
//! receipt, is the new file's own.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use redb::backends::FileBackend;

use super::counters::Counters;
use super::engine::{End, Engine, Options, open_error};
use super::fault::FILE;
use super::file::{self, Draft};
use super::row::TableDef;
use super::table::Tables;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// What the engine may take to keep pages of the copy: none is read again before the commit.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Is told how many entries are done, and of how many.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(u64, u64);

/// Copies these tables, which must be all there are, into a new store at `to`, where nothing may be yet.
pub(crate) fn back_up(from: &Tables<'_>, to: &Path, tables: &[TableDef], watch: Watch<'_>) -> Result<()> {
    let draft = Draft::begin(to)?.ok_or_else(|| Error::FileExists { path: to.into() })?;
    copy(from, &draft, to, tables, watch)?;
    draft.publish_beside()
}

impl Engine {
    /// Puts a packed copy in the place of the store at `path`, which nobody may have open.
    pub(crate) fn compact(
        path: &Path,
        options: &Options,
        clock: &dyn Clock,
        tables: &[TableDef],
        watch: Watch<'_>,
    ) -> Result<()> {
        let failed = |source| Error::Io { action: "compact the store", path: Some(path.into()), source };
        // Where a link leads, so that it is not the link that is replaced.
        let place = &fs::canonicalize(path).map_err(failed)?;
        let file = file::open_existing(place)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        let metadata = file.metadata().map_err(failed)?;
        let backend = FileBackend::new(file).map_err(|error| open_error(path, error))?;
        // Open until the end: nobody else gets hold of the old file while the new one takes its place.
        let engine = Self::open_backend(backend, path, options, clock)?;
        let draft = Draft::begin_over(place)?;
        draft.resemble(&metadata)?;
        engine.read(|from| copy(&from, &draft, place, tables, watch))?;
        draft.publish()
    }
}

/// Makes the draft a store with everything in it that there is in these tables.
fn copy(from: &Tables<'_>, draft: &Draft, path: &Path, tables: &[TableDef], watch: Watch<'_>) -> Result<()> {
    every_table_is_among(from, tables)?;
    let total = tables.iter().try_fold(0, |total, table| Ok::<_, Error>(total + from.len(table)?))?;
    let mut done = 0;
    watch(done, total);
    let backend = FileBackend::new(draft.file()?).map_err(|error| open_error(path, error))?;
    let options = Options { cache_bytes: CACHE_BYTES, check_on_open: false };
    let mut engine = Engine::empty_in(backend, path, &options)?;
    let transaction = engine.begin_write()?;
    let mut to = engine.tables_of(&transaction);
    let copied = tables.iter().try_for_each(|table| {
        to.copy_table(from, table, || {
            done += 1;
            watch(done, total);
        })
    });
    drop(to);
    let ended = engine.end_write(transaction, if copied.is_ok() { End::Commit } else { End::Abort });
    copied?;
    ended?;
    engine.trim()?;
    engine.acknowledge(&Counters::load(from)?);
    Ok(())
}

/// An error if the store has a table that is not among these: a copy would lose it.
fn every_table_is_among(from: &Tables<'_>, tables: &[TableDef]) -> Result<()> {
    let known = |name: &str| tables.iter().any(|table| table.name == name);
    match from.names()?.into_iter().find(|name| !known(name)) {
        Some(name) => Err(Error::corrupt(FILE, format!("it has a table {name:?}, which nobody here knows"))),
        None => Ok(()),
    }
}
