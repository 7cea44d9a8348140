//! What a client asks for, and what the server found out about it.

use super::WandbRequest;
use super::placement::{PlacementFacts, PlacementRequest};
use super::storage::{AwsS3Request, AzureRequest, StorageFacts};
use super::{LrScheduler, ThinkingHistory};
use crate::dataset::Dataset;
use crate::id::{AccountId, JobId};
use crate::record::Model;

/// Fields of the API's job that [`JobRequest`] has, by their JSON names.
pub const SUPPORTED_FIELDS: &[&str] = &[
    "displayName",
    "dataset",
    "evaluationDataset",
    "evalAutoCarveout",
    "baseModel",
    "warmStartFrom",
    "earlyStop",
    "outputModel",
    "jinjaTemplate",
    "thinkingTraceHistoryMode",
    "epochs",
    "learningRate",
    "learningRateWarmupSteps",
    "lrScheduler",
    "optimizerWeightDecay",
    "loraRank",
    "maxContextLength",
    "batchSize",
    "batchSizeSamples",
    "gradientAccumulationSteps",
    "samplerCheckpointSaveIntervalSteps",
    "nodes",
    "region",
    "acceleratorType",
    "acceleratorCount",
    "purpose",
    "usePurpose",
    "useReservation",
    "reservationTarget",
    "isTurbo",
    "awsS3Config",
    "azureBlobStorageConfig",
    "wandbConfig",
];

/// What a client asks for. Zero and empty mean "not given".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobRequest {
    /// For people.
    pub display_name: String,
    /// As the client wrote it; [`JobFacts::dataset`] is what it names.
    pub dataset: String,
    /// As the client wrote it; [`JobFacts::evaluation_dataset`] is what it names.
    pub evaluation_dataset: String,
    /// Whether rows of the dataset are set aside for evaluation, if no dataset is given for it.
    pub eval_auto_carveout: bool,
    /// As the client wrote it; [`JobFacts::base_model`] is what it names.
    pub base_model: String,
    /// As the client wrote it; [`JobFacts::warm_start`] is what it names.
    pub warm_start_from: String,
    /// Whether the training ends when the evaluation loss falls no more.
    pub early_stop: bool,
    /// Id or full name in the job's own account.
    pub output_model: String,
    /// Chat template in place of the model's own.
    pub jinja_template: String,
    /// What becomes of the thoughts of earlier answers.
    pub thinking_history: ThinkingHistory,
    /// Passes over the rows.
    pub epochs: i32,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps of linear warm-up.
    pub learning_rate_warmup_steps: i32,
    /// What the rate does after the warm-up.
    pub lr_scheduler: LrScheduler,
    /// Decoupled weight decay.
    pub optimizer_weight_decay: f32,
    /// Rank of the adapter.
    pub lora_rank: i32,
    /// Longest sample, in tokens.
    pub max_context_length: i32,
    /// Tokens of one packed batch.
    pub batch_size: i32,
    /// Samples of one batch.
    pub batch_size_samples: i32,
    /// Batches of one optimiser step.
    pub gradient_accumulation_steps: i32,
    /// Where and when it runs.
    pub placement: PlacementRequest,
    /// Steps between checkpoints that stay.
    pub sampler_checkpoint_save_interval_steps: i32,
    /// Whether products with the base's weights may round to 8-bit integers, which is faster.
    pub is_turbo: bool,
    /// What opens datasets in S3.
    pub aws_s3_config: Option<AwsS3Request>,
    /// What opens datasets in Azure.
    pub azure_blob_storage_config: Option<AzureRequest>,
    /// Whether heads that predict several tokens are trained too.
    pub mtp_enabled: bool,
    /// Tokens that these predict.
    pub mtp_num_draft_tokens: i32,
    /// Whether nothing but these heads is trained.
    pub mtp_freeze_base_model: bool,
    /// Where its metrics are to be logged besides.
    pub wandb: WandbRequest,
    /// JSON names of all other fields that the client set, without those that only the server writes.
    pub other_fields: Vec<String>,
}

/// What the server found out about the things that a request names.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// Owner of the job.
    pub account: AccountId,
    /// Id of the job.
    pub job: JobId,
    /// `None`: there is no such dataset.
    pub dataset: Option<Dataset>,
    /// `None`: there is no such dataset, or none is named.
    pub evaluation_dataset: Option<Dataset>,
    /// `None`: there is no such model, or none is named.
    pub base_model: Option<Model>,
    /// `None`: there is no such model, or none is named.
    pub warm_start: Option<WarmStart>,
    /// Where and when jobs may run.
    pub placement: PlacementFacts,
    /// What opens datasets that lie elsewhere.
    pub storage: StorageFacts,
}

/// An adapter to go on from.
#[derive(Clone, Debug)]
pub struct WarmStart {
    /// The adapter.
    pub model: Model,
    /// Its base; `None` if that is not installed any more, or it is no adapter.
    pub base: Option<Model>,
    /// What its files say; the error is why they cannot be used.
    pub settings: Result<AdapterSettings, String>,
}

/// What carries over from an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterSettings {
    /// Rank.
    pub r: u32,
    /// It is scaled by `alpha / r`.
    pub alpha: f32,
    /// Adapted layers, in PEFT's names.
    pub target_modules: Vec<String>,
}
