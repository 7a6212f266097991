//! Full files get a number: `audit.jsonl` becomes `audit.jsonl.1`, which was `audit.jsonl.2` a file later.

use std::fs;
use std::io::{self, ErrorKind};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

/// When a file is full, and what becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// The size in bytes beyond which no line is added; none: the file grows for ever.
    pub bytes: Option<NonZeroU64>,
    /// How many full files are kept, the oldest is deleted for a new one; none: all of them.
    pub keep: Option<NonZeroU32>,
}

// === impl Rotation ===

impl Rotation {
    /// Returns true if `more` bytes do not fit behind `length` bytes. A file without lines takes any number.
    pub(super) fn is_due(&self, length: u64, more: usize) -> bool {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.bytes
            .is_some_and(|limit| length > 0 && length.saturating_add(more) > limit.get())
    }

    /// Renames `path` to `path.1`, what has that name to `path.2` and so on up to the first number that is free or the
    /// last that is kept: the file with that one is replaced. Stops at the first name that cannot be changed; then
    /// every file still has a name.
    pub(super) fn shift(&self, path: &Path) -> io::Result<()> {
        let mut free = 1;
        while self.keep.is_none_or(|keep| free < keep.get()) && exists(&numbered(path, free))? {
            free += 1;
        }
        for number in (1..free).rev() {
            fs::rename(numbered(path, number), numbered(path, number + 1))?;
        }
        fs::rename(path, numbered(path, 1))
    }
}

fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
