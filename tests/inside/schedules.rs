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

fn schedules() -> usize {
    times(100_000) as usize
}

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
        self.waiters.announce(News { opened: [(opened.task, opened)].into(), due: None });
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
    shuttle::check_random(everybody_is_served, schedules());
    shuttle::check_random(everybody_is_served_beside_a_snatcher, schedules());
}

#[test]
fn no_wake_up_is_lost_in_schedules_with_few_and_evil_switches() {
    shuttle::check_pct(everybody_is_served, schedules(), 3);
    shuttle::check_pct(everybody_is_served_beside_a_snatcher, schedules(), 3);
}

#[test]
fn control_a_lost_wake_up_is_seen() {
    // The checker runs its threads on one of this process: the planted bug is in place in all of them.
    let seen = catch_unwind(|| {
        with_bug(Some(Bug::WakeUpLost), || shuttle::check_random(everybody_is_served, 50_000));
    });
    assert!(seen.is_err(), "50,000 schedules, and nobody waited for ever");
}
