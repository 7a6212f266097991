//! Which requests are answered: whose `Host` is ours, and of those that change something, which no web page can send.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use serde_json::json;
use weir_actors::settings::Hosts;

/// Answers 403 to requests for hosts that are not ours.
pub(super) async fn check_host(
    hosts: web::Data<ArcSwap<Hosts>>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut found = request.headers().get_all(header::HOST);
    let allowed = match (found.next(), found.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| hosts.load().allow(host)),
        _ => false,
    };
    if !allowed {
        let refusal = HttpResponse::Forbidden().json(json!({
            "error": "this host is not served; use localhost or an address, or add it to admin.allowed_hosts",
        }));
        return Ok(request.into_response(refusal).map_into_boxed_body());
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Refuses requests that a web page could have made a browser send. Browsers say whose page it is (`Origin`,
/// `Sec-Fetch-Site`), and send JSON to others only after they have asked, which is never answered with yes.
pub(super) fn refuse_write(request: &HttpRequest) -> Option<HttpResponse> {
    if let Some(refusal) = refuse_page(request) {
        return Some(refusal);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let media_type = content_type.and_then(|value| value.to_str().ok()?.split(';').next());
    if !media_type
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
    {
        let error = "send the body as application/json";
        return Some(HttpResponse::UnsupportedMediaType().json(json!({ "error": error })));
    }
    None
}

/// Refuses requests that say that they are a web page's.
pub(super) fn refuse_page(request: &HttpRequest) -> Option<HttpResponse> {
    let headers = request.headers();
    let is_of_page = headers.contains_key(header::ORIGIN)
        || headers
            .get("sec-fetch-site")
            .is_some_and(|site| site != "none");
    if is_of_page {
        let error = "web pages may not change anything here; use `weir` or curl";
        return Some(HttpResponse::Forbidden().json(json!({ "error": error })));
    }
    None
}
