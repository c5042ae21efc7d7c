//! What is left on a disk when the power goes.
//!
//! | what was asked of the disk | what it holds afterwards |
//! |---|---|
//! | before the last sync | all of it |
//! | a write since then | all, nothing, or some of it: sectors of 512 bytes, blocks of 4096, whole writes |
//! | several | any of them, in any order |
//! | a length since then | that one, one set before it, or the durable one, whatever became of the writes |
//! | before a failed sync | each part: written, still to be written by the next sync, or never written by any |
//!
//! A sector is written whole or not at all, and nothing changes that was not written: the two things that are taken for
//! granted of a disk.

use std::fmt;

use crate::db::Event;

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// What is durable, and what is on its way there.
#[derive(Clone)]
pub(super) struct Platter<'e> {
    durable: Vec<u8>,
    pending: Vec<Change<'e>>,
}

#[derive(Clone, Copy)]
enum Change<'e> {
    Write { offset: u64, bytes: &'e [u8] },
    Len(u64),
}

/// What a cut left, and what it was that survived.
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    pub(super) survived: Survived,
}

/// What became of the changes since the last sync.
#[derive(Clone, Copy)]
pub(super) enum Survived {
    Nothing,
    /// The first so many of so many changes in their order, and the beginning of the next.
    Prefix(usize, usize),
    Pieces {
        kept: usize,
        of: usize,
        bytes_each: usize,
        in_order: bool,
        len: usize,
    },
}

/// How pieces are chosen.
#[derive(Clone, Copy)]
enum Choice {
    /// Each with this chance in a hundred.
    Each(u8),
    AllBut(usize),
    Only(usize),
}

impl<'e> Platter<'e> {
    /// One that holds this.
    pub(super) fn of(durable: Vec<u8>) -> Self {
        Self { durable, pending: Vec::new() }
    }

    /// Lets the disk do what it was asked.
    pub(super) fn take(&mut self, event: &'e Event, rng: &mut fastrand::Rng) {
        match event {
            Event::Write { offset, bytes } => self.pending.push(Change::Write { offset: *offset, bytes }),
            Event::SetLen(len) => self.pending.push(Change::Len(*len)),
            Event::Sync => self.pending.drain(..).for_each(|change| change.make(&mut self.durable)),
            Event::FailedSync => self.half_sync(rng),
        }
    }

    /// A failed sync: of each piece it is open whether it was written, stays to be written, or never is.
    fn half_sync(&mut self, rng: &mut fastrand::Rng) {
        let bytes_each = *rng.choice([SECTOR, BLOCK, usize::MAX].iter()).unwrap();
        // Most of the time they share their fate.
        let shared = rng.u8(..6);
        for change in std::mem::take(&mut self.pending).into_iter().flat_map(|change| change.pieces(bytes_each)) {
            match if shared < 3 { shared } else { rng.u8(..3) } {
                0 => {}
                1 => change.make(&mut self.durable),
                _ => self.pending.push(change),
            }
        }
    }

    /// Cuts the power.
    pub(super) fn cut(&self, rng: &mut fastrand::Rng) -> Image {
        match rng.u8(..10) {
            _ if self.pending.is_empty() => self.keep_nothing(),
            0 => self.keep_nothing(),
            1 => self.keep_prefix(rng),
            _ => self.keep_pieces(rng),
        }
    }

    fn keep_nothing(&self) -> Image {
        Image { bytes: self.durable.clone(), survived: Survived::Nothing }
    }

    fn keep_prefix(&self, rng: &mut fastrand::Rng) -> Image {
        let kept = rng.usize(..=self.pending.len());
        let mut bytes = self.durable.clone();
        self.pending[..kept].iter().for_each(|change| change.make(&mut bytes));
        if let Some(Change::Write { offset, bytes: torn }) = self.pending.get(kept) {
            let sectors = rng.usize(..=torn.len() / SECTOR);
            Change::Write { offset: *offset, bytes: &torn[..sectors * SECTOR] }.make(&mut bytes);
        }
        Image { bytes, survived: Survived::Prefix(kept, self.pending.len()) }
    }

