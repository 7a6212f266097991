//! What an operator may write in weir.yaml, and what is said of what may not be written.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use weir::config::{AuditSinkKind, Config, load_text, parse_text, schema};
use weir_actors::plugin::{McpServer, Provider};
use weir_actors::seal::SealKey;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "PORT" => "9100",
        "TRUE" => "true",
        "TOKEN" => "s3cret-t0ken",
        "EVIL" => "x\nlisten: 0.0.0.0:1",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn load(text: &str) -> Config {
    load_text(text, "weir.yaml", &environment).unwrap_or_else(|error| panic!("{error}"))
}

fn refusals(text: &str) -> String {
    load_text(text, "weir.yaml", &environment)
        .expect_err("this configuration is wrong")
        .to_string()
}

#[test]
fn nothing_at_all_is_a_configuration() {
    for text in [
        "",
        "# only a comment\n",
        "---\n",
        "{}",
        "servers:\nplugins:\nauth: {}\n",
    ] {
        let config = load(text);
        assert_eq!(config.listen.to_string(), "127.0.0.1:8811");
        assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8812");
        assert!(config.servers.is_empty());
    }
}

#[test]
fn servers_keep_the_order_of_the_file() {
    let config = load(
        "servers:\n  zeta: { type: stdio, command: z }\n  alpha: { type: stdio, command: a }\n  mid: { type: stdio, command: m }\n",
    );
    let names: Vec<_> = config
        .servers
        .iter()
        .map(|(name, _)| name.as_str().to_owned())
        .collect();
    assert_eq!(names, ["zeta", "alpha", "mid"]);
}

#[test]
fn variables_stand_for_any_value() {
    let config = load("listen: 127.0.0.1:${PORT}\nadmin: { allow_remote: \"${TRUE}\" }\ndrain_timeout: \"${PORT}ms\"\nlog: { level: \"weir=${TRUE}${EMPTY}\" }\n".replace("weir=${TRUE}", "info").as_str());
    assert_eq!(config.listen.to_string(), "127.0.0.1:9100");
    assert!(config.admin.allow_remote);
    assert_eq!(config.drain_timeout.0, Duration::from_millis(9100));
}

