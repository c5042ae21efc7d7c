//! The receipt: the number of the last commit that is known to be durable, written beside the engine's header.
//!
//! ```text
//!   0       320                       3584     3616     4096
//!   │ header, two commit slots │ unused │ receipt │ unused │ pages …
//! ```
//!
//! A commit is made durable by one sync, and until the next one nothing in the file tells a commit that was damaged
//! since from one that a crash tore before anybody was told of it. The engine falls back to the commit before it in
//! either case, which is right for the torn one and loses the damaged one without a word. So the number of a commit is
//! written here when it is durable, and before anybody is told of it; who opens the file compares. It costs no sync.
//!
//! - A receipt is never ahead of what is durable, so it never speaks against a file that is in order.
//! - One that is missing or damaged says nothing. A power cut can take the newest away, as it was not synced; the loss of
//!   that commit to damage would then go unnoticed, as if there were no receipts.
//!
//! The engine writes the first 320 bytes of its first page and leaves the rest alone; a test holds it to that.

use std::io;

use redb::StorageBackend;
use sha2::{Digest, Sha256};

use super::held::Held;

/// A sector of its own, so that a torn write of either cannot touch the other.
const OFFSET: u64 = 3584;

const MAGIC: &[u8; 8] = b"khala ok";

const BYTES: usize = 32;

/// Notes that this commit is durable. Best effort: it is durable all the same.
pub(super) fn write(file: &Held, commit: u64) {
    let _ = file.write(OFFSET, &receipt(commit));
}

/// The last commit that is known to have been durable, if the file says.
pub(super) fn read(file: &Held) -> io::Result<Option<u64>> {
    let mut found = [0; BYTES];
    file.read(OFFSET, &mut found)?;
    let number = found.strip_prefix(MAGIC).and_then(|behind| behind.first_chunk());
    let commit = number.map(|number| u64::from_be_bytes(*number));
    Ok(commit.filter(|commit| found == receipt(*commit)))
}

fn receipt(commit: u64) -> [u8; BYTES] {
    let number = commit.to_be_bytes();
    let digest = Sha256::new().chain_update(MAGIC).chain_update(number).finalize();
    let mut receipt = [0; BYTES];
    let bytes = MAGIC.iter().chain(&number).chain(digest.iter());
    receipt.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    receipt
}
