//! The command `khala` from the outside, as people and scripts use it.
//!
//! | file | is about |
//! |---|---|
//! | `transcript.rs` | a folder, a shell in it, and what was typed and said, compared with a file in `snapshots/` |
//! | `life.rs` | every command on an empty store and on a filled one |
//! | `trouble.rs` | files that are missing, damaged, in use, read-only and more; full disks; closed pipes |
//! | `timeline.rs`, `demo.rs` | the picture of a thread, and the demonstration |
//! | `waiting.rs` | a store that somebody else has, and tasks that are not there yet |
//! | `terminal.rs` | what is different on a terminal |
//! | `scripts.rs` | the scripts in `examples/scripts` |
//!
//! After a change that is meant, `SNAPSHOTS=overwrite cargo test --features cli --test cli` writes the snapshots anew.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that goes wrong is to stop at once"
)]

mod demo;
mod life;
mod lists;
mod scripts;
mod terminal;
mod timeline;
mod transcript;
mod trouble;
mod waiting;
