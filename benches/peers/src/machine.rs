//! The machine that was measured on, by name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) disk: String,
}

impl Machine {
    /// This machine, with the disk and the file system that this folder is on.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let mount = Mount::of(folder)?;
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text)).unwrap_or_default(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").unwrap_or_default()),
            file_system: mount.file_system.clone(),
            disk: mount.disk(),
        })
    }

    pub(crate) fn describe(&self) -> String {
        let gibibytes = self.memory_bytes >> 30;
        format!(
            "{}, {} cores, {gibibytes} GiB of memory; {}; {} on {}",
            self.cpu, self.cores, self.kernel, self.file_system, self.disk
        )
    }

    /// Whether a sync there reaches no disk at all.
    pub(crate) fn is_in_memory(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&self.file_system.as_str())
    }
}

/// The most memory this process has had so far, in bytes: the kernel's `VmHWM`, mapped files included.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM").and_then(|text| kibibytes(&text))
}

/// How many bytes these files and folders take on the disk.
pub(crate) fn bytes_on_disk(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    fs::read_dir(path)?.try_fold(0, |bytes, entry| Ok(bytes + bytes_on_disk(&entry?.path())?))
}

/// A line of `/proc/self/mountinfo`.
struct Mount {
    device: String,
    file_system: String,
    source: String,
}

impl Mount {
    /// The mount that the folder is on: the last one with its device.
    fn of(folder: &Path) -> Result<Self> {
        let device = fs::metadata(folder)?.dev();
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let found = mounts.lines().rfind(|line| line.split(' ').nth(2) == Some(device.as_str()));
        let mut described = found.and_then(|line| line.split_once(" - ")).map_or("", |(_, rest)| rest).split(' ');
        let mut word = || described.next().filter(|word| !word.is_empty()).unwrap_or("unknown").to_owned();
        Ok(Self { device, file_system: word(), source: word() })
    }

    /// The disk's model if it says one, and what it is.
    fn disk(&self) -> String {
        let device = PathBuf::from("/sys/dev/block").join(&self.device);
        // A partition's folder lies in its disk's.
        let say = |file: &str| ["", ".."].iter().find_map(|up| read(device.join(up).join(file)));
        let is_virtual = ["/dev/vd", "/dev/xvd"].iter().any(|name| self.source.starts_with(name));
        let kind = match say("queue/rotational").as_deref() {
            _ if is_virtual => "virtual",
            Some("0") => "solid state",
            Some(_) => "rotating",
            None => "of unknown kind",
        };
        let parts = [say("device/model"), Some(kind.to_owned()), say("queue/write_cache").map(|mode| mode + " cache")];
        format!("{} ({})", self.source, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// What a file of lines `name: value` says under this name first.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}
