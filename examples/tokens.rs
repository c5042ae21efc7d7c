//! Letting agents in by token: a server has the store, and agents from outside show who they are with each call.
//!
//! ```text
//! cargo run --example tokens
//! ```
//!
//! The store keeps a hash of the token, so it is shown once. Whoever has it acts as the agent, until it is rotated or the
//! agent is removed.

use khala::{AgentId, Error, NewTask, Store, TaskFilter};

fn main() -> khala::Result<()> {
    let store = Store::in_memory()?;
    let thread = store.create_thread("release note", "ada")?.id;
    store.create_tasks(thread, vec![NewTask::new("writer", "Draft it."), NewTask::new("writer", "Translate it.")])?;

    let writer = AgentId::new("writer-1")?;
    let token = store.register_agent(&writer)?;
    println!("{writer} is given a token of {} characters; in logs it is {token:?}", token.expose().len());
    println!("with it: {}", claim(&store, token.expose())?);
    println!("with a guess: {}", claim(&store, "khala_0123456789abcdef")?);

    match store.register_agent(&writer) {
        Err(Error::AgentExists(agent)) => println!("nobody else can register as {agent}"),
        other => println!("this cannot be: {other:?}"),
    }

    let fresh = store.rotate_token(&writer)?; // it may have leaked
    println!("with the old token: {}", claim(&store, token.expose())?);
    println!("with the new token: {}", claim(&store, fresh.expose())?);

    store.remove_agent(&writer)?;
    println!("when the agent is removed: {}", claim(&store, fresh.expose())?);
    Ok(())
}

/// What a server does with a call that wants a task: the agent's name comes from its token, never from the call.
fn claim(store: &Store, token: &str) -> khala::Result<String> {
    let Some(agent) = store.authenticate(token)? else { return Ok("not let in".into()) };
    let claim = store.claim_next(&agent.id, &TaskFilter::new().role("writer"))?;
    Ok(claim.map_or("nothing to do".into(), |claim| format!("{} has {:?}", agent.id, claim.task.instruction)))
}
