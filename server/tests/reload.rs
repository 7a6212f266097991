//! The configuration is changed while calls are under way: what changed is in force with the next call, what did not
//! change does not notice, and no call fails for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LegacyClient, ModernClient, Outcome, names};
use support::proc_fs;
use support::process::Process;
use support::scratch::Scratch;
use support::site::{Site, tool};
use support::stream::Stream;
use support::upstream::{demo_entry, http_entry, stdio_entry};
use support::wire;

/// Reloads of the long run, and how many of them are of a file that is wrong.
const RELOADS: usize = 100;
const INVALID_EVERY: usize = 10;

/// Calls that are under way all the time.
const CALLERS: usize = 6;

/// Descriptors that may be open at the end beyond those before: connections that are kept for the next request.
const SPARE_DESCRIPTORS: usize = 6;

/// Memory that may be held at the end beyond that after the first reloads.
const SPARE_MEMORY: u64 = 24 << 20;

/// Longest time until what was changed on the disk is in force: files are looked at every second.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

/// Keeps the file from being read before the test says so.
const BY_HAND: &str = "reload: { watch: false }\n";

/// What is wrong with files, the line and the key of it.
const WRONG: [(&str, u64, &str); 4] = [
    ("reload: { watch: false }\nservers: [\n", 2, "servers[0]"),
    ("colour: blue\n", 1, "colour"),
    (
        "reload: { watch: false }\nlimits:\n  deadline: never\n",
        3,
        "limits.deadline",
    ),
    (
        "credentials: { servers: { nobody: {} } }\n",
        1,
        "credentials.servers.nobody",
    ),
];

#[tokio::test]
async fn a_hundred_reloads_under_load_fail_no_call() {
    let yaml = |number: usize| {
        let extra = match number % 3 {
            0 => format!("  extra: {}\n", demo_entry()),
            _ => String::new(),
        };
        let changing = demo_with(&format!("{}", number / 5));
        let demo = demo_entry();
        format!(
            "{BY_HAND}servers:\n  demo: {demo}\n  changing: {changing}\n{extra}http: {{ allowed_hosts: [h{number}.example] }}\n\
             policy: {{ rules: [{{ name: all, effect: allow }}, {{ name: not-{number}, effect: deny, tools: [none_{number}] }}] }}\n"
        )
    };
    let gateway = Gateway::start(&yaml(1)).connected().await;
    let pid = gateway.pid();
    let at_first = pids(pid);
    let legacy = Arc::new(
        LegacyClient::connect(gateway.endpoint(), &[])
            .await
            .unwrap(),
    );
    let modern = Arc::new(ModernClient::new(gateway.endpoint()));
    let descriptors = proc_fs::descriptors(pid);

    let done = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (legacy, modern) = (legacy.clone(), modern.clone());
            let (done, calls) = (done.clone(), calls.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let number = calls.fetch_add(1, Ordering::Relaxed);
                    one_call(&legacy, &modern, caller, number).await;
                }
            })
        })
        .collect();

    let mut memory = 0;
    let mut refused = 0;
    for number in 2..RELOADS + 2 {
        if number % INVALID_EVERY == 0 {
            let (wrong, line, key) = WRONG[refused % WRONG.len()];
            gateway.configure(wrong);
            let answer = gateway.reload().await;
            assert_eq!(answer.status, 422, "{answer:?}");
            let problem = &answer.json()["problems"][0];
            assert_eq!(problem["line"], line, "{answer:?}");
            assert_eq!(problem["key"], key, "{answer:?}");
            assert_eq!(problem["file"], gateway.config.to_str().unwrap());
            refused += 1;
        } else {
            gateway.configure(&yaml(number));
            let answer = gateway.reload().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.json()["result"], "applied", "{answer:?}");
        }
        if number == RELOADS / 4 {
            memory = resident(pid);
        }
    }
    gateway.configure(&yaml(1));
    assert_eq!(gateway.reload().await.status, 200);
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("every call was answered with a result");
    }
    println!(
        "{} calls during {RELOADS} reloads",
        calls.load(Ordering::Relaxed)
    );
    assert_eq!(refused, RELOADS / INVALID_EVERY);
    for (result, count) in [("invalid", 10.0), ("applied", 91.0), ("failed", 0.0)] {
        let name = format!("weir_config_reloads_total{{result=\"{result}\"}}");
        assert_eq!(gateway.metric(&name).await, count, "{result}");
    }
    assert_eq!(
        gateway.metric("weir_config_last_reload_successful").await,
        1.0
    );

    // What did not change is still the same; what was replaced is gone.
    let settled = proc_fs::eventually(Duration::from_secs(20), || {
        pids(pid).len() == at_first.len()
    });
    assert!(settled, "{at_first:?}, then {:?}", proc_fs::children(pid));
    let kept = pids(pid).intersection(&at_first).count();
    assert_eq!(
        kept,
        at_first.len() / 2,
        "the processes of `demo` were not touched"
    );
    assert_eq!(gateway.metric("weir_upstreams_retiring").await, 0.0);
    let limit = descriptors + SPARE_DESCRIPTORS;
    let closed = proc_fs::eventually(Duration::from_secs(20), || {
        proc_fs::descriptors(pid) <= limit
    });
    assert!(
        closed,
        "{descriptors} before, {} after",
        proc_fs::descriptors(pid)
    );
    let more = resident(pid).saturating_sub(memory);
    println!(
        "{} KiB more after {RELOADS} reloads than after {}",
        more >> 10,
        RELOADS / 4
    );
    assert!(more < SPARE_MEMORY, "{more} bytes more");
}

