//! The client against an endpoint that checks what it sends.

use std::sync::Mutex;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::*;

const TOOLS: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[{"name":"wäit","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}],"ttlMs":0,"cacheScope":"public"}}"#;
const EVENTS: &str = concat!(
    ": hello\n\n",
    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1,\"message\":\"half\"}}\n\n",
    "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"resultType\":\"complete\",\"content\":[]}}\n\n",
);

/// Answers like a gateway and checks the headers of the modern era.
async fn answer(request: HttpRequest, body: String) -> HttpResponse {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap_or_default().to_owned())
            .unwrap_or_default()
    };
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(header("mcp-method"), body["method"].as_str().unwrap());
    assert_eq!(header("authorization"), "Bearer t");
    if body["method"] == "tools/list" {
        return HttpResponse::Ok()
            .content_type("application/json")
            .body(TOOLS);
    }
    assert_eq!(header("mcp-name"), "=?base64?d8OkaXQ=?=");
    if body["params"]["arguments"]["region"] == "eu" {
        assert_eq!(header("mcp-param-region"), "eu");
        return HttpResponse::Ok()
            .content_type("text/event-stream")
            .body(EVENTS);
    }
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no","data":{"a":1}}}"#;
    HttpResponse::BadRequest()
        .content_type("application/json")
        .body(error)
}

async fn client() -> Client {
    let server = HttpServer::new(|| App::new().default_service(web::to(answer)))
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let address = server.addrs()[0];
    actix_rt::spawn(server.run());
    Client::new(
        &format!("http://{address}/mcp"),
        Some(Secret::new("t")),
        Duration::from_secs(10),
    )
    .unwrap()
}

#[actix_web::test]
async fn a_tool_is_called_as_its_schema_asks() {
    let client = client().await;
    let notices = Mutex::new(Vec::new());
    let result = client
        .call("wäit", r#"{"region":"eu"}"#, |text| {
            notices.lock().unwrap().push(text.to_owned())
        })
        .await
        .unwrap();
    assert_eq!(result["content"], json!([]));
    assert_eq!(notices.into_inner().unwrap(), ["half"]);
}

#[actix_web::test]
async fn an_error_is_told_with_its_code_and_data() {
    let error = client().await.call("wäit", "{}", |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), r#"no (code -32602, data {"a":1})"#);
}
