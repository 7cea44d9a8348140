//! `PrepareModel`.

use std::fs;
use std::path::Path;

use hearth_inference::{InferenceError, ModelRef as Dirs};
use hearth_proto::gateway as pb;
use hearth_proto::gateway::deployment::Precision;
use serde_json::Value;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Loads a model, so that its first answer does not wait for that.
pub(in crate::gateway) async fn model_prepare(
    call: &Call,
    request: pb::PrepareModelRequest,
) -> Result<(), ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    super::files::must_be_ready(store, &name).await?;
    let dirs = super::dirs(&call.state, &store.model_get(&name).await?).await?;
    let wanted = request.precision();
    let service = call.state.inference().clone();
    tokio::task::spawn_blocking(move || {
        let stored = stored_precision(&dirs.base_dir);
        if wanted != Precision::Unspecified && wanted != stored {
            return Err(other_precision(wanted, stored));
        }
        load(&service, &dirs)
    })
    .await
    .map_err(|source| ServerError::internal("loading a model", source))?
}

fn load(service: &hearth_inference::Service, dirs: &Dirs) -> Result<(), ServerError> {
    service.load(dirs).map_err(|error| match error {
        InferenceError::ModelDir { .. } => {
            ServerError::FailedPrecondition("the model or its base was removed meanwhile".to_owned())
        }
        other => ServerError::internal("loading a model", other),
    })
}

fn other_precision(wanted: Precision, stored: Precision) -> ServerError {
    let (wanted, stored) = (wanted.as_str_name(), stored.as_str_name());
    ServerError::Unimplemented(format!(
        "precision: this server runs weights as they are stored ({stored} here) and makes no {wanted} of them; leave \
         it out"
    ))
}

/// The precision of a base's files, where it has a name: quantised GGUF files have none.
fn stored_precision(base_dir: &Path) -> Precision {
    if base_dir.join("model.gguf").exists() {
        return Precision::Unspecified;
    }
    let config: Option<Value> =
        fs::read(base_dir.join("config.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let config = config.unwrap_or_default();
    match config["torch_dtype"].as_str().or(config["dtype"].as_str()) {
        Some("bfloat16") => Precision::Bf16,
        Some("float16") => Precision::Fp16,
        _ => Precision::Unspecified,
    }
}
