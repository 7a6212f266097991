//! Programs that are started: what they say first, how they answer on pipes, how they end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::plugin::{Call, CallError, PluginClient, PluginTransport};
use crate::process::Program;
use crate::sandbox::{Mode, Sandbox, SandboxConfig, SandboxRules};
use crate::transport::{StdioTransport, SubprocessTransport};
use crate::upstream::http::HttpClientConfig;

const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Program {
    let rules = SandboxRules {
        mode: Some(Mode::Off),
        ..SandboxRules::default()
    };
    let mut program = Program::new("plugin", "/bin/sh", Sandbox::plugin(SandboxConfig(rules)));
    program.args = vec!["-c".into(), script.into()];
    program
}

/// A file that a script writes, and that is gone afterwards.
struct Note(PathBuf);

impl Note {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-plugin-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    async fn read(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::read_to_string(&self.0) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => assert!(Instant::now() < deadline, "nothing was written"),
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn is_alive(pid: &str) -> bool {
    // A process that nobody waited for yet is none.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn gone(pid: &str) {
    let deadline = Instant::now() + PATIENCE;
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "{pid} is still there");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_first_line_that_is_no_port_is_an_error_of_its_own_and_leaves_nobody() {
    let cases = [
        (
            "echo port 80; exec sleep 60",
            "is not PORT=<n> but: port 80",
        ),
        ("echo; exec sleep 60", "is not PORT=<n> but: "),
        (
            "echo PORT=abc; exec sleep 60",
            "no number from 1 to 65535: abc",
        ),
        (
            "echo PORT=99999; exec sleep 60",
            "no number from 1 to 65535: 99999",
        ),
        (
            "exec >&-; exec sleep 60",
            "plugin closed stdout without reporting port",
        ),
        (
            "exit 3",
            "plugin closed stdout without reporting port: it ended with exit status: 3",
        ),
        (
            "exec sleep 60",
            "the plugin did not report its port within 0.3 s",
        ),
        (
            "dd if=/dev/zero bs=1024 count=1024 2>/dev/null | tr '\\0' x; echo; echo PORT=80; exec sleep 60",
            "is not PORT=<n> but: xxxx",
        ),
    ];
    for (script, error) in cases {
        let note = Note::new();
        let script = format!("echo $$ > {}; {script}", note.0.display());
        let transport = SubprocessTransport::new(shell(&script), HttpClientConfig::default());
        let transport = transport.patience(Duration::from_millis(300));
        let failed = timeout(PATIENCE, transport.connect()).await.unwrap();
        let failed = failed.err().unwrap().to_string();
        assert!(failed.contains(error), "{script}: {failed}");
        gone(&note.read().await).await;
    }
    let missing = Program::new("plugin", "/no/such/program", shell("").sandbox);
    let transport = SubprocessTransport::new(missing, HttpClientConfig::default());
    let failed = transport.connect().await.err().unwrap().to_string();
    assert!(failed.contains("cannot start /no/such/program"), "{failed}");
}

#[tokio::test]
async fn who_stops_waiting_for_the_port_ends_the_process() {
    let note = Note::new();
    let script = format!("echo $$ > {}; exec sleep 60", note.0.display());
    let transport = SubprocessTransport::new(shell(&script), HttpClientConfig::default());
    let pid = tokio::select! {
        _ = transport.connect() => panic!("there is no port"),
        pid = note.read() => pid,
    };
    gone(&pid).await;
}

/// A plugin on pipes, and its process id if the script writes it to `$NOTE`.
async fn pipes(script: &str) -> (Arc<dyn PluginClient>, Note) {
    let note = Note::new();
    let script = script.replace("$NOTE", &note.0.to_string_lossy());
    let transport = StdioTransport::new(shell(&script)).grace(Duration::from_millis(400));
    (transport.connect().await.unwrap(), note)
}

async fn say(client: &dyn PluginClient, params: Value) -> Result<String, CallError> {
    let call = Call::within(PATIENCE, "echo", &params);
    let answer = client.call(call).await?;
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

#[tokio::test]
async fn a_plugin_on_pipes_answers_line_by_line() {
    let (client, _note) = pipes(
        r#"echo "starting up"; while read -r line; do echo "$line" >&2; printf '{"result":%s}\n' "$line"; done"#,
    )
    .await;
    client.health().await.unwrap();
    let answer = say(&*client, json!({ "text": "a\nb" })).await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"]["method"], "echo");
    assert_eq!(answer["result"]["params"], json!({ "text": "a\nb" }));
    assert_eq!(answer["result"]["id"], 2);
    let left = answer["result"]["deadline_ms"].as_u64().unwrap();
    assert!((15_000..=20_000).contains(&left), "{left}");
    client.close().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(say(&*client, json!({})).await, Err(CallError::Closed));
}

#[tokio::test]
async fn whoever_waits_when_the_process_dies_hears_how() {
    let (client, _note) = pipes("read -r line; kill -9 $$").await;
    let (first, second) = tokio::join!(
        say(&*client, json!({ "call": 1 })),
        say(&*client, json!({ "call": 2 })),
    );
    for failed in [first.unwrap_err(), second.unwrap_err()] {
        assert!(
            failed.to_string().contains("signal: 9 (SIGKILL)"),
            "{failed}"
        );
        assert!(failed.is_retryable());
    }
    let how = timeout(PATIENCE, client.ended()).await.unwrap();
    assert_eq!(how, "signal: 9 (SIGKILL)");
    let late = say(&*client, json!({})).await.unwrap_err();
    assert!(matches!(late, CallError::Unreachable(_)), "{late}");
}

#[tokio::test]
async fn who_closes_its_output_has_ended_though_it_lives() {
    let (client, note) = pipes("echo $$ > $NOTE; exec >&-; exec sleep 60").await;
    let how = timeout(PATIENCE, client.ended()).await.unwrap();
    assert_eq!(how, "it closed its standard output");
    let pid = note.read().await;
    client.close().await.unwrap();
    assert!(!is_alive(&pid));
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_late_is_one_callers_matter() {
    let (client, _note) = pipes(
        r#"while read -r line; do case "$line" in
            *huge*) printf '{"result":"'; dd if=/dev/zero bs=1024 count=2048 2>/dev/null | tr '\0' x; echo '"}';;
            *late*) sleep 0.3; echo '{"result":"late"}';;
            *) echo '{"result":"ok"}';;
        esac; done"#,
    )
    .await;
    let huge = json!({ "text": "huge" });
    assert_eq!(say(&*client, huge).await, Err(CallError::TooLarge));
    let late = json!({ "text": "late" });
    let hasty = Call::within(Duration::from_millis(50), "echo", &late);
    assert_eq!(client.call(hasty).await, Err(CallError::Timeout));
    // The late answer is not taken for this one's.
    assert_eq!(
        say(&*client, json!({})).await.unwrap(),
        r#"{"result":"ok"}"#
    );
}

#[tokio::test]
async fn term_is_said_before_the_group_is_killed() {
    let obedient =
        r#"trap 'echo TERM >> $NOTE; exit 0' TERM; echo $$ > $NOTE; while :; do sleep 0.05; done"#;
    let (client, note) = pipes(obedient).await;
    let pid = note.read().await;
    client.close().await.unwrap();
    assert!(!is_alive(&pid));
    assert_eq!(note.read().await, format!("{pid}TERM\n"));
    // Neither it nor what it started obeys.
    let stubborn = r#"trap 'echo TERM >> $NOTE' TERM; sh -c 'trap "" TERM; while :; do sleep 1; done' & echo $$ $! > $NOTE; while :; do sleep 0.05; done"#;
    let (client, note) = pipes(stubborn).await;
    let pids = note.read().await;
    let begun = Instant::now();
    client.close().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(400));
    for pid in pids.split_whitespace() {
        assert!(!is_alive(pid), "{pid}");
    }
    assert_eq!(note.read().await, format!("{pids}TERM\n"));
}

#[tokio::test]
async fn dropping_the_client_ends_the_process_too() {
    let (client, note) = pipes("echo $$ > $NOTE; exec sleep 60").await;
    let pid = note.read().await;
    drop(client);
    gone(&pid).await;
}
