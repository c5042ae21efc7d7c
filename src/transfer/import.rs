//! All rows in, or none.

use std::io::BufRead;

use serde::Serialize;
use serde_json::Value;

use super::columns::Columns;
use super::objects::{Object, Objects, at_line};
use super::rows::{Line, Table};
use super::{Progress, RowCounts};
use crate::agents::Registration;
use crate::error::{Error, Result};
use crate::id::shown;
use crate::messages::Message;
use crate::planted::{Bug, planted};
use crate::tasks::Task;
use crate::threads::Thread;
use crate::tx::{Landed, WriteTx};

/// How rows are imported: what [`Store::import`](crate::Store::import) takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    table: Option<Table>,
}

impl ImportOptions {
    /// Rows that each say which table they belong to, as [`Store::export`](crate::Store::export) writes them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table of rows that do not say theirs, as `sqlite3 -json` prints them. Those that do must be of this table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.table = Some(table);
        self
    }
}

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Rows that are new in the store.
    pub added: RowCounts,
    /// Rows that were there already, and the same.
    pub already_there: RowCounts,
}

/// Takes in every row of this input.
pub(crate) fn import(
    tx: &mut WriteTx<'_>,
    from: impl BufRead,
    options: &ImportOptions,
    watch: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let mut objects = Objects::new(from);
    let mut import = Import { tx, options, imported: Imported::default(), is_in_order: true };
    let mut done = 0;
    watch(Progress::new(done, None));
    while let Some(Object { bytes, line }) = objects.next()? {
        import.take_in(bytes).map_err(|error| if is_of_row(&error) { at_line(line, error) } else { error })?;
        done += 1;
        watch(Progress::new(done, None));
    }
    import.finish()
}

/// Whether it is the row that is wrong, and not the store.
fn is_of_row(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidInput { .. }
            | Error::TooLarge { .. }
            | Error::ThreadNotFound(_)
            | Error::ThreadFinished(_)
            | Error::KeyConflict { .. }
    )
}

struct Import<'a, 't> {
    tx: &'a mut WriteTx<'t>,
    options: &'a ImportOptions,
    imported: Imported,
    /// Whether the times of all messages rise with their ids.
    is_in_order: bool,
}

impl Import<'_, '_> {
    fn take_in(&mut self, object: &[u8]) -> Result<()> {
        let mut columns = Columns::of(object)?;
        let table = self.table_of(&mut columns)?;
        let is_added = match table {
            Table::Agents => {
                let row: Registration = row_of(table, columns)?;
                let landed = self.tx.import_agent(&row)?;
                is_added("agents.id", &row, &landed)?
            }
            Table::Threads => {
                let row: Thread = row_of(table, columns)?;
                let landed = self.tx.import_thread(&row)?;
                is_added("threads.id", &row, &landed)?
            }
            Table::Messages => {
                let row: Message = row_of(table, columns)?;
                let landed = self.tx.import_message(&row)?;
                self.is_in_order = self.is_in_order && self.tx.is_in_order(&row)?;
                is_added("messages.id", &row, &landed)?
            }
            Table::Tasks => {
                let row: Task = row_of(table, columns)?;
                let landed = self.tx.import_task(&row)?;
                is_added("tasks.id", &row, &landed)?
            }
        };
        let counts = if is_added { &mut self.imported.added } else { &mut self.imported.already_there };
        let count = match table {
            Table::Agents => &mut counts.agents,
            Table::Threads => &mut counts.threads,
            Table::Messages => &mut counts.messages,
            Table::Tasks => &mut counts.tasks,
        };
        *count += 1;
        Ok(())
    }

    fn table_of(&self, columns: &mut Columns<'_>) -> Result<Table> {
        let refused = |reason| Error::InvalidInput { field: "table", reason };
        let Some(name) = columns.text("table")? else {
            return self.options.table.ok_or_else(|| {
                refused("is missing; a row says agents, threads, messages or tasks, unless the import does".into())
            });
        };
        let table = Table::of_name(&name);
        let table = table
            .ok_or_else(|| refused(format!("is {}; there are agents, threads, messages and tasks", shown(&name))))?;
        match self.options.table {
            Some(only) if only != table => Err(refused(format!("is {table}; only {only} are imported"))),
            _ => Ok(table),
        }
    }

    fn finish(self) -> Result<Imported> {
        // Seldom, and then it is looked at once, when all are there.
        if !self.is_in_order && !planted(Bug::DisorderNotCounted) {
            let disorder = self.tx.disorder_of_messages()?;
            self.tx.count_disorder(disorder);
        }
        Ok(self.imported)
    }
}

/// The row that these columns describe, if they describe no more than that.
fn row_of<L: Line>(table: Table, mut columns: Columns<'_>) -> Result<L> {
    let row = L::of_columns(&mut columns)?;
    columns.finish(table.columns())?;
    Ok(row)
}

/// Whether the row is new; an error if another one has its id.
fn is_added<L: Line>(id: &'static str, row: &L, landed: &Landed<L>) -> Result<bool> {
    let Landed::There(there) = landed else { return Ok(true) };
    let (row, there) = (values(&row.to_line())?, values(&there.to_line())?);
    let Some(column) = first_difference(&row, &there) else { return Ok(false) };
    let [new, old] = [&row, &there].map(|row| match row.get(column) {
        Some(Value::String(text)) => shown(text),
        Some(other) => other.to_string(),
        None => "nothing".into(),
    });
    let number = row.get("id").map(Value::to_string).unwrap_or_default();
    // What is hashed is not said.
    let how = if column == "token_hash" { String::new() } else { format!(" is {new} here and {old} there") };
    let reason = format!("{number} is that of a different row in the store: its {column}{how}");
    Err(Error::InvalidInput { field: id, reason })
}

fn values(line: &impl Serialize) -> Result<serde_json::Map<String, Value>> {
    match serde_json::to_value(line) {
        Ok(Value::Object(values)) => Ok(values),
        _ => Err(Error::InvalidInput { field: "row", reason: "has no columns".into() }),
    }
}

fn first_difference<'a>(
    row: &'a serde_json::Map<String, Value>,
    there: &serde_json::Map<String, Value>,
) -> Option<&'a str> {
    row.iter().find(|(column, value)| there.get(*column) != Some(value)).map(|(column, _)| column.as_str())
}
