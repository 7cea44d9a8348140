//! Optimiser steps and evaluations.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hearth_kernels::{AdamW, Backend, Cpu, Isa, Part, Reference, Tally, Timed};
use hearth_model::{Decoder, Lora, LoraConfig, Packed};
use hearth_run::{Backend as BackendName, MICRO_BATCH_TOKENS, Precision as PrecisionName};
use serde::Serialize;

use crate::bench::work::{Tokens, Work};
use crate::bench::{SEED, cpu, median, p95, refused};
use crate::error::TrainError;
use crate::learner::{ADAM_BETA1, ADAM_BETA2, ADAM_EPS, Learner};
use crate::memory::{self, Memory, Needs};
use crate::plan;

/// Steps before the measured ones: they take memory from the system and read weights from disk.
const WARM_UP_STEPS: u32 = 1;
/// A rate at which random tokens stay finite.
const LEARNING_RATE: f32 = 1e-4;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainBench {
    /// What the steps run on.
    pub tokens: Tokens,
    /// Tokens of a micro-batch at most, if one sequence is not longer; 0 means the trainer's default.
    pub micro_batch_tokens: usize,
    /// Measured steps; at least 1.
    pub steps: u32,
    /// Loss alone, as an evaluation computes it, instead of optimiser steps.
    pub forward: bool,
    /// LoRA rank, on all linear layers.
    pub rank: usize,
    /// Backend.
    pub backend: BackendName,
    /// Instruction set of the `cpu` backend; `None` means the best one.
    pub isa: Option<Isa>,
    /// Precision; the `reference` backend has f32 only.
    pub precision: PrecisionName,
    /// Threads of the `cpu` backend; 0 means one per core.
    pub threads: usize,
}

impl Default for TrainBench {
    fn default() -> Self {
        Self {
            tokens: Tokens::Random { count: 2048, sequence_length: 0 },
            micro_batch_tokens: 0,
            steps: 5,
            forward: false,
            rank: 8,
            backend: BackendName::Cpu,
            isa: None,
            precision: PrecisionName::Bf16,
            threads: 0,
        }
    }
}

/// What was measured. Means are over the measured steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainReport {
    /// Directory of the base model.
    pub model: PathBuf,
    /// Weights of the base model.
    pub parameter_count: u64,
    /// Backend with the instruction set in use.
    pub backend: String,
    /// Rounding of GEMM inputs.
    pub precision: PrecisionName,
    /// Threads in use.
    pub threads: usize,
    /// LoRA rank.
    pub rank: usize,
    /// Whether only the loss was computed.
    pub forward: bool,
    /// File of the rows; absent for random tokens.
    pub rows: Option<PathBuf>,
    /// Mean tokens of a step.
    pub tokens_per_step: f64,
    /// Mean tokens with a loss of a step: all but the first of each sequence, or those of the assistant's turns.
    pub trained_tokens_per_step: f64,
    /// Mean tokens of a sequence.
    pub sequence_length: f64,
    /// Median over the steps of a step's tokens by its time.
    pub tokens_per_second: f64,
    /// Median over the measured steps.
    pub step_seconds_median: f64,
    /// 95 of 100 measured steps took no longer.
    pub step_seconds_p95: f64,
    /// Every measured step.
    pub step_seconds: Vec<f64>,
    /// Mean time of a step by what it was spent on.
    pub parts: Parts,
    /// Floating-point operations that the result of a token needs; what counts stands at [`hearth_kernels::Timed`].
    pub flop_per_token: f64,
    /// Operations of all measured steps by their time.
    pub flop_per_second: f64,
    /// [`Cpu::peak_flop_per_second`] after the steps; absent for the reference backend.
    pub ceiling_flop_per_second: Option<f64>,
    /// `flop_per_second / ceiling_flop_per_second`.
    pub share_of_ceiling: Option<f64>,
    /// Blocks that run forward again in the backward, because memory asks for it.
    pub recomputed_blocks: usize,
    /// Loss of the last step: near `ln(vocabulary)` on random tokens.
    pub last_loss: f64,
    /// Time to load the base.
    pub load_seconds: f64,
    /// From the start of this process to the end of the first step, which is not among the measured ones. Absent
    /// where the system does not tell.
    pub seconds_to_first_step: Option<f64>,
    /// Highest resident memory of this process, mapped weights included.
    pub peak_rss_bytes: u64,
}

/// Mean times of one step. They add up to the mean time of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parts {
    /// Linears with LoRA.
    pub gemm: PartReport,
    /// Attention.
    pub attention: PartReport,
    /// Cross-entropy with the products of the output head.
    pub loss: PartReport,
    /// Norms, rotation, gated activation, embedding, copies.
    pub elementwise: PartReport,
    /// AdamW and the norm of the gradient.
    pub optimiser: PartReport,
    /// Packing of the samples.
    pub data: PartReport,
    /// The rest, for example memory that is taken from the system.
    pub other: PartReport,
}

/// One part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PartReport {
    /// Mean time of a step.
    pub seconds: f64,
    /// Of the step's time.
    pub share: f64,
    /// Operations by time; 0 where none are counted.
    pub flop_per_second: f64,
}

