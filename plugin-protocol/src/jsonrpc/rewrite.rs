//! Edits, spliced into the original bytes.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::level::Level;
use super::raw::members;
use super::{Field, Message};

/// A list of edits to one message. Everything that is not edited stays byte for byte.
///
/// ```
/// # use weir_plugin_protocol::jsonrpc::{Field, Limits, Message};
/// # let body = bytes::Bytes::from_static(br#"{"jsonrpc":"2.0", "id":1, "method":"ping"}"#);
/// let message = Message::parse(body, &Limits::default())?;
/// let edited = message.rewrite().set(Field::Id, "\"w1-7\"").set(Field::MetaProgressToken, "7").finish();
/// assert_eq!(edited, r#"{"params":{"_meta":{"progressToken":7}},"jsonrpc":"2.0", "id":"w1-7", "method":"ping"}"#);
/// # Ok::<(), weir_plugin_protocol::jsonrpc::ParseError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "edits do nothing until finished"]
pub struct Rewrite<'a> {
    message: &'a Message,
    /// At most one for each field, and none inside an object that a later one replaced.
    edits: Vec<Edit<'a>>,
}

/// A new value, or none to take the member away.
#[derive(Clone, Debug)]
struct Edit<'a> {
    field: Field,
    value: Option<Cow<'a, str>>,
}

/// An object to be edited: where it stands in which text.
#[derive(Clone)]
struct Place<'t> {
    text: &'t str,
    object: Range<usize>,
    /// True if the text is the message's own, whose spans are known.
    scanned: bool,
}

/// What becomes of a member.
enum Change<'e> {
    Keep,
    Within(Level, Range<usize>),
    Value(&'e str),
    Built(String),
    Remove,
}

/// A piece of text to put in the place of another.
struct Splice<'e> {
    at: Range<usize>,
    text: Cow<'e, str>,
}

// === impl Rewrite ===

impl<'a> Rewrite<'a> {
    pub(super) fn new(message: &'a Message) -> Self {
        Self {
            message,
            edits: Vec::new(),
        }
    }

    /// Gives a member a new value, which must be JSON text; adds the member, and the object it belongs to, where they
    /// are missing. A later edit wins over an earlier one of the same member or inside it.
    pub fn set(self, field: Field, raw_json: impl Into<Cow<'a, str>>) -> Self {
        self.edit(field, Some(raw_json.into()))
    }

    /// Takes a member away, if it is there.
    pub fn remove(self, field: Field) -> Self {
        self.edit(field, None)
    }

    /// The edited message.
    pub fn finish(self) -> Bytes {
        if self.edits.is_empty() {
            return self.message.raw().clone();
        }
        let text = self.message.as_str();
        let mut splices = Vec::with_capacity(self.edits.len() + 1);
        self.edit_object(
            Place {
                text,
                object: 0..text.len(),
                scanned: true,
            },
            Level::Top,
            &mut splices,
        );
        Bytes::from(apply(text, splices))
    }

    fn edit(mut self, field: Field, value: Option<Cow<'a, str>>) -> Self {
        self.edits.retain(|edit| {
            edit.field != field && !field.opens().is_some_and(|level| level.holds(edit.field))
        });
        self.edits.push(Edit { field, value });
        self
    }

