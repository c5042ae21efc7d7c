//! The store beside the original: its tables and its queries in SQL, run by SQLite.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, named_params};

use super::harness::{Peer, Wanted, agree, steps};
use super::{must_fail, try_property};
use crate::planted::Bug;
use crate::{AgentId, ClaimId, Message, MessageId, Task, TaskId, TaskStatus, Thread, ThreadId, Timestamp};

const ORIGINAL: &str = include_str!("../original.sql");

/// The second part is what the original does not keep of a task.
struct Original(Connection, HashMap<TaskId, NotKept>);

#[derive(Clone, Copy, Default)]
struct NotKept {
    attempts: u32,
    finished_at: Option<Timestamp>,
}

impl Original {
    fn new() -> Self {
        let schema = ORIGINAL.split("-- claimTask").next().unwrap();
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(schema).unwrap();
        Self(connection, HashMap::new())
    }

    /// The original's query of this name, to the letter.
    fn query(name: &str) -> &'static str {
        let from = ORIGINAL.find(&format!("-- {name}(")).expect("the query is in the file");
        let text = &ORIGINAL[from..];
        let text = &text[text.find('\n').unwrap()..];
        &text[..=text.find(';').unwrap()]
    }
}

/// Time as the original's text: whole seconds, so that a timeout can be added, of one width, so that it sorts.
fn text(moment: Timestamp) -> String {
    assert_eq!(moment.as_micros() % 1_000_000, 0, "the harness keeps to whole seconds");
    format!("{:012}", moment.as_micros() / 1_000_000)
}

fn moment(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<i64>().unwrap() * 1_000_000)
}

impl Peer for Original {
    fn create_thread(&mut self, thread: &Thread) {
        self.0
            .execute(
                "INSERT INTO threads VALUES (?1, ?2, ?3, ?4, NULL, ?5, ?5)",
                (
                    thread.id.to_string(),
                    &thread.workflow,
                    thread.status.as_str(),
                    &thread.initiator,
                    text(thread.created_at),
                ),
            )
            .unwrap();
    }

    fn append_message(&mut self, message: &Message) {
        let insert = "INSERT INTO messages (thread_id, role, content, meta, step, agent_id, created_at)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.0
            .execute(
                insert,
                (
                    message.thread_id.to_string(),
                    &message.role,
                    &message.content,
                    &message.meta,
                    message.step as i64,
                    message.agent_id.as_ref().map(AgentId::as_str),
                    text(message.created_at),
                ),
            )
            .unwrap();
        assert_eq!(self.0.last_insert_rowid() as u64, message.id.as_u64(), "both count messages from 1");
    }

    fn create_task(&mut self, task: &Task) {
        let insert = "INSERT INTO tasks (id, thread_id, role, instruction, timeout_seconds, created_at)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.0
            .execute(
                insert,
                (
                    task.id.to_string(),
                    task.thread_id.to_string(),
                    &task.role,
                    &task.instruction,
                    task.timeout_seconds,
                    text(task.created_at),
                ),
            )
            .unwrap();
    }

    fn claim_task(&mut self, id: TaskId, agent: &AgentId, claim: ClaimId, now: Timestamp) -> bool {
        let claimed = named_params! {
            ":task_id": id.to_string(), ":agent_id": agent.as_str(), ":claim_id": claim.to_string(), ":now": text(now),
        };
        let claimed = self.0.execute(Self::query("claimTask"), claimed).unwrap() == 1;
        self.1.entry(id).or_default().attempts += u32::from(claimed);
        claimed
    }

    /// The one difference: where the original answers a repeated completion with `false`, the store says that the task
    /// is completed under this claim.
    fn complete_task(&mut self, id: TaskId, claim: ClaimId, now: Timestamp) -> bool {
        let completed = named_params! { ":task_id": id.to_string(), ":claim_id": claim.to_string() };
        if self.0.execute(Self::query("completeTask"), completed).unwrap() == 1 {
            self.1.entry(id).or_default().finished_at = Some(now);
            return true;
        }
        let before = "SELECT 1 FROM tasks WHERE id = ?1 AND claim_id = ?2 AND status = 'completed'";
        let before = self.0.query_row(before, (id.to_string(), claim.to_string()), |_| Ok(()));
        before.optional().unwrap().is_some()
    }

