//! Rows in tables: get, put, scan. The only code that writes a table or an index.

use std::cell::OnceCell;
use std::ops::Bound;

use redb::{ReadTransaction, StorageError, TableHandle, WriteTransaction};

use super::codec;
use super::fault::{FILE, Failure};
use super::key::{KeyRange, key};
use super::raw::{Bytes, Pair, RawRange, RawTable};
use super::row::{Entry, Index, Row, TableDef};
use crate::error::{Error, Result};
use crate::planted::{Bug, planted};

/// How many tables a store has at the most: a bound on the slots below, checked when one too many is opened.
const MOST_TABLES: usize = 16;

/// The tables of one transaction, each opened when it is first needed: the engine opens a table once per transaction.
pub(crate) struct Tables<'t> {
    source: Source<'t>,
    open: [OnceCell<Open<'t>>; MOST_TABLES],
    written_bytes: usize,
    writes: u64,
    failed: Option<&'static str>,
    failure: &'t Failure,
}

#[derive(Clone, Copy)]
enum Source<'t> {
    Snapshot(&'t ReadTransaction),
    Batch(&'t WriteTransaction),
}

struct Open<'t> {
    name: &'static str,
    raw: Box<dyn RawTable + 't>,
}

impl<'t> Tables<'t> {
    pub(super) fn of_snapshot(transaction: &'t ReadTransaction, failure: &'t Failure) -> Self {
        Self::new(Source::Snapshot(transaction), failure)
    }

    pub(super) fn of_batch(transaction: &'t WriteTransaction, failure: &'t Failure) -> Self {
        Self::new(Source::Batch(transaction), failure)
    }

    fn new(source: Source<'t>, failure: &'t Failure) -> Self {
        Self {
            source,
            open: [const { OnceCell::new() }; MOST_TABLES],
            written_bytes: 0,
            writes: 0,
            failed: None,
            failure,
        }
    }

    /// The row with this id.
    pub(crate) fn get<R: Row>(&self, id: &R::Id) -> Result<Option<R>> {
        let bytes = self.get_raw(&R::TABLE, &key(id))?;
        bytes.map(|bytes| decode_row(id, bytes.as_slice())).transpose()
    }

    /// What `f` makes of the stored row with this id, which it sees in place, nothing copied.
    pub(crate) fn get_with<R: Row, T>(&self, id: &R::Id, f: impl FnOnce(R::Stored<'_>) -> T) -> Result<Option<T>> {
        let bytes = self.get_raw(&R::TABLE, &key(id))?;
        bytes.map(|bytes| decode_stored::<R>(bytes.as_slice()).map(f)).transpose()
    }

    /// Whether there is a row with this id.
    pub(crate) fn contains<R: Row>(&self, id: &R::Id) -> Result<bool> {
        Ok(self.get_raw(&R::TABLE, &key(id))?.is_some())
    }

    /// The rows with keys in this range, in key order.
    pub(crate) fn rows<'a, R: Row>(
        &'a self,
        range: &KeyRange,
    ) -> Result<impl DoubleEndedIterator<Item = Result<R>> + use<'a, 't, R>> {
        Ok(self.entries(&R::TABLE, range)?.map(|entry| {
            let (key, bytes) = entry?;
            decode_row(&R::id_of_key(&key)?, bytes.as_slice())
        }))
    }

    /// The keys of this table or index in this range, in order.
    pub(crate) fn keys<'a>(
        &'a self,
        def: &TableDef,
        range: &KeyRange,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Vec<u8>>> + use<'a, 't>> {
        Ok(self.entries(def, range)?.map(|entry| entry.map(|(key, _)| key)))
    }

    /// How many keys this table or index has in this range. It looks at each.
    pub(crate) fn count(&self, def: &TableDef, range: &KeyRange) -> Result<u64> {
        self.keys(def, range)?.try_fold(0, |count, key| key.map(|_| count + 1))
    }

