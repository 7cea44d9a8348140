//! Every limit of the HTTP side, in one place. [`ServerLimits`] holds those that an operator can set.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_domain::schedule::RunningMax;
use hearth_domain::{AccountId, QuotaKind};

pub use hearth_store::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// Largest body of a control-plane call, over REST and over gRPC. Above it: 413 with code INVALID_ARGUMENT
/// (not RESOURCE_EXHAUSTED, which clients repeat).
pub const CONTROL_BODY_MAX_BYTES: usize = 4 << 20;
/// Largest question to server reflection.
pub const REFLECTION_MESSAGE_MAX_BYTES: usize = 64 << 10;
/// Longest time that a control-plane call may take before DEADLINE_EXCEEDED.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that reading all rows of a dataset may take (`:validateUpload`, `:upload`, `:splitDataset`).
pub const VALIDATE_TIMEOUT: Duration = Duration::from_secs(900);
/// Largest file of the multipart `:upload`.
pub const MULTIPART_FILE_MAX_BYTES: u64 = 150 << 20;
/// Largest file of a signed upload.
pub const SIGNED_FILE_MAX_BYTES: u64 = 5 << 30;
/// Locks that all datasets share: changes of more datasets at once may wait for each other.
pub const DATASET_LOCKS: usize = 64;
/// Largest file of a model.
pub const MODEL_FILE_MAX_BYTES: u64 = 256 << 30;
/// Bytes of a model's file that are gathered before they are written.
pub const MODEL_PART_BUFFER_BYTES: usize = 1 << 20;
/// What was uploaded of a model is removed when nothing came for so long, and URLs of resumable uploads end then.
pub const MODEL_UPLOAD_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often abandoned uploads of models, and operations that ended long ago, are looked for.
pub const MODEL_SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest time that checking or loading a model may take; it goes on behind, and the call can be repeated.
pub const MODEL_CHECK_TIMEOUT: Duration = Duration::from_secs(1800);
/// What is wrong with a model's files, one by one in an answer; the rest is only counted. gRPC clients take 8 KiB.
pub const MODEL_PROBLEMS_SHOWN: usize = 20;
/// Longest value of a secret.
pub const SECRET_VALUE_MAX_BYTES: usize = 64 << 10;
/// Secrets that do not open, one by one in the log of a start; the rest is only counted.
pub const CLOSED_SECRETS_SHOWN: usize = 10;
/// Locks that all models share.
pub const MODEL_LOCKS: usize = 64;
/// Streams of one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Streams that a client may reset before they were looked at; with more the connection is closed.
pub const HTTP2_RESETS_PENDING_MAX: usize = 20;
/// Streams that the server may have to reset for a client's mistakes; with more the connection is closed.
pub const HTTP2_RESETS_SENT_MAX: usize = 256;
/// How often an HTTP/2 client is asked whether it is still there.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Longest wait for its answer.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a reply that wait for one HTTP/2 stream.
pub const SEND_BUFFER_MAX_BYTES: usize = 256 << 10;
/// Longest path with its query. Above it: 414.
pub const URL_MAX_BYTES: usize = 16 << 10;
/// Bytes of all header fields. Above it: 431.
pub const HEADERS_MAX_BYTES: usize = 32 << 10;
/// Header fields of a request. Above it: 431.
pub const HEADERS_MAX: usize = 100;
/// Bytes of a request's head that are taken in at all; above it: 431 without a body, and the connection is closed.
pub const PARSER_HEAD_MAX_BYTES: usize = 64 << 10;
/// The same for the number of header fields.
pub const PARSER_HEADERS_MAX: usize = 200;
/// Longest request id that is taken over from a client.
pub const REQUEST_ID_MAX_CHARS: usize = 64;
/// Bytes that a body must bring while it is waited for, in each [`ServerLimits::body_stall_timeout`].
pub const BODY_WINDOW_MIN_BYTES: usize = 16 << 10;
/// Longest wait for a connection that was asked to close.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Keys and addresses whose recent calls are counted; the quietest ones are forgotten first.
pub const RATE_HOLDERS_MAX: usize = 16_384;
/// Open streams of `grpc.health.v1.Health/Watch`.
pub const HEALTH_WATCHES_MAX: usize = 64;
/// How often such a stream looks at the server.
pub const HEALTH_WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// Longest wait for the database and the objects before the server counts as not ready.
pub const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// When clients should repeat what a full disk refused.
pub const DISK_FULL_RETRY: Duration = Duration::from_secs(30);
/// How long a server that starts waits for the lock of its data directory. A process that a killed one was just starting has
/// the lock too, until it is another program.
pub const DATA_DIR_LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it tries.
pub const DATA_DIR_LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How often certificate files are read again.
pub const TLS_RELOAD_INTERVAL: Duration = Duration::from_secs(3600);
/// Life of a signed URL.
pub const SIGNED_URL_LIFE: Duration = Duration::from_secs(3600);
/// Row errors that an answer lists one by one. gRPC clients take 8 KiB of trailers, message and details together.
pub const ROW_ERRORS_SHOWN: usize = 10;
/// Errors, and warnings, that the reports of one check list, all its datasets together.
pub const REPORT_FINDINGS_MAX: usize = 1_000;
/// Bytes of these errors, and of these warnings. gRPC clients take 4 MiB, statistics and all.
pub const REPORT_FINDINGS_MAX_BYTES: usize = 1 << 20;
/// Checks of datasets at their end that are kept of an account; the oldest go first.
pub const VALIDATIONS_KEPT_MAX: u32 = 100;
/// Longest time that a check of datasets may take.
pub const VALIDATION_TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes that the packed files of a dataset may hold unpacked, all together.
pub const DATASET_UNPACKED_MAX_BYTES: u64 = SIGNED_FILE_MAX_BYTES;
/// Threads that check the rows of one dataset.
pub const DATASET_CHECK_THREADS: usize = 2;
/// Row errors that stand in the message itself.
pub const ROW_ERRORS_IN_MESSAGE: usize = 3;
/// Rows of a page of `:preview` when none are asked for, and at most.
pub const PREVIEW_ROWS_DEFAULT: usize = 20;
/// See [`PREVIEW_ROWS_DEFAULT`].
pub const PREVIEW_ROWS_MAX: usize = 200;
/// Bytes of rows on a page of `:preview` or `:renderPreview`; gRPC clients take 4 MiB. A longer row is left out of the
/// first with a note of its length, and stands alone on a page of the second.
pub const PREVIEW_PAGE_MAX_BYTES: usize = 2 << 20;
/// Datasets that `:splitDataset` makes of one.
pub const SPLIT_PARTS_MAX: usize = 500;
/// Rows of a page of `:renderPreview` when none are asked for, and at most.
pub const RENDER_ROWS_DEFAULT: usize = 10;
/// See [`RENDER_ROWS_DEFAULT`].
pub const RENDER_ROWS_MAX: usize = 50;
/// Calls of `:renderPreview` that may run at the same time; one more gets RESOURCE_EXHAUSTED.
pub const RENDER_PREVIEWS_MAX: usize = 2;
/// Models whose ledgers one call of `:findByRow` looks through at most.
pub const LEDGERS_MAX: usize = 20;
/// Calls of `:findByRow` that may run at the same time; one more gets RESOURCE_EXHAUSTED.
pub const ROW_SEARCHES_MAX: usize = 2;
/// Rows that a job's own chat template is tried on before the job is made.
pub const TEMPLATE_ROWS_TRIED: usize = 10;
/// Such templates that are tried at the same time; others wait, as long as a call may take.
pub const TEMPLATE_TRIALS_MAX: usize = 2;
/// Estimates of a job's cost that may run at the same time; one more gets RESOURCE_EXHAUSTED. Each renders a whole
/// dataset, in one thread.
pub const ESTIMATES_MAX: usize = 1;
/// Longest time that an estimate may take.
pub const ESTIMATE_TIMEOUT: Duration = Duration::from_secs(900);
/// Long-running operations that are not at their end; one more gets RESOURCE_EXHAUSTED.
pub const OPERATIONS_OPEN_MAX: usize = 64;
/// Imports of models that copy or check at the same time; further ones wait.
pub const IMPORTS_RUNNING_MAX: usize = 2;
/// Files of one import that are copied at once.
pub const IMPORT_FILES_AT_ONCE: usize = 4;
/// Objects that the folder of an import may have.
pub const IMPORT_LISTED_MAX: usize = hearth_domain::Model::FILES_MAX;
/// Bytes of a file that an import asks for at once, and forces to disk before it asks for more.
pub const IMPORT_RANGE_BYTES: u64 = 8 << 20;
/// Times that a request of an import is made again.
pub const IMPORT_RETRIES_MAX: usize = 3;
/// Longest time for one request of an import with all its repetitions, before its body comes.
pub const IMPORT_RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Times that a range is asked for again that broke off without a byte.
pub const IMPORT_RANGE_RETRIES_MAX: usize = 5;
/// Pause before.
pub const IMPORT_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often an import notes how far it is.
pub const IMPORT_SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// Checkpoints that are made into models at the same time; further ones wait.
pub const PROMOTIONS_RUNNING_MAX: usize = 2;
/// Open streams of jobs' events, of all accounts.
pub const EVENT_STREAMS_MAX: usize = 256;
/// The same of one account; one more gets RESOURCE_EXHAUSTED.
pub const EVENT_STREAMS_PER_ACCOUNT_MAX: usize = 32;
/// Events of a job that such a stream reads at once.
pub const EVENT_STREAM_PAGE: u32 = 100;
/// Shortest time from one look at its job to the next, however much changes here.
pub const EVENT_STREAM_PAUSE_MIN: Duration = Duration::from_millis(250);
/// Looks that may follow each other at once after a while without any.
pub const EVENT_STREAM_LOOKS_AT_ONCE: u32 = 4;
/// Longest silence of such a stream; a comment ends it.
pub const EVENT_STREAM_HEARTBEAT: Duration = Duration::from_secs(15);
/// Longest key of Weights & Biases.
pub const WANDB_KEY_MAX_BYTES: usize = 1024;
/// How often the jobs are looked at whose metrics go to Weights & Biases.
pub const WANDB_POLL: Duration = Duration::from_secs(1);
/// Jobs whose metrics are sent at the same time; others wait.
pub const WANDB_RUNS_AT_ONCE: usize = 16;
/// Longest time for one request there.
pub const WANDB_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two pieces of one job's metrics.
pub const WANDB_SEND_INTERVAL: Duration = Duration::from_secs(3);
/// Pause between two looks at what a trainer takes of the machine.
pub const WANDB_FIGURES_INTERVAL: Duration = Duration::from_secs(15);
/// Longest silence of a run; an empty piece ends it.
pub const WANDB_HEARTBEAT: Duration = Duration::from_secs(30);
/// Rows of one piece.
pub const WANDB_ROWS_AT_ONCE: usize = 500;
/// Longest pause before a piece that was not taken in is sent again; the first is a second, and each is twice the last.
pub const WANDB_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Refusals in a row after which nothing more is sent: for a wrong key at once, for others when they have lasted.
pub const WANDB_REFUSALS_MAX: u32 = 5;
/// How long others must have lasted: what stands before a service that is made anew refuses as well.
pub const WANDB_REFUSED_FOR: Duration = Duration::from_secs(15 * 60);
/// Time after a job's end in which its history is still sent to a service that was away, and in which the key of a job
/// that can be resumed is kept.
pub const WANDB_AFTER_END_MAX: Duration = Duration::from_secs(24 * 3600);
/// What of an answer a warning repeats.
pub const WANDB_MESSAGE_MAX_CHARS: usize = 200;
/// Webhooks of an account; one more gets RESOURCE_EXHAUSTED.
pub const WEBHOOKS_PER_ACCOUNT_MAX: usize = 50;
/// How often deliveries are looked for when nothing is said to have changed.
pub const WEBHOOK_POLL: Duration = Duration::from_secs(1);
/// Deliveries that are made at the same time.
pub const WEBHOOK_DELIVERIES_AT_ONCE: usize = 16;
/// The same to one webhook.
pub const WEBHOOK_DELIVERIES_PER_HOOK: usize = 2;
/// The same to all webhooks together that did not take in their last one: the others are not kept waiting.
pub const WEBHOOK_DELIVERIES_FAILING: usize = 8;
/// Longest time for one delivery.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before a failed delivery is tried again; each is twice the last.
pub const WEBHOOK_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
pub const WEBHOOK_BACKOFF_MAX: Duration = Duration::from_secs(3600);
/// Pause before a delivery is made again of which nothing could be taken down: the disk may be full.
pub const WEBHOOK_STORE_PAUSE: Duration = Duration::from_secs(30);
/// Times that a delivery is tried.
pub const WEBHOOK_ATTEMPTS_MAX: u32 = 30;
/// Time after which a delivery is given up.
pub const WEBHOOK_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Checks of datasets that may wait; one more gets RESOURCE_EXHAUSTED.
pub const VALIDATIONS_QUEUED_MAX: usize = 64;
/// Checks of datasets that run at the same time.
pub const VALIDATIONS_RUNNING_MAX: usize = 2;
/// Rows of a batch inference job that are answered at once. Half of a batch of the engine: people's chats find room.
pub const BATCH_ROWS_AT_ONCE: usize = 4;
/// Rows that are read before they are asked for.
pub const BATCH_ROWS_AHEAD: usize = 16;
/// Longest time between two states of a batch job that a power cut cannot take back.
pub const BATCH_SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// Pause before a row is asked again while the queue of chats is full.
pub const BATCH_BUSY_INTERVAL: Duration = Duration::from_millis(500);
/// Times that a row is asked again; after that it has the error.
pub const BATCH_BUSY_RETRIES_MAX: usize = 1200;
/// Pause before a batch job is tried again that broke on a defect or a full disk.
pub const BATCH_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Locks that all accounts share: creations in more accounts at once may wait for each other.
pub const ACCOUNT_LOCKS: usize = 64;
/// API keys of an account, unless the operator says otherwise.
pub const API_KEYS_QUOTA: u64 = 5_000;
/// Datasets of an account.
pub const DATASETS_QUOTA: u64 = 10_000;
/// Deployments of an account, with deleted ones that can be brought back.
pub const DEPLOYMENTS_QUOTA: u64 = 100;
/// Models of an account, with those that open jobs are to make.
pub const MODELS_QUOTA: u64 = 20_000;
/// Batch inference jobs of an account that are not at their end.
pub const OPEN_BATCH_JOBS_QUOTA: u64 = 1_000;
/// Supervised fine-tuning jobs of an account that are not at their end.
pub const OPEN_JOBS_QUOTA: u64 = 10_000;
/// Supervised fine-tuning jobs of an account that run at once: no more trainers live than this.
pub const RUNNING_JOBS_QUOTA: u64 = TRAINERS_MAX as u64;
/// Trainers that may live at once, at most.
pub const TRAINERS_MAX: u16 = 64;
/// Waiting jobs of an account and a class that a round of the scheduler looks at.
pub const WAITING_LINE_MAX: usize = 32;
/// Part of the memory that is free at its start which a trainer may take, in percent.
pub const TRAINER_MEMORY_PERCENT: u64 = 80;
/// Secrets of an account.
pub const SECRETS_QUOTA: u64 = 1_000;
/// Users of an account.
pub const USERS_QUOTA: u64 = 1_000;
/// Loads of deployments that run at the same time; others wait.
pub const LOADS_MAX: usize = 2;
/// How often deployments are looked after: those without requests, and those that are to be purged.
pub const DEPLOYMENT_POLL: Duration = Duration::from_secs(5);
/// Longest wait of `CreateDeployedModel` for the adapter; it goes on loading after that.
pub const MODEL_LOAD_WAIT: Duration = Duration::from_secs(20);
/// Time until a deployed model that could not be loaded is tried again.
pub const MODEL_RETRY: Duration = Duration::from_secs(60);
/// Times of requests are written down once in this time.
pub const REQUEST_TIME_STEP: Duration = Duration::from_secs(60);

