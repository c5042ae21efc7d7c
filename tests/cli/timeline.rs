//! `khala timeline`: where the picture goes, and what stands in the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use khala::{NewTask, Store, ThreadId};

struct Place {
    folder: tempfile::TempDir,
    thread: ThreadId,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("agents.khala")).unwrap();
        let thread = store.create_thread("release", "ada").unwrap().id;
        store.create_task(thread, NewTask::new("writer", "Draft <it>.")).unwrap();
        Self { folder, thread }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn timeline(&self, arguments: &[&str]) -> Output {
        self.khala(&[&["timeline", &self.thread.to_string()], arguments].concat())
    }

    fn khala(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_khala"));
        command.args(arguments).current_dir(self.folder.path()).env_remove("KHALA_STORE");
        command.output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn is_picture(text: &str) -> bool {
    let document = roxmltree::Document::parse(text).unwrap();
    document.descendants().any(|node| node.text().is_some_and(|text| text.contains("writer: Draft <it>.")))
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn the_picture_goes_into_a_file_and_the_answer_says_so() {
    let place = Place::new();
    let drawn = place.timeline(&["-o", "release.svg"]);
    assert!(drawn.status.success(), "{}", complaint(&drawn));
    assert!(out(&drawn).starts_with("release.svg: 1 tasks and 0 messages, "), "{}", out(&drawn));
    assert!(is_picture(&fs::read_to_string(place.file("release.svg")).unwrap()));
    let told = place.timeline(&["--json", "-o", "other.svg"]);
    let told: serde_json::Value = serde_json::from_str(&out(&told)).unwrap();
    let bytes = fs::metadata(place.file("other.svg")).unwrap().len();
    assert_eq!((told["file"].as_str(), told["bytes"].as_u64()), (Some("other.svg"), Some(bytes)));
    assert_eq!(files(place.folder.path()), ["agents.khala", "other.svg", "release.svg"], "nothing else is left");
}

#[test]
fn a_dash_is_the_standard_output() {
    let place = Place::new();
    let drawn = place.timeline(&["-o", "-"]);
    assert!(drawn.status.success(), "{}", complaint(&drawn));
    assert!(is_picture(&out(&drawn)));
}

#[test]
fn a_file_that_is_there_is_replaced_only_when_told_to() {
    let place = Place::new();
    fs::write(place.file("release.svg"), "mine").unwrap();
    let refused = place.timeline(&["-o", "release.svg"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("release.svg is there already"), "{}", complaint(&refused));
    assert!(complaint(&refused).contains("--force"));
    assert_eq!(fs::read_to_string(place.file("release.svg")).unwrap(), "mine");
    assert!(place.timeline(&["-o", "release.svg", "--force"]).status.success());
    assert!(is_picture(&fs::read_to_string(place.file("release.svg")).unwrap()));
}

#[test]
fn a_place_where_no_file_can_be_is_named_and_nothing_is_left_there() {
    let place = Place::new();
    fs::create_dir(place.file("folder")).unwrap();
    for (path, reason) in [
        ("folder", "folder is a folder"),
        ("/dev/null", "/dev/null is no regular file"),
        ("missing/release.svg", "cannot write missing/release.svg: No such file or directory"),
        ("agents.khala/release.svg", "cannot write agents.khala/release.svg: Not a directory"),
    ] {
        for force in [&["-o", path][..], &["-o", path, "--force"][..]] {
            let refused = place.timeline(force);
            assert_eq!(refused.status.code(), Some(1), "{path}");
            assert!(complaint(&refused).contains(reason), "{path}: {}", complaint(&refused));
        }
    }
    assert_eq!(files(place.folder.path()), ["agents.khala", "folder"]);
}

#[test]
fn a_thread_that_is_not_there_is_named_and_no_file_is_made() {
    let place = Place::new();
    let refused = place.khala(&["timeline", "01D39ZY06FGSCTVN4T2V9PKHFZ", "-o", "release.svg"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("01D39ZY06FGSCTVN4T2V9PKHFZ"), "{}", complaint(&refused));
    let wrong = place.khala(&["timeline", "release", "-o", "release.svg"]);
    assert_eq!(wrong.status.code(), Some(2), "that is no id");
    assert_eq!(place.timeline(&[]).status.code(), Some(2), "where to is asked for");
    assert_eq!(files(place.folder.path()), ["agents.khala"]);
}
