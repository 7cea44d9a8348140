//! Ten optimiser steps against torch, transformers and peft; `conformance/golden.py` wrote the fixtures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearth_data::Sample;
use hearth_kernels::{AdamW, Backend, Cpu, CpuOptions, Isa, Precision, Reference};
use hearth_model::{Decoder, Lora};
use hearth_train::learner::Learner;
use hearth_train::plan;
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

#[derive(Deserialize)]
struct Golden {
    model: PathBuf,
    adapter: PathBuf,
    learning_rate: f32,
    weight_decay: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    steps: Vec<Vec<Row>>,
    losses: Vec<f64>,
    final_norms: BTreeMap<String, f64>,
}

/// Losses and the norms of the final tensors must agree to `rtol`.
fn check<B: Backend>(golden: &Golden, model: &Path, backend: B, rtol: f64) {
    let backend = Arc::new(backend);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let name = backend.name();
    let decoder = Decoder::load(Arc::clone(&backend), model).unwrap();
    let lora = Lora::load_peft(&decoder, &tests.join(&golden.adapter)).unwrap();
    let mut learner = Learner::new(decoder, lora);
    for (i, (rows, expected)) in golden.steps.iter().zip(&golden.losses).enumerate() {
        let adamw = AdamW {
            learning_rate: golden.learning_rate,
            beta1: golden.beta1,
            beta2: golden.beta2,
            eps: golden.eps,
            weight_decay: golden.weight_decay,
            step: i as u64 + 1,
        };
        let samples: Vec<Sample> = rows
            .iter()
            .map(|row| Sample { line: 1, tokens: row.tokens.clone(), weights: row.weights.clone() })
            .collect();
        // Two micro-batches: packed rows, and a row of its own.
        let (last, packed) = samples.split_last().unwrap();
        let loss = learner.step(&[plan::packed(packed), plan::packed([last])], &adamw).unwrap().loss;
        assert!((loss - expected).abs() <= rtol * expected, "{name} step {}: {loss}, not {expected}", i + 1);
    }
    let state = learner.state();
    assert_eq!(state.len(), golden.final_norms.len());
    for tensor in state {
        let norm = tensor.weight.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let expected = golden.final_norms[&tensor.name];
        assert!((norm - expected).abs() <= rtol * expected, "{name} {}: {norm}, not {expected}", tensor.name);
    }
}

fn golden(name: &str) -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}-ten-steps.json"));
    let golden: Golden = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(golden.losses.len(), 10);
    golden
}

fn cpu(isa: Isa, precision: Precision) -> Cpu {
    Cpu::new(CpuOptions { threads: 2, isa: Some(isa), precision }).unwrap()
}

/// The fixtures are float32. An element of a gradient near zero may come out with the other sign, and
/// AdamW's first steps move it by the whole rate all the same: hence more than rounding of the losses.
const RTOL_F32: f64 = 1e-4;
/// bfloat16 keeps 8 bits: single products are off by up to 2^-8, and sums of many by less.
const RTOL_BF16: f64 = 2e-2;

/// The real base, 135M weights in Q4_1, for as long as torch's float32 and ours can stay together.
#[test]
fn ten_losses_of_the_real_base() {
    let golden = golden("smollm2-135m-instruct");
    let help = "the real base is needed: run `cargo xtask setup`, then `cargo xtask test`, or set \
                HEARTH_TEST_MODELS_DIR to a directory that holds fireworks/smollm2-135m-instruct";
    let models = PathBuf::from(std::env::var_os("HEARTH_TEST_MODELS_DIR").expect(help));
    let base = models.join("fireworks").join(&golden.model);
    check(&golden, &base, cpu(Isa::best(), Precision::F32), RTOL_F32);
    check(&golden, &base, cpu(Isa::best(), Precision::Bf16), RTOL_BF16);
}

/// One of each architecture, and more of Llama.
const TINY: [&str; 10] = [
    "tiny-gqa-tied",
    "tiny-untied",
    "tiny-llama31",
    "tiny-mistral",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-smollm3",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-phi3",
];

#[test]
fn ten_losses_of_tiny_models() {
    for name in TINY {
        let golden = golden(name);
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(&golden.model);
        check(&golden, &model, Reference::<f32>::new(), RTOL_F32);
        check(&golden, &model, Reference::<f64>::new(), RTOL_F32);
        for isa in Isa::available() {
            check(&golden, &model, cpu(isa, Precision::F32), RTOL_F32);
            check(&golden, &model, cpu(isa, Precision::Bf16), RTOL_BF16);
        }
    }
}
