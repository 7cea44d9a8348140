//! `hearth supervised-fine-tuning-job create`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use hearth_client::{Job, qualify};
use hearth_domain::job::SUPPORTED_FIELDS;
use serde_json::{Map, Value, json};

use super::COLLECTION;
use crate::config::{Remote, Server};
use crate::{output, progress};

/// Create a job; settings that are left out get the server's defaults
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  hearth sftj create --dataset tickets --base-model smollm2-135m-instruct \\\n      \
                  --output-model ticket-router --epochs 3 --learning-rate 1e-3 --wait\n  hearth sftj create --dataset \
                  tickets --warm-start-from ticket-router --eval-auto-carveout \\\n      --field \
                  wandbConfig=@wandb.json --field purpose=PURPOSE_PILOT"
)]
pub struct Args {
    /// Dataset to train on: id or full name
    #[arg(long, value_name = "DATASET")]
    dataset: String,
    /// Model to train: id or full name; an id is looked up in the account, then among the base models
    #[arg(long, value_name = "MODEL", required_unless_present = "warm_start_from")]
    base_model: Option<String>,
    /// Adapter to go on from, in place of --base-model: id or full name
    #[arg(long, value_name = "MODEL", conflicts_with = "base_model")]
    warm_start_from: Option<String>,
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
    /// Evaluate on rows of the dataset that are then not trained on
    #[arg(long)]
    eval_auto_carveout: bool,
    /// End when the evaluation loss falls no more; needs rows to evaluate on
    #[arg(long)]
    early_stop: bool,
    /// Passes over the dataset
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,
    /// Steps of linear warm-up
    #[arg(long, value_name = "N")]
    learning_rate_warmup_steps: Option<u32>,
    /// What the rate does after the warm-up [default: constant]
    #[arg(long, value_name = "KIND")]
    lr_scheduler: Option<LrScheduler>,
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
    /// Steps between checkpoints that stay and answer chats
    #[arg(long, value_name = "N")]
    sampler_checkpoint_save_interval_steps: Option<u32>,
    /// Train in 8-bit integers: faster, a little less exact
    #[arg(long)]
    is_turbo: bool,
    /// File with a chat template that replaces the model's own
    #[arg(long, value_name = "FILE")]
    jinja_template_file: Option<std::path::PathBuf>,
    /// Any other field of the job, by its name in the API; may be repeated
    ///
    /// The value is JSON, or else a text. @FILE reads JSON from a file, which keeps keys out of the list of processes.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_field)]
    field: Vec<(String, String)>,
    /// Stay until the job has ended, as `wait` does
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
}

/// `--lr-scheduler`. A cosine with numbers of its own is a `--field`.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum LrScheduler {
    /// It stays
    Constant,
    /// It falls in a line to 0
    Linear,
    /// It falls as half a cosine
    Cosine,
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
        let base = self.base_model.as_deref().map(|model| remote.find_model(model)).transpose()?;
        let scheduler = |kind| match kind {
            LrScheduler::Constant => json!({"constant": {}}),
            LrScheduler::Linear => json!({"linear": {}}),
            LrScheduler::Cosine => json!({"cosine": {}}),
        };
        let fields = [
            ("dataset", Some(json!(dataset(&self.dataset)))),
            ("baseModel", base.map(|name| json!(name))),
            (
                "warmStartFrom",
                self.warm_start_from.as_ref().map(|id| json!(qualify(&remote.account, "models", id))),
            ),
            ("outputModel", self.output_model.as_ref().map(|id| json!(id))),
            ("displayName", self.display_name.as_ref().map(|name| json!(name))),
            ("evaluationDataset", self.evaluation_dataset.as_ref().map(|id| json!(dataset(id)))),
            ("evalAutoCarveout", self.eval_auto_carveout.then(|| json!(true))),
            ("earlyStop", self.early_stop.then(|| json!(true))),
            ("epochs", self.epochs.map(|n| json!(n))),
            ("learningRate", self.learning_rate.map(|rate| json!(rate))),
            ("learningRateWarmupSteps", self.learning_rate_warmup_steps.map(|n| json!(n))),
            ("lrScheduler", self.lr_scheduler.map(scheduler)),
            ("optimizerWeightDecay", self.optimizer_weight_decay.map(|decay| json!(decay))),
            ("loraRank", self.lora_rank.map(|n| json!(n))),
            ("maxContextLength", self.max_context_length.map(|n| json!(n))),
            ("batchSize", self.batch_size.map(|n| json!(n))),
            ("batchSizeSamples", self.batch_size_samples.map(|n| json!(n))),
            ("gradientAccumulationSteps", self.gradient_accumulation_steps.map(|n| json!(n))),
            (
                "samplerCheckpointSaveIntervalSteps",
                self.sampler_checkpoint_save_interval_steps.map(|n| json!(n)),
            ),
            ("isTurbo", self.is_turbo.then(|| json!(true))),
            ("jinjaTemplate", template),
        ];
        let mut given: Map<String, Value> =
            fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        for (name, text) in &self.field {
            if given.insert(name.clone(), field_value(text)?).is_some() {
                bail!("--field {name}: the field is given twice");
            }
        }
        Ok(Value::Object(given))
    }
}

