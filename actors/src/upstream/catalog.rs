//! Reading a server's lists: page after page, bounded, each item kept as the server wrote it.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;
use weir_plugin_protocol::jsonrpc::{
    Field, Kind, Message, array_items, member, object_members, unquote,
};
use weir_plugin_protocol::mcp::{HeaderAnnotation, Method, header_annotations, valid_tool_name};
use weir_plugin_protocol::role::TargetKind;

use super::view::{Catalog, Item, List};

/// The four lists that a server may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}

/// How much of a list is read before the server is thought to be broken.
#[derive(Clone, Copy, Debug)]
pub struct ListLimits {
    /// Pages of one list. Default 1,000.
    pub pages: usize,
    /// Items of one list. Default 50,000.
    pub items: usize,
    /// Bytes of all pages of one list. Default 64 MiB.
    pub bytes: usize,
}

/// Reads one list, page by page.
#[derive(Debug)]
pub struct ListReader {
    kind: ListKind,
    limits: ListLimits,
    items: Vec<Item>,
    keys: HashSet<String>,
    cursors: HashSet<String>,
    pages: usize,
    bytes: usize,
    ttl_ms: Option<u64>,
    public: bool,
    param_headers: HashMap<String, Vec<HeaderAnnotation>>,
    dropped: Vec<Dropped>,
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask for the page with this cursor: raw JSON, a string (also the empty one).
    Page(String),
    /// That was the last page.
    Done,
}

/// An item that is not offered to anybody, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its name or URI, shortened; empty if it has none.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// A list, read to its end.
#[derive(Clone, Debug, Default)]
pub struct ReadList {
    /// The list.
    pub list: List,
    /// Arguments of tools that travel as headers, by tool.
    pub param_headers: HashMap<String, Vec<HeaderAnnotation>>,
    /// What was left out.
    pub dropped: Vec<Dropped>,
}

/// Why a list could not be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// The server answered with an error.
    #[error("{method} was answered with error {code}: {message}")]
    Refused {
        /// The method.
        method: &'static str,
        /// The code, as the server wrote it.
        code: String,
        /// The text, shortened.
        message: String,
    },
    /// The answer does not have the shape of a list.
    #[error("the answer to {0} holds no list")]
    NoList(&'static str),
    /// Too many pages.
    #[error("{0} has more pages than are read")]
    TooManyPages(&'static str),
    /// Too many items.
    #[error("{0} has more items than are read")]
    TooManyItems(&'static str),
    /// Too many bytes.
    #[error("{0} has more bytes than are read")]
    TooLarge(&'static str),
    /// A cursor came a second time: the list would never end.
    #[error("{0} leads in a circle: a cursor came twice")]
    Circle(&'static str),
}

// === impl ListKind ===

impl ListKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The list that a method asks for.
    pub fn of(method: Method) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The method that lists them.
    pub fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Prompts => Method::PromptsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::ResourcesTemplatesList,
        }
    }

    /// The member of the result that holds them.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// What one of them is called.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::Templates => "template",
        }
    }

    /// The member of an item that names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The capability that a server declares if it offers them.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// What a policy calls an item.
    pub fn target(self) -> TargetKind {
        match self {
            Self::Tools => TargetKind::Tool,
            Self::Prompts => TargetKind::Prompt,
            Self::Resources => TargetKind::Resource,
            Self::Templates => TargetKind::ResourceTemplate,
        }
    }

    /// Where it stands in [`ListKind::ALL`].
    pub(super) fn position(self) -> usize {
        self as usize
    }
}

// === impl ListLimits ===

impl Default for ListLimits {
    fn default() -> Self {
        Self {
            pages: 1_000,
            items: 50_000,
            bytes: 64 << 20,
        }
    }
}

// === impl ListReader ===

impl ListReader {
    /// Starts a list.
    pub fn new(kind: ListKind, limits: ListLimits) -> Self {
        Self {
            kind,
            limits,
            items: Vec::new(),
            keys: HashSet::new(),
            cursors: HashSet::new(),
            pages: 0,
            bytes: 0,
            ttl_ms: None,
            public: true,
            param_headers: HashMap::new(),
            dropped: Vec::new(),
        }
    }

    /// Takes the answer to a list request in and says whether there is another page.
    pub fn page(&mut self, answer: &Message) -> Result<Next, ListError> {
        let method = self.kind.method().as_str();
        if answer.kind() == Kind::Error {
            return Err(refused(method, answer));
        }
        let result = answer
            .slice(Field::Result)
            .ok_or(ListError::NoList(method))?;
        let text = std::str::from_utf8(&result).map_err(|_| ListError::NoList(method))?;
        let items = member(text, self.kind.member())
            .filter(|items| items.starts_with('['))
            .ok_or(ListError::NoList(method))?;

        self.pages += 1;
        self.bytes = self.bytes.saturating_add(result.len());
        if self.bytes > self.limits.bytes {
            return Err(ListError::TooLarge(method));
        }
        for item in array_items(items) {
            if self.items.len() >= self.limits.items {
                return Err(ListError::TooManyItems(method));
            }
            self.item(result.slice_ref(item.as_bytes()), item);
        }
        if let Some(ttl_ms) = answer.field(Field::TtlMs).and_then(milliseconds) {
            self.ttl_ms = Some(self.ttl_ms.map_or(ttl_ms, |least| least.min(ttl_ms)));
        }
        self.public &= answer
            .text(Field::CacheScope)
            .is_some_and(|scope| scope == "public");
        self.next(answer, method)
    }

