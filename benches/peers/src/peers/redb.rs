//! redb as a careful user would use it: keys of fixed width, tables opened when they are needed, one durable
//! transaction for each operation.

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use redb::{TableDefinition, WriteTransaction};

use crate::clock::Clock;
use crate::ids::Id;
use crate::kv::operations::{self, apply_all, load_counters};
use crate::kv::rows::Counters;
use crate::kv::{Order, Read, Table, Write};
use crate::peer::{Answer, Counts, Engine, Request, Seen, Which};

const CACHE_BYTES: usize = 256 << 20;

pub(crate) struct Redb {
    database: Database,
    clock: Clock,
}

impl Redb {
    pub(crate) const SET_UP: &str = "redb, a cache of 256 MiB, keys of fixed width, durable commits (its default)";

    pub(crate) fn open(folder: &Path, clock: Clock) -> Result<Self> {
        let path = folder.join("store.redb");
        let is_new = !path.exists();
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        if is_new {
            let transaction = database.begin_write()?;
            for table in Table::ALL {
                open_in_batch(&transaction, table)?;
            }
            transaction.commit()?;
        }
        Ok(Self { database, clock })
    }

    fn read<T>(&self, f: impl FnOnce(&Tables<'_>) -> Result<T>) -> Result<T> {
        f(&Tables::new(Source::Snapshot(&self.database.begin_read()?)))
    }
}

impl Engine for Redb {
    type Turn = Counters;

    fn first_turn(&self) -> Result<Counters> {
        self.read(|tables| load_counters(tables))
    }

    fn write(&self, counters: &mut Counters, requests: &[Request]) -> Result<Vec<Answer>> {
        let transaction = self.database.begin_write()?;
        let mut tables = Tables::new(Source::Batch(&transaction));
        let done = apply_all(&mut tables, counters, self.clock.micros(), requests)?;
        drop(tables);
        if done.wrote {
            transaction.commit()?;
        } else {
            transaction.abort()?;
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

/// The tables of one transaction, each opened when it is first needed.
struct Tables<'t> {
    source: Source<'t>,
    open: [OnceCell<Box<dyn Open + 't>>; Table::ALL.len()],
}

#[derive(Clone, Copy)]
enum Source<'t> {
    Snapshot(&'t ReadTransaction),
    Batch(&'t WriteTransaction),
}

impl<'t> Tables<'t> {
    fn new(source: Source<'t>) -> Self {
        Self { source, open: [const { OnceCell::new() }; Table::ALL.len()] }
    }

    fn table(&self, table: Table) -> Result<&(dyn Open + 't)> {
        let cell = self.open.get(table.number()).context("there is room for every table")?;
        if cell.get().is_none() {
            let opened = match self.source {
                Source::Snapshot(transaction) => open_in_snapshot(transaction, table),
                Source::Batch(transaction) => open_in_batch(transaction, table),
            };
            let opened = opened?;
            cell.get_or_init(|| opened);
        }
        cell.get().map(Box::as_ref).context("the table is open")
    }

    fn table_mut(&mut self, table: Table) -> Result<&mut (dyn Open + 't)> {
        self.table(table)?;
        let cell = self.open.get_mut(table.number()).and_then(OnceCell::get_mut);
        cell.map(Box::as_mut).context("the table is open")
    }
}

impl Read for Tables<'_> {
    fn get<T>(&self, table: Table, key: &[u8], see: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        let (mut see, mut seen) = (Some(see), None);
        self.table(table)?.get(key, &mut |value| {
            seen = see.take().map(|see| see(value)).transpose()?;
            Ok(())
        })?;
        Ok(seen)
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        mut see: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.table(table)?.keys(from, to, order, &mut see)
    }

    fn len(&self, table: Table) -> Result<u64> {
        self.table(table)?.len()
    }
}

impl Write for Tables<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        self.table_mut(table)?.insert(key, value)
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<()> {
        self.table_mut(table)?.remove(key)
    }
}

/// An open table, whatever the width of its keys.
trait Open {
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
    fn keys(&self, from: &[u8], to: &[u8], order: Order, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()>;
    fn len(&self) -> Result<u64>;

    fn insert(&mut self, _: &[u8], _: &[u8]) -> Result<()> {
        bail!("a snapshot is only read")
    }

    fn remove(&mut self, _: &[u8]) -> Result<()> {
        bail!("a snapshot is only read")
    }
}

/// What tables hold: rows, or nothing where all is said in the key.
trait Value: redb::Value + 'static {
    fn of(bytes: &[u8]) -> Self::SelfType<'_>;
    fn bytes<'a>(value: &'a Self::SelfType<'_>) -> &'a [u8];
}

impl Value for &'static [u8] {
    fn of(bytes: &[u8]) -> &[u8] {
        bytes
    }

    fn bytes<'a>(value: &'a &[u8]) -> &'a [u8] {
        value
    }
}

