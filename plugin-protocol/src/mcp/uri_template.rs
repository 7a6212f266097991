//! URI templates (RFC 6570), as far as needed to tell whose resource a URI is.

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    /// The literal text before the first expression.
    prefix: String,
    /// What the rest of a URI is made of.
    steps: Vec<Step>,
}

/// Why a template cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("template has an unmatched brace")]
    Unbalanced,
    /// An expression without a variable name, or with characters that names do not have.
    #[error("template has an expression without a valid variable name")]
    BadExpression,
    /// Longer than can be handled.
    #[error("template is longer than 1024 bytes")]
    TooLong,
}

/// One step through a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// This byte.
    Byte(u8),
    /// One byte of a class.
    One(Class),
    /// Any number of bytes of a class.
    Any(Class),
    /// The next steps, as many as this says, may be left out: an undefined variable expands to nothing.
    Maybe(usize),
}

/// What the value of a variable may hold. More than RFC 6570 allows, for clients that do not encode what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// All but `/`, `?` and `#`.
    Segment,
    /// All but `?` and `#`.
    Path,
    /// All but `#`.
    Query,
    /// All.
    Reserved,
}

/// The longest template that is read, in bytes.
const TEMPLATE_BYTES: usize = 1024;
/// The longest URI that is looked at, in bytes; longer ones match nothing.
const URI_BYTES: usize = 8192;

// === impl UriTemplate ===

impl UriTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Unmatched braces, wrong expressions, more than 1,024 bytes.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        if template.len() > TEMPLATE_BYTES {
            return Err(TemplateError::TooLong);
        }
        let mut steps = Vec::new();
        let (prefix, mut rest) =
            template.split_at(template.find(['{', '}']).unwrap_or(template.len()));
        while let Some(next) = rest.find(['{', '}']) {
            let (literal, expression) = rest.split_at(next);
            steps.extend(literal.bytes().map(Step::Byte));
            let expression = expression
                .strip_prefix('{')
                .ok_or(TemplateError::Unbalanced)?;
            let (expression, after) = expression
                .split_once('}')
                .ok_or(TemplateError::Unbalanced)?;
            expand(expression, &mut steps)?;
            rest = after;
        }
        steps.extend(rest.bytes().map(Step::Byte));
        Ok(Self {
            prefix: prefix.to_owned(),
            steps,
        })
    }

    /// True if the template can expand to this URI. Takes time in proportion to the URI's length times the template's;
    /// URIs of more than 8 KiB match nothing. A variable that stands alone (`{id}`, `{+path}`) is at least one
    /// character; what has its own separator (`{?a,b}`, `{/a}`, `{.a}`, `{;a}`, `{&a}`, `{#a}`) may be left out.
    pub fn matches(&self, uri: &str) -> bool {
        let Some(rest) = uri.strip_prefix(&*self.prefix) else {
            return false;
        };
        if uri.len() > URI_BYTES {
            return false;
        }
        // The steps that may come next, in a set: several ways through the template are tried at once.
        let mut now = vec![false; self.steps.len() + 1];
        let mut then = now.clone();
        set(&mut now, 0);
        self.skip(&mut now);
        for byte in rest.bytes() {
            then.fill(false);
            for (index, step) in self
                .steps
                .iter()
                .enumerate()
                .filter(|(index, _)| is_set(&now, *index))
            {
                match step {
                    Step::Byte(expected) if *expected == byte => set(&mut then, index + 1),
                    Step::One(class) if class.holds(byte) => set(&mut then, index + 1),
                    Step::Any(class) if class.holds(byte) => set(&mut then, index),
                    _ => {}
                }
            }
            self.skip(&mut then);
            std::mem::swap(&mut now, &mut then);
        }
        is_set(&now, self.steps.len())
    }

    /// Adds the steps that come next without reading anything. They always lie ahead, so one pass finds all.
    fn skip(&self, next: &mut [bool]) {
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                Step::Any(_) if is_set(next, index) => set(next, index + 1),
                Step::Maybe(count) if is_set(next, index) => {
                    set(next, index + 1);
                    set(next, index + 1 + count);
                }
                _ => {}
            }
        }
    }
}

