//! Runs threads on a store, and writes down what each of them asked, what it was answered, and when.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::super::life::{Plan, agent, new_task, role};
use super::calls::{Answer, Next, Read, Write};
use super::choose::{Board, next};
use crate::planted::{Bug, with_bug};
use crate::witness::{Serial, listen, tick};
use crate::{Clock, ManualClock, Store, Timestamp};

/// What a thread asked.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Write(Write),
    Read(Read),
}

/// A line of a history.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) asked: Asked,
    pub(super) answer: Answer,
    /// Ticks of one counter: of two calls of which one returned before the other was made, it has the lower ones.
    pub(super) called: u64,
    pub(super) returned: u64,
    /// What the clock said then.
    pub(super) clock: (Timestamp, Timestamp),
    /// The transactions it took, in order.
    pub(super) serials: Vec<Serial>,
}

/// How many threads do how much, and what is wrong with the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Race {
    pub(super) threads: usize,
    /// Those who wait for tasks and do nothing else.
    pub(super) patient: usize,
    pub(super) calls: u64,
    pub(super) bug: Option<Bug>,
    /// How long nothing may move before it is said that nothing does.
    pub(super) watch: Duration,
}

/// What the threads of a race share.
pub(super) struct Scene<'a> {
    pub(super) store: &'a Store,
    pub(super) clock: &'a ManualClock,
    pub(super) board: &'a Board,
}

pub(super) type Log = Vec<Entry>;

