//! What chats and completions may both ask for.

use hearth_inference::{
    Constraint, DEFAULT_MAX_TOKENS, GenerateRequest, Input, MAX_TOP_LOGPROBS, ModelRef, Overflow,
    SamplingParams,
};
use serde_json::Value;

use super::body::{Fields, shown};
use super::error::OpenAiError;
use super::response_format::response_format;

/// The two forms of log probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogprobsForm {
    /// A list of tokens under `content`; asked for by `true`.
    Content,
    /// Lists beside each other; asked for by a number.
    Legacy,
}

/// Fields of a request that have the right types. Ranges are checked by inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Full name of the model.
    pub model: String,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// The form that answers must have.
    pub constraint: Option<Constraint>,
    /// Answers to each prompt.
    pub n: usize,
    /// Most tokens of each answer.
    pub max_tokens: usize,
    /// What happens if they do not fit.
    pub overflow: Overflow,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Whether an answer goes on after end tokens.
    pub ignore_eos: bool,
    /// Tokens of the prompt that stand before each answer.
    pub echo_tokens: usize,
    /// Log probabilities in this form, with so many alternatives.
    pub logprobs: Option<(LogprobsForm, usize)>,
    /// Whether the reply has token ids.
    pub return_token_ids: bool,
    /// Whether the reply has what the model saw and wrote.
    pub raw_output: bool,
    /// Whether the reply has times.
    pub perf_metrics: bool,
    /// Whether the answer is sent as it comes.
    pub stream: bool,
    /// Whether a stream ends with a chunk that tells the usage.
    pub include_usage: bool,
}

impl Options {
    /// Reads them. `random_seed` is used when the request has no seed.
    ///
    /// # Errors
    /// The first thing that is wrong, with the field's name.
    pub(super) fn read(fields: Fields<'_>, random_seed: u64) -> Result<Self, OpenAiError> {
        let required = || OpenAiError::invalid("model", "model is required");
        let model = fields.string("model")?.ok_or_else(required)?.to_owned();
        let stream = fields.boolean("stream")?;
        let behavior = fields.word("context_length_exceeded_behavior", &["truncate", "error"])?;
        Ok(Self {
            model,
            sampling: sampling(fields, random_seed)?,
            constraint: response_format(fields.get("response_format"))?,
            n: fields.count("n")?.unwrap_or(1),
            max_tokens: max_tokens(fields)?,
            overflow: if behavior == Some(1) { Overflow::Refuse } else { Overflow::Shorten },
            stop: stop(fields.get("stop"))?,
            ignore_eos: fields.boolean("ignore_eos")?,
            echo_tokens: match (fields.boolean("echo")?, fields.count("echo_last")?) {
                (true, _) => usize::MAX,
                (false, last) => last.unwrap_or(0),
            },
            logprobs: logprobs(fields)?,
            return_token_ids: fields.boolean("return_token_ids")?,
            raw_output: fields.boolean("raw_output")?,
            perf_metrics: fields.boolean("perf_metrics_in_response")?,
            stream,
            include_usage: include_usage(fields.get("stream_options"), stream)?,
        })
    }

    /// The request to inference.
    pub(super) fn request(&self, model: ModelRef, inputs: Vec<Input>) -> GenerateRequest {
        GenerateRequest {
            model,
            inputs,
            n: self.n,
            sampling: self.sampling.clone(),
            constraint: self.constraint.clone(),
            max_tokens: self.max_tokens,
            overflow: self.overflow,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            echo_tokens: self.echo_tokens,
            logprobs: self.logprobs.map(|(_, top)| top),
        }
    }
}

