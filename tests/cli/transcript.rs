//! A shell in a folder of its own, and a transcript of what was typed and said.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regex::{Captures, Regex};
use snapbox::data::DataFormat;
use snapbox::{Assert, Data};
use tempfile::TempDir;

pub(crate) struct Shell {
    folder: TempDir,
    variables: Vec<(String, String)>,
    transcript: String,
}

impl Shell {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: vec![], transcript: String::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a variable for all lines that follow.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    /// This line for the shell, with the command under test on its path and nothing of ours in its environment.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let here = Path::new(env!("CARGO_BIN_EXE_khala")).parent().unwrap();
        let path = format!("{}:{}", here.display(), std::env::var("PATH").unwrap());
        command.args(["-c", line]).current_dir(self.folder.path()).env_clear();
        command.envs([("PATH", path.as_str()), ("TERM", "xterm"), ("LANG", "C.UTF-8")]);
        // Where coverage is measured, what the command runs counts, and no profile lands in the folder.
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&mut self, line: &str, shown: &str, input: &[u8]) -> Output {
        let piped = || Stdio::piped();
        let mut child = self.command(line).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Whoever does not read its input does not get it.
        let _ = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        writeln!(self.transcript, "$ {shown}\n{}", said(&output.stdout).trim_end_matches('\n')).unwrap();
        for line in said(&output.stderr).lines() {
            writeln!(self.transcript, "2> {line}").unwrap();
        }
        if output.status.code() != Some(0) {
            writeln!(self.transcript, "[{}]", output.status).unwrap();
        }
        self.transcript.push('\n');
        output
    }

    /// Types a line, and gives back what it printed.
    pub(crate) fn line(&mut self, line: &str) -> String {
        self.line_with(line, b"")
    }

    /// The same, with this on the standard input.
    pub(crate) fn line_with(&mut self, line: &str, input: &[u8]) -> String {
        String::from_utf8_lossy(&self.run(line, line, input).stdout).into_owned()
    }

    /// Types `name=$(line)`, and checks that it succeeded.
    pub(crate) fn keep(&mut self, name: &str, line: &str) -> String {
        let output = self.run(line, &format!("{name}=$({line}); echo ${name}"), b"");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let value = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        self.set(name, &value);
        value
    }

    /// Compares the transcript with the snapshot of this name; ids, times, tokens and sizes are taken as the same.
    #[track_caller]
    pub(crate) fn is_as_in(&self, snapshot: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/snapshots/{snapshot}.txt"));
        let expected = Data::read_from(&path, Some(DataFormat::Text)).raw();
        let said = self.transcript.replace(&self.folder.path().display().to_string(), "[FOLDER]");
        Assert::new().action_env("SNAPSHOTS").eq(Data::text(anonymous(&said)).raw(), expected);
    }
}

/// The text with everything that differs from run to run replaced by something as long that says what it was. The same
/// id is the same everywhere.
pub(crate) fn anonymous(text: &str) -> String {
    let replaced = |pattern: &str, text: &str, by: &mut dyn FnMut(&Captures<'_>) -> String| {
        Regex::new(pattern).unwrap().replace_all(text, |found: &Captures<'_>| by(found)).into_owned()
    };
    let mut ids: Vec<String> = vec![];
    let text = replaced(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b", text, &mut |found| {
        let at = ids.iter().position(|id| *id == found[0]).unwrap_or_else(|| {
            ids.push(found[0].to_owned());
            ids.len() - 1
        });
        format!("{:-<26}", format!("id-{}-", at + 1))
    });
    let text = replaced(r"khala_[0-9a-f]{64}", &text, &mut |_| "khala_[64 hexadecimal digits]".into());
    let text = replaced(r"\b[0-9a-f]{32,}\b", &text, &mut |_| "[cursor or hash]".into());
    let text = replaced(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{6})?", &text, &mut |found| {
        format!("YYYY-MM-DDTHH:MM:SS{}", if found.get(1).is_some() { ".ssssss" } else { "" })
    });
    let text = replaced(r"[\d.]+ [KM]iB", &text, &mut |_| "[size]".into());
    replaced(r#"("bytes[_a-z]*"):\d+"#, &text, &mut |found| format!("{}:[bytes]", &found[1]))
}

#[test]
fn an_id_is_the_same_everywhere_and_what_is_no_id_stays() {
    let said = "01D39ZY06FGSCTVN4T2V9PKHFZ 01D39ZY06FGSCTVN4T2V9PKHF0 01D39ZY06FGSCTVN4T2V9PKHFZ THE2026PLAN 5 KiB";
    let expected =
        "id-1---------------------- id-2---------------------- id-1---------------------- THE2026PLAN [size]";
    assert_eq!(anonymous(said), expected);
}

#[test]
#[should_panic(expected = "created")]
fn control_a_transcript_that_is_not_as_in_its_snapshot_is_seen() {
    let mut shell = Shell::new();
    shell.line("khala init");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots/life.txt");
    let expected = Data::read_from(&path, Some(DataFormat::Text)).raw();
    Assert::new().action(snapbox::assert::Action::Verify).eq(Data::text(anonymous(&shell.transcript)).raw(), expected);
}
