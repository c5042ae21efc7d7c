//! Tests that need the inside of the crate: planted bugs as controls of the property tests, and disks that count and
//! fail. Compiled into the unit tests by `src/lib.rs`.

#![expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "numbers here are small")]
#![expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "numbers here are small")]

mod audit;
mod campaign;
mod child;
mod clocks;
mod copies;
mod cuts;
mod damage;
mod decode;
mod drift;
mod faults;
mod full_disks;
#[cfg(feature = "tokio")]
mod futures;
mod harness;
mod histories;
#[cfg(feature = "json")]
mod imports;
mod instructions;
mod io_faults;
mod keys;
mod kills;
mod life;
mod machine;
mod model;
mod mounts;
mod openings;
mod pages;
mod power;
mod races;
mod reopening;
mod rules;
mod schedules;
mod shuttled;
mod soak;
mod sqlite;
#[cfg(feature = "tokio")]
mod submitted;
#[cfg(feature = "tracing")]
mod tracing;
mod waiters;
mod witness;
mod writers;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::planted::{Bug, with_bug};

/// Tries a property on this many inputs, times the campaign; the error shows the smallest that breaks it.
fn try_property<S: Strategy>(
    cases: u32,
    inputs: &S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) -> Result<(), String> {
    let config = Config {
        cases: campaign::times(cases.into()) as u32,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    TestRunner::new(config).run(inputs, property).map_err(|error| error.to_string())
}

/// The control of a property: with this bug in place it must fail.
fn must_fail<S: Strategy>(bug: Bug, inputs: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let outcome = with_bug(Some(bug), || try_property(2_000, inputs, property));
    assert!(outcome.is_err(), "the property holds although {bug:?} is planted: it does not see");
}
