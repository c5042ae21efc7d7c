//! The least there is: a task, a claim, an answer.
//!
//! ```text
//! cargo run --example minimal
//! ```

use khala::{AgentId, MessageFilter, NewMessage, NewTask, Store, TaskFilter};

fn main() -> khala::Result<()> {
    let store = Store::in_memory()?; // Store::open("agents.khala")? for a file
    let thread = store.create_thread("greeting", "ada")?.id;
    store.create_task(thread, NewTask::new("greeter", "Greet the world."))?;

    let me = AgentId::new("greeter-1")?;
    while let Some(claim) = store.claim_next(&me, &TaskFilter::new().role("greeter"))? {
        println!("{me} claims {:?}", claim.task.instruction);
        store.append_message(thread, NewMessage::new("greeter", "Hello, world!").agent(&me))?;
        store.complete_task(claim.task.id, claim.id)?;
    }

    for message in store.thread_messages(thread, &MessageFilter::new())? {
        println!("{} says {:?}", message.role, message.content);
    }
    Ok(())
}
