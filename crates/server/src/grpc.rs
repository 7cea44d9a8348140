//! The gRPC face: who calls, time limits, and the way into the generated service.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use hearth_proto::gateway::gateway_server::GatewayServer;
use http::header;
use tonic::Status;
use tower::Service;

use crate::context::Face;
use crate::gateway::Gateway;
use crate::limits::{CONTROL_BODY_MAX_BYTES, CONTROL_TIMEOUT, VALIDATE_TIMEOUT};
use crate::state::AppState;

/// Path of the calls of the gateway in the router.
pub(crate) const ROUTE: &str = "/gateway.Gateway/{rpc}";
/// The one call that reads whole files before it answers.
const VALIDATE_PATH: &str = "/gateway.Gateway/ValidateDatasetUpload";

/// True if the client speaks gRPC.
pub(crate) fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A call from outside.
pub(crate) async fn handle(State(state): State<AppState>, mut request: Request) -> Response {
    match crate::auth::authenticate(&state, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(Face::Grpc);
            dispatch(&state, request).await
        }
        Err(error) => Status::from(error).into_http::<Body>(),
    }
}

/// Hands a call to the service. Caller and face stand in the extensions.
pub(crate) async fn dispatch(state: &AppState, request: Request) -> Response {
    let limit = if request.uri().path() == VALIDATE_PATH { VALIDATE_TIMEOUT } else { CONTROL_TIMEOUT };
    let mut service =
        GatewayServer::new(Gateway::new(state.clone())).max_decoding_message_size(CONTROL_BODY_MAX_BYTES);
    match tokio::time::timeout(limit, service.call(request)).await {
        Ok(Ok(response)) => response.map(Body::new),
        Ok(Err(never)) => match never {},
        Err(_) => Status::deadline_exceeded(format!("no answer within {} seconds", limit.as_secs()))
            .into_http::<Body>(),
    }
}
