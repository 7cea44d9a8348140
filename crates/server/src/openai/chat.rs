//! `POST /v1/chat/completions`.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hearth_inference::{Event, FinishReason, GenerateRequest, Generation, Usage};
use serde_json::{Value, json};

use super::error::OpenAiError;
use super::request::ChatRequest;
use super::{lookup, stream};
use crate::state::AppState;

/// Random bytes of a reply's id.
const ID_BYTES: usize = 12;

/// What all parts of one reply say about it.
#[derive(Clone, Debug)]
pub(super) struct ReplyHead {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
}

impl ReplyHead {
    fn new(model: String) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self { id: format!("chatcmpl-{}", hex::encode(rand::random::<[u8; ID_BYTES]>())), created, model }
    }
}

/// Continues a conversation. When the client goes away, the reply is dropped and generation stops.
pub(super) async fn complete(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, OpenAiError> {
    let caller = crate::auth::authenticate(&state, &headers).await?;
    let request = ChatRequest::parse(&body?, rand::random())?;
    let model = lookup::find(&state, &caller, &request.model).await?;
    let generation = state
        .inference()
        .generate(GenerateRequest {
            model,
            messages: request.messages,
            sampling: request.sampling,
            max_tokens: request.max_tokens,
            stop: request.stop,
        })
        .await?;
    let head = ReplyHead::new(request.model);
    if request.stream {
        return Ok(stream::reply(head, generation, request.include_usage));
    }
    let (text, reason, usage) = collect(generation).await?;
    Ok(Json(reply(&head, &text, reason, usage)).into_response())
}

/// The whole answer.
async fn collect(mut generation: Generation) -> Result<(String, FinishReason, Usage), OpenAiError> {
    let mut text = String::new();
    while let Some(event) = generation.next().await {
        match event? {
            Event::Text(piece) => text.push_str(&piece),
            Event::Finish { reason, usage } => return Ok((text, reason, usage)),
        }
    }
    Err(broke_off())
}

/// A generation that ended without saying so.
pub(super) fn broke_off() -> OpenAiError {
    OpenAiError::new(StatusCode::SERVICE_UNAVAILABLE, "generation_failed", "the answer broke off, try again")
}

fn reply(head: &ReplyHead, text: &str, reason: FinishReason, usage: Usage) -> Value {
    json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": reason.as_str(),
        }],
        "usage": usage_json(usage),
    })
}

/// OpenAI's form of the usage.
pub(super) fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
