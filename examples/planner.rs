//! A planner splits a sum into parts, workers do them, and the planner dies in the middle and starts again.
//!
//! ```text
//! cargo run --release --example planner
//! ```
//!
//! The question is how many primes there are below two million. Each part is a range, and a task with a key of its own in
//! the planner's thread. A planner that starts again knows nothing but the store's file: it reads there which thread is
//! its own and creates *all* tasks once more. Those that are there already come back as they are, completed or not, and
//! nothing is done twice.
//!
//! ```text
//!   first life                            second life
//!     open a thread                         find the thread
//!     create parts 0 to 11                  create parts 0 to 23: half of them come back
//!     workers do a few, one is              workers do the rest; the part that was in hand
//!     in hand ── dies here                  comes when its claim has timed out
//!                                           add up what the thread says, finish it
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use khala::{
    AgentId, Claim, MessageFilter, NewMessage, NewTask, Store, Task, TaskFilter, TaskStatus, ThreadFilter, ThreadId,
    ThreadStatus,
};

const BELOW: u64 = 2_000_000;
/// How many primes there are below: what must come out.
const PRIMES: u64 = 148_933;
const PARTS: u64 = 24;
const PART: u64 = BELOW.div_ceil(PARTS);

const WORKERS: usize = 4;
/// How many parts are done when the planner dies, of the half that it has created.
const DONE_BEFORE: usize = 5;

