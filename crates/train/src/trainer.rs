//! The training loop, from the lock on the run directory to the checked adapter.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hearth_data::Sample;
use hearth_kernels::{AdamW, Backend, Cpu, CpuOptions, Precision, Reference};
use hearth_model::Packed;
use hearth_run::{Backend as BackendName, EventKind, JobSpec, Precision as PrecisionName, RunDir};

use crate::checkpoint::{self, Checkpoint, Checkpoints, Progress, State};
use crate::error::{TrainError, io_error};
use crate::fit::{Largest, fit};
use crate::inputs::Inputs;
use crate::journal::Journal;
use crate::learner::{ADAM_BETA1, ADAM_BETA2, ADAM_EPS, Learner};
use crate::memory::{self, DataLimit, Memory, Needs};
use crate::plan::{self, Plan};
use crate::samples::Samples;
use crate::schedule::{decimal, learning_rate};
use crate::{TrainOptions, early_stop, output, serving, settings};

/// How a run that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished,
    Paused,
}

/// Runs the job of a locked run directory: set-up, then the loop, then the output.
pub(crate) fn train(
    dir: &RunDir,
    journal: &mut Journal,
    options: TrainOptions,
    stop: &AtomicBool,
) -> Result<Outcome, TrainError> {
    let checkpoints = Checkpoints::open(dir)?;
    let (resumed, problems) = checkpoints.newest_good()?;
    let resumed_from_step = resumed.as_ref().map_or(0, |checkpoint| checkpoint.state.progress.step);
    journal.append(EventKind::Started { pid: std::process::id(), resumed_from_step })?;
    if let Some(damage) = journal.damage() {
        let message = format!("the event log was damaged and is cut off there: {damage}");
        journal.append(EventKind::Warning { message })?;
    }
    for problem in problems {
        let message = format!("{}; going on from step {resumed_from_step}", problem.full_message());
        journal.append(EventKind::Warning { message })?;
    }
    let job = dir.job()?;
    settings::check(&job)?;
    let checkpoints = checkpoints.keeping(job.sampler_checkpoint_interval_steps);
    let mut inputs = match read_inputs(job, journal.began_ms(), options, stop) {
        Err(TrainError::Stopped) => {
            journal.append(EventKind::Paused { step: resumed_from_step })?;
            return Ok(Outcome::Paused);
        }
        inputs => inputs?,
    };
    if let Some(Checkpoint { state, .. }) = &resumed
        && let Some(what) = state.identity.difference(&inputs.identity)
    {
        let path = checkpoints.path(state.progress.step);
        return Err(TrainError::OtherRun { path, what });
    }
    let plan = Plan::new(&inputs.job, &inputs.train.samples);
    inputs.ledger.write(dir, &plan, &inputs.train.samples)?;
    limited(options, || serving::write(dir, &inputs))?;
    let memory_limit_bytes = options.memory_limit_bytes;
    let run = |arithmetic| Run {
        dir,
        inputs: &inputs,
        checkpoints: &checkpoints,
        stop,
        arithmetic,
        memory_limit_bytes,
    };
    let threads = options.threads.unwrap_or(inputs.job.threads as usize);
    match inputs.job.backend {
        BackendName::Cpu => {
            let cpu = cpu(&inputs.job, threads)?;
            run(format!("cpu {}", cpu.isa())).go(Arc::new(cpu), plan, journal, resumed)
        }
        BackendName::Reference => {
            run("reference".to_owned()).go(Arc::new(Reference::<f32>::new()), plan, journal, resumed)
        }
    }
}

/// Templates are programs, so what they may ask for is limited.
fn limited<T>(
    options: TrainOptions,
    render: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    let limit = memory::limit_bytes(options.memory_limit_bytes).map(DataLimit::set).transpose();
    let _limit = limit.map_err(io_error("limit the memory of", Path::new("this process")))?;
    render()
}

/// Reads and renders the rows.
pub(crate) fn read_inputs(
    job: JobSpec,
    now_ms: i64,
    options: TrainOptions,
    stop: &AtomicBool,
) -> Result<Inputs, TrainError> {
    limited(options, || Inputs::read(job, now_ms, stop))
}

pub(crate) fn cpu(job: &JobSpec, threads: usize) -> Result<Cpu, TrainError> {
    let precision = match job.precision {
        PrecisionName::Bf16 => Precision::Bf16,
        PrecisionName::F32 => Precision::F32,
        PrecisionName::Int8 => Precision::Int8,
    };
    Cpu::new(CpuOptions { threads, isa: None, precision }).map_err(|source| TrainError::Kernels { source })
}

