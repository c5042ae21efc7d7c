//! The store from the outside, on its public API alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that goes wrong is to stop at once")]

mod fixtures;
mod layers;
mod semantics;
