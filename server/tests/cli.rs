//! The command as operators and scripts meet it: what it prints, where, and how it exits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use weir_actors::seal::SealKey;

/// An empty directory of one test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(self, file: &str, text: &str) -> Self {
        std::fs::write(self.0.join(file), text).unwrap();
        self
    }

    fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(arguments)
            .current_dir(&self.0)
            .env_remove("WEIR_TOKEN")
            .env("XDG_STATE_HOME", self.0.join("state"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.weir(arguments).output().unwrap();
        (
            status.code().unwrap_or(-1),
            String::from_utf8(stdout).unwrap(),
            String::from_utf8(stderr).unwrap(),
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway that said that it is ready, and what else it said on standard output.
struct Serving {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Serving {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = place.weir(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        Self::of(command)
    }

    /// Whatever the command does with standard error.
    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("weir ready ");
        let url = url.unwrap().to_owned();
        Self { child, output, url }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_wrong_configuration_exits_with_2_and_names_every_problem() {
    let place = Place::new("wrong").write("weir.yaml", "lisen: x\nadmin: { listen: 9 }\n");
    for arguments in [
        &["check"][..],
        &["serve"],
        &[],
        &["check", "--config", "weir.yaml"],
        &["call"],
    ] {
        let (code, stdout, stderr) = place.run(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert_eq!(
            stderr,
            "weir.yaml:1:1: lisen: this key is not known; did you mean `listen`?\n\
             weir.yaml:2:18: admin.listen: `9` is not an address to listen on; write IP:PORT such as 127.0.0.1:8811\n"
        );
    }
}

#[test]
fn a_missing_file_or_variable_is_named() {
    let place =
        Place::new("missing").write("a.yaml", "listen: 127.0.0.1:${WEIR_TEST_NO_SUCH_PORT}\n");
    let (code, _, stderr) = place.run(&["check", "--config", "b.yaml"]);
    assert_eq!(code, 2);
    assert!(
        stderr.starts_with("b.yaml:1:1: the file cannot be read: "),
        "{stderr}"
    );
    let (code, _, stderr) = place.run(&["serve", "--config", "a.yaml"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains(
            "a.yaml:1:9: listen: the environment variable WEIR_TEST_NO_SUCH_PORT is not set"
        ),
        "{stderr}"
    );
}

#[test]
fn a_secret_that_cannot_be_read_is_found_before_anything_starts() {
    let text = "servers: { time: { type: http, url: \"http://127.0.0.1:1/mcp\" } }\ncredentials:\n  servers:\n    time: { headers: { Authorization: \"Bearer file:no/such/file\" } }\n";
    let place = Place::new("secret").write("weir.yaml", text);
    let (code, _, stderr) = place.run(&["check"]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("weir.yaml:4:"), "{stderr}");
}

#[test]
fn the_documented_example_is_good() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/weir.yaml");
    let key = SealKey::random().unwrap().encode();
    let variables = [
        "EVERYTHING_API_KEY",
        "TIME_TOKEN",
        "TIME_API_KEY",
        "WEIR_SEAL_KEY",
    ]
    .map(|name| (name, key.as_str()));
    let Output { status, stderr, .. } = Place::new("example")
        .weir(&["check", "--config", example])
        .envs(variables)
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[test]
fn nobody_is_let_in_from_afar_by_accident() {
    let place = Place::new("afar");
    for arguments in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"],
    ] {
        let (code, _, stderr) = place.run(arguments);
        assert!(
            code == 2 && stderr.contains("can be reached from other machines"),
            "{stderr}"
        );
    }
}

#[test]
fn wrong_credentials_of_callers_are_found_with_their_place() {
    let text = "auth:\n  providers:\n    - type: api-keys\n      keys:\n        - { id: a, hash: nonsense, user: alice }\n";
    let place = Place::new("auth").write("weir.yaml", text);
    let (code, _, stderr) = place.run(&["check"]);
    assert_eq!(code, 2);
    assert!(
        stderr.starts_with("weir.yaml:5:20: auth.providers[0].keys[0].hash: "),
        "{stderr}"
    );
}

#[test]
fn a_good_configuration_is_summed_up_without_secrets() {
    let text = "servers:\n  time: { type: http, url: \"http://127.0.0.1:1/mcp?key=${WEIR_TEST_KEY}\", headers: { Authorization: \"Bearer ${WEIR_TEST_KEY}\" } }\n  files: { type: stdio, command: node, args: [\"${WEIR_TEST_KEY}\"] }\n";
    let place = Place::new("good").write("weir.yaml", text);
    let Output { status, stdout, .. } = place
        .weir(&["check"])
        .env("WEIR_TEST_KEY", "s3cret")
        .output()
        .unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(status.success());
    assert!(
        stdout.contains("weir.yaml is good")
            && stdout.contains("time: http, 127.0.0.1:1")
            && stdout.contains("files: stdio, runs node"),
        "{stdout}"
    );
    assert!(!stdout.contains("s3cret"), "{stdout}");
}

#[test]
fn without_a_configuration_the_embedded_one_is_good() {
    let (code, stdout, _) = Place::new("embedded").run(&["check"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("demo: stdio"), "{stdout}");
}

#[test]
fn help_version_and_schema_are_printed() {
    let place = Place::new("help");
    let (code, stdout, _) = place.run(&["--help"]);
    assert!(
        code == 0 && stdout.contains("Examples:") && stdout.contains("weir call demo add"),
        "{stdout}"
    );
    let (code, stdout, _) = place.run(&["--version"]);
    assert_eq!(
        (code, stdout),
        (0, format!("weir {}\n", env!("CARGO_PKG_VERSION")))
    );
    let (code, stdout, _) = place.run(&["schema"]);
    assert_eq!((code, stdout), (0, weir::config::schema()));
    let (code, _, stderr) = place.run(&["--liste"]);
    assert!(code == 2 && stderr.contains("--listen"), "{stderr}");
}

#[test]
fn a_new_key_is_printed_with_the_entry_that_lets_it_in() {
    let (code, stdout, _) = Place::new("keys").run(&["keys", "new", "alice", "--role", "admin"]);
    assert_eq!(code, 0);
    let key = stdout
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("key: "))
        .expect("a key");
    assert!(
        stdout.contains(&weir_actors::builtin::api_keys::hash_key(key)),
        "{stdout}"
    );
    assert_eq!(stdout.matches(key).count(), 1);
    let entry = &stdout[stdout.find("auth:\n").expect("an entry")..];
    let (code, _, stderr) = Place::new("keys-used")
        .write("weir.yaml", entry)
        .run(&["check"]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_new_sealing_key_is_printed_alone_and_is_good() {
    let text = "sealing: { keys: [\"${WEIR_SEAL_KEY}\"] }\n";
    let place = Place::new("seal").write("weir.yaml", text);
    let (code, key, stderr) = place.run(&["keys", "seal"]);
    assert_eq!((code, key.len(), stderr.as_str()), (0, 44, ""), "{key}");
    let mut check = place.weir(&["check"]);
    let checked = check.env("WEIR_SEAL_KEY", key.trim()).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert_ne!(place.run(&["keys", "seal"]).1, key);
}

#[test]
fn an_address_in_use_exits_with_2_and_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new("in-use");
    let (code, stdout, stderr) =
        place.run(&["--listen", &address, "--admin-listen", "127.0.0.1:0"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains(&format!("listen: {address} cannot be listened on"))
            && stderr.contains("--listen"),
        "{stderr}"
    );
}

#[test]
fn without_a_configuration_the_demo_is_served_and_sigterm_ends_it() {
    let place = Place::new("serve");
    let mut serving = Serving::start(
        &place,
        &["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    );
    let mut admin = String::new();
    while !admin.contains("for operators") {
        admin.clear();
        assert!(
            serving.output.read_line(&mut admin).unwrap() > 0,
            "the addresses are printed"
        );
    }
    let admin = admin
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("the admin address")
        .to_owned();
    assert!(get(&admin, "/health").starts_with("HTTP/1.1 200"));
    assert!(get(&admin, "/nothing").starts_with("HTTP/1.1 404"));
    let client_face = serving
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .to_owned();
    assert!(get(&client_face, "/health").starts_with("HTTP/1.1 200"));
    let url = format!("http://{client_face}");
    let (code, stdout, _) = place.run(&["call", "--url", &url]);
    assert!(code == 0 && stdout.contains("slow_count"), "{stdout}");
    let sum = place.run(&["call", "--url", &url, "demo", "add", r#"{"a": 1, "b": 2}"#]);
    assert_eq!(sum, (0, "3\n".to_owned(), String::new()));
    let wrong = place.run(&["call", "--url", &url, "demo", "add", "{}"]);
    assert_eq!(
        wrong,
        (1, "`a` must be a number\n".to_owned(), String::new())
    );
    serving.signal(Signal::TERM);
    let mut rest = String::new();
    serving.output.read_to_string(&mut rest).unwrap();
    let records = place.0.join("state/weir/audit.jsonl");
    assert!(
        rest.contains(&format!("audit records    {}\n", records.display())),
        "{rest}"
    );
    let recorded = std::fs::read_to_string(&records).unwrap();
    assert!(recorded.contains("gateway.start") && recorded.contains("gateway.stop"));
    assert!(!rest.contains("gateway.stop"), "{rest}");
    assert!(
        rest.contains("claude mcp add --transport http weir http://"),
        "{rest}"
    );
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_serves_on_when_nobody_reads_its_log_any_more() {
    let place = Place::new("log");
    let mut command = place.weir(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut serving = Serving::of(command);
    drop(serving.child.stderr.take());
    // Each has it log a line.
    for _ in 0..3 {
        serving.signal(Signal::HUP);
    }
    let address = serving.url.trim_start_matches("http://");
    let address = address.trim_end_matches("/mcp");
    assert!(get(address, "/health").starts_with("HTTP/1.1 200"));
    serving.signal(Signal::TERM);
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_call_to_nobody_exits_with_3() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, stdout, stderr) = Place::new("nobody").run(&[
        "call",
        "--url",
        &format!("http://{free}"),
        "demo",
        "echo",
        "{}",
    ]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    assert!(stderr.contains("is the gateway running?"), "{stderr}");
}

#[test]
fn arguments_of_a_call_must_be_an_object() {
    for arguments in ["[1]", "nonsense"] {
        let (code, _, stderr) = Place::new("arguments").run(&[
            "call",
            "--url",
            "http://127.0.0.1:1",
            "demo",
            "echo",
            arguments,
        ]);
        assert!(code == 2 && stderr.contains("write"), "{stderr}");
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
