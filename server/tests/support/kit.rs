//! Where the tests' peers are: MCP clients, servers and the conformance suite, installed by `cargo xtask kit`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The installed peers.
#[derive(Clone, Debug)]
pub(crate) struct Kit {
    home: PathBuf,
}

impl Kit {
    /// The kit, or `None` when it is not installed: the test then returns and is listed as skipped, with the reason.
    /// `WEIR_TEST_KIT` names another place than `target/test-kit`.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let usual = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-kit");
        let kit = Self {
            home: std::env::var_os("WEIR_TEST_KIT").map_or(usual, PathBuf::from),
        };
        if kit.python_program().exists() && kit.node_program("node").exists() {
            return Some(kit);
        }
        skip(&format!(
            "{test}: no test kit in {}, run `cargo xtask kit`",
            kit.home.display()
        ));
        None
    }

    /// One of our own Python programs of `tests/kit`.
    pub(crate) fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.python_program());
        command.arg(Self::script(script));
        command
    }

    /// The Python of the kit.
    pub(crate) fn python_program(&self) -> PathBuf {
        self.home.join("py/bin/python")
    }

    /// A program that came from PyPI.
    pub(crate) fn python_tool(&self, name: &str) -> PathBuf {
        self.home.join("py/bin").join(name)
    }

    /// A program that came from Debian's archive, or that the machine has anyway; without it the test is skipped.
    pub(crate) fn debian_program(&self, test: &str, name: &str) -> Option<PathBuf> {
        let ours = self.home.join("debian/usr/bin").join(name);
        let places = [ours, Path::new("/usr/bin").join(name)];
        let found = places.into_iter().find(|program| program.exists());
        if found.is_none() {
            skip(&format!(
                "{test}: no {name} in {} or /usr/bin, run `cargo xtask kit`",
                self.home.display()
            ));
        }
        found
    }

    /// The official Rust client, `tests/kit/rmcp`; without it the test is skipped.
    pub(crate) fn rmcp_client(&self, test: &str) -> Option<Command> {
        let program = self.home.join("rmcp/debug/rmcp-client");
        if program.exists() {
            return Some(Command::new(program));
        }
        skip(&format!(
            "{test}: no {}, run `cargo xtask kit`",
            program.display()
        ));
        None
    }

    /// One of our own JavaScript programs of `tests/kit`, evaluated in the kit, where its imports resolve.
    pub(crate) fn javascript(&self, script: &str) -> Command {
        let code = std::fs::read_to_string(Self::script(script)).expect("the program is there");
        let mut command = self.node("node");
        command
            .args(["--input-type=module", "--eval", &code])
            .current_dir(self.home.join("node"));
        command
    }

    /// A program that came from npm, run by the kit's own Node.
    pub(crate) fn node(&self, name: &str) -> Command {
        let mut command = Command::new(self.node_program(name));
        command.env("PATH", self.node_path());
        command
    }

    /// The path of a program that came from npm. Its `PATH` must begin with [`Kit::node_path`].
    pub(crate) fn node_program(&self, name: &str) -> PathBuf {
        self.home.join("node/node_modules/.bin").join(name)
    }

    /// A `PATH` on which the kit's Node comes first.
    pub(crate) fn node_path(&self) -> String {
        let bin = self.home.join("node/node_modules/.bin");
        format!(
            "{}:{}",
            bin.display(),
            std::env::var("PATH").unwrap_or_default()
        )
    }

    /// The path of one of our own programs.
    pub(crate) fn script(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/kit")
            .join(name)
    }
}

/// Reports that a test could not run, to the reader and to `cargo xtask test`.
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    let Some(file) = std::env::var_os("WEIR_TEST_SKIPS") else {
        return;
    };
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file);
    let written = opened.and_then(|mut file| writeln!(file, "{reason}"));
    written.expect("the skip list can be written");
}
