//! What 16 threads do to a store at once, and the log of it: every operation writes a line about itself in its own commit.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::{Deserialize, Serialize};

use super::Flaw;
use super::watch::Progress;
use crate::limits::CLOCK_MAX;
use crate::planted::with_bug;
use crate::trace::operation;
use crate::{
    Error, MessageFilter, MessageId, NewMessage, Result, Store, TaskFilter, ThreadFilter, ThreadId, ThreadStatus,
    Timestamp, WriteTx,
};

use super::super::child::say;
use super::super::clocks::{PushedClock, STEPS};
use super::super::life::{Call, Known, Made, Op, answer_of, op, task_filter};

pub(super) const THREADS: u64 = 16;

/// The workflow of the thread that is the log.
pub(super) const LOG: &str = "log";

/// That of the thread whose messages are there so that the file is not all change.
pub(super) const BALLAST: &str = "ballast";

/// A worker that nobody kills ends by itself.
const LONGEST_WORK: Duration = Duration::from_secs(20);

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) call: Call,
    pub(super) made: Made,
    /// As it prints.
    pub(super) answer: String,
}

/// Does it, and writes the line about it. Says where that stands, and when.
fn logged(tx: &mut WriteTx<'_>, log: ThreadId, call: &Call, flaw: Option<Flaw>) -> Result<Done> {
    let (answer, made) = answer_of(tx, call)?;
    let line = Line { call: call.clone(), made, answer: format!("{answer:?}") };
    let message = tx.append_message(log, &NewMessage::new("log", serde_json::to_string(&line).unwrap()))?;
    if flaw == Some(Flaw::Leak) {
        std::mem::forget(vec![1_u8; 32 * 1024]);
    }
    Ok(Done { made: line.made, line: message.id, now: tx.now() })
}

#[derive(Debug)]
struct Done {
    made: Made,
    line: MessageId,
    now: Timestamp,
}

/// What the threads of a round share.
pub(super) struct Work<'a> {
    pub(super) store: &'a Store,
    pub(super) clock: &'a PushedClock,
    pub(super) log: ThreadId,
    pub(super) known: Mutex<Known>,
    pub(super) flaw: Option<Flaw>,
    pub(super) progress: &'a Progress,
    pub(super) over: AtomicBool,
}

impl Work<'_> {
    /// Has all of them work, and the clock jump, for so long. Tells `acknowledged` of every line whose commit was
    /// acknowledged.
    pub(super) fn go_on(
        &self,
        seed: u64,
        time: Duration,
        acknowledged: impl Fn(MessageId) + Sync,
    ) -> Result<(), String> {
        let until = Instant::now() + time;
        let bug = self.flaw.and_then(Flaw::bug);
        let running = AtomicU64::new(THREADS);
        thread::scope(|scope| {
            let acknowledged = &acknowledged;
            let running = &running;
            let work = |number: u64| {
                scope.spawn(move || {
                    let done = with_bug(bug, || self.work(seed.wrapping_add(number), acknowledged));
                    running.fetch_sub(1, Relaxed);
                    done
                })
            };
            let threads: Vec<_> = (0..THREADS).map(work).collect();
            let mut random = fastrand::Rng::with_seed(seed);
            while Instant::now() < until && running.load(Relaxed) == THREADS {
                thread::sleep(Duration::from_millis(random.u64(5..50)));
                self.push_the_clock(&mut random);
                if self.flaw == Some(Flaw::BlockedWriter) {
                    self.store.write(|_| -> Result<()> { block() }).map_err(|error| error.to_string())?;
                }
            }
            self.over.store(true, Relaxed);
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into())))
        })
    }

    /// Mostly time passes, faster than it does; now and then it jumps.
    fn push_the_clock(&self, random: &mut fastrand::Rng) {
        let step = if random.u8(..20) == 0 { STEPS[random.usize(..STEPS.len())] } else { random.i64(0..4_000_000) };
        self.clock.push(may_jump(self.clock, step));
    }

    fn work(&self, seed: u64, acknowledged: &(impl Fn(MessageId) + Sync)) -> Result<(), String> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut wishes = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let mut random = fastrand::Rng::with_seed(seed);
        let ops = op();
        let mut now = Timestamp::MIN;
        while !self.over.load(Relaxed) {
            if random.u8(..8) == 0 {
                self.read(now)?;
                continue;
            }
            let op = ops.new_tree(&mut wishes).unwrap().current();
            let Some(call) = self.resolve(&op, now) else { continue };
            let done = self.do_or_wait(&call, &mut random).map_err(|error| format!("{call:?}: {error}"))?;
            if done.now < now {
                return Err(format!("time went back from {now} to {}", done.now));
            }
            now = done.now;
            self.known.lock().unwrap().learn(&done.made);
            acknowledged(done.line);
            self.progress.made();
        }
        Ok(())
    }

    fn resolve(&self, op: &Op, now: Timestamp) -> Option<Call> {
        // What it guesses may be wrong by the time it asks: so it is with agents.
        let newest_of = |thread| {
            let said = self.store.thread_messages(thread, &MessageFilter::new().last(1)).unwrap_or_default();
            said.first().map(|message| message.id)
        };
        self.known.lock().unwrap().resolve(op, now, newest_of)
    }

    /// Some of those who want any task wait for one. Every try is an operation of its own.
    fn do_or_wait(&self, call: &Call, random: &mut fastrand::Rng) -> Result<Done> {
        let (log, flaw) = (self.log, self.flaw);
        let asked = call.clone();
        match call {
            Call::ClaimNext(_, role, thread) if random.bool() => {
                // The last try is the one that counts, and so is the last time it ran.
                let last = Arc::new(Mutex::new(None));
                let told = Arc::clone(&last);
                let patience = Duration::from_millis(random.u64(..100));
                self.store.claim_within(
                    operation!("claim_next_within"),
                    &task_filter(*role, *thread),
                    patience,
                    move |tx| {
                        let done = logged(tx, log, &asked, flaw)?;
                        let claim = if let Made::Claim(claim) = &done.made { Some(claim.clone()) } else { None };
                        *told.lock().unwrap() = Some(done);
                        Ok(claim)
                    },
                )?;
                let last = last.lock().unwrap().take();
                Ok(last.unwrap())
            }
            _ => self.store.write(move |tx| logged(tx, log, &asked, flaw)),
        }
    }

    /// In one snapshot every open task is in a thread that is active, and time is not behind what this thread wrote.
    fn read(&self, written: Timestamp) -> Result<(), String> {
        let seen = self.store.read(|tx| {
            for task in tx.open_tasks(20)? {
                let thread = tx.thread(task.thread_id)?;
                if thread.is_none_or(|thread| thread.status != ThreadStatus::Active) {
                    return Err(Error::aborted(format!("an open task in a thread that is not active: {task:?}")));
                }
            }
            Ok(tx.now())
        });
        let now = seen.map_err(|error| error.to_string())?;
        if now < written {
            return Err(format!("time went back from {written} to {now}, for a reader"));
        }
        Ok(())
    }
}

