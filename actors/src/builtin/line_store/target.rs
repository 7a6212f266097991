//! Which file or pipe.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::folder::Folder;
use super::rotation::Rotation;

/// Where audit lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, created with mode 0600 and appended to.
    File(FileTarget),
}

/// A file of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    /// Its name while it is written to.
    pub path: PathBuf,
    /// Where it lies.
    pub folder: Folder,
    /// What happens when it is full.
    pub rotation: Rotation,
}

// === impl FileTarget ===

impl FileTarget {
    /// The path of another file in the same directory, which is made and checked by the same rules; a file of that name
    /// with `.lock` behind it shows that it can be written to.
    pub fn beside(&self, name: &str) -> io::Result<PathBuf> {
        self.folder
            .open(&self.path.with_file_name(format!("{name}.lock")))?;
        Ok(self.path.with_file_name(name))
    }
}

// === impl AuditTarget ===

/// Shows the place as an operator looks for it.
impl fmt::Display for AuditTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => formatter.write_str("standard output"),
            Self::Stderr => formatter.write_str("standard error"),
            Self::File(file) => file.path.display().fmt(formatter),
        }
    }
}
