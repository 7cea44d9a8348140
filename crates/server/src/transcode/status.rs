//! From a gRPC status to the HTTP answer that says the same.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::{HeaderName, HeaderValue, StatusCode, header};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::note;

/// `google.rpc.Status`, as it travels in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<prost_types::Any>,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) field_violations: Vec<Violation>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Violation {
    /// Path of the field, or the line of a file.
    #[prost(string, tag = "1")]
    pub(crate) field: String,
    /// What is wrong and what to do.
    #[prost(string, tag = "2")]
    pub(crate) description: String,
}

/// `google.rpc.RequestInfo`.
#[derive(Clone, PartialEq, Eq, Message)]
struct RequestInfo {
    #[prost(string, tag = "1")]
    request_id: String,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// `google.rpc.QuotaFailure`.
#[derive(Clone, PartialEq, Message)]
struct QuotaFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<QuotaViolation>,
}

/// `google.rpc.QuotaFailure.Violation`.
#[derive(Clone, PartialEq, Eq, Message)]
struct QuotaViolation {
    /// Name of the quota.
    #[prost(string, tag = "1")]
    subject: String,
    /// What is wrong and what to do.
    #[prost(string, tag = "2")]
    description: String,
}

/// Type URL of [`QuotaFailure`].
const QUOTA_FAILURE_URL: &str = "type.googleapis.com/google.rpc.QuotaFailure";
/// Type URL of [`RequestInfo`].
const REQUEST_INFO_URL: &str = "type.googleapis.com/google.rpc.RequestInfo";
/// Type URL of [`RetryInfo`].
const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A status that names its request in its details.
pub(crate) fn with_request_info(status: &Status, request_id: &str) -> Status {
    let info = RequestInfo { request_id: request_id.to_owned() };
    with_detail(status, REQUEST_INFO_URL, &info)
}

/// A status that says in its details when the call may be repeated.
pub(crate) fn with_retry_info(status: &Status, wait: Duration) -> Status {
    let retry_delay = prost_types::Duration::try_from(wait).ok();
    with_detail(status, RETRY_INFO_URL, &RetryInfo { retry_delay })
}

/// A status that says in its details which quota is used up.
pub(crate) fn with_quota_failure(status: &Status, quota: &str, description: &str) -> Status {
    let violation = QuotaViolation { subject: quota.to_owned(), description: description.to_owned() };
    with_detail(status, QUOTA_FAILURE_URL, &QuotaFailure { violations: vec![violation] })
}

/// Whether a quota is used up: waiting does not help.
pub(crate) fn is_quota_failure(status: &Status) -> bool {
    let details = RpcStatus::decode(status.details()).map(|rpc| rpc.details).unwrap_or_default();
    details.iter().any(|any| any.type_url == QUOTA_FAILURE_URL)
}

fn with_detail(status: &Status, type_url: &str, detail: &impl Message) -> Status {
    let (code, message) = (status.code(), status.message().to_owned());
    let details = RpcStatus::decode(status.details()).map(|rpc| rpc.details).unwrap_or_default();
    let mut rpc = RpcStatus { code: code as i32, message: message.clone(), details };
    rpc.details.push(prost_types::Any { type_url: type_url.to_owned(), value: detail.encode_to_vec() });
    Status::with_details(code, message, rpc.encode_to_vec().into())
}

/// Header by which a server tells the newer client whether to repeat a call.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Type URL of [`BadRequest`].
pub(crate) const BAD_REQUEST_URL: &str = "type.googleapis.com/google.rpc.BadRequest";

/// HTTP status of a gRPC code. Source: googleapis, `google/rpc/code.proto`.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::from_u16(499).expect("499 is a valid status"),
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// `{"code": n, "message": "...", "details": []}`.
pub(crate) fn error_body(status: &Status) -> Value {
    let details = RpcStatus::decode(status.details()).map(|rpc| rpc.details).unwrap_or_default();
    let details: Vec<Value> = details.iter().map(detail_json).collect();
    json!({ "code": status.code() as i32, "message": status.message(), "details": details })
}

fn detail_json(any: &prost_types::Any) -> Value {
    known_detail(any).unwrap_or_else(|| {
        json!({
            "@type": any.type_url,
            "value": base64::engine::general_purpose::STANDARD.encode(&any.value),
        })
    })
}

/// JSON of the details that this server makes.
fn known_detail(any: &prost_types::Any) -> Option<Value> {
    let (url, bytes) = (any.type_url.as_str(), any.value.as_slice());
    match url {
        BAD_REQUEST_URL => {
            let violations: Vec<Value> = BadRequest::decode(bytes)
                .ok()?
                .field_violations
                .iter()
                .map(|one| json!({ "field": one.field, "description": one.description }))
                .collect();
            Some(json!({ "@type": url, "fieldViolations": violations }))
        }
        QUOTA_FAILURE_URL => {
            let violations: Vec<Value> = QuotaFailure::decode(bytes)
                .ok()?
                .violations
                .iter()
                .map(|one| json!({ "subject": one.subject, "description": one.description }))
                .collect();
            Some(json!({ "@type": url, "violations": violations }))
        }
        REQUEST_INFO_URL => {
            let info = RequestInfo::decode(bytes).ok()?;
            Some(json!({ "@type": url, "requestId": info.request_id }))
        }
        RETRY_INFO_URL => {
            let delay = RetryInfo::decode(bytes).ok()?.retry_delay?;
            Some(json!({ "@type": url, "retryDelay": delay.to_string() }))
        }
        _ => None,
    }
}

/// The error answer of a REST call, with another HTTP status than the code's when `http` is given. Within a request its
/// details name the request.
pub(crate) fn error_response(status: &Status, http: Option<StatusCode>) -> Response {
    let code = http.unwrap_or_else(|| http_status(status.code()));
    let body = match note::current() {
        Some(note) => error_body(&with_request_info(status, &note.request_id)),
        None => error_body(status),
    };
    let mut response = (code, axum::Json(body)).into_response();
    if matches!(status.code(), Code::AlreadyExists | Code::Unimplemented) || is_quota_failure(status) {
        // Clients repeat calls after 409, 429 and 5xx; here that cannot help.
        response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_http_status() {
        let expect: [(i32, u16); 17] = [
            (0, 200),
            (1, 499),
            (2, 500),
            (3, 400),
            (4, 504),
            (5, 404),
            (6, 409),
            (7, 403),
            (8, 429),
            (9, 400),
            (10, 409),
            (11, 400),
            (12, 501),
            (13, 500),
            (14, 503),
            (15, 500),
            (16, 401),
        ];
        for (number, http) in expect {
            assert_eq!(http_status(Code::from_i32(number)).as_u16(), http, "code {number}");
        }
    }
}
