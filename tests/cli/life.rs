//! Every command, on an empty store and on a filled one.

use crate::transcript::Shell;

/// A store in which something has happened: `$thread`, `$task`, `$claim` and `$next` are set.
pub(crate) fn filled() -> Shell {
    let mut shell = Shell::new();
    shell.line("khala init");
    shell.keep("thread", "khala thread new release --initiator ada");
    shell.line("khala say $thread 'What is new in this version?' --role user");
    shell
        .keep("task", "khala task add $thread 'Draft the release notes.' --role writer --max-attempts 3 --backoff 30s");
    let turn = shell.line("khala claim --role writer --agent writer-1");
    shell.set("claim", turn.split_whitespace().nth(1).unwrap());
    shell
}

#[test]
fn the_whole_life_of_a_task_from_a_shell() {
    let mut shell = filled();
    shell.line("khala task $task");
    shell.line("khala claim $task --agent writer-2");
    shell.line("khala claim --role writer --agent writer-2");
    shell.line("khala renew $task $claim");
    shell.line("khala say $thread 'I am at it.' --role writer --agent writer-1 --under $task:$claim --step 1");
    shell.line_with(
        "khala complete $task $claim --say - --meta '{\"tokens\":311}' --step 1 \
         --next-role reviewer --next 'Review the draft.' --next-key review",
        b"- one\n- two\n",
    );
    // The same turn again is done already, and nothing of it is done twice.
    shell.line("khala complete $task $claim --say '- one' --next-role reviewer --next 'Review the draft.'");
    shell.line("khala renew $task $claim");
    shell.line("khala say $thread 'Too late.' --role writer --under $task:$claim");
    shell.line("khala say $thread 'Who spoke?' --role user --after 1");
    shell.line("khala say $thread 'As I expected.' --role user --after 3");
    shell.line("khala cancel $task");
    shell.line("khala thread $thread");
    shell.line("khala thread $thread --role writer --last 1");
    shell.line("khala thread $thread --head");
    shell.line("khala tasks");
    shell.line("khala finish $thread completed --result 'Released.'");
    shell.line("khala finish $thread failed");
    shell.line("khala say $thread more --role user");
    shell.line("khala tasks --status cancelled");
    shell.line("khala threads");
    shell.line("khala prune --before 2001-01-01");
    shell.line("khala prune --before 0s");
    shell.line("khala threads");
    shell.line("khala check");
    shell.is_as_in("life");
}

#[test]
fn what_can_become_of_a_task_that_is_not_completed() {
    let mut shell = filled();
    shell.line("khala fail $task $claim 'The model refused.'");
    shell.line("khala task $task");
    shell.line("khala fail $task $claim 'Again.'");
    shell.keep(
        "other",
        "khala task add $thread 'Once.' --role once --max-attempts 1 --timeout 1s --priority -5 --key k",
    );
    shell.line("khala task add $thread 'Once.' --role once --max-attempts 1 --timeout 1s --priority -5 --key k");
    shell.line("khala task add $thread 'Another.' --role once --key k");
    let turn = shell.line("khala claim $other --agent a");
    shell.set("second", turn.split_whitespace().nth(1).unwrap());
    shell.line("khala release $other $second");
    let turn = shell.line("khala claim $other --agent b");
    shell.set("third", turn.split_whitespace().nth(1).unwrap());
    shell.line("khala release $other $second");
    shell.line("khala fail $other $third -- '-it broke-'");
    shell.line("khala task $other");
    shell.keep("later", "khala task add $thread 'Tomorrow.' --role writer --not-before 1d");
    shell.line("khala claim $later --agent a");
    shell.line("khala cancel $later");
    shell.line("khala cancel $later");
    shell.line("khala expire");
    shell.line("khala tasks");
    shell.line("khala stats");
    shell.is_as_in("failures");
}

#[test]
fn an_empty_store_says_that_there_is_nothing() {
    let mut shell = Shell::new();
    for command in ["init", "init", "threads", "tasks", "agents", "stats", "expire", "check", "compact", "export"] {
        shell.line(&format!("khala {command}"));
        if !["init"].contains(&command) {
            shell.line(&format!("khala --json {command}"));
        }
    }
    shell.line("khala claim --agent a");
    shell.line("khala claim --agent a --role writer");
    shell.line("khala thread 01D39ZY06FGSCTVN4T2V9PKHFZ");
    shell.line("khala task 01D39ZY06FGSCTVN4T2V9PKHFZ");
    shell.line("khala say 01D39ZY06FGSCTVN4T2V9PKHFZ hello --role user");
    shell.line("khala complete 01D39ZY06FGSCTVN4T2V9PKHFZ 01D39ZY06FGSCTVN4T2V9PKHFZ");
    shell.line("khala agent remove nobody");
    shell.line("khala agent rotate nobody");
    shell.is_as_in("empty");
}

