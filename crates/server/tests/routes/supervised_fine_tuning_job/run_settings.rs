//! What a job asks for is what its trainer is told: every setting, from the request to `job.json`.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_data::template::source_of;
use hearth_domain::job::{EARLY_STOP_MIN_GAIN, EARLY_STOP_PATIENCE};
use hearth_run::{
    Backend, DataOrigin, EarlyStop, JobSpec, LORA_TARGETS, LrSchedule, MICRO_BATCH_TOKENS, Precision, RunDir,
};
use serde_json::json;

use super::checkpoints::{begin_with, server};
use crate::server::{Server, rows};
use crate::{openai, tiny};

/// What the run of a job that asks for nothing in particular is told.
fn plain(server: &Server, run: &Path) -> JobSpec {
    JobSpec {
        version: JobSpec::VERSION,
        base_model_dir: base(server),
        base_model_name: openai::BASE.to_owned(),
        train_files: vec![run.join("data/train-0000.jsonl")],
        eval_files: vec![],
        eval_carveout: false,
        early_stop: None,
        warm_start_dir: None,
        warm_start_name: None,
        data_origins: vec![origin("rows")],
        chat_template: None,
        seed: 0,
        epochs: 1,
        // Of a small base and one step.
        learning_rate: 5e-3,
        learning_rate_warmup_steps: 0,
        lr_schedule: LrSchedule::Constant,
        weight_decay: 0.01,
        lora_rank: 8,
        lora_alpha: 16.0,
        target_modules: LORA_TARGETS.map(str::to_owned).to_vec(),
        max_context_length: tiny::CONTEXT as u32,
        batch_size_tokens: 0,
        batch_size_samples: 8,
        gradient_accumulation_steps: 1,
        micro_batch_tokens: MICRO_BATCH_TOKENS,
        checkpoint_interval_steps: 20,
        sampler_checkpoint_interval_steps: 0,
        eval_interval_steps: 0,
        backend: Backend::Cpu,
        precision: Precision::Bf16,
        threads: 0,
    }
}

/// The one file of a dataset.
fn origin(dataset: &str) -> DataOrigin {
    DataOrigin {
        dataset: format!("accounts/default/datasets/{dataset}"),
        file: Some("rows.jsonl".to_owned()),
    }
}

fn base(server: &Server) -> PathBuf {
    server.dir.path().join("models/fireworks/tiny")
}

fn told(run: &Path) -> JobSpec {
    RunDir::new(run).job().unwrap()
}

#[test]
fn a_job_that_asks_for_nothing_has_the_defaults() {
    let server = server();
    let run = begin_with(&server, "j", &json!({"baseModel": "tiny"}));
    assert_eq!(told(&run), plain(&server, &run));
    // The run keeps the rows that it began with.
    server.delete("/v1/accounts/default/datasets/rows").ok();
    assert_eq!(fs::read_to_string(run.join("data/train-0000.jsonl")).unwrap(), rows());
}

#[test]
fn every_setting_reaches_the_run() {
    let server = server();
    let template = source_of(&base(&server)).unwrap().unwrap();
    let asked = json!({
        "baseModel": "tiny", "jinjaTemplate": template, "epochs": 3, "learningRate": 0.0003,
        "learningRateWarmupSteps": 7, "lrScheduler": {"cosine": {"minLrRatio": 0.25, "decayRatio": 0.5}},
        "optimizerWeightDecay": 0.2, "loraRank": 16, "maxContextLength": 60, "batchSize": 300,
        "gradientAccumulationSteps": 5, "samplerCheckpointSaveIntervalSteps": 9, "evalAutoCarveout": true,
        "earlyStop": true, "isTurbo": true,
    });
    let run = begin_with(&server, "j", &asked);
    let expect = JobSpec {
        eval_carveout: true,
        early_stop: Some(EarlyStop { patience: EARLY_STOP_PATIENCE, min_gain: EARLY_STOP_MIN_GAIN }),
        chat_template: Some(template),
        epochs: 3,
        learning_rate: 3e-4,
        learning_rate_warmup_steps: 7,
        lr_schedule: LrSchedule::Cosine { min_ratio: 0.25, decay_ratio: 0.5 },
        weight_decay: 0.2,
        lora_rank: 16,
        lora_alpha: 32.0,
        max_context_length: 60,
        batch_size_tokens: 300,
        batch_size_samples: 0,
        gradient_accumulation_steps: 5,
        sampler_checkpoint_interval_steps: 9,
        precision: Precision::Int8,
        ..plain(&server, &run)
    };
    assert_eq!(told(&run), expect);
}

/// The settings that exclude one of those above.
#[test]
fn the_other_settings_reach_the_run_too() {
    let server = server();
    server.ready_dataset("held-out");
    let asked = json!({
        "baseModel": "tiny", "batchSizeSamples": 3, "lrScheduler": {"linear": {}}, "evaluationDataset": "held-out",
    });
    let run = begin_with(&server, "j", &asked);
    let eval = run.join("data/eval-0000.jsonl");
    let expect = JobSpec {
        eval_files: vec![eval.clone()],
        data_origins: vec![origin("rows"), origin("held-out")],
        batch_size_samples: 3,
        lr_schedule: LrSchedule::Linear,
        ..plain(&server, &run)
    };
    assert_eq!(told(&run), expect);
    assert_eq!(fs::read_to_string(eval).unwrap(), rows());
}