async fn one_call(legacy: &LegacyClient, modern: &ModernClient, caller: usize, number: u64) {
    let text = format!("{caller}-{number}");
    let server = if number.is_multiple_of(2) {
        "demo"
    } else {
        "changing"
    };
    let arguments = json!({ "text": text });
    let tool = format!("{server}__echo");
    let outcome = match caller {
        0 => {
            let slowly = json!({ "to": 4, "delay_ms": 50 });
            modern.call(&format!("{server}__slow_count"), slowly).await
        }
        caller if caller % 2 == 0 => legacy.call(&tool, arguments).await,
        _ => modern.call(&tool, arguments).await,
    };
    let Outcome::Result(result) = outcome else {
        panic!("call {text} of {server} failed: {outcome:?}")
    };
    assert_ne!(result["isError"], true, "{result}");
}

#[tokio::test]
async fn calls_under_way_finish_where_they_began() {
    let keeps = format!("{BY_HAND}servers:\n  stays: {}\n", demo_entry());
    let with = |text: &str| format!("{keeps}  other: {}\n", demo_with(text));
    let gateway = Gateway::start(&with("one")).connected().await;
    let pid = gateway.pid();
    let client = ModernClient::new(gateway.endpoint());
    let before = pids(pid);

    // Another instance serves, and the one that has the call goes on until it is answered.
    let slow = slow_call(&gateway, &client, "other__slow_count").await;
    gateway.configure(&with("two"));
    let answer = gateway.reload().await;
    let report = answer.json();
    assert_eq!(
        report["servers"]["replaced"],
        json!([{ "name": "other", "status": { "state": "ready" } }])
    );
    assert_eq!(
        report["changed"],
        json!(["servers.other.env.SAY"]),
        "{report}"
    );
    assert!(!slow.is_finished());
    assert_eq!(
        pids(pid).intersection(&before).count(),
        before.len(),
        "nobody was stopped"
    );
    assert!(pids(pid).len() > before.len(), "others were started");
    assert_eq!(
        client
            .call("other__echo", json!({ "text": "new" }))
            .await
            .text(),
        "new"
    );
    assert!(!slow.is_finished());
    assert_eq!(slow.await.unwrap().text(), "counted to 20");
    let stopped = proc_fs::eventually(Duration::from_secs(10), || {
        pids(pid).len() == before.len()
            && pids(pid).intersection(&before).count() == before.len() / 2
    });
    assert!(stopped, "{before:?}, then {:?}", proc_fs::children(pid));

    // The server is gone for everybody who comes later.
    let slow = slow_call(&gateway, &client, "other__slow_count").await;
    gateway.configure(&keeps);
    let report = gateway.reload().await.json();
    assert_eq!(report["servers"]["removed"], json!(["other"]), "{report}");
    assert_eq!(
        client.call("other__echo", json!({})).await.code(),
        Some(-32602)
    );
    assert_eq!(
        client.call("echo", json!({ "text": "alone" })).await.text(),
        "alone"
    );
    assert_eq!(slow.await.unwrap().text(), "counted to 20");
    let stopped = proc_fs::eventually(Duration::from_secs(10), || {
        pids(pid).len() == before.len() / 2
    });
    assert!(stopped, "{:?}", proc_fs::children(pid));
}

