//! What is read from `config.json`, and what is refused by name.

use serde_json::{Value, json};

use super::ModelConfig;
use crate::rope::RopeScaling;

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "rms_norm_eps": 1e-5, "rope_theta": 100000, "rope_scaling": null,
        "tie_word_embeddings": true, "vocab_size": 49152, "max_position_embeddings": 8192
    })
}

/// Parses the example with one field changed; gives the error's text or "ok".
fn check(field: &str, value: Value, expect: &str) {
    let mut json = llama();
    json[field] = value;
    let found = ModelConfig::parse(&json).map_or_else(|e| e.to_string(), |_| "ok".to_owned());
    assert_eq!(found, expect);
}

#[test]
fn smollm2_is_read() {
    let config = ModelConfig::parse(&llama()).expect("parses");
    assert_eq!((config.head_dim, config.q_dim(), config.kv_dim()), (64, 576, 192));
    assert_eq!(config.parameter_count(), 134_515_008);
    assert_eq!(config.rope_theta, 100_000.0);
}

#[test]
fn unsupported_values_are_named() {
    check("hidden_act", json!("gelu"), "config.json: hidden_act: \"gelu\" is not supported, only \"silu\"");
    check(
        "architectures",
        json!(["MixtralForCausalLM"]),
        "config.json: architectures: MixtralForCausalLM is not supported; supported are LlamaForCausalLM, \
         MistralForCausalLM, Qwen2ForCausalLM",
    );
    check(
        "rope_scaling",
        json!({"rope_type": "yarn", "factor": 4.0}),
        "config.json: rope_scaling.rope_type: \"yarn\" is not supported, only \"default\", \"linear\" and \"llama3\"",
    );
    check(
        "hidden_size",
        json!(0),
        "config.json: hidden_size: expected a whole number from 1 to 16777216, found 0",
    );
    check(
        "num_key_value_heads",
        json!(2),
        "config.json: num_key_value_heads: 2 does not divide num_attention_heads 9",
    );
    check("num_hidden_layers", json!(1 << 20), "config.json: num_hidden_layers: 1048576 is more than 4096");
    check("head_dim", json!(1 << 22), "config.json: head_dim: 4194304 times 9 heads is more than 16777216");
    check("vocab_size", Value::Null, "config.json: vocab_size: missing");
    check(
        "quantization_config",
        json!({"bits": 4}),
        "config.json: quantization_config: {\"bits\":4} is not supported, only null",
    );
    check("rope_theta", json!("x"), "config.json: rope_theta: expected a number above 1, found \"x\"");
    check("attention_bias", json!(true), "ok");
}

#[test]
fn both_styles_of_rope_settings() {
    let mut json = llama();
    json.as_object_mut().expect("object").remove("rope_theta");
    json["rope_parameters"] = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0});
    let config = ModelConfig::parse(&json).expect("parses");
    assert_eq!((config.rope_theta, config.rope_scaling), (5000.0, RopeScaling::Linear { factor: 2.0 }));
}

#[test]
fn mistral_and_qwen2_are_llamas_with_small_differences() {
    let with = |class: &str, field: &str, value: Value| {
        let mut json = llama();
        json["architectures"] = json!([class]);
        json[field] = value;
        ModelConfig::parse(&json).map_err(|e| e.to_string())
    };
    let mistral = with("MistralForCausalLM", "sliding_window", Value::Null).expect("parses");
    assert_eq!((mistral.model_type.as_str(), mistral.bias), ("mistral", [false; 7]));
    let refused = with("MistralForCausalLM", "sliding_window", json!(4096)).expect_err("refused");
    assert_eq!(refused, "config.json: sliding_window: 4096 is not supported, only null");
    let qwen2 = with("Qwen2ForCausalLM", "use_sliding_window", json!(false)).expect("parses");
    assert_eq!(qwen2.bias, [true, true, true, false, false, false, false]);
}

#[test]
fn the_largest_numbers_are_counted_without_overflow() {
    let mut json = llama();
    let largest = json!(1 << 24);
    for field in ["hidden_size", "intermediate_size", "vocab_size"] {
        json[field] = largest.clone();
    }
    json["num_hidden_layers"] = json!(1 << 12);
    json["num_attention_heads"] = json!(1 << 23);
    json["num_key_value_heads"] = json!(1 << 23);
    json["head_dim"] = json!(2);
    json["tie_word_embeddings"] = json!(false);
    let config = ModelConfig::parse(&json).expect("parses");
    assert_eq!(config.parameter_count(), (7 << 60) + (1 << 37) + (1 << 49) + (1 << 24));
}
