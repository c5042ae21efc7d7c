//! An agent sleeps until there is something for it to do. Four things wake it, and none of them is a poll.
//!
//! ```text
//! cargo run --example waiting
//! ```

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use khala::{AgentId, NewTask, Store, TaskFilter};

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::in_memory()?;
    let thread = store.create_thread("night shift", "ada")?.id;
    let task = |instruction: &str| NewTask::new("guard", instruction).timeout_seconds(1);

    // Another agent has two tasks in hand, and a third is for later. Nothing is open.
    let (other, guards) = (AgentId::new("guard-1")?, TaskFilter::new().role("guard"));
    store.create_tasks(thread, vec![task("was given back"), task("was in the hands of one who crashed")])?;
    let to_give_back = store.claim_next(&other, &guards)?.ok_or("it is open")?;
    store.claim_next(&other, &guards)?.ok_or("it is open")?;
    let soon = store.read(|tx| Ok(tx.now() + Duration::from_millis(600)))?;
    store.create_task(thread, task("was scheduled for now").not_before(soon))?;

    let guard = {
        let (store, began) = (store.clone(), Instant::now());
        thread::spawn(move || watch(&store, began))
    };
    thread::sleep(Duration::from_millis(200));
    store.create_task(thread, task("was created"))?;
    thread::sleep(Duration::from_millis(200));
    store.release_task(to_give_back.task.id, to_give_back.id)?;

    let woken = guard.join().map_err(|_| "the guard panicked")??;
    println!("woken {woken} times, and then there was nothing more");
    Ok(())
}

/// Takes what comes, until nothing has come for a while. Gives back how often something did.
fn watch(store: &Store, began: Instant) -> khala::Result<u32> {
    let (me, mine) = (AgentId::new("guard-2")?, TaskFilter::new().role("guard"));
    let mut woken = 0;
    while let Some(claim) = store.claim_next_within(&me, &mine, Duration::from_millis(1_200))? {
        woken += 1;
        println!("after {:>4} ms: a task that {}", began.elapsed().as_millis(), claim.task.instruction);
        store.complete_task(claim.task.id, claim.id)?;
    }
    Ok(woken)
}