/// Starts a call of two seconds and waits until its server has it.
async fn slow_call(
    gateway: &Gateway,
    client: &ModernClient,
    tool: &str,
) -> tokio::task::JoinHandle<Outcome> {
    let (client, tool) = (client.clone(), tool.to_owned());
    let slow = tokio::spawn(async move {
        client
            .call(&tool, json!({ "to": 20, "delay_ms": 100 }))
            .await
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.metric("weir_in_flight{kind=\"request\"}").await < 1.0 {
        assert!(Instant::now() < deadline, "the call is not under way");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow
}

#[tokio::test]
async fn a_call_over_http_finishes_where_it_began_and_the_next_goes_elsewhere() {
    let (old, new) = (holding(), holding());
    let yaml = |site: &Site| format!("{BY_HAND}servers: {{ up: {} }}\n", site.entry());
    let gateway = Gateway::start(&yaml(&old)).connected().await;
    let client = ModernClient::new(gateway.endpoint());
    let held = tokio::spawn({
        let client = client.clone();
        async move { client.call("hold", json!({})).await }
    });
    until("the call is there", async || old.calls().len() == 1).await;
    gateway.configure(&yaml(&new));
    let report = gateway.reload().await.json();
    assert_eq!(report["servers"]["replaced"][0]["name"], "up", "{report}");
    client.call("echo", json!({})).await.text();
    assert_eq!((old.calls().len(), new.calls().len()), (1, 1));
    old.release();
    assert_eq!(held.await.unwrap().text(), "called hold");
}

#[tokio::test]
async fn keys_and_rules_hold_from_the_next_call_on() {
    let (alice, bob) = (ApiKey::new("alice"), ApiKey::new("bob"));
    let yaml = |keys: &[&ApiKey], rules: &str| {
        let keys: Vec<&str> = keys.iter().map(|key| key.entry.as_str()).collect();
        let keys = keys.join(", ");
        format!(
            "{BY_HAND}servers: {{ up: {} }}\nauth: {{ providers: [{{ type: api-keys, keys: [{keys}] }}] }}\npolicy: {{ rules: [{rules}] }}\n",
            demo_entry()
        )
    };
    let all = "{ name: all, effect: allow }";
    let gateway = Gateway::start(&yaml(&[&alice, &bob], all))
        .connected()
        .await;
    let processes = pids(gateway.pid());
    let client = ModernClient::new(gateway.endpoint());
    let (alices, bobs) = (client.clone().bearer(&alice.key), client.bearer(&bob.key));
    let hello = json!({ "text": "hello" });
    for client in [&alices, &bobs] {
        assert_eq!(client.call("echo", hello.clone()).await.text(), "hello");
    }

    gateway.configure(&yaml(&[&alice], all));
    assert_eq!(gateway.reload().await.json()["result"], "applied");
    let refused = bobs.call("echo", hello.clone()).await;
    assert!(
        matches!(refused, Outcome::Error { status: 401, .. }),
        "{refused:?}"
    );
    assert_eq!(alices.call("echo", hello.clone()).await.text(), "hello");

    let no_echo = "{ name: all, effect: allow }, { name: no-echo, effect: deny, tools: [echo] }";
    gateway.configure(&yaml(&[&alice], no_echo));
    assert_eq!(
        gateway.reload().await.json()["changed"],
        json!(["policy.rules"])
    );
    let denied = alices.call("echo", hello.clone()).await;
    assert!(
        matches!(denied, Outcome::Error { status: 403, .. }),
        "{denied:?}"
    );
    let listed = alices.request("tools/list", json!({})).await.result();
    assert!(!names(&listed, "tools", "name").contains(&"echo".to_owned()));

    // A file that is wrong leaves everything as it is.
    gateway.configure(&format!("{}nonsense: 1\n", yaml(&[&alice, &bob], all)));
    assert_eq!(gateway.reload().await.status, 422);
    let still = bobs.call("echo", hello.clone()).await;
    assert!(
        matches!(still, Outcome::Error { status: 401, .. }),
        "{still:?}"
    );
    let still = alices.call("echo", hello).await;
    assert!(
        matches!(still, Outcome::Error { status: 403, .. }),
        "{still:?}"
    );
    assert_eq!(pids(gateway.pid()), processes, "no server was touched");
}

#[tokio::test]
async fn a_signal_reloads_and_what_is_wrong_is_said_counted_and_recorded() {
    let yaml = |tool: &str| {
        format!(
            "{BY_HAND}servers: {{ up: {} }}\npolicy: {{ rules: [{{ name: all, effect: allow }}, {{ name: no, effect: deny, tools: [{tool}] }}] }}\n",
            demo_entry()
        )
    };
    let gateway = Gateway::start(&yaml("add")).connected().await;
    let client = ModernClient::new(gateway.endpoint());
    let last = wire::get(&format!("{}/reload", gateway.admin))
        .await
        .unwrap();
    assert_eq!(last.json(), Value::Null);

    gateway.configure(&yaml("echo"));
    gateway.hang_up();
    gateway.says("configuration reloaded");
    assert!(
        client
            .call("echo", json!({ "text": "x" }))
            .await
            .code()
            .is_some()
    );

    gateway.configure("workers: 1\nservers:\n  up: { type: http }\n");
    gateway.hang_up();
    gateway.says("configuration refused, the old one stays");
    assert!(gateway.log().contains("weir.yaml:3:"), "{}", gateway.log());
    assert_eq!(
        client.call("add", json!({ "a": 1, "b": 2 })).await.result()["structuredContent"]["sum"],
        3.0
    );
    assert_eq!(
        gateway.metric("weir_config_last_reload_successful").await,
        0.0
    );
    assert_eq!(
        gateway
            .metric("weir_config_reloads_total{result=\"invalid\"}")
            .await,
        1.0
    );
    assert!(
        gateway
            .metric("weir_config_last_reload_success_timestamp_seconds")
            .await
            > 1.7e9
    );
    let last = wire::get(&format!("{}/reload", gateway.admin))
        .await
        .unwrap();
    assert_eq!(last.json()["problems"][0]["line"], 3, "{last:?}");
    let recorded = |result: &str| {
        let records = gateway.records();
        let mut reloads = records
            .iter()
            .filter(|line| line.to_string().contains("gateway.reload"));
        reloads.any(|line| line.to_string().contains(&format!("\"{result}\"")))
    };
    assert!(proc_fs::eventually(Duration::from_secs(5), || recorded(
        "ok"
    )
        && recorded("error")));

    // The same file once more is no news.
    gateway.configure(&yaml("echo"));
    assert_eq!(
        gateway.reload().await.json(),
        json!({ "result": "unchanged", "needs_restart": [] })
    );
    assert_eq!(
        gateway.metric("weir_config_last_reload_successful").await,
        1.0
    );
}

#[tokio::test]
async fn what_cannot_be_changed_is_named_and_the_rest_is_done() {
    let gateway = Gateway::start(&format!("{BY_HAND}workers: 2\nservers: {{}}\n"))
        .connected()
        .await;
    gateway.configure(&format!(
        "{BY_HAND}workers: 3\nlimits: {{ session_idle: 5m, deadline: 7s }}\nservers: {{ up: {} }}\nlog: {{ level: debug }}\n",
        demo_entry()
    ));
    let report = gateway.reload().await.json();
    assert_eq!(
        report["needs_restart"],
        json!(["workers", "limits.session_idle"]),
        "{report}"
    );
    assert_eq!(report["servers"]["added"][0]["name"], "up", "{report}");
    let client = ModernClient::new(gateway.endpoint());
    assert_eq!(
        client.call("echo", json!({ "text": "here" })).await.text(),
        "here"
    );
    // It is said until it is done, or taken back.
    let report = gateway.reload().await.json();
    assert_eq!(
        report["needs_restart"],
        json!(["workers", "limits.session_idle"]),
        "{report}"
    );
    gateway.configure(&format!("{BY_HAND}workers: 2\nservers: {{}}\n"));
    assert_eq!(gateway.reload().await.json()["needs_restart"], json!([]));
}

#[tokio::test]
async fn web_pages_cannot_reload() {
    let gateway = Gateway::start(&format!("{BY_HAND}servers: {{}}\n"));
    let url = format!("{}/reload", gateway.admin);
    let post = http::Method::POST;
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "http://localhost:1")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-origin")],
        &[("host", "evil.example")],
    ] {
        let answer = wire::send(post.clone(), &url, headers, "").await.unwrap();
        assert_eq!(answer.status, 403, "{headers:?}: {answer:?}");
    }
    for method in [
        http::Method::PUT,
        http::Method::DELETE,
        http::Method::OPTIONS,
    ] {
        let answer = wire::send(method.clone(), &url, &[], "").await.unwrap();
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
    }
    let answer = wire::send(post, &url, &[], "").await.unwrap();
    assert_eq!(answer.json()["result"], "unchanged", "{answer:?}");
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_by_its_link() {
    let yaml = |tool: &str| {
        format!(
            "servers: {{ up: {} }}\npolicy: {{ rules: [{{ name: all, effect: allow }}, {{ name: no, effect: deny, tools: [{tool}] }}] }}\n",
            demo_entry()
        )
    };
    let gateway = Gateway::start(&yaml("add")).connected().await;
    let mount = gateway.config.parent().unwrap().to_owned();
    let link = |to: &str, name: &str| {
        symlink(to, mount.join("draft")).unwrap();
        std::fs::rename(mount.join("draft"), mount.join(name)).unwrap();
    };
    let version = |name: &str, tool: &str| {
        std::fs::create_dir(mount.join(name)).unwrap();
        std::fs::write(
            mount.join(name).join("weir.yaml"),
            gateway.whole(&yaml(tool)),
        )
        .unwrap();
        link(name, "..data");
    };
    version("..1", "add");
    link("..data/weir.yaml", "weir.yaml");
    gateway.says("nothing is different");
    let client = ModernClient::new(gateway.endpoint());
    assert_eq!(
        client.call("echo", json!({ "text": "x" })).await.text(),
        "x"
    );

    version("..2", "echo");
    let refused = async || {
        client
            .call("echo", json!({ "text": "x" }))
            .await
            .code()
            .is_some()
    };
    until("the new rule holds", refused).await;
    let sum = client.call("add", json!({ "a": 1, "b": 2 })).await;
    assert_eq!(sum.code(), None);
}

#[tokio::test]
async fn files_with_keys_and_secrets_are_read_again() {
    let folder = Scratch::new("files");
    let (alice, bob) = (ApiKey::new("alice"), ApiKey::new("bob"));
    let put = |name: &str, text: &str| {
        let draft = folder.write("draft", text);
        std::fs::rename(draft, folder.path().join(name)).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let keys = put("keys.json", &format!("[{}]", alice.entry));
    let token = put("token", "first\n");
    let site = Site::start();
    let yaml = format!(
        "servers: {{ up: {} }}\nauth: {{ providers: [{{ type: api-keys, file: {keys:?} }}] }}\n\
         credentials: {{ servers: {{ up: {{ headers: {{ authorization: \"Bearer file:{token}\" }} }} }} }}\n",
        site.entry()
    );
    let gateway = Gateway::start(&yaml).connected().await;
    let client = ModernClient::new(gateway.endpoint());
    let (alices, bobs) = (client.clone().bearer(&alice.key), client.bearer(&bob.key));
    let sent = async || {
        alices.call("echo", json!({ "text": "x" })).await.text();
        let calls = site.calls();
        calls.last().unwrap().header("authorization").join(",")
    };
    assert_eq!(sent().await, "Bearer first");

    put("token", "second\n");
    until("the new secret is sent", async || {
        sent().await == "Bearer second"
    })
    .await;
    put("keys.json", "[{");
    gateway.says("configuration refused, the old one stays");
    assert_eq!(sent().await, "Bearer second");
    put("keys.json", &format!("[{}]", bob.entry));
    until("the new key lets in", async || {
        bobs.call("echo", json!({})).await.code().is_none()
    })
    .await;
    let refused = alices.call("echo", json!({})).await;
    assert!(
        matches!(refused, Outcome::Error { status: 401, .. }),
        "{refused:?}"
    );
    assert!(!gateway.log().contains("second"), "a secret is in the log");
}

#[tokio::test]
async fn another_key_set_takes_the_place_of_the_old_at_once() {
    let Some(kit) = Kit::find("reload") else {
        return;
    };
    let folder = Scratch::new("jwks");
    let jwks = folder.path().join("jwks.json");
    let old = token(&kit, &folder, "old.json");
    let new = token(&kit, &folder, "new.json");
    std::fs::copy(folder.path().join("old.json"), &jwks).unwrap();
    let auth = json!({ "resource": "http://127.0.0.1/mcp", "providers": [{ "type": "jwt", "issuers": [{
        "issuer": "https://issuer.example", "jwks": jwks }] }] });
    let yaml = format!(
        "{BY_HAND}servers: {{ up: {} }}\nauth: {auth}\n",
        demo_entry()
    );
    let gateway = Gateway::start(&yaml).connected().await;
    let client = ModernClient::new(gateway.endpoint());
    let (olds, news) = (client.clone().bearer(&old), client.bearer(&new));
    assert_eq!(olds.call("echo", json!({ "text": "x" })).await.text(), "x");
    let refused = news.call("echo", json!({ "text": "x" })).await;
    assert!(
        matches!(refused, Outcome::Error { status: 401, .. }),
        "{refused:?}"
    );

    std::fs::copy(folder.path().join("new.json"), &jwks).unwrap();
    let report = gateway.reload().await.json();
    assert_eq!(report["result"], "applied", "{report}");
    assert_eq!(news.call("echo", json!({ "text": "x" })).await.text(), "x");
    let refused = olds.call("echo", json!({ "text": "x" })).await;
    assert!(
        matches!(refused, Outcome::Error { status: 401, .. }),
        "{refused:?}"
    );
    assert_eq!(gateway.reload().await.json()["result"], "unchanged");
}

#[tokio::test]
async fn clients_that_listen_are_told() {
    let site = holding();
    let yaml = |more: &str| format!("{BY_HAND}servers:\n  up: {}\n{more}", site.entry());
    let gateway = Gateway::start(&yaml("")).connected().await;
    let asked = json!({ "notifications": { "toolsListChanged": true } });
    let mut modern = Stream::listen(&gateway.endpoint(), asked).await;
    modern.next("subscriptions/acknowledged").await;

    gateway.configure(&yaml(&format!("  more: {}\n", demo_entry())));
    assert_eq!(gateway.reload().await.status, 200);
    modern.next("tools/list_changed").await;
    let client = ModernClient::new(gateway.endpoint());
    let listed = client.request("tools/list", json!({})).await.result();
    assert!(
        names(&listed, "tools", "name").contains(&"more__echo".to_owned()),
        "{listed}"
    );

    gateway.configure(&yaml(""));
    assert_eq!(gateway.reload().await.status, 200);
    modern.next("tools/list_changed").await;
    let listed = client.request("tools/list", json!({})).await.result();
    assert_eq!(names(&listed, "tools", "name"), ["echo", "hold"]);
}

#[tokio::test]
async fn a_legacy_session_outlives_reloads_and_hears_of_them() {
    let yaml = |more: &str| format!("{BY_HAND}servers:\n  up: {}\n{more}", demo_entry());
    let with_more = yaml(&format!("  more: {}\n", demo_entry()));
    let gateway = Gateway::start(&with_more).connected().await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    let mut stream = Stream::standalone(&gateway.endpoint(), &client.session).await;
    assert_eq!(
        client
            .call("more__echo", json!({ "text": "x" }))
            .await
            .text(),
        "x"
    );
    gateway.configure(&yaml(""));
    assert_eq!(gateway.reload().await.status, 200);
    stream.next("tools/list_changed").await;
    assert_eq!(
        client
            .call("echo", json!({ "text": "same session" }))
            .await
            .text(),
        "same session"
    );
    gateway.configure(&with_more);
    assert_eq!(gateway.reload().await.status, 200);
    stream.next("tools/list_changed").await;
    assert_eq!(
        client
            .call("up__echo", json!({ "text": "same session" }))
            .await
            .text(),
        "same session"
    );
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_reload() {
    let gateway = Gateway::start(&format!("{BY_HAND}servers: {{}}\n"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", silent.local_addr().unwrap());
    gateway.configure(&format!(
        "{BY_HAND}servers: {{ silent: {} }}\n",
        http_entry(&url)
    ));
    gateway.hang_up();
    // The new server has been connected to, and says nothing.
    tokio::task::spawn_blocking(move || silent.accept().unwrap())
        .await
        .unwrap();
    let began = Instant::now();
    assert!(gateway.terminate(Duration::from_secs(5)).success());
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_command_says_what_came_of_it() {
    let gateway = Gateway::start(&format!("{BY_HAND}servers: {{}}\n"));
    let reload = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["reload", "--url", &gateway.admin]);
        Process::run("weir reload", command, Duration::from_secs(20))
    };
    gateway.configure(&format!("{BY_HAND}servers: {{ up: {} }}\n", demo_entry()));
    let done = reload();
    assert!(done.status.success(), "{}", done.output);
    assert!(
        done.stdout.contains("applied") && done.stdout.contains("up"),
        "{}",
        done.output
    );
    gateway.configure("colour: 1\n");
    let refused = reload();
    assert_eq!(refused.status.code(), Some(2), "{}", refused.output);
    assert!(
        refused.output.contains("weir.yaml:1:1: colour: "),
        "{}",
        refused.output
    );
}

/// A server, the rule that is about it and its credentials belong together: whichever of two configurations a call is under,
/// it sees all of that one and nothing of the other.
#[tokio::test]
async fn no_call_sees_half_of_a_change() {
    let sites = [Site::start(), Site::start()];
    let tools = ["echo", "big"];
    let yaml = |number: usize| {
        let (site, tool) = (&sites[number % 2], tools[number % 2]);
        let secret = format!("secret-{}", number % 2);
        format!(
            "{BY_HAND}servers: {{ up: {} }}\npolicy: {{ rules: [{{ name: one, effect: allow, tools: [{tool}] }}] }}\n\
             credentials: {{ servers: {{ up: {{ headers: {{ x-secret: {secret} }} }} }} }}\n",
            site.entry()
        )
    };
    let gateway = Gateway::start(&yaml(0)).connected().await;
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let client = ModernClient::new(gateway.endpoint());
            let done = done.clone();
            tokio::spawn(async move {
                let (mut served, mut denied) = (0, 0);
                while !done.load(Ordering::Relaxed) {
                    let arguments = json!({ "text": "x", "bytes": 1 });
                    match client.call(tools[caller % 2], arguments).await {
                        Outcome::Result(_) => served += 1,
                        Outcome::Error { status: 403, .. } => denied += 1,
                        other => panic!("{other:?}"),
                    }
                }
                (served, denied)
            })
        })
        .collect();
    for number in 1..=40 {
        gateway.configure(&yaml(number));
        assert_eq!(gateway.reload().await.json()["result"], "applied");
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        let (served, denied) = caller.await.unwrap();
        assert!(served > 0 && denied > 0, "{served} served, {denied} denied");
    }
    for (number, site) in sites.iter().enumerate() {
        let calls = site.calls();
        assert!(!calls.is_empty());
        for call in calls {
            assert_eq!(call.message["params"]["name"], tools[number], "{call:?}");
            assert_eq!(call.header("x-secret"), [format!("secret-{number}")]);
        }
    }
}

#[tokio::test]
async fn wishes_that_come_during_a_reload_are_one() {
    let gateway = Gateway::start(&format!("{BY_HAND}servers: {{}}\n"));
    let weir = env!("CARGO_BIN_EXE_weir");
    let late = stdio_entry(
        Path::new("/bin/sh"),
        &["-c", &format!("sleep 1; exec {weir} demo")],
        &[],
    );
    gateway.configure(&format!("{BY_HAND}servers: {{ late: {late} }}\n"));
    let first = gateway.reload();
    let others = async {
        let pid = gateway.pid();
        while proc_fs::children(pid).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        futures_util::future::join_all((0..10).map(|_| gateway.reload())).await
    };
    let (first, others) = tokio::join!(first, others);
    assert_eq!(
        first.json()["servers"]["added"][0]["status"]["state"],
        "ready",
        "{first:?}"
    );
    for other in others {
        assert_eq!(other.json()["result"], "unchanged", "{other:?}");
    }
    let name = "weir_config_reloads_total{result=\"unchanged\"}";
    assert_eq!(gateway.metric(name).await, 1.0);
}

#[tokio::test]
async fn a_secret_that_comes_late_is_noticed() {
    let folder = Scratch::new("late");
    let token = folder.path().join("token");
    let site = Site::start();
    let gateway = Gateway::start("servers: {}\n");
    gateway.configure(&format!(
        "servers: {{ up: {} }}\ncredentials: {{ servers: {{ up: {{ headers: {{ x-token: \"file:{}\" }} }} }} }}\n",
        site.entry(),
        token.to_str().unwrap()
    ));
    gateway.says("configuration refused, the old one stays");
    std::fs::write(&token, "here").unwrap();
    let client = ModernClient::new(gateway.endpoint());
    until("the server is there", async || {
        client
            .call("echo", json!({ "text": "x" }))
            .await
            .code()
            .is_none()
    })
    .await;
    assert_eq!(site.calls()[0].header("x-token"), ["here"]);
}

#[tokio::test]
async fn more_or_fewer_requests_may_be_in_flight() {
    let site = holding();
    let yaml = |places: usize| {
        format!(
            "{BY_HAND}limits: {{ max_in_flight: {places} }}\nservers: {{ up: {} }}\n",
            site.entry()
        )
    };
    let gateway = Gateway::start(&yaml(1)).connected().await;
    let client = ModernClient::new(gateway.endpoint());
    let hold = || {
        let client = client.clone();
        tokio::spawn(async move { client.call("hold", json!({})).await })
    };
    let held =
        async |calls: usize| until("the call is there", async || site.calls().len() == calls).await;
    let full = async || {
        let outcome = client.call("echo", json!({ "text": "x" })).await;
        matches!(outcome, Outcome::Error { status: 503, .. })
    };
    let first = hold();
    held(1).await;
    assert!(full().await);
    gateway.configure(&yaml(2));
    assert_eq!(gateway.reload().await.json()["needs_restart"], json!([]));
    let second = hold();
    held(2).await;
    assert!(full().await);
    gateway.configure(&yaml(1));
    assert_eq!(gateway.reload().await.json()["result"], "applied");
    assert!(full().await);
    site.release();
    assert_eq!(first.await.unwrap().text(), "called hold");
    assert_eq!(second.await.unwrap().text(), "called hold");
    until("there is one place again", async || !full().await).await;
    let permits = wire::get(&format!("{}/permits", gateway.admin))
        .await
        .unwrap();
    assert_eq!(permits.json()["requests"]["limit"], 1, "{permits:?}");
}

/// The demo server with something in its environment, so that another text is another configuration.
fn demo_with(text: &str) -> String {
    stdio_entry(
        Path::new(env!("CARGO_BIN_EXE_weir")),
        &["demo"],
        &[("SAY", text)],
    )
}

fn pids(parent: u32) -> BTreeSet<u32> {
    let children = proc_fs::children(parent);
    children.iter().map(|child| child.pid).collect()
}

/// Bytes of memory that a process holds.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<u64>()
        .unwrap()
        << 10
}

/// Asks again and again until the answer is yes.
async fn until(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + NOTICED_WITHIN;
    while !question().await {
        assert!(
            Instant::now() < deadline,
            "{what}: not within {NOTICED_WITHIN:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A token of an issuer with a key of its own, whose key set is written into a file.
fn token(kit: &Kit, folder: &Scratch, jwks: &str) -> String {
    let claims =
        json!({ "iss": "https://issuer.example", "aud": "http://127.0.0.1/mcp", "sub": "alice" });
    let order =
        json!({ "jwks": folder.path().join(jwks), "tokens": { "good": { "claims": claims } } });
    let made = Process::run_with_input(
        "tokens.py",
        kit.python("tokens.py"),
        &order.to_string(),
        Duration::from_secs(30),
    );
    let tokens: HashMap<String, String> = serde_json::from_str(&made.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", made.output));
    tokens["good"].clone()
}

/// A server whose tool `hold` is answered when the test says so.
fn holding() -> Site {
    Site::offering(vec![tool("echo"), tool("hold")])
}

/// A key as `weir keys new` makes it.
struct ApiKey {
    key: String,
    /// What the configuration holds, as a JSON object.
    entry: String,
}

impl ApiKey {
    fn new(user: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["keys", "new", user]);
        let made = Process::run("weir keys new", command, Duration::from_secs(10));
        let find = |prefix: &str| {
            let mut lines = made.stdout.lines();
            let found = lines.find_map(|line| line.trim().strip_prefix(prefix));
            found.unwrap_or_else(|| panic!("no {prefix} in:\n{}", made.output))
        };
        let (key, entry) = (find("key: ").to_owned(), format!("{{{}", find("- {")));
        Self { key, entry }
    }
}
