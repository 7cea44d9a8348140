//! Tiny random models, written as model directories in both forms.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use hearth_kernels::Backend;
use hearth_model::{Decoder, Lora, LoraConfig, Module, Packed};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};

/// A small generator of its own, so that a test's numbers never change with a dependency.
pub struct Rng(pub u64);

impl Rng {
    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In `-1..1`, a multiple of 2^-12: sums with other such numbers are exact in f32.
    pub fn signed(&mut self) -> f32 {
        (self.below(8192) as f32 - 4096.0) / 4096.0
    }

    /// A vector of [`Self::signed`] numbers times `scale`.
    pub fn vec(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.signed() * scale).collect()
    }
}

/// Which variant of the tiny model.
#[derive(Clone, Copy)]
pub struct Tiny {
    pub tied: bool,
    pub bias: bool,
}

pub const C: usize = 16;
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = 8;
pub const I: usize = 24;
pub const V: usize = 29;
pub const LAYERS: usize = 2;

pub type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

impl Tiny {
    pub fn config(self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": C, "intermediate_size": I, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
            "rms_norm_eps": 1e-5, "rope_theta": 100.0, "rope_scaling": null, "attention_bias": self.bias,
            "tie_word_embeddings": self.tied, "vocab_size": V, "max_position_embeddings": 64
        })
    }

    /// Hugging Face names and layout.
    pub fn tensors(self) -> Tensors {
        let mut rng = Rng(7);
        let mut out: Tensors = Vec::new();
        let mut matrix = |name: String, n: usize, k: usize| {
            out.push((name, vec![n, k], rng.vec(n * k, 1.5 / (k as f32).sqrt())));
        };
        matrix("model.embed_tokens.weight".into(), V, C);
        if !self.tied {
            matrix("lm_head.weight".into(), V, C);
        }
        for l in 0..LAYERS {
            for (name, n, k) in linears() {
                matrix(format!("model.layers.{l}.{name}.weight"), n, k);
            }
        }
        let mut vector = |name: String, n: usize, centre: f32| {
            out.push((name, vec![n], rng.vec(n, 0.5).iter().map(|x| x + centre).collect()));
        };
        vector("model.norm.weight".into(), C, 1.0);
        for l in 0..LAYERS {
            vector(format!("model.layers.{l}.input_layernorm.weight"), C, 1.0);
            vector(format!("model.layers.{l}.post_attention_layernorm.weight"), C, 1.0);
            if self.bias {
                for (name, n, _) in &linears()[..4] {
                    vector(format!("model.layers.{l}.{name}.bias"), *n, 0.0);
                }
            }
        }
        out
    }

    pub fn write(self, dir: &Path) {
        fs::write(dir.join("config.json"), self.config().to_string()).expect("writes config");
        write_safetensors(&dir.join("model.safetensors"), &self.tensors());
    }

    pub fn load<B: Backend>(self, backend: Arc<B>) -> Decoder<B> {
        let dir = tempfile::tempdir().expect("tempdir");
        self.write(dir.path());
        Decoder::load(backend, dir.path()).expect("tiny model loads")
    }
}

pub fn linears() -> [(&'static str, usize, usize); 7] {
    let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    [
        ("self_attn.q_proj", q, C),
        ("self_attn.k_proj", kv, C),
        ("self_attn.v_proj", kv, C),
        ("self_attn.o_proj", C, q),
        ("mlp.gate_proj", I, C),
        ("mlp.up_proj", I, C),
        ("mlp.down_proj", C, I),
    ]
}

pub fn write_safetensors(path: &Path, tensors: &Tensors) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, data)| data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("view"))
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    fs::write(path, serialize(views, Some(metadata)).expect("serialises")).expect("writes weights");
}

/// An adapter with every number random, as after some training.
pub fn random_lora<B: Backend>(decoder: &Decoder<B>, targets: &[Module], r: usize, seed: u64) -> Lora<B> {
    let config = LoraConfig { r, alpha: 2.0 * r as f32, target_modules: targets.to_vec() };
    let mut lora = Lora::init(decoder, &config, 1).expect("inits");
    let mut rng = Rng(seed);
    for (_, [n, k], buf) in lora.tensors_mut().iter_mut() {
        decoder.backend().write(buf, &rng.vec(n * k, 0.25));
    }
    lora
}

/// Random sequences of these lengths with about half of the tokens trained.
pub fn random_packed(lengths: &[usize], seed: u64) -> Packed {
    let mut packed = Packed::default();
    for (tokens, weights) in random_sequences(lengths, seed) {
        packed.push(&tokens, &weights);
    }
    packed
}

pub fn random_sequences(lengths: &[usize], seed: u64) -> Vec<(Vec<u32>, Vec<f32>)> {
    let mut rng = Rng(seed);
    lengths
        .iter()
        .map(|&n| {
            let tokens = (0..n).map(|_| rng.below(V) as u32).collect();
            let weights = (0..n).map(|_| [0.0, 0.0, 1.0, 0.5][rng.below(4)]).collect();
            (tokens, weights)
        })
        .collect()
}

/// One GGUF tensor: name, Hugging Face shape, type id, data.
pub type GgufTensor = (String, Vec<usize>, u32, Vec<u8>);

/// Writes GGUF version 3 with the metadata that a llama-architecture file has.
pub struct GgufWriter {
    metadata: Vec<u8>,
    count: u64,
}

impl GgufWriter {
    pub fn new() -> Self {
        Self { metadata: Vec::new(), count: 0 }
    }