/// What does not change while a run goes on.
struct Run<'a> {
    dir: &'a RunDir,
    inputs: &'a Inputs,
    checkpoints: &'a Checkpoints,
    stop: &'a AtomicBool,
    /// Backend and instruction set: what the last bits of a result depend on.
    arithmetic: String,
    /// What the process may take, if somebody said so.
    memory_limit_bytes: Option<u64>,
}

impl Run<'_> {
    fn go<B: Backend>(
        self,
        backend: Arc<B>,
        plan: Plan,
        journal: &mut Journal,
        resumed: Option<Checkpoint>,
    ) -> Result<Outcome, TrainError> {
        settings::check_steps(&self.inputs.job, plan.total_steps())?;
        if let Some(message) = settings::endless_warm_up(&self.inputs.job, plan.total_steps()) {
            journal.append(EventKind::Warning { message })?;
        }
        journal.append(self.inputs.validated(plan.total_steps()))?;
        let (learner, held_bytes) =
            memory::held(&self.inputs.job.base_model_dir, || self.inputs.learner(backend))?;
        let mut trainer = Trainer {
            learner,
            evaluation: plan::evaluation(&self.inputs.eval.samples, self.inputs.job.micro_batch_tokens),
            run: self,
            plan,
            journal,
            epoch_steps: Vec::new(),
            progress: Progress::default(),
            saved_step: None,
            seconds: 0.0,
            tokens: 0,
        };
        trainer.resume(resumed)?;
        trainer.fit(held_bytes)?;
        let outcome = trainer.steps()?;
        if outcome == Outcome::Finished {
            trainer.write_output()?;
        }
        Ok(outcome)
    }
}

/// One run in progress.
struct Trainer<'a, B: Backend> {
    run: Run<'a>,
    plan: Plan,
    evaluation: Vec<Vec<usize>>,
    learner: Learner<B>,
    journal: &'a mut Journal,
    progress: Progress,
    /// Micro-batches of each step of the current epoch; empty until its first step.
    epoch_steps: Vec<Vec<Vec<usize>>>,
    /// Step of the last checkpoint of this or an earlier trainer.
    saved_step: Option<u64>,
    /// Time spent in this trainer's steps, and tokens they processed.
    seconds: f64,
    tokens: u64,
}

