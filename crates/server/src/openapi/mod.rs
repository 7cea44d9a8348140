//! The OpenAPI 3.1 document: `GET /openapi.json`, and `GET /docs`, which is the same as a page.
//!
//! Paths, parameters and schemas of RPCs are read off the descriptors that the routes are made of (`operation`,
//! `schema`), with the comments of the `.proto` files as descriptions. What no RPC describes is written by hand in
//! `others`. The document holds public facts only, so it needs no key. `docs/openapi.json` is its committed form, so
//! that a change of the API is seen in review.

mod chat;
mod comments;
mod examples;
mod links;
mod operation;
mod others;
mod replies;
mod schema;
mod support;
mod tools;

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use serde_json::{Map, Value, json};

use crate::state::AppState;
use crate::transcode::routes::{Table, Target};
use schema::Schemas;

/// Path of the document.
const JSON_PATH: &str = "/openapi.json";
/// Path of the page.
const PAGE_PATH: &str = "/docs";
/// Said of the whole.
const ABOUT: &str = "Fine-tunes language models on machines of your own, and answers with them. JSON is proto3 JSON: \
    names in camelCase are written and those of the `.proto` files are read too; zero values are written; 64-bit \
    integers are texts, and a request may have them as numbers; `null` means that a field is not there. Fields that \
    are not known are ignored, fields that are known and not acted on are refused by name (501). The same calls are \
    there over gRPC on the same port, as the service `gateway.Gateway`, with server reflection.";

/// The answers, made once.
struct Answers {
    document: Bytes,
    page: Bytes,
}

static ANSWERS: LazyLock<Answers> = LazyLock::new(|| {
    let document = document();
    Answers { page: crate::docs::page(&document).into(), document: document.to_string().into() }
});

/// Routes of this module. The document is made here, so a server that starts has one.
pub(crate) fn router() -> Router<AppState> {
    LazyLock::force(&ANSWERS);
    Router::new()
        .route(JSON_PATH, get(json))
        .route(PAGE_PATH, get(page))
        .method_not_allowed_fallback(crate::http::method_not_allowed)
}

async fn json() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], ANSWERS.document.clone()).into_response()
}

async fn page() -> Response {
    (crate::docs::headers(), ANSWERS.page.clone()).into_response()
}

/// Of the compiled-in descriptors.
fn document() -> Value {
    let pool = hearth_proto::descriptor_pool();
    let service = crate::transcode::service(&pool);
    let mut schemas = Schemas::new(&pool, &service);
    replies::add_schemas(&mut schemas);
    let mut operations = Vec::new();
    let mut routes_of_rpc = 0;
    let mut last_rpc = String::new();
    for route in Table::new(&service).routes() {
        // The upload is described by hand.
        let Target::Rpc { method, body } = &route.target else { continue };
        routes_of_rpc = if last_rpc == method.full_name() { routes_of_rpc + 1 } else { 1 };
        method.full_name().clone_into(&mut last_rpc);
        operations.push(operation::operation(&mut schemas, route, method, body, routes_of_rpc));
    }
    operations.extend(others::operations(&mut schemas));
    let mut paths: Map<String, Value> = Map::new();
    for mut one in operations {
        if let Some(example) = one.value["operationId"].as_str().and_then(examples::body) {
            one.value["requestBody"]["content"]["application/json"]["example"] = example;
        }
        let at = paths.entry(one.path.clone()).or_insert_with(|| json!({}));
        let before = at.as_object_mut().and_then(|at| at.insert(one.verb.clone(), one.value));
        assert!(before.is_none(), "{} {} is described twice", one.verb, one.path);
    }
    let schemas = schemas.into_components();
    links::add(&mut paths, &schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hearth",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "BearerAuth": [] }, { "ApiKeyAuth": [] }],
        "tags": [
            { "name": "Gateway", "description": "The control plane: accounts, datasets, models, jobs." },
            { "name": "Inference", "description": "Answers of models, in the form of OpenAI's API." },
            { "name": "Files", "description": "What signed URLs lead to." },
            { "name": "Server", "description": "About the server itself." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": replies::responses(),
            "headers": replies::headers(),
            "securitySchemes": {
                "BearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "API_KEY",
                    "description": "`Authorization: Bearer KEY`. The operator's key stands in `DATA_DIR/api-key`.",
                },
                "ApiKeyAuth": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The same key in a header of its own.",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests;
