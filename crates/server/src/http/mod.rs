//! What plain HTTP answers besides the transcoded RPCs: files, the check of a key, health and metrics.

pub(crate) mod files;
pub(crate) mod metrics;
pub(crate) mod model_upload;
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
/// Before the parts of the path to a model's file.
const SIGNED_MODELS: &str = "/signed/models/";

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
        .route(
            &format!("{SIGNED_MODELS}{{account}}/{{model}}/{{*file}}"),
            get(files::model_file)
                .post(model_upload::start)
                .put(model_upload::put)
                .delete(model_upload::give_up),
        )
        .route("/signed/runs/{account}/{job}/{file}", get(files::run_file))
        .method_not_allowed_fallback(method_not_allowed)
}

/// 405 for the paths of this module, and for others that can only be read.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> ServerError {
    let allow = match uri.path() {
        path if path.starts_with(SIGNED_DATASETS) => "GET, PUT",
        path if path.starts_with(SIGNED_MODELS) => "DELETE, GET, POST, PUT",
        _ => "GET",
    };
    ServerError::WrongMethod { method: method.to_string(), allow: allow.to_owned() }
}
