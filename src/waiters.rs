//! Who waits for a task, and who is woken for which.
//!
//! ```text
//!   join ──▶ try to claim ── got one ──▶ leave
//!                │  ▲
//!           none │  │ woken: a task was opened that it can take, or it keeps the time and something is due
//!                ▼  │
//!               wait ── its own time is up ──▶ leave
//! ```
//!
//! - The line is in order of arrival. A task that was opened wakes the first in line that can take it and has not been
//!   woken for another, and nobody else.
//! - Whoever was woken for a task and leaves with another, or with none, passes the wake-up on.
//! - One of them, the timekeeper, sleeps only until the next claim times out or the next scheduled task's time comes, and
//!   tries then, not before: its try sweeps, and what that opens wakes the others. It is not the first in line if there
//!   is another, so that it seldom has to hand over.
//! - Nobody polls. Who goes to sleep has tried since every task that it was not woken for was opened.
//! - Whoever waits, be it a thread or a future, is woken through a [`Waker`], and not before the line is unlocked: what a waker
//!   does is its executor's business.
//!
//! The locks and the time come from the parent module, so that a checker of schedules can put its own in their place.

use std::collections::BTreeMap;
use std::task::{Wake, Waker};
use std::time::Duration;

use super::sync::{Arc, Condvar, Instant, Mutex, MutexGuard, PoisonError};
use crate::id::TaskId;
use crate::planted::{Bug, planted};
use crate::tasks::TaskFilter;
use crate::tx::{News, Opened};

/// The shortest sleep until something is due. A clock that stands still must not make the timekeeper spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// Everybody who waits for a task of one store.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// In order of arrival.
    waiting: BTreeMap<u64, Waiter>,
    next_number: u64,
    timekeeper: Option<u64>,
    /// When the timekeeper is to try, if it knows of anything that will be due. On the machine's clock, which it sleeps
    /// by: of two moments in stored time the later can be nearer, if the store's clock has jumped since the first was told.
    next_due: Option<Instant>,
    /// To be woken when the line is unlocked.
    to_wake: Vec<Waker>,
}

#[derive(Debug)]
struct Waiter {
    filter: TaskFilter,
    /// The task it was woken for since its last try began.
    woken_for: Option<Opened>,
    /// The task it had been woken for when its last try began.
    trying_for: Option<Opened>,
    /// Whether it is to try again for another reason.
    nudged: bool,
    /// How it is woken, if it sleeps.
    waker: Option<Waker>,
}

/// What somebody does who has tried in vain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    /// There may be something to claim.
    TryAgain,
    /// Sleeps until it is woken, or it is this moment.
    Sleep(Option<Instant>),
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Woken {
    /// There may be something to claim.
    TryAgain,
    /// Its time is up.
    TimeIsUp,
}

impl Waiters {
    /// Takes a place at the end of the line. Who joins before the first try cannot miss what is opened meanwhile.
    pub(crate) fn join(&self, filter: &TaskFilter) -> Place<'_> {
        let mut line = self.lock();
        let number = line.next_number;
        line.next_number += 1;
        let first = line.waiting.keys().next().copied();
        if line.timekeeper.is_none() || line.timekeeper == first {
            line.timekeeper = Some(number);
        }
        let filter = filter.clone();
        let waiter = Waiter { filter, woken_for: None, trying_for: None, nudged: false, waker: None };
        line.waiting.insert(number, waiter);
        Place { waiters: self, number, claimed: None }
    }

    /// Wakes whom a committed transaction concerns.
    pub(crate) fn announce(&self, news: News) {
        if news.opened.is_empty() && news.due_in.is_none() && !news.many_opened {
            return;
        }
        self.change(|line| {
            if news.many_opened {
                line.nudge_all();
            }
            for task in news.opened.into_values() {
                line.wake_for(task);
            }
            if let Some(due_in) = news.due_in {
                line.expect(due_in);
            }
        });
    }

    /// Wakes everybody: from now on the store has nothing more to tell them.
    pub(crate) fn wake_all(&self) {
        if !planted(Bug::FailureNotTold) {
            self.change(Line::nudge_all);
        }
    }

    /// Who was woken and has not begun a try since, by number in the order of arrival.
    #[cfg(test)]
    pub(crate) fn woken(&self) -> Vec<u64> {
        let line = self.lock();
        let woken = line.waiting.iter().filter(|(_, waiter)| waiter.nudged || waiter.woken_for.is_some());
        woken.map(|(number, _)| *number).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the line, and wakes those whom the change is about.
    fn change<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = self.lock();
        let changed = change(&mut line);
        let to_wake = std::mem::take(&mut line.to_wake);
        drop(line);
        to_wake.into_iter().for_each(Waker::wake);
        changed
    }
}

impl Line {
    fn wake_for(&mut self, task: Opened) {
        let mut free = self.waiting.values_mut().filter(|waiter| waiter.woken_for.is_none());
        if let Some(waiter) = free.find(|waiter| waiter.filter.lets_through(&task)) {
            waiter.woken_for = Some(task);
            self.to_wake.extend(waiter.waker.take());
        }
    }