/// Runs real steps. Fails for a model that cannot be loaded, rows that cannot be read, and options that leave
/// nothing to do or ask for more memory than there is.
pub fn train(model_dir: &Path, options: &TrainBench) -> Result<TrainReport, TrainError> {
    if options.steps == 0 || options.rank == 0 {
        return Err(refused("steps and rank must be at least 1"));
    }
    match options.backend {
        BackendName::Cpu => {
            let cpu = cpu(options.threads, options.isa, options.precision)?;
            let threads = cpu.threads();
            measure(cpu, threads, model_dir, options, |cpu| Some(Cpu::peak_flop_per_second(cpu)))
        }
        BackendName::Reference if options.precision != PrecisionName::F32 || options.isa.is_some() => {
            Err(refused("the reference backend has precision f32 and no instruction sets"))
        }
        BackendName::Reference => measure(Reference::<f32>::new(), 1, model_dir, options, |_| None),
    }
}

fn measure<B: Backend>(
    backend: B,
    threads: usize,
    model_dir: &Path,
    options: &TrainBench,
    ceiling: impl FnOnce(&B) -> Option<f64>,
) -> Result<TrainReport, TrainError> {
    let name = backend.name();
    let started = Instant::now();
    let model_error =
        |source| TrainError::Model { action: "load the base model in", path: model_dir.to_owned(), source };
    let decoder = Decoder::load(Arc::new(Timed::new(backend)), model_dir).map_err(model_error)?;
    let load_seconds = started.elapsed().as_secs_f64();
    let micro_batch_tokens = match options.micro_batch_tokens {
        0 => MICRO_BATCH_TOKENS as usize,
        tokens => tokens,
    };
    let work = Work::new(&options.tokens, micro_batch_tokens, model_dir, decoder.config())?;
    let lora_config = LoraConfig {
        r: options.rank,
        alpha: 2.0 * options.rank as f32,
        target_modules: decoder.config().linears().to_vec(),
    };
    let lora = Lora::init(&decoder, &lora_config, SEED).map_err(model_error)?;
    let parameter_count = decoder.config().parameter_count();
    let mut learner = Learner::new(decoder, lora);
    // As the trainer plans, so that what is measured is what a job does.
    let (trained, evaluated) = if options.forward { (0, work.largest()) } else { (work.largest(), 0) };
    let needs = Needs::of_learner(&learner, Memory::now().rss_bytes, trained, evaluated);
    let recomputed_blocks = needs.fit(memory::limit_bytes(None))?.recomputed_blocks;
    learner.set_recomputed_blocks(recomputed_blocks);
    let mut seconds_to_first_step = None;
    let mut steps = Vec::new();
    for number in 1..=WARM_UP_STEPS + options.steps {
        let step = Step::run(&mut learner, &work, number, options.forward)?;
        if number == 1 {
            seconds_to_first_step = seconds_since_process_start();
        }
        if number > WARM_UP_STEPS {
            steps.push(step);
        }
    }
    let peak_rss_bytes = Memory::now().peak_rss_bytes;
    let ceiling = ceiling(learner.decoder().backend().inner());
    let totals = Totals::of(&steps);
    let step_seconds: Vec<f64> = steps.iter().map(|step| step.seconds).collect();
    let rates: Vec<f64> = steps.iter().map(|step| step.tokens as f64 / step.seconds).collect();
    let flop_per_second = totals.flop / totals.seconds;
    Ok(TrainReport {
        model: model_dir.to_owned(),
        parameter_count,
        backend: name,
        precision: options.precision,
        threads,
        rank: options.rank,
        forward: options.forward,
        rows: match &options.tokens {
            Tokens::Rows(path) => Some(path.clone()),
            Tokens::Random { .. } => None,
        },
        tokens_per_step: totals.tokens / steps.len() as f64,
        trained_tokens_per_step: totals.trained_tokens / steps.len() as f64,
        sequence_length: totals.tokens / totals.sequences,
        tokens_per_second: median(&rates),
        step_seconds_median: median(&step_seconds),
        step_seconds_p95: p95(&step_seconds),
        step_seconds,
        parts: totals.parts(steps.len()),
        flop_per_token: totals.flop / totals.tokens,
        flop_per_second,
        ceiling_flop_per_second: ceiling,
        share_of_ceiling: ceiling.map(|ceiling| flop_per_second / ceiling),
        recomputed_blocks,
        last_loss: steps.last().map_or(f64::NAN, |step| step.loss),
        load_seconds,
        seconds_to_first_step,
        peak_rss_bytes,
    })
}

/// What one step did.
struct Step {
    seconds: f64,
    data_seconds: f64,
    tallies: [Tally; Part::ALL.len()],
    tokens: usize,
    trained_tokens: usize,
    sequences: usize,
    loss: f64,
}

