//! From a file to a checked [`Config`], or to everything that is wrong with it.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};

use super::Config;
use super::check::{check, look};
use super::expand::{Environment, expand};
use super::loaded::Loaded;
use super::misfit::Misfit;
use super::problem::{ConfigError, Place, Problem};
use super::roles::settle;
use super::tree::{Kind, Node, Path, Step};
use super::{typed, yaml};

/// The most problems that one run reports.
const MAX_PROBLEMS: usize = 50;
/// What a gateway without a configuration does.
const DEFAULT: &str = include_str!("default.yaml");

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The one in the binary.
    Embedded,
}

// === impl Source ===

impl Source {
    /// Where relative paths of the configuration begin: the directory of the file.
    pub fn directory(&self) -> PathBuf {
        match self {
            Source::File(path) => path.parent().map(FilePath::to_owned).unwrap_or_default(),
            Source::Embedded => PathBuf::new(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(formatter),
            Source::Embedded => formatter.write_str("the embedded default"),
        }
    }
}

/// Chooses the configuration: the file that was asked for, else `./weir.yaml` if it is there, else the one in the binary.
pub fn find(asked: Option<&FilePath>) -> Source {
    match asked {
        Some(path) => Source::File(path.to_owned()),
        None if FilePath::new("weir.yaml").exists() => Source::File(PathBuf::from("weir.yaml")),
        None => Source::Embedded,
    }
}

/// Reads and checks a configuration; variables come from the process's environment.
///
/// # Errors
/// Everything that is wrong.
pub fn load(source: &Source) -> Result<Config, ConfigError> {
    load_with(source, |_| {})
}

/// Reads a configuration, lets `change` put in what the command line says, and checks it.
///
/// # Errors
/// Everything that is wrong.
pub fn load_with(source: &Source, change: impl FnOnce(&mut Config)) -> Result<Config, ConfigError> {
    load_whole(source, change).map(|loaded| loaded.config)
}

/// The same, with what is needed to compare it with another reading.
///
/// # Errors
/// Everything that is wrong.
pub fn load_whole(
    source: &Source,
    change: impl FnOnce(&mut Config),
) -> Result<Loaded, ConfigError> {
    let file = source.to_string();
    match source {
        Source::File(path) => {
            let text = read_file(path, &file)?;
            let looked = |config: &Config| look(config, &source.directory());
            let changed = |config: &mut Config| {
                change(config);
                config.audit.begin_at(&source.directory());
                config.pins.belong_to(path);
            };
            load_changed(
                &text,
                &file,
                &|name| std::env::var(name).ok(),
                changed,
                looked,
            )
        }
        Source::Embedded => {
            let executable = std::env::current_exe()
                .map_or_else(|_| "weir".to_owned(), |path| path.display().to_string());
            load_changed(
                DEFAULT,
                &file,
                &|name| (name == "WEIR_EXECUTABLE").then(|| executable.clone()),
                change,
                |_| Vec::new(),
            )
        }
    }
}

/// The files that a configuration names, as far as it can be read, also if it is not good.
pub fn named_files(source: &Source) -> Vec<PathBuf> {
    let Source::File(path) = source else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let environment: Environment<'_> = &|name| std::env::var(name).ok();
    let parsed = parse(&text, &source.to_string(), environment);
    parsed.map_or_else(|_| Vec::new(), |(config, _)| config.files())
}

fn read_file(path: &FilePath, file: &str) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| {
        ConfigError::of_file(
            file,
            &format!("the file cannot be read: {error}; check the path and its permissions"),
        )
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count();
        let problem = Problem::new(
            Place { line, column: 1 },
            "",
            "the file is not UTF-8; save it as UTF-8",
        );
        ConfigError {
            file: file.to_owned(),
            problems: vec![problem],
        }
    })
}

/// Reads and checks the text of a configuration file. `file` is what errors call it.
///
/// # Errors
/// Everything that is wrong: up to 50 problems in the order of the file.
pub fn load_text(
    text: &str,
    file: &str,
    environment: Environment<'_>,
) -> Result<Config, ConfigError> {
    let loaded = load_changed(text, file, environment, |_| {}, |_| Vec::new());
    loaded.map(|loaded| loaded.config)
}

#[cfg(test)]
pub(super) fn load_whole_text(
    text: &str,
    file: &str,
    environment: Environment<'_>,
) -> Result<Loaded, ConfigError> {
    load_changed(text, file, environment, |_| {}, |_| Vec::new())
}

