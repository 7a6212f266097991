//! `POST /pins/accept`: an operator approves what a server offers now.

use std::sync::Arc;

use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use super::guard::refuse_write;
use super::pages::only_post;
use super::state::AdminState;

/// What is approved: everything, everything of one server, or one object of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// The server; none: all of them.
    #[serde(default)]
    pub server: Option<String>,
    /// `tool`, `prompt`, `resource` or `template`; together with `name`.
    #[serde(default)]
    pub kind: Option<String>,
    /// The object's name, URI or URI template.
    #[serde(default)]
    pub name: Option<String>,
}

/// Why nothing, or not for good, was approved. The text is for the operator.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AcceptRefused {
    /// 404: there is no such thing, or it cannot be approved.
    #[error("{0}")]
    Impossible(String),
    /// 500: it was, but only until the gateway is restarted.
    #[error("{0}")]
    NotSaved(String),
}

/// The longest request, in bytes.
const MAX_BODY: usize = 64 * 1024;

pub(super) fn accepting(state: Arc<dyn AdminState>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let accept = move |request: HttpRequest, body: Bytes| accept(state.clone(), request, body);
        let resource = web::resource("/pins/accept")
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .route(web::post().to(accept));
        config.service(resource.default_service(web::to(only_post)));
    }
}

async fn accept(state: Arc<dyn AdminState>, request: HttpRequest, body: Bytes) -> HttpResponse {
    if let Some(refusal) = refuse_write(&request) {
        return refusal;
    }
    let asked: AcceptRequest = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            let error = format!("the body is not what is expected: {error}");
            return HttpResponse::BadRequest().json(json!({ "error": error }));
        }
    };
    // It waits for the disk.
    let accepted = web::block(move || state.accept_pins(&asked)).await;
    match accepted {
        Ok(Ok(objects)) => HttpResponse::Ok().json(json!({ "accepted": objects })),
        Ok(Err(error @ AcceptRefused::Impossible(_))) => {
            HttpResponse::NotFound().json(json!({ "error": error.to_string() }))
        }
        Ok(Err(error @ AcceptRefused::NotSaved(_))) => {
            HttpResponse::InternalServerError().json(json!({ "error": error.to_string() }))
        }
        Err(_) => HttpResponse::ServiceUnavailable()
            .json(json!({ "error": "the gateway is stopping; try again" })),
    }
}