#[test]
fn a_variable_is_a_value_and_never_yaml() {
    let config = load(
        "http: { allowed_hosts: [\"a\"] }\nservers: { one: { type: stdio, command: run, args: [\"${EVIL}\", \"$${EVIL}\"] } }\n",
    );
    assert_eq!(config.listen.to_string(), "127.0.0.1:8811");
    let shown = serde_json::to_value(&config.servers).unwrap();
    assert_eq!(
        shown["one"]["args"],
        serde_json::json!(["x\nlisten: 0.0.0.0:1", "${EVIL}"])
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_a_way_out() {
    for (text, refusal) in [
        (
            "lisen: 1",
            "weir.yaml:1:1: lisen: this key is not known; did you mean `listen`?",
        ),
        (
            "listen: 8811",
            "weir.yaml:1:9: listen: `8811` is not an address to listen on; write IP:PORT such as 127.0.0.1:8811",
        ),
        (
            "listen:\n  - 1",
            "weir.yaml:2:3: listen: found a list, expected a text",
        ),
        (
            "drain_timeout: soon",
            "weir.yaml:1:16: drain_timeout: not a duration: \"soon\" (write it like 100ms, 5s, 1m30s)",
        ),
        (
            "supervision: { root: { intensity: -1 } }",
            "weir.yaml:1:35: supervision.root.intensity: found `-1`, expected a whole number from 0 to 4294967295",
        ),
        (
            "supervision: { root: { intensity: \"30\" } }",
            "weir.yaml:1:35: supervision.root.intensity: found the text \"30\", expected a whole number from 0 to 4294967295",
        ),
        (
            "admin:\n  allow_remote: yes",
            "weir.yaml:2:17: admin.allow_remote: found the text \"yes\", expected true or false",
        ),
        (
            "admin: loopback",
            "weir.yaml:1:8: admin: found the text \"loopback\", expected a map",
        ),
        (
            "log: { format: xml }",
            "weir.yaml:1:16: log.format: `xml` is not known; use one of `auto`, `text`, `json`",
        ),
        (
            "log: { level: loud }",
            "weir.yaml:1:8: log.level: \"loud\" is not a level; write `info`, `debug` or `info,module=debug`",
        ),
        (
            "listen: ${NOPE}:1",
            "weir.yaml:1:9: listen: the environment variable NOPE is not set; set NOPE or replace `${NOPE}` by a value",
        ),
        (
            "listen: \"${NOPE\"",
            "weir.yaml:1:9: listen: a `${` is not closed; write `${NAME}`, or `$${` for the two characters themselves",
        ),
        (
            "servers:\n  a: { type: stdio, command: x }\n  a: { type: stdio, command: y }",
            "weir.yaml:3:3: servers.a: the key is already set in line 2; remove one of the two",
        ),
        (
            "servers:\n  a__b: { type: stdio, command: x }",
            "weir.yaml:2:3: servers.a__b: server name \"a__b\"; use 1 to 32 of A-Z a-z 0-9 - _, without `__` and no `_` at either end",
        ),
        (
            "servers:\n  a: { command: x }",
            "weir.yaml:2:3: servers.a: `type` is missing; add it",
        ),
        (
            "servers:\n  a: { type: stdio, command: x, url: y }",
            "weir.yaml:2:33: servers.a.url: `url` means nothing to a server of type stdio; remove it",
        ),
        (
            "- listen",
            "weir.yaml:1:1: the file is not a map; write keys such as `listen: 127.0.0.1:8811`",
        ),
        (
            "listen: !!binary x",
            "weir.yaml:1:18: listen: tags have no meaning here; remove the `!…`",
        ),
        (
            "a: &a { x: 1 }\nadmin:\n  <<: *a",
            "weir.yaml:3:3: admin: merge keys (`<<`) are not read; write the keys out",
        ),
        (
            "admin: { allow_remote: ${TRUE} }",
            "weir.yaml:1:25: admin: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'; write \"${NAME}\" with quotes inside { } and [ ]",
        ),
        (
            "log: {}\n---\nlog: {}",
            "weir.yaml:3:1: the file has a second document; remove the `---` between them",
        ),
        (
            "admin: { listen: 0.0.0.0:1 }",
            "weir.yaml:1:10: admin.listen: 0.0.0.0:1 can be reached from other machines and asks for no password; use 127.0.0.1 or set `allow_remote: true`",
        ),
        (
            "listen: 127.0.0.1:5\nadmin: { listen: 127.0.0.1:5 }",
            "weir.yaml:2:10: admin.listen: 127.0.0.1:5 is also the address for clients; use another port",
        ),
        (
            "http: { allowed_hosts: [a, \"b:1\"] }",
            "weir.yaml:1:28: http.allowed_hosts[1]: \"b:1\" is not a host name; write it without scheme, port and path",
        ),
        (
            "http: { allowed_origins: [\"https://a/b\"] }",
            "weir.yaml:1:27: http.allowed_origins[0]: \"https://a/b\" is not an origin; write scheme and host, such as https://console.example.com",
        ),
    ] {
        assert_eq!(refusals(text), refusal, "{text}");
    }
    assert!(
        refusals("listen: \"a").starts_with("weir.yaml:1:"),
        "{}",
        refusals("listen: \"a")
    );
}

#[test]
fn one_run_shows_every_problem() {
    let text = "\
lisen: 1
admin:
  listen: ${NOPE}
  colour: red
servers:
  one: { type: stdio }
  two: { type: http, url: \"http://localhost/mcp\", colour: blue }
  three: { type: carrier-pigeon }
drain_timeout: x
";
    let refusals = refusals(text);
    let keys: Vec<_> = refusals
        .lines()
        .map(|line| line.split(':').nth(3).unwrap_or_default().trim())
        .collect();
    assert_eq!(
        keys,
        [
            "lisen",
            "admin.listen",
            "admin.colour",
            "servers.one",
            "servers.two.colour",
            "servers.three.type",
            "drain_timeout"
        ],
        "{refusals}"
    );
}

#[test]
fn what_the_environment_says_is_not_repeated() {
    for text in [
        "listen: ${TOKEN}",
        "log: { level: \"info,${TOKEN}\" }",
        "log: { format: \"${TOKEN}\" }",
        "drain_timeout: ${TOKEN}",
        "servers: { one: { type: \"${TOKEN}\" } }",
        "servers: { one: { type: http, url: \"${TOKEN}\" } }",
        "servers: { one: { type: http, url: \"http://${TOKEN}@x/\" } }",
        "plugins: { telemetry: { provider: \"${TOKEN}\" } }",
        "plugins: { telemetry: { type: \"${TOKEN}\" } }",
        "plugins: { telemetry: { provider: mcp, server: \"${TOKEN}\" } }",
        "http: { allowed_hosts: [\"${TOKEN}:1\"] }",
    ] {
        let refusals = refusals(text);
        assert!(!refusals.contains("s3cret"), "{refusals}");
    }
    let config = load(
        "plugins: {}\nservers: { one: { type: http, url: \"http://localhost:1/mcp\", headers: { Authorization: \"Bearer ${TOKEN}\" } } }\n",
    );
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(
        !serde_json::to_string(&config.servers)
            .unwrap()
            .contains("s3cret")
    );
}

#[test]
fn hostile_files_are_refused() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    assert!(
        refusals(bomb).contains("counting aliases"),
        "{}",
        refusals(bomb)
    );
    for text in [
        "[".repeat(100_000),
        "a:\n".repeat(10),
        "- ".repeat(5_000),
        "a: *b".to_owned(),
        "\u{0}".to_owned(),
        "a: \"\\ud800\"".to_owned(),
        "x".repeat(2_000_000),
    ] {
        assert!(refusals(&text).starts_with("weir.yaml:"));
    }
}

#[test]
fn both_dialects_of_plugins_parse_as_they_are() {
    let token = |name: &str| (name == "PLUGIN_TOKEN").then(|| "s3cret".to_owned());
    for (text, transports) in [
        (
            include_str!("config/processes-desktop.yaml"),
            vec!["subprocess"],
        ),
        (
            include_str!("config/processes-sidecar.yaml"),
            vec!["sidecar"],
        ),
        (
            include_str!("config/processes-two.yaml"),
            vec!["subprocess", "subprocess"],
        ),
        (
            include_str!("config/sidecars-two.yaml"),
            vec!["sidecar", "sidecar"],
        ),
        (
            include_str!("config/roles-in-memory.yaml"),
            vec!["in-memory", "in-memory"],
        ),
        (
            include_str!("config/roles-mcp.yaml"),
            vec!["mcp", "mcp", "mcp"],
        ),
        (
            include_str!("config/roles-desktop.yaml"),
            vec!["in-memory", "in-memory", "mcp", "in-memory"],
        ),
        (
            include_str!("config/roles-kubernetes.yaml"),
            vec!["in-memory", "mcp", "mcp", "mcp", "mcp"],
        ),
    ] {
        let config =
            parse_text(text, "weir.yaml", &token).unwrap_or_else(|error| panic!("{error}"));
        let plugins = config.plugins.plugins().expect("the block makes sense");
        let found: Vec<_> = plugins
            .iter()
            .map(weir_actors::plugin::Plugin::transport)
            .collect();
        assert_eq!(found, transports, "{text}");
        let refused = plugins
            .iter()
            .filter(|plugin| {
                matches!(
                    plugin.provider,
                    Provider::Mcp(
                        McpServer::Catalog(_) | McpServer::Image(_) | McpServer::Registry(_)
                    )
                )
            })
            .count();
        match load_text(text, "weir.yaml", &token) {
            Ok(_) => assert_eq!(refused, 0),
            Err(error) => {
                assert_eq!(error.problems.len(), refused, "{error}");
                assert!(error.problems.iter().all(|problem| {
                    problem.what.starts_with("transport \"")
                        && problem
                            .what
                            .ends_with("\" is not available in this version")
                }));
            }
        }
    }
}

#[test]
fn both_dialects_may_stand_in_one_block() {
    let text = "plugins:\n  auth_provider: { provider: in-memory, implementation: desktop-implicit }\n  telemetry: { name: t, type: subprocess, subprocess: { exec: /bin/telemetry } }\n";
    load_text(text, "weir.yaml", &|_| None).expect("both run");
}

#[test]
fn plugins_that_make_no_sense_are_refused() {
    for (block, refusal) in [
        (
            "telemetry: { type: carrier }",
            "plugins.telemetry.type: unknown plugin type: carrier",
        ),
        (
            "telemetry: { provider: carrier }",
            "plugins.telemetry.provider: unknown provider: carrier",
        ),
        (
            "auth_provider: { provider: in-memory, implementation: x }",
            "plugins.auth_provider.implementation: unknown in-memory auth provider implementation: x; use desktop-implicit or api-keys or jwt",
        ),
        (
            "auth_proxy: { provider: mcp, server: \"ftp://x\" }",
            "plugins.auth_proxy.server: invalid server string: ftp://x (expected catalog:// or http(s)://)",
        ),
        (
            "auth_proxy: { provider: mcp, server: { type: boat } }",
            "plugins.auth_proxy.server.type: unknown server type: boat",
        ),
        (
            "auth_proxy: { provider: mcp, server: { type: image } }",
            "plugins.auth_proxy.server: a server of type image needs `image`; add it",
        ),
        (
            "auth_proxy: { provider: mcp, server: { type: image, image: x, port: 70000 } }",
            "plugins.auth_proxy.server.port: found `70000`, expected a whole number from 0 to 65535",
        ),
        (
            "auth_proxy: { provider: mcp, server: { type: image, colour: x } }",
            "plugins.auth_proxy.server.colour: this key is not known; use one of `type`, `image`, `endpoint`, `source`, `port`, `env`",
        ),
        (
            "driver: { provider: in-memory, implementation: x }",
            "plugins.driver: unknown plugin: driver (a provider plays one of: auth_provider, credential_storage, auth_proxy, audit_sink, policy_evaluator, mcp_provisioner, telemetry)",
        ),
        (
            "one: { type: sidecar, sidecar: { url: \"http://a\" } }, two: { name: one, type: sidecar, sidecar: { url: \"http://b\" } }",
            "plugins.two.name: plugin one is already loaded; choose another name",
        ),
    ] {
        let refusals = refusals(&format!("plugins: {{ {block} }}"));
        let (place, text) = refusals.split_once(": ").expect("a place");
        assert!(place.starts_with("weir.yaml:1:"), "{refusals}");
        assert_eq!(text, refusal);
    }
}

#[test]
fn sealing_keys_are_random_or_refused_without_being_shown() {
    let of = |key: &str| {
        let environment = |name: &str| (name == "WEIR_SEAL_KEY").then(|| key.to_owned());
        load_text(
            "sealing:\n  keys:\n    - ${WEIR_SEAL_KEY}\n",
            "weir.yaml",
            &environment,
        )
    };
    let good = SealKey::random()
        .expect("the system has randomness")
        .encode();
    assert_eq!(of(&good).expect("a good key").sealing.keys.len(), 1);
    let malformed = "a sealing key is 32 random bytes in base64url without padding (43 characters)";
    for (key, what) in [
        ("changeme", malformed),
        ("", malformed),
        (&good[1..], malformed),
        (
            &format!("{}A", &"changeme".repeat(6)[..42]),
            "the sealing key is a placeholder, not random",
        ),
        (
            &"A".repeat(43),
            "the sealing key is a placeholder, not random",
        ),
    ] {
        assert_eq!(
            of(key).expect_err("a bad key").to_string(),
            format!("weir.yaml:3:7: sealing.keys[0]: {what}; make one with `weir keys seal`")
        );
    }
    assert!(load("").sealing.keys.is_empty());
}

#[test]
fn the_schema_is_committed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/weir.schema.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == schema(),
        "docs/weir.schema.json is old: run `cargo run -- schema > docs/weir.schema.json`"
    );
}

