//! SQLite with the original's schema and queries, taken from `tests/original.sql`.
//!
//! What khala checks is checked here too: a thread must be there and active before something is attached to it, and a
//! claim is completed only under its id. Each operation is one statement, prepared once; a batch is one transaction
//! around them, and a statement that comes alone is a transaction by itself.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::clock::Clock;
use crate::ids::{self, Id};
use crate::peer::{Answer, Counts, Engine, NewMessage, NewTask, Request, Seen, Which};
use crate::queue::lock;

const ORIGINAL: &str = include_str!("../../../../tests/original.sql");

static CLAIM: LazyLock<&str> = LazyLock::new(|| original("claimTask"));
static COMPLETE: LazyLock<&str> = LazyLock::new(|| original("completeTask"));
static EXPIRE: LazyLock<&str> = LazyLock::new(|| original("expireTimedOutTasks"));
static OPEN: LazyLock<&str> = LazyLock::new(|| original("getOpenTasks"));

const CREATE_THREAD: &str = "INSERT INTO threads VALUES (?1, 'review', 'active', 'bench', NULL, ?2, ?2)";

/// The thread is looked up and checked in the same statement.
const CREATE_TASK: &str = "INSERT INTO tasks (id, thread_id, role, instruction, timeout_seconds, created_at)
    SELECT ?1, id, ?3, ?4, ?5, ?6 FROM threads WHERE id = ?2 AND status = 'active'";

/// Likewise.
const APPEND: &str = "INSERT INTO messages (thread_id, role, content, meta, step, agent_id, created_at)
    SELECT id, ?2, ?3, NULL, ?4, ?5, ?6 FROM threads WHERE id = ?1 AND status = 'active'";

/// What an application makes of the original's `getThreadMessages` for each set of filters: without the conditions that
/// are not asked for, which would keep SQLite from using the index for the rest.
const ALL_MESSAGES: &str = "SELECT * FROM messages WHERE thread_id = ?1 ORDER BY step, id";
const LAST_MESSAGES: &str =
    "SELECT * FROM (SELECT * FROM messages WHERE thread_id = ?1 ORDER BY step DESC, id DESC LIMIT ?2)
    ORDER BY step, id";
const MESSAGES_OF_STEP: &str = "SELECT * FROM messages WHERE thread_id = ?1 AND step = ?2 ORDER BY step, id";

pub(crate) struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Readers,
    clock: Clock,
}

/// Who reads.
enum Readers {
    /// Whoever has the one connection.
    TheWriter,
    /// Connections of their own, as many as read at once.
    Own(Mutex<Vec<Connection>>),
}

impl Sqlite {
    pub(crate) fn set_up() -> String {
        let version = rusqlite::version();
        format!(
            "SQLite {version}, the original's schema, WAL, `synchronous=FULL`, `fdatasync`, a cache of 256 MiB, cached statements"
        )
    }

    pub(crate) fn on_one_connection(folder: &Path, clock: Clock) -> Result<Self> {
        Self::open(folder, clock, Readers::TheWriter)
    }

    pub(crate) fn with_readers(folder: &Path, clock: Clock) -> Result<Self> {
        Self::open(folder, clock, Readers::Own(Mutex::default()))
    }

    fn open(folder: &Path, clock: Clock, readers: Readers) -> Result<Self> {
        let path = folder.join("store.sqlite");
        let is_new = !path.exists();
        let writer = connect(&path)?;
        if is_new {
            let (schema, _) = ORIGINAL.split_once("-- claimTask").context("the schema comes before the queries")?;
            writer.execute_batch(schema)?;
        }
        Ok(Self { path, writer: Mutex::new(writer), readers, clock })
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let Readers::Own(idle) = &self.readers else { return f(&lock(&self.writer)) };
        let idle_one = lock(idle).pop();
        let connection = idle_one.map_or_else(|| connect(&self.path), Ok)?;
        let result = f(&connection);
        lock(idle).push(connection);
        result
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -262144;")?;
    Ok(connection)
}

/// The original's query of this name, to the letter. Its parameters are bound in the order in which they stand there.
fn original(name: &str) -> &'static str {
    let query = ORIGINAL.split_once(&format!("-- {name}("));
    let query = query.and_then(|(_, rest)| rest.split_once('\n')).and_then(|(_, rest)| rest.split_once(';'));
    query.map_or("", |(query, _)| query)
}

impl Engine for Sqlite {
    /// The id given out last.
    type Turn = Id;

    fn first_turn(&self) -> Result<Id> {
        Ok(Id::default())
    }

    fn write(&self, last_id: &mut Id, requests: &[Request]) -> Result<Vec<Answer>> {
        let connection = lock(&self.writer);
        let mut apply_all = || requests.iter().map(|request| self.apply(&connection, last_id, request)).collect();
        if requests.len() == 1 {
            return apply_all();
        }
        execute(&connection, "BEGIN IMMEDIATE", ())?;
        match apply_all() {
            Ok(answers) => execute(&connection, "COMMIT", ()).map(|_| answers),
            Err(error) => execute(&connection, "ROLLBACK", ()).and(Err(error)),
        }
    }

    fn open_tasks(&self, limit: usize) -> Result<Seen> {
        self.read(|connection| {
            let tasks = rows(connection, &OPEN, [i64::try_from(limit)?], Task::read)?;
            Ok(Seen::of(&tasks, |task| &task.instruction))
        })
    }

