//! How much of everything the harnesses try, and how a failure is tried again.
//!
//! - `KHALA_CAMPAIGN=20` in the environment tries twenty times as much of everything that is counted or timed: images of a
//!   disk, kills, cuts, damaged files, schedules, histories, minutes.
//! - Every case has a seed, new in each run. A failure names its seed, and `KHALA_SEED=<seed>` tries that one alone.

use std::ops::Range;

/// This number, as many times over as the campaign wants.
pub(super) fn times(count: u64) -> u64 {
    count * number("KHALA_CAMPAIGN").unwrap_or(1).max(1)
}

/// The seeds of so many cases, times the campaign: new ones in each run, or the one that is to be tried again.
pub(super) fn seeds(count: u64) -> Range<u64> {
    if let Some(seed) = number("KHALA_SEED") {
        return seed..seed + 1;
    }
    let first = fastrand::u64(..1 << 48);
    first..first + times(count)
}

/// Runs a case with a seed; if it panics or says what is wrong, the panic names the seed.
pub(super) fn with_seed<T>(seed: u64, case: impl FnOnce(fastrand::Rng) -> Result<T, String>) -> T {
    let run = std::panic::AssertUnwindSafe(|| case(fastrand::Rng::with_seed(seed)));
    let wrong = match std::panic::catch_unwind(run) {
        Ok(Ok(done)) => return done,
        Ok(Err(wrong)) => wrong,
        Err(panic) => words_of(panic.as_ref()),
    };
    panic!("{wrong}\nto try this one again: KHALA_SEED={seed}");
}

/// What a panic said.
pub(super) fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Says a line past the test framework, which keeps what a passing test prints to itself: what was tried and what was
/// found, or that something could not be tried here.
pub(super) fn report(line: impl std::fmt::Display) {
    use std::io::Write;
    // In one piece: tests run beside each other.
    let _ = std::io::stderr().write_all(format!("khala: {line}\n").as_bytes());
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {text:?}")))
}
