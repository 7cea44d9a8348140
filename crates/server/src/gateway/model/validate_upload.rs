//! `ValidateModelUpload`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Checks all files of a model and loads it. It becomes READY, or stays UPLOADING and says why. The check goes on when
/// the caller goes away; a second call waits for it.
pub(in crate::gateway) async fn model_validate_upload(
    call: &Call,
    request: pb::ValidateModelUploadRequest,
) -> Result<pb::ValidateModelUploadResponse, ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let refused = [
        (request.skip_hf_config_validation, "skipHfConfigValidation: a model runs by its config.json here"),
        (request.trust_remote_code, "trustRemoteCode: this server never runs code that comes with a model"),
        (
            request.config_only,
            "configOnly: every model here must answer, so tokenizer and tensors are always checked",
        ),
    ];
    if let Some((_, what)) = refused.iter().find(|(is_set, _)| *is_set) {
        return Err(ServerError::Unimplemented(format!("{what}; leave it out")));
    }
    let warnings = super::check::model_check(&call.state, &name).await?;
    Ok(pb::ValidateModelUploadResponse { warnings })
}
