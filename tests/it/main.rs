//! The store from the outside, on its public API alone.

mod fixtures;
mod layers;
mod semantics;
