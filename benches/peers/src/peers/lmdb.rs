//! LMDB, through heed.

use std::ops::{Bound, ControlFlow};
use std::path::Path;

use anyhow::{Context, Result};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};

use crate::clock::Clock;
use crate::ids::Id;
use crate::kv::operations::{self, apply_all, load_counters};
use crate::kv::rows::Counters;
use crate::kv::{Order, Read, Table, Write};
use crate::peer::{Answer, Counts, Engine, Request, Seen, Which};

/// How far the file may grow: address space, not memory.
const MAP_BYTES: usize = 1 << 36;

type Tables = [Database<'static, Bytes, Bytes>; Table::ALL.len()];

pub(crate) struct Lmdb {
    env: Env<WithoutTls>,
    tables: Tables,
    clock: Clock,
}

impl Lmdb {
    pub(crate) fn set_up() -> String {
        let version = heed::lmdb_version();
        format!(
            "LMDB {}.{}.{} through heed, synced on commit (its default)",
            version.major, version.minor, version.patch
        )
    }

    pub(crate) fn open(folder: &Path, clock: Clock) -> Result<Self> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES).max_dbs(u32::try_from(Table::ALL.len())?);
        #[expect(unsafe_code, reason = "the file is mapped; nobody else touches it")]
        let env = unsafe { options.open(folder)? };
        let transaction = env.write_txn()?;
        let tables = env.create_databases_and_commit(transaction, |opener, transaction| {
            let [threads, messages, by_step, tasks, by_status, by_thread, meta] =
                Table::ALL.map(|table| opener.create_database::<Bytes, Bytes>(transaction, Some(table.name())));
            let tables = [threads?, messages?, by_step?, tasks?, by_status?, by_thread?, meta?];
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(tables))
        })?;
        let tables = tables.commit().context("the tables are there")?;
        Ok(Self { env, tables, clock })
    }

    fn read<T>(&self, f: impl FnOnce(&Snapshot<'_>) -> Result<T>) -> Result<T> {
        f(&Snapshot { tables: &self.tables, transaction: &self.env.read_txn()? })
    }
}

impl Engine for Lmdb {
    type Turn = Counters;

    fn first_turn(&self) -> Result<Counters> {
        self.read(|tables| load_counters(tables))
    }

    fn write(&self, counters: &mut Counters, requests: &[Request]) -> Result<Vec<Answer>> {
        let mut batch = InBatch { tables: &self.tables, transaction: self.env.write_txn()? };
        let done = apply_all(&mut batch, counters, self.clock.micros(), requests)?;
        if done.wrote {
            batch.transaction.commit()?;
        } else {
            batch.transaction.abort();
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
}

struct Snapshot<'e> {
    tables: &'e Tables,
    transaction: &'e RoTxn<'e, WithoutTls>,
}

impl Read for Snapshot<'_> {
    fn get<T>(&self, table: Table, key: &[u8], see: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        get(self.tables, self.transaction, table, key, see)
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        see: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        keys(self.tables, self.transaction, table, (from, to), order, see)
    }

    fn len(&self, table: Table) -> Result<u64> {
        Ok(database(self.tables, table)?.len(self.transaction)?)
    }
}

struct InBatch<'e> {
    tables: &'e Tables,
    transaction: RwTxn<'e>,
}

impl Read for InBatch<'_> {
    fn get<T>(&self, table: Table, key: &[u8], see: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        get(self.tables, &self.transaction, table, key, see)
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        see: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        keys(self.tables, &self.transaction, table, (from, to), order, see)
    }

    fn len(&self, table: Table) -> Result<u64> {
        Ok(database(self.tables, table)?.len(&self.transaction)?)
    }
}

impl Write for InBatch<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(database(self.tables, table)?.put(&mut self.transaction, key, value)?)
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<()> {
        database(self.tables, table)?.delete(&mut self.transaction, key)?;
        Ok(())
    }
}

fn database(tables: &Tables, table: Table) -> Result<&Database<'static, Bytes, Bytes>> {
    tables.get(table.number()).context("every table is open")
}

fn get<T>(
    tables: &Tables,
    transaction: &RoTxn<'_, WithoutTls>,
    table: Table,
    key: &[u8],
    see: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<Option<T>> {
    database(tables, table)?.get(transaction, key)?.map(see).transpose()
}

fn keys(
    tables: &Tables,
    transaction: &RoTxn<'_, WithoutTls>,
    table: Table,
    (from, to): (&[u8], &[u8]),
    order: Order,
    mut see: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<()> {
    let database = database(tables, table)?;
    let range = (Bound::Included(from), Bound::Included(to));
    match order {
        Order::Rising => {
            for entry in database.range(transaction, &range)? {
                if see(entry?.0).is_break() {
                    break;
                }
            }
        }
        Order::Falling => {
            for entry in database.rev_range(transaction, &range)? {
                if see(entry?.0).is_break() {
                    break;
                }
            }
        }
    }
    Ok(())
}
