//! A run that goes on from a checkpoint does steps again; what its job shows of them does not.

use hearth_domain::{AccountId, Job, JobId, JobProgress, JobSettings};
use serde_json::json;

fn job() -> Job {
    let reference = |id: &str| json!({"account": "acme", "id": id});
    let settings: JobSettings = serde_json::from_value(json!({
        "display_name": "", "dataset": reference("d"), "evaluation_dataset": null, "base_model": reference("b"),
        "output_model": reference("m"), "jinja_template": null, "epochs": 1, "learning_rate": 0.1,
        "learning_rate_warmup_steps": 0, "optimizer_weight_decay": 0.0, "lora_rank": 8, "lora_alpha": 16,
        "max_context_length": 512, "batch_size": 0, "batch_size_samples": 1, "gradient_accumulation_steps": 1,
    }))
    .unwrap();
    Job::new(AccountId::new("acme").unwrap(), JobId::new("j").unwrap(), settings, "", 1)
}

/// After so many of ten steps.
fn after(step: u64) -> JobProgress {
    JobProgress {
        step,
        total_steps: 10,
        epoch: step as u32 / 2,
        rows: 100 + step,
        tokens: step * 100,
        samples: step * 3,
        fetched_bytes: step * 7,
        ..JobProgress::default()
    }
}

#[test]
fn no_number_goes_back() {
    let mut job = job();
    job.advance(after(7), 2);
    assert_eq!((job.progress, job.progress.percent()), (after(7), 70));
    job.advance(after(4), 3);
    assert_eq!((job.progress, job.progress.percent()), (after(7), 70));
    job.advance(after(8), 4);
    assert_eq!(job.progress, after(8));
}
