//! What several servers say of themselves, said as one.

use bytes::Bytes;
use weir_plugin_protocol::jsonrpc::{object_members, quote, unquote};

use super::view::{Hello, ServerName};

/// Parts of an answer to `initialize` or `server/discover`, each raw JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// `capabilities`, an object.
    pub(super) capabilities: Bytes,
    /// `instructions`, a string, if any server gave some.
    pub(super) instructions: Option<Bytes>,
}

/// The longest merged instructions, in bytes: a model reads them in every conversation.
const INSTRUCTIONS_MAX: usize = 16 << 10;

/// Objects within objects further down are taken from the first server that has them.
const DEPTH_MAX: usize = 16;

// === impl Merged ===

impl Default for Merged {
    fn default() -> Self {
        Self {
            capabilities: Bytes::from_static(b"{}"),
            instructions: None,
        }
    }
}

/// Merges what servers said, in their order.
///
/// Capabilities are a union: objects are merged, of two booleans `true` wins, of anything else the first. Instructions
/// stand under a heading with the server's name and are cut at [`INSTRUCTIONS_MAX`].
pub(super) fn merge<'a>(hellos: impl Iterator<Item = (&'a ServerName, &'a Hello)>) -> Merged {
    let mut capabilities: Option<Json<'a>> = None;
    let mut instructions = String::new();
    for (server, hello) in hellos {
        if let Ok(text) = std::str::from_utf8(&hello.capabilities) {
            match &mut capabilities {
                Some(merged) => merged.absorb(text, 0),
                None => capabilities = Some(Json::read(text, 0)),
            }
        }
        let said = hello
            .instructions
            .as_deref()
            .and_then(|raw| unquote(std::str::from_utf8(raw).ok()?));
        if let Some(said) = said.filter(|said| !said.trim().is_empty()) {
            let gap = if instructions.is_empty() { "" } else { "\n\n" };
            instructions.push_str(&format!("{gap}# {server}\n{}", said.trim()));
        }
    }
    let capabilities = capabilities.map_or_else(
        || "{}".to_owned(),
        |capabilities| {
            let mut text = String::new();
            capabilities.write(&mut text);
            text
        },
    );
    truncate(&mut instructions, INSTRUCTIONS_MAX);
    let instructions = (!instructions.is_empty()).then(|| quote(&instructions).into());
    Merged {
        capabilities: capabilities.into(),
        instructions,
    }
}

/// An object whose members can be merged, or any other value as it was written.
enum Json<'a> {
    Object(Vec<(String, Json<'a>)>),
    Raw(&'a str),
}

// === impl Json ===

impl<'a> Json<'a> {
    fn read(raw: &'a str, depth: usize) -> Self {
        if !raw.starts_with('{') || depth > DEPTH_MAX {
            return Self::Raw(raw);
        }
        let mut members: Vec<(String, Self)> = Vec::new();
        for (key, value) in object_members(raw) {
            if !members.iter().any(|(known, _)| *known == key) {
                members.push((key.into_owned(), Self::read(value, depth + 1)));
            }
        }
        Self::Object(members)
    }

    fn absorb(&mut self, raw: &'a str, depth: usize) {
        match self {
            Self::Object(members) if raw.starts_with('{') => {
                for (key, value) in object_members(raw) {
                    match members.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, known)) => known.absorb(value, depth + 1),
                        None => members.push((key.into_owned(), Self::read(value, depth + 1))),
                    }
                }
            }
            Self::Raw("false") if raw == "true" => *self = Self::Raw(raw),
            Self::Object(_) | Self::Raw(_) => {}
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Raw(raw) => out.push_str(raw),
            Self::Object(members) => {
                out.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    out.push_str(&quote(key));
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn truncate(text: &mut String, length: usize) {
    if text.len() > length {
        let mark = "…";
        let end = text.floor_char_boundary(length - mark.len());
        text.truncate(end);
        text.push_str(mark);
    }
}

#[cfg(test)]
mod tests {
    use weir_plugin_protocol::mcp::Version;

    use super::*;

    fn hello(capabilities: &'static str, instructions: Option<&str>) -> Hello {
        Hello {
            version: Version::V2025_11_25,
            capabilities: Bytes::from_static(capabilities.as_bytes()),
            server_info: None,
            instructions: instructions.map(|text| quote(text).into()),
        }
    }

    fn merged(hellos: &[Hello]) -> Merged {
        let names: Vec<ServerName> = (0..hellos.len())
            .map(|number| ServerName::new(&format!("s{number}")).unwrap())
            .collect();
        merge(names.iter().zip(hellos))
    }

    #[test]
    fn capabilities_are_a_union() {
        let both = merged(&[
            hello(
                r#"{"tools":{"listChanged":false,"zz":1.0},"logging":{}}"#,
                None,
            ),
            hello(
                r#"{"tools":{"listChanged":true,"zz":2},"resources":{"subscribe":true},"extensions":{"a/b":{"x":1e2}}}"#,
                None,
            ),
        ]);
        let expected = r#"{"tools":{"listChanged":true,"zz":1.0},"logging":{},"resources":{"subscribe":true},"extensions":{"a/b":{"x":1e2}}}"#;
        assert_eq!(both.capabilities, expected);
        assert_eq!(merged(&[]).capabilities, "{}");
        assert_eq!(merged(&[]), Merged::default());
    }

    #[test]
    fn instructions_stand_under_headings() {
        let both = merged(&[
            hello("{}", Some("Say \"hi\".\n")),
            hello("{}", None),
            hello("{}", Some("Bye")),
        ]);
        assert_eq!(
            unquote(std::str::from_utf8(&both.instructions.unwrap()).unwrap()).unwrap(),
            "# s0\nSay \"hi\".\n\n# s2\nBye"
        );
    }

    #[test]
    fn long_instructions_are_cut_between_characters() {
        let long = "ä".repeat(INSTRUCTIONS_MAX);
        let cut = merged(&[hello("{}", Some(&long))]).instructions.unwrap();
        let cut = unquote(std::str::from_utf8(&cut).unwrap())
            .unwrap()
            .into_owned();
        assert!(
            cut.len() <= INSTRUCTIONS_MAX
                && cut.len() > INSTRUCTIONS_MAX - 8
                && cut.ends_with("ä…")
        );
    }
}
