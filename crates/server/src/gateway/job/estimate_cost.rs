//! `EstimateSupervisedFineTuningJobCost`.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use hearth_data::pack::{self, BatchSize};
use hearth_data::{Error as DataError, RowReader, carve};
use hearth_domain::{JobId, JobSettings};
use hearth_proto::gateway as pb;
use hearth_run::MICRO_BATCH_TOKENS;
use hearth_store::installed;

use super::{create, request};
use crate::error::ServerError;
use crate::gateway::dataset::check::uploaded_files;
use crate::gateway::dataset::findings::Findings;
use crate::gateway::dataset::preview::read_error;
use crate::gateway::dataset::render_preview::render_error;
use crate::gateway::dataset::stop::StopOnDrop;
use crate::gateway::{Call, names};
use crate::jobs::SEED;
use crate::state::AppState;

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
    let dataset = facts.dataset.expect("settings were resolved, so there is a dataset");
    let files = uploaded_files(&call.state, &dataset)?;
    let permit = call.state.estimate_permit()?;
    let (state, stop) = (call.state.clone(), StopOnDrop::default());
    let stopped = stop.flag();
    let counting = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        count(&state, &settings, &files, &stopped)
    });
    let counted = counting.await.map_err(|source| ServerError::internal("estimating a cost", source))??;
    let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(pb::EstimateSupervisedFineTuningJobCostResponse {
        estimated_cost: Some(call.state.training_price().of(counted.tokens)),
        tokens_per_epoch: int(counted.tokens_per_epoch),
        tokens: int(counted.tokens),
        trained_tokens: int(counted.trained_tokens),
        steps: int(counted.steps),
        rows: int(counted.rows),
        dropped_rows: int(counted.dropped_rows),
    })
}

/// What a run would do.
#[derive(Default)]
struct Counted {
    rows: u64,
    dropped_rows: u64,
    tokens_per_epoch: u64,
    tokens: u64,
    trained_tokens: u64,
    steps: u64,
}

/// Blocking; gives up when `stop` is set.
fn count(
    state: &AppState,
    settings: &JobSettings,
    files: &[(String, PathBuf)],
    stop: &AtomicBool,
) -> Result<Counted, ServerError> {
    let base = installed::read(state.data_dir(), &settings.base_model.account, &settings.base_model.id)?;
    let template = settings.jinja_template.as_deref();
    let sampler = state.inference().sampler(&base.dir, template).map_err(render_error)?;
    let context_length = settings.max_context_length as usize;
    let (mut counted, mut samples, mut findings) = (Counted::default(), Vec::new(), Findings::default());
    let mut format = None;
    for (name, path) in files {
        let mut rows = RowReader::new(File::open(path).map_err(read_error)?).expect_format(format);
        for row in &mut rows {
            is_wanted(stop)?;
            counted.rows += 1;
            let sample = match row {
                Ok(row) => sampler.sample_within(&row, context_length).map_err(render_error)?,
                Err(DataError::Row(error)) => Err(error),
                Err(source) => return Err(ServerError::internal("reading rows", source)),
            };
            match sample {
                Ok(Some(sample)) => samples.push((sample.tokens.len(), sample.trained_tokens())),
                Ok(None) => counted.dropped_rows += 1,
                Err(error) => findings.push_row(name, &error),
            }
        }
        format = rows.format();
    }
    if let Some(error) = findings.error() {
        return Err(error);
    }
    if settings.eval_auto_carveout {
        let chosen = carve::carved_out(counted.rows as usize, samples.len(), SEED);
        samples = carve::take_out(samples, &chosen).0;
    }
    let (lengths, trained): (Vec<usize>, Vec<usize>) = samples.into_iter().unzip();
    if lengths.is_empty() {
        let what =
            format!("all {} rows of the dataset are longer than {context_length} tokens", counted.rows);
        return Err(ServerError::field("maxContextLength", format!("{what}; raise it or shorten the rows")));
    }
    let epochs = u64::from(settings.epochs);
    counted.tokens_per_epoch = lengths.iter().sum::<usize>() as u64;
    counted.tokens = counted.tokens_per_epoch * epochs;
    counted.trained_tokens = trained.iter().sum::<usize>() as u64 * epochs;
    counted.steps = steps(settings, lengths, stop)?;
    Ok(counted)
}

/// Which samples make a batch depends on their lengths alone; micro-batches, which share beginnings, make no steps.
fn steps(settings: &JobSettings, lengths: Vec<usize>, stop: &AtomicBool) -> Result<u64, ServerError> {
    let plan = pack::Plan::new(
        lengths,
        pack::Settings {
            shuffle_seed: Some(SEED),
            batch_size: BatchSize::of(settings.batch_size_samples, settings.batch_size),
            micro_batch_tokens: MICRO_BATCH_TOKENS as usize,
            shared_tokens: 0,
        },
    );
    let mut steps = 0;
    for epoch in 0..u64::from(settings.epochs) {
        is_wanted(stop)?;
        let batches = plan.batch_count(epoch);
        steps += pack::step_count(batches, settings.gradient_accumulation_steps as usize);
    }
    Ok(steps)
}

/// Nobody sees this error: it is set when nobody waits any more.
fn is_wanted(stop: &AtomicBool) -> Result<(), ServerError> {
    if stop.load(Ordering::Relaxed) {
        return Err(ServerError::DeadlineExceeded("nobody waits for the estimate any more".to_owned()));
    }
    Ok(())
}
