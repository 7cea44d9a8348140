//! What replies of both endpoints are made of, and whole replies.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use hearth_inference::{Event, Finish, FinishReason, Generation, PromptTokens, Token, Usage};
use serde_json::{Value, json};

use super::error::OpenAiError;
use super::fields::Endpoint;
use super::logprobs;
use super::options::Options;
use super::tool_calls::{Call, CallFinder};
use super::tools::Tools;

/// Random bytes of a reply's id.
const ID_BYTES: usize = 12;

/// What all parts of one reply have in common.
pub(super) struct Head {
    pub(super) endpoint: Endpoint,
    pub(super) options: Options,
    pub(super) prompts: Vec<PromptTokens>,
    /// What finds calls in each answer, if the model was shown tools.
    finder: Option<CallFinder>,
    id: String,
    created: u64,
}

impl Head {
    pub(super) fn new(
        endpoint: Endpoint,
        options: Options,
        tools: Option<Tools>,
        generation: &Generation,
    ) -> Self {
        let prefix = match endpoint {
            Endpoint::Chat => "chatcmpl",
            Endpoint::Completions => "cmpl",
        };
        Self {
            endpoint,
            options,
            prompts: generation.prompts().to_vec(),
            finder: tools
                .zip(generation.tool_form())
                .map(|(tools, form)| CallFinder::new(form, &tools.functions, tools.parallel)),
            id: format!("{prefix}-{}", hex::encode(rand::random::<[u8; ID_BYTES]>())),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        }
    }

    /// A reply or a chunk with these choices.
    pub(super) fn frame(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.options.model,
            "choices": choices,
        })
    }

    /// What finds calls in the answers, one for each; none if the model was shown no tools.
    pub(super) fn finders(&self, choices: usize) -> Vec<CallFinder> {
        self.finder.iter().flat_map(|finder| std::iter::repeat_n(finder.clone(), choices)).collect()
    }

    /// The prompt of a choice.
    pub(super) fn prompt(&self, choice: usize) -> &PromptTokens {
        &self.prompts[choice / self.options.n]
    }

    /// Adds to a choice, or a piece of one, what is said about its tokens.
    pub(super) fn add_tokens(&self, json: &mut Value, echoed: &[Token], tokens: &[Token]) {
        if let Some((form, _)) = self.options.logprobs {
            json["logprobs"] = logprobs::shown(form, &[echoed, tokens].concat());
        }
        if self.options.return_token_ids {
            json["token_ids"] = json!(ids(tokens));
        }
    }

    /// What the model saw and wrote.
    pub(super) fn raw_output(&self, choice: usize, text: &str, tokens: &[Token]) -> Value {
        let prompt = self.prompt(choice);
        let mut raw = json!({
            "prompt_fragments": [prompt.text],
            "prompt_token_ids": &*prompt.ids,
            "completion": text,
            "completion_token_ids": ids(tokens),
        });
        if self.options.logprobs.is_some() {
            raw["completion_logprobs"] = logprobs::content(&tokens.iter().collect::<Vec<_>>());
        }
        raw
    }
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

/// What all choices took together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    usage: Usage,
    first_token_s: Option<f64>,
    ended_s: f64,
}

impl Totals {
    /// Of the prompts, which count once each.
    pub(super) fn new(prompts: &[PromptTokens]) -> Self {
        let prompt_tokens = prompts.iter().map(|prompt| prompt.ids.len()).sum();
        Self { usage: Usage { prompt_tokens, completion_tokens: 0 }, ..Self::default() }
    }

    pub(super) fn add(&mut self, finish: &Finish) {
        self.usage.completion_tokens += finish.usage.completion_tokens;
        let first_token_s = finish.times.first_token.as_secs_f64();
        self.first_token_s = Some(self.first_token_s.map_or(first_token_s, |first| first.min(first_token_s)));
        self.ended_s = self.ended_s.max(finish.times.ended.as_secs_f64());
    }

    /// OpenAI's form of the usage. No prompt is kept for later requests, so none of its tokens are cached.
    pub(super) fn usage(&self) -> Value {
        let Usage { prompt_tokens, completion_tokens } = self.usage;
        json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    }

