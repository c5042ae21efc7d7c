//! Those who wait while the clock jumps: they sleep by the machine's clock, and nobody oversleeps.
//!
//! Nothing here measures time. Who oversleeps does so by far: their patience ends, and they have nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::{STEPS, TEN_YEARS};
use crate::planted::{Bug, with_bug};
use crate::{AgentId, Claim, Clock, NewMessage, NewTask, Store, SystemClock, TaskFilter, TaskId, ThreadId, Timestamp};

use super::super::campaign::report;

/// The machine's clock, pushed about.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct PushedClock {
    machine: SystemClock,
    ahead_micros: Arc<AtomicI64>,
    asked: Arc<AtomicU64>,
}

impl PushedClock {
    pub(in super::super) fn push(&self, micros: i64) {
        self.ahead_micros.fetch_add(micros, SeqCst);
    }

    /// How far it was pushed, in microseconds, so that another process can go on with it.
    pub(in super::super) fn pushed(&self) -> i64 {
        self.ahead_micros.load(SeqCst)
    }

    /// How often the store has asked it.
    fn asked(&self) -> u64 {
        self.asked.load(SeqCst)
    }
}

impl Clock for PushedClock {
    fn now(&self) -> Timestamp {
        self.asked.fetch_add(1, SeqCst);
        Timestamp::from_micros(self.machine.now().as_micros().saturating_add(self.ahead_micros.load(SeqCst)))
    }
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

struct Scene {
    clock: PushedClock,
    store: Store,
    thread: ThreadId,
}

impl Scene {
    fn new() -> Self {
        let clock = PushedClock::default();
        let store = Store::builder().clock(clock.clone()).in_memory().unwrap();
        let thread = store.create_thread("clocks", "test").unwrap().id;
        Self { clock, store, thread }
    }

    /// A claim of one second whose holder is gone.
    fn abandoned(&self) -> TaskId {
        let thread = self.thread;
        // In one step, so that nobody is woken for it while it is open.
        let abandoned = self.store.write(move |tx| {
            let task = tx.create_task(thread, &NewTask::new("writer", "").timeout_seconds(1))?.id;
            tx.claim_task(task, &agent("crashed"))?;
            Ok(task)
        });
        abandoned.unwrap()
    }

    /// What somebody gets when `then` happens after they have tried in vain.
    fn waits_while(&self, patience: Duration, bug: Option<Bug>, then: impl FnOnce()) -> Option<Claim> {
        let asked = self.clock.asked();
        thread::scope(|scope| {
            let wait = || self.store.claim_next_within(&agent("waiting"), &TaskFilter::new(), patience);
            let waiting = scope.spawn(move || with_bug(bug, wait));
            while self.clock.asked() == asked {
                thread::yield_now();
            }
            with_bug(bug, then);
            waiting.join().unwrap().unwrap()
        })
    }

    /// Whether somebody who waits gets an abandoned task after this step, which a writer meets at once or nobody does.
    fn is_served(&self, step: i64, is_met: bool, patience: Duration, bug: Option<Bug>) -> bool {
        let task = self.abandoned();
        let claim = self.waits_while(patience, bug, || {
            self.clock.push(step);
            if is_met {
                self.store.append_message(self.thread, NewMessage::new("user", "by the way")).unwrap();
            }
        });
        self.store.verify().unwrap();
        claim.is_some_and(|claim| claim.task.id == task && claim.task.attempts == 2)
    }
}

#[test]
fn whoever_waits_for_a_claim_to_time_out_is_served_whatever_the_clock_does() {
    let cases = || STEPS.into_iter().flat_map(|step| [(step, true), (step, false)]);
    thread::scope(|scope| {
        for (step, is_met) in cases() {
            let served = move || Scene::new().is_served(step, is_met, Duration::from_secs(60), None);
            scope.spawn(move || assert!(served(), "a step of {step}, met: {is_met}"));
        }
    });
    report(format_args!("clocks: {} waits through a step, everybody was served", cases().count()));
}

/// What will be due in ten years is slept for until then. The clock goes over it unseen, and what is due a second later
/// comes after it in stored time, and long before it on the machine's clock.
#[test]
fn nobody_sleeps_for_ten_years_because_the_clock_went_over_them() {
    let scene = Scene::new();
    let later = scene.clock.now() + Duration::from_micros(TEN_YEARS as u64);
    scene.store.create_task(scene.thread, NewTask::new("writer", "in ten years").not_before(later)).unwrap();
    let claim = scene.waits_while(Duration::from_secs(60), None, || {
        scene.clock.push(TEN_YEARS);
        scene.abandoned();
    });
    assert!(claim.is_some(), "nothing in a minute, and two tasks are due");
    scene.store.verify().unwrap();
}

#[test]
fn control_time_that_stands_still_is_seen_by_who_waits() {
    let patience = Duration::from_millis(2_500);
    thread::scope(|scope| {
        let served = || Scene::new().is_served(-TEN_YEARS, true, patience, Some(Bug::TimeStandsStill));
        let tries: Vec<_> = (0..10).map(|_| scope.spawn(served)).collect();
        let seen = tries.into_iter().map(|one| one.join().unwrap()).filter(|served| !served).count();
        report(format_args!("clocks: TimeStandsStill seen in {seen} of 10 waits"));
        assert_eq!(seen, 10);
    });
}
