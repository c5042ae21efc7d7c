//! fjall, a log-structured merge tree: transactions that see their own writes, one journal for all tables.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fjall::{KeyspaceCreateOptions, PersistMode, Readable, SingleWriterTxDatabase, SingleWriterTxKeyspace};
use fjall::{SingleWriterWriteTx, Snapshot};

use crate::clock::Clock;
use crate::ids::Id;
use crate::kv::operations::{self, apply_all, load_counters};
use crate::kv::rows::Counters;
use crate::kv::{Order, Read, Table, Write};
use crate::peer::{Answer, Counts, Engine, Request, Seen, Which};

const CACHE_BYTES: u64 = 256 << 20;

/// The longest anybody waits for its compactions, and how often they are looked at.
const SETTLE_MOST: Duration = Duration::from_secs(20);
const SETTLE_STEP: Duration = Duration::from_millis(2);

pub(crate) struct Fjall {
    database: SingleWriterTxDatabase,
    tables: Vec<SingleWriterTxKeyspace>,
    clock: Clock,
}

impl Fjall {
    pub(crate) const SET_UP: &str = "fjall, a cache of 256 MiB, each batch journalled with `fdatasync` \
                                     (`PersistMode::SyncData`), otherwise its defaults";

    pub(crate) fn open(folder: &Path, clock: Clock) -> Result<Self> {
        let database = SingleWriterTxDatabase::builder(folder).cache_size(CACHE_BYTES).open()?;
        let open = |table: Table| database.keyspace(table.name(), KeyspaceCreateOptions::default);
        let tables = Table::ALL.into_iter().map(open).collect::<fjall::Result<_>>()?;
        Ok(Self { database, tables, clock })
    }

    fn read<T>(&self, f: impl FnOnce(&View<'_, Snapshot>) -> Result<T>) -> Result<T> {
        f(&View { tables: &self.tables, transaction: self.database.read_tx() })
    }
}

impl Engine for Fjall {
    type Turn = Counters;

    fn first_turn(&self) -> Result<Counters> {
        self.read(|tables| load_counters(tables))
    }

    fn write(&self, counters: &mut Counters, requests: &[Request]) -> Result<Vec<Answer>> {
        let transaction = self.database.write_tx().durability(Some(PersistMode::SyncData));
        let mut batch = View { tables: &self.tables, transaction };
        let done = apply_all(&mut batch, counters, self.clock.micros(), requests)?;
        if done.wrote {
            batch.transaction.commit()?;
        } else {
            batch.transaction.rollback();
        }
        Ok(done.answers)
    }

    fn open_tasks(&self, limit: usize) -> Result<Seen> {
        self.read(|tables| operations::open_tasks(tables, limit))
    }

    fn messages(&self, thread: Id, which: Which) -> Result<Seen> {
        self.read(|tables| operations::messages(tables, thread, which))
    }

    fn counts(&self) -> Result<Counts> {
        self.read(|tables| operations::counts(tables))
    }

    fn settle(&self) {
        let (database, began) = (self.database.inner(), Instant::now());
        while database.outstanding_flushes() + database.active_compactions() > 0 && began.elapsed() < SETTLE_MOST {
            std::thread::sleep(SETTLE_STEP);
        }
    }
}

/// The tables through a transaction of either kind.
struct View<'d, T> {
    tables: &'d [SingleWriterTxKeyspace],
    transaction: T,
}

impl<T> View<'_, T> {
    fn table(&self, table: Table) -> Result<&SingleWriterTxKeyspace> {
        self.tables.get(table.number()).context("every table is open")
    }
}

impl<X: Readable> Read for View<'_, X> {
    fn get<T>(&self, table: Table, key: &[u8], see: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        let value = self.transaction.get(self.table(table)?, key)?;
        value.map(|value| see(&value)).transpose()
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        mut see: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut entries = self.transaction.range(self.table(table)?, from..=to);
        let next = |entries: &mut fjall::Iter| match order {
            Order::Rising => entries.next(),
            Order::Falling => entries.next_back(),
        };
        while let Some(entry) = next(&mut entries) {
            if see(&entry.key()?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn len(&self, table: Table) -> Result<u64> {
        Ok(u64::try_from(self.transaction.len(self.table(table)?)?)?)
    }
}

impl Write for View<'_, SingleWriterWriteTx<'_>> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        let table = self.tables.get(table.number()).context("every table is open")?;
        self.transaction.insert(table, key, value);
        Ok(())
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<()> {
        let table = self.tables.get(table.number()).context("every table is open")?;
        self.transaction.remove(table, key);
        Ok(())
    }
}
