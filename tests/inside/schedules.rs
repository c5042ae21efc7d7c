//! Nobody waits in vain, in whatever order threads run: the waiters under a checker that chooses the schedule, and lets
//! time pass where it likes.
//!
//! | scene | is about |
//! |---|---|
//! | everybody is served | wake-ups: each task that is opened is taken by somebody who waits |
//! | beside a snatcher | the same, with somebody who takes a task that another was woken for |
//! | in time | scheduled tasks: one of those who wait keeps the time, hands it over when it leaves, and hears what is due |
//! | one gives up | a wake-up that reaches somebody whose time is up is passed on |
//! | a failure | everybody is told when the store fails |
//! | futures | futures and a thread in one line, and one future that is dropped at some moment |
//!
//! A schedule in which somebody waits for ever is a deadlock to the checker, which prints how to replay it.

use std::collections::BTreeMap;
#[cfg(feature = "tokio")]
use std::future::poll_fn;
use std::panic::catch_unwind;
#[cfg(feature = "tokio")]
use std::pin::pin;
#[cfg(feature = "tokio")]
use std::task::Poll;
use std::time::Duration;

#[cfg(feature = "tokio")]
use shuttle::future::block_on;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, JoinHandle};

use super::campaign::{report, times};
use super::shuttled::time::{Instant, with_time};
#[cfg(feature = "tokio")]
use super::shuttled::waiters::Next;
use super::shuttled::waiters::{Waiters, Woken};
use crate::planted::{Bug, with_bug};
use crate::tx::{News, Opened};
use crate::{TaskFilter, TaskId, ThreadId};

/// What stands for the store: what it holds, under one lock, and who waits.
#[derive(Default)]
struct Desk {
    rows: Mutex<Rows>,
    waiters: Waiters,
}

#[derive(Default)]
struct Rows {
    /// Oldest first.
    open: BTreeMap<TaskId, Opened>,
    /// By the second they are due in.
    scheduled: BTreeMap<(u64, TaskId), Opened>,
    has_failed: bool,
}

#[derive(Debug, PartialEq)]
struct Failed;

fn task(number: u8, role: &str) -> Opened {
    let id = [number; 16];
    Opened { task: TaskId::from_bytes(id), thread: ThreadId::from_bytes(id), role: role.into() }
}

fn time_until(second: u64) -> Duration {
    Duration::from_secs(second.saturating_sub(Instant::now().as_secs()))
}

impl Desk {
    /// A transaction that opens a task, and after it what the store does: it tells.
    fn create(&self, number: u8, role: &str) {
        let opened = task(number, role);
        self.rows.lock().unwrap().open.insert(opened.task, opened.clone());
        self.waiters.announce(News { opened: [(opened.task, opened)].into(), due_in: None, ..News::default() });
    }

    /// A transaction that schedules a task for this second.
    fn schedule(&self, number: u8, role: &str, second: u64) {
        let scheduled = task(number, role);
        self.rows.lock().unwrap().scheduled.insert((second, scheduled.task), scheduled);
        self.waiters.announce(News { opened: BTreeMap::new(), due_in: Some(time_until(second)), ..News::default() });
    }

    /// The store fails, and tells.
    fn fail(&self) {
        self.rows.lock().unwrap().has_failed = true;
        self.waiters.wake_all();
    }

    /// A transaction that opens what is due, and claims the oldest task the filter lets through; or says what will be due
    /// next. What it leaves open it tells.
    fn claim(&self, filter: &TaskFilter) -> Result<(Option<TaskId>, Option<Duration>), Failed> {
        let mut rows = self.rows.lock().unwrap();
        if rows.has_failed {
            return Err(Failed);
        }
        let later = rows.scheduled.split_off(&(Instant::now().as_secs() + 1, TaskId::from_bytes([0; 16])));
        let came_due = std::mem::replace(&mut rows.scheduled, later);
        let mut opened: BTreeMap<_, _> = came_due.into_values().map(|opened| (opened.task, opened)).collect();
        rows.open.extend(opened.clone());
        let claimed = rows.open.values().find(|task| filter.lets_through(task)).map(|task| task.task);
        if let Some(task) = claimed {
            rows.open.remove(&task);
            opened.remove(&task);
        }
        let due_in = rows.scheduled.keys().next().map(|(second, _)| time_until(*second));
        drop(rows);
        self.waiters.announce(News { opened, due_in: None, ..News::default() });
        Ok((claimed, due_in))
    }

    /// As `Store::claim_next_within`; without a time of its own, for ever.
    fn claim_within(&self, filter: &TaskFilter, patience: Option<Duration>) -> Result<Option<TaskId>, Failed> {
        let give_up_at = patience.and_then(|patience| Instant::now().checked_add(patience));
        let place = self.waiters.join(filter);
        loop {
            place.begin_try();
            let (claimed, due_in) = self.claim(filter)?;
            if let Some(task) = claimed {
                place.leave_with(task);
                return Ok(Some(task));
            }
            if place.wait(give_up_at, due_in) == Woken::TimeIsUp {
                return Ok(None);
            }
        }
    }
}

