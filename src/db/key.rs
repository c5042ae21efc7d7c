//! Keys: bytes that sort as their values do.
//!
//! | part | bytes |
//! |---|---|
//! | `u8`, `u16`, `u32`, `u64`, an id | big-endian, fixed width |
//! | `Timestamp` | big-endian with the sign bit flipped, so that times before 1970 come first |
//! | text | UTF-8 in which 00 becomes 00 FF, ended by 00 00 |
//!
//! A key is its parts one after the other. No part is a prefix of another of its kind, so a key compares part by part.
//! The escape is the one of FoundationDB's tuple layer.

use std::ops::Bound;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{AgentId, MessageId, TaskId, ThreadId};
use crate::planted::{Bug, planted};

/// A range of keys, as the engine takes it.
pub(crate) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// What a key is made of. A tuple of parts is a part.
pub(crate) trait KeyPart {
    fn append_to(&self, key: &mut Vec<u8>);
}

/// The key made of these parts.
pub(crate) fn key(parts: impl KeyPart) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    parts.append_to(&mut key);
    key
}

/// All keys that begin with these parts.
pub(crate) fn prefix(parts: impl KeyPart) -> KeyRange {
    let first = key(parts);
    let end = after_prefix(&first);
    (Bound::Included(first), end)
}

/// The keys that begin with `parts` and go on with something from `first` to `last`, both included.
pub(crate) fn between<A: KeyPart, B: KeyPart>(parts: &A, first: B, last: B) -> KeyRange {
    let end = after_prefix(&key((parts, last)));
    (Bound::Included(key((parts, first))), end)
}

/// The bound behind every key that begins with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// The fixed-width part a key ends with, such as the id that every index key carries last.
pub(crate) fn last_part<const N: usize>(table: &'static str, key: &[u8]) -> Result<[u8; N]> {
    key.last_chunk().copied().ok_or_else(|| Error::corrupt(table, format!("a key of {} bytes is too short", key.len())))
}

/// Where the text at the start of these bytes ends, its terminator included.
pub(crate) fn text_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0)?;
        match bytes.get(at + 1)? {
            0 => return Some(at + 2),
            _ => at += 2,
        }
    }
}

/// The text these bytes are the key part of, if they are exactly one.
pub(crate) fn text_of(part: &[u8]) -> Option<String> {
    let (text, [0, 0]) = part.split_last_chunk()? else { return None };
    if text_end(part)? != part.len() {
        return None;
    }
    let mut unescaped = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        unescaped.push(byte);
        if byte == 0 && *bytes.next()? != 0xFF {
            return None;
        }
    }
    String::from_utf8(unescaped).ok()
}

impl<P: KeyPart + ?Sized> KeyPart for &P {
    fn append_to(&self, key: &mut Vec<u8>) {
        (**self).append_to(key);
    }
}

impl KeyPart for u8 {
    fn append_to(&self, key: &mut Vec<u8>) {
        key.push(*self);
    }
}

impl KeyPart for u16 {
    fn append_to(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(&self.to_be_bytes());
    }
}

impl KeyPart for u32 {
    fn append_to(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(&self.to_be_bytes());
    }
}

impl KeyPart for u64 {
    fn append_to(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(&self.to_be_bytes());
    }
}

impl<const N: usize> KeyPart for [u8; N] {
    fn append_to(&self, key: &mut Vec<u8>) {
        key.extend_from_slice(self);
    }
}

impl KeyPart for Timestamp {
    fn append_to(&self, key: &mut Vec<u8>) {
        let sign = if planted(Bug::SignBitKept) { 0 } else { i64::MIN };
        key.extend_from_slice(&(self.as_micros() ^ sign).to_be_bytes());
    }
}

impl KeyPart for str {
    fn append_to(&self, key: &mut Vec<u8>) {
        for byte in self.bytes() {
            key.push(byte);
            if byte == 0 && !planted(Bug::NulNotEscaped) {
                key.push(0xFF);
            }
        }
        key.extend_from_slice(&[0, 0]);
    }
}

impl KeyPart for ThreadId {
    fn append_to(&self, key: &mut Vec<u8>) {
        self.to_bytes().append_to(key);
    }
}

impl KeyPart for TaskId {
    fn append_to(&self, key: &mut Vec<u8>) {
        self.to_bytes().append_to(key);
    }
}

impl KeyPart for MessageId {
    fn append_to(&self, key: &mut Vec<u8>) {
        self.as_u64().append_to(key);
    }
}

impl KeyPart for AgentId {
    fn append_to(&self, key: &mut Vec<u8>) {
        self.as_str().append_to(key);
    }
}

/// A tuple appends its parts in order.
macro_rules! tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part: KeyPart),+> KeyPart for ($($part,)+) {
            fn append_to(&self, key: &mut Vec<u8>) {
                $(self.$index.append_to(key);)+
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
