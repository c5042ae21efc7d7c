//! The store as a whole: creating it, counting, clearing up, checking.

use clap::Args;
use khala::{Store, Timestamp};
use serde::Serialize;

use crate::args::Session;
use crate::output::{fields, wheel};
use crate::place::ask;
use crate::text::{bytes, count, grouped, moment, moment_or_dash};
use crate::values;
use crate::{Answer, Result};

/// Creates the store, unless it is there already.
#[derive(Args, Debug)]
#[command(after_help = "Example: khala --store agents.khala init")]
pub(crate) struct Init {}

#[derive(Serialize)]
struct Created {
    store: String,
    created: bool,
}

impl Init {
    #[expect(clippy::unused_self, reason = "every command runs in one way")]
    pub(crate) fn run(self, session: &Session) -> Result {
        let was_there = session.place.path().exists();
        drop(session.place.open_or_create()?);
        let created = Created { store: session.place.path().display().to_string(), created: !was_there };
        session.output.one(&created, |created| {
            let outcome = if created.created { "created" } else { "is there already" };
            format!("{} {outcome}\n", created.store)
        })?;
        Ok(Answer::Yes)
    }
}

/// Counts what is in the store, and the room it takes.
#[derive(Args, Debug)]
#[command(after_help = "\
It looks at each thread and task: a second or so for a million.

Example: khala --json stats | jq .tasks.open")]
pub(crate) struct Stats {}

impl Stats {
    #[expect(clippy::unused_self, reason = "every command runs in one way")]
    pub(crate) fn run(self, session: &Session) -> Result {
        let stats = session.place.with(Store::stats)?;
        session.output.one(&stats, |stats| {
            let mut lines = vec![("agents".to_owned(), grouped(stats.agents))];
            lines.extend(stats.threads.iter().map(|(status, number)| (format!("threads {status}"), grouped(*number))));
            lines.push(("messages".into(), grouped(stats.messages)));
            lines.extend(stats.tasks.iter().map(|(status, number)| (format!("tasks {status}"), grouped(*number))));
            lines.push(("oldest open task".into(), moment_or_dash(stats.oldest_open)));
            lines.push(("claims timed out".into(), grouped(stats.claims_due)));
            lines.push(("in use".into(), bytes(stats.bytes_in_use)));
            lines.extend(stats.bytes_on_disk.map(|size| ("on disk".into(), bytes(size))));
            fields(&lines.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<Vec<_>>())
        })?;
        Ok(Answer::Yes)
    }
}

/// Takes away every claim that has timed out, and opens scheduled tasks whose time has come.
#[derive(Args, Debug)]
#[command(after_help = "\
`khala claim` without a task does the same before it looks, so nothing depends on this being called.

Example: khala expire")]
pub(crate) struct Expire {}

#[derive(Serialize)]
struct Expired {
    expired: u64,
}

impl Expire {
    #[expect(clippy::unused_self, reason = "every command runs in one way")]
    pub(crate) fn run(self, session: &Session) -> Result {
        let expired = session.place.with(Store::expire_timed_out_tasks)?;
        session.output.one(&Expired { expired }, |expired| format!("{}\n", expired.expired))?;
        Ok(Answer::Yes)
    }
}

/// Removes threads that finished before a moment, with their messages and tasks.
#[derive(Args, Debug)]
#[command(after_help = "\
The room they took is used again; `khala compact` gives it back to the disk.

Examples:
  khala prune --before 30d
  khala prune --before 2026-01-31")]
pub(crate) struct Prune {
    /// The moment: RFC 3339, a date (its beginning in UTC), or so long ago, such as 30d.
    #[arg(long, value_name = "MOMENT", value_parser = values::past)]
    before: Timestamp,
}

#[derive(Serialize)]
struct Pruned {
    pruned: u64,
    before: Timestamp,
}

impl Prune {
    pub(crate) fn run(self, session: &Session) -> Result {
        let before = self.before;
        let wheel = wheel("pruning");
        let pruned = session.place.with(|store| store.prune(before));
        wheel.finish_and_clear();
        session.output.one(&Pruned { pruned: pruned?, before }, |pruned| {
            format!("{} that finished before {} removed\n", count(pruned.pruned, "thread"), moment(pruned.before))
        })?;
        Ok(Answer::Yes)
    }
}

/// Checks every page of the file, every row, and that every index agrees with its rows.
#[derive(Args, Debug)]
#[command(after_help = "Example: khala check && khala backup /backups/agents.khala")]
pub(crate) struct Check {}

#[derive(Serialize)]
struct Checked {
    store: String,
    schema: u32,
    agents: u64,
    threads: u64,
    messages: u64,
    tasks: u64,
    bytes_on_disk: Option<u64>,
}

impl Check {
    #[expect(clippy::unused_self, reason = "every command runs in one way")]
    pub(crate) fn run(self, session: &Session) -> Result {
        let wheel = wheel("checking");
        let checked = check(session);
        wheel.finish_and_clear();
        let checked = checked?;
        session.output.one(&checked, |checked| {
            let rows = [
                count(checked.agents, "agent"),
                count(checked.threads, "thread"),
                count(checked.messages, "message"),
                count(checked.tasks, "task"),
            ];
            format!("{} is whole: {}; schema {}\n", checked.store, rows.join(", "), checked.schema)
        })?;
        Ok(Answer::Yes)
    }
}

fn check(session: &Session) -> Result<Checked> {
    let store = session.place.open_always_checked()?;
    ask(&store, |store| {
        store.verify()?;
        let stats = store.stats()?;
        let schema = store.schema_history()?.last().map_or(0, |applied| applied.version);
        Ok(Checked {
            store: session.place.path().display().to_string(),
            schema,
            agents: stats.agents,
            threads: stats.threads.values().sum(),
            messages: stats.messages,
            tasks: stats.tasks.values().sum(),
            bytes_on_disk: stats.bytes_on_disk,
        })
    })
}
