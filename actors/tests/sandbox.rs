//! What a child in a sandbox gets when it tries what it must not, and that nobody outlives the gateway.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;
use weir_actors::process::{self, Group, Program, Usage};
use weir_actors::sandbox::{Mode, Probe, Sandbox, SandboxConfig, SandboxRules, SandboxUser, Size};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/attempts.py");

/// A child that tries what it is told.
struct Attempts {
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    group: Group,
}

fn program(sandbox: Sandbox) -> Program {
    let mut program = Program::new("attempts", "python3", sandbox);
    program.args = vec![SCRIPT.into()];
    // The system's Python, which every account can read.
    program.env = vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())];
    program
}

fn plugin(rules: SandboxRules) -> Sandbox {
    Sandbox::plugin(SandboxConfig(rules))
}

impl Attempts {
    async fn start(program: &Program) -> Self {
        let started = program.start().await.unwrap();
        let mut stderr = started.stderr;
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::stderr()).await;
        });
        Self {
            stdin: started.stdin,
            answers: BufReader::new(started.stdout).lines(),
            group: started.group,
        }
    }

    async fn answer(&mut self, attempt: Value) -> Value {
        let line = format!("{attempt}\n");
        self.stdin.write_all(line.as_bytes()).await.unwrap();
        let answer = timeout(Duration::from_secs(60), self.answers.next_line()).await;
        let answer = answer.unwrap().unwrap();
        let answer = answer.unwrap_or_else(|| panic!("it ended at {attempt}"));
        serde_json::from_str(&answer).unwrap()
    }

    async fn done(&mut self, attempt: Value) -> Value {
        let answer = self.answer(attempt.clone()).await;
        assert!(answer["refused"].is_null(), "{attempt}: {answer}");
        answer["done"].clone()
    }

    async fn refused(&mut self, attempt: Value) -> String {
        let answer = self.answer(attempt.clone()).await;
        let refused = answer["refused"].as_str();
        refused
            .unwrap_or_else(|| panic!("{attempt}: {answer}"))
            .to_owned()
    }

    async fn stop(mut self) {
        let pid = self.group.pid();
        self.group.stop(Duration::from_secs(2)).await;
        assert_eq!(members(pid), Vec::<u32>::new());
    }
}

