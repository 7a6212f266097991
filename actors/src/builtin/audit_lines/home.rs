//! Where the audit log is if nobody says: a place that belongs to the user of this process.

use std::path::PathBuf;

use crate::builtin::line_store::{FileTarget, Folder, Rotation};
use crate::builtin::outside::Environment;

/// The directory of ours in a place for the state of programs, and the name of the file in it.
const FILE: &str = "weir/audit.jsonl";

/// Where the file may be, best first: `$XDG_STATE_HOME/weir`, `~/.local/state/weir` (both as the
/// [XDG base directories](https://specifications.freedesktop.org/basedir-spec/latest/) say), or, for users without a home,
/// a private directory in `/var/tmp`. Variables that are no absolute path are not looked at.
pub(super) fn places(environment: &Environment, user: u32, rotation: Rotation) -> Vec<FileTarget> {
    let directory = |name: &str| {
        let path = PathBuf::from(environment(name)?);
        path.is_absolute().then_some(path)
    };
    let mut places = Vec::new();
    if let Some(state) = directory("XDG_STATE_HOME") {
        places.push((state.join(FILE), Folder::Made));
    }
    if let Some(home) = directory("HOME") {
        let path = home.join(".local/state").join(FILE);
        places.push((path, Folder::Home(home)));
    }
    let path = format!("/var/tmp/weir-{user}/audit.jsonl");
    places.push((PathBuf::from(path), Folder::Private));
    let target = |(path, folder)| FileTarget {
        path,
        folder,
        rotation,
    };
    places.into_iter().map(target).collect()
}
