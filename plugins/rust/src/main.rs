//! A policy evaluator: a roster says which roles may use which servers.
//!
//! ```yaml
//! plugins:
//!   policy:
//!     type: subprocess
//!     subprocess: { exec: weir-plugin-roster, args: [roster.json] }
//! ```
//!
//! The roster is one JSON object of lists, and `*` stands for every server:
//! `{ "developer": ["github", "docs"], "admin": ["*"] }`. Who has no role in it may use nothing.

mod roster;

use std::io::{self, Write};
use std::net::Ipv4Addr;

use actix_web::web::{Data, Json};
use actix_web::{App, HttpServer, web};
use weir_plugin_protocol::call::{CallRequest, CallResponse, port_line};

use roster::{Question, Roster};

/// Serves until the gateway says SIGTERM.
#[actix_web::main]
async fn main() -> io::Result<()> {
    let path = std::env::args_os().nth(1);
    let path = path.ok_or_else(|| io::Error::other("name the roster: weir-plugin-roster FILE"))?;
    let roster = Data::new(Roster::read(path.as_ref())?);
    let app = move || {
        App::new()
            .app_data(roster.clone())
            .route("/health", web::get().to(async || ""))
            .route("/call", web::post().to(call))
    };
    let server = HttpServer::new(app).workers(1).shutdown_timeout(2);
    let server = server.bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = server.addrs().first().map_or(0, |address| address.port());
    // The gateway waits for this line, and the port is open already.
    writeln!(io::stdout(), "{}", port_line(port))?;
    server.run().await
}

async fn call(roster: Data<Roster>, Json(call): Json<CallRequest>) -> Json<CallResponse> {
    Json(match call.method.as_str() {
        "check-access" => match call.params::<Question>() {
            Ok(question) => CallResponse::result(&roster.decide(&question)),
            Err(error) => CallResponse::Error(error),
        },
        other => CallResponse::unknown_method(other),
    })
}