/// A directory that every account may read and write.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-sandbox-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The living processes of a group.
fn members(group: u32) -> Vec<u32> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        if fields[2] == group.to_string() && fields[0] != "Z" {
            members.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    members
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// True on a system that has everything; said aloud where it is not.
fn everything_is_here() -> bool {
    let probe = Probe::system();
    let here = probe.landlock >= 6 && probe.seccomp;
    if !here {
        eprintln!("skipped: this system has {probe:?}");
    }
    here
}

/// Whose rights to try: the gateway's, and where that is root also another account's.
fn accounts() -> Vec<SandboxUser> {
    if Probe::system().root {
        vec![SandboxUser::Keep, SandboxUser::Own]
    } else {
        vec![SandboxUser::Keep]
    }
}

#[tokio::test]
async fn what_a_plugin_must_not_do_is_refused() {
    if !everything_is_here() {
        return;
    }
    let own = Folder::new("own");
    let other = Folder::new("other");
    fs::write(other.file("secret"), "x").unwrap();
    let allowed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let _udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let us = std::process::id();
    for user in accounts() {
        let mut attempts = Attempts::start(&program(plugin(SandboxRules {
            user: Some(user),
            write: Some(vec![own.0.clone()]),
            connect: Some(vec![port(&allowed)]),
            bind: Some(vec![0]),
            ..SandboxRules::default()
        })))
        .await;

        for attempt in [
            json!(["write", own.file(&format!("{user:?}"))]),
            json!(["read", own.file(&format!("{user:?}"))]),
            json!(["list", own.file("")]),
            json!(["connect", port(&allowed)]),
            json!(["bind", 0]),
            json!(["run", "true"]),
            json!(["read", "/etc/hosts"]),
            json!(["read", SCRIPT]),
        ] {
            attempts.done(attempt).await;
        }
        for attempt in [
            json!(["read", "/etc/shadow"]),
            json!(["list", "/root"]),
            json!(["list", other.file("")]),
            json!(["read", other.file("secret")]),
            json!(["write", other.file("mine")]),
            json!(["write", "/tmp/weir-sandbox-must-not-be"]),
            json!(["write", SCRIPT]),
            json!(["read", format!("/proc/{us}/environ")]),
            json!(["read", format!("/proc/{us}/mem")]),
            json!(["connect", port(&closed)]),
            json!(["bind", port(&allowed).wrapping_add(1).max(1024)]),
            json!(["open_socket", 2, 2, 0]),
            json!(["open_socket", 10, 2, 0]),
            json!(["open_socket", 2, 3, 255]),
            json!(["open_socket", 17, 3, 0]),
            json!(["open_socket", 2, 1, 262]),
            json!(["open_socket", 1, 1, 0]),
            json!(["ptrace", us]),
            json!(["read_memory", us]),
            json!(["signal", us]),
            json!(["setsid"]),
            json!(["stray"]),
        ] {
            let refused = attempts.refused(attempt.clone()).await;
            let expected = ["EACCES", "EPERM", "EPROTONOSUPPORT"];
            assert!(expected.contains(&&*refused), "{attempt}: {refused}");
        }

        let status = attempts.done(json!(["status"])).await;
        assert_eq!(status["NoNewPrivs"], "1");
        assert_eq!(status["Seccomp"], "2");
        for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
            let empty = u64::from_str_radix(status[set].as_str().unwrap(), 16) == Ok(0);
            assert!(
                empty || (set == "CapBnd" && !Probe::system().root),
                "{set}: {status}"
            );
        }
        let uid = status["Uid"].as_str().unwrap();
        let confined = attempts.group.confinement().clone();
        assert_eq!(user == SandboxUser::Own, confined.user.is_some());
        if let Some(account) = confined.user {
            assert!(uid.starts_with(&format!("{account}\t")), "{uid}");
            assert_eq!(status["Groups"].as_str().unwrap().trim(), "");
        }
        assert!(confined.files && confined.ports && confined.signals && confined.system_calls);
        assert!(confined.missing.is_empty(), "{confined:?}");
        attempts.stop().await;
    }
}

#[tokio::test]
async fn what_a_plugin_uses_up_is_bounded() {
    if !everything_is_here() {
        return;
    }
    let own = Folder::new("bounded");
    let rules = SandboxRules {
        memory: Some(Size(256 << 20)),
        open_files: Some(32),
        processes: Some(16),
        file_size: Some(Size(1 << 20)),
        write: Some(vec![own.0.clone()]),
        ..SandboxRules::default()
    };
    let mut attempts = Attempts::start(&program(plugin(rules))).await;
    attempts.done(json!(["allocate", 64 << 20])).await;
    assert_eq!(
        attempts.refused(json!(["allocate", 1 << 30])).await,
        "ENOMEM"
    );
    assert_eq!(
        attempts.refused(json!(["allocate", 10_u64 << 30])).await,
        "ENOMEM"
    );
    assert!(attempts.done(json!(["open_files", 100])).await.as_u64() < Some(32));
    let small = json!(["write_bytes", own.file("small"), 1 << 20]);
    attempts.answer(small).await;
    assert_eq!(attempts.done(json!(["limit", "CORE"])).await, 0);
    assert_eq!(attempts.done(json!(["limit", "FSIZE"])).await, 1 << 20);
    if attempts.group.confinement().user.is_some() {
        let forked = attempts.done(json!(["fork", 100])).await;
        assert!(forked.as_u64() < Some(16), "{forked}");
    }
    attempts.stop().await;

    let mut attempts = Attempts::start(&program(plugin(SandboxRules {
        file_size: Some(Size(1 << 20)),
        write: Some(vec![own.0.clone()]),
        ..SandboxRules::default()
    })))
    .await;
    attempts
        .done(json!(["write_bytes", own.file("fits"), 1 << 20]))
        .await;
    let large = json!(["write_bytes", own.file("large"), (1 << 20) + 1]);
    assert_eq!(attempts.refused(large).await, "EFBIG");
    attempts.stop().await;
}