impl<B: Backend> Trainer<'_, B> {
    /// Takes over a checkpoint if there is one, and cuts the metrics back to it.
    fn resume(&mut self, resumed: Option<Checkpoint>) -> Result<(), TrainError> {
        let Some(Checkpoint { state, tensors }) = resumed else {
            return self.journal.open_metrics(0);
        };
        let path = self.run.checkpoints.path(state.progress.step);
        let Progress { step, epoch, step_in_epoch, .. } = state.progress;
        if epoch > self.run.inputs.job.epochs || step != self.plan.steps_before_epoch(epoch) + step_in_epoch {
            let message = format!("step {step} is not step {step_in_epoch} of epoch {epoch}");
            return Err(TrainError::Damaged { path, message });
        }
        if state.backend != self.run.arithmetic {
            let message = format!(
                "the checkpoint was made on {}, this is {}: the adapter will agree within rounding only",
                state.backend, self.run.arithmetic
            );
            self.journal.append(EventKind::Warning { message })?;
        }
        self.learner.restore(&tensors, &path)?;
        self.journal.open_metrics(state.metrics_bytes)?;
        self.saved_step = Some(step);
        self.progress = state.progress;
        Ok(())
    }

    /// Decides what is kept in memory, and tries the largest micro-batches. `held_bytes` is taken by all else.
    fn fit(&mut self, held_bytes: u64) -> Result<(), TrainError> {
        if self.run.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (train, eval) = (&self.run.inputs.train.samples, &self.run.inputs.eval.samples);
        let packed =
            |samples: &[Sample], indices: &[usize]| plan::all_trained(plan::packed_of(samples, indices));
        let largest_eval = plan::largest(eval, self.evaluation.clone());
        let largest = Largest {
            train: packed(train, self.plan.largest_micro_batch()),
            eval: (!largest_eval.is_empty()).then(|| packed(eval, &largest_eval)),
        };
        let evaluated = largest.eval.as_ref().map_or(0, Packed::len);
        let needs = Needs::of_learner(&self.learner, held_bytes, largest.train.len(), evaluated);
        let limit_bytes = memory::limit_bytes(self.run.memory_limit_bytes);
        fit(&mut self.learner, needs, &largest, limit_bytes, self.journal)
    }

    /// The loop. Ends when all steps are done, evaluated and saved, or when asked to stop.
    fn steps(&mut self) -> Result<Outcome, TrainError> {
        let total_steps = self.plan.total_steps();
        loop {
            if self.evaluation_is_due() {
                self.evaluate()?;
            }
            let stopping = self.run.stop.load(Ordering::Relaxed);
            let patience = self.progress.patience.as_ref();
            // An evaluation that was given up says nothing.
            let is_over = early_stop::is_over(patience, self.run.inputs.job.early_stop);
            let done = self.progress.step == total_steps || is_over;
            if (stopping || done || self.checkpoint_is_due()) && self.saved_step != Some(self.progress.step) {
                self.save()?;
            }
            if stopping {
                self.journal.append(EventKind::Paused { step: self.progress.step })?;
                return Ok(Outcome::Paused);
            }
            if done {
                return Ok(Outcome::Finished);
            }
            self.step()?;
        }
    }

    /// One optimiser step.
    fn step(&mut self) -> Result<(), TrainError> {
        let started = Instant::now();
        let job = &self.run.inputs.job;
        let step = self.progress.step + 1;
        if self.epoch_steps.is_empty() {
            self.epoch_steps = self.plan.epoch(self.progress.epoch);
        }
        let indices = &self.epoch_steps[self.progress.step_in_epoch as usize];
        let samples = indices.iter().map(Vec::len).sum::<usize>() as u64;
        let train = &self.run.inputs.train.samples;
        let micro_batches: Vec<Packed> =
            indices.iter().map(|indices| plan::packed_of(train, indices)).collect();
        let tokens = plan::tokens(train, indices) as u64;
        let trained_tokens = trained_tokens(&micro_batches);
        let rate = learning_rate(job, self.plan.total_steps(), step);
        let adamw = AdamW {
            learning_rate: rate,
            beta1: ADAM_BETA1,
            beta2: ADAM_BETA2,
            eps: ADAM_EPS,
            weight_decay: job.weight_decay,
            step,
        };
        let result = self.learner.step(&micro_batches, &adamw).map_err(|error| match error {
            TrainError::NonFinite { what, step, micro_batch, .. } => {
                let indices = micro_batch.map_or(&indices[..], |i| &indices[i..=i]);
                let rows = rows_text("training", &self.run.inputs.train, indices);
                TrainError::NonFinite { what, step, micro_batch, rows }
            }
            other => other,
        })?;

        // A clock that did not move would make speeds infinite.
        let seconds = started.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
        self.seconds += seconds;
        self.tokens += tokens;
        self.advance(tokens, result.loss);
        self.journal.append(EventKind::Step {
            step,
            total_steps: self.plan.total_steps(),
            epoch: self.epochs_done(),
            loss: result.loss,
            learning_rate: decimal(rate),
            grad_norm: result.grad_norm,
            tokens,
            trained_tokens,
            total_tokens: self.progress.total_tokens,
            samples,
            total_samples: self.samples_done(),
            tokens_per_second: tokens as f64 / seconds,
            seconds_remaining: self.seconds_remaining(),
            rss_bytes: Memory::now().rss_bytes,
        })
    }

    fn advance(&mut self, tokens: u64, loss: f64) {
        let progress = &mut self.progress;
        progress.step += 1;
        progress.step_in_epoch += 1;
        progress.total_tokens += tokens;
        progress.train_loss = Some(loss);
        if progress.step_in_epoch == self.plan.steps_of_epoch(progress.epoch) {
            progress.epoch += 1;
            progress.step_in_epoch = 0;
            self.epoch_steps.clear();
        }
    }

    fn epochs_done(&self) -> f64 {
        let Progress { epoch, step_in_epoch, .. } = self.progress;
        match step_in_epoch {
            0 => f64::from(epoch),
            _ => f64::from(epoch) + step_in_epoch as f64 / self.plan.steps_of_epoch(epoch) as f64,
        }
    }

    /// Samples of all steps that are done. Every epoch has all of them.
    fn samples_done(&self) -> u64 {
        let Progress { epoch, step_in_epoch, .. } = self.progress;
        let before = u64::from(epoch) * self.run.inputs.train.samples.len() as u64;
        let in_epoch = self.epoch_steps.iter().take(step_in_epoch as usize).flatten().map(Vec::len);
        before + in_epoch.sum::<usize>() as u64
    }

    /// From the mean pace of this trainer's steps. Every epoch has the same tokens.
    fn seconds_remaining(&self) -> f64 {
        let all = u64::from(self.run.inputs.job.epochs) * self.run.inputs.train.tokens();
        let remaining = all.saturating_sub(self.progress.total_tokens);
        remaining as f64 * self.seconds / self.tokens as f64
    }

    /// At the end of each epoch, at the interval, and halfway through an epoch if a run may end early; once for each step.
    fn evaluation_is_due(&self) -> bool {
        let Progress { step, epoch, step_in_epoch, evaluated_step, .. } = self.progress;
        let job = &self.run.inputs.job;
        let interval = u64::from(job.eval_interval_steps);
        let is_half = || step_in_epoch == self.plan.steps_of_epoch(epoch).div_ceil(2);
        !self.evaluation.is_empty()
            && evaluated_step != step
            && (step_in_epoch == 0
                || interval > 0 && step.is_multiple_of(interval)
                || job.early_stop.is_some() && is_half())
    }

    /// Scores the evaluation rows. When asked to stop it gives up, and the next trainer does it.
    fn evaluate(&mut self) -> Result<(), TrainError> {
        let (mut loss, mut weight, mut trained) = (0.0, 0.0, 0);
        for indices in &self.evaluation {
            if self.run.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let packed = plan::packed_of(&self.run.inputs.eval.samples, indices);
            let sums = self.learner.loss(&packed)?;
            if !sums.loss.is_finite() {
                return Err(TrainError::NonFinite {
                    what: "the evaluation loss".to_owned(),
                    step: self.progress.step,
                    micro_batch: None,
                    rows: rows_text("evaluation", &self.run.inputs.eval, std::slice::from_ref(indices)),
                });
            }
            loss += sums.loss;
            weight += sums.weight;
            trained += trained_tokens(std::slice::from_ref(&packed));
        }
        let step = self.progress.step;
        let loss = loss / weight;
        self.progress.eval_loss = Some(loss);
        self.progress.evaluated_step = step;
        if let Some(rule) = self.run.inputs.job.early_stop {
            let before = self.progress.patience.as_ref();
            self.progress.patience = Some(early_stop::evaluated(before, rule, step, loss));
        }
        self.journal.append(EventKind::Eval { step, loss, trained_tokens: trained })
    }

    fn checkpoint_is_due(&self) -> bool {
        let interval = u64::from(self.run.inputs.job.checkpoint_interval_steps);
        let step = self.progress.step;
        let is_best = self.progress.best_step() == Some(step);
        step > 0
            && (interval > 0 && step.is_multiple_of(interval) || is_best || self.run.checkpoints.stays(step))
    }

    /// Saves a checkpoint; events and metrics are on disk before it is.
    fn save(&mut self) -> Result<(), TrainError> {
        let step = self.progress.step;
        let state = State {
            version: checkpoint::VERSION,
            progress: self.progress.clone(),
            seed: self.run.inputs.job.seed,
            metrics_bytes: self.journal.sync()?,
            backend: self.run.arithmetic.clone(),
            identity: self.run.inputs.identity.clone(),
        };
        let path = self.run.checkpoints.save(&Checkpoint { state, tensors: self.learner.state() })?;
        self.saved_step = Some(step);
        self.journal.append(EventKind::Checkpoint { step, path })
    }

    /// The adapter and its gate; `finished` is the last event of a run.
    fn write_output(&mut self) -> Result<(), TrainError> {
        let step = self.progress.step;
        self.journal.append(EventKind::Writing { step })?;
        if let Some(best_step) = self.progress.best_step().filter(|&best_step| best_step != step) {
            let best = self.run.checkpoints.read(best_step)?;
            self.learner.restore(&best.tensors, &self.run.checkpoints.path(best_step))?;
        }
        let adapter_sha256 = output::write(self.run.dir, self.run.inputs, &self.progress, &mut self.learner)?;
        let best_loss = self.progress.patience.as_ref().map(|patience| patience.best_loss);
        self.journal.append(EventKind::Finished {
            step,
            total_tokens: self.progress.total_tokens,
            train_loss: self.progress.train_loss.expect("a finished run has done steps"),
            eval_loss: best_loss.or(self.progress.eval_loss),
            early_stopped: step < self.plan.total_steps(),
            best_step: self.progress.best_step(),
            adapter_sha256,
            peak_rss_bytes: Memory::now().peak_rss_bytes,
        })?;
        self.journal.sync().map(drop)
    }
}

/// The rows of micro-batches, as errors name them.
fn rows_text(what: &str, samples: &Samples, micro_batches: &[Vec<usize>]) -> String {
    let mut indices: Vec<usize> = micro_batches.iter().flatten().copied().collect();
    indices.sort_unstable();
    format!(" ({what} rows: {})", samples.places(indices.into_iter()))
}

fn trained_tokens(micro_batches: &[Packed]) -> u64 {
    micro_batches.iter().flat_map(|packed| &packed.weights).filter(|&&weight| weight > 0.0).count() as u64
}
