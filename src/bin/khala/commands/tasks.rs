//! Tasks: lists, one with what is known of its life, and new ones.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use comfy_table::Cell;
use khala::{AgentId, NewTask, Task, TaskFilter, TaskId, TaskStatus, ThreadId, Timestamp};

use super::lists::Part;
use crate::args::Session;
use crate::output::{DIM, fields};
use crate::table::{self, Column};
use crate::text::{harmless, indented, moment, moment_or_dash, summary};
use crate::values::{self, texts};
use crate::{Answer, Result};

const STATUSES: [TaskStatus; 6] = [
    TaskStatus::Open,
    TaskStatus::Scheduled,
    TaskStatus::Claimed,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Cancelled,
];

fn status_parser() -> impl TypedValueParser<Value = TaskStatus> {
    let names = PossibleValuesParser::new(STATUSES.map(TaskStatus::as_str));
    names.try_map(|name| STATUSES.into_iter().find(|status| status.as_str() == name).ok_or("no status"))
}

/// Lists the tasks, the oldest first.
#[derive(Args, Debug)]
#[command(after_help = "\
Of a status, tasks come by the time that matters to it: open ones by role, in each whose turn it is, claimed \
ones as they time out, finished ones as they finished.

Examples:
  khala tasks --status open --role writer
  khala tasks --status failed --newest --limit 20
  khala --json tasks --thread $thread --all")]
pub(crate) struct Tasks {
    /// Only those that stand so.
    #[arg(long, value_parser = status_parser())]
    status: Option<TaskStatus>,

    /// Only those for this role.
    #[arg(long)]
    role: Option<String>,

    /// Only those of this thread.
    #[arg(long)]
    thread: Option<ThreadId>,

    /// Only those this agent has in hand.
    #[arg(long, value_name = "AGENT")]
    holder: Option<AgentId>,

    #[command(flatten)]
    part: Part,
}

const COLUMNS: &[Column<Task>] = &[
    Column { heading: "TASK", cell: |task| Cell::new(task.id) },
    Column { heading: "STATUS", cell: |task| table::task_status(task.status) },
    Column { heading: "ROLE", cell: |task| Cell::new(summary(&task.role)) },
    Column { heading: "TRIES", cell: |task| table::number(tries(task)) },
    Column { heading: "AGENT", cell: |task| Cell::new(task.claimed_by.as_ref().map_or("-".into(), name)) },
    Column { heading: "SINCE", cell: |task| Cell::new(moment(since(task))) },
    Column { heading: "INSTRUCTION", cell: |task| Cell::new(summary(&task.instruction)) },
];

fn name(agent: &AgentId) -> String {
    summary(agent.as_str())
}

fn tries(task: &Task) -> String {
    task.max_attempts.map_or_else(|| task.attempts.to_string(), |most| format!("{}/{most}", task.attempts))
}

/// Since when it stands as it does, as far as that is stored.
fn since(task: &Task) -> Timestamp {
    task.finished_at.or(task.claimed_at).unwrap_or(task.created_at)
}

impl Tasks {
    pub(crate) fn run(self, session: &Session) -> Result {
        let mut filter = TaskFilter::new();
        filter = self.status.into_iter().fold(filter, TaskFilter::status);
        filter = self.role.into_iter().fold(filter, TaskFilter::role);
        filter = self.thread.into_iter().fold(filter, TaskFilter::thread);
        filter = self.holder.iter().fold(filter, TaskFilter::holder);
        self.part.print(session, "tasks", COLUMNS, |tx, wanted| {
            let mut filter = filter.clone().limit(wanted.limit);
            if wanted.newest_first {
                filter = filter.newest_first();
            }
            if let Some(after) = wanted.after {
                filter = filter.after(after);
            }
            tx.tasks(&filter)
        })
    }
}

/// Shows a task and what is known of its life, or adds a new one.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
A store keeps the last claim of a task and the reason of its last failure, not those before.

Examples:
  khala task 01D39ZY06FGSCTVN4T2V9PKHFZ
  task=$(khala task add $thread --role writer 'Draft the release notes.')")]
pub(crate) struct TaskArgs {
    /// Which task.
    #[arg(required = true, value_name = "TASK")]
    id: Option<TaskId>,

    #[command(subcommand)]
    command: Option<TaskCommand>,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    Add(Add),
}

/// Adds a task to a thread and prints its id.
#[derive(Args, Debug)]
#[command(after_help = "\
With --key it is added once: again gives back the task that is there, whatever has become of it.

