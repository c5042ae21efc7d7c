//! What can happen to a file behind its owner's back.

use std::fmt;

use fastrand::Rng;

use super::images::Image;

pub(super) const PAGE_BYTES: usize = 4096;

const SECTOR_BYTES: usize = 512;

/// The engine's header: its first 64 bytes and the two commit slots. Then, further back, the receipt.
pub(super) const HEADER_BITS: u64 = 320 * 8;
pub(super) const RECEIPT_BITS: u64 = 32 * 8;
const RECEIPT_AT: usize = 3584;

#[derive(Clone, Debug)]
pub(super) enum Harm {
    FlipBits(Vec<(usize, u8)>),
    /// What is put over the bytes from here on.
    Overwrite(usize, Vec<u8>),
    SwapPages(usize, usize),
    /// A page is also where another one was.
    CopyPage {
        from: usize,
        to: usize,
    },
    Truncate(usize),
    /// So many bytes more, zeros or not.
    Extend(usize, bool),
    /// From an earlier version of the file: a write that was lost. A whole page, or a sector of it.
    PutBack {
        version: usize,
        at: usize,
        len: usize,
    },
    /// A page of another store.
    PutForeign {
        from: usize,
        to: usize,
    },
}

impl Harm {
    /// The n-th bit of the header, or behind those of the receipt.
    pub(super) fn header_bit(number: u64) -> Self {
        let bit = |base: usize, number: u64| (base + number as usize / 8, (number % 8) as u8);
        Self::FlipBits(vec![match number.checked_sub(HEADER_BITS) {
            None => bit(0, number),
            Some(number) => bit(RECEIPT_AT, number),
        }])
    }

    /// Some harm to this image.
    pub(super) fn random(rng: &mut Rng, image: &Image) -> Self {
        let places = Places::of(image);
        match rng.u8(..20) {
            0..4 => Self::FlipBits(vec![places.bit(rng)]),
            4..6 => Self::FlipBits((0..rng.usize(2..9)).map(|_| places.bit(rng)).collect()),
            6 => Self::Overwrite(places.page(rng) * PAGE_BYTES, vec![0; PAGE_BYTES]),
            7 => Self::Overwrite(places.sector(rng), vec![0; SECTOR_BYTES]),
            8 => Self::Overwrite(places.byte(rng), (0..rng.usize(1..64)).map(|_| rng.u8(..)).collect()),
            9 => Self::Overwrite(places.page(rng) * PAGE_BYTES, (0..PAGE_BYTES).map(|_| rng.u8(..)).collect()),
            10..12 => Self::SwapPages(places.page(rng), places.page(rng)),
            12 => Self::CopyPage { from: places.page(rng), to: places.page(rng) },
            13 => Self::Truncate(match rng.u8(..4) {
                0 => rng.usize(..image.now.bytes.len()),
                1 => places.sector(rng),
                _ => rng.usize(..places.pages) * PAGE_BYTES,
            }),
            14 => {
                let unit = [1, SECTOR_BYTES, PAGE_BYTES, PAGE_BYTES][rng.usize(..4)];
                Self::Extend(unit * rng.usize(1..300), rng.bool())
            }
            15 => Self::PutForeign { from: rng.usize(..image.foreign.len() / PAGE_BYTES), to: places.page(rng) },
            _ if image.earlier.is_empty() => Self::FlipBits(vec![places.bit(rng)]),
            kind => {
                let version = rng.usize(..image.earlier.len());
                let page = places.page(rng) * PAGE_BYTES;
                match kind {
                    16 => Self::PutBack { version, at: places.sector(rng), len: SECTOR_BYTES },
                    17 => Self::PutBack { version, at: 0, len: SECTOR_BYTES * rng.usize(1..9) },
                    _ => Self::PutBack { version, at: page, len: PAGE_BYTES },
                }
            }
        }
    }

