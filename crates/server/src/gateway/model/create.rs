//! `CreateModel`.

use hearth_domain::{Model, ModelAbout, ModelId, ModelKind, ModelUpload, QuotaKind};
use hearth_inference::assemble::{ADAPTER_RANK_MAX, ADAPTER_RANK_MIN};
use hearth_proto::gateway as pb;
use hearth_store::StoreError;

use super::about;
use crate::error::ServerError;
use crate::gateway::given::refuse_other;
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Fields of the model that are acted on. Some have only one value that is true here.
const SUPPORTED_FIELDS: &[&str] =
    &["displayName", "description", "kind", "githubUrl", "huggingFaceUrl", "baseModelDetails", "peftDetails"];

/// Makes a model without files, in state UPLOADING.
pub(in crate::gateway) async fn model_create(
    call: &Call,
    request: pb::CreateModelRequest,
) -> Result<pb::Model, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    if request.model_id.is_empty() {
        return Err(ServerError::field("modelId", "is required"));
    }
    let id =
        ModelId::new(request.model_id).map_err(|error| ServerError::field("modelId", error.to_string()))?;
    if !request.cluster.is_empty() {
        return Err(ServerError::Unimplemented(
            "cluster: this server is one machine; leave it out".to_owned(),
        ));
    }
    let mut given = request.model.unwrap_or_default();
    // What is always so here may be said.
    if given.public && account.as_str() == hearth_domain::Account::CATALOGUE {
        given.public = false;
    }
    refuse_other("Model", "model.", &given, SUPPORTED_FIELDS)?;
    about::check_texts(&given)?;
    let kind = kind(call, &given).await?;
    let now_ms = crate::now_ms();
    let model = Model {
        account,
        id,
        display_name: given.display_name,
        about: ModelAbout {
            description: given.description,
            github_url: given.github_url,
            hugging_face_url: given.hugging_face_url,
        },
        upload: Some(ModelUpload::default()),
        kind,
        context_length: 0,
        model_type: String::new(),
        imported_from: String::new(),
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    let _account_lock = call.state.account_lock(&model.account).await;
    must_have_room(&call.state, &model.account, QuotaKind::Models, 1).await?;
    let _lock = call.state.model_lock(&model.name()).await;
    call.state.store().model_create(&model).await?;
    Ok(super::to_pb(&model, Vec::new()))
}

/// Base or adapter; an unspecified kind is an adapter, as on the hosted service.
async fn kind(call: &Call, given: &pb::Model) -> Result<ModelKind, ServerError> {
    match given.kind() {
        pb::model::Kind::HfBaseModel => {
            if given.peft_details.is_some() {
                return Err(ServerError::field("model.peftDetails", "belongs to HF_PEFT_ADDON alone"));
            }
            base_details(given.base_model_details.clone().unwrap_or_default())?;
            Ok(ModelKind::Base { parameter_count: 0 })
        }
        pb::model::Kind::Unspecified | pb::model::Kind::HfPeftAddon => {
            if given.base_model_details.is_some() {
                return Err(ServerError::field("model.baseModelDetails", "belongs to HF_BASE_MODEL alone"));
            }
            let details = given.peft_details.clone().unwrap_or_default();
            adapter(call, details).await
        }
        other => Err(ServerError::Unimplemented(format!(
            "model.kind: this server has no {}; give HF_BASE_MODEL or HF_PEFT_ADDON",
            other.as_str_name()
        ))),
    }
}

/// What a client says of a base must be what this server can do; the rest is read from the files.
fn base_details(details: pb::BaseModelDetails) -> Result<(), ServerError> {
    use pb::base_model_details::CheckpointFormat;
    if details.checkpoint_format() == CheckpointFormat::Native {
        return Err(ServerError::Unimplemented(
            "model.baseModelDetails.checkpointFormat: give HUGGINGFACE; GGUF files are recognised too"
                .to_owned(),
        ));
    }
    if !(0..=1).contains(&details.world_size) {
        return Err(ServerError::Unimplemented(
            "model.baseModelDetails.worldSize: this server runs a model on one machine; give 1".to_owned(),
        ));
    }
    let known = pb::BaseModelDetails { checkpoint_format: 0, world_size: 0, ..details };
    refuse_other("BaseModelDetails", "model.baseModelDetails.", &known, &[])
}

async fn adapter(call: &Call, details: pb::PeftDetails) -> Result<ModelKind, ServerError> {
    const BASE: &str = "model.peftDetails.baseModel";
    if details.base_model.is_empty() {
        return Err(ServerError::field(
            BASE,
            "is required: the name of the base that the adapter was made for",
        ));
    }
    let supported = ["baseModel", "r", "targetModules"];
    refuse_other("PEFTDetails", "model.peftDetails.", &details, &supported)?;
    let base_model = names::model(BASE, &details.base_model)?;
    call.caller.may_read_models(&base_model.account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    match store.model_get(&base_model).await {
        Ok(Model { kind: ModelKind::Base { .. }, .. }) => {}
        Ok(_) => return Err(ServerError::field(BASE, format!("{base_model} is an adapter itself"))),
        Err(StoreError::NotFound { .. }) => {
            return Err(ServerError::NotFound(format!("{BASE}: there is no READY model {base_model}")));
        }
        Err(error) => return Err(error.into()),
    }
    let r = u32::try_from(details.r)
        .ok()
        .filter(|r| *r == 0 || (ADAPTER_RANK_MIN..=ADAPTER_RANK_MAX).contains(r));
    let r = r.ok_or_else(|| {
        let what = format!("{} is not between {ADAPTER_RANK_MIN} and {ADAPTER_RANK_MAX}", details.r);
        ServerError::field("model.peftDetails.r", what)
    })?;
    Ok(ModelKind::Adapter {
        base_model,
        r,
        target_modules: details.target_modules,
        fine_tuning_job: String::new(),
    })
}