impl Value for () {
    fn of(_: &[u8]) {}

    fn bytes((): &()) -> &[u8] {
        &[]
    }
}

/// A table that is only read.
struct Reading<T, V, const N: usize>(T, PhantomData<V>);

/// A table that is written.
struct Writing<'t, V: Value, const N: usize>(redb::Table<'t, &'static [u8; N], V>);

impl<T: ReadableTable<&'static [u8; N], V> + ReadableTableMetadata, V: Value, const N: usize> Open
    for Reading<T, V, N>
{
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        get(&self.0, key, see)
    }

    fn keys(&self, from: &[u8], to: &[u8], order: Order, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        keys(&self.0, from, to, order, see)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.0.len()?)
    }
}

impl<V: Value, const N: usize> Open for Writing<'_, V, N> {
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        get(&self.0, key, see)
    }

    fn keys(&self, from: &[u8], to: &[u8], order: Order, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        keys(&self.0, from, to, order, see)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.0.len()?)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key: &[u8; N] = key.try_into()?;
        self.0.insert(key, V::of(value))?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<()> {
        let key: &[u8; N] = key.try_into()?;
        self.0.remove(key)?;
        Ok(())
    }
}

fn get<V: Value, const N: usize>(
    table: &impl ReadableTable<&'static [u8; N], V>,
    key: &[u8],
    see: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let key: &[u8; N] = key.try_into()?;
    let Some(value) = table.get(key)? else { return Ok(()) };
    see(V::bytes(&value.value()))
}

fn keys<V: Value, const N: usize>(
    table: &impl ReadableTable<&'static [u8; N], V>,
    from: &[u8],
    to: &[u8],
    order: Order,
    see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<()> {
    let (from, to): (&[u8; N], &[u8; N]) = (from.try_into()?, to.try_into()?);
    let mut entries = table.range::<&[u8; N]>(from..=to)?;
    let mut next = || match order {
        Order::Rising => entries.next(),
        Order::Falling => entries.next_back(),
    };
    while let Some(entry) = next() {
        if see(entry?.0.value()).is_break() {
            break;
        }
    }
    Ok(())
}

fn open_in_snapshot(transaction: &ReadTransaction, table: Table) -> Result<Box<dyn Open>> {
    fn open<V: Value, const N: usize>(transaction: &ReadTransaction, table: Table) -> Result<Box<dyn Open>> {
        let definition = TableDefinition::<&'static [u8; N], V>::new(table.name());
        Ok(Box::new(Reading::<_, V, N>(transaction.open_table(definition)?, PhantomData)))
    }
    match table {
        Table::Messages | Table::Meta => open::<&[u8], 8>(transaction, table),
        Table::Threads | Table::Tasks => open::<&[u8], 16>(transaction, table),
        Table::TasksByStatus => open::<(), 25>(transaction, table),
        Table::MessagesByStep | Table::TasksByThread => open::<(), 32>(transaction, table),
    }
}

fn open_in_batch<'t>(transaction: &'t WriteTransaction, table: Table) -> Result<Box<dyn Open + 't>> {
    fn open<V: Value, const N: usize>(transaction: &WriteTransaction, table: Table) -> Result<Box<dyn Open + '_>> {
        let definition = TableDefinition::<&'static [u8; N], V>::new(table.name());
        Ok(Box::new(Writing(transaction.open_table(definition)?)))
    }
    match table {
        Table::Messages | Table::Meta => open::<&[u8], 8>(transaction, table),
        Table::Threads | Table::Tasks => open::<&[u8], 16>(transaction, table),
        Table::TasksByStatus => open::<(), 25>(transaction, table),
        Table::MessagesByStep | Table::TasksByThread => open::<(), 32>(transaction, table),
    }
}
