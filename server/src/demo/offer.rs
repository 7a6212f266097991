//! What the demo offers: lists as MCP shows them, and what reading or calling them gives.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::reply::text_result;

/// The members of `tools/list`.
pub(super) fn tools() -> Value {
    json!([
        {
            "name": "echo",
            "title": "Echo",
            "description": "Returns the text that it is given.",
            "inputSchema": {
                "type": "object",
                "properties": { "text": { "type": "string", "description": "Any text." } },
                "required": ["text"],
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        },
        {
            "name": "add",
            "title": "Add",
            "description": "Adds two numbers.",
            "inputSchema": {
                "type": "object",
                "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
                "required": ["a", "b"],
            },
            "outputSchema": {
                "type": "object",
                "properties": { "sum": { "type": "number" } },
                "required": ["sum"],
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        },
        {
            "name": "slow_count",
            "title": "Count slowly",
            "description": "Counts from 1 to `to` and reports each step as progress. Can be cancelled.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "to": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 5 },
                    "delay_ms": { "type": "integer", "minimum": 0, "maximum": 10_000, "default": 200 },
                },
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        },
        {
            "name": "now",
            "title": "Now",
            "description": "Returns the time of day in UTC.",
            "inputSchema": { "type": "object" },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        },
    ])
}

/// The members of `prompts/list`.
pub(super) fn prompts() -> Value {
    json!([{
        "name": "greeting",
        "title": "Greeting",
        "description": "Asks for a friendly greeting.",
        "arguments": [{ "name": "name", "description": "Who is greeted.", "required": true }],
    }])
}

/// The members of `resources/list`.
pub(super) fn resources() -> Value {
    json!([{
        "uri": "demo://about",
        "name": "about",
        "title": "About the demo",
        "description": "What this server is.",
        "mimeType": "text/plain",
    }])
}

/// The members of `resources/templates/list`.
pub(super) fn templates() -> Value {
    json!([{
        "uriTemplate": "demo://square/{number}",
        "name": "square",
        "title": "Square",
        "description": "The square of a whole number.",
        "mimeType": "text/plain",
    }])
}

/// Runs a tool that answers at once: the result, or what is wrong with the call.
pub(super) fn call(name: &str, arguments: &Value) -> Result<Value, String> {
    match name {
        "echo" => {
            let text = arguments
                .get("text")
                .and_then(Value::as_str)
                .ok_or("`text` must be a text")?;
            Ok(text_result(text))
        }
        "add" => {
            let number = |key: &str| {
                arguments
                    .get(key)
                    .and_then(Value::as_f64)
                    .ok_or_else(|| format!("`{key}` must be a number"))
            };
            let sum = number("a")? + number("b")?;
            let mut result = text_result(&sum.to_string());
            if let Some(result) = result.as_object_mut() {
                result.insert("structuredContent".to_owned(), json!({ "sum": sum }));
            }
            Ok(result)
        }
        "now" => Ok(text_result(&now())),
        _ => Err(format!("unknown tool: {name}")),
    }
}

/// The result of `prompts/get`, if there is such a prompt.
pub(super) fn prompt(name: &str, arguments: &Value) -> Result<Value, String> {
    if name != "greeting" {
        return Err(format!("unknown prompt: {name}"));
    }
    let who = arguments
        .get("name")
        .and_then(Value::as_str)
        .ok_or("`name` is missing")?;
    let text = format!("Write a short and friendly greeting for {who}.");
    Ok(json!({
        "description": "Asks for a friendly greeting.",
        "messages": [{ "role": "user", "content": { "type": "text", "text": text } }],
    }))
}

/// The result of `resources/read`, if there is such a resource.
pub(super) fn resource(uri: &str) -> Option<Value> {
    let text = match uri.strip_prefix("demo://square/") {
        Some(number) => number
            .parse::<i64>()
            .ok()?
            .checked_mul(number.parse().ok()?)?
            .to_string(),
        None if uri == "demo://about" => {
            "This is the demo server that is built into weir.".to_owned()
        }
        None => return None,
    };
    Some(json!({ "contents": [{ "uri": uri, "mimeType": "text/plain", "text": text }] }))
}

/// The time of day, RFC 3339, in whole seconds.
fn now() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The Gregorian date of a number of days after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut rest = days % 146_097;
    let mut year = 1970 + days / 146_097 * 400;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if rest < length {
            break;
        }
        rest -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_777), (2026, 11, 20));
    }

    #[test]
    fn squares_do_not_overflow() {
        assert!(resource("demo://square/7").is_some());
        assert!(resource("demo://square/9223372036854775807").is_none());
        assert!(resource("demo://square/x").is_none());
    }
}
