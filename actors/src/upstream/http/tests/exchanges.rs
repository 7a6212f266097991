//! Requests, answers and what becomes of the connections.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::*;

#[test]
fn writes_the_head_it_should() {
    on_one_thread(async {
        let (target, seen) = serve(vec![ok("")]).await;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("mcp-method", "ping"),
            ("host", "evil.test"),
            ("accept-encoding", "gzip"),
            ("content-length", "99"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let client = client();
        for body in ["{\"a\":1}", ""] {
            let answer = client.send(&target, Method::POST, headers.clone(), Bytes::from(body));
            answer.await.unwrap().bytes(CAP).await.unwrap();
        }
        let address = format!("127.0.0.1:{}", target.port());
        let expected = |length: usize, body: &str| {
            let mut lines = vec![
                "mcp-method: ping".to_owned(),
                format!("host: {address}"),
                format!("content-length: {length}"),
            ];
            lines.sort();
            (lines, body.to_owned())
        };
        let seen = seen.0.borrow();
        for (request, expected) in seen[0]
            .iter()
            .zip([expected(7, "{\"a\":1}"), expected(0, "")])
        {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let (line, fields) = head.split_once("\r\n").unwrap();
            assert_eq!(line, "POST /mcp?x=1 HTTP/1.1");
            let mut fields: Vec<String> = fields.lines().map(str::to_owned).collect();
            fields.sort();
            assert_eq!((fields, body.to_owned()), expected);
        }
        assert_eq!(seen[0].len(), 2);
    });
}

#[test]
fn keeps_connections_alive() {
    on_one_thread(async {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let (target, seen) = serve(vec![
            ok("abcde"),
            answer(chunked),
            answer("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"),
            ok("abcde"),
        ])
        .await;
        let client = client();
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "abcde");
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "abcde");
        // An answer without a body needs not be read.
        assert_eq!(post(&client, &target).await.unwrap().status, 202);
        for _ in 0..50 {
            assert_eq!(post_and_read(&client, &target).await.unwrap(), "abcde");
        }
        assert_eq!(seen.requests(), [53]);
        assert_eq!(client.idle_connections(), 1);
        // Two at once need two; both are kept.
        let (one, two) = tokio::join!(post(&client, &target), post(&client, &target));
        one.unwrap().bytes(CAP).await.unwrap();
        two.unwrap().bytes(CAP).await.unwrap();
        assert_eq!(client.idle_connections(), 2);
        assert_eq!(seen.requests(), [54, 1]);
    });
}

#[test]
fn replaces_a_connection_that_was_closed_while_idle() {
    on_one_thread(async {
        let (target, seen) = serve(vec![
            answer_and_close("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"),
            ok("b"),
        ])
        .await;
        let client = client();
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "a");
        seen.closed(0).await;
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "b");
        assert_eq!(seen.requests(), [1, 1]);
    });
}

#[test]
fn does_not_repeat_what_was_written() {
    on_one_thread(async {
        let (target, seen) = serve(vec![ok("a"), answer_and_close(""), ok("b")]).await;
        let client = client();
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "a");
        assert_eq!(fails(&client, &target).await, (HttpErrorKind::Closed, true));
        assert_eq!(seen.requests(), [2]);
    });
}

#[test]
fn tells_how_it_failed() {
    on_one_thread(async {
        use HttpErrorKind::*;
        let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
        let long_header = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(200_000));
        let long_body = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", CAP + 1);
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(CAP + 1));
        let client = client();
        for (text, kind) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", Protocol),
            (
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
                Protocol,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx",
                Protocol,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Closed),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
                Closed,
            ),
            (&*many_headers, TooLarge),
            (&*long_header, TooLarge),
            (&*long_body, TooLarge),
            (&*endless, TooLarge),
        ] {
            let (target, seen) = serve(vec![answer_and_close(text)]).await;
            let shown: String = text.chars().take(60).collect();
            assert_eq!(fails(&client, &target).await, (kind, true), "{shown}");
            seen.closed(0).await;
        }
        assert_eq!(client.idle_connections(), 0);
    });
}

#[test]
fn connects_only_where_it_may_and_in_time() {
    on_one_thread(async {
        let (listener, gone) = listen().await;
        drop(listener);
        assert_eq!(
            fails(&client(), &gone).await,
            (HttpErrorKind::Connect, false)
        );

        let (target, seen) = serve(vec![ok("a")]).await;
        let foreign = target.clone().under(AddressRule::Public);
        assert_eq!(
            fails(&client(), &foreign).await,
            (HttpErrorKind::Refused, false)
        );
        assert_eq!(seen.requests(), [0usize; 0]);

        // A listener that accepts and never shakes hands.
        let (_listener, silent) = listen().await;
        let silent = HttpTarget::parse(&format!("https://127.0.0.1:{}/", silent.port())).unwrap();
        let hasty = HttpClient::new(HttpClientConfig {
            tls: Some(TlsTrust::only(include_bytes!("../testdata/ca.pem")).unwrap()),
            connect_timeout: Duration::from_millis(50),
            ..HttpClientConfig::default()
        });
        assert_eq!(
            fails(&hasty, &silent).await,
            (HttpErrorKind::Timeout, false)
        );
    });
}