pub(super) fn block() -> ! {
    loop {
        thread::park();
    }
}

/// The step, or none if it led to the end of time: those who soak for hours would get there.
pub(super) fn may_jump(clock: &PushedClock, step: i64) -> i64 {
    let room = CLOCK_MAX.duration_since(crate::Clock::now(clock)).as_micros() as i64;
    if step > 0 && step > room / 4 { 0 } else { step }
}

/// What there is in a store to do things to.
fn known_of(store: &Store) -> Result<Known> {
    let threads = store.threads(&ThreadFilter::new().limit(usize::MAX))?.items;
    let tasks = store.tasks(&TaskFilter::new().limit(usize::MAX))?.items;
    Ok(Known {
        threads: threads
            .iter()
            .filter(|thread| ![LOG, BALLAST].contains(&thread.workflow.as_str()))
            .map(|thread| thread.id)
            .collect(),
        tasks: tasks.iter().map(|task| task.id).collect(),
        claims: tasks.iter().filter_map(|task| Some((task.id, task.claim_id?))).collect(),
    })
}

/// The worker process: works on the file, and says which lines were acknowledged, until it is killed.
pub(in super::super) fn works_until_killed(arguments: &[String]) {
    let [file, log, seed, pushed, flaw] = arguments else { panic!("five arguments, not {arguments:?}") };
    let clock = PushedClock::default();
    clock.push(pushed.parse().unwrap());
    let flaw: Option<Flaw> = serde_json::from_str(flaw).unwrap();
    let store = with_bug(flaw.and_then(Flaw::bug), || open(Path::new(file), &clock)).unwrap();
    let work = Work {
        store: &store,
        clock: &clock,
        log: log.parse().unwrap(),
        known: Mutex::new(known_of(&store).unwrap()),
        flaw,
        progress: &Progress::default(),
        over: AtomicBool::default(),
    };
    if let Err(wrong) = work.go_on(seed.parse().unwrap(), LONGEST_WORK, |line| say(&line.as_u64().to_string())) {
        say(&wrong);
    }
}

pub(super) fn open(file: &Path, clock: &PushedClock) -> Result<Store> {
    // A small cache, so that it is full soon and memory that grows is another's.
    Store::builder().clock(clock.clone()).cache_bytes(4 << 20).open(file)
}
