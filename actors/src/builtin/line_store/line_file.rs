//! A file of whole lines, also when other processes append to it or a disk was full in the middle of a line.
//!
//! Lines go to the end of the file in one write each time, so that processes that share it do not tear each other's.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use super::{FileTarget, Outcome, write};

/// How often a file that ends within a line is looked at before the line is thought to be torn.
const PEEKS: usize = 5;
/// The pause between two looks. Only the thread that writes waits.
const PEEK_PAUSE: Duration = Duration::from_millis(2);

/// How long a file that could not be rotated is left alone.
const ROTATION_PAUSE: Duration = Duration::from_secs(60);

/// An open file of lines.
pub(super) struct LineFile {
    target: FileTarget,
    file: File,
    /// For a look at its last byte; none if reading is not allowed.
    reader: Option<File>,
    /// Where our last write ended; none: the next begins with a whole line.
    end: Option<u64>,
    /// What the file has of a line that could not be finished.
    head: Vec<u8>,
    /// When a rotation that failed may be tried again.
    pub(super) not_before: Option<Instant>,
}

// === impl LineFile ===

impl LineFile {
    /// Opens or creates the file.
    pub(super) fn open(target: FileTarget) -> io::Result<Self> {
        let (file, reader) = open(&target)?;
        Ok(Self {
            target,
            file,
            reader,
            end: None,
            head: Vec::new(),
            not_before: None,
        })
    }

    /// Opens the file again under its name. The caller begins with a whole line.
    pub(super) fn begin_again(&mut self) -> io::Result<()> {
        self.open_again()?;
        self.head.clear();
        Ok(())
    }

    /// Appends whole lines, or the rest of lines whose beginning it has appended before. Rotates first if they do not
    /// fit any more.
    pub(super) fn append(&mut self, lines: &[u8]) -> Outcome {
        let rotation = match self.make_room(lines.len()) {
            Ok(rotation) => rotation,
            Err(error) => return Outcome::of(Err(error)),
        };
        let again = self.begin_of_line();
        let (written, result) = if again.is_empty() {
            write(&mut self.file, lines)
        } else {
            write(&mut self.file, &[again.as_slice(), lines].concat())
        };
        let appended = written.checked_sub(again.len());
        match appended.and_then(|appended| lines.get(..appended)) {
            Some(appended) => self.remember(appended),
            None => self.end = None,
        }
        Outcome {
            written: appended.unwrap_or_default(),
            result,
            rotation,
        }
    }

    /// Sees to it that lines go to a file that has a name and room. An error means that they have nowhere to go.
    fn make_room(&mut self, bytes: usize) -> io::Result<Option<io::Result<()>>> {
        let Some(about) = self.about() else {
            return Ok(None);
        };
        if about.nlink() == 0 {
            self.open_again()?;
            return Ok(None);
        }
        let is_patient = self.not_before.is_some_and(|time| Instant::now() < time);
        let is_torn = !self.head.is_empty();
        if is_patient || is_torn || !self.target.rotation.is_due(about.len(), bytes) {
            return Ok(None);
        }
        let rotated = self.rotate();
        self.not_before = match &rotated {
            Ok(_) => None,
            Err(_) => Some(Instant::now() + ROTATION_PAUSE),
        };
        Ok(match rotated {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Returns true if the full file got a number from us, false if another process was faster.
    fn rotate(&mut self) -> io::Result<bool> {
        if !self.has_its_name()? {
            self.open_again()?;
            return Ok(false);
        }
        match self.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let rotated = self.rotate_locked();
        if rotated.is_err() {
            // Otherwise the lock went with the old file.
            let _ = self.file.unlock();
        }
        rotated
    }

    /// Only one process that has this very file open can be here.
    fn rotate_locked(&mut self) -> io::Result<bool> {
        let is_ours = self.has_its_name()?;
        if is_ours {
            self.target.rotation.shift(&self.target.path)?;
        }
        self.open_again()?;
        Ok(is_ours)
    }

    /// What has to stand before the next lines: nothing, if the file ends where we stopped. If somebody else has
    /// appended since, a line that we could not finish begins anew.
    fn begin_of_line(&self) -> Vec<u8> {
        let mut begin = Vec::new();
        let Some(about) = self.about() else {
            return begin;
        };
        if self.end == Some(about.len()) {
            return begin;
        }
        if about.len() > 0 && self.stays_unfinished(about.len()) {
            begin.push(b'\n');
        }
        begin.extend_from_slice(&self.head);
        begin
    }

    fn remember(&mut self, appended: &[u8]) {
        match appended.iter().rposition(|byte| *byte == b'\n') {
            Some(position) => {
                self.head = appended.get(position + 1..).unwrap_or_default().to_vec();
            }
            None => self.head.extend_from_slice(appended),
        }
        // Appending moves the position to the end of what was appended.
        self.end = self.file.stream_position().ok();
    }

    /// Whether the file ends within a line, and goes on doing so: what another process is just writing may be seen in
    /// part.
    fn stays_unfinished(&self, mut length: u64) -> bool {
        for _ in 0..PEEKS {
            if self.is_line_end(length - 1) {
                return false;
            }
            std::thread::sleep(PEEK_PAUSE);
            let Some(about) = self.about().filter(|about| about.len() > 0) else {
                return false;
            };
            length = about.len();
        }
        true
    }

    fn is_line_end(&self, position: u64) -> bool {
        let mut last = [0];
        self.reader
            .as_ref()
            .is_some_and(|reader| reader.read_exact_at(&mut last, position).is_ok())
            && last == *b"\n"
    }

    /// Whether the name still leads to the file that is open.
    fn has_its_name(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match fs::metadata(&self.target.path) {
            Ok(named) => Ok(is_same(&open, &named)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open_again(&mut self) -> io::Result<()> {
        (self.file, self.reader) = open(&self.target)?;
        self.end = None;
        Ok(())
    }

    /// What is known of the file; nothing of a pipe or a device, which just take bytes.
    fn about(&self) -> Option<Metadata> {
        self.file.metadata().ok().filter(Metadata::is_file)
    }
}

fn open(target: &FileTarget) -> io::Result<(File, Option<File>)> {
    let file = target.folder.open(&target.path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Ok((file, None));
    }
    // By its descriptor: the name may lead to another file by now.
    let reader = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
    Ok((file, reader))
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
