use proptest::prelude::*;
use weir_plugin_protocol::jsonrpc::Limits;

use super::*;

fn answer(result: &str) -> Message {
    Message::parse(
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into(),
        &Limits::default(),
    )
    .unwrap()
}

fn tools(names: &[&str], rest: &str) -> Message {
    let items: Vec<String> = names
        .iter()
        .map(|name| format!(r#"{{"name":"{name}"}}"#))
        .collect();
    answer(&format!(r#"{{"tools":[{}]{rest}}}"#, items.join(",")))
}

fn reader(kind: ListKind) -> ListReader {
    ListReader::new(kind, ListLimits::default())
}

#[test]
fn a_hundred_and_one_tools_in_pages_of_fifty_are_all_read() {
    let names: Vec<String> = (0..101).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut reader = reader(ListKind::Tools);
    assert_eq!(
        reader.page(&tools(&names[..50], r#","nextCursor":"""#)),
        Ok(Next::Page(r#""""#.into()))
    );
    assert_eq!(
        reader.page(&tools(&names[50..100], r#","nextCursor":"p\u0032""#)),
        Ok(Next::Page(r#""p\u0032""#.into()))
    );
    assert_eq!(
        reader.page(&tools(&names[100..], r#","nextCursor":null"#)),
        Ok(Next::Done)
    );
    let read = reader.finish(Instant::now(), true);
    let keys: Vec<&str> = read
        .list
        .items
        .iter()
        .map(|item| item.key.as_str())
        .collect();
    assert_eq!(keys, names);
    assert!(read.dropped.is_empty());
}

#[test]
fn items_stay_as_they_were_written() {
    let item = r#"{ "name" : "a","z":1.0,"inputSchema":{"b":1e300,"a":[ ]},"\u0061":null }"#;
    let mut reader = reader(ListKind::Tools);
    reader
        .page(&answer(&format!(r#"{{"tools":[ {item} ]}}"#)))
        .unwrap();
    assert_eq!(reader.finish(Instant::now(), false).list.items[0].raw, item);
}

#[test]
fn a_circle_of_cursors_ends() {
    let mut reader = reader(ListKind::Prompts);
    let page = answer(r#"{"prompts":[],"nextCursor":"x"}"#);
    assert!(reader.page(&page).is_ok());
    assert_eq!(reader.page(&page), Err(ListError::Circle("prompts/list")));
}

#[test]
fn limits_hold() {
    let limits = ListLimits {
        pages: 2,
        items: 3,
        bytes: 400,
    };
    let mut many = ListReader::new(ListKind::Tools, limits);
    assert_eq!(
        many.page(&tools(&["a", "b", "c", "d"], "")),
        Err(ListError::TooManyItems("tools/list"))
    );
    let mut large = ListReader::new(ListKind::Tools, limits);
    let filler = format!(r#","x":"{}""#, "x".repeat(400));
    assert_eq!(
        large.page(&tools(&["a"], &filler)),
        Err(ListError::TooLarge("tools/list"))
    );
    let mut long = ListReader::new(ListKind::Tools, limits);
    assert!(long.page(&tools(&[], r#","nextCursor":"1""#)).is_ok());
    assert_eq!(
        long.page(&tools(&[], r#","nextCursor":"2""#)),
        Err(ListError::TooManyPages("tools/list"))
    );
}

#[test]
fn unusable_tools_are_left_out_and_named() {
    let mut reader = reader(ListKind::Tools);
    let page = answer(
        r#"{"tools":[{"name":"good"},{"name":"b/d"},{"name":""},{"title":"none"},7,{"name":"x","name":"y"},{"name":"good"},
        {"name":"head","inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}},
        {"name":"region","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]}"#,
    );
    assert_eq!(reader.page(&page), Ok(Next::Done));
    let read = reader.finish(Instant::now(), false);
    let keys: Vec<&str> = read
        .list
        .items
        .iter()
        .map(|item| item.key.as_str())
        .collect();
    assert_eq!(keys, ["good", "region"]);
    assert_eq!(read.dropped.len(), 7);
    assert_eq!(read.param_headers["region"][0].header, "Mcp-Param-A");
}

#[test]
fn cache_hints_are_the_strictest_of_all_pages() {
    let mut hinted = reader(ListKind::Tools);
    hinted
        .page(&tools(
            &["a"],
            r#","ttlMs":5000,"cacheScope":"public","nextCursor":"n""#,
        ))
        .unwrap();
    hinted
        .page(&tools(&["b"], r#","ttlMs":1000,"cacheScope":"public""#))
        .unwrap();
    let fetched = Instant::now();
    let list = hinted.finish(fetched, false).list;
    assert_eq!((list.ttl_ms, list.private), (Some(1000), false));
    let later = fetched + std::time::Duration::from_millis(400);
    assert_eq!((list.remaining_ms(later), list.stale(later)), (600, false));
    let late = fetched + std::time::Duration::from_millis(1000);
    assert_eq!((list.remaining_ms(late), list.stale(late)), (0, true));

    let mut silent = reader(ListKind::Tools);
    silent.page(&tools(&["a"], "")).unwrap();
    let list = silent.finish(fetched, false).list;
    assert_eq!(
        (list.ttl_ms, list.private, list.stale(late)),
        (None, true, false)
    );
    assert!(list.stale(fetched + std::time::Duration::from_millis(SILENT_LIST_MS)));
}

#[test]
fn an_error_is_told_as_such() {
    let error = Message::parse(
        Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#),
        &Limits::default(),
    );
    let refused = reader(ListKind::Tools).page(&error.unwrap());
    assert_eq!(
        refused,
        Err(ListError::Refused {
            method: "tools/list",
            code: "-32601".into(),
            message: "no".into()
        })
    );
    assert_eq!(
        reader(ListKind::Tools).page(&answer("{}")),
        Err(ListError::NoList("tools/list"))
    );
    assert_eq!(
        reader(ListKind::Tools).page(&answer(r#"{"tools":{}}"#)),
        Err(ListError::NoList("tools/list"))
    );
}

proptest! {
    /// Whatever the page size, the whole list comes out in order.
    #[test]
    fn pages_join(count in 0_usize..200, size in 1_usize..60) {
        let names: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut reader = reader(ListKind::Tools);
        let pages: Vec<&[&str]> = if names.is_empty() { vec![&[]] } else { names.chunks(size).collect() };
        for (number, page) in pages.iter().enumerate() {
            let last = number + 1 == pages.len();
            let rest = if last { String::new() } else { format!(r#","nextCursor":"{number}""#) };
            prop_assert_eq!(reader.page(&tools(page, &rest)).unwrap() == Next::Done, last);
        }
        let keys: Vec<String> = reader.finish(Instant::now(), true).list.items.into_iter().map(|item| item.key).collect();
        prop_assert_eq!(keys, names);
    }
}
