//! The admin listener: metrics, health and the state of everything, for operators and scrapers on this machine.
//!
//! It never answers a request that names a foreign host, so that a web page cannot read it by DNS rebinding.

mod forget;
mod guard;
mod pages;
mod pins;
mod plugins;
mod state;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use arc_swap::ArcSwap;
use weir_actors::settings::Hosts;

pub use pages::probes;
pub use pins::{AcceptRefused, AcceptRequest};
pub use plugins::Tending;
pub use state::AdminState;

/// Connections that are open at a time: an operator and a few scrapers.
const MAX_CONNECTIONS: usize = 64;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the admin server on a bound listener. It runs on a thread of its own while the returned future is polled.
///
/// # Errors
/// The listener cannot be used.
pub fn server(
    listener: TcpListener,
    hosts: Arc<ArcSwap<Hosts>>,
    state: Arc<dyn AdminState>,
) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(Arc::clone(&hosts)))
            .wrap(from_fn(guard::check_host))
            .configure(pages::all(Arc::clone(&state)))
    });
    let server = server
        .workers(1)
        .max_connections(MAX_CONNECTIONS)
        .client_request_timeout(REQUEST_TIMEOUT)
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?
        .run();
    Ok(server)
}

#[cfg(test)]
mod tests;
