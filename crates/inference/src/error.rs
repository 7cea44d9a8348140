//! What can go wrong between a request and its text.

use std::path::PathBuf;

/// Errors of loading models and of answering requests.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// A sampling or length parameter is out of its range.
    #[error("{field} {message}")]
    InvalidParameter {
        /// Name of the parameter, as in the API.
        field: &'static str,
        /// What it must be.
        message: String,
    },
    /// The model's chat template refused the conversation.
    #[error("the model's chat template refused the messages")]
    Template(#[source] hearth_data::Error),
    /// The process that renders a model's own chat template ended without an answer, or was ended.
    #[error(
        "the model's chat template needed more memory or time for these messages than is allowed, or wrote too \
         long a text"
    )]
    TemplateLimits,
    /// The process that renders a model's own chat template could not be started.
    #[error("the chat template cannot be rendered")]
    RenderProcess(#[source] std::io::Error),
    /// The rendered conversation leaves no room for an answer.
    #[error(
        "the prompt has {prompt_tokens} tokens but the model's context holds {context_length}, \
         and at least one must remain for the answer"
    )]
    PromptTooLong {
        /// Tokens of the rendered conversation.
        prompt_tokens: usize,
        /// Tokens that the model can attend to.
        context_length: usize,
    },
    /// The context does not hold the prompt and the answer, and the request is not to be shortened.
    #[error(
        "the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}, but the model's context holds \
         {context_length} together"
    )]
    ContextExceeded {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Most tokens of the answer.
        max_tokens: usize,
        /// Tokens that the model can attend to.
        context_length: usize,
    },
    /// One request asks for more tokens than one may.
    #[error(
        "the request may take more than {limit} tokens with all its choices, prompts included; lower n, max_tokens \
         or the number of prompts"
    )]
    RequestTooLarge {
        /// Most tokens of one request.
        limit: usize,
    },
    /// One choice alone needs more cache than the service may use.
    #[error(
        "the request needs {needed_bytes} bytes of key-value cache, the limit is {limit_bytes}; lower max_tokens"
    )]
    CacheTooSmall {
        /// Bytes for prompt and answer.
        needed_bytes: usize,
        /// Bytes that the service may use for all sequences.
        limit_bytes: usize,
    },
    /// Too many requests wait.
    #[error("{limit} requests are waiting already, try again later")]
    QueueFull {
        /// Most requests that may wait.
        limit: usize,
    },
    /// The weights do not fit beside those that cannot be dropped.
    #[error(
        "the model needs {needed_bytes} bytes of memory, and {used_bytes} of the {limit_bytes} that models may use \
         are taken by deployments and running requests; scale a deployment to zero or try again later"
    )]
    MemoryLimit {
        /// Bytes of the weights.
        needed_bytes: u64,
        /// Bytes that cannot be freed now.
        used_bytes: u64,
        /// Bytes that all weights may take.
        limit_bytes: u64,
    },
    /// A tokenizer or chat template could not be loaded.
    #[error("cannot load the tokenizer or the chat template of {}", dir.display())]
    LoadRenderer {
        /// The model's directory.
        dir: PathBuf,
        /// Why.
        source: hearth_data::Error,
    },
    /// The weights of a base or an adapter could not be loaded.
    #[error("cannot load the model in {}", dir.display())]
    LoadModel {
        /// The model's directory.
        dir: PathBuf,
        /// Why.
        source: hearth_model::Error,
    },
    /// A model directory is not there.
    #[error("cannot read the model directory {}", dir.display())]
    ModelDir {
        /// The model's directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tokenizer does not belong to the model.
    #[error("the tokenizer gives token {token} but the model's vocabulary has {vocab_size}")]
    UnknownToken {
        /// The token id.
        token: u32,
        /// Rows of the model's embedding table.
        vocab_size: usize,
    },
    /// No token may follow what was written, or finding those that may is too much work.
    #[error(
        "no answer of the form that was asked for could be found with bounded work; ask for a simpler form"
    )]
    ConstraintFailed,
    /// The model produced NaN or infinity.
    #[error("the model produced numbers that are not finite")]
    NotFinite,
    /// A text could not be turned into tokens.
    #[error("the text cannot be turned into the model's tokens")]
    Encode(#[source] hearth_data::Error),
    /// Tokens could not be turned into text.
    #[error("the model's tokens cannot be decoded")]
    Decode(#[source] hearth_data::Error),
    /// A forward pass broke off.
    #[error("the forward pass failed")]
    StepFailed,
    /// The service is shutting down.
    #[error("inference is shutting down")]
    ShuttingDown,
}
