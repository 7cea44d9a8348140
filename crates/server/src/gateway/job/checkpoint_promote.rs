//! `PromoteSupervisedFineTuningJobCheckpoint`.

use hearth_domain::{
    AccountId, JobId, Model, ModelRef, Operation, OperationId, OperationWork, Promotion, QuotaKind,
};
use hearth_proto::gateway as pb;
use hearth_store::StoredJob;

use crate::error::ServerError;
use crate::gateway::{Call, model, names, operation};
use crate::jobs::checkpoint;
use crate::operations;
use crate::quota::must_have_room;

/// Makes a model of a checkpoint, whether the job goes on or not. A name that is taken is ALREADY_EXISTS; a checkpoint
/// that was removed meanwhile is NOT_FOUND. With `async_promotion` the work is an operation.
pub(in crate::gateway) async fn job_checkpoint_promote(
    call: &Call,
    request: pb::PromoteSupervisedFineTuningJobCheckpointRequest,
) -> Result<pb::PromoteSupervisedFineTuningJobCheckpointResponse, ServerError> {
    let (account, job, id) = names::checkpoint("name", &request.name)?;
    call.caller.may_change(&account)?;
    let stored = call.state.store().job_get(&account, &job).await?;
    let output = output_model(&account, &request.output_model)?;
    must_be_base(call, &account, &stored, &request.base_model).await?;
    checkpoint::must_be_free(&call.state, &output).await?;
    checkpoint::must_be_promotable(&call.state, &stored.job, &id).await?;
    if request.async_promotion {
        let _lock = call.state.account_lock(&account).await;
        must_have_room(&call.state, &account, QuotaKind::Models, 1).await?;
        let operation = begin(call, &account, job, &stored, id, output).await?;
        return Ok(pb::PromoteSupervisedFineTuningJobCheckpointResponse {
            operation: Some(operation::to_pb(&operation)),
            model: None,
        });
    }
    let model = promote(call, stored, id, output).await?;
    Ok(pb::PromoteSupervisedFineTuningJobCheckpointResponse {
        operation: None,
        model: Some(model::to_pb(&model, model::deployed_refs(call.state.store(), &model).await?)),
    })
}

/// The model to make: an id, or a name in the job's account.
fn output_model(account: &AccountId, text: &str) -> Result<ModelRef, ServerError> {
    if text.is_empty() {
        return Err(ServerError::field("outputModel", "is required: the id of the model to make"));
    }
    let output = names::model_in(account, "outputModel", text)?;
    if output.account != *account {
        let what = format!("is of another account than the job; give a name in accounts/{account}");
        return Err(ServerError::field("outputModel", what));
    }
    Ok(output)
}

/// A base that is named must be the job's.
async fn must_be_base(
    call: &Call,
    account: &AccountId,
    stored: &StoredJob,
    text: &str,
) -> Result<(), ServerError> {
    if text.is_empty() {
        return Ok(());
    }
    let base = &stored.job.settings.base_model;
    let named = super::create::base_model(call, account, text).await?.map(|model| model.name());
    if named.as_ref() != Some(base) && names::model_in(account, "baseModel", text)? != *base {
        return Err(ServerError::field("baseModel", format!("is not the job's, {base}")));
    }
    Ok(())
}

async fn begin(
    call: &Call,
    account: &AccountId,
    job: JobId,
    stored: &StoredJob,
    checkpoint: String,
    output: ModelRef,
) -> Result<Operation, ServerError> {
    let now_ms = crate::now_ms();
    let operation = Operation {
        account: account.clone(),
        id: OperationId::generate(rand::random()),
        work: OperationWork::Promote(Promotion {
            job,
            job_key: stored.key,
            checkpoint,
            output_model: output.id,
        }),
        end: None,
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    let place = call.state.operations().place()?;
    operations::begin(&call.state, &operation, place).await?;
    Ok(operation)
}

/// In a task of its own: it goes on when the caller goes away.
async fn promote(call: &Call, stored: StoredJob, id: String, output: ModelRef) -> Result<Model, ServerError> {
    let (state, created_by) = (call.state.clone(), call.caller.email.clone());
    let place = state.operations().place()?;
    let promoting = tokio::spawn(async move {
        let _place = place;
        let _permit = state.operations().promotion_permit().await;
        let _lock = state.account_lock(&output.account).await;
        must_have_room(&state, &output.account, QuotaKind::Models, 1).await?;
        checkpoint::promote(&state, &stored.job, &id, &output, &created_by).await
    });
    promoting.await.map_err(|source| ServerError::internal("making a model of a checkpoint", source))?
}
