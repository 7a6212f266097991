//! The built-in telemetry server: an MCP server with the tools of the telemetry role, for whoever has something to
//! measure and nobody to tell. What it is told is shown at `/metrics`.
//!
//! It is there unless a plugin plays the role. It answers on the loopback only, and never a web page.

mod answer;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use weir_actors::pipeline::metrics::Metrics;
use weir_actors::settings::Hosts;
use weir_plugin_protocol::jsonrpc::{Kind, Limits, Message, Payload, parse};
use weir_plugin_protocol::mcp::{
    Class, Era, HttpMethod, Offered, Refusal, classify, code, error_response,
};

use crate::downstream::wire_headers;

/// The longest message: one measurement.
const MAX_BYTES: usize = 64 * 1024;
/// Connections that are open at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the server on a bound listener. It runs on a thread of its own while the returned future is polled.
///
/// # Errors
/// The listener cannot be used.
pub(crate) fn server(listener: TcpListener, metrics: Arc<Metrics>) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(metrics.clone()))
            .app_data(web::PayloadConfig::new(MAX_BYTES))
            .route("/mcp", web::route().to(receive))
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

async fn receive(request: HttpRequest, body: Bytes, metrics: web::Data<Metrics>) -> HttpResponse {
    if !is_for_us(&request) {
        return HttpResponse::Forbidden().finish();
    }
    let method = match request.method().as_str() {
        "POST" => HttpMethod::Post,
        "GET" => HttpMethod::Get,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Other,
    };
    let offered = Offered {
        modern: true,
        legacy: true,
    };
    let headers = wire_headers(&request);
    let body = parse(body, &Limits::default());
    match classify(method, &headers.view(), body, offered) {
        Class::Modern(request) => said(&request.message, Era::Modern, &metrics),
        Class::Legacy(Payload::Single(message)) => said(&message, Era::Legacy, &metrics),
        Class::Legacy(Payload::Batch(_)) => refused(&Refusal::bad_request(
            code::INVALID_REQUEST,
            "batches are not taken here",
        )),
        // There are no sessions, and nothing is said unasked.
        Class::LegacySession => refused(&Refusal::method_not_allowed()),
        Class::Refused(refusal) => refused(&refusal),
    }
}

/// Nobody else's name leads here, and no page of a browser.
fn is_for_us(request: &HttpRequest) -> bool {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let is_page = request.headers().contains_key(header::ORIGIN);
    host.is_some_and(|host| Hosts::default().allow(host)) && !is_page
}

fn said(message: &Message, era: Era, metrics: &Metrics) -> HttpResponse {
    match (message.kind(), message.id()) {
        (Kind::Request, Some(id)) => {
            let answer = answer::answer(message, id, era, &metrics.recorded);
            HttpResponse::Ok()
                .content_type("application/json")
                .body(answer)
        }
        _ => HttpResponse::Accepted().finish(),
    }
}

fn refused(refusal: &Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let Refusal {
        code,
        message,
        data,
        id,
        ..
    } = refusal;
    let mut response = HttpResponse::build(status);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.insert_header((header::ALLOW, "POST"));
    }
    response
        .content_type("application/json")
        .body(error_response(
            id.as_deref(),
            *code,
            message,
            data.as_deref(),
        ))
}
