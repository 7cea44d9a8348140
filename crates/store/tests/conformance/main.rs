//! What every store must do: one suite over the public API, on a fresh data directory each.

mod files;
mod job_log;
mod jobs;
mod lists;
mod models;
mod people;
mod suspension;
mod validations;

use hearth_domain::job::LrScheduler;
use hearth_domain::{
    Account, AccountId, Code, Dataset, DatasetId, DatasetRef, Job, JobId, JobSettings, ModelId, ModelRef,
};
use hearth_store::{Store, StoreError};

async fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 1).await.unwrap();
    (dir, store)
}

fn acme() -> AccountId {
    AccountId::new("acme").unwrap()
}

fn dataset(id: &str, create_time_ms: i64) -> Dataset {
    Dataset::new(DatasetRef { account: acme(), id: DatasetId::new(id).unwrap() }, "", create_time_ms)
}

fn model_ref(account: &str, id: &str) -> ModelRef {
    ModelRef { account: AccountId::new(account).unwrap(), id: ModelId::new(id).unwrap() }
}

fn job(id: &str, output: &str) -> Job {
    let settings = JobSettings {
        display_name: String::new(),
        dataset: dataset("rows", 0).name(),
        evaluation_dataset: None,
        eval_auto_carveout: false,
        early_stop: false,
        warm_start_from: None,
        base_model: model_ref("fireworks", "tiny"),
        output_model: model_ref("acme", output),
        jinja_template: None,
        thinking_history: Default::default(),
        epochs: 1,
        learning_rate: 5e-4,
        learning_rate_warmup_steps: 0,
        lr_scheduler: LrScheduler::Constant,
        optimizer_weight_decay: 0.01,
        lora_rank: 8,
        lora_alpha: 16.0,
        target_modules: vec![],
        max_context_length: 512,
        batch_size: 512,
        batch_size_samples: 0,
        gradient_accumulation_steps: 1,
        sampler_checkpoint_save_interval_steps: 0,
        is_turbo: false,
        placement: Default::default(),
        aws_s3_config: None,
        azure_blob_storage_config: None,
        wandb: None,
    };
    Job::new(acme(), JobId::new(id).unwrap(), settings, "a@example.org", 10)
}

fn code<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Code {
    result.expect_err("this must fail").code()
}

fn account() -> Account {
    Account::new(acme(), "", "", 1)
}
