//! Which `Host` headers are answered.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
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