#[tokio::test]
async fn a_child_has_the_variables_that_were_declared() {
    // What cargo sets for this test stands for the secrets of a gateway.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    for sandbox in [
        plugin(SandboxRules::default()),
        Sandbox::plugin(Mode::Off.into()),
        Sandbox::server(SandboxConfig::default()),
    ] {
        let mut program = program(sandbox);
        program.env.push(("TOKEN".into(), "s3cret".into()));
        let shown = format!("{program:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        let mut attempts = Attempts::start(&program).await;
        let environment = attempts.done(json!(["environment"])).await;
        assert_eq!(environment["TOKEN"], "s3cret");
        // The last one is Python's own.
        let known = [
            "TOKEN", "PATH", "HOME", "LANG", "TMPDIR", "USER", "LC_CTYPE",
        ];
        for name in environment.as_object().unwrap().keys() {
            assert!(known.contains(&name.as_str()), "{name}");
        }
        let arguments = fs::read(format!("/proc/{}/cmdline", attempts.group.pid())).unwrap();
        assert!(!String::from_utf8_lossy(&arguments).contains("s3cret"));
        attempts.stop().await;
    }
}

#[tokio::test]
async fn a_server_may_what_it_might_before() {
    let own = Folder::new("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut attempts = Attempts::start(&program(Sandbox::server(SandboxConfig::default()))).await;
    for attempt in [
        json!(["write", own.file("file")]),
        json!(["list", "/"]),
        json!(["connect", port]),
        json!(["bind", 0]),
        json!(["open_socket", 2, 2, 0]),
        json!(["open_socket", 1, 1, 0]),
        json!(["allocate", 1 << 30]),
    ] {
        attempts.done(attempt).await;
    }
    let stray = attempts.done(json!(["stray"])).await;
    let stray = Pid::from_raw(stray.as_i64().unwrap().try_into().unwrap()).unwrap();
    kill_process(stray, Signal::KILL).unwrap();
    let status = attempts.done(json!(["status"])).await;
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(attempts.done(json!(["limit", "CORE"])).await, 0);
    attempts.stop().await;

    let sandbox = Sandbox::server(SandboxConfig(SandboxRules {
        connect: Some(Vec::new()),
        ..SandboxRules::default()
    }));
    if everything_is_here() {
        let mut attempts = Attempts::start(&program(sandbox)).await;
        attempts.refused(json!(["connect", port])).await;
        attempts.done(json!(["open_socket", 2, 2, 0])).await;
        attempts.stop().await;
    }
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_had_is_refused_or_told() {
    let bare = Probe {
        landlock: 0,
        seccomp: false,
        ..Probe::system()
    };
    let strict = program(plugin(SandboxRules::default()));
    let refused = strict.start_with(bare).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("cannot start python3: its sandbox needs Landlock"),
        "{refused}"
    );
    assert!(refused.contains("best_effort"), "{refused}");

    let lenient = program(Sandbox::plugin(Mode::BestEffort.into()));
    let mut started = lenient.start_with(bare).await.unwrap();
    let confinement = started.group.confinement();
    assert!(
        !confinement.files && !confinement.system_calls,
        "{confinement:?}"
    );
    assert_eq!(confinement.missing.len(), 3, "{confinement:?}");
    started.group.stop(Duration::from_secs(2)).await;

    let absent = program(plugin(SandboxRules {
        read: Some(vec!["/no/such/place".into()]),
        ..SandboxRules::default()
    }));
    if everything_is_here() {
        let refused = absent.start().await.unwrap_err().to_string();
        assert!(
            refused.contains("sandbox.read names /no/such/place"),
            "{refused}"
        );
    }
}

/// Says `PORT=`, and answers.
const PYTHON: &str = "
import asyncio, http.server, json, socket, ssl, sqlite3, subprocess, threading, time, urllib.request
try:
    import mcp, uvicorn
except ImportError:
    pass
probe = socket.socket()
probe.bind(('127.0.0.1', 0))
port = probe.getsockname()[1]
probe.close()
server = http.server.ThreadingHTTPServer(('127.0.0.1', port), http.server.SimpleHTTPRequestHandler)
subprocess.run(['true'], check=True)
asyncio.run(asyncio.sleep(0))
print(f'PORT={port}', flush=True)
server.serve_forever()
";

const NODE: &str = "
const { Worker } = require('node:worker_threads');
const { spawnSync } = require('node:child_process');
if (spawnSync('true').status !== 0) process.exit(3);
fetch('http://127.0.0.1:1').catch(() => {
  new Worker('', { eval: true }).on('exit', () => {
    const server = require('node:http').createServer((_, answer) => answer.end('here'));
    server.listen(0, '127.0.0.1', () => console.log(`PORT=${server.address().port}`));
  });
});
";

#[tokio::test]
async fn programs_of_all_languages_run_in_the_sandbox_of_a_plugin() {
    let kit = std::env::var("WEIR_TEST_KIT").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-kit"),
        PathBuf::from,
    );
    let of_kit = kit.join("py/bin/python");
    let servers = [
        (PathBuf::from("python3"), vec!["-c", PYTHON]),
        (PathBuf::from("/usr/bin/python3"), vec!["-c", PYTHON]),
        (of_kit, vec!["-c", PYTHON]),
        (PathBuf::from("node"), vec!["-e", NODE]),
    ];
    for (exec, args) in servers {
        let known = exec.is_absolute() && exec.exists();
        if !known && (exec.is_absolute() || Command::new(&exec).arg("--version").output().is_err())
        {
            eprintln!("skipped: no {}", exec.display());
            continue;
        }
        let mut program = Program::new("server", &exec, plugin(SandboxRules::default()));
        program.args = args.iter().map(Into::into).collect();
        let mut started = program.start().await.unwrap();
        let mut lines = BufReader::new(started.stdout).lines();
        let line = timeout(Duration::from_secs(30), lines.next_line()).await;
        let line = line.unwrap().unwrap();
        let Some(line) = line else {
            let mut complaint = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut started.stderr, &mut complaint)
                .await
                .unwrap();
            panic!("{exec:?} in {:?}: {complaint}", started.group.confinement());
        };
        let port: u16 = line.strip_prefix("PORT=").unwrap().parse().unwrap();
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        started.group.stop(Duration::from_secs(5)).await;
    }
    let go = Path::new("/usr/local/go/bin/go");
    if go.exists() {
        let mut program = Program::new("go", go, plugin(SandboxRules::default()));
        program.args = vec!["version".into()];
        let started = program.start().await.unwrap();
        let line = BufReader::new(started.stdout)
            .lines()
            .next_line()
            .await
            .unwrap();
        assert!(line.unwrap().starts_with("go version"));
    }
}

