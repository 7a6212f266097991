//! Files that are shared, full, deleted, torn and not ours.

use std::fs;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;

/// An empty directory of one test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("weir-lines-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> FileTarget {
        FileTarget {
            path: self.0.join("audit.jsonl"),
            folder: Folder::Given,
            rotation: Rotation::default(),
        }
    }

    /// A file that is full with `bytes`.
    fn rotated(&self, bytes: u64, keep: u32) -> FileTarget {
        FileTarget {
            rotation: Rotation {
                bytes: NonZeroU64::new(bytes),
                keep: NonZeroU32::new(keep),
            },
            ..self.file()
        }
    }

    /// What is in the file, or in the one with that number.
    fn text(&self, number: u32) -> String {
        let name = match number {
            0 => "audit.jsonl".to_owned(),
            number => format!("audit.jsonl.{number}"),
        };
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

async fn run(store: &mut DiskLines, job: Job) -> Outcome {
    store.submit(job);
    store.outcome().await
}

fn append(file: &mut LineFile, lines: &str) {
    let outcome = file.append(lines.as_bytes());
    assert_eq!(outcome.written, lines.len());
    outcome.result.unwrap();
}

#[tokio::test]
async fn a_file_is_private_appended_to_and_opened_again_by_name() {
    let place = Place::new();
    let target = AuditTarget::File(place.file());
    let path = place.file().path;

    let mut store = DiskLines::open(&target).unwrap();
    let outcome = run(&mut store, Job::Append(Bytes::from_static(b"one\n"))).await;
    assert!(outcome.result.is_ok() && outcome.written == 4);
    assert_eq!(mode(&path), 0o600);

    let moved = place.0.join("moved");
    fs::rename(&path, &moved).unwrap();
    run(&mut store, Job::Append(Bytes::from_static(b"two\n"))).await;
    run(&mut store, Job::Reopen).await.result.unwrap();
    run(&mut store, Job::Append(Bytes::from_static(b"three\n"))).await;
    assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
    assert_eq!(place.text(0), "three\n");
    drop(place);

    assert!(run(&mut store, Job::Reopen).await.result.is_err());
    assert!(DiskLines::open(&target).is_err());
}

#[tokio::test]
async fn a_full_device_is_an_error() {
    let mut target = Place::new().file();
    target.path = PathBuf::from("/dev/full");
    let mut store = DiskLines::open(&AuditTarget::File(target)).unwrap();
    let outcome = run(&mut store, Job::Append(Bytes::from_static(b"x\n"))).await;
    assert_eq!(outcome.result.unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(outcome.written, 0);
}

#[test]
fn a_torn_line_does_not_spoil_the_next() {
    let place = Place::new();
    for _ in 0..2 {
        append(&mut LineFile::open(place.file()).unwrap(), "one\nto");
    }
    append(&mut LineFile::open(place.file()).unwrap(), "end\n");
    assert_eq!(place.text(0), "one\nto\none\nto\nend\n");
}

#[test]
fn a_line_that_was_torn_is_finished_or_begun_anew_behind_those_of_others() {
    let place = Place::new();
    let mut ours = LineFile::open(place.file()).unwrap();
    let mut theirs = LineFile::open(place.file()).unwrap();
    append(&mut ours, "one\nto");
    append(&mut ours, "rn\nto");
    append(&mut theirs, "other\n");
    append(&mut ours, "rn again\nthree\n");
    append(&mut theirs, "other\n");
    append(&mut ours, "four\n");
    assert_eq!(
        place.text(0),
        "one\ntorn\nto\nother\ntorn again\nthree\nother\nfour\n"
    );
}

#[test]
fn a_deleted_file_is_made_anew() {
    let place = Place::new();
    let mut file = LineFile::open(place.file()).unwrap();
    append(&mut file, "one\nto");
    fs::remove_file(place.file().path).unwrap();
    append(&mut file, "rn\ntwo\n");
    assert_eq!(place.text(0), "torn\ntwo\n");

    let path = place.file().path;
    drop(place);
    let outcome = file.append(b"three\n");
    assert!(outcome.result.is_err() && outcome.written == 0, "{path:?}");
}

#[test]
fn full_files_get_numbers_and_the_oldest_is_deleted() {
    let place = Place::new();
    let mut file = LineFile::open(place.rotated(8, 2)).unwrap();
    for line in [
        "1\n",
        "2\n",
        "333333\n",
        "4444\n",
        "longer than a file\n",
        "6\n",
    ] {
        append(&mut file, line);
    }
    // What was once in a third file is gone.
    let texts = [3, 2, 1, 0].map(|number| place.text(number));
    assert_eq!(texts, ["", "4444\n", "longer than a file\n", "6\n"]);
}

#[test]
fn with_nothing_to_keep_nothing_is_deleted() {
    let place = Place::new();
    let mut file = LineFile::open(place.rotated(4, 0)).unwrap();
    for number in 100..140 {
        append(&mut file, &format!("{number}\n"));
    }
    assert_eq!(place.files(), 40);
    assert_eq!(place.text(0), "139\n");
    assert_eq!(place.text(39), "100\n");
}

#[test]
fn a_line_is_never_torn_between_two_files() {
    let place = Place::new();
    let mut file = LineFile::open(place.rotated(8, 0)).unwrap();
    append(&mut file, "1234567\n12");
    append(&mut file, "34567\n");
    append(&mut file, "2\n");
    assert_eq!(place.text(1), "1234567\n1234567\n");
    assert_eq!(place.text(0), "2\n");
}

#[test]
fn a_file_that_cannot_be_renamed_grows_on_and_is_left_alone_for_a_while() {
    let place = Place::new();
    fs::create_dir(place.0.join("audit.jsonl.1")).unwrap();
    let mut file = LineFile::open(place.rotated(4, 1)).unwrap();
    append(&mut file, "one\n");
    let outcome = file.append(b"two\n");
    assert!(outcome.rotation.unwrap().is_err());
    assert!(outcome.result.is_ok());
    assert!(file.append(b"three\n").rotation.is_none());
    assert_eq!(place.text(0), "one\ntwo\nthree\n");

    fs::remove_dir(place.0.join("audit.jsonl.1")).unwrap();
    file.not_before = None;
    assert!(file.append(b"four\n").rotation.unwrap().is_ok());
    assert_eq!(place.text(1), "one\ntwo\nthree\n");
    assert_eq!(place.text(0), "four\n");
}

#[test]
fn a_file_that_another_process_has_rotated_is_not_rotated_again() {
    let place = Place::new();
    let mut ours = LineFile::open(place.rotated(8, 8)).unwrap();
    let mut theirs = LineFile::open(place.rotated(8, 8)).unwrap();
    append(&mut ours, "one\ntwo\n");
    append(&mut theirs, "three\n");
    append(&mut ours, "4\n");
    append(&mut theirs, "five\n");
    assert_eq!(place.text(2), "one\ntwo\n");
    assert_eq!(place.text(1), "three\n4\n");
    assert_eq!(place.text(0), "five\n");
    assert_eq!(place.files(), 3);
}

/// Several writers with files of their own are, for the system, several processes.
#[test]
fn many_writers_of_one_file_lose_and_tear_nothing() {
    const WRITERS: usize = 4;
    const LINES: usize = 500;
    let place = Place::new();
    let target = place.rotated(2000, 0);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut file = LineFile::open(target.clone()).unwrap();
            scope.spawn(move || {
                for line in 0..LINES {
                    append(
                        &mut file,
                        &format!("{writer}-{line}-{}\n", "x".repeat(line % 50)),
                    );
                }
            });
        }
    });
    let mut lines: Vec<String> = (0..place.files())
        .flat_map(|number| {
            let text = place.text(u32::try_from(number).unwrap());
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(place.files() > 10, "{} files", place.files());
    lines.sort();
    let mut wanted: Vec<String> = (0..WRITERS)
        .flat_map(|writer| {
            (0..LINES).map(move |line| format!("{writer}-{line}-{}", "x".repeat(line % 50)))
        })
        .collect();
    wanted.sort();
    assert_eq!(lines, wanted);
}

#[test]
fn a_folder_in_a_home_is_made_for_this_user_alone() {
    let place = Place::new();
    let target = FileTarget {
        path: place.0.join("state/weir/audit.jsonl"),
        folder: Folder::Home(place.0.clone()),
        ..place.file()
    };
    for _ in 0..2 {
        append(&mut LineFile::open(target.clone()).unwrap(), "one\n");
    }
    assert_eq!(mode(&place.0.join("state")), 0o700);
    assert_eq!(mode(&place.0.join("state/weir")), 0o700);
    assert_eq!(mode(&target.path), 0o600);

    let nowhere = FileTarget {
        folder: Folder::Home(place.0.join("nobody")),
        path: place.0.join("nobody/audit.jsonl"),
        ..target
    };
    assert!(LineFile::open(nowhere).is_err());
    assert!(!place.0.join("nobody").exists());
}

#[test]
fn a_folder_that_others_could_have_made_is_refused_unless_it_is_ours_alone() {
    let place = Place::new();
    let folder = place.0.join("weir-1");
    let target = FileTarget {
        path: folder.join("audit.jsonl"),
        folder: Folder::Private,
        ..place.file()
    };
    append(&mut LineFile::open(target.clone()).unwrap(), "one\n");
    assert_eq!((mode(&folder), mode(&target.path)), (0o700, 0o600));
    append(&mut LineFile::open(target.clone()).unwrap(), "two\n");

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(LineFile::open(target.clone()).is_err(), "others may write");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();

    let elsewhere = place.0.join("elsewhere");
    fs::rename(&target.path, &elsewhere).unwrap();
    symlink(&elsewhere, &target.path).unwrap();
    assert!(
        LineFile::open(target.clone()).is_err(),
        "a link as the file"
    );
    fs::remove_file(&target.path).unwrap();

    let moved = place.0.join("moved");
    fs::rename(&folder, &moved).unwrap();
    symlink(&moved, &folder).unwrap();
    assert!(LineFile::open(target).is_err(), "a link as the folder");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "one\ntwo\n");
}