/// The same as a future, for ever. It asks again whenever its task is woken.
#[cfg(feature = "tokio")]
impl Desk {
    async fn claim_in_time(&self, filter: &TaskFilter) -> Result<Option<TaskId>, Failed> {
        let place = self.waiters.join(filter);
        loop {
            place.begin_try();
            let (claimed, due_in) = self.claim(filter)?;
            if let Some(task) = claimed {
                place.leave_with(task);
                return Ok(Some(task));
            }
            place.end_try(due_in);
            poll_fn(|context| match place.next(context.waker()) {
                Next::TryAgain => Poll::Ready(()),
                Next::Sleep(_) => Poll::Pending,
            })
            .await;
        }
    }
}

type Waiting = JoinHandle<Result<Option<TaskId>, Failed>>;

/// Each on a thread of its own, waiting for ever.
fn wait_for<const N: usize>(desk: &Arc<Desk>, filters: [TaskFilter; N]) -> Vec<Waiting> {
    let wait = |filter| {
        let desk = Arc::clone(desk);
        thread::spawn(move || desk.claim_within(&filter, None))
    };
    filters.into_iter().map(wait).collect()
}

/// The same, each as a future.
#[cfg(feature = "tokio")]
fn wait_as_futures<const N: usize>(desk: &Arc<Desk>, filters: [TaskFilter; N]) -> Vec<Waiting> {
    let wait = |filter| {
        let desk = Arc::clone(desk);
        thread::spawn(move || block_on(desk.claim_in_time(&filter)))
    };
    filters.into_iter().map(wait).collect()
}

fn roles() -> [TaskFilter; 2] {
    ["writer", "reviewer"].map(|role| TaskFilter::new().role(role))
}

/// Everybody who waits gets a task, and no two the same.
fn all_get_one(waiting: Vec<Waiting>, besides: Option<TaskId>) {
    let got: Option<Vec<_>> = waiting.into_iter().map(|waiter| waiter.join().unwrap().unwrap()).collect();
    let mut got: Vec<_> = got.expect("nobody gives up").into_iter().chain(besides).collect();
    let count = got.len();
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), count, "no task is given to two");
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
    let [writer, reviewer] = roles();
    let waiting = wait_for(&desk, [TaskFilter::new(), writer.clone(), reviewer]);
    let planning: Vec<_> = planners
        .into_iter()
        .zip([1_u8, 101])
        .map(|(roles, first)| {
            let desk = Arc::clone(&desk);
            thread::spawn(move || (first..).zip(roles.iter()).for_each(|(number, role)| desk.create(number, role)))
        })
        .collect();
    let snatched = if with_snatcher { desk.claim(&writer).unwrap().0 } else { None };
    all_get_one(waiting, snatched);
    for planner in planning {
        planner.join().unwrap();
    }
}

/// The same with tasks that are scheduled, but for one. Nothing else happens that could wake anybody when they are due.
fn everybody_is_served_in_time() {
    with_time(|| {
        let desk = Arc::new(Desk::default());
        let [writer, reviewer] = roles();
        let waiting = wait_for(&desk, [TaskFilter::new(), writer, reviewer]);
        let planning = thread::spawn({
            let desk = Arc::clone(&desk);
            move || {
                desk.schedule(1, "writer", 2);
                desk.schedule(2, "reviewer", 1);
            }
        });
        desk.create(101, "reviewer");
        desk.schedule(102, "writer", 3);
        all_get_one(waiting, None);
        planning.join().unwrap();
    });
}

/// One waits for a second only, the first in line: what it was woken for and does not take is there for the others.
fn one_gives_up() {
    with_time(|| {
        let desk = Arc::new(Desk::default());
        let impatient = thread::spawn({
            let desk = Arc::clone(&desk);
            move || desk.claim_within(&TaskFilter::new(), Some(Duration::from_secs(1)))
        });
        let [writer, _] = roles();
        let waiting = wait_for(&desk, [writer, TaskFilter::new()]);
        desk.create(1, "writer");
        desk.create(2, "writer");
        let taken = impatient.join().unwrap().unwrap();
        if taken.is_some() {
            desk.create(3, "writer");
        }
        all_get_one(waiting, taken);
    });
}

/// There is a task for one of three, and then nothing more.
fn everybody_is_told_of_a_failure() {
    let desk = Arc::new(Desk::default());
    let [writer, reviewer] = roles();
    let waiting = wait_for(&desk, [TaskFilter::new(), writer, reviewer]);
    let planning = thread::spawn({
        let desk = Arc::clone(&desk);
        move || desk.create(1, "writer")
    });
    desk.fail();
    planning.join().unwrap();
    let told: Vec<_> = waiting.into_iter().map(|waiter| waiter.join().unwrap()).collect();
    let served = told.iter().filter(|told| told.is_ok()).count();
    assert!(served <= 1, "there was one task: {told:?}");
}

