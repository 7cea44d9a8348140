//! Reading files through signed URLs.

use std::path::Path;

use axum::body::Body;
use axum::extract::{Path as PathParams, Request, State};
use axum::response::{IntoResponse, Response};
use hearth_domain::{AccountId, DatasetId, DatasetRef, JobId, ModelId};
use hearth_store::{ObjectKey, installed};
use http::{HeaderValue, header};
use tokio_util::io::ReaderStream;

use super::signed::{LOG_FILE, METRICS_FILE, check};
use crate::error::ServerError;
use crate::state::AppState;

/// Bytes of one read of a file.
const READ_BYTES: usize = 64 << 10;

fn no_file(name: &str) -> ServerError {
    ServerError::NotFound(format!("there is no file {name:?} here"))
}

fn id<T: std::str::FromStr>(text: &str) -> Result<T, ServerError> {
    text.parse().map_err(|_| no_file(text))
}

fn reply(size_bytes: u64, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size_bytes));
    // Contents come from users; no browser shall run them.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A file of a dataset.
pub(crate) async fn dataset_file(
    State(state): State<AppState>,
    PathParams((account, dataset, file)): PathParams<(String, String, String)>,
    request: Request,
) -> Result<Response, ServerError> {
    check(&state, &request)?;
    let dataset = DatasetRef { account: id::<AccountId>(&account)?, id: id::<DatasetId>(&dataset)? };
    let key = ObjectKey::dataset_file(&dataset, &file)?;
    let object = state.objects().get(&key).await?;
    Ok(reply(object.size_bytes, Body::from_stream(object.stream)))
}

/// A file of a model: one that its manifest names, or the manifest.
pub(crate) async fn model_file(
    State(state): State<AppState>,
    PathParams((account, model, file)): PathParams<(String, String, String)>,
    request: Request,
) -> Result<Response, ServerError> {
    check(&state, &request)?;
    let installed = installed::read(state.data_dir(), &id::<AccountId>(&account)?, &id::<ModelId>(&model)?)?;
    if file != installed::MANIFEST_FILE && !installed.manifest.files.contains_key(&file) {
        return Err(no_file(&file));
    }
    local(&installed.dir.join(&file)).await?.ok_or_else(|| no_file(&file))
}

/// Metrics or log of a run, as far as they are written; empty before the trainer has begun.
pub(crate) async fn run_file(
    State(state): State<AppState>,
    PathParams((account, job, file)): PathParams<(String, String, String)>,
    request: Request,
) -> Result<Response, ServerError> {
    check(&state, &request)?;
    let (account, job) = (id::<AccountId>(&account)?, id::<JobId>(&job)?);
    state.store().job_get(&account, &job).await?;
    let run = state.run_dir(&account, &job);
    let path = match file.as_str() {
        METRICS_FILE => run.metrics_path(),
        LOG_FILE => run.log_path(),
        _ => return Err(no_file(&file)),
    };
    Ok(local(&path).await?.unwrap_or_else(|| reply(0, Body::empty())))
}

/// A file as long as it is now (a live trainer appends to it); `None` if it is not there.
async fn local(path: &Path) -> Result<Option<Response>, ServerError> {
    let failed = |source: std::io::Error| ServerError::internal("reading a file for a signed url", source);
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let size_bytes = file.metadata().await.map_err(failed)?.len();
    let limited = tokio::io::AsyncReadExt::take(file, size_bytes);
    Ok(Some(reply(size_bytes, Body::from_stream(ReaderStream::with_capacity(limited, READ_BYTES)))))
}
