//! Whether the server lives and whether it can answer, over HTTP and as `grpc.health.v1.Health`. Nobody needs a key.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use hearth_domain::Code;
use hearth_store::StoreError;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::Service;

use crate::error::ServerError;
use crate::limits::{HEALTH_WATCH_INTERVAL, HEALTH_WATCHES_MAX, READY_TIMEOUT};
use crate::note;
use crate::state::AppState;

/// Path of the calls of the health service in the router.
pub(crate) const GRPC_ROUTE: &str = "/grpc.health.v1.Health/{rpc}";
/// Longest message of the health service.
const MESSAGE_MAX_BYTES: usize = 4 << 10;
/// Services whose health can be asked for; the empty name is the server.
const SERVICES: [&str; 2] = ["", "gateway.Gateway"];

/// `GET /healthz`: the process lives.
pub(crate) async fn healthz() -> Response {
    axum::Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`: requests are answered. UNAVAILABLE (503) with the reason when not.
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<Response, ServerError> {
    ready(&state).await.map_err(|reason| ServerError::Unavailable(reason.to_owned()))?;
    Ok(axum::Json(json!({ "status": "ready" })).into_response())
}

/// Why requests are not answered, if so. The causes stand in the log.
async fn ready(state: &AppState) -> Result<(), &'static str> {
    if state.stop().announced.is_cancelled() {
        return Err("the server is shutting down");
    }
    answers(state.store().check(), "the database does not answer").await?;
    let objects = state.objects().clone();
    let check = async {
        // A disk that hangs must not hold up a thread that answers requests.
        tokio::task::spawn_blocking(move || objects.check()).await.unwrap_or(Ok(()))
    };
    answers(check, "files cannot be stored").await
}

async fn answers(
    check: impl Future<Output = Result<(), StoreError>>,
    reason: &'static str,
) -> Result<(), &'static str> {
    match tokio::time::timeout(READY_TIMEOUT, check).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "the server is not ready");
            Err(if error.code() == Code::ResourceExhausted { "the disk is full" } else { reason })
        }
        Err(_) => Err(reason),
    }
}

/// Calls of `grpc.health.v1.Health`.
#[derive(Clone)]
pub(crate) struct GrpcHealth {
    state: AppState,
    watches: Arc<Semaphore>,
}

impl GrpcHealth {
    pub(crate) fn new(state: AppState) -> Self {
        Self { state, watches: Arc::new(Semaphore::new(HEALTH_WATCHES_MAX)) }
    }

    /// A call from outside.
    pub(crate) async fn handle(self, request: Request) -> Response {
        if let Some(note) = note::current() {
            let path = request.uri().path();
            let is_known = path.ends_with("/Check") || path.ends_with("/Watch");
            note.set_route(if is_known { path } else { GRPC_ROUTE }.into());
        }
        let mut service = HealthServer::new(self).max_decoding_message_size(MESSAGE_MAX_BYTES);
        match service.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    async fn status(&self) -> ServingStatus {
        match ready(&self.state).await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl Health for GrpcHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("this server has no such service"));
        }
        Ok(tonic::Response::new(response(self.status().await)))
    }

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let place = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted(format!("{HEALTH_WATCHES_MAX} watches are open")))?;
        let is_known = SERVICES.contains(&request.get_ref().service.as_str());
        let watch = Watch { health: self.clone(), is_known, last: None, _place: place };
        Ok(tonic::Response::new(Box::pin(stream::unfold(watch, Watch::next))))
    }
}

/// One stream of changes. It ends when the server stops.
struct Watch {
    health: GrpcHealth,
    is_known: bool,
    last: Option<ServingStatus>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        let stop = self.health.state.stop().announced.clone();
        loop {
            if self.last.is_some() && stop.is_cancelled() && self.last == Some(ServingStatus::NotServing) {
                return None;
            }
            let status =
                if self.is_known { self.health.status().await } else { ServingStatus::ServiceUnknown };
            if self.last != Some(status) {
                self.last = Some(status);
                return Some((Ok(response(status)), self));
            }
            if !self.is_known && stop.is_cancelled() {
                return None;
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(HEALTH_WATCH_INTERVAL)).await;
        }
    }
}
