//! One `tools/call`: written once as bytes, sent with another id each time, its answer checked.

use memchr::memmem;
use serde_json::json;
use serde_json::value::RawValue;

use crate::failure::Failure;
use crate::message::{Era, post};
use crate::target::Target;
use crate::wire::Received;

/// Digits of an id. Ids are JSON strings of one length, so that the next one can be written over the last.
const ID_DIGITS: usize = 12;

/// What a call says.
#[derive(Clone, Debug)]
pub(crate) struct CallText {
    pub(crate) era: Era,
    pub(crate) tool: String,
    /// Bytes of the message, besides the mark.
    pub(crate) message_bytes: usize,
    /// A text without characters that JSON escapes, put in front of the message together with the id. The answer has to
    /// contain both: who gets somebody else's answer notices.
    pub(crate) mark: Option<String>,
}

/// A request ready to be sent.
pub(crate) struct Call {
    bytes: Vec<u8>,
    /// Where in `bytes` the id's digits are: in the envelope, and in the message if that is marked.
    digits_at: Vec<usize>,
    id: [u8; ID_DIGITS],
    /// `MARK:` and the id's digits.
    mark: Option<Vec<u8>>,
}

#[derive(serde::Deserialize)]
struct Answer<'a> {
    id: Option<&'a str>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<AnswerError>,
}

#[derive(serde::Deserialize)]
struct AnswerError {
    code: i64,
}

// === impl Call ===

impl Call {
    /// A call with its headers, each as `Name: value`.
    pub(crate) fn new(target: &Target, text: &CallText, headers: &[String]) -> Self {
        let id = [b'0'; ID_DIGITS];
        let id_text = String::from_utf8_lossy(&id);
        let filling = "x".repeat(text.message_bytes);
        let mark = text.mark.as_ref().map(|mark| format!("{mark}:{id_text}"));
        let message = match &mark {
            Some(mark) => format!("{mark}:{filling}"),
            None => filling,
        };
        let mut params = json!({ "name": text.tool, "arguments": { "message": message } });
        let mut own = Vec::new();
        if let (Era::Modern, Some(members)) = (text.era, params.as_object_mut()) {
            members.insert("_meta".to_owned(), text.era.meta());
            own.push("Mcp-Method: tools/call".to_owned());
            own.push(format!("Mcp-Name: {}", text.tool));
        }
        own.push(format!("MCP-Protocol-Version: {}", text.era.version()));
        own.extend_from_slice(headers);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"{id_text}","method":"tools/call","params":{params}}}"#
        );
        let bytes = post(target, &own, &body);
        let mut digits_at = vec![bytes.len() - body.len() + r#"{"jsonrpc":"2.0","id":""#.len()];
        if let Some(mark) = &mark
            && let Some(at) = memmem::find(&bytes, mark.as_bytes())
        {
            digits_at.push(at + mark.len() - ID_DIGITS);
        }
        Self {
            bytes,
            digits_at,
            id,
            mark: mark.map(String::into_bytes),
        }
    }

    /// The request with the next id.
    pub(crate) fn next(&mut self) -> &[u8] {
        for digit in self.id.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
        for at in &self.digits_at {
            if let Some(place) = self.bytes.get_mut(*at..*at + ID_DIGITS) {
                place.copy_from_slice(&self.id);
            }
        }
        if let Some(place) = self
            .mark
            .as_mut()
            .and_then(|mark| mark.last_chunk_mut::<ID_DIGITS>())
        {
            *place = self.id;
        }
        &self.bytes
    }

    /// Whether this is a good answer to the request sent last.
    pub(crate) fn check(&self, received: &Received) -> Result<(), Failure> {
        let status = received.status().unwrap_or_default();
        let streamed = received
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let body = std::str::from_utf8(&received.body).map_err(|_| Failure::WrongAnswer)?;
        let message = if streamed { last_event(body) } else { body };
        let Ok(answer) = serde_json::from_str::<Answer<'_>>(message) else {
            return Err(if status == 200 {
                Failure::WrongAnswer
            } else {
                Failure::Status(status)
            });
        };
        if let Some(error) = answer.error {
            return Err(Failure::Error(error.code));
        }
        if status != 200 {
            return Err(Failure::Status(status));
        }
        let Some(result) = answer.result else {
            return Err(Failure::WrongAnswer);
        };
        if answer.id.map(str::as_bytes) != Some(&self.id) {
            return Err(Failure::Misrouted);
        }
        let result = result.get().as_bytes();
        if memmem::find(result, br#""isError":true"#).is_some() {
            return Err(Failure::ToolError);
        }
        match &self.mark {
            Some(mark) if memmem::find(result, mark).is_none() => Err(Failure::Misrouted),
            _ => Ok(()),
        }
    }
}

fn last_event(stream: &str) -> &str {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .next_back()
        .unwrap_or_default()
        .trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn call(mark: Option<&str>) -> Call {
        let text = CallText {
            era: Era::Modern,
            tool: "echo".to_owned(),
            message_bytes: 4,
            mark: mark.map(str::to_owned),
        };
        let target = "http://127.0.0.1:1/mcp".parse().unwrap();
        Call::new(&target, &text, &["X: y".to_owned()])
    }

    fn message(request: &[u8]) -> Value {
        let text = std::str::from_utf8(request).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn ids_are_written_over_each_other() {
        let mut call = call(None);
        let first = String::from_utf8(call.next().to_vec()).unwrap();
        assert!(first.contains(r#""id":"000000000001""#), "{first}");
        for _ in 0..9 {
            call.next();
        }
        let text = String::from_utf8(call.next().to_vec()).unwrap();
        assert!(text.contains(r#""id":"000000000011""#), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len()))
                && head.contains("\r\nX: y\r\n"),
            "{head}"
        );
        assert_eq!(
            message(text.as_bytes())["params"]["arguments"]["message"],
            "xxxx"
        );
    }

    #[test]
    fn a_mark_is_sent_and_looked_for() {
        let mut call = call(Some("tenant-7"));
        call.next();
        let sent = message(call.next());
        assert_eq!(
            sent["params"]["arguments"]["message"],
            "tenant-7:000000000002:xxxx"
        );
        let answer = |id: &str, text: &str| {
            let body = json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": text }] } });
            Received::new("HTTP/1.1 200 OK\r\n\r\n", &body.to_string())
        };
        let own = answer("000000000002", "tenant-7:000000000002:xxxx");
        assert_eq!(call.check(&own), Ok(()));
        for other in [
            answer("000000000002", "tenant-8:000000000002:xxxx"),
            answer("000000000002", "tenant-7:000000000001:xxxx"),
            answer("000000000001", "tenant-7:000000000002:xxxx"),
        ] {
            assert_eq!(call.check(&other), Err(Failure::Misrouted));
        }
    }
}
