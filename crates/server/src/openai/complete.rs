//! `POST /v1/chat/completions` and `POST /v1/completions`.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::Response;

use super::error::OpenAiError;
use super::fields::Endpoint;
use super::reply::{self, Head};
use super::request::Request;
use super::{lookup, stream};
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

async fn answer(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
    endpoint: Endpoint,
) -> Result<Response, OpenAiError> {
    let caller = crate::auth::authenticate(&state, &headers).await?;
    let body = body?;
    let Request { options, inputs, tools } = match endpoint {
        Endpoint::Chat => Request::chat(&body, rand::random())?,
        Endpoint::Completions => Request::completion(&body, rand::random())?,
    };
    let model = lookup::find(&state, &caller, &options.model).await?;
    let generation = state.inference().generate(options.request(model, inputs)).await;
    let generation = generation.map_err(|error| OpenAiError::of_inference(error, endpoint))?;
    let head = Head::new(endpoint, options, tools, &generation);
    if head.options.stream {
        return Ok(stream::reply(head, generation));
    }
    reply::whole(head, generation).await
}
