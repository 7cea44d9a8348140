//! The output gate sees what is wrong with a written adapter.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hearth_kernels::{AdamW, Reference};
use hearth_model::ADAPTER_WEIGHTS_FILE;
use hearth_train::inputs::Inputs;
use hearth_train::{output, plan};

use crate::fixture::Fixture;

#[test]
fn untrained_and_altered_adapters_do_not_pass() {
    let fixture = Fixture::new();
    let inputs = Inputs::read(fixture.job(), 0, &AtomicBool::new(false)).unwrap();
    let mut learner = inputs.learner(Arc::new(Reference::<f32>::new())).unwrap();
    let dir = fixture.path("adapter");
    fs::create_dir(&dir).unwrap();
    learner.lora().save_peft(&dir, "tiny").unwrap();
    let error = output::gate(&dir, &inputs, &mut learner).unwrap_err();
    assert!(error.to_string().contains("all lora_B tensors are zero"), "{error}");

    let adamw =
        AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1 };
    learner.step(&[plan::packed(&inputs.train.samples[..4])], &adamw).unwrap();
    learner.lora().save_peft(&dir, "tiny").unwrap();
    output::gate(&dir, &inputs, &mut learner).unwrap();

    // The last tensor by name is layer 1's v_proj.lora_B; its last number is the last of the file.
    let path = dir.join(ADAPTER_WEIGHTS_FILE);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 4;
    for (value, expected) in [(1.0f32, "differ"), (f32::NAN, "NaN")] {
        bytes[at..].copy_from_slice(&value.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let error = output::gate(&dir, &inputs, &mut learner).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