/// Another process that is a gateway for a while: it starts a child with a grandchild from a thread that ends, says who
/// they are, and waits to be killed.
#[test]
fn gateway() {
    let Ok(place) = std::env::var("WEIR_SANDBOX_GATEWAY") else {
        return;
    };
    let started = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let (child, grandchild) = runtime.block_on(async {
            let mut attempts = Attempts::start(&program(plugin(SandboxRules::default()))).await;
            let grandchild = attempts.done(json!(["grandchild"])).await;
            let child = attempts.group.pid();
            std::mem::forget(attempts);
            (child, grandchild)
        });
        std::mem::forget(runtime);
        let written = format!("{place}.new");
        fs::write(&written, format!("{child} {grandchild}")).unwrap();
        fs::rename(written, place).unwrap();
    });
    started.join().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn nobody_outlives_a_gateway_that_is_killed() {
    if !everything_is_here() {
        return;
    }
    let folder = Folder::new("gateway");
    let place = folder.file("pids");
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gateway"])
        .env("WEIR_SANDBOX_GATEWAY", &place)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually(|| Path::new(&place).exists());
    let pids = fs::read_to_string(&place).unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    // The thread that asked for them is gone; they are not.
    std::thread::sleep(Duration::from_millis(100));
    assert!(pids.iter().all(|pid| alive(*pid)), "{pids:?}");
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    eventually(|| !pids.iter().any(|pid| alive(*pid)));
}

