//! Everything a store holds, to be compared.

use crate::{Agent, AppliedMigration, Message, MessageFilter, ReadTx, Result, Task, TaskFilter, Thread, ThreadFilter};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contents {
    history: Vec<AppliedMigration>,
    agents: Vec<Agent>,
    threads: Vec<Thread>,
    pub(super) messages: Vec<Message>,
    pub(super) tasks: Vec<Task>,
}

impl Contents {
    pub(super) fn of(tx: &ReadTx<'_>) -> Result<Self> {
        let threads = tx.threads(&ThreadFilter::new().limit(usize::MAX))?.items;
        let mut messages = Vec::new();
        for thread in &threads {
            messages.extend(tx.thread_messages(thread.id, &MessageFilter::new())?);
        }
        let tasks = tx.tasks(&TaskFilter::new().limit(usize::MAX))?.items;
        Ok(Self { history: tx.schema_history()?, agents: tx.agents(None, usize::MAX)?, threads, messages, tasks })
    }

    /// Where this is not what was expected.
    pub(super) fn difference(&self, expected: &Self) -> String {
        let rows = |contents: &Self| {
            let threads = contents.threads.iter().map(|row| format!("{row:?}"));
            let messages = contents.messages.iter().map(|row| format!("{row:?}"));
            let tasks = contents.tasks.iter().map(|row| format!("{row:?}"));
            let others = contents.agents.iter().map(|row| format!("{row:?}"));
            threads.chain(messages).chain(tasks).chain(others).collect::<Vec<_>>()
        };
        let (found, expected) = (rows(self), rows(expected));
        let of = |some: &[String], others: &[String]| {
            let alone: Vec<_> = some.iter().filter(|row| !others.contains(row)).take(3).cloned().collect();
            alone.join("; ")
        };
        format!("there is [{}] and not [{}]", of(&found, &expected), of(&expected, &found))
    }
}
