//! The store from the outside, on its public API alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test that goes wrong is to stop at once"
)]

mod backups;
mod batches;
mod examples;
mod files;
mod fixtures;
#[cfg(feature = "tokio")]
mod futures;
mod input;
mod layers;
#[cfg(feature = "tracing")]
mod listener;
mod lists;
mod random_store;
mod semantics;
#[cfg(feature = "tracing")]
mod tracing;
#[cfg(feature = "json")]
mod transfer;
mod waiting;