    fn expire_timed_out_tasks(&mut self, now: Timestamp) -> u64 {
        let now = named_params! { ":now": now.as_micros() / 1_000_000 };
        self.0.execute(Self::query("expireTimedOutTasks"), now).unwrap() as u64
    }

    fn open_tasks(&self, limit: usize) -> Vec<TaskId> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut query = self.0.prepare_cached(Self::query("getOpenTasks")).unwrap();
        let ids = query.query_map(named_params! { ":limit": limit }, |row| row.get::<_, String>("id")).unwrap();
        ids.map(|id| id.unwrap().parse().unwrap()).collect()
    }

    fn task(&self, id: TaskId) -> Task {
        let select = "SELECT * FROM tasks WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            let text = |column: &str| row.get::<_, Option<String>>(column);
            let status = [TaskStatus::Open, TaskStatus::Claimed, TaskStatus::Completed]
                .into_iter()
                .find(|status| Some(status.as_str().to_owned()) == text("status").unwrap());
            let claimed_at = text("claimed_at")?.map(|at| moment(&at));
            let timeout_seconds: u32 = row.get("timeout_seconds")?;
            let expires_at = claimed_at.map(|at| at + Duration::from_secs(timeout_seconds.into()));
            let not_kept = self.1.get(&id).copied().unwrap_or_default();
            Ok(Task {
                id,
                thread_id: text("thread_id")?.unwrap().parse().unwrap(),
                role: text("role")?.unwrap(),
                instruction: text("instruction")?.unwrap(),
                status: status.unwrap(),
                claim_id: text("claim_id")?.map(|id| id.parse().unwrap()),
                claimed_by: text("claimed_by")?.map(|id| id.parse().unwrap()),
                claimed_at,
                expires_at: expires_at.filter(|_| status == Some(TaskStatus::Claimed)),
                timeout_seconds,
                attempts: not_kept.attempts,
                max_attempts: None,
                backoff_seconds: 0,
                priority: 0,
                not_before: None,
                key: None,
                last_error: None,
                created_at: moment(&text("created_at")?.unwrap()),
                finished_at: not_kept.finished_at,
            })
        };
        self.0.query_row(select, [id.to_string()], read).unwrap()
    }

    fn thread_messages(&self, thread: ThreadId, wanted: &Wanted) -> Vec<MessageId> {
        // The original has no `after`: it goes into the inner query as one more condition.
        let original = Self::query("getThreadMessages");
        let with_after = original.replace("AND (:step", "AND (:after IS NULL OR id > :after) AND (:step");
        assert_ne!(original, with_after);
        let mut query = self.0.prepare_cached(&with_after).unwrap();
        let params = named_params! {
            ":thread_id": thread.to_string(),
            ":role": wanted.role,
            ":since": wanted.since.map(text),
            ":after": wanted.after.map(|id| id.as_u64() as i64),
            ":step": wanted.step.map(|step| step as i64),
            ":last": wanted.last.map(|last| last as i64),
        };
        let ids = query.query_map(params, |row| row.get::<_, i64>("id")).unwrap();
        ids.map(|id| MessageId::from_u64(id.unwrap() as u64)).collect()
    }
}

#[test]
fn the_store_agrees_with_the_original_sql() {
    try_property(150, &steps(), |steps| agree(Original::new(), steps)).unwrap();
}

#[test]
fn control_the_original_sql_sees_a_claim_without_a_check() {
    must_fail(Bug::ClaimWithoutCheck, &steps(), |steps| agree(Original::new(), steps));
}

#[test]
fn control_the_original_sql_sees_a_completion_without_a_check() {
    must_fail(Bug::CompleteWithoutCheck, &steps(), |steps| agree(Original::new(), steps));
}

#[test]
fn control_the_original_sql_sees_an_early_expiry() {
    must_fail(Bug::ExpireEarly, &steps(), |steps| agree(Original::new(), steps));
}
