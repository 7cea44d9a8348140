//! Writes the first inputs of every target into `corpus/`, made from the tiny models of the tests of hearth-model.

use std::fs;
use std::path::Path;

use hearth_fuzz::common::{GgufWriter, Tensors, Tiny, tiny_gguf, write_safetensors};
use hearth_fuzz::{SEPARATOR, directory};
use serde_json::{Value, json};

const CLASSES: [&str; 8] = [
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Phi3ForCausalLM",
];

/// A row of every kind.
const ROWS: [&str; 6] = [
    r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}, {"role": "user", "content": [{"type": "text", "text": "\ud83d\ude00"}]}, {"role": "assistant", "content": "b"}], "weight": 0.5}"#,
    r#"{"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "a": null, "b": 1.50}}}], "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1, 2.0, true]}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "t"}, {"role": "assistant", "reasoning_content": "hm", "content": "a"}]}"#,
    r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "r"}, {"from": "gpt", "value": "a"}]}"#,
    r#"{"functions": [{"name": "f"}], "messages": [{"role": "developer", "content": "s"}, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, {"role": "function", "name": "f", "content": "r"}, {"role": "assistant", "content": "a"}]}"#,
    r#"{"prompt": "p", "completion": "c"}"#,
    r#"{"text": "t"}"#,
];

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let dir = corpus.join(target);
        fs::create_dir_all(&dir).expect("makes the directory");
        fs::write(dir.join(name), bytes).expect("writes");
    };
    for (i, class) in CLASSES.into_iter().enumerate() {
        write("config", &format!("class-{i}"), config(class).to_string().as_bytes());
    }
    for (bias, name) in [(false, "plain"), (true, "bias")] {
        let tiny = Tiny { tied: !bias, bias };
        let config = tiny.config().to_string().into_bytes();
        let (gguf, single) = (tiny_gguf(tiny), safetensors(&tiny.tensors()));
        write("gguf", name, &gguf);
        write("model_dir", &format!("gguf-{name}"), &joined(&[&config, &gguf]));
        write("model_dir", &format!("safetensors-{name}"), &joined(&[&config, &single]));
        write("safetensors", &format!("single-{name}"), &joined(&[b"", &single]));
        write("safetensors", &format!("shards-{name}"), &shards(tiny.tensors()));
    }
    write("gguf", "quantised", &quantised());
    for (i, row) in ROWS.into_iter().enumerate() {
        write("rows", &format!("row-{i}"), format!("{row}\n").repeat(3).as_bytes());
        for (j, template) in templates().iter().enumerate() {
            write("template", &format!("template-{j}-{i}"), &joined(&[template.as_bytes(), row.as_bytes()]));
        }
    }
}

/// The templates that the tests of hearth-data render with.
fn templates() -> Vec<String> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/data/tests/fixtures/golden.json");
    let golden: Value = serde_json::from_slice(&fs::read(fixtures).expect("reads")).expect("JSON");
    let renderings = golden["renderings"].as_array().expect("a list");
    renderings.iter().map(|one| one["template"].as_str().expect("a text").to_owned()).collect()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.join(SEPARATOR)
}

fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let dir = directory();
    let path = dir.path().join("weights");
    write_safetensors(&path, tensors);
    fs::read(path).expect("reads")
}

fn shards(mut tensors: Tensors) -> Vec<u8> {
    let second = tensors.split_off(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (part, file) in [(&tensors, "1.safetensors"), (&second, "2.safetensors")] {
        map.extend(part.iter().map(|(name, _, _)| (name.clone(), json!(file))));
    }
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    joined(&[index.as_bytes(), &safetensors(&tensors), &safetensors(&second)])
}

/// A tensor of every type, and metadata of the other kinds.
fn quantised() -> Vec<u8> {
    let mut writer = GgufWriter::new();
    writer.str("general.architecture", "gemma3");
    writer.u32("general.alignment", 32);
    let types = [
        (0, 1, 4),
        (1, 1, 2),
        (2, 32, 18),
        (3, 32, 20),
        (6, 32, 22),
        (7, 32, 24),
        (8, 32, 34),
        (12, 256, 144),
    ];
    let tensors: Vec<_> = types
        .into_iter()
        .chain([(13, 256, 176), (14, 256, 210), (30, 1, 2)])
        .map(|(kind, cols, bytes)| (format!("t{kind}"), vec![2, cols], kind, vec![0; 2 * bytes]))
        .collect();
    writer.finish(&tensors)
}

/// A configuration with every field that any family reads.
fn config(class: &str) -> Value {
    let mut json = Tiny { tied: false, bias: true }.config();
    json["architectures"] = json!([class]);
    let gemma = class.starts_with("Gemma");
    for (field, value) in [
        ("mlp_bias", json!(false)),
        ("use_sliding_window", json!(true)),
        ("sliding_window", json!(16)),
        ("max_window_layers", json!(1)),
        ("layer_types", json!(["full_attention", "sliding_attention"])),
        ("query_pre_attn_scalar", json!(8)),
        ("attn_logit_softcapping", json!(50.0)),
        ("final_logit_softcapping", json!(30.0)),
        ("sliding_window_pattern", json!(2)),
        ("no_rope_layers", json!([1, 0])),
        ("no_rope_layer_interval", json!(4)),
        ("rope_local_base_freq", json!(10_000.0)),
        (
            if gemma { "hidden_activation" } else { "hidden_act" },
            json!(if gemma { "gelu_pytorch_tanh" } else { "silu" }),
        ),
        (
            "rope_scaling",
            json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 32}),
        ),
    ] {
        json[field] = value;
    }
    json
}
