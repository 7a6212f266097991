//! Prints what it costs to read, classify and edit messages: `cargo run --release --example scan_cost`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program to look at numbers with"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use weir_plugin_protocol::jsonrpc::{Field, Limits, Message, array_items, member, parse};
use weir_plugin_protocol::mcp::{Class, HttpMethod, Offered, Values, WireHeaders, classify};

fn main() {
    let call = call();
    let list = list();
    let result = Bytes::from_static(
        br#"{"jsonrpc":"2.0","id":"w1f3-17","result":{"content":[{"type":"text","text":"It is 7 C and raining."}],"isError":false}}"#,
    );
    let limits = Limits::default();

    for (name, body) in [
        ("tools/call request", &call),
        ("small result", &result),
        ("tools/list result", &list),
    ] {
        let nanoseconds =
            median(|| Message::parse(black_box(body).clone(), &limits).expect("a message"));
        println!(
            "parse    {:>6} bytes {nanoseconds:>7} ns  {name}",
            body.len()
        );
    }

    let headers = WireHeaders {
        protocol_version: Values::One(b"2026-07-28"),
        method: Values::One(b"tools/call"),
        name: Values::One(b"get_weather"),
        session_id: Values::Absent,
    };
    let offered = Offered {
        modern: true,
        legacy: true,
    };
    let nanoseconds = median(|| {
        classify(
            HttpMethod::Post,
            &headers,
            parse(black_box(&call).clone(), &limits),
            offered,
        )
    });
    println!("parse and classify        {nanoseconds:>4} ns  tools/call request");
    assert!(matches!(
        classify(
            HttpMethod::Post,
            &headers,
            parse(call.clone(), &limits),
            offered
        ),
        Class::Modern(_)
    ));

    let message = Message::parse(call, &limits).expect("a message");
    let edit = || {
        let edits = message
            .rewrite()
            .set(Field::Id, "\"w1f3-17\"")
            .set(Field::Name, "\"weather\"");
        edits
            .set(
                Field::MetaTraceparent,
                "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"",
            )
            .finish()
    };
    println!(
        "two edits and an insert   {:>4} ns  tools/call request",
        median(edit)
    );

    let list = Message::parse(list, &limits).expect("a message");
    let tools = member(list.field(Field::Result).expect("a result"), "tools").expect("tools");
    println!(
        "walk {} tools          {:>7} ns  tools/list result",
        array_items(tools).count(),
        median(|| array_items(black_box(tools)).count())
    );
}

/// The middle of seven measurements, in nanoseconds for one run.
fn median<T>(run: impl Fn() -> T) -> u128 {
    const RUNS: u32 = 20_000;
    let mut times: Vec<u128> = (0..7)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..RUNS {
                black_box(run());
            }
            start.elapsed().as_nanos() / u128::from(RUNS)
        })
        .collect();
    times.sort_unstable();
    times.get(3).copied().unwrap_or_default()
}

/// A call of 382 bytes with everything a modern client sends.
fn call() -> Bytes {
    let text = r#"{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"progressToken":"p-1"},"name":"get_weather","arguments":{"city":"Reykjavik","days":3,"units":"metric","tags":["a","b"],"x":"PAD"}}}"#;
    let padding = 382_usize.saturating_sub(text.len() - "PAD".len());
    Bytes::from(text.replace("PAD", &"x".repeat(padding)))
}

/// A list of 40 tools, about 23 kB.
fn list() -> Bytes {
    let tool = r#"{"name":"tool_NN","title":"Tool number NN","description":"Looks something up in the register of things and gives back \"what\" it found, with enough text to be like a real description.","inputSchema":{"type":"object","properties":{"query":{"type":"string","description":"What to look for","minLength":1},"limit":{"type":"integer","minimum":1,"maximum":100,"default":10},"filters":{"type":"array","items":{"type":"string","enum":["new","old","any"]}}},"required":["query"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"#;
    let tools: Vec<String> = (10..50)
        .map(|number| tool.replace("NN", &number.to_string()))
        .collect();
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"resultType":"complete","tools":[{}],"ttlMs":300000,"cacheScope":"public"}}}}"#,
        tools.join(",")
    ))
}
