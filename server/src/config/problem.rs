//! What is wrong with a configuration file, where, and what to do about it.

use std::fmt;

/// A place in a file: both numbers count from 1, as editors do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// The key, such as `servers.time.url`; empty for a problem of the whole file.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// A configuration that cannot be used: every problem that was found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the operator named it.
    pub file: String,
    /// At least one problem.
    pub problems: Vec<Problem>,
}

/// A text on one line: a key of the file may hold anything.
struct OneLine<'a>(&'a str);

// === impl Problem ===

impl Problem {
    /// A problem; the text is split at the first `; ` into what is wrong and what to do.
    pub fn new(place: Place, path: impl Into<String>, text: &str) -> Self {
        let (what, remedy) = text.split_once("; ").unwrap_or((text, ""));
        Self {
            place,
            path: path.into(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: ", self.place.line, self.place.column)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", OneLine(&self.path))?;
        }
        write!(formatter, "{}", OneLine(&self.what))?;
        if !self.remedy.is_empty() {
            write!(formatter, "; {}", OneLine(&self.remedy))?;
        }
        Ok(())
    }
}

// === impl OneLine ===

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\u{2028}' | '\u{2029}' => write!(formatter, "{}", character.escape_unicode())?,
                other if other.is_control() => write!(formatter, "{}", other.escape_default())?,
                other => fmt::Write::write_char(formatter, other)?,
            }
        }
        Ok(())
    }
}

// === impl ConfigError ===

impl ConfigError {
    /// An error of the file itself, such as one that cannot be read.
    pub fn of_file(file: impl Into<String>, text: &str) -> Self {
        Self {
            file: file.into(),
            problems: vec![Problem::new(Place { line: 1, column: 1 }, "", text)],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{}:{problem}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