fn eventually(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The keyword is written in one file of this repository.
#[test]
fn unsafe_code_is_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let members = [
        "actors",
        "server",
        "plugin-protocol",
        "loadtest",
        "xtask",
        "plugins",
        "fuzz",
    ];
    let mut folders: Vec<PathBuf> = members.iter().map(|member| root.join(member)).collect();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                seen += 1;
                let text = fs::read_to_string(&path).unwrap();
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                let keywords = [
                    "unsafe {",
                    "unsafe fn",
                    "unsafe impl",
                    "unsafe extern",
                    "(unsafe_code",
                ];
                let mut code = code.filter(|line| !line.contains("keywords"));
                if code.any(|line| keywords.iter().any(|keyword| line.contains(keyword))) {
                    found.push(path);
                }
            }
        }
    }
    assert!(seen > 300, "{seen} files");
    let allowed = root.join("actors/src/sandbox/kernel.rs");
    found.retain(|path| *path != allowed && !path.ends_with("tests/sandbox.rs"));
    assert_eq!(found, Vec::<PathBuf>::new());
}

fn usage_of(name: &str) -> Usage {
    let usage = process::plugin_usage();
    usage.get(name).copied().unwrap_or_default()
}

#[tokio::test]
async fn what_a_plugin_uses_is_known() {
    let mut program = program(Sandbox::plugin(Mode::BestEffort.into()));
    program.name = "measured".into();
    let mut attempts = Attempts::start(&program).await;
    attempts.done(json!(["breed", 1, 64 << 20])).await;
    attempts.done(json!(["work", 0.3])).await;
    let enough = |usage: Usage| usage.cpu_seconds >= 0.3 && usage.resident_bytes > 64 << 20;
    eventually_async(|| enough(usage_of("measured"))).await;
    assert!(usage_of("measured").threads >= 2);
    let children = process::children();
    let shown = children
        .iter()
        .find(|child| &*child.name == "measured")
        .unwrap();
    assert_eq!(shown.pid, attempts.group.pid());
    assert_eq!(&shown.sandbox, attempts.group.confinement());
    let before = usage_of("measured").cpu_seconds;
    attempts.stop().await;
    let after = usage_of("measured");
    assert_eq!(after.resident_bytes, 0);
    assert!(after.cpu_seconds >= before, "a counter goes up");
}

#[tokio::test]
async fn a_group_that_grows_beyond_its_limits_is_killed() {
    let limits = [
        (Some(Size(256 << 20)), None, json!(["breed", 5, 100 << 20])),
        (None, Some(12), json!(["breed", 40, 1])),
    ];
    for (memory, processes, attempt) in limits {
        let mut attempts = Attempts::start(&program(plugin(SandboxRules {
            mode: Some(Mode::BestEffort),
            // An account shared with others, whose processes the system does not count for us.
            user: Some(SandboxUser::Keep),
            memory,
            processes,
            ..SandboxRules::default()
        })))
        .await;
        attempts.answer(attempt).await;
        let status = timeout(Duration::from_secs(20), attempts.group.wait()).await;
        let status = status.unwrap().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
        attempts.group.end();
        let pid = attempts.group.pid();
        eventually_async(|| members(pid).is_empty()).await;
    }
}

async fn eventually_async(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Not slower than a person notices; the figures are printed.
#[tokio::test]
async fn a_sandbox_costs_little_time() {
    if !everything_is_here() {
        return;
    }
    const STARTS: u32 = 40;
    let mut medians = Vec::new();
    for (name, sandbox) in [
        ("off", Sandbox::plugin(Mode::Off.into())),
        ("server", Sandbox::server(SandboxConfig::default())),
        ("plugin", plugin(SandboxRules::default())),
    ] {
        let program = Program::new("true", "/usr/bin/true", sandbox);
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let before = Instant::now();
            let mut started = program.start().await.unwrap();
            started.group.wait().await.unwrap();
            times.push(before.elapsed());
            started.group.end();
        }
        times.sort_unstable();
        println!("{name}: median {:?}, slowest {:?}", times[20], times[39]);
        medians.push(times[20]);
    }
    assert!(
        medians[2] < medians[0] + Duration::from_millis(50),
        "{medians:?}"
    );
}
