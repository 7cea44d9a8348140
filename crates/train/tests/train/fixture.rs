//! A tiny random model with a real tokenizer, rows for it, and jobs on both.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hearth_run::{
    Backend, Event, EventKind, EventTail, JobSpec, LORA_TARGETS, LrSchedule, Precision, RunDir,
};
use hearth_train::{TrainOptions, digest, run};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

const HIDDEN: usize = 32;
const INTERMEDIATE: usize = 56;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const VOCAB: usize = 427;

pub struct Fixture {
    pub root: TempDir,
}

impl Fixture {
    /// A model directory `model` and `train.jsonl`, `eval.jsonl` with rows that can be learnt.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write_model(&root.path().join("model"), |_, _| {});
        let fixture = Self { root };
        fixture.write_rows("train.jsonl", &(0..24).map(row).collect::<Vec<_>>());
        fixture.write_rows("eval.jsonl", &(24..28).map(row).collect::<Vec<_>>());
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn write_rows(&self, name: &str, rows: &[String]) {
        fs::write(self.path(name), rows.join("\n") + "\n").unwrap();
    }

    /// Twelve steps per epoch, two epochs.
    pub fn job(&self) -> JobSpec {
        JobSpec {
            version: JobSpec::VERSION,
            base_model_dir: self.path("model"),
            base_model_name: "tiny".to_owned(),
            train_files: vec![self.path("train.jsonl")],
            eval_files: vec![self.path("eval.jsonl")],
            eval_carveout: false,
            early_stop: None,
            warm_start_dir: None,
            warm_start_name: None,
            data_origins: vec![],
            chat_template: None,
            seed: 7,
            epochs: 2,
            learning_rate: 5e-3,
            learning_rate_warmup_steps: 3,
            lr_schedule: LrSchedule::Constant,
            weight_decay: 0.01,
            lora_rank: 4,
            lora_alpha: 8.0,
            target_modules: LORA_TARGETS.map(str::to_owned).to_vec(),
            max_context_length: 512,
            batch_size_tokens: 0,
            batch_size_samples: 2,
            gradient_accumulation_steps: 1,
            micro_batch_tokens: 1024,
            checkpoint_interval_steps: 3,
            sampler_checkpoint_interval_steps: 0,
            eval_interval_steps: 5,
            backend: Backend::Cpu,
            precision: Precision::Bf16,
            threads: 1,
        }
    }

    /// A run directory with this job.
    pub fn run_dir(&self, name: &str, job: &JobSpec) -> RunDir {
        let dir = RunDir::new(self.path(name));
        dir.create(job).unwrap();
        dir
    }

    /// Runs a job to its end in this process, and says how it ended.
    pub fn run(&self, name: &str, job: &JobSpec) -> Ended {
        go(&self.run_dir(name, job))
    }
}

/// How a run ended.
pub struct Ended {
    pub dir: RunDir,
    pub code: i32,
    pub events: Vec<Event>,
}

/// Runs a run directory in this process.
pub fn go(dir: &RunDir) -> Ended {
    let code = run(dir.root(), TrainOptions::default());
    Ended { dir: dir.clone(), code, events: EventTail::new(dir).poll().unwrap() }
}

impl Ended {
    /// Step losses; the last one counts for steps that were done twice.
    pub fn losses(&self) -> Vec<f64> {
        let mut losses = BTreeMap::new();
        for event in &self.events {
            if let EventKind::Step { step, loss, .. } = event.kind {
                losses.insert(step, loss);
            }
        }
        losses.into_values().collect()
    }

    /// Samples gone through after each step.
    pub fn samples(&self) -> Vec<u64> {
        let samples = |event: &Event| match event.kind {
            EventKind::Step { total_samples, .. } => Some(total_samples),
            _ => None,
        };
        self.events.iter().filter_map(samples).collect()
    }

    pub fn last(&self) -> &EventKind {
        &self.events.last().expect("a run has events").kind
    }

    /// The message of the `failed` event that must have ended the run.
    pub fn failure(&self) -> (hearth_run::FailureKind, &str) {
        match self.last() {
            EventKind::Failed { kind, message } => {
                let expected = match kind {
                    hearth_run::FailureKind::OutOfResources => hearth_run::EXIT_OUT_OF_RESOURCES,
                    _ => hearth_run::EXIT_FAILED,
                };
                assert_eq!(self.code, expected);
                (*kind, message)
            }
            other => panic!("the run ended with {other:?}"),
        }
    }

    /// Name and SHA-256 of every file of the output, which must be there.
    pub fn output(&self) -> BTreeMap<String, String> {
        assert_eq!(self.code, 0, "the run ended with {:?}", self.last());
        let files = fs::read_dir(self.dir.output_path()).unwrap();
        files
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, digest::file(&path).unwrap())
            })
            .collect()
    }
}

/// Values of `key` in `metrics.jsonl`, in file order.
pub fn metrics(dir: &RunDir, key: &str) -> Vec<f64> {
    let text = fs::read_to_string(dir.metrics_path()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line.get(key)?.as_f64()).collect()
}

/// A chat row whose answer follows from its question.
pub fn row(i: usize) -> String {
    let answer = ["red", "green or so", "blue, as ever in the sky"][i % 3];
    let question = format!("{} {}", ["apple", "leaf", "sky"][i % 3], "x".repeat(i % 7));
    serde_json::json!({"messages": [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]})
    .to_string()
}

/// Writes a Llama model with random f32 weights and the tokenizer of the data crate's tests.
/// `change` may alter a tensor, by name, before it is written.
pub fn write_model(dir: &Path, change: impl Fn(&str, &mut [f32])) {
    fs::create_dir_all(dir).unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/tiny");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(tokenizer.join(name), dir.join(name)).unwrap();
    }
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB, "tie_word_embeddings": true,
        "max_position_embeddings": 512, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut tensors = Vec::new();
    for (name, shape) in shapes() {
        let mut rng = ChaCha8Rng::seed_from_u64(tensors.len() as u64);
        let mut values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                let uniform = f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
                let value = match name.as_str() {
                    norm if norm.ends_with("norm.weight") => 1.0 + 0.1 * uniform,
                    // Rows long enough that the tied head can tell tokens apart with certainty.
                    "model.embed_tokens.weight" => 0.8 * uniform,
                    _ => 0.2 * uniform,
                };
                value as f32
            })
            .collect();
        change(&name, &mut values);
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

fn shapes() -> Vec<(String, Vec<usize>)> {
    let kv = HIDDEN / HEADS * KV_HEADS;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![kv, HIDDEN]),
            ("self_attn.v_proj", vec![kv, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.up_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INTERMEDIATE]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    shapes
}