/// Limits that an operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Open connections; further ones wait to be accepted.
    pub connections_max: usize,
    /// Longest time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest time for a request's head to arrive, and for a connection's first request.
    pub head_timeout: Duration,
    /// Longest time that a connection may be without a request after its first one.
    pub keep_alive_timeout: Duration,
    /// Longest wait for a body that brings less than [`BODY_WINDOW_MIN_BYTES`] meanwhile. Above it: 408.
    pub body_stall_timeout: Duration,
    /// Longest time in which a client takes in nothing of what waits for it; then it is cut off.
    pub write_stall_timeout: Duration,
    /// Uploads and checks that may run at the same time; one more gets RESOURCE_EXHAUSTED.
    pub uploads_max: usize,
    /// The same for one key.
    pub uploads_per_key_max: usize,
    /// How long the server says that it is not ready before it stops accepting.
    pub shutdown_delay: Duration,
    /// Longest wait for open requests when the server stops; then they are cut off.
    pub shutdown_timeout: Duration,
    /// Control-plane calls of one key.
    pub control_rate: Option<Rate>,
    /// Chats and completions of one key.
    pub inference_rate: Option<Rate>,
    /// Uploads of one key.
    pub upload_rate: Option<Rate>,
    /// Calls with a wrong key from one address.
    pub wrong_key_rate: Option<Rate>,
    /// How much accounts may have.
    pub quotas: Quotas,
}

