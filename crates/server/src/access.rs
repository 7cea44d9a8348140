//! The log line and the counters of each request, written when its answer has ended or its client is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http::{HeaderMap, Method};
use http_body::{Frame, SizeHint};

use crate::listen::Busy;
use crate::metrics::{Ended, Metrics, NO_ROUTE, OpenOne, code_word, method_word};
use crate::note::{Note, Surface};

/// Status of a request whose client did not wait for the answer.
const CLIENT_GONE: u16 = 499;

/// A request from its head to the end of its answer. Dropped, it is logged.
pub(crate) struct Ticket {
    note: Arc<Note>,
    metrics: Arc<Metrics>,
    method: Method,
    begin: Instant,
    status: u16,
    grpc_code: Option<tonic::Code>,
    bytes_out: u64,
    /// The answer went out whole.
    is_whole: bool,
    _open: OpenOne,
    _busy: Option<Busy>,
}

impl Ticket {
    pub(crate) fn new(note: Arc<Note>, metrics: Arc<Metrics>, method: Method, busy: Option<Busy>) -> Self {
        let open = metrics.request(note.surface);
        Self {
            note,
            metrics,
            method,
            begin: Instant::now(),
            status: CLIENT_GONE,
            grpc_code: None,
            bytes_out: 0,
            is_whole: false,
            _open: open,
            _busy: busy,
        }
    }

    /// Follows the answer to its end, or until its client has taken in nothing of it for `stall`.
    pub(crate) fn follow(mut self, response: Response, stall: Duration) -> Response {
        self.status = response.status().as_u16();
        self.read_code(response.headers());
        // Of these there is nothing to send.
        self.is_whole = self.method == Method::HEAD || response.body().is_end_stream();
        let metrics = Arc::clone(&self.metrics);
        response.map(|body| {
            let body = crate::reply::limited(body, stall, metrics);
            Body::new(Followed { body, ticket: self })
        })
    }

    fn read_code(&mut self, headers: &HeaderMap) {
        if let Some(status) = tonic::Status::from_header_map(headers) {
            self.grpc_code = Some(status.code());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.note.surface == Surface::Grpc && self.grpc_code.is_none() {
            self.grpc_code = Some(tonic::Code::Cancelled);
        }
        let elapsed = self.begin.elapsed();
        self.metrics.ended(&Ended {
            note: &self.note,
            method: &self.method,
            status: self.status,
            grpc_code: self.grpc_code,
            bytes_out: self.bytes_out,
            elapsed,
        });
        let who = self.note.who();
        tracing::info!(
            target: "hearth_server::access",
            request_id = %self.note.request_id,
            face = self.note.surface.as_str(),
            // Never the path: it may hold a signature, and is as long as a client likes.
            method = method_word(&self.method),
            route = self.note.route().map_or(NO_ROUTE, |route| route.as_ref()),
            status = self.status,
            grpc_code = self.grpc_code.map(code_word),
            account = who.map(|who| who.account.as_str()),
            key_id = who.map(|who| who.key_id.as_str()).filter(|id| !id.is_empty()),
            bytes_in = self.note.bytes_in(),
            bytes_out = self.bytes_out,
            elapsed_ms = elapsed.as_secs_f64() * 1000.0,
            is_cut_off = !self.is_whole,
            "request"
        );
    }
}

struct Followed {
    body: Body,
    ticket: Ticket,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.ticket.bytes_out += data.len() as u64;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.ticket.read_code(trailers);
                }
                if self.body.is_end_stream() {
                    self.ticket.is_whole = true;
                }
            }
            Poll::Ready(None) => self.ticket.is_whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
