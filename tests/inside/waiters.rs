//! Who is woken for which task, without threads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::tx::{News, Opened};
use crate::waiters::{Place, Waiters, Woken};
use crate::{AgentId, ManualClock, NewTask, Store, TaskFilter, TaskId, ThreadId, Timestamp};

fn opened(number: u8, role: &str) -> Opened {
    let id = [number; 16];
    Opened { task: TaskId::from_bytes(id), thread: ThreadId::from_bytes(id), role: role.into() }
}

fn news(tasks: impl IntoIterator<Item = Opened>) -> News {
    News { opened: tasks.into_iter().map(|opened| (opened.task, opened)).collect(), due_in: None, ..News::default() }
}

/// A place whose first try has found nothing.
fn settle(place: &Place<'_>, due_in: Option<Duration>) {
    place.begin_try();
    assert_eq!(place.wait(Some(Instant::now()), due_in), Woken::TimeIsUp);
}

#[test]
fn one_task_wakes_one_of_10_000_waiters_and_nobody_when_it_is_claimed() {
    let waiters = Waiters::default();
    let mut places: Vec<_> = (0..10_000).map(|_| waiters.join(&TaskFilter::new())).collect();
    for place in &places {
        settle(place, None);
    }
    waiters.announce(news([opened(1, "writer")]));
    assert_eq!(waiters.woken(), [0], "the first in line");
    let first = places.remove(0);
    first.begin_try();
    first.leave_with(TaskId::from_bytes([1; 16]));
    waiters.announce(News { opened: BTreeMap::new(), due_in: Some(Duration::from_secs(300)), ..News::default() });
    assert!(waiters.woken().is_empty(), "nor when its timeout becomes known");
}

#[test]
fn tasks_wake_in_order_of_arrival_who_can_take_them() {
    let waiters = Waiters::default();
    let [writer, reviewer] = ["writer", "reviewer"].map(|role| TaskFilter::new().role(role));
    let filters = [&writer, &reviewer, &writer, &TaskFilter::new()];
    let places: Vec<_> = filters.into_iter().map(|filter| waiters.join(filter)).collect();
    for place in &places {
        settle(place, None);
    }
    waiters.announce(news([opened(1, "reviewer")]));
    assert_eq!(waiters.woken(), [1]);
    waiters.announce(news([opened(2, "writer"), opened(3, "reviewer")]));
    assert_eq!(waiters.woken(), [0, 1, 3], "the second review goes to who takes anything");
    waiters.announce(news([opened(4, "painter")]));
    assert_eq!(waiters.woken(), [0, 1, 3], "nobody is free for it");
}

#[test]
fn a_wake_up_that_was_not_looked_after_is_passed_on() {
    let waiters = Waiters::default();
    let places: Vec<_> = (0..3).map(|_| waiters.join(&TaskFilter::new())).collect();
    for place in &places {
        settle(place, None);
    }
    waiters.announce(news([opened(1, "writer")]));
    let [first, second, third] = places.try_into().unwrap();
    first.begin_try();
    first.leave_with(TaskId::from_bytes([9; 16]));
    assert_eq!(waiters.woken(), [1], "it left with another task");
    drop(second);
    assert_eq!(waiters.woken(), [2], "it left with none");
    third.begin_try();
    assert_eq!(third.wait(Some(Instant::now()), None), Woken::TimeIsUp, "it tried, and the task was gone");
    assert!(waiters.woken().is_empty());
}

#[test]
fn what_is_opened_during_a_try_ends_the_wait_after_it() {
    let waiters = Waiters::default();
    let place = waiters.join(&TaskFilter::new());
    place.begin_try();
    waiters.announce(news([opened(1, "writer")]));
    assert_eq!(place.wait(None, None), Woken::TryAgain);
    place.begin_try();
    waiters.wake_all();
    assert_eq!(place.wait(None, None), Woken::TryAgain);
}

