//! Every architecture on the ways that the golden numbers do not go: decoding, recomputed blocks, threads, subsets
//! of modules, adapter files, GGUF. The models are the tiny ones of the golden tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{GgufTensor, GgufWriter, assert_close, random_lora, random_packed, run};
use hearth_kernels::{Backend, Cpu, CpuOptions, Precision, Reference};
use hearth_model::gguf::Gguf;
use hearth_model::{DecodeSeq, Decoder, Lora, ModelConfig, Module, Packed, Workspace, convert};
use safetensors::SafeTensors;
use serde_json::{Value, json};

const FAMILIES: [&str; 8] = ["llama31", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3", "phi3"];

fn dir(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("tiny-{family}"))
}

fn load<B: Backend>(family: &str, backend: B) -> Decoder<B> {
    Decoder::load(Arc::new(backend), &dir(family)).expect("loads")
}

fn cpu(threads: usize, precision: Precision) -> Cpu {
    Cpu::new(CpuOptions { threads, isa: None, precision }).expect("backend")
}

/// An adapter of all linears.
fn whole_lora<B: Backend>(decoder: &Decoder<B>, seed: u64) -> Lora<B> {
    random_lora(decoder, decoder.config().linears(), 2, seed)
}

/// Longer than every window, in pieces that end inside and outside of one.
#[test]
fn decoding_gives_the_full_forward() {
    for family in FAMILIES {
        let decoder = load(family, Reference::<f64>::new());
        let lora = whole_lora(&decoder, 3);
        let packed = random_packed(&[24], 6);
        let mut workspace = Workspace::new(&decoder);
        let mut cache = decoder.new_cache(24);
        for range in [0..4, 4..5, 5..12, 12..13, 13..24] {
            let tokens = &packed.tokens[range.clone()];
            let sequence = DecodeSeq { cache: &mut cache, tokens, lora: Some(&lora), logits: true };
            let found = decoder.decode(&mut [sequence], &mut workspace).expect("decodes").remove(0);
            let last = [range.end as u32 - 1];
            let mut fresh = Workspace::new(&decoder);
            let expect = decoder.logits(Some(&lora), &packed, &last, &mut fresh).expect("logits");
            assert_close(family, &found.expect("asked"), &expect, 1e-9, 1e-6);
        }
    }
}

#[test]
fn recomputed_blocks_and_threads_change_no_bit() {
    let packed = random_packed(&[17, 2, 21], 4);
    for family in FAMILIES {
        let results = [(1, 0), (3, 0), (2, 1), (2, 99)].map(|(threads, recomputed)| {
            let decoder = load(family, cpu(threads, Precision::Bf16));
            let lora = whole_lora(&decoder, 5);
            let mut grads = lora.tensors().zeros_like();
            let mut workspace = Workspace::new(&decoder);
            workspace.set_recomputed_blocks(recomputed);
            let sums = decoder.loss_and_grads(&lora, &packed, 0.5, &mut grads, &mut workspace).expect("runs");
            let bits = |buf| decoder.backend().download(buf).iter().map(|x| x.to_bits()).collect();
            let grads: Vec<Vec<u32>> = grads.iter().map(|(_, _, buf)| bits(buf)).collect();
            (sums.loss.to_bits(), grads)
        });
        for result in &results[1..] {
            assert!(*result == results[0], "{family}");
        }
    }
}

/// Training, and evaluation of no adapter, of a wider one and of more rows, share buffers and change no bit of one
/// another.
#[test]
fn one_workspace_serves_training_and_evaluation() {
    let (packed, longer) = (random_packed(&[17, 2, 21], 4), random_packed(&[31, 19], 5));
    for family in FAMILIES {
        let decoder = load(family, cpu(2, Precision::Bf16));
        let lora = whole_lora(&decoder, 5);
        let wider = random_lora(&decoder, decoder.config().linears(), 3, 6);
        let train = |workspace: &mut Workspace<_>| {
            let mut grads = lora.tensors().zeros_like();
            decoder.loss_and_grads(&lora, &packed, 0.5, &mut grads, workspace).expect("runs");
            let bits = |buf| decoder.backend().download(buf).iter().map(|x| x.to_bits()).collect();
            grads.iter().map(|(_, _, buf)| bits(buf)).collect::<Vec<Vec<u32>>>()
        };
        let trained = train(&mut Workspace::new(&decoder));
        for recomputed in [0, 1] {
            let mut workspace = Workspace::new(&decoder);
            workspace.set_recomputed_blocks(recomputed);
            for other in [None, Some(&wider)] {
                for rows in [&packed, &longer] {
                    let loss = decoder.loss(other, rows, &mut workspace).expect("runs");
                    let fresh = decoder.loss(other, rows, &mut Workspace::new(&decoder)).expect("runs");
                    assert_eq!(loss.loss.to_bits(), fresh.loss.to_bits(), "{family} {recomputed}");
                    assert!(train(&mut workspace) == trained, "{family} {recomputed}");
                }
            }
        }
    }
}

