//! A tiny random Llama and adapters over it, for tests of whole answers. Plain files, no other crate needed.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// Tokens that the model can attend to.
pub const CONTEXT: usize = 512;
/// Width of a cached key or value.
pub const KV_DIM: usize = 48;
/// Decoder blocks.
pub const LAYERS: usize = 2;

/// Ids of the tokenizer of the `data` tests.
const VOCAB: usize = 427;
const HIDDEN: usize = 96;
const INTERMEDIATE: usize = 160;
/// Linears of a block: name, outputs, inputs.
const LINEARS: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", HIDDEN, HIDDEN),
    ("self_attn.k_proj", KV_DIM, HIDDEN),
    ("self_attn.v_proj", KV_DIM, HIDDEN),
    ("self_attn.o_proj", HIDDEN, HIDDEN),
    ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
    ("mlp.up_proj", INTERMEDIATE, HIDDEN),
    ("mlp.down_proj", HIDDEN, INTERMEDIATE),
];
/// What it adapts.
pub const ADAPTED: [&str; 3] = ["q_proj", "v_proj", "down_proj"];
/// Rank of an adapter.
pub const RANK: usize = 2;

/// Writes a base model with its tokenizer. Its end tokens (ids 0 to 2) are all but impossible: their rows of the
/// tied head are zero, and the other logits are large.
pub fn write_base(dir: &Path, seed: u64) {
    fs::create_dir_all(dir).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut random = Random(seed);
    let mut embed = random.numbers(VOCAB * HIDDEN, 1.0);
    embed[..3 * HIDDEN].fill(0.0);
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN], embed),
        ("model.norm.weight".to_owned(), vec![HIDDEN], vec![4.0; HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push((name(norm), vec![HIDDEN], vec![1.0; HIDDEN]));
        }
        for (part, n, k) in LINEARS {
            tensors.push((name(part), vec![n, k], random.numbers(n * k, 0.25)));
        }
    }
    write_safetensors(&dir.join("model.safetensors"), &tensors);
    write_tokenizer(dir);
}

/// Writes a PEFT adapter whose update is large enough to change every answer.
pub fn write_adapter(dir: &Path, seed: u64) {
    write_adapter_of_rank(dir, seed, RANK);
}

/// The same with another rank.
pub fn write_adapter_of_rank(dir: &Path, seed: u64, rank: usize) {
    fs::create_dir_all(dir).unwrap();
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny", "r": rank,
        "lora_alpha": 2 * rank, "target_modules": ADAPTED, "lora_dropout": 0.0, "bias": "none",
        "use_rslora": false, "use_dora": false, "inference_mode": true,
    });
    fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    write_safetensors(&dir.join("adapter_model.safetensors"), &adapter(seed, rank, &ADAPTED));
    write_tokenizer(dir);
}

/// A tensor: name, shape, numbers.
pub type Tensor = (String, Vec<usize>, Vec<f32>);

/// Tensors of an adapter of some linears of each block.
pub fn adapter(seed: u64, rank: usize, adapted: &[&str]) -> Vec<Tensor> {
    let mut random = Random(seed);
    let mut tensors = Vec::new();
    for layer in 0..LAYERS {
        for (part, n, k) in LINEARS.iter().filter(|(part, ..)| adapted.iter().any(|a| part.ends_with(a))) {
            let name =
                |side: &str| format!("base_model.model.model.layers.{layer}.{part}.lora_{side}.weight");
            tensors.push((name("A"), vec![rank, *k], random.numbers(rank * k, 0.3)));
            tensors.push((name("B"), vec![*n, rank], random.numbers(n * rank, 0.5)));
        }
    }
    tensors
}

fn write_tokenizer(dir: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/tiny");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture.join(file), dir.join(file)).unwrap();
    }
}

/// The format is a length, a JSON header and the numbers.
fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape, numbers) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    // The numbers begin at a multiple of eight bytes.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    fs::write(path, file).unwrap();
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Numbers spread evenly over `±scale`.
    fn numbers(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| ((self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