impl Scene<'_> {
    /// Asks for this, and writes it down.
    pub(super) fn ask(&self, asked: Asked, log: &mut Log) {
        let clock_before = self.clock.now();
        let called = tick();
        let (answer, serials) = listen(|| match &asked {
            Asked::Write(write) => write.ask(self.store),
            Asked::Read(read) => read.ask(self.store),
        });
        let returned = tick();
        self.board.learn(&answer);
        log.push(Entry { asked, answer, called, returned, clock: (clock_before, self.clock.now()), serials });
    }

    /// Runs a race to its end: no call is under way when it returns, and nobody waits.
    pub(super) fn run(&self, race: Race, random: &mut Rng) -> Result<Log, String> {
        let left = AtomicU64::new(race.calls);
        let waiting: Vec<Waiting> = (0..race.patient).map(|_| Waiting::default()).collect();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..race.threads)
                .map(|_| {
                    let (random, left) = (random.fork(), &left);
                    scope.spawn(move || with_bug(race.bug, || self.work(random, left)))
                })
                .collect();
            let patient: Vec<_> = waiting
                .iter()
                .map(|waiting| {
                    let (random, left) = (random.fork(), &left);
                    scope.spawn(move || with_bug(race.bug, || self.wait(random, left, waiting)))
                })
                .collect();
            let worked: Vec<_> = workers.into_iter().map(ScopedJoinHandle::join).collect();
            // One that panicked has left some.
            left.store(0, Relaxed);
            // A panic in here would wait for those who wait for ever.
            let served =
                catch_unwind(AssertUnwindSafe(|| with_bug(race.bug, || self.serve(&waiting, race.watch, random))));
            let served = served.unwrap_or_else(|_| Err("the one who serves panicked".into()));
            if served.is_err() {
                self.release(&waiting);
            }
            let waited = patient.into_iter().map(ScopedJoinHandle::join);
            let logs = worked.into_iter().chain(waited).chain([Ok(served?)]);
            Ok(logs.collect::<Result<Vec<_>, _>>().map_err(|_| "a thread panicked")?.concat())
        })
    }

    /// Does what comes to mind until all has been done.
    fn work(&self, mut random: Rng, left: &AtomicU64) -> Log {
        let mut log = Log::new();
        while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            let first = Asked::Write(Write::CreateThread);
            let asked = self.board.choose(&mut random, self.clock.now()).unwrap_or(first);
            self.ask(asked, &mut log);
            if random.u32(..60) == 0 {
                self.clock.advance(Duration::from_millis(random.u64(..8000)));
            }
        }
        log
    }

    /// Waits for tasks until all has been done, one time for ever, another time for a moment; the last time for ever.
    fn wait(&self, mut random: Rng, left: &AtomicU64, waiting: &Waiting) -> Log {
        let mut log = Log::new();
        let _gone = Leaves(waiting);
        loop {
            let next = next(&mut random);
            let is_over = left.load(Relaxed) == 0;
            let for_ever = is_over || random.u8(..3) == 0;
            let patience = if for_ever { Duration::MAX } else { Duration::from_micros(random.u64(..20_000)) };
            waiting.set(Doing::Waits(patience, next.clone()));
            self.ask(Asked::Write(Write::ClaimNextWithin(agent(random.u8(..6)), next, patience)), &mut log);
            if for_ever && left.load(Relaxed) == 0 {
                return log;
            }
            waiting.set(Doing::Works);
        }
    }

    /// With everybody else gone, sees that nobody waits for a task that is there, and serves those who wait with no more
    /// than they need: with tasks to spare, a lost wake-up would be made good by the next one.
    fn serve(&self, waiting: &[Waiting], watch: Duration, random: &mut Rng) -> Result<Log, String> {
        let mut log = Log::new();
        self.ask(Asked::Write(Write::Expire), &mut log);
        self.ask(Asked::Write(Write::CreateThread), &mut log);
        let Some(Answer::Thread(thread)) = log.last().map(|entry| entry.answer.clone()) else {
            return Err("no thread can be made".into());
        };
        until(watch, || waiting.iter().all(Waiting::waits_for_ever_or_is_gone))
            .map_err(|()| "a wait does not end in its time".to_owned())?;
        loop {
            until(watch, || self.passed_over(waiting).is_none())
                .map_err(|()| format!("a wake-up is lost: {:?}", self.passed_over(waiting)))?;
            let still: Vec<_> = waiting.iter().filter_map(Waiting::patient).collect();
            let made = match still.as_slice() {
                [] => return Ok(log),
                // Of two tasks that come at once, somebody can take the one that it was not woken for.
                [one, other, _, ..] => {
                    let urgent = Plan { priority: random.i16(0..2), ..other.one_task() };
                    Write::CreatePair(thread.id, one.one_task(), urgent)
                }
                [one, ..] => Write::CreateTask(thread.id, one.one_task(), None),
            };
            self.ask(Asked::Write(made), &mut log);
            until(watch, || waiting.iter().filter_map(Waiting::patient).count() < still.len())
                .map_err(|()| format!("a wake-up is lost: one of {still:?} can have what was made"))?;
        }
    }

    /// Somebody who waits for ever, and a task there that it could have.
    fn passed_over(&self, waiting: &[Waiting]) -> Option<String> {
        let open = self.store.open_tasks(usize::MAX).unwrap_or_default();
        waiting.iter().filter_map(Waiting::patient).find_map(|next| {
            let task = open.iter().find(|task| next.role.is_none_or(|number| task.role == role(number)))?;
            Some(format!("{next:?} waits, and there is {task:?}"))
        })
    }

    /// Lets everybody go, after something has gone wrong. With a bug in place a call can be answered with an error now and
    /// then, so all is asked for again and again, and who waits for a moment waits for ever afterwards. A store that has
    /// failed tells everybody who tries.
    fn release(&self, waiting: &[Waiting]) {
        while !waiting.iter().all(Waiting::is_gone) {
            if let Some(next) = waiting.iter().find_map(Waiting::patient) {
                let thread = self.store.create_thread("release", "test");
                let _ = thread.and_then(|thread| self.store.create_task(thread.id, new_task(&next.one_task(), None)));
                self.store.waiters().wake_all();
            }
            std::thread::yield_now();
        }
    }
}

/// What somebody patient does.
#[derive(Debug, Default)]
struct Waiting(Mutex<Doing>);

#[derive(Debug, Default)]
enum Doing {
    #[default]
    Works,
    /// For so long, for this.
    Waits(Duration, Next),
    Gone,
}

impl Waiting {
    fn set(&self, doing: Doing) {
        *self.now() = doing;
    }

    fn now(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits_for_ever_or_is_gone(&self) -> bool {
        matches!(*self.now(), Doing::Waits(Duration::MAX, _) | Doing::Gone)
    }

    fn is_gone(&self) -> bool {
        matches!(*self.now(), Doing::Gone)
    }

    /// What it waits for until it comes.
    fn patient(&self) -> Option<Next> {
        if let Doing::Waits(Duration::MAX, next) = &*self.now() { Some(next.clone()) } else { None }
    }
}

/// Has it known that somebody is gone, also if it panicked.
struct Leaves<'a>(&'a Waiting);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.set(Doing::Gone);
    }
}

/// Returns when it has come about, or that it has not in all this time.
fn until(watch: Duration, mut has_come: impl FnMut() -> bool) -> Result<(), ()> {
    let started = Instant::now();
    while !has_come() {
        if started.elapsed() > watch {
            return Err(());
        }
        std::thread::yield_now();
    }
    Ok(())
}
