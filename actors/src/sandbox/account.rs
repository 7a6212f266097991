//! Accounts that nobody else has, and whether they can read a program.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The numbers that [systemd](https://systemd.io/UIDS-GIDS/) keeps for accounts made on the fly: no distribution gives
/// them to anybody.
const FIRST: u32 = 61_184;
const LAST: u32 = 65_519;

/// The account of a name: the same at every start, and another for every name, as long as there are any.
pub(super) fn own(name: &Arc<str>) -> u32 {
    static TAKEN: Mutex<Option<HashMap<Arc<str>, u32>>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = taken.get_or_insert_default();
    if let Some(account) = taken.get(name) {
        return *account;
    }
    let span = LAST - FIRST + 1;
    let start = FIRST + hash(name) % span;
    let mut account = start;
    while taken.values().any(|other| *other == account) {
        account = if account == LAST { FIRST } else { account + 1 };
        if account == start {
            break;
        }
    }
    taken.insert(Arc::clone(name), account);
    account
}

/// FNV-1a, 32 bits: the same on every machine and in every version.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The first of `paths`, and of the directories on the way there, that an account without rights of its own cannot read.
pub(super) fn unreachable(paths: &[PathBuf]) -> Option<&Path> {
    let mut steps = paths.iter().flat_map(|path| path.ancestors());
    steps.find(|step| fs::metadata(step).is_ok_and(|found| !open_to_all(&found, paths, step)))
}

/// Directories on the way must let everybody through; what is asked for must be readable.
fn open_to_all(found: &fs::Metadata, asked: &[PathBuf], step: &Path) -> bool {
    let read = asked.iter().any(|path| path == step);
    let through = found.is_dir();
    let needed = u32::from(through) | (u32::from(read) << 2);
    found.mode() & needed == needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_account_of_its_own_and_keeps_it() {
        let names: Vec<Arc<str>> = (0..300).map(|n| format!("account {n}").into()).collect();
        let mut accounts: Vec<u32> = names.iter().map(own).collect();
        assert_eq!(accounts, names.iter().map(own).collect::<Vec<_>>());
        assert!(accounts.iter().all(|one| (FIRST..=LAST).contains(one)));
        accounts.sort_unstable();
        accounts.dedup();
        assert_eq!(accounts.len(), 300);
    }

    #[test]
    fn what_others_cannot_read_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let closed = std::env::temp_dir().join(format!("weir-account-{}", std::process::id()));
        fs::create_dir(&closed).expect("a temporary directory");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("it is ours");
        let program = closed.join("program");
        fs::write(&program, "").expect("it is ours");
        assert_eq!(unreachable(&[program]), Some(&*closed));
        assert_eq!(unreachable(&["/usr/bin/env".into()]), None);
        fs::remove_dir_all(&closed).expect("it is ours");
    }
}