    fn edit_object<'e>(&'e self, place: Place<'_>, level: Level, splices: &mut Vec<Splice<'e>>) {
        let mut inserted = String::new();
        let mut removed = Vec::new();
        for field in self.fields_touched(level) {
            let found = self.find(&place, field);
            match (self.change(&place, field, found.clone()), found) {
                (Change::Keep, _) | (Change::Remove, None) => {}
                (Change::Remove, Some(at)) => removed.push(at.start),
                (Change::Within(level, object), _) => {
                    self.edit_object(
                        Place {
                            object,
                            ..place.clone()
                        },
                        level,
                        splices,
                    );
                }
                (Change::Value(value), Some(at)) => splices.push(Splice {
                    at,
                    text: Cow::Borrowed(value),
                }),
                (Change::Built(value), Some(at)) => splices.push(Splice {
                    at,
                    text: Cow::Owned(value),
                }),
                (Change::Value(value), None) => push_member(&mut inserted, field, value),
                (Change::Built(value), None) => push_member(&mut inserted, field, &value),
            }
        }
        let others_stay = if removed.is_empty() {
            !place.is_empty()
        } else {
            place.remove(&removed, splices)
        };
        if !inserted.is_empty() {
            if others_stay {
                inserted.push(',');
            }
            let behind_brace = place.object.start + 1;
            splices.push(Splice {
                at: behind_brace..behind_brace,
                text: Cow::Owned(inserted),
            });
        }
    }

    /// The members of an object that edits concern, each once.
    fn fields_touched(&self, level: Level) -> impl Iterator<Item = Field> {
        let own = self
            .edits
            .iter()
            .map(|edit| edit.field)
            .filter(move |field| field.level() == level);
        let holders = level.holders().iter().copied().filter(|holder| {
            let is_own = self.edits.iter().any(|edit| edit.field == *holder);
            !is_own
                && holder
                    .opens()
                    .is_some_and(|inner| self.edits.iter().any(|edit| inner.holds(edit.field)))
        });
        own.chain(holders)
    }

    fn change(&self, place: &Place<'_>, field: Field, found: Option<Range<usize>>) -> Change<'_> {
        let explicit = self
            .edits
            .iter()
            .find(|edit| edit.field == field)
            .map(|edit| edit.value.as_deref());
        let inner = field
            .opens()
            .filter(|level| self.edits.iter().any(|edit| level.holds(edit.field)));
        let adds = inner.is_some_and(|level| {
            self.edits
                .iter()
                .any(|edit| level.holds(edit.field) && edit.value.is_some())
        });
        match (explicit, inner) {
            (None, None) => Change::Keep,
            (Some(Some(value)), None) => Change::Value(value),
            (Some(Some(value)), Some(level)) if adds || value.trim_start().starts_with('{') => {
                Change::Built(self.build(level, value))
            }
            (Some(Some(value)), Some(_)) => Change::Value(value),
            (Some(None), Some(level)) if adds => Change::Built(self.build(level, "{}")),
            (Some(None), _) => Change::Remove,
            (None, Some(level)) => match found {
                Some(object) if place.byte(object.start) == b'{' => Change::Within(level, object),
                _ if adds => Change::Built(self.build(level, "{}")),
                _ => Change::Keep,
            },
        }
    }

    /// An object that stands in an edit or nowhere yet, with the edits inside it done.
    fn build(&self, level: Level, base: &str) -> String {
        let text = if base.trim_start().starts_with('{') {
            base.trim()
        } else {
            "{}"
        };
        let mut splices = Vec::new();
        self.edit_object(
            Place {
                text,
                object: 0..text.len(),
                scanned: false,
            },
            level,
            &mut splices,
        );
        apply(text, splices)
    }

    fn find(&self, place: &Place<'_>, field: Field) -> Option<Range<usize>> {
        if place.scanned {
            let span = self.message.span(field);
            return span
                .is_there()
                .then_some(span.start as usize..span.end as usize);
        }
        let offset = place.object.start;
        let step = members(place.object_text()).find(|step| step.has_key(field.key()))?;
        Some(offset + step.end - step.value.len()..offset + step.end)
    }
}

// === impl Place ===

impl<'t> Place<'t> {
    fn object_text(&self) -> &'t str {
        self.text.get(self.object.clone()).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        let inside = self.object_text().get(1..).unwrap_or_default();
        inside
            .trim_start_matches([' ', '\t', '\n', '\r'])
            .starts_with('}')
    }

    /// Cuts the members whose values begin at these positions, each with one comma. True if others stay.
    fn remove(&self, value_starts: &[usize], splices: &mut Vec<Splice<'_>>) -> bool {
        let offset = self.object.start;
        let mut another_before = false;
        // Where the member before ended, and where a cut waits for the next member to begin or for the end.
        let mut last_end = offset + 1;
        let mut cut_from = None;
        for step in members(self.object_text()) {
            let (start, end) = (offset + step.start, offset + step.end);
            if let Some(from) = cut_from.take() {
                splices.push(Splice {
                    at: from..start,
                    text: Cow::Borrowed(""),
                });
            }
            if !value_starts.contains(&(end - step.value.len())) {
                another_before = true;
            } else if another_before {
                splices.push(Splice {
                    at: last_end..end,
                    text: Cow::Borrowed(""),
                });
            } else {
                cut_from = Some(start);
            }
            last_end = end;
        }
        if let Some(from) = cut_from {
            splices.push(Splice {
                at: from..last_end,
                text: Cow::Borrowed(""),
            });
        }
        another_before
    }
}

fn push_member(members: &mut String, field: Field, value: &str) {
    if !members.is_empty() {
        members.push(',');
    }
    members.push('"');
    members.push_str(field.key());
    members.push_str("\":");
    members.push_str(value);
}

fn apply(text: &str, mut splices: Vec<Splice<'_>>) -> String {
    splices.sort_by_key(|splice| (splice.at.start, splice.at.end));
    let added: usize = splices.iter().map(|splice| splice.text.len()).sum();
    let mut edited = String::with_capacity(text.len() + added);
    let mut at = 0;
    for splice in &splices {
        edited.push_str(text.get(at..splice.at.start).unwrap_or_default());
        edited.push_str(&splice.text);
        at = splice.at.end;
    }
    edited.push_str(text.get(at..).unwrap_or_default());
    edited
}