    /// The value of this table or index under exactly this key.
    pub(crate) fn value(&self, def: &TableDef, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get_raw(def, key)?.map(|bytes| bytes.as_slice().to_vec()))
    }

    /// How many entries this table or index has.
    pub(crate) fn len(&self, def: &TableDef) -> Result<u64> {
        self.ask(def, RawTable::len)
    }

    /// How many bytes the keys and values of a kind of row and its indexes take, and what it takes to find them.
    pub(crate) fn bytes_in_use<R: Row>(&self) -> Result<u64> {
        let mut bytes = 0;
        for def in TableDef::all_of::<R>() {
            bytes += self.ask(&def, RawTable::bytes_in_use)?;
        }
        Ok(bytes)
    }

    /// Stores the row, in the place of the one with its id if there is one, and brings every index of it up to date.
    pub(crate) fn put<R: Row>(&mut self, row: &R) -> Result<()> {
        self.put_everywhere(row).inspect_err(|_| self.failed = Some(R::TABLE.name))
    }

    /// What a write that failed half-way left behind: an error, whoever looked away when it happened.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.map(|table| Error::corrupt(table, "a write failed, and what began with it cannot be kept"))
    }

    fn put_everywhere<R: Row>(&mut self, row: &R) -> Result<()> {
        let id = row.id();
        let old = self.insert_raw(&R::TABLE, &key(&id), &encode_row(row)?)?;
        let old: Option<R> = old.map(|bytes| decode_row(&id, bytes.as_slice())).transpose()?;
        for index in R::INDEXES {
            self.update_index(index, &id, old.as_ref().and_then(index.entry), (index.entry)(row))?;
        }
        Ok(())
    }

    /// Removes the row with this id and everything the indexes say of it. Whether there was one.
    pub(crate) fn remove<R: Row>(&mut self, id: &R::Id) -> Result<bool> {
        self.remove_everywhere::<R>(id).inspect_err(|_| self.failed = Some(R::TABLE.name))
    }

    fn remove_everywhere<R: Row>(&mut self, id: &R::Id) -> Result<bool> {
        let old = self.remove_raw(&R::TABLE, &key(id))?;
        let old: Option<R> = old.map(|bytes| decode_row(id, bytes.as_slice())).transpose()?;
        let Some(old) = old else { return Ok(false) };
        for index in R::INDEXES {
            self.update_index(index, id, (index.entry)(&old), None)?;
        }
        Ok(true)
    }

    /// Puts a row's new entry in the place of its old one. One that is missing, or stands there already, is damage.
    fn update_index<R: Row>(
        &mut self,
        index: &Index<R>,
        id: &R::Id,
        old: Option<Entry>,
        new: Option<Entry>,
    ) -> Result<()> {
        let name = index.table.name;
        if old == new {
            return Ok(());
        }
        if let Some(old) = old
            && !planted(Bug::StaleIndexEntryKept)
            && self.remove_raw(&index.table, &old.key)?.is_none()
        {
            return Err(Error::corrupt(name, format!("row {id} of {} was missing", R::TABLE.name)));
        }
        if let Some(new) = new
            && self.insert_raw(&index.table, &new.key, &new.value)?.is_some()
        {
            return Err(Error::corrupt(name, format!("row {id} of {} stood there before", R::TABLE.name)));
        }
        Ok(())
    }

    /// How many writes there were since the transaction began, tried ones included.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// How many bytes of keys and values were written since the transaction began.
    pub(super) fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    /// Opens a table, which creates it in a write transaction.
    pub(super) fn create(&mut self, def: &TableDef) -> Result<()> {
        self.writes += 1;
        self.table(def).map(|_| ())
    }

    /// Takes over every entry that this table has there, and says so after each.
    pub(super) fn copy_table(&mut self, from: &Tables<'_>, def: &TableDef, mut each: impl FnMut()) -> Result<()> {
        self.create(def)?;
        for entry in from.entries(def, &(Bound::Unbounded, Bound::Unbounded))? {
            let (key, value) = entry?;
            self.insert_raw(def, &key, value.as_slice())?;
            each();
        }
        Ok(())
    }

    /// The names of all tables there are.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        self.failure.ask(FILE, || {
            let names: Vec<String> = match self.source {
                Source::Snapshot(transaction) => transaction.list_tables()?.map(|table| table.name().into()).collect(),
                Source::Batch(transaction) => transaction.list_tables()?.map(|table| table.name().into()).collect(),
            };
            Ok::<_, StorageError>(names)
        })
    }

    pub(super) fn get_raw(&self, def: &TableDef, key: &[u8]) -> Result<Option<Bytes<'_>>> {
        self.ask(def, |table| table.get(key))
    }

    pub(super) fn insert_raw(&mut self, def: &TableDef, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        // Counted before it is tried: after a failure nobody knows how far it came.
        self.writes += 1;
        self.written_bytes += key.len() + value.len();
        let failure = self.failure;
        let table = self.table_mut(def)?;
        failure.ask(def.name, || table.insert(key, value))
    }

    pub(super) fn remove_raw(&mut self, def: &TableDef, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.writes += 1;
        let failure = self.failure;
        let table = self.table_mut(def)?;
        failure.ask(def.name, || table.remove(key))
    }

    pub(super) fn entries<'a>(
        &'a self,
        def: &TableDef,
        range: &KeyRange,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Pair<'a>>> + use<'a, 't>> {
        let raw = self.ask(def, |table| table.range(range))?;
        Ok(Entries { table: def.name, raw: Some(raw), failure: self.failure })
    }

    fn ask<'a, T>(
        &'a self,
        def: &TableDef,
        question: impl FnOnce(&'a (dyn RawTable + 't)) -> Result<T, StorageError>,
    ) -> Result<T> {
        let table = self.table(def)?;
        self.failure.ask(def.name, || question(table))
    }

    fn table(&self, def: &TableDef) -> Result<&(dyn RawTable + 't)> {
        let slot = self.slot(def)?;
        self.open.get(slot).and_then(OnceCell::get).map(|open| open.raw.as_ref()).ok_or_else(|| not_open(def))
    }

    fn table_mut(&mut self, def: &TableDef) -> Result<&mut (dyn RawTable + 't)> {
        let slot = self.slot(def)?;
        match self.open.get_mut(slot).and_then(OnceCell::get_mut) {
            Some(open) => Ok(open.raw.as_mut()),
            None => Err(not_open(def)),
        }
    }

    /// Where this table stands, opened first if it is not open yet.
    fn slot(&self, def: &TableDef) -> Result<usize> {
        for (slot, cell) in self.open.iter().enumerate() {
            match cell.get() {
                Some(open) if open.name == def.name => return Ok(slot),
                Some(_) => {}
                None => {
                    let raw = self.failure.ask(def.name, || match self.source {
                        Source::Snapshot(transaction) => (def.open_in_snapshot)(transaction, def.name),
                        Source::Batch(transaction) => (def.open_in_batch)(transaction, def.name),
                    })?;
                    cell.get_or_init(|| Open { name: def.name, raw });
                    return Ok(slot);
                }
            }
        }
        Err(not_open(def))
    }
}

