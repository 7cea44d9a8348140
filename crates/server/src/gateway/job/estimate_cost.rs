//! `EstimateSupervisedFineTuningJobCost`.

use hearth_domain::{Job, JobId, ModelKind};
use hearth_proto::gateway as pb;

use super::{create, money_to_pb, request, resources_to_pb};
use crate::error::ServerError;
use crate::gateway::{Call, int, names};

/// Reads, renders and packs the rows as the trainer of this job would, and counts what it would be paid for. A job that
/// could not be created, or would fail at a row, has the same error here. Bounded by time; a caller that goes away
/// ends it.
pub(in crate::gateway) async fn job_estimate_cost(
    call: &Call,
    request: pb::EstimateSupervisedFineTuningJobCostRequest,
) -> Result<pb::EstimateSupervisedFineTuningJobCostResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let given = request
        .supervised_fine_tuning_job
        .ok_or_else(|| ServerError::field("supervisedFineTuningJob", "is required"))?;
    let wanted = request::from_pb(given)?;
    let id = JobId::generate(rand::random());
    let (facts, settings) = create::resolved(call, account, id, &wanted).await?;
    for dataset in [&facts.dataset, &facts.evaluation_dataset].into_iter().flatten() {
        if !dataset.external_url.is_empty() {
            return Err(ServerError::FailedPrecondition(format!(
                "the rows of dataset {} lie behind its externalUrl and are not here yet, so nothing can be counted before \
                 a job fetches them",
                dataset.name()
            )));
        }
    }
    let carried = facts.warm_start.as_ref().and_then(|adapter| adapter.base.as_ref());
    let parameters = match facts.base_model.as_ref().or(carried).map(|model| &model.kind) {
        Some(ModelKind::Base { parameter_count }) => *parameter_count,
        _ => 0,
    };
    let job = Job::new(facts.account, facts.job, settings, &call.caller.email, crate::now_ms());
    let _permit = call.state.estimate_permit()?;
    let estimators = call.state.estimators();
    let counted = estimators.count(&job, 0).await.map_err(ServerError::Ended)?;
    let estimate = estimators.known(parameters, &counted);
    Ok(pb::EstimateSupervisedFineTuningJobCostResponse {
        estimated_cost: Some(money_to_pb(&estimate.cost)),
        tokens_per_epoch: int(counted.tokens_per_epoch),
        tokens: int(counted.tokens),
        trained_tokens: int(counted.trained_tokens),
        steps: int(counted.total_steps),
        rows: int(counted.rows),
        dropped_rows: int(counted.dropped_rows),
        resource_estimate: Some(resources_to_pb(&estimate)),
    })
}
