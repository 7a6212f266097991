//! Names of tools.

/// True if a tool may have this name: 1 to 128 visible ASCII characters and inner blanks, without `/`.
///
/// The specification recommends `[A-Za-z0-9_.-]`; servers in use have blanks and brackets too. Control characters,
/// slashes and look-alikes from other scripts are what a client could be deceived with.
pub fn valid_tool_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x7E) && byte != b'/')
        && !name.starts_with(' ')
        && !name.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in [
            "a",
            "get_weather",
            "srv__a.b-C9",
            "greet (structured)",
            &"x".repeat(128),
        ] {
            assert!(valid_tool_name(name), "{name}");
        }
        for name in [
            "",
            "a/b",
            "a\r\nb",
            "a\0",
            "\u{202e}a",
            "аdmin",
            &"x".repeat(129),
        ] {
            assert!(!valid_tool_name(name), "{name}");
        }
    }
}
