//! What the server counts, in Prometheus' text form. No label holds anything that a client can choose.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_domain::JobState;
use http::Method;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::note::{Note, Surface};
use crate::rate::Class;

/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];
/// Label of requests that no route answers.
pub(crate) const NO_ROUTE: &str = "none";

/// Why a connection was given up before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// The client does not speak TLS, or not in a way that works.
    Handshake,
    /// It did not get on with it.
    HandshakeTimeout,
}

/// A label that is one of a few words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Word {
    Fixed(&'static str),
    Route(Arc<str>),
}

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Fixed(word) => word.encode(encoder),
            Self::Route(route) => route.as_ref().encode(encoder),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: Word,
    route: Word,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: Word,
    route: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GrpcLabels {
    route: Word,
    code: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SurfaceLabel {
    face: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TlsLabel {
    tls: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: Word,
}

/// How a request ended.
pub(crate) struct Ended<'a> {
    pub(crate) note: &'a Note,
    pub(crate) method: &'a Method,
    /// HTTP status; 499 if the client went away before its answer.
    pub(crate) status: u16,
    /// gRPC code, of gRPC calls.
    pub(crate) grpc_code: Option<tonic::Code>,
    pub(crate) bytes_out: u64,
    pub(crate) elapsed: Duration,
}

/// Numbers that are looked up when somebody asks for the metrics.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    /// Jobs by their state.
    pub(crate) jobs: Vec<(JobState, u64)>,
    /// Jobs that wait for a place.
    pub(crate) jobs_queued: u64,
    /// Uploads and checks that run.
    pub(crate) uploads: u64,
    /// What the inference service does.
    pub(crate) inference: hearth_inference::Stats,
}

