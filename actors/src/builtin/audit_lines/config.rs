//! What an operator writes under `audit`.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use schemars::JsonSchema;
use serde::Deserialize;

use super::home;
use crate::builtin::Misconfigured;
use crate::builtin::line_store::{AuditTarget, FileTarget, Folder, Rotation};
use crate::builtin::outside::Environment;

/// Where the audit log goes: one line of JSON for every request that reached the gateway.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// `file` (default), `stdout` or `stderr`. Whoever reads a pipe has to keep reading: when it is full, requests are
    /// refused.
    pub sink: Option<AuditSinkKind>,
    /// The file, for `sink: file`. It is created with mode 0600, appended to, and opened again on SIGHUP; its directory
    /// must be there. Default: `$XDG_STATE_HOME/weir/audit.jsonl`, else `~/.local/state/weir/audit.jsonl`, else
    /// `/var/tmp/weir-UID/audit.jsonl`; these directories are made with mode 0700.
    pub path: Option<PathBuf>,
    /// How large the file gets before it is renamed to `PATH.1`, what had that name to `PATH.2` and so on, in bytes; at
    /// least 65536, or 0 for never. Default 268435456.
    pub rotate_bytes: Option<u64>,
    /// How many renamed files stay; the oldest is deleted for a new one. 0: all of them, nothing is ever deleted.
    /// Default 8.
    pub keep: Option<u32>,
    /// How many events may wait to be written or be reserved for requests in flight; default 8192. When they are
    /// used up, requests are refused (503) until lines were written.
    pub queue: Option<NonZeroUsize>,
}

/// The kinds of audit sinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditSinkKind {
    /// A file.
    #[default]
    File,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

// === impl AuditConfig ===

impl AuditConfig {
    /// The number of places if none is configured.
    pub const DEFAULT_QUEUE: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
    /// The size of a full file if none is configured: about a million lines.
    pub const DEFAULT_ROTATE_BYTES: u64 = 256 * 1024 * 1024;
    /// The smallest size of a full file: some batches of lines.
    pub const MIN_ROTATE_BYTES: u64 = 64 * 1024;
    /// The number of renamed files that stay if none is configured.
    pub const DEFAULT_KEEP: u32 = 8;

    /// Where the lines may go, best first: one place, unless the default has to be looked for. Nothing is opened.
    pub fn targets(&self, environment: &Environment) -> Result<Vec<AuditTarget>, Misconfigured> {
        self.check()?;
        let rotation = Rotation {
            bytes: NonZeroU64::new(self.rotate_bytes.unwrap_or(Self::DEFAULT_ROTATE_BYTES)),
            keep: NonZeroU32::new(self.keep.unwrap_or(Self::DEFAULT_KEEP)),
        };
        let targets = match (self.sink.unwrap_or_default(), &self.path) {
            (AuditSinkKind::Stdout, _) => vec![AuditTarget::Stdout],
            (AuditSinkKind::Stderr, _) => vec![AuditTarget::Stderr],
            (AuditSinkKind::File, Some(path)) => vec![AuditTarget::File(FileTarget {
                path: path.clone(),
                folder: Folder::Given,
                rotation,
            })],
            (AuditSinkKind::File, None) => home::places(environment, geteuid().as_raw(), rotation)
                .into_iter()
                .map(AuditTarget::File)
                .collect(),
        };
        Ok(targets)
    }

    /// Says what does not fit together.
    pub fn check(&self) -> Result<(), Misconfigured> {
        let is_file = self.sink.unwrap_or_default() == AuditSinkKind::File;
        for (key, is_given) in [
            ("path", self.path.is_some()),
            ("rotate_bytes", self.rotate_bytes.is_some()),
            ("keep", self.keep.is_some()),
        ] {
            if is_given && !is_file {
                let problem = "used with a sink that is no file; write `sink: file`, or remove it";
                return Err(Misconfigured::new(key, problem));
            }
        }
        if self
            .path
            .as_deref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            let problem = "names no file; write a path, or remove it for the default";
            return Err(Misconfigured::new("path", problem));
        }
        match self.rotate_bytes {
            Some(1..Self::MIN_ROTATE_BYTES) => {
                let problem = format!(
                    "too small to be useful; write at least {}, or 0 for never",
                    Self::MIN_ROTATE_BYTES
                );
                Err(Misconfigured::new("rotate_bytes", problem))
            }
            _ => Ok(()),
        }
    }

    /// Lets a relative path begin at `directory`.
    pub fn begin_at(&mut self, directory: &Path) {
        if let Some(path) = self
            .path
            .as_mut()
            .filter(|path| !path.as_os_str().is_empty())
        {
            *path = directory.join(&*path);
        }
    }

    /// The number of places.
    pub fn capacity(&self) -> NonZeroUsize {
        self.queue.unwrap_or(Self::DEFAULT_QUEUE)
    }
}