    /// Ends the list. `announced`: the server tells when it changes.
    pub fn finish(self, fetched: Instant, announced: bool) -> ReadList {
        let list = List {
            items: self.items,
            ttl_ms: self.ttl_ms,
            private: !self.public,
            fetched: Some(fetched),
            announced,
        };
        ReadList {
            list,
            param_headers: self.param_headers,
            dropped: self.dropped,
        }
    }

    fn next(&mut self, answer: &Message, method: &'static str) -> Result<Next, ListError> {
        // `""` is a cursor; anything but a string is none.
        let Some(cursor) = answer
            .field(Field::NextCursor)
            .filter(|cursor| cursor.starts_with('"'))
        else {
            return Ok(Next::Done);
        };
        if self.pages >= self.limits.pages {
            return Err(ListError::TooManyPages(method));
        }
        if !self.cursors.insert(cursor.to_owned()) {
            return Err(ListError::Circle(method));
        }
        Ok(Next::Page(cursor.to_owned()))
    }

    fn item(&mut self, raw: Bytes, text: &str) {
        match self.read_item(text) {
            Ok(key) => {
                self.keys.insert(key.clone());
                self.items.push(Item { key, raw });
            }
            Err(dropped) => self.dropped.push(dropped),
        }
    }

    fn read_item(&mut self, text: &str) -> Result<String, Dropped> {
        let (name, kind) = (self.kind.key(), self.kind);
        let dropped = |key: &str, reason: String| Dropped {
            key: shorten(key, 80),
            reason,
        };
        if !text.starts_with('{') {
            return Err(dropped("", "it is no object".into()));
        }
        let mut key = None;
        let mut schema = None;
        for (member, value) in object_members(text) {
            if member == name && key.replace(value).is_some() {
                // Which of the two counts differs from parser to parser.
                return Err(dropped("", format!("it has two members `{name}`")));
            }
            if member == "inputSchema" {
                schema = Some(value);
            }
        }
        let Some(key) = key.and_then(unquote) else {
            return Err(dropped("", format!("it has no `{name}`")));
        };
        if kind == ListKind::Tools && !valid_tool_name(&key) {
            return Err(dropped(
                &key,
                "a tool name is 1 to 128 of A-Z a-z 0-9 _ - .".into(),
            ));
        }
        if key.is_empty() {
            return Err(dropped("", format!("its `{name}` is empty")));
        }
        if self.keys.contains(key.as_ref()) {
            return Err(dropped(&key, "an earlier item has the same name".into()));
        }
        if let (ListKind::Tools, Some(schema)) = (kind, schema) {
            let headers = header_annotations(schema).map_err(|error| dropped(&key, error))?;
            if !headers.is_empty() {
                self.param_headers.insert(key.clone().into_owned(), headers);
            }
        }
        Ok(key.into_owned())
    }
}

// === impl Catalog ===

impl Catalog {
    /// One of the lists.
    pub fn list(&self, kind: ListKind) -> &List {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Prompts => &self.prompts,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
        }
    }

    pub(super) fn list_mut(&mut self, kind: ListKind) -> &mut List {
        match kind {
            ListKind::Tools => &mut self.tools,
            ListKind::Prompts => &mut self.prompts,
            ListKind::Resources => &mut self.resources,
            ListKind::Templates => &mut self.templates,
        }
    }

    /// Puts a freshly read list in.
    pub fn put(&mut self, kind: ListKind, read: ReadList) {
        match kind {
            ListKind::Tools => {
                self.tools = read.list;
                self.param_headers = read.param_headers;
            }
            ListKind::Prompts => self.prompts = read.list,
            ListKind::Resources => self.resources = read.list,
            ListKind::Templates => self.templates = read.list,
        }
    }
}

// === impl List ===

impl List {
    /// Whether the items are the same, byte for byte and in the same order.
    pub fn same_items(&self, other: &Self) -> bool {
        self.items.len() == other.items.len()
            && self
                .items
                .iter()
                .zip(&other.items)
                .all(|(mine, theirs)| mine.raw == theirs.raw)
    }

    /// How much longer the list may be kept, in milliseconds; 0 if the server did not say.
    pub fn remaining_ms(&self, now: Instant) -> u64 {
        let (Some(ttl_ms), Some(fetched)) = (self.ttl_ms, self.fetched) else {
            return 0;
        };
        let age =
            u64::try_from(now.saturating_duration_since(fetched).as_millis()).unwrap_or(u64::MAX);
        ttl_ms.saturating_sub(age)
    }

    /// Whether the list is old enough to be fetched again. A list whose server announces changes never is; one whose
    /// server says nothing at all is after [`SILENT_LIST_MS`].
    pub fn stale(&self, now: Instant) -> bool {
        let Some(fetched) = self.fetched else {
            return false;
        };
        if self.announced {
            return false;
        }
        let kept = u128::from(self.ttl_ms.unwrap_or(SILENT_LIST_MS));
        now.saturating_duration_since(fetched).as_millis() >= kept
    }
}

/// How long a list is kept whose server gives no time to live and announces no changes: a minute.
pub const SILENT_LIST_MS: u64 = 60_000;

/// A JSON number as whole milliseconds. What is negative counts as 0.
fn milliseconds(raw: &str) -> Option<u64> {
    raw.parse::<u64>()
        .ok()
        .or_else(|| raw.parse::<f64>().ok().map(|number| number as u64))
}

pub(super) fn refused(method: &'static str, answer: &Message) -> ListError {
    let code = answer.field(Field::ErrorCode).unwrap_or("?").to_owned();
    let message = answer.text(Field::ErrorMessage).unwrap_or_default();
    ListError::Refused {
        method,
        code: shorten(&code, 20),
        message: shorten(&message, 200),
    }
}

/// The first characters of a text.
pub(crate) fn shorten(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

#[cfg(test)]
mod tests;
