//! Looking whether the files of the configuration are others than before.
//!
//! They are looked at once a second instead of being watched by the kernel: that sees what a watch of a name misses
//! (the `..data` link of a mounted ConfigMap that is pointed elsewhere, an editor that puts a new file in the place of
//! the old, a network file system), needs nothing to be set up again, and costs one `stat` a file and second.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::error;

use super::handle::{Origin, ReloadHandle};

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long files must have been the same before they are read: somebody may be writing.
const QUIET: Duration = Duration::from_millis(200);
/// Looks that find yet another file before it is read all the same.
const PATIENCE: usize = 25;

/// The files that are looked at: changed with every reload.
pub(super) type Watched = Arc<ArcSwap<Vec<PathBuf>>>;

/// Ends the looking when it is dropped.
pub(super) struct Watching {
    _stop: Option<Sender<()>>,
}

/// What tells one state of a file from another, links followed; nothing if it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

type Prints = Vec<(PathBuf, Option<Print>)>;

/// Looks at files from now on, on a thread of its own: a disk that hangs holds up nobody.
pub(super) fn start(watched: Watched, handle: ReloadHandle) -> Watching {
    let (stop, stopped) = channel::<()>();
    let look = move || {
        let over = |time| !matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        let mut known = prints(&watched);
        while !over(EVERY) {
            let mut seen = prints(&watched);
            if is_same(&known, &seen) {
                known = seen;
                continue;
            }
            for _ in 0..PATIENCE {
                if over(QUIET) {
                    return;
                }
                let again = prints(&watched);
                let quiet = again == seen;
                seen = again;
                if quiet {
                    break;
                }
            }
            known = seen;
            handle.ask(Origin::File);
        }
    };
    let spawned = thread::Builder::new()
        .name("weir-watch".to_owned())
        .spawn(look);
    if let Err(error) = &spawned {
        error!(%error, "files are not watched: reload with SIGHUP");
    }
    Watching {
        _stop: spawned.is_ok().then_some(stop),
    }
}

fn prints(watched: &Watched) -> Prints {
    let files = watched.load_full();
    files
        .iter()
        .map(|file| (file.clone(), print(file)))
        .collect()
}

/// Whether the files are as they were when they were seen last. One that is seen for the first time may have changed
/// since it was read, or have come since it was missed: it is taken for another one.
fn is_same(known: &Prints, seen: &Prints) -> bool {
    seen.iter().all(|(file, now)| {
        let before = known.iter().find(|(name, _)| name == file);
        before.map_or(now.is_none(), |(_, before)| before == now)
    })
}

fn print(file: &PathBuf) -> Option<Print> {
    let found = std::fs::metadata(file).ok()?;
    Some(Print {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        changed: (found.ctime(), found.ctime_nsec()),
        modified: (found.mtime(), found.mtime_nsec()),
    })
}
