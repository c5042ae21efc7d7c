//! Clocks that jump, by a second, an hour and ten years, both ways, while the store is open and while it is not.
//!
//! What is stored never goes back in time, no claim is revived, none is immortal:
//!
//! ```text
//!   the clock     ───────╮  ╭───────────╮     ╭──── opened again, ten years behind
//!                        ╰──╯           ╰─────┆
//!                    back    forward      back
//!
//!                                ╭────────────╶──── stored time: forward with the clock, never back,
//!   stored time   ───────────────╯                  and at the clock's pace from wherever it is
//! ```
//!
//! | file | is about |
//! |---|---|
//! | `world.rs` | a store, its clock, and what stored time must be, worked out from what the clock said alone |
//! | `steps.rs` | every step, across every kind of reopening, before everything that has its time |
//! | `random.rs` | random operations and steps beside the model of the whole life |
//! | `waiting.rs` | those who wait while the clock jumps |

mod random;
mod steps;
mod waiting;
mod world;

pub(super) use waiting::PushedClock;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const TEN_YEARS: i64 = 3_652 * 24 * HOUR;

/// How far a clock jumps, in microseconds.
pub(super) const STEPS: [i64; 6] = [-TEN_YEARS, -HOUR, -SECOND, SECOND, HOUR, TEN_YEARS];
