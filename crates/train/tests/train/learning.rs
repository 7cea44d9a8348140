//! Whole runs in this process: the loss falls, the output is complete, splits change nothing.

use std::collections::BTreeMap;
use std::fs;

use hearth_run::{Backend, EventKind, JobSpec, Precision};
use safetensors::SafeTensors;

use crate::fixture::{Ended, Fixture, go, metrics};

fn adapter(ended: &Ended) -> BTreeMap<String, Vec<f64>> {
    let bytes = fs::read(ended.dir.output_path().join("adapter_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| {
        data.chunks_exact(4).map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap()))).collect()
    };
    file.iter().map(|(name, tensor)| (name.to_owned(), values(tensor.data()))).collect()
}

/// Norm of the difference over norm, over all tensors.
fn distance(a: &Ended, b: &Ended) -> f64 {
    let (a, b) = (adapter(a), adapter(b));
    assert!(a.keys().eq(b.keys()));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.values().flatten().zip(b.values().flatten()).map(|(x, y)| x - y));
    difference / norm(&mut a.values().flatten().copied())
}

#[test]
fn a_run_learns_reports_and_writes_everything() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 4, learning_rate: 0.03, ..fixture.job() };
    let ended = fixture.run("run", &job);
    let output = ended.output();
    let names: Vec<&str> = output.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "chat_template.jinja",
            "hearth.json",
            "ledger.jsonl.zst",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let losses = ended.losses();
    assert_eq!(losses.len(), 48);
    assert!(losses[44..].iter().sum::<f64>() < 0.3 * losses[..4].iter().sum::<f64>(), "{losses:?}");
    let EventKind::Finished { step: 48, eval_loss: Some(eval_loss), adapter_sha256, .. } = ended.last()
    else {
        panic!("the run ended with {:?}", ended.last());
    };
    assert_eq!(adapter_sha256, &output["adapter_model.safetensors"]);
    assert!(*eval_loss < 0.5 * losses[0], "{eval_loss}");
    let card = fs::read_to_string(ended.dir.output_path().join("README.md")).unwrap();
    assert!(card.starts_with("---\nbase_model: \"tiny\"\nlibrary_name: peft\n"));
    assert!(card.contains(adapter_sha256));

    let steps: Vec<f64> = (1..=48).map(f64::from).collect();
    assert_eq!(metrics(&ended.dir, "train/step"), steps);
    assert_eq!(metrics(&ended.dir, "train/loss"), losses);
    assert_eq!(metrics(&ended.dir, "train/lr")[..4], [0.01, 0.02, 0.03, 0.03]);
    // Every 5 steps and at the ends of epochs, which have 12 steps.
    assert_eq!(metrics(&ended.dir, "eval/loss").len(), 9 + 4);

    // A finished run stays as it is.
    let again = go(&ended.dir);
    assert_eq!((again.code, again.events.len()), (0, ended.events.len()));
}

#[test]
fn the_template_of_the_job_is_trained_and_written() {
    let fixture = Fixture::new();
    let template = "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}\
                    {% if add_generation_prompt %}<|im_start|>assistant: {% endif %}";
    let job = JobSpec { chat_template: Some(template.to_owned()), epochs: 1, ..fixture.job() };
    let ended = fixture.run("run", &job);
    ended.output();
    let read = |name| fs::read_to_string(ended.dir.output_path().join(name)).unwrap();
    assert_eq!(read("chat_template.jinja"), template);
    let config: serde_json::Value = serde_json::from_str(&read("tokenizer_config.json")).unwrap();
    assert_eq!(config["chat_template"], template);
    assert_eq!(config["eos_token"]["content"], "<|im_end|>");
}

/// How a step is split into batches and micro-batches changes nothing but rounding, because the loss is
/// divided once. Rows differ in length and trained tokens, so dividing per micro-batch would show.
#[test]
fn splits_into_micro_batches_and_accumulation_agree() {
    let fixture = Fixture::new();
    let whole = JobSpec {
        batch_size_samples: 4,
        micro_batch_tokens: 4096,
        backend: Backend::Reference,
        precision: Precision::F32,
        weight_decay: 0.0,
        ..fixture.job()
    };
    let base = fixture.run("whole", &whole);
    base.output();
    let splits = [
        ("micro", JobSpec { micro_batch_tokens: 1, ..whole.clone() }),
        ("two", JobSpec { batch_size_samples: 2, gradient_accumulation_steps: 2, ..whole.clone() }),
        ("one", JobSpec { batch_size_samples: 1, gradient_accumulation_steps: 4, ..whole.clone() }),
        ("cpu", JobSpec { backend: Backend::Cpu, micro_batch_tokens: 200, ..whole.clone() }),
    ];
    for (name, job) in splits {
        let split = fixture.run(name, &job);
        split.output();
        for (step, (a, b)) in base.losses().iter().zip(split.losses()).enumerate() {
            assert!((a - b).abs() <= 1e-4 * a, "{name} step {}: {a} and {b}", step + 1);
        }
        let distance = distance(&base, &split);
        assert!(distance <= 1e-3, "{name}: adapters differ by {distance}");
    }
}

