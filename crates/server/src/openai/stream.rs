//! The answer as server-sent events: the role, the text in pieces, the reason of its end, `[DONE]`.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use hearth_inference::{Event, Generation};
use serde_json::{Value, json};

use super::chat::{ReplyHead, broke_off, usage_json};
use super::error::OpenAiError;

/// The last event of every stream that did not break off.
const DONE: &str = "[DONE]";

/// Sends the events of `generation` as they come. Comments keep the connection alive while it waits.
pub(super) fn reply(head: ReplyHead, generation: Generation, include_usage: bool) -> Response {
    let chunks = Chunks {
        ready: VecDeque::from([chunk(
            &head,
            json!({"role": "assistant", "content": ""}),
            None,
            include_usage,
        )]),
        head,
        generation: Some(generation),
        include_usage,
    };
    Sse::new(chunks.into_stream()).keep_alive(KeepAlive::default()).into_response()
}

struct Chunks {
    head: ReplyHead,
    /// Data of events that can be sent.
    ready: VecDeque<String>,
    /// Gone when it ended.
    generation: Option<Generation>,
    include_usage: bool,
}

impl Chunks {
    fn into_stream(self) -> impl Stream<Item = Result<SseEvent, Infallible>> {
        stream::unfold(self, |mut chunks| async move {
            let data = chunks.next().await?;
            Some((Ok(SseEvent::default().data(data)), chunks))
        })
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some(data);
            }
            let event = self.generation.as_mut()?.next().await;
            self.take(
                event.map(|event| event.map_err(OpenAiError::from)).unwrap_or_else(|| Err(broke_off())),
            );
        }
    }

    fn take(&mut self, event: Result<Event, OpenAiError>) {
        match event {
            Ok(Event::Text(text)) => self.push(json!({"content": text}), None),
            Ok(Event::Finish { reason, usage }) => {
                self.generation = None;
                self.push(json!({}), Some(reason.as_str()));
                if self.include_usage {
                    self.ready.push_back(usage_chunk(&self.head, usage_json(usage)));
                }
                self.ready.push_back(DONE.to_owned());
            }
            Err(error) => {
                self.generation = None;
                self.ready.push_back(error.body().to_string());
            }
        }
    }

    fn push(&mut self, delta: Value, finish_reason: Option<&str>) {
        self.ready.push_back(chunk(&self.head, delta, finish_reason, self.include_usage));
    }
}

/// One chunk with a change. With usage asked for, every chunk has a `usage`, which is null but in the last.
fn chunk(head: &ReplyHead, delta: Value, finish_reason: Option<&str>, include_usage: bool) -> String {
    let mut chunk = frame(head, json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]));
    if include_usage {
        chunk["usage"] = Value::Null;
    }
    chunk.to_string()
}

/// The extra chunk that tells the usage: it has no choices.
fn usage_chunk(head: &ReplyHead, usage: Value) -> String {
    let mut chunk = frame(head, json!([]));
    chunk["usage"] = usage;
    chunk.to_string()
}

fn frame(head: &ReplyHead, choices: Value) -> Value {
    json!({
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "choices": choices,
    })
}