#[test]
fn one_of_them_keeps_the_time_and_it_is_not_the_first_in_line() {
    let waiters = Waiters::default();
    let places: Vec<_> = (0..3).map(|_| waiters.join(&TaskFilter::new())).collect();
    for place in &places {
        settle(place, Some(Duration::from_secs(500)));
    }
    waiters.announce(News { opened: BTreeMap::new(), due_in: Some(Duration::ZERO), ..News::default() });
    assert!(waiters.woken().is_empty(), "nobody is to try before it is due");
    let [first, keeper, third] = places.try_into().unwrap();
    assert_eq!(keeper.wait(None, None), Woken::TryAgain, "what is due sooner counts");
    for other in [&first, &third] {
        assert_eq!(other.wait(Some(Instant::now()), None), Woken::TimeIsUp);
    }
    drop(keeper);
    assert_eq!(waiters.woken(), [2], "it is handed over");
}

#[test]
fn the_timekeeper_tries_again_when_something_is_due() {
    let waiters = Waiters::default();
    let place = waiters.join(&TaskFilter::new());
    place.begin_try();
    assert_eq!(place.wait(None, Some(Duration::ZERO)), Woken::TryAgain);
}

#[test]
fn what_is_due_beyond_the_machines_time_is_not_waited_for() {
    let waiters = Waiters::default();
    let place = waiters.join(&TaskFilter::new());
    settle(&place, Some(Duration::MAX));
}

/// What the operations of a store tell those who wait.
#[test]
fn a_task_that_a_transaction_leaves_open_wakes_somebody_and_one_that_it_also_claims_wakes_nobody() {
    let store = Store::in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let place = store.waiters().join(&TaskFilter::new());
    settle(&place, None);
    let claimed = store.write(move |tx| {
        let task = tx.create_task(thread, &NewTask::new("writer", ""))?;
        tx.claim_task(task.id, &AgentId::new("ada")?)
    });
    let claim = claimed.unwrap().unwrap();
    assert!(store.waiters().woken().is_empty(), "it is not open");
    assert!(store.release_task(claim.task.id, claim.id).unwrap());
    assert_eq!(store.waiters().woken(), [0]);
    assert_eq!(place.wait(None, None), Woken::TryAgain);
}

#[test]
fn a_claim_and_a_scheduled_task_tell_when_they_will_be_due() {
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let store = Store::builder().clock(clock).in_memory().unwrap();
    let thread = store.create_thread("review", "ada").unwrap().id;
    let patience = || Some(Instant::now() + Duration::from_secs(60));
    let place = store.waiters().join(&TaskFilter::new());
    settle(&place, None);
    let soon = Timestamp::from_micros(1);
    store.create_task(thread, NewTask::new("writer", "").not_before(soon)).unwrap();
    assert_eq!(place.wait(patience(), None), Woken::TryAgain, "a task that was scheduled");

    place.begin_try();
    let claimed = store.write(move |tx| {
        let task = tx.create_task(thread, &NewTask::new("writer", "").timeout_seconds(1))?;
        tx.claim_task(task.id, &AgentId::new("ada")?)
    });
    claimed.unwrap().unwrap();
    assert_eq!(place.wait(patience(), None), Woken::TryAgain, "a claim that times out");
}

/// Counts how often it is woken.
#[cfg(feature = "tokio")]
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU32);

#[cfg(feature = "tokio")]
impl std::task::Wake for Counting {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Some executors poll with another waker each time: woken for having been replaced, such a task would never sleep.
#[cfg(feature = "tokio")]
#[test]
fn the_last_waker_alone_is_woken_and_only_for_a_reason() {
    let waiters = Waiters::default();
    let place = waiters.join(&TaskFilter::new());
    place.begin_try();
    place.end_try(None);
    let counting: [std::sync::Arc<Counting>; 3] = Default::default();
    for waker in &counting {
        assert_eq!(place.next(&waker.clone().into()), crate::waiters::Next::Sleep(None));
    }
    let counts = || counting.each_ref().map(|waker| waker.0.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(counts(), [0, 0, 0]);
    waiters.announce(news([opened(1, "writer")]));
    assert_eq!(counts(), [0, 0, 1]);
    assert_eq!(place.next(std::task::Waker::noop()), crate::waiters::Next::TryAgain);
}
