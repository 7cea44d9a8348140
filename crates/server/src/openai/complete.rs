//! `POST /v1/chat/completions` and `POST /v1/completions`.

use std::path::PathBuf;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use hearth_inference::{Generation, ModelRef};
use serde_json::{Map, Value, json};

use super::error::OpenAiError;
use super::fields::Endpoint;
use super::reply::{self, Head};
use super::request::Request;
use super::{lookup, stream};
use crate::auth::Caller;
use crate::state::AppState;

/// Continues a conversation. When the client goes away, the reply is dropped and generation stops.
pub(super) async fn chat(
    state: State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, OpenAiError> {
    answer(state, headers, body, Endpoint::Chat).await
}

/// Continues texts or tokens as they are, as [`chat`].
pub(super) async fn completion(
    state: State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, OpenAiError> {
    answer(state, headers, body, Endpoint::Completions).await
}

/// Answers one chat request that came in no call of its own, without streaming.
pub(crate) async fn answer_chat(
    state: &AppState,
    caller: &Caller,
    body: &[u8],
) -> Result<Value, OpenAiError> {
    let request = Request::chat(body, rand::random())?;
    let (head, generation) = begin(state, caller, request, Endpoint::Chat).await?;
    Ok(reply::value(head, generation).await?.0)
}

/// Tries fields that many chat requests will have on one with a message.
///
/// # Errors
/// What such a request would be refused for, before its model is asked.
pub(crate) fn check_chat_options(fields: &Map<String, Value>) -> Result<(), OpenAiError> {
    let mut body = fields.clone();
    body.insert("messages".to_owned(), json!([{"role": "user", "content": "hello"}]));
    check_chat(body)
}

/// Looks at a chat request as if it had a model.
///
/// # Errors
/// What it would be refused for, before its model is asked.
pub(crate) fn check_chat(mut body: Map<String, Value>) -> Result<(), OpenAiError> {
    body.insert("model".to_owned(), "accounts/a/models/m".into());
    let body = serde_json::to_vec(&body).expect("JSON values can be written");
    let Request { options, inputs, .. } = Request::chat(&body, 0)?;
    let nowhere = ModelRef { base_dir: PathBuf::new(), adapter_dir: None };
    options.request(nowhere, inputs).check().map_err(|error| OpenAiError::of_inference(error, Endpoint::Chat))
}

async fn answer(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
    endpoint: Endpoint,
) -> Result<Response, OpenAiError> {
    let caller = crate::auth::authenticate(&state, &headers).await?;
    if caller.is_suspended {
        return Err(OpenAiError::suspended(&caller.account));
    }
    let body = body?;
    let request = match endpoint {
        Endpoint::Chat => Request::chat(&body, rand::random())?,
        Endpoint::Completions => Request::completion(&body, rand::random())?,
    };
    let (head, generation) = begin(&state, &caller, request, endpoint).await?;
    if head.options.stream {
        return Ok(stream::reply(head, generation));
    }
    reply::whole(head, generation).await
}

async fn begin(
    state: &AppState,
    caller: &Caller,
    request: Request,
    endpoint: Endpoint,
) -> Result<(Head, Generation), OpenAiError> {
    let Request { options, inputs, tools } = request;
    let model = lookup::find(state, caller, &options.model).await?;
    let generation = state.inference().generate(options.request(model, inputs)).await;
    let generation = generation.map_err(|error| OpenAiError::of_inference(error, endpoint))?;
    Ok((Head::new(endpoint, options, tools, &generation), generation))
}
