//! Everything a store says, as one text.

use std::fmt::{Debug, Write as _};

use crate::{MessageFilter, ReadTx, Result, Store, TaskFilter, TaskStatus, ThreadFilter, ThreadStatus};

const THREAD_STATUSES: [ThreadStatus; 4] =
    [ThreadStatus::Active, ThreadStatus::Completed, ThreadStatus::Failed, ThreadStatus::Cancelled];

const TASK_STATUSES: [TaskStatus; 6] = [
    TaskStatus::Open,
    TaskStatus::Scheduled,
    TaskStatus::Claimed,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Cancelled,
];

/// Every row of every table, by each way that leads to it: one by one, in lists, filtered and counted.
pub(super) fn contents(store: &Store, tokens: &[String]) -> Result<String> {
    store.read(|tx| of(tx, tokens))
}

fn of(tx: &ReadTx<'_>, tokens: &[String]) -> Result<String> {
    let mut text = String::new();
    let mut line = |what: &str, said: &dyn Debug| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what}: {said:?}");
    };
    line("history", &tx.schema_history()?);
    line("stats", &tx.stats()?);
    line("open", &tx.open_tasks(usize::MAX)?);
    line("agents", &tx.agents(None, usize::MAX)?);
    for token in tokens {
        line("let in", &tx.authenticate(token)?);
    }
    for status in TASK_STATUSES {
        let mut filter = TaskFilter::new().status(status).limit(7);
        loop {
            let page = tx.tasks(&filter)?;
            for task in &page.items {
                line("listed", &task.id);
                line("task", &tx.task(task.id)?);
            }
            let Some(next) = page.next else { break };
            filter = filter.after(next);
        }
    }
    for status in THREAD_STATUSES {
        for thread in tx.threads(&ThreadFilter::new().status(status).limit(usize::MAX))?.items {
            line("thread", &tx.thread(thread.id)?);
            line("all", &tx.thread_messages(thread.id, &MessageFilter::new())?);
            let last: Vec<_> = tx.thread_messages(thread.id, &MessageFilter::new().step(1).last(2))?;
            line("last of a step", &last.iter().map(|message| message.id).collect::<Vec<_>>());
            let tasks = tx.tasks(&TaskFilter::new().thread(thread.id).limit(usize::MAX))?.items;
            line("tasks", &tasks.iter().map(|task| task.id).collect::<Vec<_>>());
        }
    }
    Ok(text)
}
