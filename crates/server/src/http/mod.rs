//! What plain HTTP answers besides the transcoded RPCs: files, the check of a key, health and metrics.

pub(crate) mod files;
pub(crate) mod metrics;
pub(crate) mod signed;
pub(crate) mod upload;
pub(crate) mod verify_api_key;

use axum::Router;
use axum::routing::get;
use http::{Method, Uri};

use crate::error::ServerError;
use crate::state::AppState;

/// Before the parts of the path to a dataset's file.
const SIGNED_DATASETS: &str = "/signed/datasets/";

/// Routes of this module.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(crate::health::healthz))
        .route("/readyz", get(crate::health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/verifyApiKey", get(verify_api_key::verify_api_key))
        .route(
            &format!("{SIGNED_DATASETS}{{account}}/{{dataset}}/{{file}}"),
            get(files::dataset_file).put(upload::signed_put),
        )
        .route("/signed/models/{account}/{model}/{file}", get(files::model_file))
        .route("/signed/runs/{account}/{job}/{file}", get(files::run_file))
        .method_not_allowed_fallback(method_not_allowed)
}

/// 405 for the paths of this module, and for others that can only be read.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> ServerError {
    let allow = if uri.path().starts_with(SIGNED_DATASETS) { "GET, PUT" } else { "GET" };
    ServerError::WrongMethod { method: method.to_string(), allow: allow.to_owned() }
}