    /// The image after that.
    pub(super) fn done_to(&self, image: &Image) -> Vec<u8> {
        let mut bytes = image.now.bytes.clone();
        match self {
            Self::FlipBits(bits) => bits.iter().for_each(|(at, bit)| bytes[*at] ^= 1 << bit),
            Self::Overwrite(at, with) => overwrite(&mut bytes, *at, with),
            Self::SwapPages(one, other) => {
                let (first, second) = (page(&bytes, *one).to_vec(), page(&bytes, *other).to_vec());
                overwrite(&mut bytes, one * PAGE_BYTES, &second);
                overwrite(&mut bytes, other * PAGE_BYTES, &first);
            }
            Self::CopyPage { from, to } => {
                let copy = page(&bytes, *from).to_vec();
                overwrite(&mut bytes, to * PAGE_BYTES, &copy);
            }
            Self::Truncate(len) => bytes.truncate(*len),
            Self::Extend(by, zeros) => {
                let len = bytes.len();
                bytes.resize(len + by, 0);
                if !zeros {
                    bytes[len..].fill(0xA5);
                }
            }
            Self::PutBack { version, at, len } => {
                let old = &image.earlier[*version].bytes;
                let end = (at + len).min(old.len());
                overwrite(&mut bytes, *at, old.get(*at..end).unwrap_or_default());
            }
            Self::PutForeign { from, to } => overwrite(&mut bytes, to * PAGE_BYTES, page(&image.foreign, *from)),
        }
        bytes
    }

    /// Whether this is a right answer of the image that was so harmed. Who puts the whole first page back, with which
    /// everything begins, has a file that is whole and was so once, and nothing in it says otherwise.
    pub(super) fn allows(&self, image: &Image, answer: &str) -> bool {
        let once = match self {
            Self::PutBack { version, at: 0, len: PAGE_BYTES } => image.earlier[*version].answers.as_slice(),
            _ => &[],
        };
        image.now.answers.iter().chain(once).any(|right| right == answer)
    }
}

fn page(bytes: &[u8], number: usize) -> &[u8] {
    &bytes[number * PAGE_BYTES..][..PAGE_BYTES]
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let room = bytes.get_mut(at..).unwrap_or_default();
    let len = with.len().min(room.len());
    room[..len].copy_from_slice(&with[..len]);
}

/// Where harm can be done. Most of a small file is unused; so most of the harm is done to the rest.
struct Places {
    pages: usize,
    used: Vec<usize>,
}

impl Places {
    fn of(image: &Image) -> Self {
        let pages = image.now.bytes.len() / PAGE_BYTES;
        let used = (1..pages).filter(|number| page(&image.now.bytes, *number).iter().any(|byte| *byte != 0)).collect();
        Self { pages, used }
    }

    fn page(&self, rng: &mut Rng) -> usize {
        match rng.u8(..10) {
            0 => 0,
            1 => rng.usize(..self.pages),
            _ => self.used[rng.usize(..self.used.len())],
        }
    }

    fn sector(&self, rng: &mut Rng) -> usize {
        self.page(rng) * PAGE_BYTES + rng.usize(..PAGE_BYTES / SECTOR_BYTES) * SECTOR_BYTES
    }

    fn byte(&self, rng: &mut Rng) -> usize {
        let page = self.page(rng);
        // The beginning of a page says what the rest means.
        let within = if page == 0 || rng.bool() { rng.usize(..SECTOR_BYTES) } else { rng.usize(..PAGE_BYTES) };
        page * PAGE_BYTES + within
    }

    fn bit(&self, rng: &mut Rng) -> (usize, u8) {
        (self.byte(rng), rng.u8(..8))
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlipBits(bits) => write!(f, "bits flipped, as (byte, bit): {bits:?}"),
            Self::Overwrite(at, with) => write!(f, "{} bytes from {at} on overwritten", with.len()),
            other => write!(f, "{other:?}"),
        }
    }
}
