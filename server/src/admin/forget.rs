//! `POST /plugins/forget`: an operator ends what plugins have said, of everybody or of one user.

use std::sync::Arc;

use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::guard::refuse_write;
use super::pages::only_post;
use super::state::AdminState;

/// The longest request, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// Of whom; of everybody, if nobody is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgetRequest {
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    tenant_id: Option<String>,
}

pub(super) fn forgetting(state: Arc<dyn AdminState>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let forget = move |request: HttpRequest, body: Bytes| {
            std::future::ready(forget(state.as_ref(), &request, &body))
        };
        let resource = web::resource("/plugins/forget")
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .route(web::post().to(forget));
        config.service(resource.default_service(web::to(only_post)));
    }
}

fn forget(state: &dyn AdminState, request: &HttpRequest, body: &Bytes) -> HttpResponse {
    if let Some(refusal) = refuse_write(request) {
        return refusal;
    }
    let bad = |error: String| HttpResponse::BadRequest().json(json!({ "error": error }));
    let asked: ForgetRequest = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return bad(format!("the body is not what is expected: {error}")),
    };
    match (&asked.user_id, &asked.tenant_id) {
        (Some(user), tenant) => state.forget(Some((user, tenant.as_deref()))),
        (None, None) => state.forget(None),
        (None, Some(_)) => return bad("name the user of the tenant as `user_id`".to_owned()),
    }
    HttpResponse::Ok().json(json!({ "forgotten": true }))
}
