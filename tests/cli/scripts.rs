//! The scripts in `examples/scripts` run, and do what they say.

use khala::{MessageFilter, Store, TaskStatus};

use crate::transcript::{Shell, anonymous};

/// Runs this with a store of its own, and looks into it.
fn drains_its_queue(program: &str, script: &str) {
    let shell = Shell::new();
    let script = format!("{}/examples/scripts/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = shell.command(&format!("{program} '{script}' queue.khala")).output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {script} ({}): {error}", output.status);
    assert!(said.contains("12 squared is 144"), "{said}");

    let store = Store::open(shell.path("queue.khala")).unwrap();
    store.verify().unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.tasks[&TaskStatus::Completed], stats.tasks.values().sum::<u64>()), (12, 12));
    let thread = store.threads(&khala::ThreadFilter::new()).unwrap().items.remove(0).id;
    let mut answers: Vec<_> = store.thread_messages(thread, &MessageFilter::new()).unwrap();
    answers.sort_by_key(|message| message.content.split(' ').next().unwrap().parse::<u64>().unwrap());
    let contents: Vec<_> = answers.into_iter().map(|message| message.content).collect();
    assert_eq!(contents, (1..=12).map(|n| format!("{n} squared is {}", n * n)).collect::<Vec<_>>());
}

#[test]
fn a_shell_script_drains_a_queue_with_three_workers() {
    drains_its_queue("sh", "workers.sh");
}

#[test]
fn a_python_script_drains_a_queue_with_three_workers() {
    drains_its_queue("python3", "worker.py");
}

#[test]
fn the_page_in_the_docs_shows_what_is_said() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/command-line.md")).unwrap();
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let shown: String = blocks.collect();
    let typed = shown.lines().filter_map(|line| line.strip_prefix("$ "));
    // One shell for all of it, so that what is kept in a variable stays.
    let lines: Vec<_> = typed.map(|line| format!("cat <<'TYPED'\n$ {line}\nTYPED\n{line}\n")).collect();
    let script = lines.concat();
    let output = Shell::new().command(&format!("exec 2>&1\n{script}")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(anonymous(&said), anonymous(&shown));
}
