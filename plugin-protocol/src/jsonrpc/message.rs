//! A message: the bytes as they arrived and where its members are.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::envelope::{Envelope, Span, Spans};
use super::{Field, ParseError, Rewrite};

/// What a text may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep objects and arrays may nest; at most 64, larger values count as 64.
    pub depth: usize,
    /// How long the raw JSON of an id may be, in bytes, quotes included.
    pub id_bytes: usize,
}

/// One JSON-RPC message: the received bytes, checked, and the positions of the members in [`Field`].
#[derive(Clone)]
pub struct Message {
    /// The text from its opening to its closing brace.
    text: ByteString,
    spans: Spans,
    kind: Kind,
    /// The method, if its spelling has escapes.
    escaped_method: Option<Box<str>>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A method with an id: an answer is owed.
    Request,
    /// A method without an id.
    Notification,
    /// An answer with a `result`.
    Result,
    /// An answer with an `error`. Its id may be null: an answer to a request that could not be read.
    Error,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 64,
            id_bytes: 128,
        }
    }
}

// === impl Message ===

impl Message {
    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The raw JSON of the id, for example `7` or `"abc"`; `None` if there is none or it is null.
    pub fn id(&self) -> Option<&str> {
        self.field(Field::Id).filter(|id| *id != "null")
    }

    /// The method, unescaped; empty for answers.
    pub fn method(&self) -> &str {
        match (&self.escaped_method, self.field(Field::Method)) {
            (Some(method), _) => method,
            (None, Some(quoted)) => quoted.get(1..quoted.len() - 1).unwrap_or_default(),
            (None, None) => "",
        }
    }

    /// The message as it arrived, from its opening to its closing brace.
    pub fn raw(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// The message as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The raw JSON of a member. Takes the same time for every field.
    pub fn field(&self, field: Field) -> Option<&str> {
        self.span(field).of(&self.text)
    }

    /// The text of a member, if it is a JSON string.
    pub fn text(&self, field: Field) -> Option<Cow<'_, str>> {
        super::unquote(self.field(field)?)
    }

    /// The raw JSON of a member as bytes that share the message's buffer.
    pub fn slice(&self, field: Field) -> Option<Bytes> {
        let span = self.span(field);
        span.is_there()
            .then(|| self.raw().slice(span.start as usize..span.end as usize))
    }

    /// Starts a list of edits.
    pub fn rewrite(&self) -> Rewrite<'_> {
        Rewrite::new(self)
    }

    pub(super) fn span(&self, field: Field) -> Span {
        self.spans.get(field.index()).copied().unwrap_or_default()
    }

    /// Judges what a scan has found. `base` is where the message begins in the text that was scanned.
    pub(super) fn judge(
        text: ByteString,
        envelope: Envelope<'_>,
        base: usize,
        limits: &Limits,
    ) -> Result<Self, Box<ParseError>> {
        let Envelope {
            spans,
            version,
            fault,
            id_in_doubt,
        } = envelope;
        let mut message = Self {
            text,
            spans,
            kind: Kind::Notification,
            escaped_method: None,
        };
        let verdict = match fault {
            Some(fault) => Err(ParseError::about_key(fault.at, fault.what, fault.key)),
            None if version.of(&message.text) != Some(r#""2.0""#) => {
                let at = base + version.start as usize;
                Err(ParseError::not_a_message(
                    at,
                    "\"jsonrpc\" is not \"2.0\" in the message",
                ))
            }
            None => message.find_kind(base, limits),
        };
        match verdict {
            Ok(kind) => message.kind = kind,
            Err(mut error) => {
                let id = message
                    .field(Field::Id)
                    .filter(|id| !id_in_doubt && id_flaw(id, limits).is_none());
                error.id = id.map(Into::into);
                return Err(Box::new(error));
            }
        }
        if let Some(Cow::Owned(method)) = message.text(Field::Method) {
            message.escaped_method = Some(method.into());
        }
        Ok(message)
    }

    fn find_kind(&self, base: usize, limits: &Limits) -> Result<Kind, ParseError> {
        let refuse = |field: Field, what: &str| {
            Err(ParseError::not_a_message(
                base + self.span(field).start as usize,
                what,
            ))
        };
        let id = self.field(Field::Id);
        let is_answer_to_nothing = id == Some("null") && self.field(Field::Error).is_some();
        if let Some(flaw) = id.and_then(|id| id_flaw(id, limits))
            && !is_answer_to_nothing
        {
            return refuse(Field::Id, flaw);
        }
        match (
            self.field(Field::Method),
            self.field(Field::Result),
            self.field(Field::Error),
        ) {
            (Some(method), None, None) => {
                if !method.starts_with('"') {
                    return refuse(Field::Method, "\"method\" is not a string");
                }
                if self
                    .field(Field::Params)
                    .is_some_and(|params| !params.starts_with(['{', 'n']))
                {
                    return refuse(Field::Params, "\"params\" is not an object");
                }
                Ok(if id.is_some() {
                    Kind::Request
                } else {
                    Kind::Notification
                })
            }
            (None, Some(_), None) if id.is_some() => Ok(Kind::Result),
            (None, Some(_), None) => refuse(Field::Result, "\"result\" without \"id\""),
            (None, None, Some(error)) if error.starts_with('{') => Ok(Kind::Error),
            (None, None, Some(_)) => refuse(Field::Error, "\"error\" is not an object"),
            (None, None, None) => refuse(
                Field::Method,
                "neither \"method\" nor \"result\" nor \"error\" in the message",
            ),
            _ => refuse(
                Field::Method,
                "more than one of \"method\", \"result\" and \"error\" in the message",
            ),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Message")
            .field("kind", &self.kind)
            .field("id", &self.id())
            .field("method", &self.method())
            .field("bytes", &self.text.len())
            .finish()
    }
}

/// What is wrong with the raw JSON of an id.
fn id_flaw(id: &str, limits: &Limits) -> Option<&'static str> {
    let (first, rest) = id.split_at_checked(1)?;
    match first {
        "\"" | "-" | "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"
            if id.len() > limits.id_bytes =>
        {
            Some("\"id\" is too long")
        }
        "\"" => None,
        "-" | "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" => {
            let is_integer = rest.bytes().all(|byte| byte.is_ascii_digit());
            if is_integer {
                None
            } else {
                Some("\"id\" is a number but not an integer")
            }
        }
        "n" => Some("\"id\" is null"),
        _ => Some("\"id\" is neither a string nor an integer"),
    }
}