/// Adds the steps of one expression.
fn expand(expression: &str, steps: &mut Vec<Step>) -> Result<(), TemplateError> {
    let operator = expression
        .chars()
        .next()
        .filter(|first| "+#./;?&".contains(*first));
    let variables = operator.map_or(expression, |_| expression.get(1..).unwrap_or_default());
    if !variables.split(',').all(is_variable) {
        return Err(TemplateError::BadExpression);
    }
    let lone = |class| [Step::One(class), Step::Any(class)];
    match operator {
        Some('+') => steps.extend(lone(Class::Reserved)),
        Some('#') => steps.extend([Step::Maybe(2), Step::Byte(b'#'), Step::Any(Class::Reserved)]),
        Some('?') => steps.extend([Step::Maybe(2), Step::Byte(b'?'), Step::Any(Class::Query)]),
        Some('&') => steps.extend([Step::Maybe(2), Step::Byte(b'&'), Step::Any(Class::Query)]),
        Some(separator @ ('.' | '/' | ';')) => {
            for variable in variables.split(',') {
                let more = if separator == '/' && variable.ends_with('*') {
                    Class::Path
                } else {
                    Class::Segment
                };
                let separator = u8::try_from(separator).unwrap_or(b'/');
                steps.extend([
                    Step::Maybe(3),
                    Step::Byte(separator),
                    Step::One(Class::Segment),
                    Step::Any(more),
                ]);
            }
        }
        // Several variables, and the parts of one, are joined by commas, which the class holds.
        _ => steps.extend(lone(Class::Segment)),
    }
    Ok(())
}

/// True for a variable's name, with its modifier (`*` or `:3`) if it has one.
fn is_variable(text: &str) -> bool {
    let name = match text.split_once(':') {
        Some((name, length))
            if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        Some(_) => return false,
        None => text.strip_suffix('*').unwrap_or(text),
    };
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-%".contains(&byte))
}

fn is_set(set: &[bool], index: usize) -> bool {
    set.get(index).copied().unwrap_or(false)
}

fn set(set: &mut [bool], index: usize) {
    if let Some(slot) = set.get_mut(index) {
        *slot = true;
    }
}

// === impl Class ===

impl Class {
    fn holds(self, byte: u8) -> bool {
        let ends = match self {
            Self::Segment => b"/?#".contains(&byte),
            Self::Path => b"?#".contains(&byte),
            Self::Query => byte == b'#',
            Self::Reserved => false,
        };
        !ends && !byte.is_ascii_control()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_match_the_templates_they_come_from() {
        for (template, yes, no) in [
            (
                "test://plain",
                &["test://plain"][..],
                &["test://plain/", "test://plai", ""][..],
            ),
            (
                "test://t/{id}/data",
                &["test://t/1/data", "test://t/ä b/data"],
                &["test://t//data", "test://t/1/2/data"],
            ),
            (
                "file:///{+path}",
                &["file:///a/b?c#d"],
                &["file:///", "http:///a"],
            ),
            ("file:///{path*}", &["file:///a,b"], &["file:///a/b"]),
            (
                "a{x}b{y}c",
                &["a1b2c", "abbbc", "abbcbc"],
                &["abbc1", "abc", "a1b2"],
            ),
            ("a{+x}b{y}/", &["a//b1/", "ab/b1b2/"], &["a//b/1/", "a1b2"]),
            ("x{#frag}", &["x", "x#", "x#a/b?"], &["x?", "y"]),
            (
                "x{?a,b}",
                &["x", "x?a=1", "x?a=1&b=/2"],
                &["x?a#b", "x&a=1"],
            ),
            ("x?q=1{&a}", &["x?q=1", "x?q=1&a=2"], &["x?q=12"]),
            ("x{/a,b}", &["x", "x/1", "x/1/2"], &["x/", "x/1/2/3"]),
            ("x{/a*}/end", &["x/end", "x/1/2/end"], &["x/1/2"]),
            ("x{.ext}", &["x", "x.txt", "x.tar.gz"], &["x.", "x.a/b"]),
            ("x{;a,b:3}", &["x", "x;a=1", "x;a=1;b=2"], &["x/", "x;"]),
            ("{scheme}://{host}", &["a://b"], &["a//b", "://b"]),
            ("{x}", &["a"], &["a\n", "a\0", ""]),
        ] {
            let parsed = UriTemplate::parse(template).unwrap();
            for uri in yes {
                assert!(parsed.matches(uri), "{template} {uri}");
            }
            for uri in no {
                assert!(!parsed.matches(uri), "{template} {uri}");
            }
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for (template, error) in [
            ("a{b", TemplateError::Unbalanced),
            ("a}b", TemplateError::Unbalanced),
            ("{a}}", TemplateError::Unbalanced),
            ("{}", TemplateError::BadExpression),
            ("{+}", TemplateError::BadExpression),
            ("{a,}", TemplateError::BadExpression),
            ("{a b}", TemplateError::BadExpression),
            ("{=a}", TemplateError::BadExpression),
            ("{a:}", TemplateError::BadExpression),
            ("{a{b}", TemplateError::BadExpression),
        ] {
            assert_eq!(UriTemplate::parse(template), Err(error), "{template}");
        }
        assert_eq!(
            UriTemplate::parse(&"a".repeat(1025)),
            Err(TemplateError::TooLong)
        );
    }

    #[test]
    fn hostile_templates_take_bounded_time() {
        let template = UriTemplate::parse(&"{a}".repeat(341)).unwrap();
        assert!(template.matches(&"a".repeat(8192)));
        assert!(!template.matches(&format!("{}/", "a".repeat(4000))));
        assert!(!template.matches(&"a".repeat(8193)));
    }
}
