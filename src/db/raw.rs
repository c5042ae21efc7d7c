//! The engine's tables behind one face, whatever the width of their keys.

use std::ops::Bound;

use redb::{AccessGuard, ReadOnlyTable, ReadableTable, ReadableTableMetadata, StorageError, Table};

use super::key::KeyRange;

/// A key and its value.
pub(super) type Pair<'a> = (Vec<u8>, Bytes<'a>);

/// The entries of a range, in key order.
pub(super) type RawRange<'a> = Box<dyn DoubleEndedIterator<Item = Result<Pair<'a>, StorageError>> + 'a>;

/// A value where the engine keeps it.
pub(super) enum Bytes<'a> {
    Some(AccessGuard<'a, &'static [u8]>),
    Nothing,
}

impl Bytes<'_> {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Some(guard) => guard.value(),
            Self::Nothing => &[],
        }
    }
}

/// An open table of the engine, whatever the width of its keys, in a snapshot or a batch.
///
/// A key given for a table of wider keys stands for that key followed by zeros, which is what the start of a range
/// and the open end of one mean by it.
pub(super) trait RawTable {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes<'_>>, StorageError>;
    fn range(&self, range: &KeyRange) -> Result<RawRange<'_>, StorageError>;
    fn len(&self) -> Result<u64, StorageError>;
    fn bytes_in_use(&self) -> Result<u64, StorageError>;
    /// The value that was there before. A copy: the engine can put off the removal until its own is dropped, and that
    /// must not happen behind the back of whoever asked.
    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
    fn remove(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
}

impl<K: RawKey, V: RawValue> RawTable for ReadOnlyTable<K, V> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes<'_>>, StorageError> {
        get(self, key)
    }

    fn range(&self, bounds: &KeyRange) -> Result<RawRange<'_>, StorageError> {
        range(self, bounds)
    }

    fn len(&self) -> Result<u64, StorageError> {
        ReadableTableMetadata::len(self)
    }

    fn bytes_in_use(&self) -> Result<u64, StorageError> {
        bytes_in_use(self)
    }

    fn insert(&mut self, _: &[u8], _: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Err(StorageError::Unsupported)
    }

    fn remove(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Err(StorageError::Unsupported)
    }
}

impl<K: RawKey, V: RawValue> RawTable for Table<'_, K, V> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes<'_>>, StorageError> {
        get(self, key)
    }

    fn range(&self, bounds: &KeyRange) -> Result<RawRange<'_>, StorageError> {
        range(self, bounds)
    }

    fn len(&self) -> Result<u64, StorageError> {
        ReadableTableMetadata::len(self)
    }

    fn bytes_in_use(&self) -> Result<u64, StorageError> {
        bytes_in_use(self)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let key = K::pad(key)?;
        Ok(Table::insert(self, K::of(&key), V::of(value)?)?.map(|old| V::bytes(old).as_slice().to_vec()))
    }

    fn remove(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let key = K::pad(key)?;
        Ok(Table::remove(self, K::of(&key))?.map(|old| V::bytes(old).as_slice().to_vec()))
    }
}

fn get<'t, K: RawKey, V: RawValue>(
    table: &'t impl ReadableTable<K, V>,
    key: &[u8],
) -> Result<Option<Bytes<'t>>, StorageError> {
    let key = K::pad(key)?;
    Ok(table.get(K::of(&key))?.map(V::bytes))
}

fn bytes_in_use(table: &impl ReadableTableMetadata) -> Result<u64, StorageError> {
    let stats = table.stats()?;
    Ok(stats.stored_bytes() + stats.metadata_bytes())
}

fn range<'t, K: RawKey, V: RawValue>(
    table: &'t impl ReadableTable<K, V>,
    (from, to): &KeyRange,
) -> Result<RawRange<'t>, StorageError> {
    let (from, to) = (pad_bound::<K>(from)?, pad_bound::<K>(to)?);
    let entries = table.range::<K::SelfType<'_>>((from.as_ref().map(K::of), to.as_ref().map(K::of)))?;
    Ok(Box::new(
        entries.map(|entry| entry.map(|(key, value)| (K::as_bytes(&key.value()).as_ref().to_vec(), V::bytes(value)))),
    ))
}

fn pad_bound<K: RawKey>(bound: &Bound<Vec<u8>>) -> Result<Bound<K::Padded<'_>>, StorageError> {
    Ok(match bound {
        Bound::Included(key) => Bound::Included(K::pad(key)?),
        Bound::Excluded(key) => Bound::Excluded(K::pad(key)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

/// A key type of the engine that is our bytes.
pub(super) trait RawKey: redb::Key + 'static {
    type Padded<'a>;

    /// These bytes at the table's width.
    fn pad(key: &[u8]) -> Result<Self::Padded<'_>, StorageError>;

    fn of<'a>(padded: &'a Self::Padded<'_>) -> Self::SelfType<'a>;
}

impl RawKey for &'static [u8] {
    type Padded<'a> = &'a [u8];

    fn pad(key: &[u8]) -> Result<&[u8], StorageError> {
        Ok(key)
    }

    fn of<'a>(padded: &'a &[u8]) -> &'a [u8] {
        padded
    }
}

impl<const WIDTH: usize> RawKey for &'static [u8; WIDTH] {
    type Padded<'a> = [u8; WIDTH];

    fn pad(key: &[u8]) -> Result<[u8; WIDTH], StorageError> {
        let mut padded = [0; WIDTH];
        padded.get_mut(..key.len()).ok_or(StorageError::ValueTooLarge(key.len()))?.copy_from_slice(key);
        Ok(padded)
    }

    fn of(padded: &[u8; WIDTH]) -> &[u8; WIDTH] {
        padded
    }
}

/// A value type of the engine that is our bytes, or nothing.
pub(super) trait RawValue: redb::Value + Sized + 'static {
    fn of(value: &[u8]) -> Result<Self::SelfType<'_>, StorageError>;

    fn bytes(guard: AccessGuard<'_, Self>) -> Bytes<'_>;
}

impl RawValue for &'static [u8] {
    fn of(value: &[u8]) -> Result<&[u8], StorageError> {
        Ok(value)
    }

    fn bytes(guard: AccessGuard<'_, Self>) -> Bytes<'_> {
        // Where the value lies is read from the page: an engine that panics at that shall do so here, where it is expected.
        let _ = guard.value();
        Bytes::Some(guard)
    }
}

impl RawValue for () {
    fn of(value: &[u8]) -> Result<(), StorageError> {
        if value.is_empty() { Ok(()) } else { Err(StorageError::ValueTooLarge(value.len())) }
    }

    fn bytes(_: AccessGuard<'_, Self>) -> Bytes<'_> {
        Bytes::Nothing
    }
}
