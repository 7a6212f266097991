//! The heads of HTTP/1.1 messages (RFC 9112): the request's is written, the answer's is read.

use std::io::Write;
use std::mem::MaybeUninit;

use bytes::{BufMut, BytesMut};
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    LOCATION, RETRY_AFTER, TE, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Response, Status};

use super::error::{HttpError, HttpErrorKind};
use super::framing::Framing;
use super::target::HttpTarget;

/// The longest head of an answer, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 128 * 1024;

/// The most header lines of an answer.
const MAX_HEADERS: usize = 100;

/// Headers that belong to a connection: they are this client's business, never the caller's.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    UPGRADE,
    TE,
    EXPECT,
    ACCEPT_ENCODING,
];

/// Headers of an answer that mean something to the gateway; the others are read over.
const OF_THE_ANSWER: [HeaderName; 6] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    HeaderName::from_static("mcp-session-id"),
    RETRY_AFTER,
    WWW_AUTHENTICATE,
    LOCATION,
];

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// The connection may be used again after the body.
    pub(super) keep_alive: bool,
}

/// Writes the head of a request with a body of `length` bytes.
pub(super) fn write(
    out: &mut BytesMut,
    target: &HttpTarget,
    method: &Method,
    headers: &HeaderMap,
    length: usize,
) {
    let line = |out: &mut BytesMut, name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            out.put_slice(part);
        }
    };
    for part in [method.as_str(), " ", target.path(), " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    line(out, b"host", target.authority().as_bytes());
    for (name, value) in headers {
        if !OF_THE_CONNECTION.contains(name) {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if length > 0 || method == Method::POST {
        // Writing into memory does not fail.
        let _ = write!(out.writer(), "content-length: {length}\r\n");
    }
    out.put_slice(b"\r\n");
}

/// Takes the head of an answer from the front of `buffer`; nothing if it is not whole yet. Interim answers (1xx) are
/// skipped.
pub(super) fn read(buffer: &mut BytesMut) -> Result<Option<AnswerHead>, HttpError> {
    loop {
        let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
        let mut response = Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            buffer,
            &mut room,
        );
        let length = match parsed {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) if buffer.len() < MAX_HEAD_BYTES => return Ok(None),
            Ok(Status::Partial) => return Err(too_large("the head has no end")),
            Err(httparse::Error::TooManyHeaders) => return Err(too_large("too many headers")),
            Err(error) => return Err(unusable(error)),
        };
        let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(unusable)?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(unusable("the upstream switched protocols"));
        }
        if status.is_informational() {
            let _ = buffer.split_to(length);
            continue;
        }
        let head = understand(status, response.version, response.headers)?;
        let _ = buffer.split_to(length);
        return Ok(Some(head));
    }
}

fn understand(
    status: StatusCode,
    version: Option<u8>,
    lines: &[Header<'_>],
) -> Result<AnswerHead, HttpError> {
    let mut headers = HeaderMap::new();
    let mut length = None;
    let mut coding = None;
    let mut keep_alive = version == Some(1);
    for Header { name, value } in lines.iter().filter(|line| **line != EMPTY_HEADER) {
        let is = |wanted: &HeaderName| name.eq_ignore_ascii_case(wanted.as_str());
        if is(&CONTENT_LENGTH) {
            let announced =
                content_length(value).ok_or_else(|| unusable("malformed Content-Length"))?;
            if length.is_some_and(|length| length != announced) {
                return Err(unusable("two different Content-Lengths"));
            }
            length = Some(announced);
        } else if is(&TRANSFER_ENCODING) {
            if coding.replace(*value).is_some() {
                return Err(unusable("two Transfer-Encodings"));
            }
        } else if is(&CONNECTION) {
            keep_alive = match token(value, b"close") {
                true => false,
                false => keep_alive || token(value, b"keep-alive"),
            };
        } else if let Some(name) = OF_THE_ANSWER.iter().find(|wanted| is(wanted)) {
            headers.append(name, HeaderValue::from_bytes(value).map_err(unusable)?);
        }
    }
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = match (coding, length) {
        _ if is_bodiless => Framing::Length(0),
        // What is framed in two ways can be read in two ways (RFC 9112, section 6.3).
        (Some(_), Some(_)) => return Err(unusable("both Content-Length and Transfer-Encoding")),
        (Some(coding), None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            Framing::chunked()
        }
        (Some(_), None) => return Err(unusable("a Transfer-Encoding that is not chunked")),
        (None, Some(length)) => Framing::Length(length),
        (None, None) => {
            keep_alive = false;
            Framing::UntilClosed
        }
    };
    Ok(AnswerHead {
        status,
        headers,
        framing,
        keep_alive,
    })
}

/// The value of a `Content-Length`: digits only.
fn content_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Whether a list of tokens has this one.
fn token(list: &[u8], wanted: &[u8]) -> bool {
    list.split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
}

pub(super) fn unusable(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HttpError {
    HttpError::because(HttpErrorKind::Protocol, true, reason)
}

fn too_large(reason: &'static str) -> HttpError {
    HttpError::because(HttpErrorKind::TooLarge, true, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<AnswerHead>, HttpErrorKind> {
        read(&mut BytesMut::from(text)).map_err(|error| error.kind)
    }

    #[test]
    fn how_the_body_ends() {
        let chunked = Framing::chunked();
        for (lines, framing, keep_alive) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n",
                Framing::Length(7),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-length:  7\r\n",
                Framing::Length(7),
                true,
            ),
            (
                "HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n",
                chunked.clone(),
                true,
            ),
            ("HTTP/1.1 200 OK\r\n", Framing::UntilClosed, false),
            ("HTTP/1.1 204 No Content\r\n", Framing::Length(0), true),
            (
                "HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 1\r\n",
                Framing::Length(1),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: x, close\r\ntransfer-encoding: chunked\r\n",
                chunked,
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n",
                Framing::Length(1),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n",
                Framing::Length(1),
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n",
                Framing::Length(3),
                true,
            ),
        ] {
            let head = head(&format!("{lines}\r\n")).unwrap().unwrap();
            assert_eq!(
                (head.framing, head.keep_alive),
                (framing, keep_alive),
                "{lines}"
            );
        }
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways_are_refused() {
        for lines in [
            "content-length: 1\r\ncontent-length: 2",
            "content-length: 1\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: xchunked",
            "content-length: +1",
            "content-length: -1",
            "content-length: 1, 1",
            "content-length: ",
            "content-length: 99999999999999999999",
            "content-length : 1",
            " folded: 1",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
            assert_eq!(head(&text).unwrap_err(), HttpErrorKind::Protocol, "{lines}");
        }
    }

    #[test]
    fn a_head_in_pieces_waits_for_its_end() {
        let text = "HTTP/1.1 404 Not Found\r\nMcp-Session-Id: a\r\nX-Other: b\r\ncontent-length: 0\r\n\r\n";
        for end in 0..text.len() {
            assert!(head(text.get(..end).unwrap()).unwrap().is_none(), "{end}");
        }
        let head = head(text).unwrap().unwrap();
        assert_eq!(head.status, 404);
        assert_eq!(head.headers.len(), 1);
        assert_eq!(head.headers["mcp-session-id"], "a");
    }
}
