//! Configuration files: whatever one says, what is wrong with it is named by place, and no secret is repeated.

use weir::config::load_text;

/// The value of the variable `TOKEN`.
pub const SECRET: &str = "s3cret-t0ken-7f3a";

/// See [`holds`].
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        holds(text);
    }
}

/// Whatever the text is: it is a configuration, or every problem of it has a place within the file. Read again, it is the
/// same. What the environment says is in no problem.
pub fn holds(text: &str) {
    let environment = |name: &str| match name {
        "TOKEN" => Some(SECRET.to_owned()),
        "EMPTY" => Some(String::new()),
        "PORT" => Some("9100".to_owned()),
        _ => None,
    };
    let load = || load_text(text, "weir.yaml", &environment);
    let Err(error) = load() else {
        assert!(load().is_ok());
        return;
    };
    assert_eq!(load().err().as_ref(), Some(&error));
    assert!(!error.problems.is_empty() && error.problems.len() <= 50);
    let lines = text
        .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .count();
    for problem in &error.problems {
        assert!(
            (1..=lines + 1).contains(&problem.place.line),
            "{problem:?} in {lines} lines"
        );
        assert!(problem.place.column >= 1, "{problem:?}");
        assert!(!problem.what.is_empty(), "{problem:?}");
    }
    let shown = error.to_string();
    for line in shown.lines() {
        assert!(line.starts_with("weir.yaml:"), "{line:?} of {shown:?}");
    }
    if !text.contains(SECRET) {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
