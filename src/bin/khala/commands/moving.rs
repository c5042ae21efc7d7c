//! Stores that are copied, moved and packed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use khala::{Error, ImportOptions, Imported, RowCounts, Store, Table};
use serde::Serialize;

use crate::args::Session;
use crate::failure::Failure;
use crate::output::Bar;
use crate::place::ask;
use crate::text::{bytes, count};
use crate::{Answer, Result};

/// Copies the store into a new file, as it is at one moment.
#[derive(Args, Debug)]
#[command(after_help = "\
The copy is a store, packed and synced. What is there already is never overwritten. The whole file is checked \
first, so a damaged store is not copied.

Example: khala backup /backups/agents-$(date +%F).khala")]
pub(crate) struct Backup {
    /// The new file.
    file: PathBuf,
}

#[derive(Serialize)]
struct BackedUp {
    store: String,
    backup: String,
    rows: Rows,
    bytes_before: Option<u64>,
    bytes_after: u64,
}

/// Rows of each table, for programs.
#[derive(Serialize)]
struct Rows {
    agents: u64,
    threads: u64,
    messages: u64,
    tasks: u64,
}

impl From<RowCounts> for Rows {
    fn from(rows: RowCounts) -> Self {
        Self { agents: rows.agents, threads: rows.threads, messages: rows.messages, tasks: rows.tasks }
    }
}

impl Rows {
    fn text(&self) -> String {
        let rows = [(self.agents, "agent"), (self.threads, "thread"), (self.messages, "message"), (self.tasks, "task")];
        let rows = rows.into_iter().filter(|(number, _)| *number > 0).map(|(number, noun)| count(number, noun));
        let rows = rows.collect::<Vec<_>>().join(", ");
        if rows.is_empty() { "nothing".into() } else { rows }
    }
}

impl Backup {
    pub(crate) fn run(self, session: &Session) -> Result {
        let store = session.place.open_whole()?;
        let mut bar = Bar::new("copying");
        let backup = ask(&store, |store| store.backup(&self.file, |progress| bar.show(progress)));
        drop((store, bar));
        let backup = backup?;
        let backed_up = BackedUp {
            store: session.place.path().display().to_string(),
            backup: self.file.display().to_string(),
            rows: backup.rows.into(),
            bytes_before: backup.bytes_before,
            bytes_after: backup.bytes_after,
        };
        session.output.one(&backed_up, |backed_up| {
            let before =
                backed_up.bytes_before.map_or_else(String::new, |before| format!(" instead of {}", bytes(before)));
            format!("{}: {}; {}{before}\n", backed_up.backup, backed_up.rows.text(), bytes(backed_up.bytes_after))
        })?;
        Ok(Answer::Yes)
    }
}

/// Gives the room back to the disk that the file takes and does not need.
#[derive(Args, Debug)]
#[command(after_help = "\
It makes a packed copy beside the file, which takes its place; a crash leaves the one or the other.

Example: khala prune --before 30d && khala compact")]
pub(crate) struct Compact {}

#[derive(Serialize)]
struct Compacted {
    store: String,
    bytes_before: u64,
    bytes_after: u64,
}

impl Compact {
    #[expect(clippy::unused_self, reason = "every command runs in one way")]
    pub(crate) fn run(self, session: &Session) -> Result {
        let mut bar = Bar::new("packing");
        let compaction = session.place.compact(|progress| bar.show(progress));
        drop(bar);
        let compaction = compaction?;
        let compacted = Compacted {
            store: session.place.path().display().to_string(),
            bytes_before: compaction.bytes_before,
            bytes_after: compaction.bytes_after,
        };
        session.output.one(&compacted, |compacted| {
            let saved = compacted.bytes_before.saturating_sub(compacted.bytes_after);
            let (before, after) = (bytes(compacted.bytes_before), bytes(compacted.bytes_after));
            format!("{}: {after} instead of {before}, {} given back\n", compacted.store, bytes(saved))
        })?;
        Ok(Answer::Yes)
    }
}

/// Writes every row as a line of JSON.
#[derive(Args, Debug)]
#[command(after_help = "\
The rows are those of one moment, the tables in the order agents, threads, messages, tasks. The hashes of the \
agents' tokens are among them, and everything that was said: keep it as you keep the store. A file appears when it \
is whole, and is never overwritten.

Examples:
  khala export agents.jsonl
  khala export - | khala --store other.khala import -")]
pub(crate) struct Export {
    /// The new file; - is the standard output.
    #[arg(default_value = "-")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Exported {
    export: String,
    rows: Rows,
    bytes: u64,
}