impl Step {
    /// `number` counts from 1.
    fn run<B: Backend>(
        learner: &mut Learner<Timed<B>>,
        work: &Work,
        number: u32,
        forward: bool,
    ) -> Result<Self, TrainError> {
        learner.decoder().backend().take();
        let indices = &work.steps[(number as usize - 1) % work.steps.len()];
        let started = Instant::now();
        let packed = |indices: &Vec<usize>| plan::packed_of(&work.samples, indices);
        let micro_batches: Vec<Packed> = indices.iter().map(packed).collect();
        let data_seconds = started.elapsed().as_secs_f64();
        let loss = if forward {
            evaluate(learner, &micro_batches)?
        } else {
            let adamw = AdamW {
                learning_rate: LEARNING_RATE,
                beta1: ADAM_BETA1,
                beta2: ADAM_BETA2,
                eps: ADAM_EPS,
                weight_decay: 0.0,
                step: u64::from(number),
            };
            learner.step(&micro_batches, &adamw)?.loss
        };
        // A clock that did not move would make speeds infinite.
        let seconds = started.elapsed().as_secs_f64().max(1e-9);
        let trained = |packed: &Packed| packed.weights.iter().filter(|&&weight| weight > 0.0).count();
        Ok(Self {
            seconds,
            data_seconds,
            tallies: learner.decoder().backend().take(),
            tokens: plan::tokens(&work.samples, indices),
            trained_tokens: micro_batches.iter().map(trained).sum(),
            sequences: indices.iter().map(Vec::len).sum(),
            loss,
        })
    }
}

/// Mean loss, without gradients.
fn evaluate<B: Backend>(learner: &mut Learner<B>, micro_batches: &[Packed]) -> Result<f64, TrainError> {
    let (mut loss, mut weight) = (0.0, 0.0);
    for packed in micro_batches {
        let sums = learner.loss(packed)?;
        loss += sums.loss;
        weight += sums.weight;
    }
    Ok(loss / weight)
}

/// Sums over steps.
struct Totals {
    seconds: f64,
    data_seconds: f64,
    tallies: [Tally; Part::ALL.len()],
    tokens: f64,
    trained_tokens: f64,
    sequences: f64,
    flop: f64,
}

impl Totals {
    fn of(steps: &[Step]) -> Self {
        let mut tallies = [Tally::default(); Part::ALL.len()];
        for step in steps {
            for (sum, tally) in tallies.iter_mut().zip(step.tallies) {
                sum.seconds += tally.seconds;
                sum.flop += tally.flop;
            }
        }
        let count = |of: fn(&Step) -> usize| steps.iter().map(of).sum::<usize>() as f64;
        Self {
            seconds: steps.iter().map(|step| step.seconds).sum(),
            data_seconds: steps.iter().map(|step| step.data_seconds).sum(),
            tallies,
            tokens: count(|step| step.tokens),
            trained_tokens: count(|step| step.trained_tokens),
            sequences: count(|step| step.sequences),
            flop: tallies.iter().map(|tally| tally.flop as f64).sum(),
        }
    }

    fn parts(&self, steps: usize) -> Parts {
        let report = |seconds: f64, flop: u64| PartReport {
            seconds: seconds / steps as f64,
            share: seconds / self.seconds,
            flop_per_second: if flop == 0 { 0.0 } else { flop as f64 / seconds.max(1e-9) },
        };
        let part = |part: Part| {
            let tally = self.tallies[part as usize];
            report(tally.seconds, tally.flop)
        };
        let known = self.data_seconds + self.tallies.iter().map(|tally| tally.seconds).sum::<f64>();
        Parts {
            gemm: part(Part::Gemm),
            attention: part(Part::Attention),
            loss: part(Part::Loss),
            elementwise: part(Part::Elementwise),
            optimiser: part(Part::Optimiser),
            data: report(self.data_seconds, 0),
            other: report(self.seconds - known, 0),
        }
    }
}

/// Ticks per second of process times: Linux has 100 for programs, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;
/// Place of the start time in `/proc/self/stat`, counted after the name's closing parenthesis.
const START_TIME_FIELD: usize = 19;

/// Time since this process was started, exact to about 20 ms.
fn seconds_since_process_start() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    seconds_since_start(&stat, &uptime)
}

fn seconds_since_start(stat: &str, uptime: &str) -> Option<f64> {
    // The name may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: f64 = fields.split(' ').nth(START_TIME_FIELD)?.parse().ok()?;
    let now: f64 = uptime.split(' ').next()?.parse().ok()?;
    // Both are whole ticks.
    Some(((now - ticks / TICKS_PER_SECOND) * TICKS_PER_SECOND).round() / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields = (3..=52).map(|i| if i == 22 { "12345".to_owned() } else { i.to_string() });
        let stat = format!("7 (a b) c) S {}", fields.skip(1).collect::<Vec<_>>().join(" "));
        let seconds = seconds_since_start(&stat, "125.50 99.00\n").expect("both are there");
        assert!((seconds - 2.05).abs() < 1e-9, "{seconds}");
        assert_eq!(seconds_since_start("7 (x", "125.50 1"), None);
        let own = seconds_since_process_start().expect("this system tells");
        assert!((-0.05..3600.0).contains(&own), "{own}");
    }
}
