//! The file of the pins: read once, replaced as a whole, shared with other processes server by server.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::record::{self, NoPins, Record, Records};
use crate::upstream::view::ServerName;

/// The largest file that is read.
const MAX_BYTES: u64 = 512 << 20;

/// A file of pins. It need not be there before the first [`PinFile::replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFile {
    path: PathBuf,
}

/// Why the pins cannot be had or kept.
#[derive(Debug, Error)]
pub enum PinFileError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The file has other contents than it should. Nothing is served on the strength of it, and it is not replaced.
    #[error("{path}: {error}; restore it from a copy, or move it away to trust every server anew")]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: NoPins,
    },
}

// === impl PinFile ===

impl PinFile {
    /// The file at this path. A symbolic link is followed once, here, so that the file is replaced and not the link.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; empty if it is not there.
    ///
    /// # Errors
    /// It is there and cannot be read, or is no file of pins.
    pub fn read(&self) -> Result<Records, PinFileError> {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|file| {
            if file.metadata()?.len() > MAX_BYTES {
                return Err(ErrorKind::FileTooLarge.into());
            }
            file.take(MAX_BYTES).read_to_end(&mut text)
        });
        match read {
            Ok(_) => record::read(&text).map_err(|error| PinFileError::Contents {
                path: self.path.clone(),
                error,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Records::new()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Puts in what is said of some servers (`None`: nothing any more) and keeps what the file says of the others. When this
    /// returns, it is on the disk; a crash before that leaves the old file.
    ///
    /// # Errors
    /// See [`PinFile::read`]; and the directory may not be writable.
    pub fn replace(
        &self,
        servers: impl IntoIterator<Item = (ServerName, Option<Record>)>,
    ) -> Result<(), PinFileError> {
        let lock = private()
            .create(true)
            .append(true)
            .open(self.beside("lock"));
        let lock = lock.map_err(|error| self.failed(error))?;
        lock.lock().map_err(|error| self.failed(error))?;
        let mut records = self.read()?;
        for (server, record) in servers {
            match record {
                Some(record) => records.insert(server, record),
                None => records.remove(&server),
            };
        }
        self.write(&record::write(&records))
            .map_err(|error| self.failed(error))
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let temporary = self.beside("new");
        let mut file = private()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        let directory = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(ending);
        self.path.with_file_name(name)
    }

    fn failed(&self, error: io::Error) -> PinFileError {
        PinFileError::Io {
            path: self.path.clone(),
            error,
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