/// All counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    grpc: Family<GrpcLabels, Counter>,
    bytes_in: Family<SurfaceLabel, Counter>,
    bytes_out: Family<SurfaceLabel, Counter>,
    open: Family<SurfaceLabel, Gauge>,
    limited: Family<ClassLabel, Counter>,
    given_up: Counter,
    connections: Family<TlsLabel, Counter>,
    connections_open: Family<TlsLabel, Gauge>,
    refused: Family<ReasonLabel, Counter>,
    jobs: Family<StateLabel, Gauge>,
    jobs_queued: Gauge,
    uploads: Gauge,
    chats_waiting: Gauge,
    chats_running: Gauge,
    bases: Gauge,
    tokens_in: Counter,
    tokens_out: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS);
        let mut metrics = Self {
            registry: Registry::with_prefix("hearth"),
            requests: Family::default(),
            latency: Family::new_with_constructor(latency),
            grpc: Family::default(),
            bytes_in: Family::default(),
            bytes_out: Family::default(),
            open: Family::default(),
            limited: Family::default(),
            given_up: Counter::default(),
            connections: Family::default(),
            connections_open: Family::default(),
            refused: Family::default(),
            jobs: Family::default(),
            jobs_queued: Gauge::default(),
            uploads: Gauge::default(),
            chats_waiting: Gauge::default(),
            chats_running: Gauge::default(),
            bases: Gauge::default(),
            tokens_in: Counter::default(),
            tokens_out: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("http_requests", "Requests that have ended", self.requests.clone());
        let help = "Time from the head of a request to the end of its answer";
        to.register("http_request_duration_seconds", help, self.latency.clone());
        to.register("grpc_requests", "gRPC calls that have ended", self.grpc.clone());
        to.register("http_request_body_bytes", "Bytes of request bodies", self.bytes_in.clone());
        to.register("http_response_body_bytes", "Bytes of response bodies", self.bytes_out.clone());
        to.register("http_requests_open", "Requests that are being answered", self.open.clone());
        to.register("rate_limited", "Requests refused because of a rate", self.limited.clone());
        let help = "Answers that their clients did not take in";
        to.register("http_responses_given_up", help, self.given_up.clone());
        to.register("connections", "Connections that were accepted", self.connections.clone());
        to.register("connections_open", "Connections that are open", self.connections_open.clone());
        let help = "Connections given up before their first request";
        to.register("connections_refused", help, self.refused.clone());
        to.register("jobs", "Jobs by state", self.jobs.clone());
        to.register("jobs_queued", "Jobs that wait to be run", self.jobs_queued.clone());
        to.register("uploads_running", "Uploads and checks that run", self.uploads.clone());
        to.register("inference_requests_waiting", "Chats that wait", self.chats_waiting.clone());
        to.register("inference_requests_running", "Chats in the batch", self.chats_running.clone());
        to.register("inference_resident_bases", "Base models in memory", self.bases.clone());
        to.register("inference_prompt_tokens", "Tokens of prompts", self.tokens_in.clone());
        to.register("inference_completion_tokens", "Tokens of answers", self.tokens_out.clone());
    }

    /// A request begins; it is open until the guard is dropped.
    pub(crate) fn request(&self, surface: Surface) -> OpenOne {
        OpenOne::new(self.open.get_or_create_owned(&SurfaceLabel { face: Word::Fixed(surface.as_str()) }))
    }

    /// A connection begins; it is open until the guard is dropped.
    pub(crate) fn connection(&self, is_tls: bool) -> OpenOne {
        let label = TlsLabel { tls: Word::Fixed(if is_tls { "true" } else { "false" }) };
        self.connections.get_or_create(&label).inc();
        OpenOne::new(self.connections_open.get_or_create_owned(&label))
    }

    /// A connection was given up.
    pub(crate) fn refused(&self, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Handshake => "tls_handshake",
            Refusal::HandshakeTimeout => "tls_handshake_timeout",
        };
        self.refused.get_or_create(&ReasonLabel { reason: Word::Fixed(reason) }).inc();
    }

    /// A client did not take in its answer.
    pub(crate) fn reply_given_up(&self) {
        self.given_up.inc();
    }

    /// A request has ended.
    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let method = Word::Fixed(method_word(ended.method));
        let route = ended.note.route().map_or(Word::Fixed(NO_ROUTE), |route| Word::Route(Arc::clone(route)));
        let labels = RequestLabels { method: method.clone(), route: route.clone(), status: ended.status };
        self.requests.get_or_create(&labels).inc();
        let labels = RouteLabels { method, route: route.clone() };
        self.latency.get_or_create(&labels).observe(ended.elapsed.as_secs_f64());
        if let Some(code) = ended.grpc_code {
            let code = Word::Fixed(code_word(code));
            self.grpc.get_or_create(&GrpcLabels { route, code }).inc();
        }
        let face = SurfaceLabel { face: Word::Fixed(ended.note.surface.as_str()) };
        self.bytes_in.get_or_create(&face).inc_by(ended.note.bytes_in());
        self.bytes_out.get_or_create(&face).inc_by(ended.bytes_out);
        if let Some(class) = ended.note.limited() {
            self.limited.get_or_create(&ClassLabel { class: Word::Fixed(class_word(class)) }).inc();
        }
    }

    /// All of it as text.
    pub(crate) fn text(&self, looked: &Looked) -> Result<String, std::fmt::Error> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in &looked.jobs {
            self.jobs.get_or_create(&StateLabel { state: Word::Fixed(state.name()) }).set(number(*count));
        }
        self.jobs_queued.set(number(looked.jobs_queued));
        self.uploads.set(number(looked.uploads));
        let inference = &looked.inference;
        self.chats_waiting.set(number(inference.waiting));
        self.chats_running.set(number(inference.running));
        self.bases.set(number(inference.bases));
        self.tokens_in.inner().store(inference.prompt_tokens, Ordering::Relaxed);
        self.tokens_out.inner().store(inference.completion_tokens, Ordering::Relaxed);
        let mut text = String::new();
        prometheus_client::encoding::prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counted while it is held.
pub(crate) struct OpenOne(Gauge);

impl OpenOne {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenOne {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The method, if it is one that servers know.
pub(crate) fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class_word(class: Class) -> &'static str {
    match class {
        Class::Control => "control",
        Class::Inference => "inference",
        Class::Upload => "upload",
        Class::WrongKey => "wrong_key",
    }
}

/// The code's name in google.rpc.
pub(crate) fn code_word(code: tonic::Code) -> &'static str {
    use tonic::Code as C;
    match code {
        C::Ok => "OK",
        C::Cancelled => "CANCELLED",
        C::Unknown => "UNKNOWN",
        C::InvalidArgument => "INVALID_ARGUMENT",
        C::DeadlineExceeded => "DEADLINE_EXCEEDED",
        C::NotFound => "NOT_FOUND",
        C::AlreadyExists => "ALREADY_EXISTS",
        C::PermissionDenied => "PERMISSION_DENIED",
        C::ResourceExhausted => "RESOURCE_EXHAUSTED",
        C::FailedPrecondition => "FAILED_PRECONDITION",
        C::Aborted => "ABORTED",
        C::OutOfRange => "OUT_OF_RANGE",
        C::Unimplemented => "UNIMPLEMENTED",
        C::Internal => "INTERNAL",
        C::Unavailable => "UNAVAILABLE",
        C::DataLoss => "DATA_LOSS",
        C::Unauthenticated => "UNAUTHENTICATED",
    }
}
