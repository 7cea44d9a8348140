//! The answers as server-sent events: pieces as they come, the reason of each end, `[DONE]`.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use hearth_inference::{Event, Finish, Generation, Piece};
use serde_json::{Value, json};

use super::error::{OpenAiError, current_request_id};
use super::fields::Endpoint;
use super::reply::{Choice, Head, Totals, finish_reason};
use super::tool_calls::{Call, CallFinder, Found};

/// The last event of every stream that did not break off.
const DONE: &str = "[DONE]";

/// Sends the events of `generation` as they come. Comments keep the connection alive while it waits. When the client
/// goes away, or is cut off because it does not read, the reply is dropped and the generation stops.
pub(super) fn reply(head: Head, generation: Generation) -> Response {
    let events = stream::unfold(Chunks::new(head, generation), |mut chunks| async move {
        let data = chunks.next().await?;
        Some((Ok::<_, Infallible>(SseEvent::default().data(data)), chunks))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

struct Chunks {
    head: Head,
    /// Data of events that can be sent.
    ready: VecDeque<String>,
    /// Gone when it ended.
    generation: Option<Generation>,
    /// Kept if they are to be shown at the end.
    choices: Vec<Choice>,
    /// One for each choice, if the model was shown tools.
    finders: Vec<CallFinder>,
    totals: Totals,
    /// Choices that go on.
    open: usize,
    /// What an error in the middle of the stream is to tell.
    request_id: Option<String>,
}

impl Chunks {
    fn new(head: Head, generation: Generation) -> Self {
        let open = generation.choices();
        let mut chunks = Self {
            ready: VecDeque::new(),
            choices: if head.options.raw_output { vec![Choice::default(); open] } else { Vec::new() },
            finders: head.finders(open),
            totals: Totals::new(&head.prompts),
            head,
            generation: Some(generation),
            open,
            request_id: current_request_id(),
        };
        for index in 0..open {
            chunks.begin(index);
        }
        chunks
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some(data);
            }
            match self.generation.as_mut()?.next().await {
                Some(Ok(Event::Piece(piece))) => self.piece(piece),
                Some(Ok(Event::Finish(finish))) => self.finish(finish),
                Some(Err(error)) => {
                    self.generation = None;
                    let error = OpenAiError::of_inference(error, self.head.endpoint);
                    self.ready.push_back(error.body(self.request_id.as_deref()).to_string());
                }
                None => self.end(),
            }
        }
    }

    /// The first chunk of a choice: chats tell the role, completions only something that was asked for.
    fn begin(&mut self, index: usize) {
        let with_ids = self.head.options.return_token_ids;
        let ids = || json!(&*self.head.prompt(index).ids);
        let chunk = match self.head.endpoint {
            Endpoint::Chat => {
                let delta = json!({"role": "assistant", "content": ""});
                let mut chunk = self.chunk(json!({"index": index, "delta": delta, "finish_reason": null}));
                if with_ids && index == 0 {
                    chunk["prompt_token_ids"] = ids();
                }
                chunk
            }
            Endpoint::Completions if with_ids => self.chunk(json!({
                "index": index, "text": "", "finish_reason": null, "prompt_token_ids": ids(),
            })),
            Endpoint::Completions => return,
        };
        self.ready.push_back(chunk.to_string());
    }

    fn piece(&mut self, piece: Piece) {
        let Piece { choice, is_prompt, text, tokens } = piece;
        if let Some(kept) = self.choices.get_mut(choice).filter(|_| !is_prompt) {
            kept.text.push_str(&text);
            kept.tokens.extend_from_slice(&tokens);
        }
        let found = match self.finders.get_mut(choice).filter(|_| !is_prompt) {
            Some(finder) => finder.push(&text),
            None => Found { text, calls: Vec::new() },
        };
        let text = &found.text;
        let options = &self.head.options;
        if text.is_empty() && options.logprobs.is_none() && !options.return_token_ids {
            return self.calls(choice, &found);
        }
        let mut json = json!({"index": choice, "finish_reason": null});
        match self.head.endpoint {
            Endpoint::Chat => json["delta"] = json!({"content": text}),
            Endpoint::Completions => json["text"] = text.as_str().into(),
        }
        let (echoed, tokens) =
            if is_prompt { (tokens.as_slice(), [].as_slice()) } else { ([].as_slice(), tokens.as_slice()) };
        self.head.add_tokens(&mut json, echoed, tokens);
        let chunk = self.chunk(json);
        self.ready.push_back(chunk.to_string());
        self.calls(choice, &found);
    }

    /// The chunks of calls.
    fn calls(&mut self, choice: usize, found: &Found) {
        for delta in found.calls.iter().flat_map(Call::deltas) {
            let json = json!({"index": choice, "delta": {"tool_calls": [delta]}, "finish_reason": null});
            let chunk = self.chunk(json);
            self.ready.push_back(chunk.to_string());
        }
    }

    /// What of a choice was held back, since it could have been a call.
    fn rest(&mut self, choice: usize) -> bool {
        let Some(finder) = self.finders.get_mut(choice) else { return false };
        let found = finder.finish();
        let has_calls = finder.found_any();
        if !found.text.is_empty() {
            let json = json!({"index": choice, "delta": {"content": found.text}, "finish_reason": null});
            let chunk = self.chunk(json);
            self.ready.push_back(chunk.to_string());
        }
        self.calls(choice, &found);
        has_calls
    }

    fn finish(&mut self, finish: Finish) {
        self.totals.add(&finish);
        self.open -= 1;
        let has_calls = self.rest(finish.choice);
        let reason = finish_reason(finish.reason.as_str(), has_calls);
        let mut json = json!({"index": finish.choice, "finish_reason": reason});
        match self.head.endpoint {
            Endpoint::Chat => json["delta"] = json!({}),
            Endpoint::Completions => json["text"] = "".into(),
        }
        if let Some(kept) = self.choices.get(finish.choice) {
            json["raw_output"] = self.head.raw_output(finish.choice, &kept.text, &kept.tokens);
        }
        let mut chunk = self.chunk(json);
        if self.open == 0 && self.head.options.perf_metrics {
            chunk["perf_metrics"] = self.totals.perf_metrics();
        }
        self.ready.push_back(chunk.to_string());
    }

    /// All choices ended.
    fn end(&mut self) {
        self.generation = None;
        if self.head.options.include_usage {
            // The extra chunk that tells the usage has no choices.
            let mut chunk = self.head.frame(self.object(), json!([]));
            chunk["usage"] = self.totals.usage();
            self.ready.push_back(chunk.to_string());
        }
        self.ready.push_back(DONE.to_owned());
    }

    /// One chunk with a change of one choice. With usage asked for, every chunk has a `usage`, which is null but in the
    /// last.
    fn chunk(&self, choice: Value) -> Value {
        let mut chunk = self.head.frame(self.object(), json!([choice]));
        if self.head.options.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn object(&self) -> &'static str {
        match self.head.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Completions => "text_completion",
        }
    }
}