/// Name and value as text. A server ignores fields that it does not know, so a name with a slip is told here.
fn parse_field(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("expected NAME=VALUE, for example purpose=PURPOSE_PILOT")?;
    if !SUPPORTED_FIELDS.contains(&name) {
        return Err(format!("jobs have no field {name}; they have {}", SUPPORTED_FIELDS.join(", ")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn field_value(text: &str) -> Result<Value> {
    let Some(path) = text.strip_prefix('@') else {
        return Ok(serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
    };
    let content = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    serde_json::from_slice(&content).with_context(|| format!("{path} is not JSON"))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches};
    use hearth_client::Client;

    use super::*;

    fn body(options: &[&str]) -> Result<Value> {
        let command = Args::augment_args(clap::Command::new("create"));
        let given = ["create", "--dataset", "rows"].iter().chain(options);
        let args = Args::from_arg_matches(&command.try_get_matches_from(given)?)?;
        // Full names and adapters ask no server.
        let client = Client::new("http://127.0.0.1:1", None, None)?;
        args.body(&Remote { client, account: "a".to_owned() })
    }

    #[test]
    fn only_what_is_given_is_sent() {
        let base = "accounts/fireworks/models/tiny";
        let rows = "accounts/a/datasets/rows";
        assert_eq!(body(&["--base-model", base]).unwrap(), json!({"dataset": rows, "baseModel": base}));
        let options = [
            "--warm-start-from=router",
            "--eval-auto-carveout",
            "--early-stop",
            "--lr-scheduler=linear",
            "--sampler-checkpoint-save-interval-steps=5",
            "--field=purpose=PURPOSE_PILOT",
            "--field=nodes=1",
            r#"--field=awsS3Config={"credentialsSecret":"s=3"}"#,
        ];
        let expect = json!({
            "dataset": rows, "warmStartFrom": "accounts/a/models/router", "evalAutoCarveout": true, "earlyStop": true,
            "lrScheduler": {"linear": {}}, "samplerCheckpointSaveIntervalSteps": 5, "purpose": "PURPOSE_PILOT", "nodes": 1,
            "awsS3Config": {"credentialsSecret": "s=3"},
        });
        assert_eq!(body(&options).unwrap(), expect);
    }

    #[test]
    fn fields_come_from_files_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wandb.json");
        std::fs::write(&path, "{\"enabled\": true, \"apiKey\": \"k\"}\n").unwrap();
        let option = format!("--field=wandbConfig=@{}", path.display());
        let sent = body(&["--warm-start-from=m", &option]).unwrap();
        assert_eq!(sent["wandbConfig"], json!({"enabled": true, "apiKey": "k"}));
        std::fs::write(&path, "{\"apiKey\": \"k-secret\"").unwrap();
        let error = format!("{:#}", body(&["--warm-start-from=m", &option]).unwrap_err());
        assert!(error.contains("wandb.json is not JSON") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn mistakes_are_told_before_a_server_is_asked() {
        for (options, part) in [
            (&["--early-stop"][..], "--base-model"),
            (&["--base-model=m", "--warm-start-from=n"], "cannot be used with"),
            (&["--warm-start-from=m", "--field=nodes"], "NAME=VALUE"),
            (&["--warm-start-from=m", "--field=earlystop=true"], "no field earlystop; they have displayName"),
            (
                &["--warm-start-from=m", "--epochs=2", "--field=epochs=3"],
                "--field epochs: the field is given twice",
            ),
            (&["--warm-start-from=m", "--field=wandbConfig=@/does/not/exist"], "cannot read /does/not/exist"),
        ] {
            let error = format!("{:#}", body(options).unwrap_err());
            assert!(error.contains(part), "{options:?}: {error}");
        }
    }
}
