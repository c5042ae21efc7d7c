//! The process that soaks a store: round after round of work, and what is compared and measured when nobody works.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::watch::{Progress, keeps_to_its_room, levels_off, memory};
use super::work::{BALLAST, LOG, Line, Work, block, may_jump, open};
use super::{Figures, Flaw, Word};
use crate::planted::with_bug;
use crate::{ClaimId, MessageFilter, MessageId, NewMessage, Store, ThreadId, ThreadStatus, Timestamp};

use super::super::campaign::words_of;
use super::super::child::{self, say};
use super::super::clocks::{PushedClock, STEPS};
use super::super::life::History;

/// Messages of a kilobyte each that stay from the first round to the last.
const BALLAST_MESSAGES: usize = 8_000;

/// More threads than this are deleted after a round, with what is in them, the oldest first.
const MOST_THREADS: usize = 40;

/// So many ids of what is gone stay known, for those who come late.
const LATE_IDS: usize = 100;

/// The soak as a process.
pub(in super::super) fn soaks(arguments: &[String]) {
    let [file, seconds, seed, flaw] = arguments else { panic!("four arguments, not {arguments:?}") };
    let flaw: Option<Flaw> = serde_json::from_str(flaw).unwrap();
    let (time, seed) = (Duration::from_secs(seconds.parse().unwrap()), seed.parse().unwrap());
    let progress = Progress::default();
    progress.watch(|wrong| {
        last_word(&Err(wrong));
        // Whoever hangs would keep the process.
        std::process::exit(0);
    });
    let soak = || Soak::new(file.into(), seed, flaw, progress).and_then(|soak| soak.go_on(time));
    let ended = catch_unwind(AssertUnwindSafe(|| with_bug(flaw.and_then(Flaw::bug), soak)));
    last_word(&ended.unwrap_or_else(|panic| Err(format!("a panic: {}", words_of(panic.as_ref())))));
    // A transaction that is held would keep it, too.
    std::process::exit(0);
}

fn last_word(word: &Word) {
    say(&serde_json::to_string(word).unwrap());
}

