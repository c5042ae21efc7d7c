//! A store that somebody else has at the moment, and tasks that are not there yet.

use std::process::{Child, Stdio};

use khala::{AgentId, NewTask, Store};

use crate::transcript::Shell;

fn begun(shell: &Shell, line: &str) -> Child {
    shell.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said_by(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_command_waits_for_a_store_that_somebody_has_open() {
    let shell = Shell::new();
    let store = Store::open(shell.path("agents.khala")).unwrap();
    let waiting = begun(&shell, "exec khala --lock-wait 10m stats");
    let hurried = said_by(begun(&shell, "KHALA_LOCK_WAIT=1ms khala stats"));
    assert_eq!(hurried.0, Some(1), "{hurried:?}");
    drop(store);
    let waited = said_by(waiting);
    assert_eq!(waited.0, Some(0), "{waited:?}");
}

#[test]
fn a_claim_waits_for_a_task_while_others_use_the_store() {
    let mut shell = Shell::new();
    shell.line("khala init");
    let waiting = begun(&shell, "exec khala claim --agent a --role writer --wait 10m --lock-wait 10m");
    let thread = shell.line("khala thread new release --initiator ada --lock-wait 10m");
    let thread = thread.trim();
    // Others come and go meanwhile.
    assert_eq!(said_by(begun(&shell, "khala --lock-wait 10m claim --agent b --role reviewer")).0, Some(3));
    let task = shell.line(&format!("khala --lock-wait 10m task add {thread} 'Draft it.' --role writer"));
    let claimed = said_by(waiting);
    assert_eq!(claimed.0, Some(0), "{claimed:?}");
    assert!(claimed.1.starts_with(task.trim()) && claimed.1.ends_with("\nDraft it.\n"), "{claimed:?}");
}

#[test]
fn many_processes_claim_every_task_once() {
    const TASKS: usize = 24;
    let shell = Shell::new();
    let store = Store::open(shell.path("agents.khala")).unwrap();
    let thread = store.create_thread("race", "ada").unwrap().id;
    store.create_tasks(thread, (0..TASKS).map(|n| NewTask::new("r", n.to_string())).collect()).unwrap();
    drop(store);
    let line = "for i in 1 2 3 4 5 6; do khala --lock-wait 10m claim --agent a --role r || exit; done";
    let racing: Vec<_> = (0..TASKS / 6).map(|_| begun(&shell, line)).collect();
    let mut claimed: Vec<String> = vec![];
    for child in racing {
        let (code, said, error) = said_by(child);
        assert_eq!(code, Some(0), "{error}");
        // Two lines each: the ids, and the instruction.
        claimed.extend(said.lines().skip(1).step_by(2).map(Into::into));
    }
    claimed.sort_by_key(|number| number.parse::<usize>().unwrap());
    assert_eq!(claimed, (0..TASKS).map(|number| number.to_string()).collect::<Vec<_>>());
    Store::open(shell.path("agents.khala")).unwrap().verify().unwrap();
}

#[test]
fn a_timed_out_claim_is_taken_away_by_who_claims_next() {
    let shell = Shell::new();
    // The store's time is a day behind the machine's, so the claim has timed out when the command looks.
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(24 * 60 * 60);
    let clock = khala::ManualClock::new(yesterday.into());
    let store = Store::builder().clock(clock).open(shell.path("agents.khala")).unwrap();
    let thread = store.create_thread("release", "ada").unwrap().id;
    let task = store.create_task(thread, NewTask::new("writer", "Draft it.")).unwrap().id;
    let stale = store.claim_task(task, &AgentId::new("sleeper").unwrap()).unwrap().unwrap().id;
    drop(store);
    let claimed = said_by(begun(&shell, "khala claim --agent b --role writer"));
    assert_eq!(claimed.0, Some(0), "{claimed:?}");
    let late = said_by(begun(&shell, &format!("khala complete {task} {stale} --say late")));
    assert_eq!(late.0, Some(3), "{late:?}");
    assert!(late.2.contains("no longer holds"), "{late:?}");
}