    fn keep_pieces(&self, rng: &mut fastrand::Rng) -> Image {
        let bytes_each = *rng.choice([SECTOR, BLOCK, usize::MAX].iter()).unwrap();
        let mut pieces: Vec<_> = self.pending.iter().flat_map(|change| change.pieces(bytes_each)).collect();
        let choice = match rng.u8(..6) {
            0 => Choice::AllBut(rng.usize(..pieces.len())),
            1 => Choice::Only(rng.usize(..pieces.len())),
            2 => Choice::Each(100),
            _ => Choice::Each(*rng.choice([10, 50, 90].iter()).unwrap()),
        };
        // The engine's header names all the rest: an image that has the old one is the old state, whatever else it has.
        let with_header = rng.bool();
        let mut number = 0;
        pieces.retain(|piece| {
            let here = number;
            number += 1;
            let is_header = matches!(piece, Change::Write { offset: 0, .. });
            (with_header && is_header)
                || match choice {
                    Choice::Each(chance) => rng.u8(..100) < chance,
                    Choice::AllBut(lost) => here != lost,
                    Choice::Only(kept) => here == kept,
                }
        });
        let in_order = rng.bool();
        if !in_order {
            rng.shuffle(&mut pieces);
        }
        let mut bytes = self.durable.clone();
        for piece in &pieces {
            match piece {
                Change::Write { .. } => piece.make(&mut bytes),
                // What a shorter length cuts off reads as zeroes when the file grows again.
                Change::Len(len) => bytes.iter_mut().skip(*len as usize).for_each(|byte| *byte = 0),
            }
        }
        let lens = self.pending.iter().filter_map(|change| match change {
            Change::Len(len) => Some(*len as usize),
            Change::Write { .. } => None,
        });
        let lens: Vec<_> = std::iter::once(self.durable.len()).chain(lens).collect();
        let len = *rng.choice(lens.iter()).unwrap();
        bytes.resize(len, 0);
        Image { bytes, survived: Survived::Pieces { kept: pieces.len(), of: number, bytes_each, in_order, len } }
    }
}

impl<'e> Change<'e> {
    /// The change in pieces that end where a unit of so many bytes ends on the disk.
    fn pieces(self, bytes_each: usize) -> impl Iterator<Item = Self> + use<'e> {
        let mut rest = Some(self);
        std::iter::from_fn(move || match rest.take()? {
            Change::Write { offset, bytes } if !bytes.is_empty() => {
                let unit = bytes_each - offset as usize % bytes_each;
                let (piece, behind) = bytes.split_at(unit.min(bytes.len()));
                let behind_offset = offset + piece.len() as u64;
                rest = (!behind.is_empty()).then_some(Change::Write { offset: behind_offset, bytes: behind });
                Some(Change::Write { offset, bytes: piece })
            }
            change => Some(change),
        })
    }

    fn make(self, content: &mut Vec<u8>) {
        match self {
            Change::Len(len) => content.resize(len as usize, 0),
            Change::Write { offset, bytes } => {
                let from = offset as usize;
                let end = from + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[from..end].copy_from_slice(bytes);
            }
        }
    }
}

impl fmt::Display for Survived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing unsynced survived"),
            Self::Prefix(kept, of) => write!(f, "the first {kept} of {of} unsynced changes survived, the next in part"),
            Self::Pieces { kept, of, bytes_each, in_order, len } => {
                let order = if *in_order { "in order" } else { "in any order" };
                write!(f, "{kept} of {of} unsynced pieces of at most {bytes_each} bytes survived {order}, length {len}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write of three sectors over the edge of a block.
    const OFFSET: usize = BLOCK - SECTOR;

    fn written() -> Vec<Event> {
        let write = Event::Write { offset: OFFSET as u64, bytes: vec![1; 3 * SECTOR] };
        vec![Event::SetLen(3 * BLOCK as u64), Event::Sync, write, Event::SetLen(2 * BLOCK as u64)]
    }

    /// Which images many cuts behind these events leave: the length in blocks, and which of the three sectors.
    fn images(events: &[Event]) -> std::collections::BTreeSet<(usize, [bool; 3])> {
        let mut rng = fastrand::Rng::with_seed(1);
        let image = |_| {
            let mut platter = Platter::of(Vec::new());
            for event in events {
                platter.take(event, &mut rng);
            }
            let bytes = platter.cut(&mut rng).bytes;
            let sector = |n: usize| &bytes[OFFSET + n * SECTOR..][..SECTOR];
            assert!((0..3).all(|n| sector(n).iter().all(|byte| *byte == sector(n)[0])), "a sector is never torn");
            (bytes.len() / BLOCK, [0, 1, 2].map(|n| sector(n)[0] == 1))
        };
        (0..3_000).map(image).collect()
    }

    #[test]
    fn unsynced_changes_survive_in_every_combination() {
        assert_eq!(images(&written()).len(), 2 * 8, "two lengths, three sectors");
    }

    #[test]
    fn synced_changes_survive() {
        let synced = [written(), vec![Event::Sync]].concat();
        assert_eq!(images(&synced).into_iter().collect::<Vec<_>>(), [(2, [true; 3])]);
    }

    #[test]
    fn what_a_failed_sync_left_out_is_not_made_up_for_by_a_later_one() {
        let synced = [written(), vec![Event::FailedSync, Event::Sync]].concat();
        assert_eq!(images(&synced).len(), 2 * 8, "each part written or not");
    }
}
