//! `/plugins/NAME`: one plugin, and what an operator can have done to it.

use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::guard::refuse_page;
use super::pages::{only_post, wrong_method};
use super::state::AdminState;

/// What an operator has done to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tending {
    /// Another instance takes over when it is healthy; no call fails.
    Reload,
    /// It is stopped and started; what it did before is forgotten.
    Restart,
}

/// The names that an answer lists when none of them was asked for.
const MAX_NAMES: usize = 200;

pub(super) fn one(state: Arc<dyn AdminState>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let shown = state.clone();
        let show = move |name: web::Path<String>| {
            let answer = show(shown.as_ref(), &name);
            std::future::ready(answer)
        };
        let resource = web::resource("/plugins/{name}")
            .route(web::get().to(show.clone()))
            .route(web::head().to(show));
        config.service(resource.default_service(web::to(wrong_method)));
        for (word, how) in [("reload", Tending::Reload), ("restart", Tending::Restart)] {
            let state = state.clone();
            let order = move |request: HttpRequest, name: web::Path<String>| {
                tend(state.clone(), request, name.into_inner(), how)
            };
            let resource =
                web::resource(format!("/plugins/{{name}}/{word}")).route(web::post().to(order));
            config.service(resource.default_service(web::to(only_post)));
        }
    }
}

fn show(state: &dyn AdminState, name: &str) -> HttpResponse {
    let plugins = state.plugins();
    match find(&plugins, name) {
        Some(plugin) => answer(StatusCode::OK, plugin),
        None => unknown(&plugins, name),
    }
}

async fn tend(
    state: Arc<dyn AdminState>,
    request: HttpRequest,
    name: String,
    how: Tending,
) -> HttpResponse {
    if let Some(refusal) = refuse_page(&request) {
        return refusal;
    }
    let plugins = state.plugins();
    if find(&plugins, &name).is_none() {
        return unknown(&plugins, &name);
    }
    let tended = state.tend_plugin(&name, how).await;
    let plugins = state.plugins();
    let plugin = find(&plugins, &name).unwrap_or(&Value::Null);
    match tended {
        Ok(()) => answer(StatusCode::OK, &json!({ "plugin": plugin })),
        Err(error) => answer(
            StatusCode::BAD_GATEWAY,
            &json!({ "error": error, "plugin": plugin }),
        ),
    }
}

fn find<'a>(plugins: &'a Value, name: &str) -> Option<&'a Value> {
    let mut plugins = plugins.as_array()?.iter();
    plugins.find(|plugin| plugin["name"] == name)
}

fn unknown(plugins: &Value, name: &str) -> HttpResponse {
    let shown: String = name.chars().take(100).collect();
    let names = plugins.as_array().into_iter().flatten();
    let names: Vec<&Value> = names
        .map(|plugin| &plugin["name"])
        .take(MAX_NAMES)
        .collect();
    let error = format!("there is no plugin {shown:?}");
    answer(
        StatusCode::NOT_FOUND,
        &json!({ "error": error, "plugins": names }),
    )
}

fn answer(status: StatusCode, body: &Value) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}
