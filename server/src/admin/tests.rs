use std::sync::Arc;

use actix_web::http::{Method, StatusCode, header};
use actix_web::middleware::from_fn;
use actix_web::{App, test, web};
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use weir_actors::settings::Hosts;

use super::{AdminState, guard, pages};

struct Half;

impl AdminState for Half {
    fn ready(&self) -> Result<(), Vec<String>> {
        Err(vec!["server time is starting".to_owned()])
    }
    fn metrics(&self) -> String {
        "weir_calls_total 1\n".to_owned()
    }
    fn tree(&self) -> Value {
        json!({ "name": "root" })
    }
    fn mailboxes(&self) -> Value {
        json!([])
    }
    fn permits(&self) -> Value {
        json!({})
    }
    fn upstreams(&self) -> Value {
        json!([])
    }
    fn plugins(&self) -> Value {
        json!([])
    }
}

async fn get(method: Method, path: &str, host: &str) -> (StatusCode, String, String) {
    let app = App::new()
        .app_data(web::Data::new(ArcSwap::from_pointee(Hosts::default())))
        .wrap(from_fn(guard::check_host))
        .configure(pages::all(Arc::new(Half)));
    let app = test::init_service(app).await;
    let request = test::TestRequest::default()
        .method(method)
        .uri(path)
        .insert_header((header::HOST, host))
        .to_request();
    let response = test::call_service(&app, request).await;
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let status = response.status();
    let body = test::read_body(response).await;
    (
        status,
        content_type,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[actix_web::test]
async fn every_page_is_there() {
    for path in [
        "/tree",
        "/mailboxes",
        "/permits",
        "/upstreams",
        "/plugins",
        "/pins",
    ] {
        let (status, content_type, body) = get(Method::GET, path, "localhost").await;
        assert_eq!(
            (status, content_type.as_str()),
            (StatusCode::OK, "application/json"),
            "{path}"
        );
        serde_json::from_str::<Value>(&body).unwrap();
    }
    let (status, content_type, body) = get(Method::GET, "/metrics", "127.0.0.1:1").await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::OK, "weir_calls_total 1\n")
    );
    assert!(content_type.starts_with("text/plain; version=0.0.4"));
}

#[actix_web::test]
async fn probes_tell_alive_from_ready() {
    let (status, _, body) = get(Method::GET, "/health", "localhost").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    let (status, _, body) = get(Method::GET, "/ready", "localhost").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        body,
        r#"{"ready":false,"waiting_for":["server time is starting"]}"#
    );
}

#[actix_web::test]
async fn everything_else_is_refused() {
    for (method, path, host, status) in [
        (Method::GET, "/nothing", "localhost", StatusCode::NOT_FOUND),
        (Method::GET, "/", "localhost", StatusCode::NOT_FOUND),
        (
            Method::POST,
            "/tree",
            "localhost",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Method::DELETE,
            "/metrics",
            "localhost",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (Method::GET, "/tree", "evil.test", StatusCode::FORBIDDEN),
        (Method::GET, "/nothing", "evil.test", StatusCode::FORBIDDEN),
    ] {
        let (found, content_type, body) = get(method, path, host).await;
        assert_eq!(
            (found, content_type.as_str()),
            (status, "application/json"),
            "{path}"
        );
        assert!(serde_json::from_str::<Value>(&body).unwrap()["error"].is_string());
    }
}