/// The entries of a range, until the engine gives up.
struct Entries<'a> {
    table: &'static str,
    /// `None` behind an error: nobody knows what an engine that met one would go on with.
    raw: Option<RawRange<'a>>,
    failure: &'a Failure,
}

impl<'a> Entries<'a> {
    fn step(
        &mut self,
        step: impl FnOnce(&mut RawRange<'a>) -> Option<Result<Pair<'a>, StorageError>>,
    ) -> Option<Result<Pair<'a>>> {
        let raw = self.raw.as_mut()?;
        let entry = self.failure.ask(self.table, || step(raw).transpose()).transpose();
        if matches!(entry, Some(Err(_))) {
            self.raw = None;
        }
        entry
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Pair<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(Iterator::next)
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(DoubleEndedIterator::next_back)
    }
}

/// A row as it is stored.
pub(crate) fn encode_row<R: Row>(row: &R) -> Result<Vec<u8>> {
    codec::encode(R::TABLE.name, R::FORMAT_VERSION, &row.to_stored())
}

/// What these bytes are of a row, borrowed from them.
pub(super) fn decode_stored<R: Row>(bytes: &[u8]) -> Result<R::Stored<'_>> {
    codec::decode(R::TABLE.name, R::FORMAT_VERSION, bytes)
}