/// A subset has the gradients that it has among all modules: stopping early loses nothing.
#[test]
fn every_subset_of_modules_has_the_same_gradients() {
    let packed = random_packed(&[9, 4], 3);
    for family in ["gemma3", "phi3"] {
        let decoder = load(family, Reference::<f64>::new());
        let linears = decoder.config().linears();
        for bits in (1u32..1 << linears.len()).filter(|bits| bits.count_ones() < 3) {
            let picked = |&(i, _): &(usize, &Module)| bits & (1 << i) != 0;
            let targets: Vec<Module> = linears.iter().enumerate().filter(picked).map(|(_, &m)| m).collect();
            let lora = random_lora(&decoder, &targets, 2, u64::from(bits));
            // The same adapter with all modules, zero where the subset has none.
            let mut all = whole_lora(&decoder, 0);
            for (name, [n, k], buf) in all.tensors_mut().iter_mut() {
                let same = lora.tensors().iter().find(|(other, _, _)| *other == name);
                let values =
                    same.map_or_else(|| vec![0.0; n * k], |(_, _, buf)| decoder.backend().download(buf));
                decoder.backend().write(buf, &values);
            }
            let (_, grads) = run(&decoder, &lora, &packed, 1.0);
            let (_, all_grads) = run(&decoder, &all, &packed, 1.0);
            for (name, grad) in grads {
                let expect = &all_grads.iter().find(|(other, _)| *other == name).expect("same name").1;
                assert_close(&format!("{family} {targets:?} {name}"), &grad, expect, 1e-9, 1e-6);
            }
        }
    }
}

/// What PEFT wrote is written again with the same tensors, and other modules are refused by name.
#[test]
fn fused_linears_have_adapters_of_their_own() {
    let decoder = load("phi3", Reference::<f32>::new());
    let golden = dir("phi3").join("adapter");
    let lora = Lora::load_peft(&decoder, &golden).expect("loads");
    let out = tempfile::tempdir().expect("dir");
    lora.save_peft(out.path(), "tiny-phi3").expect("saves");
    let read = |dir: &Path| fs::read(dir.join("adapter_model.safetensors")).expect("reads");
    let (ours, theirs) = (read(out.path()), read(&golden));
    let [ours, theirs] = [&ours, &theirs].map(|bytes| SafeTensors::deserialize(bytes).expect("parses"));
    let all = |file: &SafeTensors<'_>| -> Vec<(String, Vec<usize>, Vec<u8>)> {
        let mut all: Vec<_> =
            file.iter().map(|(name, t)| (name.to_owned(), t.shape().to_vec(), t.data().to_vec())).collect();
        all.sort();
        all
    };
    assert!(all(&ours) == all(&theirs));
    let mut config: Value =
        serde_json::from_slice(&fs::read(out.path().join("adapter_config.json")).expect("reads"))
            .expect("JSON");
    let names = ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"];
    assert_eq!(config["target_modules"], json!(names));
    config["target_modules"] = json!(["q_proj"]);
    fs::write(out.path().join("adapter_config.json"), config.to_string()).expect("writes");
    assert_eq!(
        Lora::load_peft(&decoder, out.path()).err().expect("refused").to_string(),
        "adapter_config.json: target_modules: q_proj is not a linear layer of a phi3 model; \
         it has qkv_proj, o_proj, gate_up_proj, down_proj"
    );
}

/// What files of an architecture are called and what they cannot say, which is changed in the original.
fn gguf_form(family: &str, config: &mut Value) -> &'static str {
    match family {
        "gemma2" | "gemma3" => config["query_pre_attn_scalar"] = config["head_dim"].clone(),
        "smollm3" => {
            config["no_rope_layers"] = Value::Null;
            config["no_rope_layer_interval"] = json!(4);
        }
        "qwen2" => config["use_sliding_window"] = json!(false),
        _ => {}
    }
    match family {
        "mistral" => "llama",
        "qwen2" => "qwen2",
        "qwen3" => "qwen3",
        "smollm3" => "smollm3",
        "gemma2" => "gemma2",
        "gemma3" => "gemma3",
        "phi3" => "phi3",
        other => panic!("{other}"),
    }
}

