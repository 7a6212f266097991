use super::*;

#[test]
fn annotations_are_found_through_properties() {
    let schema = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"n":{"x\u002dmcp-header":"N","type":["null","integer"]}}},
        "x-mcp-header":{"type":"string"},
        "b":{"type":"boolean","x-mcp-header":"b!","default":{"x-mcp-header":""}}}}"#;
    let found = header_annotations(schema).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|one| (&*one.header, one.path.join("/"), one.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("Mcp-Param-Region", "region".to_owned(), ParamKind::String),
            ("Mcp-Param-N", "deep/n".to_owned(), ParamKind::Integer),
            ("Mcp-Param-b!", "b".to_owned(), ParamKind::Boolean),
        ]
    );
    assert_eq!(header_annotations(r#"{"type":"object"}"#), Ok(vec![]));
}

#[test]
fn wrong_annotations_are_named() {
    let property =
        |property: &str| format!(r#"{{"type":"object","properties":{{"p":{property}}}}}"#);
    for (schema, reason) in [
        (property(r#"{"type":"string","x-mcp-header":""}"#), "not a header name"),
        (property(r#"{"type":"string","x-mcp-header":"a b"}"#), "not a header name"),
        (property(r#"{"type":"string","x-mcp-header":"a:b"}"#), "not a header name"),
        (property(r#"{"type":"string","x-mcp-header":"a\r\nb"}"#), "not a header name"),
        (property(r#"{"type":"string","x-mcp-header":"ä"}"#), "not a header name"),
        (property(r#"{"type":"string","x-mcp-header":7}"#), "not a string"),
        (property(r#"{"type":"number","x-mcp-header":"N"}"#), "not on a string"),
        (property(r#"{"type":"object","x-mcp-header":"N"}"#), "not on a string"),
        (property(r#"{"type":"array","x-mcp-header":"N"}"#), "not on a string"),
        (property(r#"{"type":"null","x-mcp-header":"N"}"#), "not on a string"),
        (property(r#"{"type":["string","integer"],"x-mcp-header":"N"}"#), "not on a string"),
        (property(r#"{"x-mcp-header":"N"}"#), "not on a string"),
        (property(r#"{"type":"array","items":{"type":"string","x-mcp-header":"N"}}"#), "properties alone"),
        (property(r#"{"oneOf":[{"type":"string","x-mcp-header":"N"}]}"#), "properties alone"),
        (property(r#"{"items":{"properties":{"q":{"type":"string","x-mcp-header":"N"}}}}"#), "properties alone"),
        (r#"{"$defs":{"d":{"type":"string","x-mcp-header":"N"}}}"#.into(), "properties alone"),
        (r#"{"type":"string","x-mcp-header":"N"}"#.into(), "properties alone"),
        (
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"Ab"},"b":{"type":"string","x-mcp-header":"aB"}}}"#
                .into(),
            "twice",
        ),
    ] {
        let error = header_annotations(&schema).unwrap_err();
        assert!(error.contains(reason), "{schema}: {error}");
    }
}

#[test]
fn headers_and_arguments_must_agree() {
    let annotation = |name: &str, path: &[&str], kind| HeaderAnnotation {
        header: format!("Mcp-Param-{name}"),
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        kind,
    };
    let annotations = [
        annotation("S", &["o", "s"], ParamKind::String),
        annotation("N", &["n"], ParamKind::Integer),
    ];
    let check = |s: &[&'static str], n: &[&'static str], arguments: Option<&str>| {
        let values = |list: &[&'static str]| {
            list.iter()
                .map(|value| value.as_bytes())
                .collect::<Values<'static>>()
        };
        check_params(&annotations, arguments, |name| {
            if name == "Mcp-Param-S" {
                values(s)
            } else {
                values(n)
            }
        })
    };
    for (s, n, arguments) in [
        (&[][..], &[][..], None),
        (&[], &[], Some(r#"{}"#)),
        (&[], &[], Some(r#"{"o":{"s":null},"n":null}"#)),
        (&[], &[], Some(r#"{"o":7}"#)),
        (&["a"], &["42"], Some(r#"{"n":42,"o":{"s":"\u0061"}}"#)),
        (
            &["=?base64?w6Q=?="],
            &["42.0"],
            Some(r#"{"n":4.2e1,"o":{"s":"ä"}}"#),
        ),
        (&["true"], &["-0"], Some(r#"{"n":0,"o":{"s":true}}"#)),
        (
            &["a"],
            &["123456789012345678901234567890"],
            Some(r#"{"n":12345678901234567890123456789e1,"o":{"s":"a"}}"#),
        ),
    ] {
        assert_eq!(check(s, n, arguments), Ok(()), "{arguments:?}");
    }
    for (s, n, arguments, says) in [
        (
            &[][..],
            &["42"][..],
            r#"{"n":42,"o":{"s":"a"}}"#,
            "Mcp-Param-S is missing",
        ),
        (
            &["A"],
            &["42"],
            r#"{"n":42,"o":{"s":"a"}}"#,
            "Mcp-Param-S differs",
        ),
        (
            &["a"],
            &["43"],
            r#"{"n":42,"o":{"s":"a"}}"#,
            "Mcp-Param-N differs",
        ),
        (
            &["a"],
            &["042"],
            r#"{"n":42,"o":{"s":"a"}}"#,
            "Mcp-Param-N differs",
        ),
        (
            &["a"],
            &["4e101"],
            r#"{"n":4e100,"o":{"s":"a"}}"#,
            "Mcp-Param-N differs",
        ),
        (
            &["a", "a"],
            &["42"],
            r#"{"n":42,"o":{"s":"a"}}"#,
            "Mcp-Param-S is repeated",
        ),
        (
            &["a"],
            &["42"],
            r#"{"n":42}"#,
            "Mcp-Param-S repeats an argument that is not there",
        ),
        (
            &["a"],
            &["42"],
            r#"{"n":42,"o":{"s":"a","s":"b"}}"#,
            "twice",
        ),
        (
            &["[]"],
            &["42"],
            r#"{"n":42,"o":{"s":[]}}"#,
            "Mcp-Param-S differs",
        ),
        (
            &["=?base64?!?="],
            &["42"],
            r#"{"n":42,"o":{"s":"a"}}"#,
            "Mcp-Param-S: header value is marked",
        ),
    ] {
        let error = check(s, n, Some(arguments)).unwrap_err();
        assert!(error.contains(says), "{arguments}: {error}");
    }
}

#[test]
fn headers_that_were_made_say_what_the_arguments_say() {
    let schema = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
        "b":{"type":"boolean","x-mcp-header":"B"},
        "absent":{"type":"string","x-mcp-header":"Absent"},
        "null":{"type":"string","x-mcp-header":"Null"}}}"#;
    let annotations = header_annotations(schema).unwrap();
    let arguments = r#"{"region":" Zürich","deep":{"n":1e2},"b":true,"null":null}"#;
    let made = params_as_headers(&annotations, Some(arguments));
    let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Mcp-Param-Region", "Mcp-Param-N", "Mcp-Param-B"]);
    let found = |name: &str| {
        let mut named = made.iter().filter(|(known, _)| known == name);
        named
            .next()
            .map_or(Values::Absent, |(_, value)| Values::One(value.as_bytes()))
    };
    assert_eq!(check_params(&annotations, Some(arguments), found), Ok(()));
    assert_eq!(params_as_headers(&annotations, None), []);
}
