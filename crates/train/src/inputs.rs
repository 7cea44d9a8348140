//! What a run reads: settings, tokenizer and template, samples, and the digests of all of them.

use hearth_data::Renderer;
use hearth_kernels::Backend;
use hearth_model::{Decoder, Lora, LoraConfig, ModelConfig, check_weights};
use hearth_run::checkpoint::Identity;
use hearth_run::ledger::Usage;
use hearth_run::{EventKind, JobSpec};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::digest;
use crate::error::TrainError;
use crate::learner::Learner;
use crate::ledger::Ledger;
use crate::samples::Samples;
use crate::serving;

/// Everything that is known before the base model is loaded.
pub struct Inputs {
    /// The settings.
    pub job: JobSpec,
    /// Tokenizer and chat template.
    pub renderer: Renderer,
    /// What is trained on.
    pub train: Samples,
    /// What is scored.
    pub eval: Samples,
    /// Digests.
    pub identity: Identity,
    /// The chat template that goes with the adapter.
    pub template: Option<String>,
    /// What became of each row.
    pub ledger: Ledger,
    /// The time that templates are told.
    pub now_ms: i64,
}

impl Inputs {
    /// Reads and renders all rows. Nothing is computed yet, so every mistake in the data shows here.
    /// `now_ms` is the time that a template's `strftime_now` tells: that of the run's first event, so that
    /// a trainer that goes on another day sees the same samples. Gives up with `Stopped` when asked to stop.
    pub fn read(job: JobSpec, now_ms: i64, stop: &AtomicBool) -> Result<Self, TrainError> {
        let dir = &job.base_model_dir;
        let config = ModelConfig::read(dir).map_err(|source| TrainError::Model {
            action: "use the base model in",
            path: dir.clone(),
            source,
        })?;
        let whose = match job.chat_template {
            Some(_) => "the job's own chat template with the base model's tokenizer",
            None => "the base model's tokenizer and chat template",
        };
        let mut renderer = Renderer::open(dir, job.chat_template.as_deref())
            .map_err(|source| TrainError::Tokenizer { whose, source })?;
        renderer.set_now_ms(now_ms);
        let limit = job.max_context_length as usize;
        let mut train = Samples::read("training", Usage::Train, &job.train_files, &renderer, limit, stop)?;
        let mut eval = if job.eval_carveout {
            train.carve_out(job.seed)
        } else {
            Samples::read("evaluation", Usage::Eval, &job.eval_files, &renderer, limit, stop)?
        };
        if job.early_stop.is_some() && eval.samples.is_empty() {
            let message =
                "early_stop needs evaluation rows, and no row can be set aside: there is a single one"
                    .to_owned();
            return Err(TrainError::Data { message });
        }
        check_lengths(&config, &train, &eval)?;
        check_tokens(&config, &train, &eval)?;
        let files = job.train_files.iter().chain(&job.eval_files);
        let file_sha256s = files.map(|path| digest::file(path)).collect::<Result<Vec<_>, _>>()?;
        let identity = Identity {
            job_sha256: digest::job(&job),
            base_sha256: digest::base_model(dir)?,
            data_sha256: digest::joined(&file_sha256s),
            samples_sha256: digest::samples(&train.samples, &eval.samples),
            warm_start_sha256: job.warm_start_dir.as_deref().map(digest::adapter).transpose()?,
        };
        let template = serving::template(&renderer, &job, &train, &eval)?;
        let template_sha256 = template.as_deref().map(digest::text);
        let ledger = Ledger::new(&job, &identity, file_sha256s, template_sha256, &mut train, &mut eval)?;
        Ok(Self { job, renderer, train, eval, identity, template, ledger, now_ms })
    }

