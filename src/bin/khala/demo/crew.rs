//! The agents of the demonstration, the same before the crash and after it.

use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use khala::{AgentId, Claim, Error, NewMessage, NewTask, Result, Store, TaskFilter, TaskStatus, ThreadId};

pub(crate) const AGENTS: [&str; 4] = ["ada", "edsger", "grace", "nova"];

/// The one that falls asleep over its first task, so that there is a task in hand at the crash however fast the machine is.
pub(crate) const SLEEPER: &str = "nova";

pub(crate) const TASKS: usize = 32;
pub(crate) const WORKFLOW: &str = "demo";
const ROLE: &str = "reader";

/// How long a claim lasts: what the tasks of the dead process have to wait for.
pub(crate) const CLAIM_SECONDS: u32 = 2;

/// How long the quickest agent takes for a task, and how much longer each further one: enough for several to be in hand at
/// any moment.
pub(crate) const TURN: Duration = Duration::from_millis(200);
const SLOWER: Duration = Duration::from_millis(30);
/// Longer than the process lives, unless whoever was to kill it is gone: then it is to end by itself.
const SLEEP: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_millis(250);

/// What an agent has to tell.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) what: What,
    pub(crate) agent: String,
    /// The task's key.
    pub(crate) task: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    /// It has claimed the task. `again`: it was claimed before.
    Claimed { again: bool },
    /// It has answered and completed it, and that is on the disk.
    Done,
    /// It was too slow, and nothing of its turn was kept.
    TurnedAway,
}

/// Opens the thread and creates its tasks.
pub(crate) fn plan(store: &Store) -> Result<ThreadId> {
    store.write(|tx| {
        let thread = tx.create_thread(WORKFLOW, "khala demo")?.id;
        tx.append_message(thread, &NewMessage::new("user", format!("Read these {TASKS} pages.")))?;
        for page in 1..=TASKS {
            let task = NewTask::new(ROLE, format!("Read page {page}.")).key(format!("page-{page:02}"));
            tx.create_task(thread, &task.timeout_seconds(CLAIM_SECONDS))?;
        }
        Ok(thread)
    })
}

/// Puts the agents to it: they work until everything is done, but for the `sleepy` one, who wakes up too late.
pub(crate) fn start(store: &Store, thread: ThreadId, sleepy: &str, news: &Sender<News>) -> Vec<JoinHandle<Result<()>>> {
    let turns = (0..).map(|number| TURN + SLOWER * number);
    let agents = AGENTS.into_iter().zip(turns).map(|(name, turn)| {
        let turn = if name == sleepy { SLEEP } else { turn };
        let (store, news) = (store.clone(), news.clone());
        thread::spawn(move || work(&store, &AgentId::new(name)?, thread, turn, &news))
    });
    agents.collect()
}

fn work(store: &Store, me: &AgentId, thread: ThreadId, turn: Duration, news: &Sender<News>) -> Result<()> {
    let mine = TaskFilter::new().role(ROLE).thread(thread);
    loop {
        let Some(claim) = store.claim_next_within(me, &mine, PATIENCE)? else {
            if is_all_done(store, thread)? {
                return Ok(());
            }
            continue;
        };
        let tell = |what| {
            let task = claim.task.key.clone().unwrap_or_default();
            // Nobody listens any more when the demonstration has failed.
            let _ = news.send(News { what, agent: me.to_string(), task });
        };
        tell(What::Claimed { again: claim.task.attempts > 1 });
        thread::sleep(turn);
        tell(if answer(store, me, &claim)? { What::Done } else { What::TurnedAway });
    }
}

/// Says the answer and completes the task, in one step; `false` if the claim was lost.
fn answer(store: &Store, me: &AgentId, claim: &Claim) -> Result<bool> {
    let (thread, task, claim_id) = (claim.task.thread_id, claim.task.id, claim.id);
    let text = format!("I have done this: {}", claim.task.instruction);
    let message = NewMessage::new(ROLE, text).step(1).meta(task.to_string()).agent(me).under(task, claim_id);
    let answered = store.write(move |tx| {
        tx.append_message(thread, &message)?;
        tx.complete_task(task, claim_id)
    });
    match answered {
        Err(Error::ClaimLost(_)) => Ok(false),
        answered => answered,
    }
}

fn is_all_done(store: &Store, thread: ThreadId) -> Result<bool> {
    store.read(|tx| {
        let completed = TaskFilter::new().thread(thread).status(TaskStatus::Completed).limit(TASKS);
        Ok(tx.tasks(&completed)?.items.len() == TASKS)
    })
}
