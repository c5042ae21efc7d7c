//! `khala demo`: it did what it says.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use khala::{MessageFilter, Store, TaskFilter, TaskStatus, Thread, ThreadFilter, ThreadStatus};
use serde_json::Value;

const TASKS: usize = 32;

/// Runs it with its temporary folder in this one.
fn demo(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_khala"));
    command.args([&["demo"], arguments].concat()).env("TMPDIR", folder.path()).env("NO_COLOR", "1");
    command.output().unwrap()
}

/// The store it left.
fn left_in(folder: &tempfile::TempDir) -> PathBuf {
    let folders: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].join("demo.khala")
}

fn the_thread(store: &Store) -> Thread {
    let mut threads = store.threads(&ThreadFilter::new()).unwrap().items;
    assert_eq!(threads.len(), 1);
    threads.remove(0)
}

#[test]
fn what_it_reports_is_what_its_store_says() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder, &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = left_in(&folder);
    assert_eq!(report["store"].as_str(), file.to_str());

    let store = Store::open(&file).unwrap();
    store.verify().unwrap();
    let thread = the_thread(&store);
    assert_eq!(report["thread"], thread.id.to_string());
    assert_eq!(thread.status, ThreadStatus::Completed);
    let tasks = store.tasks(&TaskFilter::new().thread(thread.id).limit(1_000)).unwrap().items;
    assert_eq!(tasks.len(), TASKS);
    assert!(tasks.iter().all(|task| task.status == TaskStatus::Completed));
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for message in store.thread_messages(thread.id, &MessageFilter::new().step(1)).unwrap() {
        *answers.entry(message.meta.unwrap()).or_default() += 1;
    }
    assert!(tasks.iter().all(|task| answers[&task.id.to_string()] == 1), "each task has one answer: {answers:?}");
    assert_eq!(answers.len(), TASKS);

    let number = |name: &str| usize::try_from(report[name].as_u64().unwrap()).unwrap();
    assert_eq!((number("tasks"), number("completed"), number("done_twice")), (TASKS, TASKS, 0));
    assert!(number("acknowledged_before_the_kill") >= 8);
    assert_eq!(number("acknowledged_and_there"), number("acknowledged_before_the_kill"));
    assert!(number("in_hand_at_the_kill") >= 1, "the sleeper had one");
    assert_eq!(number("came_back"), number("in_hand_at_the_kill"));
    let again = tasks.iter().filter(|task| task.attempts > 1).count();
    assert!(again >= number("came_back"), "their attempts were counted");
    assert_eq!(report["verified"], true);
    let agents = report["agents"].as_array().unwrap();
    let done = |when: &str| agents.iter().map(|agent| agent[when].as_u64().unwrap()).sum::<u64>();
    assert_eq!(done("before_the_kill") + done("after"), 32);
    let nova = agents.iter().find(|agent| agent["agent"] == "nova").unwrap();
    assert_eq!(nova["before_the_kill"], 0, "it slept");
}

#[test]
fn it_tells_people_what_happens_and_the_commands_to_try_next_work() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder, &[]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains('\u{1b}'), "there is no colour in a pipe");
    for part in [
        "kill -9: the process is gone, and nova had page-",
        "has come back",
        "AGENT",
        "32 of 32 tasks completed; lost: 0, done twice: 0",
    ] {
        assert!(told.contains(part), "it did not say {part:?}:\n{told}");
    }
    let commands: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("  khala ")).collect();
    assert_eq!(commands.len(), 3, "{told}");
    for command in commands {
        let mut khala = Command::new(env!("CARGO_BIN_EXE_khala"));
        let answer = khala.args(command.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(answer.status.success(), "{command}: {}", String::from_utf8_lossy(&answer.stderr));
        assert!(!answer.stdout.is_empty(), "{command}");
    }
    assert!(folder.path().join("demo.svg").is_file());
}

#[test]
fn without_room_for_its_file_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_khala"));
    let output = command.arg("demo").env("TMPDIR", &missing).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("cannot make a temporary folder"), "{complaint}");
    assert!(complaint.contains("missing"), "{complaint}");
}
