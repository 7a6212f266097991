//! What is put under load when nobody gives an address: servers of our own, a gateway with a configuration made for it, and
//! callers with tokens that it accepts. Everything is on loopback, in a directory of its own, and gone at the end.

mod callers;
mod command_line;
mod configuration;
mod descriptors;
mod directory;
mod gateway;
mod started;

use std::path::Path;
use std::process::Command;

pub(crate) use self::command_line::split;
pub(crate) use self::configuration::{Pipeline, Servers, http_server, merge, patch, stdio_server};
pub(crate) use self::descriptors::{free_port, raise_descriptors};
pub(crate) use self::directory::Directory;
pub(crate) use self::gateway::{Gateway, GatewayPlan};
pub(crate) use self::started::{READY_LIMIT, Started, signal};

use crate::target::Target;

/// An echo server in a process of its own.
pub(crate) struct Upstream {
    process: Started,
    pub(crate) target: Target,
}

// === impl Upstream ===

impl Upstream {
    /// Starts one; `options` are those of `weir-loadtest upstream`.
    pub(crate) fn start(directory: &Path, name: &str, options: &[String]) -> Result<Self, String> {
        let mut command = Command::new(own_program()?);
        command.args(["upstream", "--leash"]).args(options);
        let mut process = Started::spawn(name, &mut command, directory)?;
        let url = process.ready_line("upstream ready ")?;
        Ok(Self {
            process,
            target: url.parse()?,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.target.authority, self.target.path)
    }
}

/// The file that this program runs from.
pub(crate) fn own_program() -> Result<String, String> {
    let path =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| format!("{} is not UTF-8", path.display()))
}
