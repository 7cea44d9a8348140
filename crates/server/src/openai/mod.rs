//! Chats and completions with base and tuned models, in the form of OpenAI's API.
//!
//! Served under `/v1` and `/inference/v1`: clients with a base URL of their own drop the prefix. Errors have
//! OpenAI's form, not the gateway's. A caller may use the models of its own account and those of the
//! pseudo-account of base models; all others look as if they did not exist.

mod body;
mod complete;
mod error;
mod fields;
mod logprobs;
mod lookup;
mod messages;
mod models;
mod options;
mod reply;
mod request;
mod response_format;
mod stream;
mod tool_calls;
mod tools;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

pub(crate) use self::complete::{answer_chat, check_chat, check_chat_options};
pub(crate) use self::error::OpenAiError;
#[cfg(test)]
pub(crate) use self::fields::{Endpoint, accepted as accepted_fields};
pub(crate) use self::tools::MAX_TOOLS;
use crate::state::AppState;

/// Largest body of a chat or completion request.
pub(crate) const CHAT_BODY_MAX_BYTES: usize = 4 << 20;

/// Routes of this module. Each authenticates its caller itself.
pub(crate) fn router() -> Router<AppState> {
    let mut router = Router::new();
    for prefix in ["/v1", "/inference/v1"] {
        router = router
            .route(
                &format!("{prefix}/chat/completions"),
                post(complete::chat).layer(DefaultBodyLimit::max(CHAT_BODY_MAX_BYTES)),
            )
            .route(
                &format!("{prefix}/completions"),
                post(complete::completion).layer(DefaultBodyLimit::max(CHAT_BODY_MAX_BYTES)),
            )
            .route(&format!("{prefix}/models"), get(models::list))
            .route(&format!("{prefix}/models/{{*name}}"), get(models::get));
    }
    router.route("/inference/v1/{*path}", any(unknown)).method_not_allowed_fallback(method_not_allowed)
}

/// True if errors of this path have OpenAI's form.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with("/inference/v1/")
        || ["/v1/chat/", "/v1/completions", "/v1/models"].iter().any(|begin| path.starts_with(begin))
}

/// What is refused before a handler sees it.
pub(crate) fn refusal(status: StatusCode, code: &'static str, message: String) -> Response {
    OpenAiError::new(status, code, message).into_response()
}

/// What the hosted service has under the prefix and this server does not.
async fn unknown(method: Method, Path(path): Path<String>) -> OpenAiError {
    let message = format!(
        "{method} /inference/v1/{} is not supported; chat/completions, completions and models are",
        body::shown(&path)
    );
    OpenAiError::new(StatusCode::NOT_FOUND, "unknown_url", message)
}

async fn method_not_allowed(method: Method) -> OpenAiError {
    OpenAiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("method {method} is not allowed here"),
    )
}
