//! Errors in the form that OpenAI's clients read.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hearth_domain::{AccountId, Code};
use hearth_inference::InferenceError;
use serde_json::{Value, json};

use super::fields::Endpoint;
use crate::error::ServerError;
use crate::transcode::status::http_status;

/// `{"error": {"object": "error", "type", "message", "param", "code", "request_id"}}` with its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Machine-readable code, for example `model_not_found`.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// Name of the field at fault.
    pub param: Option<String>,
}

impl OpenAiError {
    /// A field of the request is not acceptable.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_value",
            message: message.into(),
            param: Some(param.into()),
        }
    }

    /// A field that is known but not acted on.
    pub fn unsupported(param: &str) -> Self {
        Self {
            code: "unsupported_parameter",
            ..Self::invalid(param, format!("{param} is not supported yet"))
        }
    }

    /// An error without a field.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None }
    }

    /// The model is not there, or not for this caller: both look the same. Clients look for these words.
    pub fn model_not_found(model: &str) -> Self {
        let model = super::body::shown(model);
        Self {
            param: Some("model".to_owned()),
            ..Self::new(
                StatusCode::NOT_FOUND,
                "model_not_found",
                format!("model not found, inaccessible, and/or not deployed: {model}"),
            )
        }
    }

    /// The deployment that would answer is being loaded. Clients look for this code, and try again.
    pub fn scaling_up() -> Self {
        let message = "the deployment is being loaded; try again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "DEPLOYMENT_SCALING_UP", message)
    }

    /// The deployment that would answer could not be loaded. Trying again does not help.
    pub fn deployment_failed(why: &str) -> Self {
        let message = format!("the deployment could not be loaded: {why}");
        Self::new(StatusCode::PRECONDITION_FAILED, "deployment_failed", message)
    }

    /// The account of the caller is suspended. Trying again does not help.
    pub fn suspended(account: &AccountId) -> Self {
        let message = format!("account {account} is suspended; ask the operator of this server");
        Self::new(StatusCode::PRECONDITION_FAILED, "account_suspended", message)
    }

    /// The JSON body.
    pub fn body(&self, request_id: Option<&str>) -> Value {
        json!({
            "error": {
                "object": "error",
                "type": kind(self.status),
                "message": self.message,
                "param": self.param,
                "code": self.code,
                "request_id": request_id,
            }
        })
    }
}

/// OpenAI's word for a class of errors.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body(current_request_id().as_deref()))).into_response()
    }
}

/// The id of the request that is being handled.
pub(super) fn current_request_id() -> Option<String> {
    crate::note::current().map(|note| note.request_id.clone())
}

impl From<BytesRejection> for OpenAiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let limit = super::CHAT_BODY_MAX_BYTES;
            let message = format!("the request body is larger than {limit} bytes");
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message);
        }
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", "the request body could not be read")
    }
}

impl From<ServerError> for OpenAiError {
    fn from(error: ServerError) -> Self {
        let code = match error.code() {
            Code::Unauthenticated => "invalid_api_key",
            Code::PermissionDenied => "permission_denied",
            Code::NotFound => "not_found",
            Code::ResourceExhausted => "rate_limit_exceeded",
            Code::InvalidArgument | Code::FailedPrecondition => "invalid_request",
            _ => "internal_error",
        };
        // This also logs the cause of a defect.
        let status = tonic::Status::from(error);
        Self::new(http_status(status.code()), code, status.message())
    }
}

impl OpenAiError {
    /// Of a request to this endpoint.
    pub(super) fn of_inference(error: InferenceError, endpoint: Endpoint) -> Self {
        use InferenceError as E;
        let message = error.to_string();
        let prompt = match endpoint {
            Endpoint::Chat => "messages",
            Endpoint::Completions => "prompt",
        };
        match error {
            E::InvalidParameter { field, .. } => Self::invalid(field, message),
            E::Template(source) => {
                Self { code: "template_error", ..Self::invalid("messages", format!("{message}: {source}")) }
            }
            E::TemplateLimits => Self { code: "template_error", ..Self::invalid("model", message) },
            E::PromptTooLong { .. } | E::ContextExceeded { .. } => {
                Self { code: "context_length_exceeded", ..Self::invalid(prompt, message) }
            }
            E::ConstraintFailed => Self::new(StatusCode::BAD_REQUEST, "constraint_failed", message),
            E::CacheTooSmall { .. } | E::RequestTooLarge { .. } => Self::invalid("max_tokens", message),
            E::QueueFull { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message),
            E::MemoryLimit { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "out_of_memory", message),
            E::ShuttingDown => Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message),
            E::ModelDir { .. } => {
                tracing::warn!(error = %WithSources(&error), "a model's directory is gone");
                Self::model_not_found("its files are gone")
            }
            E::LoadRenderer { .. } | E::LoadModel { .. } => {
                // The text names a directory of this machine: it belongs in the log only.
                tracing::error!(error = %WithSources(&error), "a model could not be loaded");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "model_load_failed",
                    "the model could not be loaded",
                )
            }
            E::UnknownToken { .. }
            | E::NotFinite
            | E::Encode(_)
            | E::Decode(_)
            | E::StepFailed
            | E::RenderProcess(_) => {
                tracing::error!(error = %WithSources(&error), "generation failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "generation_failed", message)
            }
        }
    }
}

/// An error and its sources on one line.
struct WithSources<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
