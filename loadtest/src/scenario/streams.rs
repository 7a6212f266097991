//! Many streams of events, open at once and silent. What does each cost the gateway?

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::findings::Findings;
use super::site::{Elsewhere, Place, Site};
use super::steady::wait_until_all_answer;
use crate::line::{Caller, shake_hands};
use crate::message::{self, Era};
use crate::process::Usage;
use crate::stand;
use crate::target::Target;
use crate::wire::Connection;

/// Streams from one source address: an address has about 28,000 ports to one destination.
const STREAMS_PER_ADDRESS: usize = 20_000;

/// Streams that are being opened at the same time.
const OPENING: usize = 64;

/// Longest wait for the first event of a stream.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// What a stream may cost, in KiB.
const GOAL_KIB: f64 = 20.0;

/// The command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// How many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    streams: u32,
    /// Seconds that they stay open, silent.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The server behind weir has streams too.
    #[arg(long)]
    upstream_streams: bool,
}

/// Runs the scenario; true if every goal was met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, String> {
    let streams = arguments.streams as usize;
    stand::raise_descriptors(u64::from(arguments.streams) + 256)?;
    let options: &[String] = if arguments.upstream_streams {
        &["--streams".to_owned()]
    } else {
        &[]
    };
    let mut site = Site::with_echo(
        &arguments.place,
        Some(&arguments.elsewhere),
        options,
        16,
        u64::from(arguments.streams) + 256,
        &json!({}),
    )?;
    wait_until_all_answer(&site, arguments.place.era)?;
    let look = |site: &Site| site.pid.map(Usage::of_tree).transpose();
    let before = look(&site)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let seconds = Duration::from_secs(arguments.seconds);
    let (open, failed, closed, opened_usage, idle_usage) = runtime.block_on(async {
        let (open, failed) = open_all(&site, arguments.place.era, streams).await;
        let opened = look(&site)?;
        tokio::time::sleep(seconds).await;
        let closed = open.iter().filter(|stream| is_closed(stream)).count();
        let idle = look(&site)?;
        Ok::<_, String>((open.len(), failed, closed, opened, idle))
    })?;
    drop(runtime);
    std::thread::sleep(Duration::from_secs(2));
    let left = look(&site)?;
    wait_until_all_answer(&site, arguments.place.era)?;
    site.is_alive()?;

    let mut findings = Findings::new(format!(
        "streams: {streams} at once, {} era",
        arguments.place.era.name()
    ));
    findings.at_least("open", open as f64, "", streams as f64);
    findings.none("could not be opened", failed.len() as u64);
    findings.none("closed by the gateway", closed as u64);
    if let (Some(before), Some(opened), Some(idle), Some(left)) =
        (before, opened_usage, idle_usage, left)
    {
        let mebibytes = |kib: u64| kib as f64 / 1024.0;
        let growth = idle.resident_kib.saturating_sub(before.resident_kib);
        let each = growth as f64 / open.max(1) as f64;
        findings.fact("resident before", mebibytes(before.resident_kib), "MiB");
        findings.fact(
            "resident with all open",
            mebibytes(idle.resident_kib),
            "MiB",
        );
        findings.fact(
            "resident after closing",
            mebibytes(left.resident_kib),
            "MiB",
        );
        findings.at_most("memory of each", each, "KiB", GOAL_KIB);
        let opening = opened.cpu().saturating_sub(before.cpu()).as_secs_f64();
        findings.fact("CPU to open each", opening * 1e6 / open.max(1) as f64, "us");
        let idling = idle.cpu().saturating_sub(opened.cpu()).as_secs_f64();
        let share = idling / seconds.as_secs_f64() * 100.0;
        findings.fact("CPU while they are silent", share, "% of a core");
    }
    let met = findings.tell(arguments.place.json);
    if let Some(first) = failed.first() {
        eprintln!("the first that could not be opened: {first}");
    }
    Ok(met)
}

/// Opens so many; returns those that are open and what went wrong with the others.
async fn open_all(site: &Site, era: Era, streams: usize) -> (Vec<TcpStream>, Vec<String>) {
    let turns = Arc::new(Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for number in 0..streams {
        let turns = Arc::clone(&turns);
        let target = site
            .targets
            .get(number % site.targets.len().max(1))
            .cloned();
        let caller = site
            .callers
            .get(number % site.callers.len().max(1))
            .cloned();
        opening.spawn(async move {
            let _turn = turns.acquire().await;
            let (Some(target), Some(caller)) = (target, caller) else {
                return Err(io::Error::other("no target"));
            };
            let source = source_address(number / STREAMS_PER_ADDRESS);
            tokio::time::timeout(OPEN_LIMIT, open(&target, era, &caller, source)).await?
        });
    }
    let (mut open, mut failed) = (Vec::new(), Vec::new());
    while let Some(outcome) = opening.join_next().await {
        match outcome {
            Ok(Ok(stream)) => open.push(stream),
            Ok(Err(error)) => failed.push(error.to_string()),
            Err(error) => failed.push(error.to_string()),
        }
    }
    (open, failed)
}

/// 127.0.0.1, 127.0.0.2 and so on.
fn source_address(number: usize) -> Ipv4Addr {
    let host = u8::try_from(number + 1).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, 0, host)
}

/// One stream, until the gateway has said that it is open.
async fn open(
    target: &Target,
    era: Era,
    caller: &Caller,
    source: Ipv4Addr,
) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if target.address.is_ipv4() && source != Ipv4Addr::LOCALHOST {
        socket.bind(SocketAddr::from((source, 0)))?;
    }
    let mut connection = Connection::new(socket.connect(target.address).await?)?;
    let mut headers = caller.headers.clone();
    if era == Era::Legacy {
        headers.extend(shake_hands(&mut connection, target, &caller.headers).await?);
        headers.push(format!("MCP-Protocol-Version: {}", era.version()));
    }
    connection
        .send(&message::listen(target, era, &headers))
        .await?;
    let head = connection.receive_head().await?;
    let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
    let streamed = head
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    if head.status() != Some(200) || !streamed {
        return Err(io::Error::other(head.start_line().to_owned()));
    }
    // In the modern era the stream is open when the first event says so.
    if era == Era::Modern {
        let event = connection.chunk().await?.unwrap_or_default();
        if !event.windows(12).any(|part| part == b"acknowledged") {
            return Err(io::Error::other("the first event is no acknowledgement"));
        }
    }
    Ok(connection.into_stream())
}

/// Whether the peer has ended it. What it has said meanwhile, such as comments, does not matter.
fn is_closed(stream: &TcpStream) -> bool {
    let mut said = [0_u8; 4096];
    loop {
        match stream.try_read(&mut said) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
