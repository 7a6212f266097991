//! The directory of a file that nobody else may read, or put in our way.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// How much is known of the directory of a file.
///
/// | | is made | is checked |
/// |---|---|---|
/// | `Given` | no | no: somebody named it |
/// | `Made` | with mode 0700 | no: somebody named it |
/// | `Home` | with mode 0700 | the home must be there and belong to this user |
/// | `Private` | with mode 0700 | it must belong to this user alone: everybody may make directories beside it |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It is there, and anything in it may be opened: a pipe, a device, a symbolic link.
    Given,
    /// It may be missing, and those above it.
    Made,
    /// It is somewhere below this home.
    Home(PathBuf),
    /// It lies where everybody may write; no symbolic link is followed to it or to the file.
    Private,
}

// === impl Folder ===

impl Folder {
    /// Opens the file at `path` for appending. It is created with mode 0600.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let directory = path.parent().unwrap_or(Path::new("/"));
        match self {
            Self::Given => {}
            Self::Made => make(directory)?,
            Self::Home(home) => {
                if !is_ours(&fs::metadata(home)?) {
                    return Err(not_ours(home, "a directory of this user"));
                }
                make(directory)?;
            }
            Self::Private => {
                make_private(directory)?;
                options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            }
        }
        options.open(path)
    }
}

fn make(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)
}

fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let about = fs::symlink_metadata(directory)?;
    if is_ours(&about) && about.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(not_ours(
        directory,
        "a directory of this user alone (mode 0700)",
    ))
}

fn is_ours(about: &Metadata) -> bool {
    about.is_dir() && about.uid() == geteuid().as_raw()
}

fn not_ours(path: &Path, wanted: &str) -> io::Error {
    let text = format!("{} is not {wanted}", path.display());
    io::Error::new(ErrorKind::PermissionDenied, text)
}