    fn string(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.count += 1;
        Self::string(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        &mut self.metadata
    }

    pub fn u32(&mut self, key: &str, x: u32) {
        self.key(key, 4).extend(x.to_le_bytes());
    }

    pub fn f32(&mut self, key: &str, x: f32) {
        self.key(key, 6).extend(x.to_le_bytes());
    }

    pub fn bool(&mut self, key: &str, x: bool) {
        self.key(key, 7).push(u8::from(x));
    }

    pub fn str(&mut self, key: &str, x: &str) {
        let out = self.key(key, 8);
        Self::string(out, x);
    }

    pub fn strs(&mut self, key: &str, list: &[&str]) {
        let out = self.key(key, 9);
        out.extend(8u32.to_le_bytes());
        out.extend((list.len() as u64).to_le_bytes());
        for x in list {
            Self::string(out, x);
        }
    }

    pub fn i32s(&mut self, key: &str, list: &[i32]) {
        let out = self.key(key, 9);
        out.extend(5u32.to_le_bytes());
        out.extend((list.len() as u64).to_le_bytes());
        for x in list {
            out.extend(x.to_le_bytes());
        }
    }

    pub fn finish(self, tensors: &[GgufTensor]) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(self.metadata);
        let mut offset = 0u64;
        for (name, shape, kind, data) in tensors {
            Self::string(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            for n in shape.iter().rev() {
                out.extend((*n as u64).to_le_bytes());
            }
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (data.len() as u64).next_multiple_of(32);
        }
        for (_, _, _, data) in tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(data);
        }
        out
    }
}

/// The tiny model as a GGUF file, with q and k in the order of such files.
pub fn tiny_gguf(tiny: Tiny) -> Vec<u8> {
    let mut w = GgufWriter::new();
    w.str("general.architecture", "llama");
    w.str("general.name", "Tiny");
    w.u32("llama.block_count", LAYERS as u32);
    w.u32("llama.context_length", 64);
    w.u32("llama.embedding_length", C as u32);
    w.u32("llama.feed_forward_length", I as u32);
    w.u32("llama.attention.head_count", HEADS as u32);
    w.u32("llama.attention.head_count_kv", KV_HEADS as u32);
    w.u32("llama.attention.key_length", HEAD_DIM as u32);
    w.u32("llama.attention.value_length", HEAD_DIM as u32);
    w.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    w.f32("llama.rope.freq_base", 100.0);
    w.str("tokenizer.ggml.model", "gpt2");
    w.strs("tokenizer.ggml.tokens", &["a", "b", "ab", "<end>"]);
    w.i32s("tokenizer.ggml.token_type", &[1, 1, 1, 3]);
    w.strs("tokenizer.ggml.merges", &["a b"]);
    w.u32("tokenizer.ggml.eos_token_id", 3);
    w.bool("tokenizer.ggml.add_bos_token", false);
    w.str("tokenizer.chat_template", "{{ messages }}");
    let tensors: Vec<GgufTensor> = tiny
        .tensors()
        .into_iter()
        .map(|(name, shape, data)| {
            let interleave = name.contains("q_proj") || name.contains("k_proj");
            let data = if interleave { interleaved(&shape, &data, HEAD_DIM) } else { data };
            (gguf_name(&name), shape, 0, data.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    w.finish(&tensors)
}

/// As the converter of llama.cpp writes: `reshape(heads, 2, head_dim/2, K).swapaxes(1, 2)`.
pub fn interleaved(shape: &[usize], data: &[f32], head_dim: usize) -> Vec<f32> {
    let width = data.len() / shape[0];
    let mut out = Vec::new();
    for head in 0..shape[0] / head_dim {
        for pair in 0..head_dim / 2 {
            for s in 0..2 {
                let row = head * head_dim + s * head_dim / 2 + pair;
                out.extend_from_slice(&data[row * width..(row + 1) * width]);
            }
        }
    }
    out
}

fn gguf_name(name: &str) -> String {
    let name = name.strip_prefix("model.").unwrap_or(name);
    let mut name = name.replace("layers.", "blk.");
    for (from, to) in [
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("embed_tokens", "token_embd"),
        ("lm_head", "output"),
    ] {
        name = name.replace(from, to);
    }
    if name == "norm.weight" { "output_norm.weight".to_owned() } else { name }
}

/// Loss sums and all gradients as f32, in order.
pub fn run<B: Backend>(
    decoder: &Decoder<B>,
    lora: &Lora<B>,
    packed: &Packed,
    scale: f32,
) -> (hearth_kernels::LossSums, Vec<(String, Vec<f32>)>) {
    let mut grads = lora.tensors().zeros_like();
    let mut workspace = hearth_model::Workspace::new(decoder);
    let sums = decoder.loss_and_grads(lora, packed, scale, &mut grads, &mut workspace).expect("runs");
    (sums, grads.iter().map(|(name, _, buf)| (name.to_owned(), decoder.backend().download(buf))).collect())
}

/// `|found - expect| <= atol + rtol * |expect|` for every element; NaN fails.
pub fn assert_close(what: &str, found: &[f32], expect: &[f32], atol: f64, rtol: f64) {
    assert_eq!(found.len(), expect.len(), "{what}");
    for (i, (&f, &e)) in found.iter().zip(expect).enumerate() {
        let (f, e) = (f64::from(f), f64::from(e));
        assert!((f - e).abs() <= atol + rtol * e.abs(), "{what}[{i}]: found {f}, expected {e}");
    }
}
