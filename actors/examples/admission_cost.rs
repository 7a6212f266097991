//! Prints what admission costs a call: `cargo run --release -p weir-actors --example admission_cost`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program to look at numbers with"
)]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_actors::admission::{Called, Caller, Callers, Gates, Passage, ServersLimits};
use weir_actors::pipeline::LimitsConfig;
use weir_actors::upstream::ServerName;
use weir_plugin_protocol::UserPrincipal;

/// Calls of one measurement.
const CALLS: u32 = 200_000;

fn main() {
    let callers = Arc::new(Callers::default());
    let gates = Arc::new(Gates::default());
    let server = ServerName::new("echo").expect("a name");
    let open: LimitsConfig = serde_json::from_str("{}").expect("limits");
    let limited: LimitsConfig = serde_json::from_str(
        r#"{"principal":{"rate":"1000000/s"},
            "rules":[{"name":"a","roles":["none"],"rate":"1/s"},
                     {"name":"b","tools":["other_*"],"rate":"1/s"},
                     {"name":"c","tools":["ec*"],"rate":"1000000/s"}]}"#,
    )
    .expect("limits");
    let servers = ServersLimits::default();
    let mut principal = UserPrincipal::named("alice");
    principal.tenant_id = Some("acme".to_owned());
    principal.roles = vec!["reader".to_owned(), "writer".to_owned()];

    let call = |limits: &LimitsConfig| {
        let caller = Caller {
            principal: &principal,
            peer: None,
        };
        let place = callers.admit(limits, &caller, NonZeroU32::MIN, true);
        let called = Called {
            server: "echo",
            tool: Some("echo"),
        };
        let mut places = Vec::new();
        let deadline = callers.call(limits, &caller, &called, &mut places);
        drop(black_box((place, deadline, places)));
    };
    let pass = || {
        let of_server = black_box(&servers).of(&server);
        let passage = gates.try_enter(&server, of_server.max_in_flight);
        black_box(passage.map(Passage::succeeded));
    };
    // The first call makes the way.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    drop(runtime.block_on(gates.enter(&server, 32, Duration::from_millis(100))));

    println!(
        "caller, nothing configured   {:>4} ns",
        median(|| call(&open))
    );
    println!(
        "caller, rate and three rules {:>4} ns",
        median(|| call(&limited))
    );
    println!("gate of the server           {:>4} ns", median(pass));
    let (callers, gates, servers) = (&callers, &gates, &servers);
    let took = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (principal, limited, server) = (&principal, &limited, &server);
                scope.spawn(move || {
                    let began = Instant::now();
                    for _ in 0..CALLS {
                        let caller = Caller {
                            principal,
                            peer: None,
                        };
                        let place = callers.admit(limited, &caller, NonZeroU32::MIN, true);
                        let places = servers.of(server).max_in_flight;
                        let passage = gates.try_enter(server, places);
                        black_box(passage.map(Passage::succeeded));
                        drop(black_box(place));
                    }
                    began.elapsed() / CALLS
                })
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .max()
    });
    println!(
        "both, two threads, one caller {:>3} ns",
        took.unwrap_or_default().as_nanos()
    );
}

/// The middle of some measurements, in nanoseconds a call.
fn median(work: impl Fn()) -> u128 {
    let mut runs: Vec<u128> = (0..15)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..CALLS / 10 {
                work();
            }
            began.elapsed().as_nanos() / u128::from(CALLS / 10)
        })
        .collect();
    runs.sort_unstable();
    runs.get(runs.len() / 2).copied().unwrap_or_default()
}
