//! File systems of a test's own: in an image behind a loop device, or in memory. They need root.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

/// The bit of `CapEff` in `/proc/self/status` that stands for the right to mount.
const CAP_SYS_ADMIN: u32 = 21;

/// Why no file system can be mounted here, if that is so. What is wrong beyond that is a failure of the test.
pub(super) fn why_not() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("only Linux has what it takes".into());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    if u64::from_str_radix(rights.trim(), 16).unwrap() >> CAP_SYS_ADMIN & 1 == 0 {
        return Some("this process may not mount (no CAP_SYS_ADMIN); run it as root".into());
    }
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    if !users.split_whitespace().eq(["0", "0", "4294967295"]) {
        return Some("root is not the machine's own here (a user namespace)".into());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices (/dev/loop-control)".into());
    }
    let folder = tempfile::tempdir().unwrap();
    let tried = command("mount").args(["-t", "tmpfs", "khala"]).arg(folder.path()).output().unwrap();
    let refused = String::from_utf8_lossy(&tried.stderr).into_owned();
    if !tried.status.success() && (refused.contains("denied") || refused.contains("permitted")) {
        return Some(format!("mounting is refused: {}", refused.trim()));
    }
    done("mount", Ok(tried));
    run("umount", [folder.path()]);
    None
}

/// A mounted file system, gone with this.
#[derive(Debug)]
pub(super) struct Mounted {
    kind: &'static str,
    source: PathBuf,
    options: String,
    at: PathBuf,
    _folder: TempDir,
}

impl Mounted {
    /// A file system in memory of this size.
    pub(super) fn tmpfs(bytes: u64) -> Self {
        Self::new("tmpfs", bytes, &[], &format!("size={bytes}"))
    }

    /// An ext4 of this size in an image of its own, made and mounted with these options.
    pub(super) fn ext4(bytes: u64, made_with: &[&str], options: &str) -> Self {
        Self::new("ext4", bytes, made_with, &format!("loop,{options}"))
    }

    fn new(kind: &'static str, bytes: u64, made_with: &[&str], options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("mounted");
        std::fs::create_dir(&at).unwrap();
        let source = if kind == "tmpfs" { "khala".into() } else { folder.path().join("image") };
        if kind == "ext4" {
            std::fs::File::create_new(&source).unwrap().set_len(bytes).unwrap();
            let mut make = command("mkfs.ext4");
            done("mkfs.ext4", make.args(["-q", "-F"]).args(made_with).arg(&source).output());
        }
        let mounted = Self { kind, source, options: options.into(), at, _folder: folder };
        mounted.mount();
        mounted
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    fn mount(&self) {
        let mut mount = command("mount");
        done("mount", mount.args(["-t", self.kind, "-o", &self.options]).args([&self.source, &self.at]).output());
    }

    /// Mounts it again with other options, without anybody's files being closed.
    pub(super) fn remount(&self, options: &str) {
        run("mount", [Path::new("-o"), Path::new(&format!("remount,{options}")), &self.at]);
    }

    /// Unmounts it and mounts it again, as a machine does that starts after a power cut.
    pub(super) fn restart(&self) {
        self.unmount();
        self.mount();
    }

    fn unmount(&self) {
        // Somebody who is about to start a program has a copy of every open file for a moment.
        for _ in 0..400 {
            let output = command("umount").arg(&self.at).output().unwrap();
            if output.status.success() {
                return;
            }
            let busy = String::from_utf8_lossy(&output.stderr).contains("busy");
            assert!(busy, "umount: {}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{} is still in use: a file of a store that was dropped is open", self.at.display());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also while somebody hangs in it.
        let _ = command("umount").arg("-l").arg(&self.at).output();
    }
}

/// The programs of an administrator are not on everybody's path.
pub(super) fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin")).env("LC_ALL", "C");
    command
}

/// Runs this program, and fails the test if it fails.
pub(super) fn run<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) {
    done(program, command(program).args(arguments).output());
}

fn done(program: &str, output: io::Result<Output>) {
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}; these tests need perl-base, mount, e2fsprogs and coreutils")
    });
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
