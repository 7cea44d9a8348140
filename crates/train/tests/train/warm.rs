//! Runs that go on from an adapter.

use std::fs;

use hearth_run::{Backend, EventKind, FailureKind, JobSpec, Precision};
use safetensors::SafeTensors;

use crate::fixture::{Fixture, go, row};

const WEIGHTS: &str = "adapter_model.safetensors";

/// All rows in one step, so that the loss of the first is that of the adapter at its beginning.
fn job(fixture: &Fixture) -> JobSpec {
    fixture.write_rows("eval.jsonl", &(0..24).map(row).collect::<Vec<_>>());
    JobSpec {
        target_modules: ["q_proj", "down_proj"].map(str::to_owned).to_vec(),
        batch_size_samples: 24,
        epochs: 10,
        learning_rate: 0.03,
        backend: Backend::Cpu,
        precision: Precision::F32,
        ..fixture.job()
    }
}

#[test]
fn the_first_step_has_the_loss_of_the_adapter_and_trains_its_layers_only() {
    let fixture = Fixture::new();
    let job = job(&fixture);
    let cold = fixture.run("cold", &job);
    cold.output();
    let EventKind::Finished { eval_loss: Some(end), .. } = *cold.last() else { panic!("{:?}", cold.last()) };
    assert!(end < 0.9 * cold.losses()[0], "{end} {:?}", cold.losses());

    let warm = JobSpec { warm_start_dir: Some(cold.dir.output_path()), epochs: 2, seed: 8, ..job.clone() };
    let ended = fixture.run("warm", &warm);
    let output = ended.output();
    let first = ended.losses()[0];
    assert!((first - end).abs() < 1e-4 * end, "{first} and {end}");
    // It has learnt further, and nothing but the layers that the adapter has.
    assert_ne!(output[WEIGHTS], cold.output()[WEIGHTS]);
    let names = |dir: std::path::PathBuf| {
        let bytes = fs::read(dir.join(WEIGHTS)).unwrap();
        let mut names: Vec<String> =
            SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    let written = names(ended.dir.output_path());
    assert_eq!(written, names(cold.dir.output_path()));
    assert_eq!(written.len(), 2 * 2 * 2);
    // The same adapter and settings give the same, the adapter's own seed aside.
    assert_eq!(fixture.run("again", &warm).output(), output);
}

#[test]
fn an_adapter_of_rslora_begins_with_its_own_scale() {
    let fixture = Fixture::new();
    let job = job(&fixture);
    let cold = fixture.run("cold", &job);
    cold.output();
    let EventKind::Finished { eval_loss: Some(end), .. } = *cold.last() else { panic!("{:?}", cold.last()) };
    // Rank 4: alpha / sqrt(4) is alpha / 4 of twice the alpha.
    let dir = cold.dir.output_path();
    let config = fs::read_to_string(dir.join("adapter_config.json")).unwrap();
    let config = config
        .replace("\"use_rslora\": false", "\"use_rslora\": true")
        .replace("\"lora_alpha\": 8", "\"lora_alpha\": 4");
    assert!(config.contains("true") && config.contains("\"lora_alpha\": 4"));
    fs::write(dir.join("adapter_config.json"), config).unwrap();
    let warm = JobSpec { warm_start_dir: Some(dir), epochs: 1, ..job };
    let ended = fixture.run("warm", &warm);
    ended.output();
    let first = ended.losses()[0];
    assert!((first - end).abs() < 1e-4 * end, "{first} and {end}");
}

#[test]
fn an_adapter_of_another_form_or_another_one_is_refused() {
    let fixture = Fixture::new();
    let job = JobSpec { epochs: 1, ..fixture.job() };
    let cold = fixture.run("cold", &job);
    cold.output();
    let warm = JobSpec { warm_start_dir: Some(cold.dir.output_path()), ..job };
    let ended = fixture.run("rank", &JobSpec { lora_rank: 8, ..warm.clone() });
    let (kind, message) = ended.failure();
    assert_eq!(kind, FailureKind::InvalidSetting);
    assert!(message.contains("are not those of the adapter in warm_start_dir"), "{message}");

    // A checkpoint belongs to the adapter that its run went on from.
    let ended = fixture.run("run", &warm);
    ended.output();
    fs::remove_file(ended.dir.events_path()).unwrap();
    fs::remove_dir_all(ended.dir.output_path()).unwrap();
    let other = fixture.run("other", &JobSpec { seed: 9, warm_start_dir: None, ..warm.clone() });
    other.output();
    fs::copy(other.dir.output_path().join(WEIGHTS), cold.dir.output_path().join(WEIGHTS)).unwrap();
    let refused = go(&ended.dir);
    assert!(
        refused.failure().1.contains("was made with another adapter to go on from"),
        "{:?}",
        refused.last()
    );
}
