//! What can be wrong with a file, a disk, an input or an output, and what is said about it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use khala::Store;

use crate::life::filled;
use crate::transcript::Shell;

/// Commands that read and commands that write.
const SOME: [&str; 4] = ["stats", "tasks", "claim --agent a", "check"];

#[test]
fn a_file_that_is_no_store_is_refused_and_stays_as_it_was() {
    let mut shell = Shell::new();
    fs::write(shell.path("letter.txt"), "Dear Ada,\n").unwrap();
    fs::write(shell.path("nothing"), "").unwrap();
    fs::create_dir(shell.path("folder")).unwrap();
    for store in ["letter.txt", "nothing", "folder", "/dev/null", "letter.txt/store", "missing/agents.khala"] {
        for command in ["init", "stats", "claim --agent a"] {
            shell.line(&format!("khala --store {store} {command}"));
        }
    }
    shell.line("cat letter.txt; ls -A");
    shell.is_as_in("no_store");
}

#[test]
fn a_missing_store_is_not_created_but_by_init() {
    let mut shell = Shell::new();
    for command in SOME {
        shell.line(&format!("khala {command}"));
    }
    shell.line("KHALA_STORE=other.khala khala thread new release --initiator ada");
    shell.line("khala backup copy.khala");
    shell.line("khala compact");
    shell.line("ls -A");
    shell.is_as_in("missing");
}

#[test]
fn a_damaged_store_is_an_error_and_stays_as_it_was() {
    let mut shell = filled();
    let path = shell.path("agents.khala");
    let mut bytes = fs::read(&path).unwrap();
    let text = b"Draft the release notes.";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for command in SOME.iter().chain(&["export", "backup copy.khala", "compact", "--check never check"]) {
        shell.line(&format!("khala {command}"));
        assert_eq!(fs::read(&path).unwrap(), bytes, "{command}");
    }
    shell.line("ls -A");
    shell.is_as_in("damaged");
}

#[test]
fn a_store_in_use_says_so() {
    let mut shell = filled();
    let held = Store::open(shell.path("agents.khala")).unwrap();
    for command in SOME.iter().chain(&["init", "backup copy.khala", "compact"]) {
        shell.line(&format!("khala --lock-wait 0s {command}"));
    }
    drop(held);
    shell.line("khala --lock-wait 0s tasks");
    shell.is_as_in("in_use");
}

#[test]
fn a_read_only_store_says_so() {
    let mut shell = filled();
    let path = shell.path("agents.khala");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    for command in SOME {
        shell.line(&format!("khala {command}"));
    }
    shell.is_as_in("read_only");
}

#[test]
fn a_full_disk_behind_the_output_loses_no_claim() {
    let mut shell = filled();
    shell.line("khala tasks >/dev/full");
    shell.line("khala --json tasks --all >/dev/full");
    shell.line("khala export >/dev/full");
    shell.line("khala agent add reviewer-1 >/dev/full");
    shell.line("khala release $task $claim");
    shell.line("khala claim --agent a >/dev/full");
    shell.line("khala claim --json --agent a >/dev/full");
    shell.line("khala tasks");
    shell.line("khala --help >/dev/full");
    shell.is_as_in("full_output");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut shell = filled();
    // Enough that it does not fit into the pipe.
    for _ in 0..3 {
        shell.line("head -c 300000 /dev/zero | tr '\\0' x | khala say $thread - --role user");
    }
    for command in ["thread $thread", "--json thread $thread", "export", "--json tasks --all", "completions bash"] {
        shell.line(&format!("{{ khala {command}; echo ended with $? >&2; }} | head -c 1 >/dev/null"));
    }
    shell.is_as_in("closed_pipe");
}

#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    let mut shell = Shell::new();
    let small = shell.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "khala"]).arg(&small).output().unwrap();
    if !mounted.status.success() {
        eprintln!("NOT TESTED: a full disk needs a file system of its own, and mounting one needs root");
        return;
    }
    shell.set("KHALA_STORE", "small/agents.khala");
    shell.line("khala init");
    shell.keep("thread", "khala thread new release --initiator ada");
    shell.line("head -c 400000 /dev/zero | tr '\\0' x | khala say $thread - --role user");
    shell.line("khala thread $thread");
    shell.line("khala check");
    shell.line("khala backup small/copy.khala");
    shell.line("head -c 1M /dev/zero >small/rest 2>/dev/null; KHALA_STORE=small/new.khala khala init");
    shell.line("ls -A small");
    let unmounted = Command::new("umount").arg(&small).status().unwrap();
    assert!(unmounted.success());
    shell.is_as_in("full_disk");
}

#[test]
fn bad_input_names_the_thing_and_the_bound() {
    let mut shell = filled();
    for line in [
        "",
        "frobnicate",
        "tasks --colour",
        "thread",
        "thread 123",
        "thread new release",
        "thread new '' --initiator ada",
        "thread new $(head -c 257 /dev/zero | tr '\\0' x) --initiator ada",
        "say $thread hello",
        "say $thread",
        "say $thread hello --role user --under $task",
        "say $thread hello --role user --under $task:x",
        "say $thread - --meta - --role user",
        "task add $thread x --role r --timeout 0",
        "task add $thread x --role r --timeout 200y",
        "task add $thread x --role r --timeout 5",
        "task add $thread x --role r --timeout -5s",
        "task add $thread x --role r --max-attempts 0",
        "task add $thread x --role r --priority 99999",
        "task add $thread x --role r --not-before tomorrow",
        "claim",
        "claim --agent ''",
        "claim $task --agent a --role r",
        "claim --agent a --wait soon",
        "complete $task",
        "complete $task $claim --next x",
        "complete $task $claim --role x",
        "finish $thread active",
        "agent",
        "agent add",
        "completions tcsh",
        "import rows.jsonl --table people",
        "--lock-wait forever tasks",
        "--check sometimes tasks",
        "--store '' tasks",
    ] {
        shell.line(&format!("khala {line}"));
    }
    shell.line_with("khala say $thread - --role user", b"caf\xe9");
    shell.line("head -c 16777217 /dev/zero | khala say $thread - --role user");
    shell.line("khala tasks");
    shell.is_as_in("bad_input");
}

#[test]
fn what_agents_say_cannot_touch_a_terminal() {
    let mut shell = filled();
    shell.line_with("khala say $thread - --role tool", b"\x1b[2J\x1b]0;owned\x07 and \xe2\x80\xae turned\r\nline two");
    shell.line_with("khala task add $thread - --role tool", b"\x1b[31mred\x1b[0m");
    shell.line("khala thread $thread --last 1");
    shell.line("khala tasks --role tool");
    shell.line("khala --json thread $thread --last 1");
    // A program that claims gets the instruction as it is.
    shell.line("khala claim --role tool --agent a | tail -1 | od -c");
    shell.is_as_in("harmless");
}
