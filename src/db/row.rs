//! What a noun declares of its row: its table, its key, and its indexes with their keys.
//!
//! An index key is a pure function of the row, so an index can be recomputed, compared, and never forgotten:
//! `table.rs` writes the difference between the old row's entries and the new one's, and nothing else can write.

use std::fmt;

use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::key::KeyPart;
use super::raw::{RawKey, RawTable, RawValue};
use crate::error::Result;

/// A row of one table.
pub(crate) trait Row: Sized + 'static {
    /// Where the rows are.
    const TABLE: TableDef;

    /// The indexes over them.
    const INDEXES: &'static [Index<Self>];

    /// The version byte of the stored form.
    const FORMAT_VERSION: u8 = 1;

    /// The key.
    type Id: KeyPart + Clone + fmt::Display;

    /// What is stored under it, borrowed: all of the row but the id.
    type Stored<'a>: Serialize + Deserialize<'a>;

    fn id(&self) -> Self::Id;

    fn to_stored(&self) -> Self::Stored<'_>;

    /// The row again; the error says what in it cannot be.
    fn from_stored(id: Self::Id, stored: Self::Stored<'_>) -> Result<Self, String>;

    /// The id that this key of [`TABLE`](Self::TABLE) stands for.
    fn id_of_key(key: &[u8]) -> Result<Self::Id>;
}

/// A secondary table, and what a row has in it, if anything.
pub(crate) struct Index<R> {
    pub(crate) table: TableDef,
    pub(crate) entry: fn(&R) -> Option<Entry>,
}

/// One entry of an index. Most have no value: all they say is in the key.
#[derive(PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Entry {
    pub(crate) fn key_only(key: Vec<u8>) -> Self {
        Self { key, value: Vec::new() }
    }
}

type OpenInSnapshot = fn(&ReadTransaction, &'static str) -> Result<Box<dyn RawTable>, TableError>;
type OpenInBatch = for<'t> fn(&'t WriteTransaction, &'static str) -> Result<Box<dyn RawTable + 't>, TableError>;

/// A table's name and the shape of its keys and values. Keys of one width say so: they take a quarter less room.
#[derive(Clone, Copy)]
pub(crate) struct TableDef {
    pub(crate) name: &'static str,
    /// The length of its keys, if they all have one.
    pub(crate) key_bytes: Option<usize>,
    pub(super) open_in_snapshot: OpenInSnapshot,
    pub(super) open_in_batch: OpenInBatch,
}

impl TableDef {
    /// Keys of `WIDTH` bytes with a value.
    pub(crate) const fn fixed<const WIDTH: usize>(name: &'static str) -> Self {
        Self::shaped::<&[u8; WIDTH], &[u8]>(name, Some(WIDTH))
    }

    /// Keys of any length with a value.
    pub(crate) const fn variable(name: &'static str) -> Self {
        Self::shaped::<&[u8], &[u8]>(name, None)
    }

    /// Keys of `WIDTH` bytes and nothing else.
    pub(crate) const fn fixed_keys<const WIDTH: usize>(name: &'static str) -> Self {
        Self::shaped::<&[u8; WIDTH], ()>(name, Some(WIDTH))
    }

    /// Keys of any length and nothing else.
    pub(crate) const fn variable_keys(name: &'static str) -> Self {
        Self::shaped::<&[u8], ()>(name, None)
    }

    /// The tables that a kind of row has: its own and its indexes'.
    pub(crate) fn all_of<R: Row>() -> impl Iterator<Item = Self> {
        std::iter::once(R::TABLE).chain(R::INDEXES.iter().map(|index| index.table))
    }

    const fn shaped<K: RawKey, V: RawValue>(name: &'static str, key_bytes: Option<usize>) -> Self {
        Self { name, key_bytes, open_in_snapshot: open_in_snapshot::<K, V>, open_in_batch: open_in_batch::<K, V> }
    }
}

fn open_in_snapshot<K: RawKey, V: RawValue>(
    transaction: &ReadTransaction,
    name: &'static str,
) -> Result<Box<dyn RawTable>, TableError> {
    Ok(Box::new(transaction.open_table(TableDefinition::<K, V>::new(name))?))
}

fn open_in_batch<'t, K: RawKey, V: RawValue>(
    transaction: &'t WriteTransaction,
    name: &'static str,
) -> Result<Box<dyn RawTable + 't>, TableError> {
    Ok(Box::new(transaction.open_table(TableDefinition::<K, V>::new(name))?))
}