struct Soak {
    file: PathBuf,
    clock: PushedClock,
    /// `None` while another process has it.
    store: Option<Store>,
    log: ThreadId,
    history: History,
    /// When the last line of the log was written.
    latest: Timestamp,
    random: fastrand::Rng,
    flaw: Option<Flaw>,
    progress: Progress,
    held_bytes: Vec<u64>,
    figures: Figures,
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Soak {
    fn new(file: PathBuf, seed: u64, flaw: Option<Flaw>, progress: Progress) -> Result<Self, String> {
        let clock = PushedClock::default();
        let store = open(&file, &clock).map_err(words)?;
        let mut history = History::default();
        let first = store.create_thread("review", "test").map_err(words)?;
        history.known.threads.push(first.id);
        let ballast = store.create_thread(BALLAST, "test").map_err(words)?;
        let messages = (0..BALLAST_MESSAGES).map(|n| NewMessage::new("user", format!("{n:01000}")));
        let messages = store.append_messages(ballast.id, messages.collect()).map_err(words)?;
        history.model.messages.extend(messages.iter().map(|message| (message.id, ballast.id)));
        history.model.threads.extend([first, ballast].map(|thread| (thread.id, thread)));
        let mut soak = Self {
            file,
            clock,
            store: Some(store),
            log: messages[0].thread_id,
            history,
            latest: Timestamp::MIN,
            random: fastrand::Rng::with_seed(seed),
            flaw,
            progress,
            held_bytes: vec![],
            figures: Figures::default(),
        };
        soak.begin_a_log()?;
        Ok(soak)
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn begin_a_log(&mut self) -> Result<(), String> {
        let log = self.store().create_thread(LOG, "test").map_err(words)?;
        self.log = log.id;
        self.history.model.threads.insert(log.id, log);
        Ok(())
    }

    fn go_on(mut self, time: Duration) -> Word {
        let end = Instant::now() + time;
        if self.flaw == Some(Flaw::HeldRead) {
            let store = self.store().clone();
            thread::spawn(move || store.read(|_| -> crate::Result<()> { block() }));
        }
        // Whoever holds the store keeps it from being opened again, and who is dead does not leak.
        let here_only = self.flaw.is_some_and(|flaw| flaw.bug().is_none());
        while Instant::now() < end {
            // What is wrong on purpose is looked at more often, so that it does not take long.
            let longest = if self.flaw.is_some() { 200 } else { 700 };
            let length = Duration::from_millis(self.random.u64(100..longest));
            let is_killed = !here_only && self.figures.rounds % 3 == 1;
            let acknowledged = if is_killed { self.work_until_killed(length)? } else { self.work_here(length)? };
            self.compare(&acknowledged)?;
            self.clean_up()?;
            self.measure()?;
            if !here_only && self.random.bool() {
                self.reopen()?;
            }
            self.figures.rounds += 1;
        }
        self.reopen()?;
        self.history.compare_rows(self.store(), &"the end").map_err(words)?;
        Ok(self.figures)
    }

    fn work_here(&mut self, time: Duration) -> Result<Vec<MessageId>, String> {
        let acknowledged = Mutex::new(vec![]);
        let seed = self.random.u64(..);
        let work = Work {
            store: self.store(),
            clock: &self.clock,
            log: self.log,
            known: Mutex::new(self.history.known.clone()),
            flaw: self.flaw,
            progress: &self.progress,
            over: AtomicBool::default(),
        };
        work.go_on(seed, time, |line| acknowledged.lock().unwrap().push(line))?;
        Ok(acknowledged.into_inner().unwrap())
    }

    /// Has another process work on the file, and kills it in the middle of that.
    fn work_until_killed(&mut self, time: Duration) -> Result<Vec<MessageId>, String> {
        self.close();
        let arguments = [
            self.file.to_str().unwrap(),
            &self.log.to_string(),
            &self.random.u64(..).to_string(),
            &self.clock.pushed().to_string(),
            &serde_json::to_string(&self.flaw).unwrap(),
        ];
        let mut worker = child::start("works-until-killed", &arguments, None);
        let mut acknowledged = vec![];
        let (mut kill_at, mut wrong) = (None, None);
        for line in child::lines(worker.stdout.take().unwrap()) {
            match line.parse() {
                Ok(id) => acknowledged.push(MessageId::from_u64(id)),
                Err(_) => wrong = Some(format!("in a worker: {line}")),
            }
            self.progress.made();
            let kill_at = *kill_at.get_or_insert_with(|| Instant::now() + time);
            if Instant::now() >= kill_at || wrong.is_some() {
                let _ = worker.kill();
            }
        }
        let ended = worker.wait().map_err(words)?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if ended.code().is_some() {
            return Err(format!("a worker ended before it was killed: {ended}"));
        }
        self.figures.kills += 1;
        self.open_again()?;
        Ok(acknowledged)
    }

    fn close(&mut self) {
        self.store = None;
        self.progress.made();
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.close();
        self.open_again()?;
        self.figures.reopenings += 1;
        Ok(())
    }

    /// The clock jumps meanwhile, or not.
    fn open_again(&mut self) -> Result<(), String> {
        if self.random.u8(..4) == 0 {
            self.clock.push(may_jump(&self.clock, STEPS[self.random.usize(..STEPS.len())]));
        }
        self.store = Some(open(&self.file, &self.clock).map_err(words)?);
        self.progress.made();
        Ok(())
    }

    /// Replays the log on the model: every answer must be the model's, and so must every row. What was acknowledged must
    /// be in the log.
    fn compare(&mut self, acknowledged: &[MessageId]) -> Result<(), String> {
        let lines = self.store().thread_messages(self.log, &MessageFilter::new()).map_err(words)?;
        for message in &lines {
            let line: Line = serde_json::from_str(&message.content).map_err(words)?;
            let now = message.created_at;
            if now < self.latest {
                return Err(format!("time went back from {} to {now}: {line:?}", self.latest));
            }
            self.latest = now;
            let expected = self.history.answer(&line.call, &line.made, now);
            if format!("{expected:?}") != line.answer {
                return Err(format!("{line:?} at {now}, and the model's answer is {expected:?}"));
            }
            self.history.model.messages.insert(message.id, self.log);
            self.progress.made();
        }
        for told in acknowledged {
            if lines.binary_search_by_key(told, |line| line.id).is_err() {
                return Err(format!("line {told} was acknowledged, and is lost"));
            }
        }
        self.figures.operations += lines.len() as u64;
        self.figures.acknowledged += acknowledged.len() as u64;
        self.history.compare_rows(self.store(), &"a round").map_err(words)?;
        self.progress.made();
        self.store().verify().map_err(words)?;
        self.progress.made();
        Ok(())
    }

    /// Deletes what is old, so that there is always about as much.
    fn clean_up(&mut self) -> Result<(), String> {
        let live = self.store().stats().map_err(words)?.bytes_in_use;
        self.figures.live_bytes = self.figures.live_bytes.max(live);
        let old = self.history.known.threads.iter().filter(|id| self.history.model.threads.contains_key(id));
        let mut old: Vec<_> = old.copied().collect();
        old.truncate(old.len().saturating_sub(MOST_THREADS));
        old.push(self.log);
        for thread in old {
            let deleted = self.store().delete_thread(thread).map_err(words)?;
            if !(self.history.model.delete(thread) && deleted) {
                return Err(format!("thread {thread} could not be deleted"));
            }
            self.progress.made();
        }
        let History { model, known, tokens } = &mut self.history;
        if !model.threads.values().any(|thread| thread.workflow == "review" && thread.status == ThreadStatus::Active) {
            let thread = self.store.as_ref().unwrap().create_thread("review", "test").map_err(words)?;
            known.threads.push(thread.id);
            model.threads.insert(thread.id, thread);
        }
        forget(&mut known.threads, |id| model.threads.contains_key(id));
        forget(&mut known.tasks, |id| model.tasks.contains_key(id));
        let holds = |claim: ClaimId| model.tasks.values().any(|task| task.claim_id == Some(claim));
        forget(&mut known.claims, |(_, claim)| holds(*claim));
        forget(tokens, |token| model.agents.values().any(|good| good == token));
        self.begin_a_log()
    }

    fn measure(&mut self) -> Result<(), String> {
        let file = self.store().stats().map_err(words)?.bytes_on_disk.unwrap_or_default();
        self.figures.file_bytes = self.figures.file_bytes.max(file);
        keeps_to_its_room(file, self.figures.live_bytes)?;
        if let Some(memory) = memory() {
            self.figures.most_memory_bytes = Some(memory.most_bytes);
            self.held_bytes.push(memory.now_bytes);
        }
        levels_off(&self.held_bytes)?;
        self.progress.made();
        Ok(())
    }
}

/// Keeps what is alive, and of the rest what came last.
fn forget<T>(all: &mut Vec<T>, is_alive: impl Fn(&T) -> bool) {
    let dead = all.iter().filter(|one| !is_alive(one)).count();
    let mut surplus = dead.saturating_sub(LATE_IDS);
    all.retain(|one| {
        let goes = surplus > 0 && !is_alive(one);
        surplus -= usize::from(goes);
        !goes
    });
}
