//! A value that does not fit its type: where it stands, what is wrong and what would have been right.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::problem::Place;
use super::tree::{Entry, Path, Step};

/// A value that does not fit its type.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Where; `None` until the error has reached the first node on its way out.
    pub(super) place: Option<Place>,
    /// The way from the root, last step first.
    steps: Vec<Step>,
    /// What is wrong, `; ` and what to do.
    pub(super) text: String,
    /// The field that is missing, if that is what is wrong.
    pub(super) missing: Option<&'static str>,
}

// === impl Misfit ===

impl Misfit {
    pub(super) fn of(text: String) -> Self {
        Self {
            place: None,
            steps: Vec::new(),
            text,
            missing: None,
        }
    }

    pub(super) fn within(mut self, entry: &Entry, place: Place) -> Self {
        self.place.get_or_insert(place);
        self.steps.push(entry.step.clone());
        self
    }

    /// The way from the root to the value.
    pub(super) fn path(&self) -> Path {
        Path(self.steps.iter().rev().cloned().collect())
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(format!(
            "found {}, expected {}",
            found_words(found),
            expected_words(&expected.to_string())
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::of(format!(
            "this key is not known; {}",
            instead(field, expected, "remove it")
        ))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::of(format!(
            "`{variant}` is not known; {}",
            instead(variant, expected, "remove it")
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            missing: Some(field),
            ..Self::of(format!("`{field}` is missing; add it"))
        }
    }
}

pub(super) fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("`{value}`"),
        Unexpected::Signed(value) => format!("`{value}`"),
        Unexpected::Float(value) => format!("`{value}`"),
        Unexpected::Str(text) => format!("the text {text:?}"),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        Unexpected::Other(words) => words.to_owned(),
        other => other.to_string(),
    }
}

fn expected_words(expected: &str) -> String {
    let unsigned = |bits: u32| format!("a whole number from 0 to {}", u128::MAX >> (128 - bits));
    match expected {
        "u8" => unsigned(8),
        "u16" => unsigned(16),
        "u32" => unsigned(32),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        words if words.starts_with("a nonzero ") => "a whole number, 1 or more".to_owned(),
        words if words.starts_with("struct ") || words.starts_with("internally tagged enum ") => {
            "a map".to_owned()
        }
        words if words.starts_with("enum ") || words.starts_with("adjacently tagged enum ") => {
            "one of the documented words".to_owned()
        }
        words => words.to_owned(),
    }
}

/// What to write instead of `word`.
pub(super) fn instead(word: &str, expected: &[&str], otherwise: &str) -> String {
    if expected.is_empty() {
        return otherwise.to_owned();
    }
    let mut nearest: Vec<(usize, &str)> = expected
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .collect();
    nearest.sort_by_key(|(distance, _)| *distance);
    if let Some((distance, candidate)) = nearest.first()
        && *distance <= 2.min(candidate.len().saturating_sub(2))
    {
        return format!("did you mean `{candidate}`?");
    }
    let words: Vec<String> = expected
        .iter()
        .map(|candidate| format!("`{candidate}`"))
        .collect();
    format!(
        "use {}{}",
        if words.len() > 1 { "one of " } else { "" },
        words.join(", ")
    )
}

/// Levenshtein's distance: how many letters must be added, removed or changed.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().take(64).enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let above = *cell;
            before = (above + 1)
                .min(before + 1)
                .min(diagonal + usize::from(from != *to));
            diagonal = above;
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}
