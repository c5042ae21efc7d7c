//! `khala demo`: what khala is for, in about five seconds.
//!
//! ```text
//!   this process                     another process
//!     a new file ──── starts ──────▶   four agents race for the tasks
//!     reads what is done  ◀─────────   … and one falls asleep over its task
//!     kill -9 ─────────────────────▶   gone, with tasks in hand
//!     opens the file: what was acknowledged is there
//!     four agents go on; the tasks in hand come back as their claims time out
//!     counts, verifies
//! ```
//!
//! Nothing here is played: the process is real and killed for real, and every number is read from the store.

mod crew;
mod doomed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use clap::Args;
use comfy_table::Cell;
use khala::{MessageFilter, Store, Task, TaskFilter, TaskStatus, ThreadFilter, ThreadId, ThreadStatus};
use serde::Serialize;

use crate::args::Session;
use crate::failure::Failure;
use crate::output::{BOLD, DIM, NAME};
use crate::place::ask;
use crate::table::{self, Column};
use crate::{Answer, Result};
use crew::{AGENTS, CLAIM_SECONDS, News, SLEEPER, TASKS, TURN, What};
use doomed::Doomed;

/// How many tasks are done when the process is killed.
const DONE_BEFORE: usize = 8;

/// Shows in five seconds what khala is for: agents race, one process is killed, nothing is lost.
#[derive(Args, Debug)]
#[command(after_help = "\
It works in a new file, whose name is printed, and leaves it there to be looked at. No other store is touched.

Example: khala demo")]
pub(crate) struct Demo {
    #[arg(long = "doomed", value_name = "FILE", hide = true)]
    doomed: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    store: PathBuf,
    thread: ThreadId,
    tasks: usize,
    completed: usize,
    /// What the killed process had been told is on the disk.
    acknowledged_before_the_kill: usize,
    /// How much of that was there afterwards.
    acknowledged_and_there: usize,
    in_hand_at_the_kill: usize,
    came_back: usize,
    done_twice: usize,
    verified: bool,
    agents: Vec<Tally>,
}

/// What one agent did.
#[derive(Debug, Serialize)]
struct Tally {
    agent: &'static str,
    before_the_kill: usize,
    after: usize,
}

const COLUMNS: &[Column<Tally>] = &[
    Column { heading: "AGENT", cell: |tally| Cell::new(tally.agent) },
    Column { heading: "BEFORE THE KILL", cell: |tally| table::number(tally.before_the_kill) },
    Column { heading: "AFTER", cell: |tally| table::number(tally.after) },
];

impl Demo {
    pub(crate) fn run(self, session: &Session) -> Result {
        if let Some(file) = self.doomed {
            return doomed::live(&file);
        }
        let stage = Stage { session, began: Instant::now() };
        let folder = tempfile::Builder::new().prefix("khala-demo-").tempdir();
        let folder = folder.map_err(|error| Failure::other(format!("cannot make a temporary folder: {error}")))?;
        let file = folder.path().join("demo.khala");
        let report = stage.play(&file)?;
        let _ = folder.keep();
        stage.conclude(&report)?;
        Ok(Answer::Yes)
    }
}

/// Where it is shown.
struct Stage<'a> {
    session: &'a Session,
    began: Instant,
}

