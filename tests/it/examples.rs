//! The examples do what they say, and the guide's steps are the ones that run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What each example of a single file must print: these lines, in this order, others in between.
const PRINTED: &[(&str, &[&str])] = &[
    (
        "guide",
        &[
            "\"Draft the release note.\" is open",
            "and the program dies",
            "\"Draft the release note.\" is claimed",
            "done with \"Draft the release note.\"",
            "reviewer-1: the model is overloaded; it will be tried again",
            "reviewer-1: done with \"Read the draft.\"",
            "release note, completed: The note is out.",
            "Draft the release note.  writer-",
            "Read the draft.          reviewer-1 after",
            "writer: writer (I have read 1 messages.) Agents sleep until there is work.",
            "reviewer: reviewer (I have read 2 messages.)",
            "1 thread pruned",
        ],
    ),
    ("minimal", &["greeter-1 claims \"Greet the world.\"", "greeter says \"Hello, world!\""]),
    ("planner", &["There are 148933 primes below 2000000.", "Each of the 24 parts was counted once"]),
    ("worker_pool", &["worker-8 did", "500 of 500 tasks done, 500 completed in the store", "add up to 41791750"]),
    (
        "atomic_turn",
        &[
            "sleeper wakes up and posts: it has lost task",
            "the task is claimed; messages: 0, reviews to do: 0",
            "writer-2 posts",
            "the task is completed; messages: 1, reviews to do: 1",
        ],
    ),
    (
        "waiting",
        &[
            // In which order they come is a matter of time, and a busy machine has its own.
            "a task that was ",
            "a task that was ",
            "a task that was ",
            "a task that was ",
            "woken 4 times",
        ],
    ),
    (
        "tokio",
        &[
            "100 agents wait",
            "all have gone home",
            "letters finished; in the store",
            "make 300",
            "letters in the thread",
        ],
    ),
    (
        "tokens",
        &[
            "in logs it is Token(secret)",
            "with it: writer-1 has \"Draft it.\"",
            "with a guess: not let in",
            "nobody else can register as writer-1",
            "with the old token: not let in",
            "with the new token: writer-1 has \"Translate it.\"",
            "when the agent is removed: not let in",
        ],
    ),
];

#[test]
fn every_example_runs_and_prints_what_happens() {
    let programs = build();
    let names: Vec<_> = single_files();
    assert_eq!(names, sorted(PRINTED.iter().map(|(name, _)| (*name).to_owned())), "each example is listed here");
    // All at once: most of their time they wait.
    let running = PRINTED.iter().map(|(name, lines)| {
        let mut command = Command::new(&programs[*name]);
        (name, lines, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    });
    let running: Vec<_> = running.collect();
    for (name, lines, child) in running {
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n{printed}{complained}", output.status);
        assert_eq!(first_missing(lines, &printed), None, "{name} printed\n{printed}");
        assert_eq!(complained, "", "{name} complained");
    }
}

#[test]
fn each_step_of_the_guide_is_code_of_the_example_that_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/guide.md")).unwrap();
    let example = fs::read_to_string(root.join("examples/guide.rs")).unwrap();
    let steps = guide.lines().filter(|line| line.starts_with("## ")).count();
    let blocks = code_blocks(&guide);
    assert_eq!(steps, 10);
    assert!(blocks.len() >= steps, "each step has code");
    for block in &blocks {
        assert!(stands_in(block, &example), "examples/guide.rs does not have\n{block}");
    }
}

#[test]
fn control_what_an_example_does_not_print_or_have_is_missed() {
    assert_eq!(first_missing(&["b", "a"], "a\nb\n"), Some("a"));
    assert_eq!(first_missing(&["a", "b"], "a\nb\n"), None);
    let guide = "```rust\nlet a = 1;\n```\n```text\nno code\n```\n";
    assert_eq!(code_blocks(guide), ["let a = 1;\n"]);
    assert!(stands_in("let a = 1;\nlet b = 2;\n", "fn f() {\n    let a = 1;\n    let b = 2;\n}\n"));
    assert!(!stands_in("let a = 1;\nlet b = 2;\n", "let a = 1;\nlet c = 3;\nlet b = 2;\n"));
}

/// The first of these lines that does not come after those before it.
fn first_missing<'a>(lines: &[&'a str], printed: &str) -> Option<&'a str> {
    let mut rest = printed;
    lines.iter().copied().find(|line| match rest.find(line) {
        Some(at) => {
            rest = &rest[at + line.len()..];
            false
        }
        None => true,
    })
}

/// The Rust in a page of Markdown.
fn code_blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.map(ToOwned::to_owned).collect()
}

/// Whether these lines stand in a source one below the other, however far they are indented.
fn stands_in(block: &str, source: &str) -> bool {
    let [block, source] = [block, source].map(|text| text.lines().map(str::trim).collect::<Vec<_>>());
    source.windows(block.len()).any(|window| window == block)
}

/// The names of the examples that need no arguments.
fn single_files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sorted(files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()))
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Builds the examples as this test was built, and says where they are. After `cargo test --all-features` they are there.
fn build() -> BTreeMap<String, PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--examples", "--all-features", "--message-format=json-render-diagnostics"]);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the examples are built");
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let programs = messages.filter(|message| message["target"]["kind"][0] == "example").filter_map(|message| {
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, message["executable"].as_str()?.into()))
    });
    programs.collect()
}
