//! No wake-up is lost, in whatever order threads run: the waiters under a checker that chooses the schedule.
//!
//! A schedule in which somebody waits for ever is a deadlock to the checker, which prints how to replay it.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::campaign::times;
use super::shuttled::waiters::Waiters;
use crate::planted::{Bug, with_bug};
use crate::tx::{News, Opened};
use crate::{TaskFilter, TaskId, ThreadId};

/// What stands for the store: open tasks, oldest first, claimed under one lock.
#[derive(Default)]
struct Desk {
    open: Mutex<BTreeMap<TaskId, Opened>>,
    waiters: Waiters,
}

impl Desk {
    /// A transaction that opens a task, and after it what the store does: it tells.
    fn create(&self, number: u8, role: &str) {
        let id = [number; 16];
        let opened = Opened { task: TaskId::from_bytes(id), thread: ThreadId::from_bytes(id), role: role.into() };
        self.open.lock().unwrap().insert(opened.task, opened.clone());
        self.waiters.announce(News { opened: [(opened.task, opened)].into(), due_in: None });
    }

    /// A transaction that claims the oldest task the filter lets through.
    fn claim(&self, filter: &TaskFilter) -> Option<TaskId> {
        let mut open = self.open.lock().unwrap();
        let task = open.values().find(|task| filter.lets_through(task)).map(|task| task.task)?;
        open.remove(&task);
        Some(task)
    }

    /// As `Store::claim_next_within`, for ever.
    fn claim_in_time(&self, filter: &TaskFilter) -> TaskId {
        let place = self.waiters.join(filter);
        loop {
            place.begin_try();
            if let Some(task) = self.claim(filter) {
                place.leave_with(task);
                return task;
            }
            place.wait(None, None);
        }
    }
}

/// A writer, a reviewer and one who takes anything wait; two planners create just enough that none of them can be left
/// without, whoever takes what. With more to spare a lost wake-up would be made good by the next one.
fn everybody_is_served() {
    serve([&["writer", "reviewer"], &["reviewer", "writer"]], false);
}

/// The same with one more task, and somebody who takes one without waiting for it.
fn everybody_is_served_beside_a_snatcher() {
    serve([&["writer", "reviewer", "writer"], &["reviewer", "writer"]], true);
}

fn serve(planners: [&'static [&'static str]; 2], with_snatcher: bool) {
    let desk = Arc::new(Desk::default());
    let [writer, reviewer] = ["writer", "reviewer"].map(|role| TaskFilter::new().role(role));
    let waiting: Vec<_> = [TaskFilter::new(), writer, reviewer]
        .into_iter()
        .map(|filter| {
            let desk = Arc::clone(&desk);
            thread::spawn(move || desk.claim_in_time(&filter))
        })
        .collect();
    let planning: Vec<_> = planners
        .into_iter()
        .zip([1_u8, 101])
        .map(|(roles, first)| {
            let desk = Arc::clone(&desk);
            thread::spawn(move || (first..).zip(roles.iter()).for_each(|(number, role)| desk.create(number, role)))
        })
        .collect();
    let snatched = if with_snatcher { desk.claim(&TaskFilter::new().role("writer")) } else { None };
    let mut claimed: Vec<_> = waiting.into_iter().map(|waiter| waiter.join().unwrap()).chain(snatched).collect();
    for planner in planning {
        planner.join().unwrap();
    }
    let count = claimed.len();
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), count, "no task is given to two");
}

#[test]
fn no_wake_up_is_lost_in_random_schedules() {
    random(everybody_is_served, times(50_000));
    random(everybody_is_served_beside_a_snatcher, times(50_000));
}

#[test]
fn no_wake_up_is_lost_in_schedules_with_few_and_evil_switches() {
    with_few_switches(everybody_is_served, times(50_000));
    with_few_switches(everybody_is_served_beside_a_snatcher, times(50_000));
}

#[test]
fn control_a_lost_wake_up_is_seen() {
    seen_in(Bug::WakeUpLost, everybody_is_served);
}

/// Runs a scene in so many schedules, at each step of which any thread may go on.
pub(super) fn random(scene: fn(), schedules: u64) {
    shuttle::check_random(scene, schedules as usize);
    println!("{schedules} random schedules");
}

/// Runs a scene in so many schedules with three switches where a thread could have gone on ("PCT": Burckhardt et al., "A
/// randomized scheduler with probabilistic guarantees of finding bugs", 2010).
pub(super) fn with_few_switches(scene: fn(), schedules: u64) {
    shuttle::check_pct(scene, schedules as usize, 3);
    println!("{schedules} schedules with few switches");
}

/// The control of a scene: with this bug in place the checker must see it, and says in how many of 20 tries it did within
/// 1,000 schedules.
pub(super) fn seen_in(bug: Bug, scene: fn()) {
    // The checker runs its threads on one of this process: the planted bug is in place in all of them.
    let seen = || catch_unwind(|| with_bug(Some(bug), || shuttle::check_random(scene, 1_000))).is_err();
    let count = (0..20).filter(|_| seen()).count();
    println!("{bug:?} was seen in {count} of 20 times 1,000 schedules");
    assert!(count > 0, "20,000 schedules, and nobody saw {bug:?}");
}
