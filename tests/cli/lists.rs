//! Lists of threads and agents, a page at a time and by what they are asked for; and a store of a later version.

use redb::{ReadableTable, TableDefinition};

use crate::life::filled;
use crate::transcript::Shell;

#[test]
fn threads_are_listed_by_status_in_either_order_and_page_by_page() {
    let mut shell = Shell::new();
    shell.line("khala init");
    for (name, workflow) in [("one", "release"), ("two", "release"), ("three", "review"), ("four", "review")] {
        shell.keep(name, &format!("khala thread new {workflow} --initiator ada"));
    }
    shell.line("khala finish $two completed --result 'Released.'");
    shell.line("khala finish $three failed");
    shell.line("khala threads");
    shell.line("khala threads --newest");
    shell.line("khala threads --status active");
    shell.line("khala threads --status completed --newest");
    let page = shell.line("khala threads --limit 3 2>&1");
    let cursor = page.split_whitespace().find_map(|word| word.strip_suffix(',')).unwrap().to_owned();
    shell.line(&format!("khala threads --limit 3 --after {cursor}"));
    shell.line("khala --json threads --limit 1 --newest");
    shell.line("khala --json threads --all | wc -l");
    shell.line("khala threads --after nonsense");
    shell.is_as_in("threads");
}

#[test]
fn agents_are_listed_page_by_page() {
    let mut shell = Shell::new();
    shell.line("khala init");
    for agent in ["ada", "bob", "cleo"] {
        shell.line(&format!("khala agent add {agent}"));
    }
    shell.line("khala agents --limit 2");
    shell.line("khala agents --limit 2 --after bob");
    shell.line("khala --json agents --limit 2");
    shell.is_as_in("agents_paged");
}

#[test]
fn a_store_of_a_later_version_is_refused_by_name_and_stays_as_it_was() {
    let mut shell = filled();
    let path = shell.path("agents.khala");
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut versions = transaction.open_table(TableDefinition::<&[u8; 4], &[u8]>::new("schema_version")).unwrap();
        let newest = versions.last().unwrap().unwrap().1.value().to_vec();
        versions.insert(&9_u32.to_be_bytes(), newest.as_slice()).unwrap();
        drop(versions);
        transaction.commit().unwrap();
    }
    let before = std::fs::read(&path).unwrap();
    for command in ["stats", "claim --agent a", "check", "compact", "export", "backup copy.khala"] {
        shell.line(&format!("khala {command}"));
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    shell.is_as_in("later_version");
}
