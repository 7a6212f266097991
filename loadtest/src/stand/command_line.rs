//! A command line taken apart as a shell would, without a shell: words, quotes and backslashes, nothing else.

/// The words. Fails on a quote or a backslash without its end.
///
/// ```text
/// proxy --name 'a b' "c \"d\"" e\ f   ->   proxy | --name | a b | c "d" | e f
/// ```
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => literal(&mut characters, word.get_or_insert_default())?,
            '"' => quoted(&mut characters, word.get_or_insert_default())?,
            '\\' => match characters.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("nothing follows the last \\".to_owned()),
            },
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The rest of a text in single quotes, where everything stands for itself.
fn literal(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    for character in characters {
        if character == '\'' {
            return Ok(());
        }
        word.push(character);
    }
    Err("a ' is not closed".to_owned())
}

/// The rest of a text in double quotes, where a backslash stands before `"`, `\` and `$` only.
fn quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(character) = characters.next() {
        match character {
            '"' => return Ok(()),
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\' | '$')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            plain => word.push(plain),
        }
    }
    Err("a \" is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_as_a_shell_finds_them() {
        let words = split(r#"proxy  --name 'a "b' "c \"d\" \n" e\ f '' x'y'z"#).unwrap();
        assert_eq!(
            words,
            [
                "proxy",
                "--name",
                r#"a "b"#,
                r#"c "d" \n"#,
                "e f",
                "",
                "xyz"
            ]
        );
        assert!(split("  ").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_closed_is_an_error() {
        for line in ["a 'b", "a \"b", "a \\", "\"a\\"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
