//! What a job gets.

use serde::{Deserialize, Serialize};

use super::WandbSettings;
use super::placement::Placement;
use super::storage::{AwsS3Config, AzureConfig};
use crate::id::{DatasetRef, ModelRef};

/// What becomes of the thoughts (`reasoning_content`) of earlier answers when a conversation goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingHistory {
    /// What the chat template does with them.
    #[default]
    OfTheTemplate,
    /// Those behind the last question stay, those before it are left out.
    Interleaved,
    /// All stay.
    Preserved,
}

/// What the learning rate does after the warm-up. The trainer's `schedule` has the formulas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LrScheduler {
    /// It stays.
    #[default]
    Constant,
    /// Falls in a line towards 0.
    Linear,
    /// Falls as half a cosine.
    Cosine {
        /// Share of the peak that it falls towards.
        min_lr_ratio: f32,
        /// The last share of all steps in which it falls.
        decay_ratio: f32,
    },
}

/// Every setting of a job, with defaults filled in: what the API returns and what the trainer gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSettings {
    /// For people.
    pub display_name: String,
    /// Rows to train on.
    pub dataset: DatasetRef,
    /// Rows to evaluate on.
    pub evaluation_dataset: Option<DatasetRef>,
    /// Whether rows of the dataset are set aside for evaluation; never beside an evaluation dataset.
    #[serde(default)]
    pub eval_auto_carveout: bool,
    /// Whether the training ends when the evaluation loss falls no more; the best adapter becomes the model.
    #[serde(default)]
    pub early_stop: bool,
    /// Model to adapt; of a job that goes on from an adapter, that one's base.
    pub base_model: ModelRef,
    /// The adapter that the job goes on from.
    #[serde(default)]
    pub warm_start_from: Option<ModelRef>,
    /// Model to make.
    pub output_model: ModelRef,
    /// Chat template in place of the model's own.
    pub jinja_template: Option<String>,
    /// What becomes of the thoughts of earlier answers.
    #[serde(default)]
    pub thinking_history: ThinkingHistory,
    /// Passes over the rows.
    pub epochs: u32,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps of linear warm-up; 0 is none.
    pub learning_rate_warmup_steps: u32,
    /// What the rate does after the warm-up.
    #[serde(default)]
    pub lr_scheduler: LrScheduler,
    /// Decoupled weight decay.
    pub optimizer_weight_decay: f32,
    /// Rank of the adapter.
    pub lora_rank: u32,
    /// The adapter is scaled by `lora_alpha / lora_rank`.
    pub lora_alpha: f32,
    /// Adapted layers, in PEFT's names; all of them if empty.
    #[serde(default)]
    pub target_modules: Vec<String>,
    /// Longest sample, in tokens.
    pub max_context_length: u32,
    /// Tokens of one packed batch; 0 when `batch_size_samples` decides.
    pub batch_size: u32,
    /// Samples of one batch; 0 when `batch_size` decides.
    pub batch_size_samples: u32,
    /// Batches of one optimiser step.
    pub gradient_accumulation_steps: u32,
    /// Steps between checkpoints that stay; 0 is none.
    #[serde(default)]
    pub sampler_checkpoint_save_interval_steps: u32,
    /// Whether products with the base's weights round to 8-bit integers.
    #[serde(default)]
    pub is_turbo: bool,
    /// Where and when it runs.
    #[serde(default)]
    pub placement: Placement,
    /// What opens datasets in S3; without it buckets must be public.
    #[serde(default)]
    pub aws_s3_config: Option<AwsS3Config>,
    /// What opens datasets in Azure; without it containers must be public.
    #[serde(default)]
    pub azure_blob_storage_config: Option<AzureConfig>,
    /// Where its metrics are logged besides.
    #[serde(default)]
    pub wandb: Option<WandbSettings>,
}
