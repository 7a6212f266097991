//! The pages of the admin listener, and the two probes that the client face has as well.

use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::{AdminState, forget, guard, pins, plugins};

type State = Arc<dyn AdminState>;
type Part = fn(&dyn AdminState) -> Value;

/// Pages that show a part of the state as JSON.
const PAGES: [(&str, Part); 6] = [
    ("/tree", |state| state.tree()),
    ("/mailboxes", |state| state.mailboxes()),
    ("/permits", |state| state.permits()),
    ("/upstreams", |state| state.upstreams()),
    ("/plugins", |state| state.plugins()),
    ("/pins", |state| state.pins()),
];

/// Adds `/health` and `/ready`.
pub fn probes(state: State) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        page(config, "/health", &state, health);
        page(config, "/ready", &state, ready);
    }
}

/// Adds every page of the admin listener.
pub(super) fn all(state: State) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        page(config, "/metrics", &state, |state| {
            HttpResponse::Ok()
                .insert_header((
                    header::CONTENT_TYPE,
                    "text/plain; version=0.0.4; charset=utf-8",
                ))
                .body(state.metrics())
        });
        for (path, part) in PAGES {
            page(config, path, &state, move |state| {
                HttpResponse::Ok().json(part(state))
            });
        }
        pins::accepting(Arc::clone(&state))(config);
        forget::forgetting(Arc::clone(&state))(config);
        plugins::one(Arc::clone(&state))(config);
        reload(config, &state);
        probes(state)(config);
        config.default_service(web::to(not_found));
    }
}

fn page(
    config: &mut ServiceConfig,
    path: &str,
    state: &State,
    show: impl Fn(&dyn AdminState) -> HttpResponse + Copy + 'static,
) {
    let answer = {
        let state = Arc::clone(state);
        move || {
            let mut response = show(state.as_ref());
            response.headers_mut().insert(
                header::CACHE_CONTROL,
                header::HeaderValue::from_static("no-store"),
            );
            std::future::ready(response)
        }
    };
    let resource = web::resource(path)
        .route(web::get().to(answer.clone()))
        .route(web::head().to(answer));
    config.service(resource.default_service(web::to(wrong_method)));
}

/// `POST /reload` has the configuration read again; GET shows what came of it the last time.
fn reload(config: &mut ServiceConfig, state: &State) {
    let (last, next) = (Arc::clone(state), Arc::clone(state));
    let show = move || {
        let last = last.last_reload();
        std::future::ready(HttpResponse::Ok().json(last))
    };
    let order = move |request: HttpRequest| {
        let next = Arc::clone(&next);
        async move {
            if let Some(refusal) = guard::refuse_page(&request) {
                return refusal;
            }
            let (status, report) = next.reload().await;
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            HttpResponse::build(status)
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .json(report)
        }
    };
    let refuse = || async {
        HttpResponse::MethodNotAllowed()
            .insert_header((header::ALLOW, "GET, POST"))
            .json(json!({ "error": "use POST to reload, GET for the last reload" }))
    };
    let resource = web::resource("/reload")
        .route(web::get().to(show))
        .route(web::post().to(order));
    config.service(resource.default_service(web::to(refuse)));
}

/// 200 as long as the process should be kept; the body is empty.
fn health(state: &dyn AdminState) -> HttpResponse {
    match state.healthy() {
        Ok(()) => HttpResponse::Ok().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// 200 as soon as requests are served; else 503 and what is missing.
fn ready(state: &dyn AdminState) -> HttpResponse {
    match state.ready() {
        Ok(()) => HttpResponse::Ok().json(json!({ "ready": true })),
        Err(waiting_for) => HttpResponse::ServiceUnavailable()
            .json(json!({ "ready": false, "waiting_for": waiting_for })),
    }
}

/// The answer to another method at a page that shows something.
pub(super) async fn wrong_method() -> HttpResponse {
    let body = json!({ "error": "this page can only be read; use GET" });
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, "GET, HEAD"))
        .json(body)
}

/// The answer to another method at a page that changes something.
pub(super) async fn only_post() -> HttpResponse {
    let body = json!({ "error": "this page changes something; use POST" });
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, "POST"))
        .json(body)
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    let mut paths = vec!["/metrics", "/health", "/ready", "/reload"];
    paths.extend(PAGES.map(|(path, _)| path));
    let shown: String = request.path().chars().take(100).collect();
    HttpResponse::NotFound()
        .json(json!({ "error": format!("there is no page {shown:?}"), "pages": paths }))
}
