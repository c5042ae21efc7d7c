//! Random operations between random steps and reopenings, beside the model of the whole life and that of time.

use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::STEPS;
use super::world::{AROUND, Around, World};
use crate::limits::CLOCK_MAX;
use crate::planted::{Bug, with_bug};
use crate::{MessageFilter, TaskFilter, TaskStatus, Timestamp};

use super::super::campaign::{report, seeds, times, with_seed};
use super::super::life::{History, Op, answer_of, op};

#[derive(Clone, Debug)]
enum Move {
    Do(Op),
    Pass(Duration),
    Jump(i64, Around),
    /// Looks at what those are shown who only read.
    Look,
}

/// Where the clock begins, and what happens then.
fn moves() -> impl Strategy<Value = (Timestamp, Vec<Move>)> {
    let start = prop_oneof![
        4 => Just(1_767_225_600_000_000),
        1 => Just(0),
        1 => Just(Timestamp::MIN.as_micros()),
        // With room for the steps.
        1 => Just(CLOCK_MAX.as_micros() - 70 * STEPS[5]),
    ];
    let step = prop_oneof![1 => Just(0), 6 => prop::sample::select(&STEPS[..])];
    let one = prop_oneof![
        12 => op().prop_map(Move::Do),
        3 => (0_u64..20_000_000).prop_map(|micros| Move::Pass(Duration::from_micros(micros))),
        1 => (1_u64..4).prop_map(|seconds| Move::Pass(Duration::from_secs(seconds))),
        4 => (step, prop::sample::select(&AROUND[..])).prop_map(|(step, around)| Move::Jump(step, around)),
        1 => Just(Move::Look),
    ];
    (start.prop_map(Timestamp::from_micros), prop::collection::vec(one, 1..60))
}

struct Run {
    world: World,
    history: History,
}

fn failed(what: impl Debug) -> TestCaseError {
    TestCaseError::fail(format!("{what:?}"))
}

fn agree((start, moves): (Timestamp, Vec<Move>)) -> Result<(), TestCaseError> {
    let mut run = Run { world: World::at(start), history: History::default() };
    run.step(&Op::CreateThread)?;
    for what in moves {
        match what {
            Move::Do(op) => run.step(&op)?,
            Move::Pass(time) => run.world.pass(time),
            Move::Jump(step, around) => run.world.jump(step, around),
            Move::Look => run.look()?,
        }
    }
    run.nothing_is_immortal()?;
    run.order_is_that_of_the_commits()
}

impl Run {
    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let history = &self.history;
        let newest_of = |thread| history.model.newest_of(thread);
        let Some(call) = history.known.resolve(op, self.world.last(), newest_of) else { return Ok(()) };
        let asked = call.clone();
        let (answer, made) = self.world.done(move |tx| answer_of(tx, &asked)).map_err(failed)?;
        let now = self.world.last();
        prop_assert_eq!(answer, self.history.answer(&call, &made, now), "{:?} at {}", call, now);
        self.history.compare_rows(self.world.store(), &call)
    }

    fn look(&self) -> Result<(), TestCaseError> {
        let now = self.world.moment_of_a_read().map_err(failed)?;
        let tasks = self.history.model.tasks.values();
        let due = tasks.filter(|task| task.status == TaskStatus::Claimed && task.expires_at <= Some(now)).count();
        prop_assert_eq!(self.world.store().stats().map_err(failed)?.claims_due, due as u64);
        Ok(())
    }

    /// Whatever the clock has done: when the longest timeout and the longest rest have passed, nothing waits any more.
    fn nothing_is_immortal(&mut self) -> Result<(), TestCaseError> {
        self.step(&Op::Expire)?;
        self.world.pass(Duration::from_secs(86_400));
        self.look()?;
        self.step(&Op::Expire)?;
        for status in [TaskStatus::Claimed, TaskStatus::Scheduled] {
            let left = self.world.store().tasks(&TaskFilter::new().status(status)).map_err(failed)?.items;
            prop_assert!(left.is_empty(), "still {}: {:?}", status, left);
        }
        self.world.store().verify().map_err(failed)
    }

    /// Ids rise as things were made, and so do the times of messages, which is what a search by time relies on.
    fn order_is_that_of_the_commits(&self) -> Result<(), TestCaseError> {
        let (store, known) = (self.world.store(), &self.history.known);
        prop_assert!(known.threads.is_sorted() && known.tasks.is_sorted());
        let mut all = vec![];
        for thread in self.history.model.threads.keys() {
            let said = store.thread_messages(*thread, &MessageFilter::new()).map_err(failed)?;
            for since in said.iter().map(|message| message.created_at) {
                let later = store.thread_messages(*thread, &MessageFilter::new().since(since)).map_err(failed)?;
                let expected = said.iter().filter(|message| message.created_at >= since);
                prop_assert!(later.iter().eq(expected), "since {}: {:?}", since, later);
            }
            all.extend(said);
        }
        all.sort_by_key(|message| message.id);
        prop_assert!(all.is_sorted_by_key(|message| message.created_at), "time went back: {:?}", all);
        Ok(())
    }
}

/// One case, grown from a seed; the error shows the smallest that breaks it, found in so many tries.
fn try_seed(seed: u64, tries: u32) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: tries, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    runner.run(&moves(), agree).map_err(|error| error.to_string())
}

const CASES: u64 = 1_000;

#[test]
fn the_life_of_tasks_agrees_with_the_models_whatever_the_clock_does() {
    for seed in seeds(CASES) {
        with_seed(seed, |_| try_seed(seed, 2_000));
    }
    report(format_args!("clocks: {} random lives between steps and reopenings, none wrong", times(CASES)));
}

/// The control of the lives: with this bug in place each of 20 campaigns, none longer than the real one, must fail.
fn seen_in_lives(bug: Bug) {
    let (mut seen, mut lives) = (0, 0);
    for _ in 0..20 {
        let first = fastrand::u64(..1 << 48);
        let tried = (first..first + CASES).position(|seed| with_bug(Some(bug), || try_seed(seed, 0)).is_err());
        seen += u64::from(tried.is_some());
        lives += tried.map_or(CASES, |tried| tried as u64 + 1);
    }
    report(format_args!("clocks: {bug:?} seen in {seen} of 20 campaigns, in one of {} lives", lives / seen.max(1)));
    assert_eq!(seen, 20, "{bug:?}");
}

#[test]
fn control_time_that_follows_the_clock_back_is_seen_in_a_life() {
    seen_in_lives(Bug::TimeFollowsClock);
}

#[test]
fn control_time_that_stands_still_is_seen_in_a_life() {
    seen_in_lives(Bug::TimeStandsStill);
}

#[test]
fn control_a_claim_that_is_revived_is_seen_in_a_life() {
    seen_in_lives(Bug::CompleteWithoutCheck);
}