#[test]
fn programs_get_json_lines() {
    let mut shell = filled();
    for line in [
        "threads",
        "thread $thread",
        "thread $thread --head",
        "tasks",
        "task $task",
        "renew $task $claim",
        "release $task $claim",
        "claim --role writer --agent writer-2",
        "claim --role writer --agent writer-2",
        "stats",
        "expire",
        "prune --before 2001-01-01",
        "thread new other --initiator ada",
        "task add $thread - --role reviewer <agents.khala",
        "say $thread hello --role user",
        "agent add writer-1",
        "agents",
        "agent remove writer-1",
        "finish $thread cancelled",
        "check",
        "export",
        "backup copy.khala",
        "compact",
        "export rows.jsonl",
        "import rows.jsonl",
    ] {
        shell.line(&format!("khala --json {line}"));
    }
    shell.is_as_in("json");
}

#[test]
fn lists_come_a_page_at_a_time_or_all_at_once() {
    let mut shell = Shell::new();
    shell.line("khala init");
    shell.keep("thread", "khala thread new release --initiator ada");
    for number in 1..=5 {
        shell.line(&format!("khala task add $thread 'Number {number}.' --role r >/dev/null"));
    }
    let page = shell.line("khala tasks --limit 2 2>&1");
    let cursor = page.rsplit_once("--after ").unwrap().1.split(',').next().unwrap().to_owned();
    shell.set("cursor", &cursor);
    shell.line("khala tasks --limit 2 --after $cursor");
    shell.line("khala tasks --limit 2 --newest");
    shell.line("khala --json tasks --limit 4 | wc -l");
    shell.line("khala --json tasks --all | wc -l");
    shell.line("khala tasks --all --newest");
    shell.line("khala tasks --all --limit 2");
    shell.line("khala tasks --limit 0");
    shell.line("khala tasks --after 00");
    shell.line("khala tasks --after zz");
    shell.line("khala tasks --status opened");
    shell.line("khala tasks --role r --status open --holder a");
    shell.is_as_in("pages");
}

#[test]
fn agents_get_their_tokens_once() {
    let mut shell = Shell::new();
    shell.line("khala init");
    shell.keep("token", "khala agent add reviewer-1");
    shell.line("khala agent add reviewer-1");
    shell.line("echo $token | khala agent authenticate");
    shell.keep("second", "khala agent rotate reviewer-1");
    shell.line("echo $token | khala agent authenticate");
    shell.line("echo $second | khala --json agent authenticate");
    shell.line("khala agents");
    shell.line("khala agents --after reviewer-1");
    shell.line("khala agent remove reviewer-1");
    shell.line("echo $second | khala agent authenticate");
    shell.is_as_in("agents");
}

#[test]
fn a_store_is_copied_and_moved() {
    let mut shell = filled();
    shell.line("khala agent add writer-1 >/dev/null");
    shell.line("khala backup copy.khala");
    shell.line("khala --store copy.khala task $task");
    shell.line("khala backup copy.khala");
    shell.line("khala backup missing/copy.khala");
    shell.line("khala export rows.jsonl");
    shell.line("khala export rows.jsonl");
    shell.line("khala export missing/rows.jsonl");
    shell.line("khala --store other.khala import rows.jsonl");
    shell.line("khala --store other.khala init");
    shell.line("khala --store other.khala import rows.jsonl");
    shell.line("khala --store other.khala import - <rows.jsonl");
    shell.line("khala --store other.khala export - | cmp - rows.jsonl && echo the same to the byte");
    shell.line("khala --store other.khala complete $task $claim && echo goes on being worked");
    shell.line("head -2 rows.jsonl >bad.jsonl; echo '{\"table\":\"threads\",\"id\":\"x\"}' >>bad.jsonl");
    shell.line("khala --store third.khala init && khala --store third.khala import bad.jsonl");
    shell.line("khala --store third.khala threads");
    shell.line("khala import missing.jsonl");
    shell.line("khala import .");
    shell.line("khala import agents.khala");
    shell.line("khala import - --table messages </dev/null");
    shell.line("khala compact");
    shell.line("ls -A");
    shell.is_as_in("moving");
}

#[test]
fn a_shell_gets_completions_and_manual_pages() {
    let mut shell = Shell::new();
    shell.line("for shell in bash zsh fish; do khala completions $shell | grep -c expire; done");
    shell.line("khala completions bash >c && bash -n c && echo bash takes it");
    shell.line("khala man | head -3");
    shell.line("mkdir man1 && khala man man1 && ls man1");
    shell.line("khala man missing");
    shell.line("khala --version");
    shell.line("khala help");
    shell.is_as_in("shell");
}

#[test]
fn the_help_of_every_command_has_an_example() {
    let mut shell = Shell::new();
    let help = shell.line("khala --help");
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(names.len() > 20, "{names:?}");
    let mut with_subcommands = names.clone();
    with_subcommands.retain(|name| name != "agent" && name != "help");
    with_subcommands.extend(["thread new", "task add"].map(Into::into));
    with_subcommands.extend(["add", "rotate", "remove", "authenticate"].map(|name| format!("agent {name}")));
    for name in with_subcommands {
        let help = shell.line(&format!("khala {name} --help"));
        let example = help.split("Example").nth(1).unwrap_or_else(|| panic!("{name} has no example:\n{help}"));
        assert!(example.contains("khala"), "{name}:\n{help}");
    }
    shell.is_as_in("help");
}
