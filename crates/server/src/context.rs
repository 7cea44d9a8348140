//! What surrounds every request: its id, its limits, its log line, and what happens when a handler panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority};
use tonic::Status;
use tracing::Instrument;

use crate::access::Ticket;
use crate::drain::Rest;
use crate::error::INTERNAL_MESSAGE;
use crate::limits::{HEADERS_MAX, HEADERS_MAX_BYTES, REQUEST_ID_MAX_CHARS, URL_MAX_BYTES};
use crate::listen::Connection;
use crate::note::{self, Note, Surface};
use crate::state::AppState;
use crate::transcode::status;
use crate::{grpc, health};

/// Header that names a request, in the request, the reply and the log.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Random bytes of a request id that this server makes.
const REQUEST_ID_BYTES: usize = 8;
/// Bytes that a header field counts for besides its name and value (as HTTP/2 counts them).
const HEADER_OVERHEAD_BYTES: usize = 32;
/// When a client may come back that was told nothing more exact.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Of one request; in its extensions.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Names this request in the reply and in the log.
    pub request_id: String,
    /// Where the client reaches this server: `http://host:port`, without a slash at the end.
    pub base_url: String,
}

/// Over which face an RPC came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// gRPC: job states above 19 are shown as older ones.
    Grpc,
    /// Transcoded from REST.
    Rest,
}

/// JSON names of the fields that stand in the body of an update over REST.
#[derive(Clone, Debug, Default)]
pub(crate) struct Present(pub(crate) Vec<String>);

/// Gives each request its id and base URL, holds it to the limits, logs it, and turns a panic into an INTERNAL answer.
pub(crate) async fn layer(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Connection>().cloned();
    let note = Arc::new(Note::new(
        request_id(request.headers()),
        surface(&request),
        connection.as_ref().map(|connection| connection.peer),
    ));
    // These two name the RPC in the place of their variable, if they have it.
    let is_final = |path: &&MatchedPath| {
        note.surface != Surface::Grpc || ![grpc::ROUTE, health::GRPC_ROUTE].contains(&path.as_str())
    };
    if let Some(path) = request.extensions().get::<MatchedPath>().filter(is_final) {
        note.set_route(path.as_str().into());
    }
    let busy = connection.as_ref().map(Connection::busy);
    let ticket = Ticket::new(Arc::clone(&note), Arc::clone(state.metrics()), request.method().clone(), busy);
    let base_url = match state.public_url() {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let scheme =
                if connection.is_some_and(|connection| connection.is_tls) { "https" } else { "http" };
            format!("{scheme}://{}", host(&request, &state))
        }
    };
    let context = RequestContext { request_id: note.request_id.clone(), base_url };
    let span = tracing::info_span!("request", id = %context.request_id);
    request.extensions_mut().insert(context);
    let refused = head_refusal(request.uri(), request.headers());
    let stall = state.limits().body_stall_timeout;
    request = request.map(|body| crate::body::watched(body, Arc::clone(&note), stall));
    let rest = Rest::share(&mut request);
    let answered = async {
        let mut response = match refused {
            Some(refused) => refused.into_response(note.surface),
            None => answer(next, request, note.surface).await,
        };
        if note.is_stalled() {
            let message = format!("the body did not come: it was waited for {} seconds", stall.as_secs());
            let refused = Refused { http: StatusCode::REQUEST_TIMEOUT, code: "request_timeout", message };
            response = refused.into_response(note.surface);
        }
        finish(&note, &mut response);
        if let Some(rest) = rest {
            rest.drain(response.headers_mut()).await;
        }
        response
    };
    let response = note::scope(Arc::clone(&note), answered.instrument(span)).await;
    ticket.follow(response, state.limits().write_stall_timeout)
}

async fn answer(next: Next, request: Request, surface: Surface) -> Response {
    let result = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        tracing::error!(panic = text.as_deref().unwrap_or("not a text"), "a handler panicked");
        internal_error(surface)
    })
}

/// The client's own id if it is short and plain, so that it finds its requests in this server's log; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()).filter(|id| {
        (1..=REQUEST_ID_MAX_CHARS).contains(&id.len())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    });
    given.map_or_else(|| hex::encode(rand::random::<[u8; REQUEST_ID_BYTES]>()), str::to_owned)
}