/// Two wait as futures and one as a thread; a future before them in line goes at some moment, be it after it was woken.
#[cfg(feature = "tokio")]
fn futures_are_served_and_one_is_dropped() {
    const ROLES: [&str; 4] = ["writer", "reviewer", "reviewer", "writer"];
    let desk = Arc::new(Desk::default());
    let [writer, reviewer] = roles();
    let leaving = thread::spawn({
        let desk = Arc::clone(&desk);
        move || {
            block_on(async {
                let any = TaskFilter::new();
                let mut claim = pin!(desk.claim_in_time(&any));
                for _ in 0..2 {
                    if let Poll::Ready(claimed) = poll_fn(|context| Poll::Ready(claim.as_mut().poll(context))).await {
                        return claimed;
                    }
                    shuttle::future::yield_now().await;
                }
                Ok(None)
            })
        }
    });
    let mut waiting = wait_as_futures(&desk, [TaskFilter::new(), writer]);
    waiting.extend(wait_for(&desk, [reviewer]));
    let planning = thread::spawn({
        let desk = Arc::clone(&desk);
        move || ROLES.into_iter().zip(0..).for_each(|(role, number)| desk.create(number, role))
    });
    let left_with = leaving.join().unwrap().unwrap();
    planning.join().unwrap();
    // Another one of its role for the one that it took.
    for (role, number) in ROLES.into_iter().zip(0..) {
        if left_with == Some(task(number, role).task) {
            desk.create(101, role);
        }
    }
    all_get_one(waiting, left_with);
}

#[cfg(feature = "tokio")]
#[test]
fn no_future_waits_in_vain_in_any_schedule() {
    random(futures_are_served_and_one_is_dropped, times(20_000));
    with_few_switches(futures_are_served_and_one_is_dropped, times(20_000));
    report(format_args!("futures that wait, in {} schedules, 0 violations", times(40_000)));
}

#[cfg(feature = "tokio")]
#[test]
fn control_a_wake_up_that_a_future_loses_is_seen() {
    seen_in(Bug::WakeUpLost, futures_are_served_and_one_is_dropped);
    seen_in(Bug::WakerForgotten, futures_are_served_and_one_is_dropped);
}

const SCENES: [fn(); 5] = [
    everybody_is_served,
    everybody_is_served_beside_a_snatcher,
    everybody_is_served_in_time,
    one_gives_up,
    everybody_is_told_of_a_failure,
];

#[test]
fn nobody_waits_in_vain_in_random_schedules() {
    for scene in SCENES {
        random(scene, times(20_000));
    }
    report(format_args!("the waiters in {} random schedules of 5 scenes, 0 violations", times(100_000)));
}

#[test]
fn nobody_waits_in_vain_in_schedules_with_few_and_evil_switches() {
    for scene in SCENES {
        with_few_switches(scene, times(20_000));
    }
    report(format_args!("the waiters in {} schedules with few switches (PCT), 0 violations", times(100_000)));
}

#[test]
fn control_a_lost_wake_up_is_seen() {
    seen_in(Bug::WakeUpLost, everybody_is_served);
    seen_in(Bug::WakeUpLost, one_gives_up);
}

#[test]
fn control_a_timekeeper_who_does_not_hear_is_seen() {
    seen_in(Bug::DueNotTold, everybody_is_served_in_time);
}

#[test]
fn control_time_that_nobody_keeps_is_seen() {
    seen_in(Bug::TimeNotHandedOver, everybody_is_served_in_time);
}

#[test]
fn control_a_failure_that_nobody_is_told_of_is_seen() {
    seen_in(Bug::FailureNotTold, everybody_is_told_of_a_failure);
}

/// Runs a scene in so many schedules, at each step of which any thread may go on.
pub(super) fn random(scene: fn(), schedules: u64) {
    shuttle::check_random(scene, schedules as usize);
}

/// Runs a scene in so many schedules with three switches where a thread could have gone on ("PCT": Burckhardt et al., "A
/// randomized scheduler with probabilistic guarantees of finding bugs", 2010).
pub(super) fn with_few_switches(scene: fn(), schedules: u64) {
    shuttle::check_pct(scene, schedules as usize, 3);
}

/// The control of a scene: with this bug in place the checker must see it, and says in how many of 20 tries it did within
/// 1,000 schedules.
pub(super) fn seen_in(bug: Bug, scene: fn()) {
    // The checker runs its threads on one of this process: the planted bug is in place in all of them.
    let seen = || catch_unwind(|| with_bug(Some(bug), || shuttle::check_random(scene, 1_000))).is_err();
    let count = (0..20).filter(|_| seen()).count();
    report(format_args!("schedules: {bug:?} was seen in {count} of 20 times 1,000 schedules"));
    assert!(count > 0, "20,000 schedules, and nobody saw {bug:?}");
}