fn load_changed(
    text: &str,
    file: &str,
    environment: Environment<'_>,
    change: impl FnOnce(&mut Config),
    look: impl FnOnce(&Config) -> Vec<(String, String)>,
) -> Result<Loaded, ConfigError> {
    let (mut config, root) = parse(text, file, environment)?;
    change(&mut config);
    let mut wrong = settle(&mut config);
    wrong.extend(check(&config));
    if wrong.is_empty() {
        wrong = look(&config);
    }
    let problems = wrong.into_iter().map(|(path, mut text)| {
        conceal(&mut text, &root);
        Problem::new(root.place_of(&path), path, &text)
    });
    match fail(file, problems.collect()) {
        Some(error) => Err(error),
        None => Ok(Loaded::new(config, root)),
    }
}

/// Reads the text of a configuration file without asking whether its parts fit together and this build can run them.
///
/// # Errors
/// Everything that does not have the right shape.
pub fn parse_text(
    text: &str,
    file: &str,
    environment: Environment<'_>,
) -> Result<Config, ConfigError> {
    parse(text, file, environment).map(|(config, _)| config)
}

fn parse(
    text: &str,
    file: &str,
    environment: Environment<'_>,
) -> Result<(Config, Node), ConfigError> {
    let mut root = yaml::parse(text).map_err(|problem| ConfigError {
        file: file.to_owned(),
        problems: vec![problem],
    })?;
    let (config, problems) = read(&mut root, environment);
    match (config, fail(file, problems)) {
        (Some(config), None) => Ok((config, root)),
        (_, Some(error)) => Err(error),
        (None, None) => {
            let problem = Problem::new(root.place, "", "the file cannot be read");
            Err(ConfigError {
                file: file.to_owned(),
                problems: vec![problem],
            })
        }
    }
}

fn fail(file: &str, mut problems: Vec<Problem>) -> Option<ConfigError> {
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    problems.truncate(MAX_PROBLEMS);
    if problems.is_empty() {
        None
    } else {
        Some(ConfigError {
            file: file.to_owned(),
            problems,
        })
    }
}

/// Reads the tree; takes what does not fit out of it and reads on, so that one run shows every problem.
fn read(root: &mut Node, environment: Environment<'_>) -> (Option<Config>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut removed: Vec<Path> = Vec::new();
    for unexpanded in expand(root, environment) {
        root.remove(&unexpanded.path.0);
        removed.push(unexpanded.path);
        problems.push(unexpanded.problem);
    }
    for _ in 0..MAX_PROBLEMS {
        let misfit = match typed::read::<Config>(root) {
            Ok(config) => return (Some(config), problems),
            Err(misfit) => misfit,
        };
        let path = misfit.path();
        if !is_consequence(&misfit, &path, &removed) {
            problems.push(describe(&misfit, &path, root));
        }
        if !root.remove(&path.0) {
            break;
        }
        removed.push(path);
    }
    (None, problems)
}

/// Returns true if something is only missing because it was taken out.
fn is_consequence(misfit: &Misfit, path: &Path, removed: &[Path]) -> bool {
    match misfit.missing {
        Some(field) => removed.iter().any(|gone| matches!(gone.0.split_last(), Some((Step::Key(key), above)) if key == field && above == path.0)),
        None => removed.iter().any(|gone| gone.0.len() > path.0.len() && gone.0.starts_with(&path.0)),
    }
}

/// Makes a problem of a misfit. A text such as `url: not a URL` or ``` `url` means nothing here ``` of a whole block
/// is laid at the key that it names.
fn describe(misfit: &Misfit, path: &Path, root: &Node) -> Problem {
    let place = misfit.place.unwrap_or(Place { line: 1, column: 1 });
    let node = root.get(&path.0);
    let mut text = misfit.text.clone();
    if let Some(node) = node {
        conceal(&mut text, node);
    }
    let text = if text.contains("; ") {
        text
    } else {
        text.replacen(": remove it", "; remove it", 1)
    };
    let (named, rest) = match text.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        Some((key, _)) => (key, text.as_str()),
        None => match text.split_once(": ") {
            Some((key, rest)) => (key, rest),
            None => ("", text.as_str()),
        },
    };
    if let Some(node) = node
        && matches!(node.kind, Kind::Map(_))
        && misfit.missing.is_none()
        && !named.is_empty()
    {
        let found = node.place_of(named);
        if found != node.place {
            let separator = if path.0.is_empty() { "" } else { "." };
            return Problem::new(found, format!("{path}{separator}{named}"), rest);
        }
    }
    Problem::new(place, path.to_string(), &text)
}

/// Hides what the environment said in any value below `node`: that may be a secret.
fn conceal(message: &mut String, node: &Node) {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.conceal(message),
        Kind::List(entries) | Kind::Map(entries) => entries
            .iter()
            .for_each(|entry| conceal(message, &entry.value)),
    }
}