Examples:
  task=$(khala task add $thread --role writer 'Draft the release notes.' --max-attempts 3 --backoff 30s)
  khala task add $thread - --role reviewer --key review-of-chapter-1 --timeout 15m <instruction.txt")]
struct Add {
    /// In which thread.
    thread: ThreadId,

    /// What is to be done; - is all of the standard input, as it is.
    #[arg(allow_hyphen_values = true)]
    instruction: String,

    /// Who is to do it, in your words. Each role is a queue.
    #[arg(long)]
    role: String,

    /// How long a claim of it lasts.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = values::seconds)]
    timeout: u32,

    /// How often it may be claimed before it fails for good; for ever, unless set.
    #[arg(long, value_name = "COUNT")]
    max_attempts: Option<u32>,

    /// How long it rests after its first failure; twice as long after each further one, at most a day.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = values::seconds)]
    backoff: u32,

    /// Higher comes first within its role.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    priority: i16,

    /// The earliest moment it may be claimed: RFC 3339, a date, or so long from now, such as 10m.
    #[arg(long, value_name = "MOMENT", value_parser = values::future)]
    not_before: Option<Timestamp>,

    /// What makes it one of a kind in its thread.
    #[arg(long)]
    key: Option<String>,
}

impl TaskArgs {
    pub(crate) fn run(self, session: &Session) -> Result {
        match (self.command, self.id) {
            (Some(TaskCommand::Add(add)), _) => add.run(session)?,
            (None, None) => {}
            (None, Some(id)) => {
                let task = session.place.with(|store| store.task(id)?.ok_or(khala::Error::TaskNotFound(id)))?;
                session.output.one(&task, task_text)?;
            }
        }
        Ok(Answer::Yes)
    }
}

impl Add {
    fn run(self, session: &Session) -> Result<()> {
        let [instruction] = texts([Some(&self.instruction)])?;
        let mut task = NewTask::new(self.role, instruction.unwrap_or_default())
            .timeout_seconds(self.timeout)
            .backoff_seconds(self.backoff)
            .priority(self.priority);
        task = self.max_attempts.into_iter().fold(task, NewTask::max_attempts);
        task = self.not_before.into_iter().fold(task, NewTask::not_before);
        task = self.key.into_iter().fold(task, NewTask::key);
        let added = session.place.with(|store| store.create_task(self.thread, task))?;
        session.output.one(&added, |task| format!("{}\n", task.id))
    }
}

/// A task with all that is known of it.
pub(super) fn task_text(task: &Task) -> String {
    let mut lines = vec![
        ("task", task.id.to_string()),
        ("thread", task.thread_id.to_string()),
        ("role", harmless(&task.role)),
        ("status", task.status.to_string()),
        ("tries", tries(task)),
        ("timeout", format!("{} s", task.timeout_seconds)),
    ];
    if task.backoff_seconds > 0 {
        lines.push(("backoff", format!("{} s", task.backoff_seconds)));
    }
    if task.priority != 0 {
        lines.push(("priority", task.priority.to_string()));
    }
    if let Some(key) = &task.key {
        lines.push(("key", harmless(key)));
    }
    let life = life(task)
        .into_iter()
        .map(|(when, what)| format!("{DIM}{:<20}{DIM:#}  {what}\n", moment_or_dash(when)))
        .collect::<Vec<_>>()
        .concat();
    format!("{}\n{life}\n{}", fields(&lines), indented(&task.instruction, "  "))
}

/// What has happened to it and what will, as far as it is stored.
fn life(task: &Task) -> Vec<(Option<Timestamp>, String)> {
    let mut life = vec![(Some(task.created_at), "created".to_owned())];
    let holder = task.claimed_by.as_ref().map_or_else(|| "nobody".into(), name);
    if task.claimed_at.is_some() {
        let claim = task.claim_id.map_or_else(String::new, |claim| format!(", claim {claim}"));
        life.push((task.claimed_at, format!("claimed by {holder}{claim}")));
    }
    let because = task.last_error.as_ref().map(|reason| summary(reason));
    match (task.status, because) {
        (TaskStatus::Failed, Some(reason)) => life.push((task.finished_at, format!("failed: {reason}"))),
        (status, because) => {
            life.extend(because.map(|reason| (None, format!("an attempt failed: {reason}"))));
            match status {
                TaskStatus::Claimed => {
                    life.push((task.expires_at, "times out, unless it is renewed or settled".into()));
                }
                TaskStatus::Scheduled => life.push((task.not_before, "may be claimed".into())),
                status if status.is_finished() => life.push((task.finished_at, status.to_string())),
                _ => {}
            }
        }
    }
    life
}
