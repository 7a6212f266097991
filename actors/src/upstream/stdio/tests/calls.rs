//! What becomes of calls and messages while the process lives.

use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_plugin_protocol::jsonrpc::{Field, Kind};

use super::*;

#[test]
fn answers_find_their_calls() {
    on_one_thread(async {
        let server = Server::start(python(&[])).await;
        let mut calls = Vec::new();
        for number in 0..50 {
            let pretty = format!("{{\r\n\"number\":\n{number}}}");
            calls.push(server.begin("hold", &pretty).await);
        }
        assert_eq!(server.link.in_flight(), 50);
        let release = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"release"}"#);
        server.link.send(release).await.unwrap();
        for (number, call) in calls.iter_mut().enumerate() {
            let answer = call.next().await.unwrap().unwrap();
            assert_eq!(
                answer.field(Field::Result).unwrap(),
                format!("{{\"number\": {number}}}")
            );
            assert!(call.next().await.is_none());
        }
        assert_eq!(server.link.in_flight(), 0);
        assert_eq!(
            server.link.counts(),
            StdioCounts {
                starts: 1,
                ..StdioCounts::default()
            }
        );
        let took = server.stop().await;
        assert!(
            took < Duration::from_secs(1),
            "it ends with its input: {took:?}"
        );
    });
}

