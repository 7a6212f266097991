//! What becomes of calls and children when the process ends.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::*;

#[test]
fn kill_9_answers_every_call_at_once() {
    on_one_thread(async {
        let (sender, _unsolicited) = mpsc::channel(8);
        let link = StdioLink::new(shell("while read -r line; do :; done"), sender);
        let mut ids = std::collections::HashSet::new();
        for round in 1..=20 {
            let (_stop, run) = run(&link);
            let mut state = link.state();
            let running = state
                .wait_for(|state| *state != ProcessState::Stopped)
                .await;
            let ProcessState::Running { generation, pid } = *running.unwrap() else {
                unreachable!();
            };
            assert_eq!(generation, round);
            link.open_gate(generation);
            let mut calls = Vec::new();
            for _ in 0..50 {
                let id = link.next_id();
                assert!(ids.insert(id.json().to_owned()));
                let frame = request(&id, "x", "{}");
                calls.push(link.call(id, frame, None).await.unwrap());
            }
            kill_9(pid);
            let before = Instant::now();
            for call in &mut calls {
                let outcome = call.next().await.unwrap();
                assert!(
                    matches!(outcome, Err(LinkError::Died { .. })),
                    "{outcome:?}"
                );
            }
            let took = before.elapsed();
            assert!(took < Duration::from_millis(50), "{took:?}");
            let end = run.await.unwrap().unwrap_err();
            assert!(matches!(end, ProcessEnd::Exited(_)), "{end}");
            assert!(!exists(pid), "a zombie is left");
        }
        assert_eq!(link.in_flight(), 0);
    });
}

#[test]
fn an_answer_goes_to_no_other_start_than_the_one_that_asked() {
    on_one_thread(async {
        let mut server = Server::start(python(&[])).await;
        let link = server.link.clone();
        let mut call = server.begin("ask", "{}").await;
        while let Some(said) = call.next().await {
            said.unwrap();
        }
        let asked = server.unsolicited.recv().await.unwrap();
        assert_eq!(asked.generation, server.generation);
        assert!(link.is_running(asked.generation));
        kill_9(server.pid);
        server.run.await.unwrap().unwrap_err();
        assert!(!link.is_running(asked.generation));

        let (stop, run) = run(&link);
        let mut state = link.state();
        let running = *state
            .wait_for(|state| *state != ProcessState::Stopped)
            .await
            .unwrap();
        let ProcessState::Running { generation, .. } = running else {
            unreachable!();
        };
        link.open_gate(generation);
        let stale = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"stale":1}}"#);
        let sent = link.send_to(asked.generation, stale).await;
        assert_eq!(sent, Err(LinkError::NotRunning));
        let fresh = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        link.send_to(generation, fresh).await.unwrap();
        let mut call = begin(&link, "received", "{}", None).await.unwrap();
        assert_eq!(call.generation(), generation);
        let received = call.next().await.unwrap().unwrap();
        assert_eq!(
            received.field(Field::Result).unwrap(),
            r#"[{"jsonrpc": "2.0", "id": 1, "result": {}}]"#
        );
        stop.send(()).unwrap();
        run.await.unwrap().unwrap();
    });
}

#[test]
fn a_description_names_the_environment_and_keeps_its_values() {
    let mut spec = shell("true");
    spec.env = vec![("TOKEN".into(), "s3cret".into())];
    let (sender, _unsolicited) = mpsc::channel(8);
    let shown = format!("{:?}", StdioLink::new(spec, sender));
    assert!(shown.contains(r#"env: ["TOKEN"]"#), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn last_words_are_heard() {
    on_one_thread(async {
        for _ in 0..5 {
            let server = Server::start(python(&[])).await;
            assert_eq!(server.call("exit", "{}").await.unwrap(), "{}");
            let end = server.run.await.unwrap().unwrap_err();
            assert_eq!(end.to_string(), "exited with exit status: 3");
        }
    });
}

#[test]
fn a_server_without_output_is_of_no_use() {
    on_one_thread(async {
        let server = Server::start(python(&[])).await;
        let before = Instant::now();
        let outcome = server.call("hang up", "{}").await;
        assert_eq!(outcome, Err(LinkError::Died { retryable: false }));
        assert!(before.elapsed() < Duration::from_millis(500));
        server.run.await.unwrap().unwrap_err();
        assert!(!exists(server.pid));
    });
}

async fn stubborn(grace: Duration) -> (Server, u32) {
    let mut spec = python(&["stubborn"]);
    spec.stop_grace = grace;
    let mut server = Server::start(spec).await;
    let hello = server.unsolicited.recv().await.unwrap().message;
    let params = hello.field(Field::Params).unwrap();
    let digits = params
        .trim_start_matches("{\"pid\": ")
        .trim_end_matches('}');
    let grandchild = digits.parse().unwrap();
    assert!(exists(grandchild));
    (server, grandchild)
}

/// Gone, or a zombie that only waits for the first process of this machine.
async fn is_gone(pid: u32) {
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return,
            Ok(stat) if stat.contains(") Z ") => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[test]
fn who_ignores_sigterm_is_killed_with_its_children() {
    on_one_thread(async {
        let grace = Duration::from_millis(1500);
        let (server, grandchild) = stubborn(grace).await;
        let took = server.stop().await;
        assert!(
            took >= grace && took < grace + Duration::from_millis(500),
            "{took:?}"
        );
        is_gone(grandchild).await;
    });
}

#[test]
fn who_dies_leaves_no_children() {
    on_one_thread(async {
        let (server, grandchild) = stubborn(Duration::from_secs(5)).await;
        kill_9(server.pid);
        server.run.await.unwrap().unwrap_err();
        is_gone(grandchild).await;
    });
}

#[test]
fn who_is_dropped_is_killed_with_its_children() {
    on_one_thread(async {
        let (server, grandchild) = stubborn(Duration::from_secs(5)).await;
        let mut call = server.begin("hold", "{}").await;
        server.run.abort();
        assert!(call.next().await.unwrap().is_err());
        assert_eq!(*server.link.state().borrow(), ProcessState::Stopped);
        is_gone(server.pid).await;
        is_gone(grandchild).await;
    });
}

#[test]
fn inherits_little() {
    on_one_thread(async {
        let mut spec = python(&[]);
        spec.env = vec![("TOKEN".into(), "s3cret".into())];
        spec.cwd = Some("/".into());
        let server = Server::start(spec).await;
        let environment = server.call("environment", "{}").await.unwrap();
        assert!(environment.contains(r#""TOKEN": "s3cret""#));
        assert!(environment.contains(r#""PATH": "#));
        assert!(!environment.contains("CARGO"), "{environment}");
        server.stop().await;
    });
}

#[test]
fn a_program_that_is_not_there_is_a_failure() {
    on_one_thread(async {
        let (sender, _unsolicited) = mpsc::channel(8);
        let link = StdioLink::new(StdioSpec::new("test", "/no/such/program"), sender);
        let (_stop, run) = run(&link);
        let end = run.await.unwrap().unwrap_err();
        assert!(
            end.to_string()
                .starts_with("cannot start /no/such/program: "),
            "{end}"
        );
        assert_eq!(link.counts().starts, 0);
    });
}