    /// The event that says what will be trained on.
    pub fn validated(&self, total_steps: u64) -> EventKind {
        EventKind::Validated {
            rows: self.train.rows,
            samples: self.train.samples.len() as u64,
            dropped_too_long: self.train.dropped.count,
            dropped_lines: self.train.dropped.lines.clone(),
            dropped_files: self.train.dropped.files.clone(),
            tokens_per_epoch: self.train.tokens(),
            trained_tokens_per_epoch: self.train.trained_tokens(),
            eval_rows: self.eval.rows,
            eval_carved_out: if self.job.eval_carveout { self.eval.rows } else { 0 },
            eval_dropped: self.eval.dropped.clone(),
            total_steps,
            ledger_sha256: self.ledger.sha256().to_owned(),
        }
    }

    /// The adapter that is trained on such a base.
    pub fn lora_config(&self, config: &ModelConfig) -> LoraConfig {
        let job = &self.job;
        LoraConfig {
            r: job.lora_rank as usize,
            alpha: job.lora_alpha,
            // The names are checked by then.
            target_modules: config.linears_named(&job.target_modules),
        }
    }

    /// Loads the base, in which every number must be finite, and starts an adapter on it.
    pub fn learner<B: Backend>(&self, backend: Arc<B>) -> Result<Learner<B>, TrainError> {
        let job = &self.job;
        let base_error = |action| {
            let path = job.base_model_dir.clone();
            move |source| TrainError::Model { action, path, source }
        };
        check_weights(&job.base_model_dir).map_err(base_error("train on the base model in"))?;
        let decoder =
            Decoder::load(backend, &job.base_model_dir).map_err(base_error("load the base model in"))?;
        let config = self.lora_config(decoder.config());
        let lora = match &job.warm_start_dir {
            None => Lora::init(&decoder, &config, job.seed).map_err(base_error("adapt the base model in"))?,
            Some(dir) => warm_start(&decoder, &config, dir)?,
        };
        Ok(Learner::new(decoder, lora))
    }
}

/// The adapter of a directory, which must be as the settings say: they are what is told of the run.
pub(crate) fn warm_start<B: Backend>(
    decoder: &Decoder<B>,
    config: &LoraConfig,
    dir: &Path,
) -> Result<Lora<B>, TrainError> {
    let lora = Lora::load_peft(decoder, dir).map_err(|source| TrainError::Model {
        action: "go on from the adapter in",
        path: dir.to_owned(),
        source,
    })?;
    let mut config = config.clone();
    config.target_modules.sort();
    if *lora.config() != config {
        return Err(TrainError::Setting {
            message: "lora_rank, lora_alpha or target_modules are not those of the adapter in warm_start_dir"
                .to_owned(),
        });
    }
    Ok(lora)
}

/// Refuses samples with positions that the base model was not made for.
fn check_lengths(config: &ModelConfig, train: &Samples, eval: &Samples) -> Result<(), TrainError> {
    let longest =
        train.samples.iter().chain(&eval.samples).map(|sample| sample.tokens.len()).max().unwrap_or(0);
    let limit = config.max_position_embeddings;
    if longest > limit {
        return Err(TrainError::Setting {
            message: format!(
                "the longest row has {longest} tokens and the base model takes {limit}; \
                 set max_context_length to {limit} or less"
            ),
        });
    }
    Ok(())
}

/// Refuses tokens that the base model has no embedding for, before a step meets them.
fn check_tokens(config: &ModelConfig, train: &Samples, eval: &Samples) -> Result<(), TrainError> {
    let known = config.vocab_size;
    for (what, samples) in [("training", train), ("evaluation", eval)] {
        for (i, sample) in samples.samples.iter().enumerate() {
            if let Some(token) = sample.tokens.iter().find(|&&token| token as usize >= known) {
                return Err(TrainError::Setting {
                    message: format!(
                        "{} of the {what} rows has the token id {token}, and the base model knows {known}; \
                         its tokenizer.json and config.json do not belong together",
                        samples.place(i)
                    ),
                });
            }
        }
    }
    Ok(())
}