#[test]
fn progress_goes_to_its_call() {
    on_one_thread(async {
        let mut server = Server::start(python(&[])).await;
        let mut call = server.begin("progress", r#"{"steps":2}"#).await;
        for step in ["0", "1"] {
            let progress = call.next().await.unwrap().unwrap();
            assert_eq!(progress.method(), "notifications/progress");
            assert!(
                progress
                    .field(Field::Params)
                    .unwrap()
                    .contains(&format!("\"progress\": {step}"))
            );
        }
        assert_eq!(call.next().await.unwrap().unwrap().kind(), Kind::Result);
        assert!(call.next().await.is_none());
        for _ in 0..2 {
            let foreign = server.unsolicited.recv().await.unwrap();
            assert_eq!(
                foreign.message.text(Field::ProgressToken).unwrap(),
                "someone else's"
            );
        }

        // A caller that does not look gets its answer all the same.
        let mut call = server.begin("progress", r#"{"steps":500}"#).await;
        server.call("echo", "{}").await.unwrap();
        let mut seen = 0;
        while call.next().await.unwrap().unwrap().kind() == Kind::Notification {
            seen += 1;
        }
        assert_eq!(seen, 64);
        assert_eq!(server.link.counts().dropped_progress, 436);
        server.stop().await;
    });
}

#[test]
fn a_dropped_call_is_cancelled() {
    on_one_thread(async {
        let server = Server::start(python(&[])).await;
        let call = server.begin("hold", "{}").await;
        server.call("echo", "{}").await.unwrap();
        drop(call);
        let received = server.call("received", "{}").await.unwrap();
        let cancelled = r#"[{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "w"#;
        assert!(received.starts_with(cancelled), "{received}");
        let release = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"release"}"#);
        server.link.send(release).await.unwrap();
        assert_eq!(server.call("twice", "{}").await.unwrap(), "1");
        server.call("echo", "{}").await.unwrap();
        assert_eq!(server.link.counts().late_answers, 2);
        assert_eq!(server.link.in_flight(), 0);
        server.stop().await;
    });
}

#[test]
fn a_call_that_was_not_written_is_never_written() {
    on_one_thread(async {
        // Reads nothing until it is told by a signal, so the pipe fills.
        let spec = shell("trap 'exec cat' USR1; while :; do sleep 0.02; done");
        let server = Server::start(spec).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stuffing = format!("\"{}\"", "x".repeat(400_000));
        let mut first = server.begin("stuffing", &stuffing).await;
        let forgotten = server.begin("forgotten", "{}").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(forgotten);
        let mut queued = server.begin("queued", "{}").await;
        kill_9(server.pid);
        let died = |retryable| Some(LinkError::Died { retryable });
        assert_eq!(first.next().await.unwrap().err(), died(false));
        assert_eq!(queued.next().await.unwrap().err(), died(true));
        server.run.await.unwrap().unwrap_err();
    });
}

#[test]
fn a_server_that_does_not_read_makes_busy() {
    on_one_thread(async {
        let mut spec = shell("exec sleep 60");
        spec.max_in_flight = 4;
        spec.stop_grace = Duration::from_millis(100);
        let server = Server::start(spec).await;
        let mut calls = Vec::new();
        for _ in 0..4 {
            calls.push(server.begin("x", "{}").await);
        }
        let before = Instant::now();
        let refused = begin(&server.link, "x", "{}", None).await;
        assert_eq!(refused.err(), Some(LinkError::Busy));
        assert!(before.elapsed() >= Duration::from_millis(100));
        calls.pop();
        begin(&server.link, "x", "{}", None).await.unwrap();
        server.stop().await;
        for mut call in calls {
            let outcome = call.next().await.unwrap();
            assert_eq!(outcome.err(), Some(LinkError::Died { retryable: false }));
        }
    });
}

#[test]
fn noise_is_counted_and_harms_nobody() {
    on_one_thread(async {
        let mut spec = python(&[]);
        spec.max_line = 100_000;
        let mut server = Server::start(spec).await;
        server.call("flood", "{}").await.unwrap();
        server.call("garbage", "{}").await.unwrap();
        assert_eq!(
            server.call("malformed", "{}").await,
            Err(LinkError::Malformed)
        );
        assert_eq!(
            server.call("huge", r#"{"bytes":300000}"#).await,
            Err(LinkError::TooLarge)
        );
        let long = format!("\"{}\"", "x".repeat(100_000));
        assert_eq!(
            begin(&server.link, "echo", &long, None).await.err(),
            Some(LinkError::TooLarge)
        );
        let mut batch = begin(&server.link, "batch", "{}", Some(7)).await.unwrap();
        assert_eq!(batch.next().await.unwrap().unwrap().kind(), Kind::Result);
        assert_eq!(
            server.unsolicited.recv().await.unwrap().message.method(),
            "notifications/message"
        );
        let counts = server.link.counts();
        assert_eq!((counts.malformed_lines, counts.oversized_lines), (5, 1));
        assert!(counts.unlogged_lines >= 200, "{counts:?}");
        server.stop().await;
    });
}

#[test]
fn what_belongs_to_no_call_is_handed_over_or_refused() {
    on_one_thread(async {
        let mut server = Server::start_closed(python(&[]), 2).await;
        server.link.open_gate(server.generation);
        let mut hers = begin(&server.link, "ask", "{}", Some(7)).await.unwrap();
        hers.next().await.unwrap().unwrap();
        for method in ["notifications/message", "roots/list"] {
            let unsolicited = server.unsolicited.recv().await.unwrap();
            assert_eq!(unsolicited.message.method(), method);
            assert_eq!(unsolicited.session, Some(SessionKey(7)));
            assert_eq!(unsolicited.generation, server.generation);
        }
        let _hers = begin(&server.link, "hold", "{}", Some(7)).await.unwrap();
        let mut his = begin(&server.link, "ask", "{}", Some(8)).await.unwrap();
        his.next().await.unwrap().unwrap();
        // Nobody takes these two, so the next two have no room.
        server.call("ask", "{}").await.unwrap();
        let received = server.call("received", "{}").await.unwrap();
        assert!(
            received.starts_with(r#"[{"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "#),
            "{received}"
        );
        let counts = server.link.counts();
        assert_eq!(
            (counts.dropped_notifications, counts.refused_requests),
            (1, 1)
        );
        assert_eq!(server.unsolicited.recv().await.unwrap().session, None);
        server.stop().await;
    });
}

#[test]
fn what_a_dropped_call_says_is_not_taken_for_another_ones() {
    on_one_thread(async {
        let mut server = Server::start(python(&[])).await;
        let hers = begin(&server.link, "hold", "{}", Some(7)).await.unwrap();
        server.call("echo", "{}").await.unwrap();
        drop(hers);
        for (session, taken_for) in [(8, None), (7, Some(SessionKey(7)))] {
            let mut call = begin(&server.link, "ask", "{}", Some(session))
                .await
                .unwrap();
            call.next().await.unwrap().unwrap();
            for _ in 0..2 {
                let unsolicited = server.unsolicited.recv().await.unwrap();
                assert_eq!(unsolicited.session, taken_for);
            }
        }
        // The server finishes it, so nobody else can be meant any more.
        let release = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"release"}"#);
        server.link.send(release).await.unwrap();
        let mut his = begin(&server.link, "ask", "{}", Some(8)).await.unwrap();
        his.next().await.unwrap().unwrap();
        let unsolicited = server.unsolicited.recv().await.unwrap();
        assert_eq!(unsolicited.session, Some(SessionKey(8)));
        assert_eq!(server.link.counts().late_answers, 1);
        server.stop().await;
    });
}

#[test]
fn a_log_message_goes_to_the_only_call_without_a_session() {
    on_one_thread(async {
        let mut server = Server::start(python(&[])).await;
        let id = server.link.next_id();
        let frame = request(&id, "hold", "{}");
        let _stream = server.link.call_own(id, frame).await.unwrap();
        let mut call = server.begin("ask", "{}").await;
        let log = call.next().await.unwrap().unwrap();
        assert_eq!(log.method(), "notifications/message");
        assert_eq!(call.next().await.unwrap().unwrap().kind(), Kind::Result);
        let asked = server.unsolicited.recv().await.unwrap();
        assert_eq!(
            (asked.message.method(), asked.session),
            ("roots/list", None)
        );

        for other in [None, Some(7)] {
            let other = begin(&server.link, "hold", "{}", other).await.unwrap();
            assert_eq!(server.call("ask", "{}").await.unwrap(), "{}");
            drop(other);
            // It was given up, but the server still holds it.
            assert_eq!(server.call("ask", "{}").await.unwrap(), "{}");
            for _ in 0..2 {
                let log = server.unsolicited.recv().await.unwrap();
                assert_eq!(
                    (log.message.method(), log.session),
                    ("notifications/message", None)
                );
                server.unsolicited.recv().await.unwrap();
            }
        }
        server.stop().await;
    });
}

#[test]
fn calls_wait_for_the_handshake() {
    on_one_thread(async {
        let mut spec = python(&[]);
        spec.gate_timeout = Duration::from_secs(2);
        let server = Server::start_closed(spec, 8).await;
        let link = server.link.clone();
        let waiting =
            tokio::task::spawn_local(async move { begin(&link, "echo", "{}", None).await });
        let id = server.link.next_id();
        let frame = request(&id, "echo", r#"{"hello":1}"#);
        let mut hello = server.link.call_ungated(id, frame).await.unwrap();
        hello.next().await.unwrap().unwrap();
        assert!(!waiting.is_finished());
        server.link.open_gate(server.generation + 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        server.link.open_gate(server.generation);
        waiting
            .await
            .unwrap()
            .unwrap()
            .next()
            .await
            .unwrap()
            .unwrap();

        let link = server.link.clone();
        server.stop().await;
        let before = Instant::now();
        assert_eq!(
            begin(&link, "echo", "{}", None).await.err(),
            Some(LinkError::NotRunning)
        );
        assert_eq!(link.send(Bytes::new()).await, Err(LinkError::NotRunning));
        assert!(before.elapsed() < Duration::from_millis(50));

        // The next start has a gate of its own.
        let (stop, run) = run(&link);
        link.state()
            .wait_for(|state| *state != ProcessState::Stopped)
            .await
            .unwrap();
        let before = Instant::now();
        assert_eq!(
            begin(&link, "echo", "{}", None).await.err(),
            Some(LinkError::NotRunning)
        );
        assert!(before.elapsed() >= Duration::from_secs(2));
        stop.send(()).unwrap();
        run.await.unwrap().unwrap();
    });
}

#[test]
fn messages_keep_their_bytes() {
    on_one_thread(async {
        let server = Server::start(shell(
            "exec sed -u 's/\"method\":\"x\",\"params\":/\"result\":/'",
        ))
        .await;
        let result = r#"{"n":1.0e40,"z":1,"a":"\u00e9","z2":[ 1 , 2 ]}"#;
        assert_eq!(server.call("x", result).await.unwrap(), result);
        // What nobody can read is no answer, and nobody waits for a better one.
        let result = r#"{"n":1.0e400}"#;
        assert_eq!(server.call("x", result).await, Err(LinkError::Malformed));
        server.stop().await;
    });
}
