//! `hearth supervised-fine-tuning-job create`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use hearth_client::{Job, qualify};
use serde_json::{Map, Value, json};

use super::COLLECTION;
use crate::config::{Remote, Server};
use crate::{output, progress};

/// Create a job; settings that are left out get the server's defaults
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  hearth sftj create --dataset tickets --base-model smollm2-135m-instruct \\\n      \
                  --output-model ticket-router --epochs 3 --learning-rate 1e-3 --wait"
)]
pub struct Args {
    /// Dataset to train on: id or full name
    #[arg(long, value_name = "DATASET")]
    dataset: String,
    /// Model to train: id or full name; an id is looked up in the account, then among the base models
    #[arg(long, value_name = "MODEL")]
    base_model: String,
    /// Id of the model that the job makes [default: the job's id]
    #[arg(long, value_name = "ID")]
    output_model: Option<String>,
    /// Id of the job [default: chosen by the server]
    #[arg(long, value_name = "ID")]
    job_id: Option<String>,
    /// Name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Dataset to evaluate on: id or full name
    #[arg(long, value_name = "DATASET")]
    evaluation_dataset: Option<String>,
    /// Passes over the dataset
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,
    /// Steps of linear warm-up
    #[arg(long, value_name = "N")]
    learning_rate_warmup_steps: Option<u32>,
    /// Weight decay of AdamW
    #[arg(long, value_name = "DECAY")]
    optimizer_weight_decay: Option<f32>,
    /// LoRA rank
    #[arg(long, value_name = "N")]
    lora_rank: Option<u32>,
    /// Longest training sample, in tokens
    #[arg(long, value_name = "TOKENS")]
    max_context_length: Option<u32>,
    /// Most tokens of one packed batch
    #[arg(long, value_name = "TOKENS")]
    batch_size: Option<u32>,
    /// Samples of one batch; decides instead of --batch-size
    #[arg(long, value_name = "N")]
    batch_size_samples: Option<u32>,
    /// Batches per optimiser step
    #[arg(long, value_name = "N")]
    gradient_accumulation_steps: Option<u32>,
    /// Train in 8-bit integers: faster, a little less exact
    #[arg(long)]
    is_turbo: bool,
    /// File with a chat template that replaces the model's own
    #[arg(long, value_name = "FILE")]
    jinja_template_file: Option<std::path::PathBuf>,
    /// Stay until the job has ended, as `wait` does
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let body = self.body(&remote)?;
        let query: Vec<(&str, &str)> =
            self.job_id.iter().map(|id| ("supervisedFineTuningJobId", id.as_str())).collect();
        let parent = format!("accounts/{}/{COLLECTION}", remote.account);
        let created = remote.client.create(&parent, &query, &body)?;
        if !self.wait {
            output::resource(json, &created)?;
            return Ok(ExitCode::SUCCESS);
        }
        let name = Job::read(&remote.client, &created)?.name;
        progress::wait_and_report(&remote.client, &name, json)
    }

    /// The job resource: only what was given.
    fn body(&self, remote: &Remote) -> Result<Value> {
        let dataset = |id: &String| qualify(&remote.account, "datasets", id);
        let template = match &self.jinja_template_file {
            Some(path) => Some(json!(
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
            )),
            None => None,
        };
        let fields = [
            ("dataset", Some(json!(dataset(&self.dataset)))),
            ("baseModel", Some(json!(remote.find_model(&self.base_model)?))),
            ("outputModel", self.output_model.as_ref().map(|id| json!(id))),
            ("displayName", self.display_name.as_ref().map(|name| json!(name))),
            ("evaluationDataset", self.evaluation_dataset.as_ref().map(|id| json!(dataset(id)))),
            ("epochs", self.epochs.map(|n| json!(n))),
            ("learningRate", self.learning_rate.map(|rate| json!(rate))),
            ("learningRateWarmupSteps", self.learning_rate_warmup_steps.map(|n| json!(n))),
            ("optimizerWeightDecay", self.optimizer_weight_decay.map(|decay| json!(decay))),
            ("loraRank", self.lora_rank.map(|n| json!(n))),
            ("maxContextLength", self.max_context_length.map(|n| json!(n))),
            ("batchSize", self.batch_size.map(|n| json!(n))),
            ("batchSizeSamples", self.batch_size_samples.map(|n| json!(n))),
            ("gradientAccumulationSteps", self.gradient_accumulation_steps.map(|n| json!(n))),
            ("isTurbo", self.is_turbo.then(|| json!(true))),
            ("jinjaTemplate", template),
        ];
        let given: Map<String, Value> =
            fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        Ok(Value::Object(given))
    }
}