    /// Numbers by their names in the API; times in seconds from the arrival of the request.
    fn metrics(&self) -> [(&'static str, Value); 4] {
        [
            ("prompt-tokens", self.usage.prompt_tokens.into()),
            ("cached-prompt-tokens", 0.into()),
            ("server-time-to-first-token", self.first_token_s.unwrap_or_default().into()),
            ("server-processing-time", self.ended_s.into()),
        ]
    }

    pub(super) fn perf_metrics(&self) -> Value {
        Value::Object(self.metrics().into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// A choice as it grows.
#[derive(Clone, Default)]
pub(super) struct Choice {
    echo: String,
    echoed: Vec<Token>,
    pub(super) text: String,
    pub(super) tokens: Vec<Token>,
    /// Calls that the text held. They are not in `content`.
    calls: Vec<Call>,
    content: Option<String>,
    finish_reason: &'static str,
}

impl Choice {
    /// Takes the calls out of the text.
    fn find_calls(&mut self, finder: &mut CallFinder) {
        let mut found = finder.push(&self.text);
        let rest = finder.finish();
        found.text.push_str(&rest.text);
        found.calls.extend(rest.calls);
        if !found.calls.is_empty() {
            self.finish_reason = finish_reason(self.finish_reason, true);
        }
        (self.content, self.calls) = (Some(found.text), found.calls);
    }
}

/// Why a choice ended, if it has calls or not.
pub(super) fn finish_reason(reason: &'static str, has_calls: bool) -> &'static str {
    if has_calls && reason == FinishReason::Stop.as_str() { "tool_calls" } else { reason }
}

/// Waits for all choices and shows them.
pub(super) async fn whole(head: Head, generation: Generation) -> Result<Response, OpenAiError> {
    let (reply, totals) = value(head, generation).await?;
    let mut response = Json(reply).into_response();
    for (name, value) in totals.metrics() {
        if let (Ok(name), Ok(value)) = (
            format!("fireworks-{name}").parse::<http::HeaderName>(),
            HeaderValue::from_str(&value.to_string()),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// The same as a value.
pub(super) async fn value(head: Head, mut generation: Generation) -> Result<(Value, Totals), OpenAiError> {
    let mut choices = vec![Choice::default(); generation.choices()];
    let mut totals = Totals::new(&head.prompts);
    while let Some(event) = generation.next().await {
        match event.map_err(|error| OpenAiError::of_inference(error, head.endpoint))? {
            Event::Piece(piece) => {
                let choice = &mut choices[piece.choice];
                if piece.is_prompt {
                    (choice.echo, choice.echoed) = (piece.text, piece.tokens);
                } else {
                    choice.text.push_str(&piece.text);
                    choice.tokens.extend(piece.tokens);
                }
            }
            Event::Finish(finish) => {
                totals.add(&finish);
                choices[finish.choice].finish_reason = finish.reason.as_str();
            }
        }
    }
    for (choice, mut finder) in choices.iter_mut().zip(head.finders(generation.choices())) {
        choice.find_calls(&mut finder);
    }
    let choices: Vec<Value> =
        choices.iter().enumerate().map(|(i, choice)| choice_json(&head, i, choice)).collect();
    let object = match head.endpoint {
        Endpoint::Chat => "chat.completion",
        Endpoint::Completions => "text_completion",
    };
    let mut reply = head.frame(object, choices.into());
    reply["usage"] = totals.usage();
    if head.options.return_token_ids && head.endpoint == Endpoint::Chat {
        reply["prompt_token_ids"] = json!(&*head.prompt(0).ids);
    }
    if head.options.perf_metrics {
        reply["perf_metrics"] = totals.perf_metrics();
    }
    Ok((reply, totals))
}

fn choice_json(head: &Head, index: usize, choice: &Choice) -> Value {
    let text = format!("{}{}", choice.echo, choice.content.as_ref().unwrap_or(&choice.text));
    let mut json = json!({"index": index, "finish_reason": choice.finish_reason});
    match head.endpoint {
        Endpoint::Chat if choice.calls.is_empty() => {
            json["message"] = json!({"role": "assistant", "content": text});
        }
        Endpoint::Chat => {
            let content = if text.is_empty() { Value::Null } else { text.into() };
            let calls: Vec<Value> = choice.calls.iter().map(Call::json).collect();
            json["message"] = json!({"role": "assistant", "content": content, "tool_calls": calls});
        }
        Endpoint::Completions => json["text"] = text.into(),
    }
    head.add_tokens(&mut json, &choice.echoed, &choice.tokens);
    if head.options.return_token_ids && head.endpoint == Endpoint::Completions {
        json["prompt_token_ids"] = json!(&*head.prompt(index).ids);
    }
    if head.options.raw_output {
        json["raw_output"] = head.raw_output(index, &choice.text, &choice.tokens);
    }
    json
}
