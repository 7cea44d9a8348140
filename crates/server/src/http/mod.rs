//! What plain HTTP answers besides the transcoded RPCs: files and the check of a key.

pub(crate) mod files;
pub(crate) mod signed;
pub(crate) mod upload;
pub(crate) mod verify_api_key;

use axum::Router;
use axum::routing::get;

use crate::state::AppState;

/// Routes of this module.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/verifyApiKey", get(verify_api_key::verify_api_key))
        .route(
            "/signed/datasets/{account}/{dataset}/{file}",
            get(files::dataset_file).put(upload::signed_put),
        )
        .route("/signed/models/{account}/{model}/{file}", get(files::model_file))
        .route("/signed/runs/{account}/{job}/{file}", get(files::run_file))
}
