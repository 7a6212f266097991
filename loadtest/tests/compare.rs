//! The comparison, with a second echo server in the place of a gateway: the reports say what was measured.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

mod support;

use std::fs;
use std::net::TcpListener;

use serde_json::Value;
use support::program;

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn the_reports_contain_what_was_measured() {
    let out = std::env::temp_dir().join(format!("weir-loadtest-compare-{}", std::process::id()));
    let port = free_port();
    let own = program().get_program().to_str().unwrap().to_owned();
    let peer =
        format!("the twin=http://127.0.0.1:{port}/mcp='{own}' upstream --leash --port {port}");
    let output = program()
        .args(["compare", "--without", "nginx", "--without", "weir"])
        .args(["--without", "weir default", "--peer", &peer])
        .args(["--connections", "8", "--rate", "200", "--rounds", "2"])
        .args(["--seconds", "1", "--warmup-seconds", "0", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let json: Value = serde_json::from_str(&read("compare.json")).unwrap();
    let (markdown, html) = (read("compare.md"), read("compare.html"));
    fs::remove_dir_all(&out).unwrap();

    let series = json["series"].as_array().unwrap();
    assert_eq!(series.len(), 4, "{json}");
    for one in series {
        let name = one["contestant"].as_str().unwrap();
        let rates = one["calls_per_second"]["rounds"].as_array().unwrap();
        assert_eq!((rates.len(), &one["failed"]), (2, &0.into()), "{one}");
        let median = one["calls_per_second"]["median"].as_f64().unwrap();
        assert!(median > 0.0, "{one}");
        let (p50, p99) = (one["p50"].as_f64().unwrap(), one["p99"].as_f64().unwrap());
        for (text, before, after) in [(&markdown, "| ", " |"), (&html, "<td>", "</td>")] {
            for value in [median, p50, p99] {
                let cell = format!("{before}{value:.0}{after}");
                assert!(text.contains(&cell), "{cell} of {name} in {text}");
            }
            assert!(text.contains(&format!("{before}{name}{after}")), "{text}");
        }
        // Only the peer is a process under test; the server behind is told apart.
        assert_eq!(one["cpu"].is_null(), name == "direct", "{one}");
    }
    for text in [&markdown, &html] {
        for fact in ["kernel", "processor", "load average at start", "commit"] {
            assert!(text.contains(fact), "{fact} in {text}");
        }
        assert!(text.contains("--peer 'the twin="), "{text}");
    }
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("<svg "));
    assert!(!html.contains("http-equiv") && !html.contains("<script") && !html.contains("src="));
}

#[test]
fn a_program_that_is_not_installed_is_named() {
    let weir = ["--without", "weir", "--without", "weir default"];
    for (arguments, hint) in [
        (
            [&["--nginx", "no-such-nginx"], &weir[..]].concat(),
            "apt-get install",
        ),
        (
            vec!["--without", "nginx", "--weir", "/no/such/weir"],
            "cargo build --release",
        ),
    ] {
        let output = program().arg("compare").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(hint), "{said}");
    }
}
