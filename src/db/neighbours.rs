//! Rows that are asked for one after the other, and may lie one behind the other.
//!
//! A look-up goes down the whole tree; a step to the next row mostly stays on its page and takes a fifth of that. Ids that
//! were given out together differ by a few: what is said in a thread while others are silent, tasks that were created in
//! one step. For those, and for those alone, the next row is tried first.

use std::ops::Bound;

use super::key::key;
use super::raw::{Bytes, Pair};
use super::row::Row;
use super::table::{Tables, decode_row, decode_stored};
use crate::error::Result;

/// How far apart two ids may be to be worth so many steps.
const MOST_STEPS: u64 = 4;

pub(crate) struct Neighbours<'a, 't> {
    tables: &'a Tables<'t>,
    /// The key that was asked for last, and the rows from there on, once two near ones have been asked for.
    last: Vec<u8>,
    ahead: Option<Ahead<'a>>,
    is_backwards: bool,
}

type Ahead<'a> = Box<dyn DoubleEndedIterator<Item = Result<Pair<'a>>> + 'a>;

impl<'a, 't> Neighbours<'a, 't> {
    /// For rows with rising keys.
    pub(crate) fn forwards(tables: &'a Tables<'t>) -> Self {
        Self { tables, last: Vec::new(), ahead: None, is_backwards: false }
    }

    /// For rows with falling keys.
    pub(crate) fn backwards(tables: &'a Tables<'t>) -> Self {
        Self { is_backwards: true, ..Self::forwards(tables) }
    }

    /// The row with this id. One of another order is found as well, only more slowly.
    pub(crate) fn get<R: Row>(&mut self, id: &R::Id) -> Result<Option<R>> {
        let bytes = self.find::<R>(key(id))?;
        bytes.map(|bytes| decode_row(id, bytes.as_slice())).transpose()
    }

    /// What `f` makes of the stored row with this id, which it sees in place, nothing copied.
    pub(crate) fn get_with<R: Row, T>(&mut self, id: &R::Id, f: impl FnOnce(R::Stored<'_>) -> T) -> Result<Option<T>> {
        let bytes = self.find::<R>(key(id))?;
        bytes.map(|bytes| decode_stored::<R>(bytes.as_slice()).map(f)).transpose()
    }

    fn find<R: Row>(&mut self, key: Vec<u8>) -> Result<Option<Bytes<'a>>> {
        let last = std::mem::replace(&mut self.last, key);
        let steps = distance(&last, &self.last).filter(|steps| *steps <= MOST_STEPS);
        let ahead = self.ahead.take();
        if let Some(steps) = steps {
            let mut ahead = ahead.map_or_else(|| self.behind::<R>(last), Ok)?;
            for _ in 0..steps {
                let next = if self.is_backwards { ahead.next_back() } else { ahead.next() };
                let Some((found, bytes)) = next.transpose()? else { break };
                if found == self.last {
                    self.ahead = Some(ahead);
                    return Ok(Some(bytes));
                }
            }
        }
        self.tables.get_raw(&R::TABLE, &self.last)
    }

    /// The rows behind this key.
    fn behind<R: Row>(&self, key: Vec<u8>) -> Result<Ahead<'a>> {
        let key = Bound::Excluded(key);
        let range = if self.is_backwards { (Bound::Unbounded, key) } else { (key, Bound::Unbounded) };
        Ok(Box::new(self.tables.entries(&R::TABLE, &range)?))
    }
}

/// How far apart two keys are, if they differ in their last eight bytes at the most.
fn distance(one: &[u8], other: &[u8]) -> Option<u64> {
    let (prefix, one) = one.split_last_chunk()?;
    let (other_prefix, other) = other.split_last_chunk()?;
    (prefix == other_prefix).then(|| u64::from_be_bytes(*one).abs_diff(u64::from_be_bytes(*other)))
}

#[cfg(test)]
mod tests {
    use crate::db::Neighbours;
    use crate::{MessageId, NewMessage, Store};

    /// Whatever is asked for in whatever order, it is what a look-up finds.
    #[test]
    fn neighbours_are_what_a_look_up_finds() {
        let store = Store::in_memory().unwrap();
        let threads = [(); 2].map(|()| store.create_thread("review", "ada").unwrap().id);
        for n in 0..300 {
            // One thread alone, both in turn, and holes where the other was.
            let thread = if n < 100 { 0 } else { n % 2 };
            store.append_message(threads[thread], NewMessage::new("user", n.to_string())).unwrap();
        }
        store.delete_thread(threads[1]).unwrap();
        let rng = &mut fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let mut ids: Vec<u64> = (0..rng.usize(..60)).map(|_| rng.u64(..310)).collect();
            let order = rng.u8(..4);
            match order {
                0 => ids.sort_unstable(),
                1 => ids.sort_unstable_by(|a, b| b.cmp(a)),
                2 => ids = (rng.u64(..200)..200).collect(),
                _ => {}
            }
            store
                .read(|tx| {
                    for mut neighbours in [Neighbours::forwards(tx.tables()), Neighbours::backwards(tx.tables())] {
                        for id in ids.iter().map(|id| MessageId::from_u64(*id)) {
                            let plain = tx.tables().get::<crate::Message>(&id)?;
                            assert_eq!(neighbours.get::<crate::Message>(&id)?, plain);
                        }
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
}
