//! The agent loop of `docs/guide.md`, from nothing to finished: the same code, put together.
//!
//! ```text
//! cargo run --example guide
//! ```
//!
//! A release note is drafted by a writer and read by a reviewer. The program is shut down in the middle of the draft and
//! starts again from its file.

use std::error::Error as StdError;
use std::path::Path;
use std::thread;
use std::time::Duration;

use khala::{
    AgentId, Claim, Error, Message, MessageFilter, NewMessage, NewTask, Store, TaskFilter, TaskStatus, ThreadFilter,
    ThreadId, ThreadStatus, Timestamp,
};

type Result<T, E = Box<dyn StdError + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agents.khala");
    first_life(&path)?;
    second_life(&path)
}

fn first_life(path: &Path) -> Result<()> {
    let store = Store::open(path)?;
    let thread = store.create_thread("release note", "ada")?.id;
    store.append_message(thread, NewMessage::new("user", "Version 2 waits instead of polling. Tell people."))?;

    plan(&store, thread)?;

    // The power goes while writer-1 has the draft in hand.
    let claim = store.claim_next(&AgentId::new("writer-1")?, &TaskFilter::new().role("writer"))?;
    println!("writer-1 has {:?} in hand, and the program dies", claim.map(|claim| claim.task.instruction));
    Ok(())
}

fn second_life(path: &Path) -> Result<()> {
    let store = Store::open(path)?;
    let active = store.threads(&ThreadFilter::new().status(ThreadStatus::Active))?.items;
    let unfinished = active.iter().find(|thread| thread.workflow == "release note");
    let thread = unfinished.ok_or("there is nothing to go on with")?.id;

    plan(&store, thread)?; // the task is there already: nothing happens

    let crew = [("writer-1", "writer"), ("writer-2", "writer"), ("reviewer-1", "reviewer")];
    let crew = crew.map(|(name, role)| {
        let store = store.clone(); // a handle: all of them share one store
        thread::spawn(move || work(&store, &AgentId::new(name)?, role, thread))
    });
    for agent in crew {
        agent.join().map_err(|_| "an agent panicked")??;
    }

    look(&store, thread)?;

    let removed = store.prune(now(&store)?)?;
    println!("{removed} thread pruned");
    Ok(())
}

fn plan(store: &Store, thread: ThreadId) -> Result<()> {
    let draft = NewTask::new("writer", "Draft the release note.")
        .timeout_seconds(1) // how long a claim lasts unless it is renewed; 300 unless set
        .max_attempts(5) // then it fails for good
        .backoff_seconds(1) // it rests 1 s after the first failure, 2 s after the second, …
        .key("draft"); // one of its kind: creating it again gives back the one that is there
    let task = store.create_task(thread, draft)?;
    println!("{:?} is {}", task.instruction, task.status);
    Ok(())
}

fn work(store: &Store, me: &AgentId, role: &str, thread: ThreadId) -> Result<()> {
    let mine = TaskFilter::new().role(role);
    while store.thread(thread)?.is_some_and(|thread| thread.status == ThreadStatus::Active) {
        if let Some(claim) = store.claim_next_within(me, &mine, Duration::from_millis(500))? {
            take_turn(store, me, &claim)?;
        }
    }
    Ok(())
}

fn take_turn(store: &Store, me: &AgentId, claim: &Claim) -> Result<()> {
    let conversation = store.thread_messages(claim.task.thread_id, &MessageFilter::new().last(20))?;
    match answer(store, claim, &conversation)? {
        Answer::Said(text) => post(store, me, claim, &text),
        Answer::WentWrong(reason) => {
            let is_settled = store.fail_task(claim.task.id, claim.id, &reason)?;
            println!("{me}: {reason}{}", if is_settled { "; it will be tried again" } else { "" });
            Ok(())
        }
        Answer::NotWanted => Ok(()),
    }
}

enum Answer {
    Said(String),
    WentWrong(String),
    NotWanted,
}

fn answer(store: &Store, claim: &Claim, conversation: &[Message]) -> Result<Answer> {
    let mut text = format!("{} (I have read {} messages.)", claim.task.role, conversation.len());
    for word in ["Agents", "sleep", "until", "there", "is", "work."] {
        thread::sleep(Duration::from_millis(20)); // a model answers, a tool runs, a build compiles
        if !store.renew_claim(claim.task.id, claim.id)? {
            return Ok(Answer::NotWanted); // taken away or cancelled: the rest of the turn would be for nothing
        }
        text = format!("{text} {word}");
    }
    let is_first_review = claim.task.role == "reviewer" && claim.task.attempts == 1;
    Ok(if is_first_review { Answer::WentWrong("the model is overloaded".into()) } else { Answer::Said(text) })
}

fn post(store: &Store, me: &AgentId, claim: &Claim, text: &str) -> Result<()> {
    let (thread, task, claim_id, role) = (claim.task.thread_id, claim.task.id, claim.id, claim.task.role.clone());
    let message = NewMessage::new(&role, text).agent(me).under(task, claim_id);
    let posted = store.write(move |tx| {
        tx.append_message(thread, &message)?; // refused unless the claim holds, and then nothing of this happens
        tx.complete_task(task, claim_id)?;
        if role == "writer" {
            tx.create_task(thread, &NewTask::new("reviewer", "Read the draft.").max_attempts(3).backoff_seconds(1))?;
        } else {
            tx.finish_thread(thread, ThreadStatus::Completed, Some("The note is out."))?;
        }
        Ok(())
    });
    match posted {
        Err(Error::ClaimLost(_)) => println!("{me} was too slow, and somebody else has the task"),
        posted => {
            posted?;
            println!("{me}: done with {:?}", claim.task.instruction);
        }
    }
    Ok(())
}

fn look(store: &Store, thread: ThreadId) -> Result<()> {
    let finished = store.thread(thread)?.ok_or("the thread is gone")?;
    println!("\n{}, {}: {}", finished.workflow, finished.status, finished.result.unwrap_or_default());
    for task in store.tasks(&TaskFilter::new().thread(thread).status(TaskStatus::Completed))?.items {
        let who = task.claimed_by.map(|agent| agent.to_string());
        println!("  {:<24} {} after {} attempts", task.instruction, who.unwrap_or_default(), task.attempts);
    }
    for message in store.thread_messages(thread, &MessageFilter::new())? {
        println!("  {}: {}", message.role, message.content);
    }
    store.verify()?; // every index agrees with its rows
    Ok(())
}

/// The store's own time; an application takes off as long as it wants to keep what is finished.
fn now(store: &Store) -> khala::Result<Timestamp> {
    store.read(|tx| Ok(tx.now()))
}
