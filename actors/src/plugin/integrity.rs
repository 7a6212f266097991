//! Whether a plugin's program is still the one that it was started from.
//!
//! Before each start the files that the plugin consists of are hashed. While it serves they are looked at once a second:
//! as long as size, times and inode are the same, nothing is read. What is different is read when it has come to rest, and
//! is a replacement if its hash is another one.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// A file that is being written is not read before it has been the same for this long.
const REST: Duration = Duration::from_millis(200);
/// The longest file that is hashed, in bytes. Of what is longer, size, times and inode count.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// What happens when a file that a plugin was started from is another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// An instance of the new file is started, proven healthy, and takes over; no call fails. If it does not become
    /// healthy, the old one goes on.
    #[default]
    Reload,
    /// The plugin is ended and kept down until an operator restarts it: nothing of the new file is run before.
    Quarantine,
    /// Nothing.
    Ignore,
}

/// A file is another one than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replacement {
    /// The file.
    pub file: PathBuf,
    /// What it was.
    pub before: Fingerprint,
    /// What it is.
    pub now: Fingerprint,
}

/// What a file contains, as far as anybody cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Fingerprint {
    /// The SHA-256 of its bytes.
    Sha256([u8; 32]),
    /// It is too long to be read: its size and the time of its last change.
    Long(u64, i64),
    /// It cannot be read.
    Unreadable(io::ErrorKind),
}

/// The files of a plugin as they were when it was started.
#[derive(Clone, Debug, Default)]
pub(super) struct Seals(Vec<Seal>);

#[derive(Clone, Debug)]
struct Seal {
    file: PathBuf,
    look: Look,
    fingerprint: Fingerprint,
}

/// What is to be seen of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Gone,
    There {
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
}

// === impl Seals ===

impl Seals {
    /// Reads the files, on a thread that may wait for the disk.
    pub(super) async fn of(files: Vec<PathBuf>) -> Self {
        if files.is_empty() {
            return Self::default();
        }
        let read = move || Self(files.into_iter().map(Seal::of).collect());
        // A reader that panics has read nothing, and then nothing is compared.
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    /// The first file whose content is not the same in `other`, which is of the same plugin.
    pub(super) fn difference(&self, other: &Self) -> Option<Replacement> {
        let pairs = self.0.iter().zip(&other.0);
        let mut different = pairs.filter(|(before, now)| {
            before.file != now.file || before.fingerprint != now.fingerprint
        });
        let (before, now) = different.next()?;
        Some(Replacement {
            file: now.file.clone(),
            before: before.fingerprint.clone(),
            now: now.fingerprint.clone(),
        })
    }

    /// Waits until a file is another one than `self` says. From then on `self` says what it is now, so that the same
    /// replacement is told once.
    pub(super) async fn broken(&mut self) -> Replacement {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            if !self.look_different().await {
                continue;
            }
            let files: Vec<PathBuf> = self.0.iter().map(|seal| seal.file.clone()).collect();
            let now = Self::of(files).await;
            tokio::time::sleep(REST).await;
            let gone = |seal: &Seal| seal.look == Look::Gone;
            if now.0.iter().any(gone) || now.look_different().await {
                // Still being written: it is looked at again. What is gone may come back, and nobody runs it.
                continue;
            }
            let before = std::mem::replace(self, now);
            if let Some(replacement) = before.difference(self) {
                return replacement;
            }
        }
    }

    async fn look_different(&self) -> bool {
        let looks: Vec<(PathBuf, Look)> = self
            .0
            .iter()
            .map(|seal| (seal.file.clone(), seal.look))
            .collect();
        let look = move || looks.iter().any(|(file, look)| Look::at(file) != *look);
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }
}

// === impl Seal ===

impl Seal {
    fn of(file: PathBuf) -> Self {
        // Looked at first: what is written while it is read is seen later.
        let look = Look::at(&file);
        let fingerprint =
            fingerprint(&file).unwrap_or_else(|error| Fingerprint::Unreadable(error.kind()));
        Self {
            file,
            look,
            fingerprint,
        }
    }
}

fn fingerprint(path: &Path) -> io::Result<Fingerprint> {
    let mut file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Ok(Fingerprint::Long(metadata.len(), metadata.mtime()));
    }
    let mut hash = Hash(Context::new(&SHA256));
    io::copy(&mut io::Read::take(&mut file, MAX_BYTES), &mut hash)?;
    let digest = hash.0.finish();
    let bytes = digest.as_ref().try_into();
    bytes
        .map(Fingerprint::Sha256)
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Takes bytes to hash them.
struct Hash(Context);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Look ===

impl Look {
    fn at(file: &Path) -> Self {
        let Ok(metadata) = std::fs::metadata(file) else {
            return Self::Gone;
        };
        Self::There {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

// === impl Fingerprint ===

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(bytes) => {
                formatter.write_str("sha256:")?;
                bytes
                    .iter()
                    .try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
            Self::Long(size, modified) => write!(formatter, "{size} bytes of {modified}"),
            Self::Unreadable(kind) => write!(formatter, "unreadable: {kind}"),
        }
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

// === impl Replacement ===

impl fmt::Display for Replacement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, before, now } = self;
        write!(formatter, "{} was {before} and is {now}", file.display())
    }
}