    fn messages(&self, thread: Id, which: Which) -> Result<Seen> {
        let mut buffer = Default::default();
        let thread = ids::text(thread, &mut buffer);
        self.read(|connection| {
            let read = Message::read;
            let messages = match which {
                Which::All => rows(connection, ALL_MESSAGES, [thread], read),
                Which::Last(count) => rows(connection, LAST_MESSAGES, (thread, i64::try_from(count)?), read),
                Which::Step(step) => rows(connection, MESSAGES_OF_STEP, (thread, i64::try_from(step)?), read),
            };
            Ok(Seen::of(&messages?, |message| &message.content))
        })
    }

    fn counts(&self) -> Result<Counts> {
        let connection = lock(&self.writer);
        let count = |sql: &str| -> Result<u64> {
            Ok(u64::try_from(connection.query_row(sql, (), |row| row.get::<_, i64>(0))?)?)
        };
        let tasks = |status: &str| count(&format!("SELECT count(*) FROM tasks WHERE status = '{status}'"));
        Ok(Counts {
            messages: count("SELECT count(*) FROM messages")?,
            open: tasks("open")?,
            claimed: tasks("claimed")?,
            completed: tasks("completed")?,
        })
    }

    fn checkpoint(&self) -> Result<bool> {
        lock(&self.writer).query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        Ok(true)
    }
}

impl Sqlite {
    fn apply(&self, connection: &Connection, last_id: &mut Id, request: &Request) -> Result<Answer> {
        let now = seconds(self.clock.micros());
        Ok(match request {
            Request::CreateThread => {
                let id = ids::next(last_id, self.clock.micros())?;
                execute(connection, CREATE_THREAD, (ids::text(id, &mut Default::default()), now))?;
                Answer::Created(id)
            }
            Request::CreateTask { thread, task } => {
                let id = ids::next(last_id, self.clock.micros())?;
                let NewTask { role, instruction, timeout_seconds } = task;
                let (mut id_text, mut thread_text) = Default::default();
                let (id_text, thread_text) = (ids::text(id, &mut id_text), ids::text(*thread, &mut thread_text));
                let row = (id_text, thread_text, role, instruction, timeout_seconds, now);
                if execute(connection, CREATE_TASK, row)? == 1 { Answer::Created(id) } else { Answer::Refused }
            }
            Request::Append { thread, message } => {
                let NewMessage { role, content, step, agent } = message;
                let mut thread_text = Default::default();
                let row = (ids::text(*thread, &mut thread_text), role, content, i64::try_from(*step)?, agent, now);
                if execute(connection, APPEND, row)? == 0 {
                    return Ok(Answer::Refused);
                }
                Answer::Appended(u64::try_from(connection.last_insert_rowid())?)
            }
            Request::Claim { task, agent, claim } => {
                let (mut task_text, mut claim_text) = Default::default();
                let task_text = ids::text(*task, &mut task_text);
                let change = (ids::text(*claim, &mut claim_text), agent, now, task_text);
                if execute(connection, &CLAIM, change)? == 1 {
                    return Ok(Answer::Claimed(Some(*claim)));
                }
                let is_there = connection.prepare_cached("SELECT 1 FROM tasks WHERE id = ?1")?.exists([task_text])?;
                if is_there { Answer::Claimed(None) } else { Answer::Refused }
            }
            Request::Complete { task, claim } => {
                let (mut task_text, mut claim_text) = Default::default();
                let which = (ids::text(*task, &mut task_text), ids::text(*claim, &mut claim_text));
                let done = execute(connection, &COMPLETE, which)? == 1 || was_completed(connection, which)?;
                Answer::Completed(done)
            }
            Request::Expire => {
                let now = micros_as_seconds(self.clock.micros());
                Answer::Expired(u64::try_from(execute(connection, &EXPIRE, [now])?)?)
            }
        })
    }
}

/// Whether the task was completed under this claim before.
fn was_completed(connection: &Connection, (task, claim): (&str, &str)) -> Result<bool> {
    let sql = "SELECT 1 FROM tasks WHERE id = ?1 AND claim_id = ?2 AND status = 'completed'";
    Ok(connection.prepare_cached(sql)?.query_row((task, claim), |_| Ok(())).optional()?.is_some())
}

fn execute(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_map(params, read)?.collect::<rusqlite::Result<_>>()?)
}

/// A moment as the original keeps it, as text, in a form that sorts and to which seconds can be added.
fn seconds(micros: i64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The same as a number.
#[expect(clippy::cast_precision_loss, reason = "a microsecond of this century has 51 bits")]
fn micros_as_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// A row as an application has it.
#[expect(dead_code, reason = "what counts is that it was made")]
struct Task {
    id: String,
    thread_id: String,
    role: String,
    instruction: String,
    status: String,
    claim_id: Option<String>,
    claimed_by: Option<String>,
    claimed_at: Option<String>,
    timeout_seconds: u32,
    created_at: String,
}

impl Task {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            thread_id: row.get(1)?,
            role: row.get(2)?,
            instruction: row.get(3)?,
            status: row.get(4)?,
            claim_id: row.get(5)?,
            claimed_by: row.get(6)?,
            claimed_at: row.get(7)?,
            timeout_seconds: row.get(8)?,
            created_at: row.get(9)?,
        })
    }
}

/// Likewise.
#[expect(dead_code, reason = "what counts is that it was made")]
struct Message {
    id: i64,
    thread_id: String,
    role: String,
    content: String,
    meta: Option<String>,
    step: i64,
    agent_id: Option<String>,
    created_at: String,
}

impl Message {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            thread_id: row.get(1)?,
            role: row.get(2)?,
            content: row.get(3)?,
            meta: row.get(4)?,
            step: row.get(5)?,
            agent_id: row.get(6)?,
            created_at: row.get(7)?,
        })
    }
}
