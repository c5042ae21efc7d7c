//! What is different on a terminal. It is one that `script` makes, which is part of every Linux (util-linux).

use std::fmt::Write as _;
use std::path::Path;

use regex::{Captures, Regex};
use snapbox::data::DataFormat;
use snapbox::{Assert, Data};

use crate::life::filled;
use crate::transcript::Shell;

/// What a terminal of this width is sent.
fn on_a_terminal(shell: &mut Shell, columns: usize, line: &str) -> String {
    // `script` runs the line with this shell, in a terminal of its own.
    shell.set("SHELL", "/bin/sh");
    let typed = format!("stty cols {columns} rows 24; {line}");
    let output = shell.command(&format!("script -qec '{typed}' /dev/null </dev/null")).output();
    let output = output.expect("script(1) is there; Debian has it in bsdutils");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    said.replace("\r\n", "\n")
}

/// The same with ids and times that are always the same, as in a picture.
fn composed(said: &str) -> String {
    let mut ids: Vec<String> = vec![];
    let said = Regex::new(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b").unwrap().replace_all(said, |found: &Captures<'_>| {
        let at = ids.iter().position(|id| *id == found[0]).unwrap_or_else(|| {
            ids.push(found[0].to_owned());
            ids.len() - 1
        });
        format!("01D39ZY06FGSCTVN4T2V9PKH{:02}", 10 + at)
    });
    let times = Regex::new(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ").unwrap();
    times.replace_all(&said, "2026-01-31T12:00:00Z").into_owned()
}

#[test]
fn the_picture_in_the_docs_is_what_a_terminal_shows() {
    let mut shell = filled();
    for (instruction, role) in [("Check the links.", "reviewer"), ("Translate the notes into French.", "translator")] {
        shell.line(&format!("khala task add $thread '{instruction}' --role {role}"));
    }
    shell.line("khala complete $task $claim --say 'khala 0.1 is out: one file, many agents.'");
    shell.line("khala claim --role reviewer --agent reviewer-1");
    shell.keep("spoilt", "khala task add $thread 'Post it.' --role herald --max-attempts 1");
    let turn = shell.line("khala claim $spoilt --agent herald-1");
    shell.set("lost", turn.split_whitespace().nth(1).unwrap());
    shell.line("khala fail $spoilt $lost 'The network is down.'");
    let mut said = String::new();
    for line in ["khala tasks", "khala thread $thread", "khala claim --agent writer-2 --role writer"] {
        writeln!(said, "\x1b[1m$ {line}\x1b[0m\n{}", on_a_terminal(&mut shell, 128, line)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/terminal.term.svg");
    let expected = Data::read_from(&path, Some(DataFormat::TermSvg));
    let shown = Data::text(composed(&said)).coerce_to(DataFormat::TermSvg);
    Assert::new().action_env("SNAPSHOTS").eq(shown.raw(), expected.raw());
}

#[test]
fn there_is_colour_on_a_terminal_and_never_under_no_color() {
    let mut shell = filled();
    for line in ["khala tasks", "khala thread $thread", "khala stats", "khala task $task"] {
        let said = on_a_terminal(&mut shell, 120, line);
        assert!(said.contains("\x1b["), "{line}: {said:?}");
        let plain = on_a_terminal(&mut shell, 120, &format!("NO_COLOR=1 {line}"));
        assert!(!plain.contains('\x1b'), "{line}: {plain:?}");
        let piped = shell.line(line);
        assert!(!piped.contains('\x1b'), "{line}: {piped:?}");
    }
    let error = on_a_terminal(&mut shell, 120, "khala --store missing tasks");
    assert!(error.contains("\x1b[") && error.contains("there is no store missing"), "{error:?}");
    let plain = on_a_terminal(&mut shell, 120, "NO_COLOR=1 khala --store missing tasks");
    assert!(!plain.contains('\x1b'), "{plain:?}");
}

#[test]
fn a_table_is_as_wide_as_its_terminal_and_cuts_no_id() {
    let mut shell = filled();
    let text = "word ".repeat(60);
    shell.line(&format!("khala task add $thread '{text}' --role reviewer"));
    for columns in [100, 140] {
        let said = on_a_terminal(&mut shell, columns, "NO_COLOR=1 khala tasks");
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert!(lines.iter().all(|line| line.chars().count() <= columns), "{said}");
        assert!(lines[2].ends_with('…'), "{said}");
        assert!(lines[1..].iter().all(|line| line.split_whitespace().next().unwrap().len() == 26), "{said}");
    }
}

#[test]
fn a_claim_is_shown_for_people_on_a_terminal() {
    let mut shell = filled();
    shell.line("khala release $task $claim");
    let said = on_a_terminal(&mut shell, 120, "NO_COLOR=1 khala claim --agent writer-2");
    assert!(said.contains("claimed by writer-2") && said.contains("khala complete"), "{said}");
}

#[test]
fn control_the_terminal_is_one() {
    let mut shell = Shell::new();
    assert_eq!(on_a_terminal(&mut shell, 77, "test -t 1 && stty size").trim(), "24 77");
}