const WORKFLOW: &str = "count primes";
const ROLE: &str = "counter";
const TIMEOUT_SECONDS: u32 = 1;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` does.
        Err(error) if error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("planner: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("planner.khala");
    let before = first_life(&file)?;
    // The store is closed. What goes on in memory is only there to be compared.
    second_life(&file, &before)
}

/// Creates half of the tasks, sees some of them done, and dies with one in hand. Gives back the tasks as it leaves them.
fn first_life(file: &Path) -> Result<Vec<Task>> {
    let store = Store::open(file)?;
    say(&format!("The planner asks how many primes there are below {BELOW}, in {PARTS} parts."))?;
    let thread = own_thread(&store)?;
    let tasks = create_parts(&store, thread, PARTS / 2)?;
    let worker = AgentId::new("worker-0")?;
    let of_thread = TaskFilter::new().role(ROLE).thread(thread);
    for _ in 0..DONE_BEFORE {
        let claim = store.claim_next(&worker, &of_thread)?.ok_or("there is nothing to do")?;
        count_part(&store, &worker, &claim)?;
    }
    let in_hand = store.claim_next(&worker, &of_thread)?.ok_or("there is nothing to do")?;
    let key = in_hand.task.key.as_deref().unwrap_or_default();
    say(&format!("It dies: {} parts created, {DONE_BEFORE} done, {key} in hand, the others not begun.", tasks.len()))?;
    Ok(store.tasks(&TaskFilter::new().thread(thread))?.items)
}

/// Starts again from nothing but the file, and brings the work to its end.
fn second_life(file: &Path, before: &[Task]) -> Result<()> {
    let store = Store::open(file)?;
    say("\nThe planner starts again.")?;
    let thread = own_thread(&store)?;
    let workers = (1..=WORKERS).map(|number| {
        let store = store.clone();
        thread::spawn(move || work(&store, &AgentId::new(format!("worker-{number}"))?, thread))
    });
    // They wait before there is anything to do, and are woken.
    let workers: Vec<_> = workers.collect();
    let tasks = create_parts(&store, thread, PARTS)?;
    check("the tasks created before come back", before.iter().zip(&tasks).all(|(old, new)| old.id == new.id))?;
    let done: Vec<_> = before.iter().filter(|task| task.status == TaskStatus::Completed).collect();
    check("those done before come back as they were", done.iter().all(|task| tasks.contains(task)))?;
    say(&format!("{} of them are there already, {} of those done before.", before.len(), done.len()))?;
    for worker in workers {
        let (worker, parts) = worker.join().map_err(|_| "a worker panicked")??;
        say(&format!("{worker} did {parts} parts."))?;
    }

    let total = join_results(&store, thread, &tasks)?;
    let answer = format!("There are {total} primes below {BELOW}.");
    let message = NewMessage::new("planner", &answer).step(1);
    // In one step: the thread never says the answer without being finished.
    store.write(move |tx| {
        tx.append_message(thread, &message)?;
        tx.finish_thread(thread, ThreadStatus::Completed, Some(&answer))
    })?;
    store.verify()?;
    check(&format!("{total} is the right total, {PRIMES}"), total == PRIMES)?;
    let result = store.thread(thread)?.and_then(|thread| thread.result);
    say(&format!("\n{}", result.unwrap_or_default()))?;
    say(&format!("Each of the {PARTS} parts was counted once, {} of them before the restart.", done.len()))?;
    Ok(())
}

/// The thread of an earlier life that is not finished, or a new one.
fn own_thread(store: &Store) -> Result<ThreadId> {
    let active = store.threads(&ThreadFilter::new().status(ThreadStatus::Active))?.items;
    if let Some(thread) = active.iter().find(|thread| thread.workflow == WORKFLOW) {
        say(&format!("It finds its thread, {}.", thread.id))?;
        return Ok(thread.id);
    }
    let thread = store.create_thread(WORKFLOW, "planner")?.id;
    say(&format!("It opens the thread {thread}."))?;
    Ok(thread)
}

/// Creates the first `parts` tasks, or gets them back.
fn create_parts(store: &Store, thread: ThreadId, parts: u64) -> Result<Vec<Task>> {
    let tasks = (0..parts).map(|part| {
        let (from, to) = (part * PART, ((part + 1) * PART).min(BELOW));
        let task = NewTask::new(ROLE, format!("{from} {to}")).key(format!("part-{part}"));
        Ok(store.create_task(thread, task.timeout_seconds(TIMEOUT_SECONDS).max_attempts(5))?)
    });
    say(&format!("It creates the tasks part-0 to part-{}.", parts - 1))?;
    tasks.collect()
}

/// Does parts until there is none for as long as a claim lasts. Gives back how many that were.
fn work(store: &Store, me: &AgentId, thread: ThreadId) -> Result<(AgentId, usize)> {
    let of_thread = TaskFilter::new().role(ROLE).thread(thread);
    let patience = Duration::from_secs(TIMEOUT_SECONDS.into());
    let mut parts = 0;
    while let Some(claim) = store.claim_next_within(me, &of_thread, patience)? {
        parts += usize::from(count_part(store, me, &claim)?);
    }
    Ok((me.clone(), parts))
}

/// Counts the primes of a part, posts the number under the claim and completes the task; `false` if it was too slow.
fn count_part(store: &Store, me: &AgentId, claim: &Claim) -> Result<bool> {
    let (from, to) = claim.task.instruction.split_once(' ').ok_or("an instruction is two numbers")?;
    let primes = (from.parse::<u64>()?..to.parse()?).filter(|&number| is_prime(number)).count();
    let (task, thread, claim_id) = (claim.task.id, claim.task.thread_id, claim.id);
    let message = NewMessage::new(ROLE, primes.to_string()).meta(task.to_string()).agent(me).under(task, claim_id);
    let posted = store.write(move |tx| {
        tx.append_message(thread, &message)?;
        tx.complete_task(task, claim_id)
    });
    match posted {
        // Somebody else has the task by now, or will, and nothing of this is in the thread.
        Err(khala::Error::ClaimLost(_)) => Ok(false),
        posted => Ok(posted?),
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

/// Adds up what the workers said, and makes sure that each task was done, and done once.
fn join_results(store: &Store, thread: ThreadId, tasks: &[Task]) -> Result<u64> {
    let mut results: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for message in store.thread_messages(thread, &MessageFilter::new().role(ROLE))? {
        results.entry(message.meta.unwrap_or_default()).or_default().push(message.content.parse()?);
    }
    check("there is a result for each task", results.len() == tasks.len())?;
    let mut total = 0;
    for task in tasks {
        match results.get(&task.id.to_string()).map(Vec::as_slice) {
            Some([primes]) => total += primes,
            other => return Err(format!("task {} has the results {other:?}", task.id).into()),
        }
        let status = store.task(task.id)?.map(|task| task.status);
        check("every task is completed", status == Some(TaskStatus::Completed))?;
    }
    Ok(total)
}

/// Ends the program unless this is so.
fn check(what: &str, is_so: bool) -> Result<()> {
    if is_so { Ok(()) } else { Err(format!("it is not so that {what}").into()) }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