fn surface(request: &Request) -> Surface {
    if grpc::is_grpc(request) {
        Surface::Grpc
    } else if crate::openai::is_path(request.uri().path()) {
        Surface::Inference
    } else {
        Surface::Rest
    }
}

/// What the layer itself refuses, in each form.
struct Refused {
    http: StatusCode,
    /// Word of OpenAI's form.
    code: &'static str,
    message: String,
}

impl Refused {
    fn into_response(self, surface: Surface) -> Response {
        let code = match self.http {
            StatusCode::REQUEST_TIMEOUT => tonic::Code::DeadlineExceeded,
            StatusCode::INTERNAL_SERVER_ERROR => tonic::Code::Internal,
            _ => tonic::Code::InvalidArgument,
        };
        match surface {
            Surface::Rest => status::error_response(&Status::new(code, self.message), Some(self.http)),
            Surface::Grpc => Status::new(code, self.message).into_http::<Body>(),
            Surface::Inference => crate::openai::refusal(self.http, self.code, self.message),
        }
    }
}

fn head_refusal(uri: &Uri, headers: &HeaderMap) -> Option<Refused> {
    let url_bytes = uri.path_and_query().map_or(0, |both| both.as_str().len());
    if url_bytes > URL_MAX_BYTES {
        let message = format!("the URL has {url_bytes} bytes; {URL_MAX_BYTES} are the most");
        return Some(Refused { http: StatusCode::URI_TOO_LONG, code: "url_too_long", message });
    }
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES).sum();
    if headers.len() <= HEADERS_MAX && bytes <= HEADERS_MAX_BYTES {
        return None;
    }
    let message = format!(
        "the request has {} header fields of {bytes} bytes; {HEADERS_MAX} and {HEADERS_MAX_BYTES} are the most",
        headers.len()
    );
    let http = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Some(Refused { http, code: "headers_too_large", message })
}

/// What every answer says of its request, and when to come back.
fn finish(note: &Note, response: &mut Response) {
    let mut is_exhausted = response.status() == StatusCode::TOO_MANY_REQUESTS
        && !response.headers().contains_key(status::SHOULD_RETRY);
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(&note.request_id).expect("request ids are plain");
    headers.insert(REQUEST_ID_HEADER, id);
    if let Some(status) = Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok) {
        is_exhausted = status.code() == tonic::Code::ResourceExhausted && !status::is_quota_failure(&status);
        if let Err(error) = status::with_request_info(&status, &note.request_id).add_header(headers) {
            tracing::error!(%error, "a status does not fit into headers");
        }
    }
    if is_exhausted {
        let wait = note.retry_after().unwrap_or(RETRY_AFTER_DEFAULT);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil() as u64));
    }
}

fn internal_error(surface: Surface) -> Response {
    let message = INTERNAL_MESSAGE.to_owned();
    let http = StatusCode::INTERNAL_SERVER_ERROR;
    Refused { http, code: "internal_error", message }.into_response(surface)
}

/// Host and port that the client used, or the address that the server listens on.
fn host(request: &Request, state: &AppState) -> String {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(Authority::as_str));
    let valid = named.and_then(|host| host.parse::<Authority>().ok()).filter(|host| {
        // User names in an authority would end up in URLs that clients follow.
        !host.as_str().contains('@')
    });
    valid.map_or_else(|| state.addr().to_string(), |host| host.as_str().to_owned())
}

#[cfg(test)]
mod tests {

    use axum::Router;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::state::tests::state;

    #[tokio::test]
    async fn a_panic_is_an_answer_without_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path()).await;
        let panics = || async {
            if true {
                panic!("the secret is 42");
            }
        };
        let app = Router::new()
            .route("/", get(panics).post(panics))
            .layer(axum::middleware::from_fn_with_state(state, layer));
        let rest = app.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!((rest.status().as_u16(), rest.headers()[REQUEST_ID_HEADER].len()), (500, 16));
        let body = axum::body::to_bytes(rest.into_body(), 1 << 20).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"), "{body:?}");
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let grpc = app.oneshot(request).await.unwrap();
        assert_eq!((grpc.status().as_u16(), grpc.headers()["grpc-status"].as_bytes()), (200, &b"13"[..]));
    }
}
