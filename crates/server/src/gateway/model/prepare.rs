//! `PrepareModel`.

use hearth_inference::{InferenceError, ModelRef as Files};
use hearth_proto::gateway as pb;

use crate::deployments::model_files;
use crate::error::ServerError;
use crate::gateway::{Call, names, precision};

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
    let Some((model, files)) = model_files(store, &name).await? else {
        return Err(ServerError::FailedPrecondition(format!("the base of model {name} is not installed")));
    };
    precision::check(request.precision(), precision::stored(&call.state, &model).await?)?;
    let service = call.state.inference().clone();
    tokio::task::spawn_blocking(move || load(&service, &files))
        .await
        .map_err(|source| ServerError::internal("loading a model", source))?
}

fn load(service: &hearth_inference::Service, files: &Files) -> Result<(), ServerError> {
    service.load(files).map_err(|error| match error {
        InferenceError::ModelDir { .. } => {
            ServerError::FailedPrecondition("the model or its base was removed meanwhile".to_owned())
        }
        full @ InferenceError::MemoryLimit { .. } => ServerError::ResourceExhausted(full.to_string()),
        other => ServerError::internal("loading a model", other),
    })
}
