//! The other side of the harnesses that kill processes: this very test binary, run again as a child with a role.
//!
//! A child says what it did in lines on its standard output that begin with `SAYS`; what the test framework prints there
//! is passed over.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const SAYS: &str = "khala: ";

/// How long a child may say nothing before it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a child does with its arguments.
type Role = fn(&[String]);

/// What a child can be, by name.
const ROLES: &[(&str, Role)] = &[
    ("copies", super::copies::copies),
    ("crew", super::kills::a_crew),
    ("damage", super::damage::child),
    ("fills-a-file", super::io_faults::fills_a_file),
    ("soaks", super::soak::soaks),
    ("works-until-killed", super::soak::works_until_killed),
];

/// Starts a child in this role. `memory_bytes` is the most address space it may take.
pub(super) fn start(role: &str, arguments: &[&str], memory_bytes: Option<u64>) -> Child {
    let limit = memory_bytes.map(|bytes| format!("ulimit -v {}", bytes / 1024));
    start_under(role, arguments, limit.as_deref())
}

/// Starts a child in this role, under limits that a shell sets first.
pub(super) fn start_under(role: &str, arguments: &[&str], limits: Option<&str>) -> Child {
    assert!(ROLES.iter().any(|(name, _)| *name == role), "there is a role {role}");
    let mut command = match limits {
        None => Command::new(std::env::current_exe().unwrap()),
        Some(limits) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{limits} && exec \"$@\""), "child"]);
            shell.arg(std::env::current_exe().unwrap());
            shell
        }
    };
    command.args(["inside::child::a_child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("KHALA_CHILD", std::iter::once(&role).chain(arguments).copied().collect::<Vec<_>>().join("\n"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a child says, line by line, until it ends. A line that its end tore is left out.
pub(super) fn lines(output: ChildStdout) -> impl Iterator<Item = String> {
    let mut output = BufReader::new(output);
    std::iter::from_fn(move || {
        loop {
            let mut line = String::new();
            output.read_line(&mut line).ok().filter(|read| *read > 0)?;
            if let Some(said) = line.strip_prefix(SAYS).and_then(|line| line.strip_suffix('\n')) {
                return Some(said.to_owned());
            }
        }
    })
}

/// A child in company: what it says is gathered as it comes, and it does not outlive this.
pub(super) struct Attended {
    child: Child,
    said: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

impl Attended {
    pub(super) fn new(mut child: Child) -> Self {
        let (output, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (heard, said) = mpsc::channel();
        thread::spawn(move || lines(output).try_for_each(|line| heard.send(line)));
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, said, complaints: Some(complaints) }
    }

    /// The next line it says; `None` when it has ended.
    pub(super) fn hear(&self) -> Option<String> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the child hangs: it has said nothing for {PATIENCE:?}"),
        }
    }

    /// Kills it, and gives back what it had said; an error if it had ended by itself.
    pub(super) fn kill(mut self) -> Result<Vec<String>, String> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        #[cfg(unix)]
        if std::os::unix::process::ExitStatusExt::signal(&status) != Some(9) {
            let complaints = self.complaints.take().map(|complaints| complaints.join().unwrap());
            return Err(format!("the child had ended with {status}: {}", complaints.unwrap_or_default()));
        }
        Ok(self.said.iter().collect())
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends this process when the parent's end of its input is closed: nobody's child works on.
pub(super) fn end_with_parent() {
    thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

/// Says a line to the parent, at once and whole.
pub(super) fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{SAYS}{line}\n").as_bytes()).and_then(|()| output.flush()).unwrap();
}

#[test]
#[ignore = "not a test: what the others start as a child process"]
fn a_child() {
    let Ok(role_and_arguments) = std::env::var("KHALA_CHILD") else { return };
    let mut parts = role_and_arguments.split('\n').map(str::to_owned);
    let wanted = parts.next().unwrap();
    let (_, role) = ROLES.iter().find(|(name, _)| *name == wanted).expect("a role that there is");
    // The framework has printed the name of this test without an end of line.
    println!();
    role(&parts.collect::<Vec<_>>());
}