impl Stage<'_> {
    fn play(&self, file: &Path) -> Result<Report> {
        let crew = AGENTS.join(", ");
        self.say(&format!("{TASKS} tasks in a new store, {}.\n", file.display()))?;
        self.say(&format!("{BOLD}A second process{BOLD:#}: {crew} race for them.\n"))?;
        let acknowledged = self.first_life(file)?;

        let store = Store::open(file)?;
        let thread = ask(&store, only_thread)?;
        let left = ask(&store, |store| all_tasks(store, thread))?;
        let with = |status| left.iter().filter(move |task| task.status == status);
        let in_hand: BTreeSet<_> = with(TaskStatus::Claimed).map(|task| task.id).collect();
        let done: BTreeSet<_> = with(TaskStatus::Completed).map(key_of).collect();
        let there = acknowledged.intersection(&done).count();
        self.say(&format!(
            "\n{BOLD}This process{BOLD:#} opens the file. Of {} tasks acknowledged before the kill {there} are there.\n{} were \
             in hand: they come back when their {CLAIM_SECONDS} s are over. {} are open. The same agents go on.\n",
            acknowledged.len(),
            in_hand.len(),
            with(TaskStatus::Open).count(),
        ))?;
        self.second_life(&store, thread)?;
        ask(&store, |store| {
            store.finish_thread(thread, ThreadStatus::Completed, Some("All pages are read."))?;
            store.verify()
        })?;

        let tasks = ask(&store, |store| all_tasks(store, thread))?;
        let answers = ask(&store, |store| answers(store, thread))?;
        let by = |agent: &str, before: bool| {
            let its = |task: &&Task| task.claimed_by.as_ref().is_some_and(|holder| holder.as_str() == agent);
            tasks.iter().filter(its).filter(|task| done.contains(&key_of(task)) == before).count()
        };
        let agents = AGENTS.map(|agent| Tally { agent, before_the_kill: by(agent, true), after: by(agent, false) });
        Ok(Report {
            store: file.into(),
            thread,
            tasks: tasks.len(),
            completed: tasks.iter().filter(|task| task.status == TaskStatus::Completed).count(),
            acknowledged_before_the_kill: acknowledged.len(),
            acknowledged_and_there: there,
            in_hand_at_the_kill: in_hand.len(),
            came_back: tasks.iter().filter(|task| in_hand.contains(&task.id) && task.attempts > 1).count(),
            done_twice: answers.values().filter(|number| **number > 1).count(),
            verified: true, // else `verify` would have ended this
            agents: agents.into(),
        })
    }

    /// Lets another process work until it is killed. Gives back the tasks that it was told are completed.
    fn first_life(&self, file: &Path) -> Result<BTreeSet<String>> {
        let mut process = Doomed::start(file)?;
        let (mut acknowledged, mut asleep_over) = (BTreeSet::new(), None);
        while acknowledged.len() < DONE_BEFORE || asleep_over.is_none() {
            let news = process.next()?;
            self.tell(&news)?;
            match news.what {
                What::Done => _ = acknowledged.insert(news.task),
                What::Claimed { .. } if news.agent == SLEEPER => asleep_over = Some(news.task),
                _ => {}
            }
        }
        // In the middle of the others' turns.
        thread::sleep(TURN / 2);
        for news in process.kill()? {
            self.tell(&news)?;
            if news.what == What::Done {
                acknowledged.insert(news.task);
            }
        }
        let task = asleep_over.unwrap_or_default();
        self.event(&format!("{BOLD}kill -9{BOLD:#}: the process is gone, and {SLEEPER} had {task} in hand"))?;
        Ok(acknowledged)
    }

    /// Brings the work to its end.
    fn second_life(&self, store: &Store, id: ThreadId) -> Result<()> {
        let (sender, news) = mpsc::channel();
        let agents = crew::start(store, id, "nobody", &sender);
        drop(sender);
        for news in news {
            self.tell(&news)?;
        }
        for agent in agents {
            let ended = agent.join().map_err(|_| Failure::other("an agent panicked"))?;
            ended.map_err(|error| Failure::of(error, store.failure()))?;
        }
        Ok(())
    }

    fn tell(&self, News { what, agent, task }: &News) -> Result<()> {
        let width = AGENTS.iter().map(|agent| agent.len()).max().unwrap_or_default();
        let agent = format!("{NAME}{agent:<width$}{NAME:#}");
        match what {
            What::Claimed { again: false } => Ok(()),
            What::Claimed { again: true } => {
                self.event(&format!("{agent}  {task} has come back, and is claimed again"))
            }
            What::Done => self.event(&format!("{agent}  {task} done")),
            What::TurnedAway => self.event(&format!("{agent}  {task} was taken away: turned down")),
        }
    }

    fn event(&self, what: &str) -> Result<()> {
        self.say(&format!("{DIM}{:>6.2} s{DIM:#}  {what}\n", self.began.elapsed().as_secs_f64()))
    }

    /// What is for people alone.
    fn say(&self, text: &str) -> Result<()> {
        if self.session.output.json { Ok(()) } else { self.session.output.text(text) }
    }

    fn conclude(&self, report: &Report) -> Result<()> {
        if self.session.output.json {
            return self.session.output.one(report, |_| String::new());
        }
        self.say("\n")?;
        let mut list = self.session.output.list(COLUMNS);
        list.add(&report.agents)?;
        list.end("agents", None)?;
        self.say(&format!(
            "\n{} of {} tasks completed; {BOLD}lost: {}, done twice: {}{BOLD:#}; came back after the kill: {} of {}.\n\
             Every index agrees with its rows: verified.\n\n",
            report.completed,
            report.tasks,
            report.acknowledged_before_the_kill - report.acknowledged_and_there,
            report.done_twice,
            report.came_back,
            report.in_hand_at_the_kill,
        ))?;
        let (store, thread) = (shell_word(&report.store.display().to_string()), report.thread);
        self.say(&format!(
            "The file stays. To look into it:\n  khala --store {store} thread {thread} --last 5\n  khala --store {store} \
             tasks\n  khala --store {store} timeline {thread} -o demo.svg\n"
        ))
    }
}

/// The thread of the demonstration.
fn only_thread(store: &Store) -> khala::Result<ThreadId> {
    let threads = store.threads(&ThreadFilter::new())?.items;
    threads.first().map(|thread| thread.id).ok_or_else(|| khala::Error::aborted("the killed process left no thread"))
}

fn all_tasks(store: &Store, thread: ThreadId) -> khala::Result<Vec<Task>> {
    Ok(store.tasks(&TaskFilter::new().thread(thread).limit(TASKS))?.items)
}

fn key_of(task: &Task) -> String {
    task.key.clone().unwrap_or_default()
}

/// How many answers there are to each task.
fn answers(store: &Store, thread: ThreadId) -> khala::Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for message in store.thread_messages(thread, &MessageFilter::new().step(1))? {
        *answers.entry(message.meta.unwrap_or_default()).or_default() += 1;
    }
    Ok(answers)
}

/// As a shell wants to read it.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