#[test]
fn reads_events_and_keeps_the_connection() {
    on_one_thread(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
        let first = "data: {\"a\":1}\n\ndata: {\"b\"";
        let second = ":2}\n\n";
        let body = format!(
            "{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        );
        let (target, seen) = serve(vec![answer(&format!("{head}{body}"))]).await;
        let client = client();
        for _ in 0..2 {
            let answer = post(&client, &target).await.unwrap();
            assert!(answer.is_event_stream());
            let mut events = answer.events(CAP);
            assert_eq!(events.next().await.unwrap().unwrap().data, "{\"a\":1}");
            assert_eq!(events.next().await.unwrap().unwrap().data, "{\"b\":2}");
            assert!(events.next().await.is_none());
            assert!(events.next().await.is_none());
        }
        assert_eq!(seen.requests(), [2]);
    });
}

#[test]
fn dropping_closes_the_connection() {
    on_one_thread(async {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let stream = format!("{head}9\r\ndata: a\n\n\r\n");
        let (target, seen) = serve(vec![
            answer(&stream),
            answer(&stream),
            answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"),
            answer(""),
        ])
        .await;
        let client = client();
        let mut events = post(&client, &target).await.unwrap().events(CAP);
        assert_eq!(events.next().await.unwrap().unwrap().data, "a");
        drop(events);
        seen.closed(0).await;

        drop(post(&client, &target).await.unwrap());
        seen.closed(1).await;

        drop(post(&client, &target).await.unwrap());
        seen.closed(2).await;

        // Nobody waits for the head any more.
        let hasty = tokio::time::timeout(Duration::from_millis(50), post(&client, &target)).await;
        assert!(hasty.is_err());
        seen.closed(3).await;
        assert_eq!(client.idle_connections(), 0);
        assert_eq!(seen.requests(), [1, 1, 1, 1]);
    });
}

#[test]
fn an_event_that_is_too_long_ends_the_stream() {
    on_one_thread(async {
        let text = format!("HTTP/1.1 200 OK\r\n\r\ndata: {}", "x".repeat(200));
        let (target, seen) = serve(vec![answer(&text)]).await;
        let mut events = post(&client(), &target).await.unwrap().events(100);
        let error = events.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::TooLarge);
        assert!(events.next().await.is_none());
        seen.closed(0).await;
    });
}

#[test]
fn closes_what_is_idle_too_long_or_too_many() {
    on_one_thread(async {
        let (target, seen) = serve(vec![ok("a")]).await;
        let client = HttpClient::new(HttpClientConfig {
            idle_timeout: Duration::from_millis(100),
            max_idle: 1,
            ..HttpClientConfig::default()
        });
        let (one, two) = tokio::join!(post(&client, &target), post(&client, &target));
        one.unwrap().bytes(CAP).await.unwrap();
        two.unwrap().bytes(CAP).await.unwrap();
        assert_eq!(client.idle_connections(), 1);
        seen.closed(1).await;
        seen.closed(0).await;
        assert_eq!(client.idle_connections(), 0);
    });
}

#[test]
fn an_answer_that_comes_before_the_request_has_ended_is_heard() {
    on_one_thread(async {
        let (listener, target) = listen().await;
        let (heard, done) = tokio::sync::oneshot::channel::<()>();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = vec![0; 1000];
            stream.read_exact(&mut some).await.unwrap();
            let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig";
            stream.write_all(refusal).await.unwrap();
            // It reads no further, and stays open until the refusal was heard.
            let _ = done.await;
        });
        let client = client();
        let body = Bytes::from(vec![b'x'; 64 << 20]);
        let answer = client.send(&target, Method::POST, HeaderMap::new(), body);
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 413);
        assert_eq!(answer.bytes(CAP).await.unwrap(), "big");
        assert_eq!(client.idle_connections(), 0);
        heard.send(()).unwrap();
    });
}

#[test]
fn what_nobody_asked_for_ends_a_connection() {
    on_one_thread(async {
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb";
        let (target, seen) = serve(vec![answer(two), ok("c")]).await;
        let client = client();
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "a");
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "c");
        assert_eq!(seen.requests(), [1, 1]);

        // The same, but it comes while the connection is idle.
        let client = self::client();
        let (listener, target) = listen().await;
        let (said, late) = tokio::sync::oneshot::channel::<()>();
        tokio::task::spawn_local(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            read_request(&mut first).await.unwrap();
            first.write_all(&ok("a").answer).await.unwrap();
            late.await.unwrap();
            first.write_all(&ok("stray").answer).await.unwrap();
            let (mut second, _) = listener.accept().await.unwrap();
            read_request(&mut second).await.unwrap();
            second.write_all(&ok("b").answer).await.unwrap();
        });
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "a");
        said.send(()).unwrap();
        while client.idle_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "b");
    });
}

#[test]
fn idle_connections_that_the_upstream_closes_are_closed() {
    on_one_thread(async {
        let (target, seen) = serve(vec![answer_and_close(
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
        )])
        .await;
        let client = client();
        assert_eq!(post_and_read(&client, &target).await.unwrap(), "a");
        seen.closed(0).await;
        // The client would keep it for 30 s; the story is given up before.
        while client.idle_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn large_answers_come_whole_however_they_are_framed() {
    on_one_thread(async {
        let body = "0123456789abcdef".repeat(CAP / 16);
        let chunked = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        let until_closed = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        let (target, seen) = serve(vec![
            ok(&body),
            answer(&chunked),
            answer_and_close(&until_closed),
        ])
        .await;
        let client = client();
        for _ in 0..3 {
            assert!(post_and_read(&client, &target).await.unwrap() == body);
        }
        assert_eq!(seen.requests(), [3]);
    });
}
