//! What is read from `config.json`, and what is refused by name.

use serde_json::{Value, json};

use hearth_kernels::backend::Activation;

use super::{ModelConfig, Module};
use crate::rope::{Rope, RopeScaling};

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
    assert_eq!(config.ropes, [Rope { theta: 100_000.0, scaling: RopeScaling::Default }]);
}

#[test]
fn unsupported_values_are_named() {
    check("hidden_act", json!("gelu"), "config.json: hidden_act: \"gelu\" is not supported, only \"silu\"");
    check(
        "architectures",
        json!(["MixtralForCausalLM"]),
        "config.json: architectures: MixtralForCausalLM is not supported; supported are LlamaForCausalLM, \
         MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, SmolLM3ForCausalLM, Gemma2ForCausalLM, \
         Gemma3ForCausalLM, Phi3ForCausalLM",
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
    assert_eq!(config.ropes, [Rope { theta: 5000.0, scaling: RopeScaling::Linear { factor: 2.0 } }]);
}

/// The example as another class, with some fields changed; null removes a field.
fn family(class: &str, changes: Value) -> Result<ModelConfig, String> {
    let mut json = llama();
    json["architectures"] = json!([class]);
    for (field, value) in changes.as_object().expect("an object") {
        json[field] = value.clone();
    }
    json.as_object_mut()
        .expect("object")
        .retain(|field, value| !(value.is_null() && changes[field].is_null()));
    ModelConfig::parse(&json).map_err(|e| e.to_string())
}

/// The windows of the first blocks.
fn windows(config: &ModelConfig) -> [Option<usize>; 6] {
    std::array::from_fn(|l| config.layers[l].window)
}

#[test]
fn windows_go_with_the_family() {
    let config = family("MistralForCausalLM", json!({"sliding_window": 100})).expect("parses");
    assert_eq!((config.model_type.as_str(), windows(&config)), ("mistral", [Some(100); 6]));
    let qwen = json!({"sliding_window": 7, "max_window_layers": 4});
    assert_eq!(windows(&family("Qwen2ForCausalLM", qwen.clone()).expect("parses")), [None; 6]);
    let mut used = qwen;
    used["use_sliding_window"] = json!(true);
    let expect = [None, None, None, None, Some(7), Some(7)];
    assert_eq!(
        windows(
            &family("Qwen3ForCausalLM", {
                used["head_dim"] = json!(64);
                used
            })
            .expect("parses")
        ),
        expect
    );
    let phi3 = family("Phi3ForCausalLM", json!({"sliding_window": 2047})).expect("parses");
    assert_eq!(windows(&phi3), [Some(2047); 6]);
    let error = family("Gemma2ForCausalLM", json!({"head_dim": 64, "layer_types": ["full_attention"]}));
    let expect = Err("config.json: layer_types: has 1 entries for 30 blocks".to_owned());
    assert_eq!(error.map(|_| ()), expect);
}

#[test]
fn biases_and_norms_go_with_the_family() {
    let biased = |config: &ModelConfig| -> Vec<&str> {
        Module::ALL.iter().filter(|&&m| config.bias[m as usize]).map(|m| m.name()).collect()
    };
    let qwen2 = family("Qwen2ForCausalLM", json!({})).expect("parses");
    assert_eq!(biased(&qwen2), ["q_proj", "k_proj", "v_proj"]);
    let qwen3 = family("Qwen3ForCausalLM", json!({"head_dim": 128})).expect("parses");
    assert_eq!((biased(&qwen3).len(), qwen3.qk_norm, qwen3.q_dim()), (0, true, 9 * 128));
    let error = family("Qwen3ForCausalLM", json!({})).expect_err("refused");
    assert_eq!(error, "config.json: head_dim: missing");
}

#[test]
fn smollm3_leaves_some_blocks_without_rotation() {
    let rotates = |changes| -> Vec<bool> {
        let config = family("SmolLM3ForCausalLM", changes).expect("parses");
        config.layers[..5].iter().map(|layer| layer.rope.is_some()).collect()
    };
    assert_eq!(rotates(json!({})), [true, true, true, false, true]);
    assert_eq!(rotates(json!({"no_rope_layer_interval": 2})), [true, false, true, false, true]);
    let mut list = vec![1; 30];
    list[0] = 0;
    assert_eq!(rotates(json!({"no_rope_layers": list})), [false, true, true, true, true]);
}

#[test]
fn gemma_has_its_own_scales_norms_and_caps() {
    let changes = json!({"head_dim": 256, "tie_word_embeddings": null, "query_pre_attn_scalar": 144});
    let gemma2 = family("Gemma2ForCausalLM", changes).expect("parses");
    assert_eq!(
        (gemma2.activation, gemma2.sandwich_norms, gemma2.qk_norm),
        (Activation::GeluTanh, true, false)
    );
    assert_eq!((gemma2.attention_softcap, gemma2.final_softcap), (Some(50.0), Some(30.0)));
    assert_eq!((gemma2.attention_scale, gemma2.embed_scale), (1.0 / 12.0, 24.0));
    assert!(gemma2.tie_word_embeddings && gemma2.norm_offset);
    assert_eq!(windows(&gemma2)[..3], [Some(4096), None, Some(4096)]);

    // As in published files of before `rope_parameters`.
    let changes = json!({
        "head_dim": 256, "rope_theta": 1_000_000, "rope_local_base_freq": 10_000, "sliding_window": 512,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}
    });
    let old = family("Gemma3ForCausalLM", changes).expect("parses");
    let ropes = [
        Rope { theta: 1_000_000.0, scaling: RopeScaling::Linear { factor: 8.0 } },
        Rope { theta: 10_000.0, scaling: RopeScaling::Default },
    ];
    assert_eq!((old.ropes.as_slice(), old.qk_norm), (ropes.as_slice(), true));
    assert_eq!(windows(&old), [Some(512), Some(512), Some(512), Some(512), Some(512), None]);
    assert_eq!((old.layers[4].rope, old.layers[5].rope), (Some(1), Some(0)));
    let changes = json!({
        "head_dim": 256, "rope_theta": null, "sliding_window": 512, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}
        }
    });
    assert_eq!(family("Gemma3ForCausalLM", changes).expect("parses"), old);
    let error = family("Gemma3ForCausalLM", json!({"head_dim": 256, "use_bidirectional_attention": true}));
    let expect = "config.json: use_bidirectional_attention: true is not supported, only false";
    assert_eq!(error.expect_err("refused"), expect);
}

#[test]
fn phi3_has_fused_linears_and_turns_whole_heads() {
    let config = family("Phi3ForCausalLM", json!({})).expect("parses");
    assert_eq!(config.linears(), [Module::Qkv, Module::O, Module::GateUp, Module::Down]);
    assert_eq!((config.shape(Module::Qkv), config.shape(Module::GateUp)), ((960, 576), (3072, 576)));
    let llama = ModelConfig::parse(&llama()).expect("parses");
    assert_eq!(config.parameter_count(), llama.parameter_count());
    let error = family("Phi3ForCausalLM", json!({"partial_rotary_factor": 0.75})).expect_err("refused");
    assert_eq!(error, "config.json: partial_rotary_factor: 0.75 is not supported, only 1");
    let error =
        family("Phi3ForCausalLM", json!({"rope_scaling": {"type": "longrope"}})).expect_err("refused");
    let expect = "config.json: rope_scaling.type: \"longrope\" is not supported, only \"default\", \"linear\" and \"llama3\"";
    assert_eq!(error, expect);
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
