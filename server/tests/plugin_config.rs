//! What the `plugins` block means, and what is said when it means nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

use weir::config::{load_text, parse_text};
use weir_actors::plugin::{Plugin, Role};

fn nothing(_: &str) -> Option<String> {
    None
}

fn plugins(block: &str) -> Vec<Plugin> {
    let config = parse_text(&format!("plugins: {{ {block} }}"), "weir.yaml", &nothing);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    config.plugins.plugins().expect("the block makes sense")
}

fn refusal(block: &str) -> String {
    let text = format!("plugins:\n  {block}\n");
    let error = load_text(&text, "weir.yaml", &nothing).expect_err("a bad block");
    error.to_string()
}

#[test]
fn a_process_plays_the_role_that_its_key_names_or_the_one_that_is_written() {
    let process = "type: subprocess, subprocess: { exec: /bin/p }";
    for (key, extra, role) in [
        ("telemetry", "", Some(Role::Telemetry)),
        ("auth", "", Some(Role::AuthProvider)),
        ("auth_provider", "", Some(Role::AuthProvider)),
        ("audit", "", Some(Role::AuditSink)),
        ("policy", "", Some(Role::PolicyEvaluator)),
        ("credentials", "", Some(Role::CredentialStorage)),
        ("provisioner", "", Some(Role::McpProvisioner)),
        ("auth_proxy", "", Some(Role::AuthProxy)),
        ("weather", "", None),
        ("weather", "role: audit_sink, ", Some(Role::AuditSink)),
        (
            "auth",
            "role: policy_evaluator, ",
            Some(Role::PolicyEvaluator),
        ),
    ] {
        let found = plugins(&format!("{key}: {{ {extra}{process} }}"));
        assert_eq!(found[0].role(), role, "{key} {extra}");
        assert_eq!(found[0].transport(), "subprocess");
    }
    let found = plugins(
        "gate: { role: policy_evaluator, provider: mcp, server: 'https://h/mcp', headers: { A: b }, tls: { ca_file: ca.pem } }",
    );
    assert_eq!(found[0].role(), Some(Role::PolicyEvaluator));
    let found = plugins("lines: { type: stdio, subprocess: { exec: /bin/lines } }");
    assert_eq!((found[0].transport(), found[0].role()), ("stdio", None));
}

#[test]
fn blocks_that_mean_nothing_are_refused_with_file_line_key_and_what_to_do() {
    for (block, expected) in [
        (
            "t: { type: subprocess, role: singer, subprocess: { exec: x } }",
            "plugins.t.role: `singer` is not known; use one of `auth_provider`, `credential_storage`, `auth_proxy`, `audit_sink`, `policy_evaluator`, `mcp_provisioner`, `telemetry`",
        ),
        (
            "{ auth: { type: stdio, subprocess: { exec: x } }, auth_provider: { type: stdio, subprocess: { exec: y } } }",
            "plugins.auth_provider: the role auth_provider is played by `auth` already; remove one of the two",
        ),
        (
            "t: { type: stdio, sidecar: { url: 'http://localhost:1' } }",
            "plugins.t.sidecar: `sidecar` does not belong to a plugin of type stdio; remove it",
        ),
        (
            "t: { type: stdio }",
            "plugins.t: a plugin of type stdio needs a `subprocess` block; add it",
        ),
        (
            "t: { type: sidecar, sidecar: { url: 'http://localhost:1' }, headers: { A: b } }",
            "plugins.t.headers: `headers` does not belong to a plugin of type sidecar; remove it",
        ),
        (
            "telemetry: { provider: in-memory, implementation: noop, tls: { ca_file: x } }",
            "plugins.telemetry.tls: `tls` does not belong to a plugin of provider in-memory; remove it",
        ),
        (
            "t: { type: sidecar, sidecar: { url: 'http://plugins.example.com:1' } }",
            "plugins.t.sidecar.url: plugins.example.com is not this machine; use localhost, or set `allow_remote: true`",
        ),
        (
            "t: { type: sidecar, sidecar: { url: 'http://10.0.0.1:1' } }",
            "plugins.t.sidecar.url: 10.0.0.1 is not this machine; use localhost, or set `allow_remote: true`",
        ),
        (
            "t: { type: sidecar, sidecar: { url: 'http://me:pw@localhost:1' } }",
            "plugins.t.sidecar.url: not an upstream URL: ",
        ),
        (
            "t: { type: sidecar, sidecar: { url: 'http://localhost:1', headers: { X: '${NOT_SET}' } } }",
            "plugins.t.sidecar.headers.X: the environment variable NOT_SET is not set; set NOT_SET or replace `${NOT_SET}` by a value",
        ),
        (
            "{ audit: { type: stdio, subprocess: { exec: x }, requires: { plugins: { gate: '*' } } }, auth: { name: gate, type: stdio, subprocess: { exec: x }, requires: { plugins: { audit: 1.2 } } } }",
            "plugins.audit.requires.plugins.gate: plugins need each other in a circle: audit -> gate -> audit; remove one of these from `requires.plugins`",
        ),
        (
            "audit: { type: stdio, subprocess: { exec: x }, requires: { plugins: { ghost: '*' } } }",
            "plugins.audit.requires.plugins.ghost: it needs the plugin ghost, which is not there; add it, or remove it from `requires.plugins`",
        ),
        (
            "t: { type: stdio, subprocess: { exec: x }, requires: { version: soon } }",
            "plugins.t.requires.version: not a range of versions: \"soon\" (write it like >=1.2, <2)",
        ),
        (
            "t: { type: stdio, subprocess: { exec: x }, requires: { on_loss: panic } }",
            "plugins.t.requires.on_loss: `panic` is not known; use one of `degrade`, `stop`",
        ),
        (
            "t: { name: 'a/b', type: stdio, subprocess: { exec: x } }",
            "plugins.t.name: this is no name for a plugin; use a letter or digit, then at most 63 of letters, digits and . _ -",
        ),
        (
            "t: { type: sidecar, sidecar: { url: 'http://localhost:1', headers: { 'X Y': z } } }",
            "plugins.t.sidecar.headers.X Y: this is no name of a header; use letters, digits and -",
        ),
    ] {
        let found = refusal(block);
        let (place, text) = found.split_once(": ").expect("a place");
        assert!(place.starts_with("weir.yaml:2:"), "{found}");
        assert!(text.starts_with(expected), "{text}\n{expected}");
    }
}
