//! Installs the tests' peers into `target/test-kit`: MCP clients, servers and the conformance suite, at fixed versions.
//!
//! ```text
//! target/test-kit/py     a Python environment: server/tests/kit/requirements.txt
//! target/test-kit/node   an npm prefix, with its own Node: server/tests/kit/package.json
//! target/test-kit/rmcp   what cargo builds of a crate that is not ours: server/tests/kit/rmcp
//! target/test-kit/debian unpacked Debian packages, not installed: server/tests/kit/debian.txt
//! ```
//! Each part carries a stamp, a copy of the list it was made from; nothing is done while the stamp is right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Place, process};

/// Longest time of one installation step.
const STEP_LIMIT: Duration = Duration::from_secs(10 * 60);

/// npm resolves what our packages need as of this day, so that a new release cannot change a test.
const NPM_AS_OF: &str = "2026-11-20";

/// Installs what is missing. Quick when everything is there.
pub(crate) fn install(place: &Place) -> Result<(), String> {
    let lists = place.root.join("server/tests/kit");
    python(&place.kit().join("py"), &lists.join("requirements.txt"))?;
    node(&place.kit().join("node"), &lists.join("package.json"))?;
    rmcp(&place.kit().join("rmcp"), &lists.join("rmcp"))?;
    if let Err(why) = debian(&place.kit().join("debian"), &lists.join("debian.txt")) {
        // Not every machine has apt; the tests say what they miss.
        println!("left out: server/tests/kit/debian.txt: {why}");
    }
    println!("test kit: {}", place.kit().display());
    Ok(())
}

fn python(home: &Path, list: &Path) -> Result<(), String> {
    let stamp = Stamp::of(home, list, "")?;
    if stamp.is_right() {
        return Ok(());
    }
    if !process::works("python3", &["-c", "import venv, ensurepip"]) {
        apt(&["python3", "python3-venv"])?;
    }
    clear(home)?;
    run("python3", &["-m", "venv", &text(home)], None)?;
    let pip = text(&home.join("bin/pip"));
    run(
        &pip,
        &[
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--requirement",
            &text(list),
        ],
        None,
    )?;
    stamp.set()
}

fn node(home: &Path, list: &Path) -> Result<(), String> {
    let stamp = Stamp::of(home, list, NPM_AS_OF)?;
    if stamp.is_right() {
        return Ok(());
    }
    if !process::works("npm", &["--version"]) {
        apt(&["npm"])?;
    }
    clear(home)?;
    copy(list, &home.join("package.json"))?;
    run(
        "npm",
        &[
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--before",
            NPM_AS_OF,
        ],
        Some(home),
    )?;
    let own_node = home.join("node_modules/.bin/node");
    if !process::works(&own_node, &["--version"]) {
        return Err(format!(
            "{} does not run: did npm skip install scripts?",
            own_node.display()
        ));
    }
    stamp.set()
}

/// Builds the official Rust client apart from the workspace, whose lock file and builds it does not concern. Cargo knows
/// itself what is there.
fn rmcp(target: &Path, source: &Path) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let target = text(target);
    let build = ["build", "--quiet", "--locked", "--target-dir", &target];
    run(&cargo, &build, Some(source))
}

/// Unpacks Debian packages without installing them: nothing of the machine changes, and no service starts.
fn debian(home: &Path, list: &Path) -> Result<(), String> {
    let stamp = Stamp::of(home, list, "")?;
    if stamp.is_right() {
        return Ok(());
    }
    let list = fs::read_to_string(list).map_err(|error| format!("{}: {error}", list.display()))?;
    let packages: Vec<&str> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    clear(home)?;
    let mut download = vec!["-qq", "download"];
    download.extend(&packages);
    if run("apt-get", &download, Some(home)).is_err() {
        run("apt-get", &["-qq", "update"], None)?;
        run("apt-get", &download, Some(home))?;
    }
    let files = fs::read_dir(home).map_err(|error| format!("{}: {error}", home.display()))?;
    for file in files.flatten() {
        run("dpkg-deb", &["-x", &text(&file.path()), &text(home)], None)?;
    }
    stamp.set()
}

/// Debian packages, for what a bare machine lacks.
fn apt(packages: &[&str]) -> Result<(), String> {
    if !process::works("apt-get", &["--version"])
        || !process::works("sh", &["-c", "test $(id -u) = 0"])
    {
        return Err(format!(
            "please install {}: only root on Debian gets them installed by this command",
            packages.join(" and ")
        ));
    }
    run("apt-get", &["-qq", "update"], None)?;
    let mut arguments = vec!["-qq", "install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    run("apt-get", &arguments, None)
}

fn run(program: &str, arguments: &[&str], folder: Option<&Path>) -> Result<(), String> {
    println!("{program} {}", arguments.join(" "));
    let mut command: Command = process::bounded(STEP_LIMIT, program, arguments);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    process::run(command)
}

fn clear(home: &Path) -> Result<(), String> {
    if home.exists() {
        fs::remove_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))?;
    }
    fs::create_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What an installation was made from, kept beside it.
struct Stamp {
    file: PathBuf,
    content: String,
}

// === impl Stamp ===

impl Stamp {
    fn of(home: &Path, list: &Path, extra: &str) -> Result<Self, String> {
        let list =
            fs::read_to_string(list).map_err(|error| format!("{}: {error}", list.display()))?;
        let content = format!("{}\n{extra}\n{list}", text(home));
        Ok(Self {
            file: home.join("stamp"),
            content,
        })
    }

    fn is_right(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|found| found == self.content)
    }

    fn set(&self) -> Result<(), String> {
        fs::write(&self.file, &self.content)
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }
}
