//! What a run will take, before it is paid for. Rows are read, rendered and packed by the trainer's own parts, so the
//! counts are those of the run; memory follows from the sizes of its buffers, and time from its arithmetic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hearth_kernels::{Backend, Reference};
use hearth_model::{Decoder, Packed};
use hearth_run::{Backend as BackendName, Estimate, EstimateReply, Interval, JobSpec, Precision, RunDir};

use crate::TrainOptions;
use crate::error::TrainError;
use crate::inputs::{Inputs, warm_start};
use crate::memory::{self, Memory, Needs};
use crate::plan::{self, Plan};
use crate::settings;
use crate::trainer::{cpu, read_inputs};

/// Share of a processor's ceiling that training reaches: from small models and short rows to large ones.
const SHARE_OF_CEILING: Interval<f64> = Interval { low: 0.25, high: 0.80 };
/// The same with products of integers, of which an instruction does more; the ceiling is that of numbers.
const SHARE_WITH_INTEGERS: Interval<f64> = Interval { low: 0.25, high: 1.20 };
/// Operations per second of the `reference` backend: scalar code on one thread.
const REFERENCE_FLOP_PER_SECOND: Interval<f64> = Interval { low: 1e8, high: 4e9 };
/// Time to load a base, and to write an output and check it.
const SETUP_SECONDS: Interval<f64> = Interval { low: 0.2, high: 6.0 };
/// Part of what stays after the largest micro-batch that a run's highest memory is at least: buffers may lie in memory that
/// reading the rows left free.
const MEMORY_LOW: f64 = 0.85;
/// And part of what was planned that it is at most: what the allocator keeps beside what is asked for.
const MEMORY_HIGH: f64 = 1.05;

/// Reads the job of a run directory and says what its run would take. Nothing in the directory changes, and no step is
/// done. A run that would fail before its first step is [`EstimateReply::Failed`], unless only a look at every number of
/// the base tells that.
pub fn estimate(run_dir: &Path, options: TrainOptions) -> EstimateReply {
    reply(|| of_job(RunDir::new(run_dir).job()?, options))
}

/// A panic is a reply too; its own message is in the log.
fn reply(count: impl FnOnce() -> Result<Estimate, TrainError>) -> EstimateReply {
    match catch_unwind(AssertUnwindSafe(count)).unwrap_or(Err(TrainError::Panicked)) {
        Ok(estimate) => EstimateReply::Estimated(estimate),
        Err(error) => EstimateReply::Failed { kind: error.failure_kind(), message: error.full_message() },
    }
}

fn of_job(job: JobSpec, options: TrainOptions) -> Result<Estimate, TrainError> {
    let began = Instant::now();
    settings::check(&job)?;
    // What a template's clock tells is that of the run when it comes.
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let inputs = read_inputs(job, now_ms, options, &AtomicBool::new(false))?;
    let threads = options.threads.unwrap_or(inputs.job.threads as usize);
    match inputs.job.backend {
        BackendName::Cpu => {
            let cpu = cpu(&inputs.job, threads)?;
            let ceiling = cpu.peak_flop_per_second();
            let share = match inputs.job.precision {
                Precision::Int8 => SHARE_WITH_INTEGERS,
                Precision::Bf16 | Precision::F32 => SHARE_OF_CEILING,
            };
            let rate = Interval { low: ceiling * share.low, high: ceiling * share.high };
            of_inputs(&inputs, cpu, rate, began, options)
        }
        BackendName::Reference => {
            of_inputs(&inputs, Reference::<f32>::new(), REFERENCE_FLOP_PER_SECOND, began, options)
        }
    }
}

fn of_inputs<B: Backend>(
    inputs: &Inputs,
    backend: B,
    rate: Interval<f64>,
    began: Instant,
    options: TrainOptions,
) -> Result<Estimate, TrainError> {
    let job = &inputs.job;
    let plan = Plan::new(job, &inputs.train.samples);
    settings::check_steps(job, plan.total_steps())?;
    let evaluation = plan::evaluation(&inputs.eval.samples, job.micro_batch_tokens);
    let operand_bytes = backend.operand_bytes();
    let read_seconds = began.elapsed().as_secs_f64();
    // A tokenizer that is read takes more for a moment than it does later.
    let reading_bytes = Memory::now().peak_rss_bytes;
    let model_error = |source| TrainError::Model {
        action: "load the base model in",
        path: job.base_model_dir.clone(),
        source,
    };
    let (decoder, held_bytes) = memory::held(&job.base_model_dir, || {
        Decoder::load(Arc::new(backend), &job.base_model_dir).map_err(model_error)
    })?;
    let config = decoder.config();
    let lora = inputs.lora_config(config);
    if let Some(dir) = &job.warm_start_dir {
        warm_start(&decoder, &lora, dir)?;
    }
    let (train, eval) = (&inputs.train.samples, &inputs.eval.samples);
    let largest = plan::packed_of(train, plan.largest_micro_batch());
    let largest_eval = plan::packed_of(eval, &plan::largest(eval, evaluation.clone()));
    let needs = Needs::of(config, &lora, operand_bytes, held_bytes, largest.len(), largest_eval.len());
    let fit = needs.fit(options.memory_limit_bytes)?;
    let left_bytes = needs.trained(fit.recomputed_blocks).max(reading_bytes);

    let training = |packed: &Packed| config.training_flop(&lora, packed) as f64;
    let scoring = |packed: &Packed| config.evaluation_flop(&lora, packed) as f64;
    let epoch: f64 =
        plan.epoch(0).iter().flatten().map(|indices| training(&plan::packed_of(train, indices))).sum();
    let evaluation: f64 = evaluation.iter().map(|indices| scoring(&plan::packed_of(eval, indices))).sum();
    let between = plan.total_steps().checked_div(u64::from(job.eval_interval_steps)).unwrap_or(0);
    let per_epoch = if job.early_stop.is_some() { 2.0 } else { 1.0 };
    let evaluations = per_epoch * f64::from(job.epochs) + between as f64;
    // The largest micro-batches are tried first.
    let tried = training(&plan::all_trained(largest)) + scoring(&plan::all_trained(largest_eval));
    let flop = f64::from(job.epochs) * epoch + evaluations * evaluation + tried;
    let epochs = u64::from(job.epochs);
    Ok(Estimate {
        rows: inputs.train.rows,
        dropped_rows: inputs.train.dropped.count,
        eval_rows: inputs.eval.rows,
        tokens_per_epoch: inputs.train.tokens(),
        tokens: epochs * inputs.train.tokens(),
        trained_tokens: epochs * inputs.train.trained_tokens(),
        total_steps: plan.total_steps(),
        memory_bytes: Interval {
            low: (left_bytes as f64 * MEMORY_LOW) as u64,
            high: (fit.needed_bytes.max(reading_bytes) as f64 * MEMORY_HIGH) as u64,
        },
        least_memory_bytes: needs.least(),
        seconds: Interval {
            low: SETUP_SECONDS.low + flop / rate.high,
            high: SETUP_SECONDS.high + 2.0 * read_seconds + flop / rate.low,
        },
    })
}

#[cfg(test)]
mod tests {
    use hearth_run::FailureKind;

    use super::*;

    #[test]
    fn a_panic_is_a_defect_of_this_program() {
        let EstimateReply::Failed { kind, message } = reply(|| panic!("a test")) else {
            panic!("nothing was counted");
        };
        assert_eq!(kind, FailureKind::Internal);
        assert!(message.contains("a defect of its own"), "{message}");
    }
}