impl Export {
    pub(crate) fn run(self, session: &Session) -> Result {
        if self.file == Path::new("-") {
            let store = session.place.open_whole()?;
            // No bar: the rows could go to the terminal that it stands on.
            let exported = store.export(io::stdout().lock(), |_| {});
            exported.map_err(|error| match error {
                Error::Io { path: None, source, .. } => Failure::of_output(source),
                error => Failure::of(error, store.failure()),
            })?;
            return Ok(Answer::Yes);
        }
        let store = session.place.open_whole()?;
        let mut bar = Bar::new("exporting");
        let exported =
            write_new(&self.file, |file| ask(&store, |store| store.export(file, |progress| bar.show(progress))));
        drop((store, bar));
        let exported = exported?;
        let exported =
            Exported { export: self.file.display().to_string(), rows: exported.rows.into(), bytes: exported.bytes };
        session.output.one(&exported, |exported| {
            format!("{}: {}; {}\n", exported.export, exported.rows.text(), bytes(exported.bytes))
        })?;
        Ok(Answer::Yes)
    }
}

/// What `write` makes of a new file, which takes its name when it is whole and on the disk. Half an export would be taken
/// for a whole one.
fn write_new<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let failed = |error: io::Error| Failure::other(format!("cannot write {}: {error}", path.display()));
    if path.symlink_metadata().is_ok() {
        return Err(Error::FileExists { path: path.into() }.into());
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part).map_err(failed)?;
    let written = write(&mut file).and_then(|written| {
        file.flush().and_then(|()| file.sync_all()).and_then(|()| fs::rename(&part, path)).map_err(failed)?;
        Ok(written)
    });
    if written.is_err() {
        // It is of no use to anybody; if it stays, the next export to this name writes over it.
        let _ = fs::remove_file(&part);
    }
    written.map_err(|failure| match failure {
        Failure::Store { error: Error::Io { path: None, source, .. }, .. } => failed(source),
        failure => failure,
    })
}

/// Adds the rows of a file of JSON, all of them or none.
#[derive(Args, Debug)]
#[command(after_help = "\
It reads what `khala export` writes, and what `sqlite3 -json` prints of a table of the SQL original; such rows do \
not say which table they belong to, so --table does. Rows keep their ids. Rows that are there already, and the \
same, are counted apart, so an import can be run twice. The first row that is refused is named by its line, and \
nothing is imported.

The standard input is read while the store is open.

Examples:
  khala import agents.jsonl
  sqlite3 -json original.db 'SELECT * FROM threads' | khala import - --table threads")]
pub(crate) struct Import {
    /// The file; - is the standard input.
    file: PathBuf,

    /// The table of rows that do not say theirs.
    #[arg(long, value_parser = table_parser())]
    table: Option<Table>,
}

fn table_parser() -> impl TypedValueParser<Value = Table> {
    let names = PossibleValuesParser::new(Table::ALL.map(Table::as_str));
    names.try_map(|name| Table::ALL.into_iter().find(|table| table.as_str() == name).ok_or("no table"))
}

/// What an import came to, for programs.
#[derive(Serialize)]
struct Added {
    added: Rows,
    already_there: Rows,
}

impl Import {
    pub(crate) fn run(self, session: &Session) -> Result {
        let is_stdin = self.file == Path::new("-");
        let name = if is_stdin { "the standard input".into() } else { self.file.display().to_string() };
        let from: Box<dyn BufRead> = if is_stdin {
            Box::new(io::stdin().lock())
        } else {
            let opened = File::open(&self.file).and_then(|file| {
                if file.metadata()?.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { Ok(file) }
            });
            let opened = opened.map_err(|error: io::Error| Failure::other(format!("cannot read {name}: {error}")))?;
            Box::new(BufReader::with_capacity(1 << 16, opened))
        };
        let options = self.table.into_iter().fold(ImportOptions::new(), ImportOptions::table);
        let store = session.place.open()?;
        let imported = import(&store, from, &options);
        drop(store);
        let Imported { added, already_there, .. } = imported.map_err(|failure| match failure {
            Failure::Store { error: Error::Import { line, source }, .. } => Failure::Other {
                message: format!("{name}, line {line}: {source}"),
                advice: Some("Nothing was imported.".into()),
            },
            Failure::Store { error: Error::Io { path: None, source, .. }, .. } => Failure::Other {
                message: format!("cannot read {name}: {source}"),
                advice: Some("Nothing was imported.".into()),
            },
            failure => failure,
        })?;
        let added = Added { added: added.into(), already_there: already_there.into() };
        session.output.one(&added, |rows| {
            format!("added: {}\nthere already: {}\n", rows.added.text(), rows.already_there.text())
        })?;
        Ok(Answer::Yes)
    }
}

fn import(store: &Store, from: impl BufRead, options: &ImportOptions) -> Result<Imported> {
    let mut bar = Bar::new("importing");
    ask(store, |store| store.import(from, options, |progress| bar.show(progress)))
}
