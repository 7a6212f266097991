//! A YAML file as a tree that remembers where everything stood.

use std::fmt;

use super::problem::Place;

/// Values of variables that are shorter than this, in bytes, are shown in errors: hiding them would garble the text.
const SHORTEST_SECRET: usize = 3;

/// A value in the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) place: Place,
    /// What it is.
    pub(super) kind: Kind,
}

/// The shapes of values.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// One text, number, truth value or nothing: the type of the field decides.
    Scalar(Scalar),
    /// A list; the steps are indices.
    List(Vec<Entry>),
    /// A map in the order of the file; the steps are keys.
    Map(Vec<Entry>),
}

/// The text of a scalar.
#[derive(Clone, Debug, Default)]
pub(super) struct Scalar {
    /// The text, escapes resolved.
    pub(super) text: String,
    /// True if it was written without quotes, so that it may be a number, a truth value or nothing.
    pub(super) plain: bool,
    /// The text before variables were put in, if there were any.
    pub(super) template: Option<String>,
    /// What the variables were: `${NAME}` and its value.
    pub(super) variables: Vec<(String, String)>,
}

/// One member of a list or map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// How it is reached from its parent.
    pub(super) step: Step,
    /// Where the key stands (for list members: the value).
    pub(super) place: Place,
    /// The value.
    pub(super) value: Node,
}

/// One step down the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A key of a map.
    Key(String),
    /// A place in a list, from 0, as it was in the file.
    Index(usize),
}

/// A way from the root to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

// === impl Node ===

impl Node {
    /// A map without members.
    pub(super) fn empty(place: Place) -> Self {
        Self {
            place,
            kind: Kind::Map(Vec::new()),
        }
    }

    /// Returns true for `~`, `null` and nothing at all.
    pub(super) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.is_null(),
            Kind::List(_) | Kind::Map(_) => false,
        }
    }

    /// The members of a list or map.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::List(entries) | Kind::Map(entries) => entries,
            Kind::Scalar(_) => &[],
        }
    }

    /// Takes a member out of the tree, so that the rest can still be read.
    pub(super) fn remove(&mut self, path: &[Step]) -> bool {
        let (Some((first, rest)), Kind::List(entries) | Kind::Map(entries)) =
            (path.split_first(), &mut self.kind)
        else {
            return false;
        };
        let Some(position) = entries.iter().position(|entry| entry.step == *first) else {
            return false;
        };
        if rest.is_empty() {
            entries.remove(position);
            return true;
        }
        entries
            .get_mut(position)
            .is_some_and(|entry| entry.value.remove(rest))
    }

    /// Finds a node by its path.
    pub(super) fn get(&self, path: &[Step]) -> Option<&Node> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        self.entries()
            .iter()
            .find(|entry| entry.step == *first)?
            .value
            .get(rest)
    }

    /// Finds the place of a path such as `servers.time.args[1]`: of its key if it is there, else of the nearest
    /// parent that is. Keys that contain dots are found too.
    pub(super) fn place_of(&self, path: &str) -> Place {
        self.place_below(path).unwrap_or(self.place)
    }

    /// The same; nothing if not even the first key is there. A block map begins where its first key does, so the place
    /// alone does not tell the two apart.
    fn place_below(&self, path: &str) -> Option<Place> {
        for entry in self.entries() {
            let step = entry.step.to_string();
            let Some(rest) = path.strip_prefix(&step) else {
                continue;
            };
            if rest.is_empty() {
                return Some(entry.place);
            }
            if let Some(rest) = rest
                .strip_prefix('.')
                .or(rest.starts_with('[').then_some(rest))
            {
                return Some(entry.value.place_below(rest).unwrap_or(entry.place));
            }
        }
        None
    }
}

// === impl Scalar ===

impl Scalar {
    /// Returns true for `~`, `null` and nothing at all.
    pub(super) fn is_null(&self) -> bool {
        self.plain
            && self.template.is_none()
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The text as the file has it: safe to show.
    pub(super) fn shown(&self) -> &str {
        self.template.as_deref().unwrap_or(&self.text)
    }

    /// Puts `${NAME}` in place of what the environment said, which may be a secret, wherever `message` repeats it.
    pub(super) fn conceal(&self, message: &mut String) {
        for (name, value) in &self.variables {
            let quoted = format!("{value:?}");
            for spelling in [value.as_str(), quoted.trim_matches('"')] {
                if spelling.len() >= SHORTEST_SECRET && message.contains(spelling) {
                    *message = message.replace(spelling, name);
                }
            }
        }
    }
}

// === impl Step and Path ===

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) => formatter.write_str(key),
            Step::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            if index > 0 && matches!(step, Step::Key(_)) {
                formatter.write_str(".")?;
            }
            write!(formatter, "{step}")?;
        }
        Ok(())
    }
}
