//! `GET /metrics`, for Prometheus.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};

use crate::error::ServerError;
use crate::listen::Connection;
use crate::metrics::Looked;
use crate::state::AppState;

/// The text form that every Prometheus reads.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Headers by which a proxy shows itself.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Everything that is counted. Only the operator's key may read it, or who is on this machine.
pub(crate) async fn metrics(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ServerError> {
    if !is_local(&state, &request) {
        let caller = crate::auth::authenticate(&state, request.headers()).await?;
        caller.must_be_operator("read metrics")?;
    }
    let text = state
        .metrics()
        .text(&look(&state).await?)
        .map_err(|source| ServerError::internal("writing the metrics", source))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// True if the request comes from this machine, and not through a proxy on it: then everybody comes from here.
fn is_local(state: &AppState, request: &Request) -> bool {
    let headers: &HeaderMap = request.headers();
    let is_loopback =
        request.extensions().get::<Connection>().is_some_and(|connection| connection.peer.is_loopback());
    is_loopback
        && state.public_url().is_none()
        && !PROXY_HEADERS.iter().any(|name| headers.contains_key(*name))
}

async fn look(state: &AppState) -> Result<Looked, ServerError> {
    let jobs = state.store().job_counts().await?;
    Ok(Looked {
        jobs_queued: jobs.iter().filter(|(state, _)| state.is_waiting()).map(|(_, count)| count).sum(),
        jobs,
        uploads: state.uploads().running() as u64,
        inference: state.inference().stats(),
    })
}
