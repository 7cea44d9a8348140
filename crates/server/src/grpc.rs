//! The gRPC face: who calls, time limits, the way into the generated service, and reflection.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use hearth_proto::gateway::gateway_server::GatewayServer;
use http::header;
use tonic::{Code, Status};
use tower::Service;

use crate::context::Face;
use crate::error::INTERNAL_MESSAGE;
use crate::gateway::Gateway;
use crate::limits::{
    CONTROL_BODY_MAX_BYTES, CONTROL_TIMEOUT, ESTIMATE_TIMEOUT, MODEL_CHECK_TIMEOUT,
    REFLECTION_MESSAGE_MAX_BYTES, VALIDATE_TIMEOUT,
};
use crate::note;
use crate::state::AppState;

/// Path of the calls of the gateway in the router.
pub(crate) const ROUTE: &str = "/gateway.Gateway/{rpc}";
/// Most characters of an unknown RPC's name that the answer repeats.
const RPC_NAME_MAX_CHARS: usize = 80;
/// Calls that read whole files before they answer, and how long they may take.
const LONG_CALLS: [(&str, Duration); 6] = [
    ("/gateway.Gateway/ValidateDatasetUpload", VALIDATE_TIMEOUT),
    ("/gateway.Gateway/SplitDataset", VALIDATE_TIMEOUT),
    ("/gateway.Gateway/EstimateSupervisedFineTuningJobCost", ESTIMATE_TIMEOUT),
    ("/gateway.Gateway/ValidateModelUpload", MODEL_CHECK_TIMEOUT),
    ("/gateway.Gateway/PromoteSupervisedFineTuningJobCheckpoint", MODEL_CHECK_TIMEOUT),
    ("/gateway.Gateway/PrepareModel", MODEL_CHECK_TIMEOUT),
];

/// True if the client speaks gRPC.
pub(crate) fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A call from outside.
pub(crate) async fn handle(State(state): State<AppState>, mut request: Request) -> Response {
    let unknown = unknown_rpc(request.uri().path());
    if let Some(note) = note::current() {
        note.set_route(if unknown.is_some() { ROUTE } else { request.uri().path() }.into());
    }
    match crate::auth::authenticate(&state, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(Face::Grpc);
            match unknown {
                Some(rpc) => Status::unimplemented(format!(
                    "this server has no {rpc}; it does the part of the hosted service that fine-tunes and serves models"
                ))
                .into_http::<Body>(),
                None => dispatch(&state, request).await,
            }
        }
        Err(error) => Status::from(error).into_http::<Body>(),
    }
}

/// Server reflection, in both versions that clients ask for. Descriptors are public facts: it needs no key.
pub(crate) fn reflection() -> Router<AppState> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(hearth_proto::file_descriptor_set())
    };
    let v1 = builder().build_v1().expect("the embedded descriptors are valid");
    let v1alpha = builder().build_v1alpha().expect("the embedded descriptors are valid");
    Router::new()
        .route_service(
            "/grpc.reflection.v1.ServerReflection/{rpc}",
            v1.max_decoding_message_size(REFLECTION_MESSAGE_MAX_BYTES),
        )
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{rpc}",
            v1alpha.max_decoding_message_size(REFLECTION_MESSAGE_MAX_BYTES),
        )
}

/// The name of the RPC, if the gateway does not have it. The hosted service has many more.
fn unknown_rpc(path: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let service = hearth_proto::descriptor_pool().get_service_by_name("gateway.Gateway")?;
    if service.methods().any(|method| method.name() == name) {
        return None;
    }
    Some(name.chars().take(RPC_NAME_MAX_CHARS).collect())
}

/// A message that cannot be read, or is too long, is the caller's mistake: tonic calls it INTERNAL or OUT_OF_RANGE. Of the
/// handlers no error has these codes with another text than the one about a defect.
fn readable(response: Response) -> Response {
    let found = Status::from_header_map(response.headers());
    match found.as_ref().map(|status| (status.code(), status.message())) {
        Some((Code::Internal, message)) if message == INTERNAL_MESSAGE => response,
        Some((Code::Internal | Code::OutOfRange, message)) => {
            Status::invalid_argument(format!("the message cannot be read: {message}")).into_http::<Body>()
        }
        _ => response,
    }
}

/// Hands a call to the service. Caller and face stand in the extensions.
pub(crate) async fn dispatch(state: &AppState, request: Request) -> Response {
    let path = request.uri().path();
    let limit =
        LONG_CALLS.iter().find(|(long, _)| *long == path).map_or(CONTROL_TIMEOUT, |(_, limit)| *limit);
    let mut service =
        GatewayServer::new(Gateway::new(state.clone())).max_decoding_message_size(CONTROL_BODY_MAX_BYTES);
    match tokio::time::timeout(limit, service.call(request)).await {
        Ok(Ok(response)) => readable(response.map(Body::new)),
        Ok(Err(never)) => match never {},
        Err(_) => Status::deadline_exceeded(format!("no answer within {} seconds", limit.as_secs()))
            .into_http::<Body>(),
    }
}
