//! A pool of threads drains a queue: each task is done once, and none is done twice.
//!
//! ```text
//! cargo run --example worker_pool
//! ```

use std::error::Error;
use std::thread;
use std::time::Duration;

use khala::{AgentId, NewTask, Store, TaskFilter, TaskStatus};

const TASKS: u64 = 500;
const WORKERS: usize = 8;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path().join("pool.khala"))?;

    // They wait before there is anything to do.
    let workers = (1..=WORKERS).map(|number| {
        let store = store.clone();
        thread::spawn(move || work(&store, &AgentId::new(format!("worker-{number}"))?))
    });
    let workers: Vec<_> = workers.collect();

    let thread = store.create_thread("squares", "ada")?.id;
    let tasks = (1..=TASKS).map(|number| NewTask::new("worker", number.to_string()));
    store.create_tasks(thread, tasks.collect())?;

    let (mut done, mut sum) = (0, 0);
    for worker in workers {
        let (me, its_done, its_sum) = worker.join().map_err(|_| "a worker panicked")??;
        println!("{me} did {its_done:>3} tasks");
        (done, sum) = (done + its_done, sum + its_sum);
    }
    let completed = store.stats()?.tasks.get(&TaskStatus::Completed).copied();
    println!("{done} of {TASKS} tasks done, {} completed in the store", completed.unwrap_or_default());
    println!("the squares of 1 to {TASKS} add up to {sum}");
    Ok(())
}

/// Squares numbers until there has been nothing to do for a while. Gives back how many, and their sum.
fn work(store: &Store, me: &AgentId) -> Result<(AgentId, u64, u64)> {
    let mine = TaskFilter::new().role("worker");
    let (mut done, mut sum) = (0, 0);
    while let Some(claim) = store.claim_next_within(me, &mine, Duration::from_secs(1))? {
        let number: u64 = claim.task.instruction.parse()?;
        if store.complete_task(claim.task.id, claim.id)? {
            (done, sum) = (done + 1, sum + number * number);
        }
    }
    Ok((me.clone(), done, sum))
}
