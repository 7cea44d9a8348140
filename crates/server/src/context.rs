//! What surrounds every request: its id, its log lines, and what happens when a handler panics.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderValue, header, uri::Authority};
use tracing::Instrument;

use crate::drain::Rest;
use crate::state::AppState;
use crate::transcode::status;

/// Header that names a request, in the reply and in the log.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Random bytes of a request id.
const REQUEST_ID_BYTES: usize = 8;

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

/// Gives each request its id and base URL, logs it, and turns a panic into an INTERNAL answer.
///
/// The log holds method and path, never the query: signatures of URLs stand there.
pub(crate) async fn layer(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let request_id = hex::encode(rand::random::<[u8; REQUEST_ID_BYTES]>());
    let base_url = match state.public_url() {
        Some(url) => url.to_owned(),
        None => format!("http://{}", host(&request, &state)),
    };
    let context = RequestContext { request_id, base_url };
    let id_header = HeaderValue::from_str(&context.request_id).expect("hex is a header value");
    let span = tracing::info_span!(
        "request",
        id = %context.request_id,
        method = %request.method(),
        path = %request.uri().path()
    );
    request.extensions_mut().insert(context);
    let is_grpc = crate::grpc::is_grpc(&request);
    let rest = Rest::share(&mut request);
    let started = Instant::now();
    async move {
        let result = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let mut response = result.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(panic = text.as_deref().unwrap_or("not a text"), "a handler panicked");
            internal_error(is_grpc)
        });
        if let Some(rest) = rest {
            rest.drain(response.headers_mut()).await;
        }
        response.headers_mut().insert(REQUEST_ID_HEADER, id_header);
        let elapsed_ms = started.elapsed().as_millis() as u64;
        tracing::info!(status = response.status().as_u16(), elapsed_ms, "answered");
        response
    }
    .instrument(span)
    .await
}

fn internal_error(is_grpc: bool) -> Response {
    let failed = tonic::Status::internal(crate::error::INTERNAL_MESSAGE);
    if is_grpc { failed.into_http::<Body>() } else { status::error_response(&failed, None) }
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
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use hearth_inference::{Cpu, CpuOptions, Limits, Service};
    use hearth_store::Store;
    use tokio::sync::Notify;
    use tower::ServiceExt;

    use super::*;

    async fn state(dir: &std::path::Path) -> AppState {
        let store = Store::open(dir, 0).await.unwrap();
        let cpu = Cpu::new(CpuOptions { threads: 1, ..CpuOptions::default() }).unwrap();
        let inference = Service::start(Arc::new(cpu), Limits::default(), vec![]).unwrap();
        AppState::new(store, inference, Arc::new(Notify::new()), "127.0.0.1:1".parse().unwrap(), None)
    }

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
        assert!(!String::from_utf8_lossy(&body).contains("42"), "{body:?}");
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let grpc = app.oneshot(request).await.unwrap();
        assert_eq!((grpc.status().as_u16(), grpc.headers()["grpc-status"].as_bytes()), (200, &b"13"[..]));
    }
}