/// One step: B is zero at its beginning, so that A has no gradient, and nothing but the decay moves it.
#[test]
fn weight_decay_takes_its_share_of_the_rate_of_each_weight() {
    let fixture = Fixture::new();
    let job = JobSpec {
        batch_size_samples: 24,
        epochs: 1,
        learning_rate: 0.04,
        learning_rate_warmup_steps: 0,
        ..fixture.job()
    };
    let [without, with] = [("without", 0.0), ("with", 0.5)].map(|(name, weight_decay)| {
        let ended = fixture.run(name, &JobSpec { weight_decay, ..job.clone() });
        ended.output();
        ended
    });
    let (plain, decayed) = (adapter(&without), adapter(&with));
    assert!(plain.keys().eq(decayed.keys()));
    for (name, values) in &plain {
        // Of B, which begins with zero, nothing can be taken.
        let left = if name.contains("lora_A") { 1.0 - 0.04 * 0.5 } else { 1.0 };
        assert!(values.iter().any(|x| *x != 0.0), "{name}");
        for (x, y) in values.iter().zip(&decayed[name]) {
            assert!((x * left - y).abs() <= 1e-6 * x.abs(), "{name}: {x} and {y}");
        }
    }
}

#[test]
fn the_adapter_has_the_rank_and_the_scale_of_the_job() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 1, lora_rank: 3, lora_alpha: 6.0, ..fixture.job() };
    let ended = fixture.run("run", &job);
    ended.output();
    let config = fs::read_to_string(ended.dir.output_path().join("adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!((config["r"].as_f64(), config["lora_alpha"].as_f64()), (Some(3.0), Some(6.0)));
    let weights = adapter(&ended);
    let of = |part: &str| {
        let name =
            weights.keys().find(|name| name.ends_with(&format!("layers.0.self_attn.q_proj.{part}.weight")));
        weights[name.unwrap()].len()
    };
    // Both sides of the layer have 32.
    assert_eq!((of("lora_A"), of("lora_B")), (3 * 32, 32 * 3));
}

#[test]
fn evaluation_rows_are_scored_after_each_epoch_and_never_trained_on() {
    let fixture = Fixture::new();
    let job = JobSpec { eval_interval_steps: 0, ..fixture.job() };
    let with = fixture.run("with", &job);
    let without = fixture.run("without", &JobSpec { eval_files: vec![], ..job });
    let weights = "adapter_model.safetensors";
    assert_eq!(with.output()[weights], without.output()[weights]);
    let scored = |ended: &Ended| -> Vec<u64> {
        let step = |event: &hearth_run::Event| match event.kind {
            EventKind::Eval { step, .. } => Some(step),
            _ => None,
        };
        ended.events.iter().filter_map(step).collect()
    };
    assert_eq!((scored(&with), scored(&without)), (vec![12, 24], vec![]));
}

#[test]
fn seeds_and_only_seeds_change_the_adapter() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 1, ..fixture.job() };
    let first = fixture.run("first", &job).output();
    let same = JobSpec { threads: 3, checkpoint_interval_steps: 1, eval_interval_steps: 2, ..job.clone() };
    assert_eq!(first, fixture.run("same", &same).output());
    let other = fixture.run("other", &JobSpec { seed: 8, ..job }).output();
    assert_ne!(first["adapter_model.safetensors"], other["adapter_model.safetensors"]);
}

#[test]
fn a_template_that_asks_for_the_time_is_told_when_the_run_began() {
    let fixture = Fixture::new();
    let template = "{% for m in messages %}<|im_start|>{{ strftime_now('%Y-%m-%d') }} {{ m['content'] }}<|im_end|>\
                    {% endfor %}{% if add_generation_prompt %}<|im_start|>{{ strftime_now('%Y-%m-%d') }} {% endif %}";
    let job = JobSpec { chat_template: Some(template.to_owned()), epochs: 1, ..fixture.job() };
    let run_begun_at = |name: &str, time_ms: i64| {
        let dir = fixture.run_dir(name, &job);
        let event = format!(
            "{{\"seq\":1,\"time_ms\":{time_ms},\"type\":\"started\",\"pid\":1,\"resumed_from_step\":0}}\n"
        );
        fs::write(dir.events_path(), event).unwrap();
        go(&dir).output()["adapter_model.safetensors"].clone()
    };
    let day_ms = 86_400_000;
    let first = run_begun_at("first", 3 * day_ms);
    assert_eq!(first, run_begun_at("same day", 3 * day_ms + 1));
    assert_ne!(first, run_begun_at("next day", 4 * day_ms));
}

#[test]
fn token_batches_hold_as_many_tokens_as_they_may() {
    let fixture = Fixture::new();
    let job = JobSpec { batch_size_samples: 0, batch_size_tokens: 200, epochs: 1, ..fixture.job() };
    let ended = fixture.run("run", &job);
    let mut all = 0;
    for event in &ended.events {
        if let EventKind::Step { tokens, total_tokens, .. } = event.kind {
            assert!(tokens <= 200, "{tokens}");
            all += tokens;
            assert_eq!(total_tokens, all);
        }
    }
    let validated = ended.events.iter().find_map(|event| match event.kind {
        EventKind::Validated { tokens_per_epoch, samples, .. } => Some((tokens_per_epoch, samples)),
        _ => None,
    });
    assert_eq!(validated, Some((all, 24)));
}

/// Integers cost little of the loss and are no silent bf16; a processor without them refuses the job.
#[test]
fn integers_are_used_or_refused() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 1, ..fixture.job() };
    let fast = fixture.run("fast", &JobSpec { precision: Precision::Int8, ..job.clone() });
    if !hearth_kernels::Isa::best().has_int8() {
        let (kind, message) = fast.failure();
        assert_eq!(kind, hearth_run::FailureKind::InvalidSetting);
        assert!(message.contains("int8"), "{message}");
        return;
    }
    let plain = fixture.run("plain", &job);
    assert_ne!(fast.output()["adapter_model.safetensors"], plain.output()["adapter_model.safetensors"]);
    let (fast, plain) = (fast.losses(), plain.losses());
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!((mean(&fast) / mean(&plain) - 1.0).abs() <= 0.05, "{fast:?} and {plain:?}");
}