fn sampling(fields: Fields<'_>, random_seed: u64) -> Result<SamplingParams, OpenAiError> {
    let default = SamplingParams::default();
    Ok(SamplingParams {
        temperature: fields.number("temperature")?.unwrap_or(default.temperature),
        top_p: fields.number("top_p")?.unwrap_or(default.top_p),
        top_k: fields.count("top_k")?.unwrap_or(default.top_k),
        min_p: fields.number("min_p")?.unwrap_or(default.min_p),
        typical_p: fields.number("typical_p")?.unwrap_or(default.typical_p),
        repetition_penalty: fields.number("repetition_penalty")?.unwrap_or(default.repetition_penalty),
        presence_penalty: fields.number("presence_penalty")?.unwrap_or(default.presence_penalty),
        frequency_penalty: fields.number("frequency_penalty")?.unwrap_or(default.frequency_penalty),
        logit_bias: logit_bias(fields.get("logit_bias"))?,
        seed: fields.integer("seed")?.map_or(random_seed, |seed| seed as u64),
    })
}

/// An object of numbers by token id.
fn logit_bias(value: Option<&Value>) -> Result<Vec<(u32, f32)>, OpenAiError> {
    let form = || {
        OpenAiError::invalid(
            "logit_bias",
            "logit_bias must be an object of numbers, each named by a token id",
        )
    };
    let Some(value) = value else { return Ok(Vec::new()) };
    let bias = |(id, bias): (&String, &Value)| {
        let id = id.parse().map_err(|_| form())?;
        Ok((id, bias.as_f64().ok_or_else(form)? as f32))
    };
    value.as_object().ok_or_else(form)?.iter().map(bias).collect()
}

/// `max_tokens` and `max_completion_tokens` are two names of one number.
fn max_tokens(fields: Fields<'_>) -> Result<usize, OpenAiError> {
    let name = match (fields.get("max_tokens"), fields.get("max_completion_tokens")) {
        (Some(a), Some(b)) if a != b => {
            let message = "max_tokens and max_completion_tokens differ; give one of them";
            return Err(OpenAiError::invalid("max_tokens", message));
        }
        (None, Some(_)) => "max_completion_tokens",
        _ => "max_tokens",
    };
    Ok(fields.count(name)?.unwrap_or(DEFAULT_MAX_TOKENS))
}

fn stop(value: Option<&Value>) -> Result<Vec<String>, OpenAiError> {
    let strings = match value {
        None => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(many)) => many.iter().map(|s| s.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    strings.ok_or_else(|| OpenAiError::invalid("stop", "stop must be a string or a list of strings"))
}

/// `true` asks for the list of tokens and `top_logprobs` alternatives; a number for the older form, with so many
/// alternatives unless `top_logprobs` says otherwise.
fn logprobs(fields: Fields<'_>) -> Result<Option<(LogprobsForm, usize)>, OpenAiError> {
    let top = fields.count("top_logprobs")?;
    let form = match fields.get("logprobs") {
        None | Some(Value::Bool(false)) => {
            if top.is_some_and(|top| top > 0) {
                return Err(OpenAiError::invalid("top_logprobs", "top_logprobs needs logprobs to be true"));
            }
            return Ok(None);
        }
        Some(Value::Bool(true)) => (LogprobsForm::Content, top.unwrap_or(0)),
        Some(value) => {
            let count =
                value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= MAX_TOP_LOGPROBS);
            let count = count.ok_or_else(|| {
                let message =
                    format!("logprobs must be true, false or an integer from 0 to {MAX_TOP_LOGPROBS}");
                OpenAiError::invalid("logprobs", message)
            })?;
            (LogprobsForm::Legacy, top.unwrap_or(count))
        }
    };
    Ok(Some(form))
}

fn include_usage(value: Option<&Value>, stream: bool) -> Result<bool, OpenAiError> {
    let Some(value) = value else { return Ok(false) };
    if !stream {
        return Err(OpenAiError::invalid("stream_options", "stream_options needs stream to be true"));
    }
    let Value::Object(options) = value else {
        return Err(OpenAiError::invalid("stream_options", "stream_options must be an object"));
    };
    let off = |value: &Value| value.is_null() || *value == Value::Bool(false);
    if let Some((name, _)) = options.iter().find(|(name, value)| *name != "include_usage" && !off(value)) {
        return Err(OpenAiError::unsupported(&format!("stream_options.{}", shown(name))));
    }
    Fields(options).boolean("include_usage")
}
