//! From YAML to a tree. Bounded in size, depth and what aliases may copy; duplicate keys, tags, merge keys and second
//! documents are refused rather than guessed at.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput};

use super::problem::{Place, Problem};
use super::tree::{Entry, Kind, Node, Path, Scalar, Step};

/// The largest file that is read, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// The most nodes in a file, counting what aliases copy.
const MAX_NODES: usize = 50_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 32;

/// Reads one YAML document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let start = Place { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        return Err(Problem::new(
            start,
            "",
            &format!("the file is larger than {MAX_BYTES} bytes; split it or shorten it"),
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    Reader {
        text,
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        path: Path::default(),
    }
    .document()
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    path: Path,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Node, Problem> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event if root.is_none() => root = Some(self.node(event, span)?),
                _ => {
                    return Err(self.refuse(
                        place(span),
                        "the file has a second document; remove the `---` between them",
                    ));
                }
            }
        }
        let start = Place { line: 1, column: 1 };
        match root {
            None => Ok(Node::empty(start)),
            Some(node) if node.is_null() => Ok(Node::empty(start)),
            Some(node) if matches!(node.kind, Kind::Map(_)) => Ok(node),
            Some(node) => Err(Problem::new(
                node.place,
                "",
                "the file is not a map; write keys such as `listen: 127.0.0.1:8811`",
            )),
        }
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Problem> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(error)) => {
                let mark = error.marker();
                let place = Place {
                    line: mark.line(),
                    column: mark.col() + 1,
                };
                let remedy = match self.text.lines().nth(place.line.saturating_sub(1)) {
                    Some(line) if line.contains("${") => {
                        "write \"${NAME}\" with quotes inside { } and [ ]"
                    }
                    _ => "check the indentation and quotes here and above",
                };
                Err(self.refuse(
                    place,
                    &format!("this is not YAML: {}; {remedy}", error.info()),
                ))
            }
        }
    }

    fn expect_next(&mut self, place: Place) -> Result<(Event<'a>, Span), Problem> {
        self.next()?
            .ok_or_else(|| self.refuse(place, "the file ends here too early; complete it"))
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Problem> {
        let at = place(span);
        self.count(1, at)?;
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag
                    .as_ref()
                    .is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                if tag.is_some() && !is_text {
                    return Err(self.refuse(at, "tags have no meaning here; remove the `!…`"));
                }
                let plain = matches!(style, ScalarStyle::Plain) && !is_text;
                (
                    Kind::Scalar(Scalar {
                        text: text.into_owned(),
                        plain,
                        template: None,
                        variables: Vec::new(),
                    }),
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, None) => (self.list(at)?, anchor),
            Event::MappingStart(_, anchor, None) => (self.map(at)?, anchor),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                return Err(self.refuse(at, "tags have no meaning here; remove the `!…`"));
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.refuse(at, "this alias refers to itself; write the value out"));
                };
                self.count(weight(&node), at)?;
                return Ok(node);
            }
            _ => return Err(self.refuse(at, "a value is missing here; write one")),
        };
        let node = Node { place: at, kind };
        if anchor != 0 {
            self.count(weight(&node), at)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, at: Place) -> Result<Kind, Problem> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.expect_next(at)?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Kind::List(entries));
            }
            self.path.0.push(Step::Index(entries.len()));
            let value = self.node(event, span)?;
            self.path.0.pop();
            entries.push(Entry {
                step: Step::Index(entries.len()),
                place: place(span),
                value,
            });
        }
    }

    fn map(&mut self, at: Place) -> Result<Kind, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, span) = self.expect_next(at)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Kind::Map(entries));
            }
            let key_place = place(span);
            let Kind::Scalar(key) = self.node(event, span)?.kind else {
                return Err(self.refuse(
                    key_place,
                    "a key must be a text; quote it if it begins with `[` or `{`",
                ));
            };
            let key = key.text;
            if key == "<<" {
                return Err(self.refuse(
                    key_place,
                    "merge keys (`<<`) are not read; write the keys out",
                ));
            }
            if let Some(first) = seen.insert(key.clone(), key_place) {
                let text = format!(
                    "the key is already set in line {}; remove one of the two",
                    first.line
                );
                self.path.0.push(Step::Key(key));
                return Err(self.refuse(key_place, &text));
            }
            self.path.0.push(Step::Key(key.clone()));
            let (event, span) = self.expect_next(key_place)?;
            let value = self.node(event, span)?;
            self.path.0.pop();
            entries.push(Entry {
                step: Step::Key(key),
                place: key_place,
                value,
            });
        }
    }

    fn refuse(&self, place: Place, text: &str) -> Problem {
        Problem::new(place, self.path.to_string(), text)
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(self.refuse(
                at,
                &format!("the file has more than {MAX_NODES} values, counting aliases; shorten it"),
            ));
        }
        Ok(())
    }
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn weight(node: &Node) -> usize {
    1 + node
        .entries()
        .iter()
        .map(|entry| weight(&entry.value))
        .sum::<usize>()
}