#[test]
fn the_documented_example_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/weir.yaml");
    let text = std::fs::read_to_string(path).expect("the example is there");
    let key = SealKey::random()
        .expect("the system has randomness")
        .encode();
    let anything = |_: &str| Some(key.clone());
    load_text(&text, "examples/weir.yaml", &anything).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn blocks_that_do_not_fit_together_are_refused() {
    let servers = "servers:\n  time: { type: http, url: \"http://localhost/mcp\" }\n  files: { type: stdio, command: run }\n";
    for (text, refusal) in [
        (
            "credentials: { servers: { tme: {} } }",
            "credentials.servers.tme: there is no server \"tme\"; add it under `servers` or remove this",
        ),
        (
            "credentials: { servers: { files: { headers: { A: b } } } }",
            "credentials.servers.files.headers: files is a child process and gets no headers; use `env`",
        ),
        (
            "credentials: { servers: { time: { env: { A: b } } } }",
            "credentials.servers.time.env: time is reached over HTTP and gets no environment; use `headers`",
        ),
        (
            "audit: { sink: stdout, path: /x }",
            "audit.path: used with a sink that is no file; write `sink: file`, or remove it",
        ),
        (
            "audit: { rotate_bytes: 1000 }",
            "audit.rotate_bytes: too small to be useful; write at least 65536, or 0 for never",
        ),
        (
            "audit: { sink: file }\nplugins: { audit_sink: { provider: in-memory, implementation: stdout } }",
            "plugins.audit_sink.implementation: this contradicts `audit.sink`; remove one of the two",
        ),
        (
            "limits: { deadline: 0s }",
            "limits.deadline: with 0 nothing would be served; use more, or remove it for the default",
        ),
        (
            "plugins: { auth_provider: { provider: in-memory, implementation: jwt } }",
            "plugins.auth_provider.implementation: there are no issuers; write them under `auth.providers`, with `type: jwt`",
        ),
        (
            "auth: { providers: [{ type: api-keys }] }\nplugins: { auth_provider: { provider: in-memory, implementation: desktop-implicit } }",
            "plugins.auth_provider.implementation: `desktop-implicit` contradicts `auth.providers`; remove one of the two",
        ),
        (
            "policy: { rules: [] }\nplugins: { policy_evaluator: { provider: in-memory, implementation: always-allow } }",
            "plugins.policy_evaluator.implementation: `always-allow` contradicts `policy.rules`; remove one of the two",
        ),
        (
            "plugins: { policy_evaluator: { provider: in-memory, implementation: rules } }",
            "plugins.policy_evaluator.implementation: there are no rules; write them under `policy.rules`",
        ),
        (
            "audit: { sink: file, path: /x }\nplugins: { audit_sink: { provider: in-memory, implementation: stderr } }",
            "plugins.audit_sink.implementation: this contradicts `audit.sink`; remove one of the two",
        ),
    ] {
        let refusals = refusals(&format!("{servers}{text}"));
        assert_eq!(
            refusals.splitn(4, ':').nth(3).unwrap_or_default().trim(),
            refusal,
            "{text}"
        );
    }
    let config = load("plugins: { audit_sink: { provider: in-memory, implementation: stderr } }");
    assert_eq!(config.audit.sink, Some(AuditSinkKind::Stderr));
}
