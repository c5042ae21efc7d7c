//! Agents as tasks of a Tokio runtime: a hundred wait and take no thread, and all are sent home in the middle of their work.
//!
//! ```text
//! cargo run --features tokio --example tokio
//! ```

use std::error::Error;
use std::time::Duration;

use khala::{AgentId, AsyncStore, NewMessage, NewTask, Store, TaskFilter, TaskStatus, ThreadId};
use tokio::sync::watch;
use tokio::task::JoinSet;

const AGENTS: usize = 100;
const TASKS: usize = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = AsyncStore::from(Store::in_memory()?); // AsyncStore::open("agents.khala").await? for a file
    let thread = store.create_thread("letters", "ada").await?.id;

    let (closing_time, is_closing) = watch::channel(false);
    let mut agents = JoinSet::new();
    for number in 1..=AGENTS {
        agents.spawn(work(store.clone(), AgentId::new(format!("writer-{number}"))?, is_closing.clone()));
    }
    println!("{AGENTS} agents wait");

    let letters = (1..=TASKS).map(|number| NewTask::new("writer", format!("Write letter {number}.")));
    store.create_tasks(thread, letters.collect()).await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    closing_time.send(true)?;
    let mut finished = 0;
    while let Some(agent) = agents.join_next().await {
        finished += agent??;
    }
    println!("all have gone home");

    // What they had in their hands is open again, its attempt not counted, and nothing is done twice. A claim that was
    // under way when its future was dropped comes back a moment later.
    let [done, open] = loop {
        let tasks = store.stats().await?.tasks;
        let count = |status| tasks.get(&status).copied().unwrap_or(0);
        if count(TaskStatus::Claimed) == 0 {
            break [TaskStatus::Completed, TaskStatus::Open].map(count);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    println!("{finished} letters finished; in the store {done} completed and {open} open make {}", done + open);
    println!("{} letters in the thread", letters_in(&store, thread).await?);
    store.close().await;
    Ok(())
}

/// Takes one task after the other until it is time to go. How many it finished.
async fn work(store: AsyncStore, me: AgentId, mut is_closing: watch::Receiver<bool>) -> khala::Result<u64> {
    let mine = TaskFilter::new().role("writer");
    let mut finished = 0;
    loop {
        // Whichever comes first. A claim that was under way is given back.
        let claim = tokio::select! {
            () = closed(&mut is_closing) => return Ok(finished),
            claim = store.claim_next_within(&me, &mine, Duration::MAX) => claim?,
        };
        let Some(claim) = claim else { continue };
        let (task, claim, thread) = (claim.task.id, claim.id, claim.task.thread_id);
        let letter = tokio::select! {
            () = closed(&mut is_closing) => {
                store.release_task(task, claim).await?;
                return Ok(finished);
            }
            letter = model() => letter,
        };
        // The turn in one step: carried out whole, even if this future were dropped here.
        let said_by = me.clone();
        store
            .write(move |tx| {
                tx.append_message(thread, &NewMessage::new("writer", letter).agent(&said_by).under(task, claim))?;
                tx.complete_task(task, claim)
            })
            .await?;
        finished += 1;
    }
}

async fn closed(is_closing: &mut watch::Receiver<bool>) {
    // Nobody left who could close is closed as well.
    let _ = is_closing.wait_for(|is_closing| *is_closing).await;
}

/// Minutes and real money, elsewhere.
async fn model() -> &'static str {
    tokio::time::sleep(Duration::from_millis(20)).await;
    "Dear reader, …"
}

async fn letters_in(store: &AsyncStore, thread: ThreadId) -> khala::Result<usize> {
    store.read(move |tx| Ok(tx.thread_messages(thread, &khala::MessageFilter::new())?.len())).await
}
