//! A turn happens as a whole or not at all: the answer, the completed task and the next task are one step.
//!
//! ```text
//! cargo run --example atomic_turn
//! ```
//!
//! Two writers get the same task, one after the other: the first falls asleep over it. When it wakes up and posts, nothing of
//! its turn is kept. Time is turned by hand, so that nobody has to wait for the claim to time out.

use std::time::Duration;

use khala::{AgentId, Claim, Error, ManualClock, MessageFilter, NewMessage, NewTask, Store, TaskFilter, Timestamp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new(Timestamp::from_micros(0));
    let store = Store::builder().clock(clock.clone()).in_memory()?;
    let thread = store.create_thread("release note", "ada")?.id;
    store.create_task(thread, NewTask::new("writer", "Draft it.").timeout_seconds(60))?;

    let writers = TaskFilter::new().role("writer");
    let (sleeper, other) = (AgentId::new("sleeper")?, AgentId::new("writer-2")?);
    let stale = store.claim_next(&sleeper, &writers)?.ok_or("the task is open")?;
    println!("{sleeper} claims the task and falls asleep");

    clock.advance(Duration::from_secs(60));
    let claim = store.claim_next(&other, &writers)?.ok_or("the first claim has timed out")?;
    println!("a minute later {other} has it");

    match post_turn(&store, &sleeper, &stale, "Zzz.") {
        Err(Error::ClaimLost(task)) => println!("{sleeper} wakes up and posts: it has lost task {task}"),
        other => println!("this cannot be: {other:?}"),
    }
    show(&store, &claim)?;

    post_turn(&store, &other, &claim, "A draft.")?;
    println!("{other} posts");
    show(&store, &claim)?;
    Ok(())
}

/// Says the answer, completes the task and hands it on to a reviewer; all of it, or nothing.
fn post_turn(store: &Store, me: &AgentId, claim: &Claim, answer: &str) -> khala::Result<()> {
    let (thread, task, claim) = (claim.task.thread_id, claim.task.id, claim.id);
    let message = NewMessage::new("writer", answer).agent(me).under(task, claim);
    store.write(move |tx| {
        tx.create_task(thread, &NewTask::new("reviewer", "Review the draft."))?;
        tx.append_message(thread, &message)?; // refused under a lost claim, and with it what stands before it
        tx.complete_task(task, claim)?;
        Ok(())
    })
}

fn show(store: &Store, claim: &Claim) -> khala::Result<()> {
    let thread = claim.task.thread_id;
    // One snapshot: no turn is ever seen half-way.
    let (messages, reviews, task) = store.read(|tx| {
        let reviews = tx.tasks(&TaskFilter::new().thread(thread).role("reviewer"))?;
        Ok((tx.thread_messages(thread, &MessageFilter::new())?, reviews, tx.task(claim.task.id)?))
    })?;
    let status = task.map_or("gone", |task| task.status.as_str());
    println!("  the task is {status}; messages: {}, reviews to do: {}", messages.len(), reviews.items.len());
    Ok(())
}
