//! The house rules, held by reading the sources: who may import whom, who may name the engine, how long a file may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The layers, highest first: a file may import from its own line and from those below it.
const LAYERS: &[&[&str]] = &[
    &["fuzzing"],
    &["builder"],
    &["store"],
    &["transfer"],
    &["waiters"],
    &["agents", "threads", "messages", "tasks"],
    &["page"],
    &["tx"],
    &["nested"],
    &["db"],
    &["clock", "id", "limits", "error", "witness", "trace"],
    &["planted", "sync"],
];

/// The files of `db/`, likewise.
const DB_LAYERS: &[&str] = &[
    "writer",
    "queue",
    "verify",
    "neighbours",
    "copy",
    "engine",
    "migrate",
    "counters",
    "table",
    "row",
    "raw",
    "receipt",
    "held",
    "watched",
    "file",
    "fault",
    "codec",
    "key",
    "failing_disk",
    "test_disk",
    "crash_disk",
    "sync",
];

/// The most lines of a file, its unit tests aside.
const MOST_LINES: usize = 400;

type Sources = BTreeMap<String, String>;

fn sources() -> Sources {
    let mut sources = Sources::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    assert!(sources.len() > 15, "the sources were found");
    sources
}

fn collect(folder: &Path, prefix: &str, sources: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), sources);
        } else {
            sources.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// What ships of a file: all up to its unit tests.
fn shipped(source: &str) -> &str {
    source.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default()
}

/// The lines that ship, without comments.
fn code(source: &str) -> impl Iterator<Item = &str> {
    shipped(source).lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The layer's module a file belongs to: `tasks` for `tasks/row.rs`.
fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a line names behind this path.
fn imports<'a>(path: &str, line: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(path).map(|(at, found)| {
        let rest = &line[at + found.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

fn broken_rules(sources: &Sources) -> Vec<String> {
    let mut broken = vec![];
    for (file, source) in sources {
        let own = module(file);
        if ["lib", "main"].contains(&own) {
            continue;
        }
        if own == "bin" {
            broken.extend(broken_rules_of_the_tool(file, source));
            continue;
        }
        let Some(own_layer) = layer(own) else {
            broken.push(format!("{file} is in no layer"));
            continue;
        };
        for line in code(source) {
            let words = || line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if own != "db" && words().any(|word| word == "redb" || word == "bincode") {
                broken.push(format!("{file} names the engine: {line}"));
            }
            for import in imports("crate::", line).filter(|import| layer(import).is_some()) {
                let far = layer(import).is_some_and(|layer| layer < own_layer);
                if far {
                    broken.push(format!("{file} imports upwards: {line}"));
                }
            }
            let db_layer = |name: &str| DB_LAYERS.iter().position(|layer| *layer == name);
            let own_db_layer = file.strip_prefix("db/").and_then(|file| db_layer(file.trim_end_matches(".rs")));
            for import in imports("super::", line).filter(|_| own_db_layer.is_some()) {
                if db_layer(import) <= own_db_layer {
                    broken.push(format!("{file} imports upwards within db: {line}"));
                }
            }
            if ["unsafe", "todo", "unimplemented", "println", "dbg"].iter().any(|word| words().any(|w| w == *word)) {
                broken.push(format!("{file} has what nothing here should have: {line}"));
            }
        }
        let lines = shipped(source).lines().count();
        if lines > MOST_LINES {
            broken.push(format!("{file} has {lines} lines; the most is {MOST_LINES}"));
        }
    }
    broken
}

/// What a program cannot use, the tool cannot either: the engine, and what the library hides from its documentation. That
/// it uses nothing private the compiler sees to, as it is a crate of its own.
fn broken_rules_of_the_tool(file: &str, source: &str) -> Vec<String> {
    let mut broken = vec![];
    for line in code(source) {
        let words = || line.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in ["redb", "bincode", "ulid", "fuzzing", "println", "eprintln", "unsafe", "todo", "dbg"] {
            if words().any(|w| w == word) {
                broken.push(format!("{file} names {word}: {line}"));
            }
        }
    }
    let lines = shipped(source).lines().count();
    if lines > MOST_LINES {
        broken.push(format!("{file} has {lines} lines; the most is {MOST_LINES}"));
    }
    broken
}

#[test]
fn imports_point_one_way_and_only_db_names_the_engine() {
    let broken = broken_rules(&sources());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_table_layer_is_the_only_writer() {
    for (file, source) in sources() {
        let writes = code(&source).any(|line| line.contains("insert_raw(") || line.contains("remove_raw("));
        let may = ["db/table.rs", "db/counters.rs"].contains(&file.as_str()) || file.starts_with("db/migrate/");
        assert!(!writes || may, "{file} writes to a table behind the record layer");
    }
}

/// The names of the methods in these sources, `pub fn` or `pub async fn`.
fn methods<'a>(sources: &'a Sources, files: &[&str], keyword: &str) -> Vec<&'a str> {
    let lines = files.iter().flat_map(|file| sources[*file].lines().zip(sources[*file].lines().skip(1).chain([""])));
    let heads = lines.filter_map(|(line, next)| Some((line.strip_prefix(keyword)?, next)));
    let of_self = heads.filter(|(head, next)| head.contains("(&self") || next.trim_start().starts_with("&self"));
    of_self.filter_map(|(head, _)| head.split(['(', '<']).next()).collect()
}

/// What `Store` can do and `AsyncStore` cannot.
fn missing_as_futures(sources: &Sources) -> Vec<String> {
    const METHODS: &[&str] = &["store.rs", "store/moving.rs", "store/shortcuts.rs", "store/waiting.rs"];
    const FUTURES: &[&str] =
        &["store/futures.rs", "store/futures/shortcuts.rs", "store/futures/upkeep.rs", "store/futures/waiting.rs"];
    let futures = methods(sources, FUTURES, "    pub async fn ");
    let methods = methods(sources, METHODS, "    pub fn ").into_iter();
    // It waits for nothing.
    let methods = methods.filter(|name| *name != "failure");
    // Those of a transaction, which `store.rs` has as well, are closures' business; they have the same names.
    methods.filter(|name| !futures.contains(name)).map(ToOwned::to_owned).collect()
}

#[test]
fn every_operation_is_a_future_as_well() {
    let mut sources = sources();
    assert_eq!(missing_as_futures(&sources), [""; 0]);
    sources.entry("store/shortcuts.rs".into()).or_default().push_str("    pub fn new_one(&self) -> Result<()> {\n");
    assert_eq!(missing_as_futures(&sources), ["new_one"], "control");
}

#[test]
fn control_broken_rules_are_seen() {
    let plant = |file: &str, line: &str| {
        let mut sources = sources();
        let source = sources.entry(file.into()).or_default();
        *source = format!("{source}{line}\n");
        broken_rules(&sources)
    };
    assert_eq!(plant("error.rs", "").len(), 0);
    assert_eq!(plant("tasks.rs", "use redb::Database;").len(), 1);
    assert_eq!(plant("tx.rs", "fn f() -> bincode::config::Configuration {}").len(), 1);
    assert_eq!(plant("db/key.rs", "use crate::tasks::Task;").len(), 1);
    assert_eq!(plant("db/key.rs", "use super::table::Tables;").len(), 1);
    assert_eq!(plant("error.rs", "use crate::db::Tables;").len(), 1);
    assert_eq!(plant("tx.rs", "use crate::store::Store;").len(), 1);
    assert_eq!(plant("store.rs", "use crate::builder::Builder;").len(), 1);
    assert_eq!(plant("manager.rs", "").len(), 1);
    assert_eq!(plant("error.rs", "// redb, in a comment").len(), 0);
    assert_eq!(plant("bin/khala/main.rs", "use redb::Database;").len(), 1);
    assert_eq!(plant("bin/khala/main.rs", "use khala::fuzzing;").len(), 1);
    assert_eq!(plant("bin/khala/main.rs", &"\n".repeat(MOST_LINES)).len(), 1);
    assert_eq!(plant("error.rs", &"\n".repeat(MOST_LINES)).len(), 1);
}