/// How much each account may have of what there are quotas of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    of_each: BTreeMap<QuotaKind, u64>,
    /// Of single accounts, in place of the others.
    of_one: BTreeMap<(AccountId, QuotaKind), u64>,
}

impl Quotas {
    /// Sets a limit, of one account or of all that have none of their own.
    pub fn set(&mut self, account: Option<AccountId>, kind: QuotaKind, limit: u64) {
        match account {
            Some(account) => self.of_one.insert((account, kind), limit),
            None => self.of_each.insert(kind, limit),
        };
    }

    /// How many jobs may run at once, for the scheduler.
    pub(crate) fn running_max(&self) -> RunningMax {
        let running = QuotaKind::RunningSupervisedFineTuningJobs;
        let own = |((account, kind), limit): (&(AccountId, QuotaKind), &u64)| {
            (*kind == running).then(|| (account.clone(), *limit))
        };
        RunningMax { of_each: self.of_each[&running], of_one: self.of_one.iter().filter_map(own).collect() }
    }

    /// The limit of an account.
    pub fn limit(&self, account: &AccountId, kind: QuotaKind) -> u64 {
        let own = self.of_one.get(&(account.clone(), kind));
        *own.unwrap_or(&self.of_each[&kind])
    }
}

impl Default for Quotas {
    fn default() -> Self {
        let limit = |kind| match kind {
            QuotaKind::ApiKeys => API_KEYS_QUOTA,
            QuotaKind::Datasets => DATASETS_QUOTA,
            QuotaKind::Deployments => DEPLOYMENTS_QUOTA,
            QuotaKind::Models => MODELS_QUOTA,
            QuotaKind::OpenBatchInferenceJobs => OPEN_BATCH_JOBS_QUOTA,
            QuotaKind::OpenSupervisedFineTuningJobs => OPEN_JOBS_QUOTA,
            QuotaKind::RunningSupervisedFineTuningJobs => RUNNING_JOBS_QUOTA,
            QuotaKind::Secrets => SECRETS_QUOTA,
            QuotaKind::Users => USERS_QUOTA,
        };
        let of_each = QuotaKind::ALL.into_iter().map(|kind| (kind, limit(kind))).collect();
        Self { of_each, of_one: BTreeMap::new() }
    }
}

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; at least 1.
    pub per_minute: u32,
    /// At once, after a rest; at least 1.
    pub burst: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(120),
            body_stall_timeout: Duration::from_secs(60),
            write_stall_timeout: Duration::from_secs(60),
            uploads_max: 8,
            uploads_per_key_max: 4,
            shutdown_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(30),
            control_rate: Some(Rate { per_minute: 300_000, burst: 10_000 }),
            inference_rate: Some(Rate { per_minute: 12_000, burst: 1_000 }),
            upload_rate: Some(Rate { per_minute: 6_000, burst: 1_000 }),
            wrong_key_rate: Some(Rate { per_minute: 60, burst: 600 }),
            quotas: Quotas::default(),
        }
    }
}
