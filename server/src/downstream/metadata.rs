//! Where a client learns who issues tokens for this gateway (RFC 9728).

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use weir_actors::builtin::challenge::WELL_KNOWN;

use super::Face;

/// The route of the metadata documents.
pub(crate) const ROUTE: &str = "/.well-known/oauth-protected-resource{path:(/.*)?}";

/// The metadata of the gateway at any of its paths. Public, and readable by web pages: there is no secret in it.
pub(crate) async fn show(request: HttpRequest, face: web::Data<Face>) -> HttpResponse {
    let path = request.path().strip_prefix(WELL_KNOWN).unwrap_or_default();
    let served = path.is_empty()
        || path == "/mcp"
        || (path.starts_with("/servers/") && path.ends_with("/mcp"));
    let settings = face.board.load().settings.clone();
    match &settings.resource {
        Some(resource) if served => {
            let resource = if path.is_empty() {
                resource.as_ref().clone()
            } else {
                resource.at_path(path)
            };
            HttpResponse::Ok()
                .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
                .content_type("application/json")
                .body(resource.metadata())
        }
        _ => HttpResponse::NotFound().finish(),
    }
}
