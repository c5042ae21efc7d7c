//! Time for the checker, whose own waits never time out: it stands still until somebody lets it go on.
//!
//! Whoever sleeps sets an alarm. [`pass`], on a thread of its own, moves time on to the next alarm and rings it, at whatever
//! point the checker lets it run. With no alarm set time stands still: who then waits waits for ever, and is seen.

use std::cell::RefCell;
use std::time::Duration;

use shuttle::sync::{Arc, Condvar as Bell, LockResult, Mutex, MutexGuard, PoisonError};
use shuttle::thread;

/// A moment of this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        TIME.with_borrow(|time| Self(time.now))
    }

    /// As seconds since time began.
    pub(crate) fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    pub(crate) fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[derive(Default)]
struct Time {
    now: Duration,
    next_number: u64,
    alarms: Vec<Alarm>,
    /// Rung when an alarm is set, or time is to end.
    changed: Arc<(Mutex<bool>, Bell)>,
    is_over: bool,
}

#[derive(Clone)]
struct Alarm {
    number: u64,
    at: Duration,
    bell: Arc<Bell>,
}

// The checker runs all threads of a schedule on one, so this is theirs in common.
thread_local! {
    static TIME: RefCell<Time> = RefCell::default();
}

fn tell_of_a_change() {
    let changed = TIME.with_borrow(|time| Arc::clone(&time.changed));
    *changed.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    changed.1.notify_one();
}

/// Runs a scene in which time passes, from its beginning to the end of the scene.
pub(crate) fn with_time(scene: impl FnOnce()) {
    TIME.set(Time::default());
    let passing = thread::spawn(pass);
    scene();
    TIME.with_borrow_mut(|time| time.is_over = true);
    tell_of_a_change();
    passing.join().unwrap();
}

fn pass() {
    let changed = TIME.with_borrow(|time| Arc::clone(&time.changed));
    while !TIME.with_borrow(|time| time.is_over) {
        let next = TIME.with_borrow(|time| time.alarms.iter().min_by_key(|alarm| alarm.at).cloned());
        if let Some(next) = next {
            TIME.with_borrow_mut(|time| time.now = time.now.max(next.at));
            // Again and again, until who set it has heard it: it may not be asleep yet.
            next.bell.notify_all();
            thread::yield_now();
        } else {
            let mut has_changed = changed.0.lock().unwrap();
            while !*has_changed {
                has_changed = changed.1.wait(has_changed).unwrap();
            }
            *has_changed = false;
        }
    }
}

/// As the standard library's, as far as it is used.
#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<Bell>);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    /// Ends by the alarm or by a ring; nobody asks which it was.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        sleep: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        let bell = Arc::clone(&self.0);
        let number = TIME.with_borrow_mut(|time| {
            time.next_number += 1;
            let (number, at) = (time.next_number, time.now + sleep);
            time.alarms.push(Alarm { number, at, bell });
            number
        });
        tell_of_a_change();
        let woken = self.0.wait(guard);
        TIME.with_borrow_mut(|time| time.alarms.retain(|alarm| alarm.number != number));
        woken.map(|guard| (guard, ())).map_err(|poison| PoisonError::new((poison.into_inner(), ())))
    }
}