/// The row that is stored as these bytes under this id.
pub(crate) fn decode_row<R: Row>(id: &R::Id, bytes: &[u8]) -> Result<R> {
    R::from_stored(id.clone(), decode_stored::<R>(bytes)?)
        .map_err(|reason| Error::corrupt(R::TABLE.name, format!("row {id}: {reason}")))
}

/// Said of a table beyond `MOST_TABLES`: a mistake in this crate, which a test of all tables would meet at once.
fn not_open(def: &TableDef) -> Error {
    Error::corrupt(def.name, format!("there is no room for more than {MOST_TABLES} tables"))
}

#[cfg(test)]
mod tests {
    use super::super::engine::{Engine, Options};
    use super::super::key::last_part;
    use super::super::verify::verify_rows;
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    /// A row that moves from one place of its index to another.
    struct Moving {
        id: u32,
        place: u32,
    }

    const PLACES: TableDef = TableDef::fixed_keys::<8>("places");

    impl Row for Moving {
        const TABLE: TableDef = TableDef::fixed::<4>("moving");
        const INDEXES: &'static [Index<Self>] =
            &[Index { table: PLACES, entry: |row| Some(Entry::key_only(key((row.place, row.id)))) }];

        type Id = u32;
        type Stored<'a> = u32;

        fn id(&self) -> u32 {
            self.id
        }

        fn to_stored(&self) -> u32 {
            self.place
        }

        fn from_stored(id: u32, place: u32) -> Result<Self, String> {
            Ok(Self { id, place })
        }

        fn id_of_key(key: &[u8]) -> Result<u32> {
            last_part(Self::TABLE.name, key).map(u32::from_be_bytes)
        }
    }

    fn in_a_batch(f: impl FnOnce(&mut Tables<'_>)) {
        let options = Options { cache_bytes: 1 << 20, check_on_open: true };
        let engine = Engine::in_memory(&options, &ManualClock::new(Timestamp::from_micros(0))).unwrap();
        let transaction = engine.begin_write().unwrap();
        f(&mut engine.tables_of(&transaction));
    }

    #[test]
    fn an_index_entry_that_is_gone_is_damage_to_whoever_moves_or_removes_its_row() {
        let damage: [fn(&mut Tables<'_>) -> Result<()>; 2] =
            [|tables| tables.put(&Moving { id: 7, place: 2 }), |tables| tables.remove::<Moving>(&7).map(drop)];
        for change in damage {
            in_a_batch(|tables| {
                tables.put(&Moving { id: 7, place: 1 }).unwrap();
                assert!(tables.remove_raw(&PLACES, &key((1_u32, 7_u32))).unwrap().is_some());
                assert!(verify_rows::<Moving>(tables).is_err() && tables.failure().is_none());
                let error = change(tables).unwrap_err().to_string();
                assert_eq!(error, "places is damaged: row 7 of moving was missing");
                assert!(tables.failure().is_some(), "and the batch cannot be kept");
            });
        }
    }

    #[test]
    fn a_table_too_many_is_an_error_that_says_so() {
        const NAMES: [&str; MOST_TABLES + 1] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        in_a_batch(|tables| {
            let (last, others) = NAMES.split_last().unwrap();
            for name in others {
                tables.create(&TableDef::variable(name)).unwrap();
            }
            let one_more = TableDef::variable(last);
            let error = tables.create(&one_more).unwrap_err().to_string();
            assert_eq!(error, "16 is damaged: there is no room for more than 16 tables");
            assert!(tables.insert_raw(&one_more, b"key", b"value").is_err());
        });
    }
}
