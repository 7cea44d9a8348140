//! REST, read off the descriptors: a new RPC with a `google.api.http` option needs no code here.
//!
//! A request is matched against the path templates, its path variables, query and body are put into the
//! request message, and the same tonic service that answers gRPC answers it. Query parameters and body fields
//! that the message does not have are ignored, as the hosted service does.

mod call;
pub(crate) mod fields;
mod json;
pub(crate) mod routes;
pub(crate) mod status;
pub(crate) mod template;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tonic::Status;

use crate::context::{Face, Present};
use crate::error::ServerError;
use crate::gateway::job::event_stream::job_event_stream;
use crate::limits::{CONTROL_BODY_MAX_BYTES, CONTROL_TIMEOUT};
use crate::note;
use crate::state::AppState;
pub(crate) use json::service;
use routes::{BodyTarget, Found, Table, Target};
use template::Captures;

/// The REST face of the gateway.
pub(crate) struct Transcoder {
    table: Table,
}

impl Transcoder {
    /// Of the gateway's descriptors.
    pub(crate) fn new() -> Self {
        Self { table: Table::new(&service(&hearth_proto::descriptor_pool())) }
    }
}

/// Answers every request that has no route of its own.
pub(crate) async fn handle(State(state): State<AppState>, request: Request) -> Response {
    if crate::grpc::is_grpc(&request) {
        let path = request.uri().path();
        return Status::unimplemented(format!("no such call: {path}")).into_http::<Body>();
    }
    let found = state.transcoder().table.find(request.method(), request.uri().path());
    if let (Found::Route(route, _), Some(note)) = (&found, note::current()) {
        note.set_route(Arc::clone(&route.path));
        if matches!(route.target, Target::DatasetUpload) {
            note.set_upload();
        }
    }
    match found {
        Found::Nothing => {
            ServerError::NotFound(format!("no such path: {}", request.uri().path())).into_response()
        }
        Found::OtherMethods(methods) => {
            let allow: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
            ServerError::WrongMethod { method: request.method().to_string(), allow: allow.join(", ") }
                .into_response()
        }
        Found::Route(route, captures) => match &route.target {
            Target::DatasetUpload => {
                crate::http::upload::dataset_upload(state.clone(), first(captures), request)
                    .await
                    .into_response()
            }
            Target::JobEventStream => job_event_stream(state.clone(), first(captures), request)
                .await
                .unwrap_or_else(IntoResponse::into_response),
            Target::Rpc { method, body } => {
                rpc(&state, method, body, captures, request).await.unwrap_or_else(IntoResponse::into_response)
            }
        },
    }
}

/// The one name that a path holds.
fn first(captures: Captures) -> String {
    captures.into_iter().map(|(_, text)| text).next().unwrap_or_default()
}

/// A message of the gateway as REST answers have it.
pub(crate) fn to_json<M: Message>(type_name: &str, message: &M) -> Result<String, ServerError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
        ServerError::internal("writing a message as JSON", source)
    };
    let desc = hearth_proto::descriptor_pool()
        .get_message_by_name(&format!("gateway.{type_name}"))
        .expect("the caller names a message of the gateway");
    let message = DynamicMessage::decode(desc, message.encode_to_vec().as_slice());
    let text = json::write(&message.map_err(|error| failed(error.into()))?, &[]);
    String::from_utf8(text.map_err(|error| failed(error.into()))?).map_err(|error| failed(error.into()))
}

async fn rpc(
    state: &AppState,
    method: &MethodDescriptor,
    target: &BodyTarget,
    captures: Captures,
    request: Request,
) -> Result<Response, ServerError> {
    let (mut parts, body) = request.into_parts();
    // Before the body is read: a stranger costs nothing.
    let caller = crate::auth::authenticate(state, &parts.headers).await?;
    let body = read_all(body).await?;
    let message = message(method, target, &captures, parts.uri.query().unwrap_or_default(), &body)?;
    let mut extensions = std::mem::take(&mut parts.extensions);
    extensions.insert(caller);
    extensions.insert(Face::Rest);
    if parts.method == http::Method::PATCH {
        extensions.insert(Present(json::present(target, &body)));
    }
    let mask = json::read_mask(&message);
    match call::call(state, method, &message, extensions).await {
        Ok(reply) => {
            let text = json::write(&reply, &mask)
                .map_err(|source| ServerError::internal("writing a reply as JSON", source))?;
            Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response())
        }
        Err(status) => Ok(status::error_response(&status, None)),
    }
}

/// The request message: the body first, then the query, then the path, which wins.
fn message(
    method: &MethodDescriptor,
    target: &BodyTarget,
    captures: &Captures,
    query: &str,
    body: impl AsRef<[u8]>,
) -> Result<DynamicMessage, ServerError> {
    let mut message = DynamicMessage::new(method.input());
    json::read_body(&mut message, target, body.as_ref()).map_err(ServerError::invalid)?;
    if !matches!(target, BodyTarget::Message) {
        read_query(&mut message, target, captures, query)?;
    }
    for (path, text) in captures {
        fields::set(&mut message, path, text).map_err(ServerError::invalid)?;
    }
    Ok(message)
}

async fn read_all(body: Body) -> Result<bytes::Bytes, ServerError> {
    let bytes =
        tokio::time::timeout(CONTROL_TIMEOUT, axum::body::to_bytes(body, CONTROL_BODY_MAX_BYTES)).await;
    let bytes = bytes.map_err(|_| {
        ServerError::DeadlineExceeded(format!(
            "the body did not come within {} seconds",
            CONTROL_TIMEOUT.as_secs()
        ))
    })?;
    bytes.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(at) = cause {
            if at.is::<http_body_util::LengthLimitError>() {
                return ServerError::TooLarge { what: "the body", max_bytes: CONTROL_BODY_MAX_BYTES as u64 };
            }
            cause = at.source();
        }
        ServerError::invalid("the body broke off")
    })
}

/// Query parameters whose field is not already bound by the path or the body.
fn read_query(
    message: &mut DynamicMessage,
    target: &BodyTarget,
    captures: &Captures,
    query: &str,
) -> Result<(), ServerError> {
    for (key, text) in form_urlencoded::parse(query.as_bytes()) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let in_body = match target {
            BodyTarget::Field(field) => path[0] == field.name() || path[0] == field.json_name(),
            BodyTarget::None | BodyTarget::Message => false,
        };
        if in_body || captures.iter().any(|(captured, _)| *captured == path) {
            continue;
        }
        fields::set(message, &path, &text).map_err(|what| {
            ServerError::invalid(format!("query parameter {key}: {what}")).with_violation(key.as_ref(), what)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