fn gguf_name(family: &str, name: &str) -> String {
    let gemma = family.starts_with("gemma");
    let mut name = name.strip_prefix("model.").unwrap_or(name).replace("layers.", "blk.");
    for (from, to) in [
        ("self_attn.qkv_proj", "attn_qkv"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", if gemma { "post_attention_norm" } else { "ffn_norm" }),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("embed_tokens", "token_embd"),
        ("lm_head", "output"),
    ] {
        name = name.replace(from, to);
    }
    if name == "norm.weight" { "output_norm.weight".to_owned() } else { name }
}

fn gguf_file(family: &str, arch: &str, config: &Value) -> Vec<u8> {
    let mut w = GgufWriter::new();
    let key = |field: &str| format!("{arch}.{field}");
    w.str("general.architecture", arch);
    for (field, name) in [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.sliding_window", "sliding_window"),
    ] {
        let windowless = field.ends_with("window") && family.starts_with("qwen");
        if let Some(n) = config[name].as_u64().filter(|_| !windowless) {
            w.u32(&key(field), n as u32);
        }
    }
    let number = |value: &Value| value.as_f64().map(|x| x as f32);
    let ropes = &config["rope_parameters"];
    let rope = if ropes["full_attention"].is_object() { &ropes["full_attention"] } else { ropes };
    for (field, value) in [
        ("attention.layer_norm_rms_epsilon", &config["rms_norm_eps"]),
        ("attn_logit_softcapping", &config["attn_logit_softcapping"]),
        ("final_logit_softcapping", &config["final_logit_softcapping"]),
        ("rope.freq_base", &rope["rope_theta"]),
        ("rope.scaling.factor", &rope["factor"]),
    ] {
        if let Some(x) = number(value) {
            w.f32(&key(field), x);
        }
    }
    if rope["rope_type"] == "linear" {
        w.str(&key("rope.scaling.type"), "linear");
    }
    if family == "gemma3" {
        w.u32(&key("attention.sliding_window_pattern"), 2);
    }
    let bytes = fs::read(dir(family).join("model.safetensors")).expect("weights");
    let file = SafeTensors::deserialize(&bytes).expect("parses");
    let tensors: Vec<GgufTensor> = file
        .iter()
        .map(|(name, tensor)| {
            let numbers = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            let one = if family.starts_with("gemma") && name.ends_with("norm.weight") { 1.0 } else { 0.0 };
            let mut numbers: Vec<f32> = numbers.map(|x| x + one).collect();
            let turned = ["llama", "smollm3"].contains(&arch);
            if turned && (name.contains("q_proj") || name.contains("k_proj")) {
                let head_dim = config["head_dim"].as_u64().unwrap_or(4) as usize;
                numbers = crate::common::interleaved(tensor.shape(), &numbers, head_dim);
            }
            let data = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            (gguf_name(family, name), tensor.shape().to_vec(), 0, data)
        })
        .collect();
    w.finish(&tensors)
}

/// The same configuration, and the same numbers: bit-equal logits.
#[test]
fn a_gguf_file_of_each_architecture_is_the_model_that_it_was_made_from() {
    for family in FAMILIES.into_iter().filter(|family| *family != "llama31") {
        let mut config: Value =
            serde_json::from_slice(&fs::read(dir(family).join("config.json")).expect("reads")).expect("JSON");
        let arch = gguf_form(family, &mut config);
        let bytes = gguf_file(family, arch, &config);
        let (hf, converted) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        fs::write(hf.path().join("config.json"), config.to_string()).expect("writes");
        fs::copy(dir(family).join("model.safetensors"), hf.path().join("model.safetensors")).expect("copies");
        let file = Gguf::from_bytes(Arc::new(bytes.clone())).expect("reads");
        let found = convert::from_gguf(&file).expect("converts").config;
        fs::write(converted.path().join("config.json"), found.to_string()).expect("writes");
        fs::write(converted.path().join("model.gguf"), &bytes).expect("writes");
        let expect = ModelConfig::parse(&config).expect("parses");
        assert_eq!(ModelConfig::parse(&found).expect("parses"), expect, "{family}");
        let [found, expect] = [converted, hf].map(|dir| {
            let decoder = Decoder::load(Arc::new(Reference::<f32>::new()), dir.path()).expect("loads");
            let packed: Packed = random_packed(&[12], 2);
            decoder.logits(None, &packed, &[0, 11], &mut Workspace::new(&decoder)).expect("logits")
        });
        assert!(found == expect && found.iter().all(|x| x.is_finite()), "{family}");
    }
}

#[test]
fn unknown_architectures_are_refused_with_the_list() {
    let mut w = GgufWriter::new();
    w.str("general.architecture", "mamba");
    let file = Gguf::from_bytes(Arc::new(w.finish(&[]))).expect("reads");
    assert_eq!(
        convert::from_gguf(&file).expect_err("refused").to_string(),
        "gguf: architecture \"mamba\" is not supported; supported are \"llama\", \"qwen2\", \"qwen3\", \
         \"smollm3\", \"gemma2\", \"gemma3\", \"phi3\""
    );
}