    fn nudge_all(&mut self) {
        for waiter in self.waiting.values_mut() {
            waiter.nudged = true;
            self.to_wake.extend(waiter.waker.take());
        }
    }

    fn timekeeper(&mut self) -> Option<&mut Waiter> {
        self.timekeeper.and_then(|place| self.waiting.get_mut(&place))
    }

    /// Something will be due, which the timekeeper has to know if it sleeps for longer. It need not try before then.
    fn expect(&mut self, due_in: Duration) {
        let Some(at) = Instant::now().checked_add(due_in.max(SHORTEST_SLEEP)) else { return };
        if self.next_due.is_some_and(|known| known <= at) {
            return;
        }
        self.next_due = Some(at);
        if !planted(Bug::DueNotTold) {
            let waker = self.timekeeper().and_then(|timekeeper| timekeeper.waker.take());
            self.to_wake.extend(waker);
        }
    }

    /// What this one does after a try that found nothing. If it sleeps, it is woken through this, and no more through the
    /// one that comes back: that is dropped when the line is unlocked, since dropping it may do anything.
    fn next(&mut self, number: u64, waker: &Waker) -> (Next, Option<Waker>) {
        let due_at = self.next_due.filter(|_| self.timekeeper == Some(number));
        let Some(waiter) = self.waiting.get_mut(&number) else { return (Next::TryAgain, None) };
        // The try has shown what became of it.
        waiter.trying_for = None;
        if waiter.nudged || waiter.woken_for.is_some() || due_at.is_some_and(|at| at <= Instant::now()) {
            return (Next::TryAgain, None);
        }
        let replaced = if planted(Bug::WakerForgotten) { None } else { waiter.waker.replace(waker.clone()) };
        (Next::Sleep(due_at), replaced)
    }
}

/// A place in the line. When it is dropped, a wake-up that nobody has looked after is passed on.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    waiters: &'a Waiters,
    number: u64,
    claimed: Option<TaskId>,
}

impl Place<'_> {
    /// Said before each try: what is opened, or will be due, from here on ends the wait after it.
    pub(crate) fn begin_try(&self) {
        let mut line = self.waiters.lock();
        if line.timekeeper == Some(self.number) {
            line.next_due = None;
        }
        if let Some(waiter) = line.waiting.get_mut(&self.number) {
            waiter.nudged = false;
            waiter.trying_for = waiter.woken_for.take();
        }
    }

    /// Leaves with this task.
    pub(crate) fn leave_with(mut self, task: TaskId) {
        self.claimed = Some(task);
    }

    /// Said after each try that found nothing: it has seen what will be due next.
    pub(crate) fn end_try(&self, due_in: Option<Duration>) {
        self.waiters.change(|line| {
            if let Some(due_in) = due_in.filter(|_| line.timekeeper == Some(self.number)) {
                line.expect(due_in);
            }
        });
    }

    /// What to do after a try that has ended: asked once more whenever this waker was woken, or it is the moment that was
    /// said.
    #[cfg(feature = "tokio")]
    pub(crate) fn next(&self, waker: &Waker) -> Next {
        let (next, _replaced) = self.waiters.change(|line| line.next(self.number, waker));
        next
    }

    /// Waits in this thread after a try that found nothing, until there may be something or it is `give_up_at`. The try has
    /// seen what will be due next.
    pub(crate) fn wait(&self, give_up_at: Option<Instant>, due_in: Option<Duration>) -> Woken {
        self.end_try(due_in);
        let bell = Arc::new(Bell(Condvar::new()));
        let waker = Waker::from(Arc::clone(&bell));
        let mut line = self.waiters.lock();
        loop {
            // What it replaces is a bell of this thread's.
            let (Next::Sleep(due_at), _) = line.next(self.number, &waker) else { return Woken::TryAgain };
            let Some(wake_at) = give_up_at.into_iter().chain(due_at).min() else {
                line = bell.0.wait(line).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if give_up_at.is_some_and(|at| at <= now) {
                return Woken::TimeIsUp;
            }
            let sleep = wake_at.saturating_duration_since(now);
            line = bell.0.wait_timeout(line, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What a thread is woken by that waits.
struct Bell(Condvar);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Its waker goes last, when the line is unlocked.
        let _left = self.waiters.change(|line| {
            let mut left = line.waiting.remove(&self.number)?;
            if line.timekeeper == Some(self.number) {
                line.timekeeper = line.waiting.keys().next_back().copied();
                line.next_due = None;
                if !planted(Bug::TimeNotHandedOver) {
                    let waker = line.timekeeper().and_then(|timekeeper| {
                        timekeeper.nudged = true;
                        timekeeper.waker.take()
                    });
                    line.to_wake.extend(waker);
                }
            }
            for task in [left.trying_for.take(), left.woken_for.take()].into_iter().flatten() {
                if Some(task.task) != self.claimed && !planted(Bug::WakeUpLost) {
                    line.wake_for(task);
                }
            }
            Some(left)
        });
    }
}
