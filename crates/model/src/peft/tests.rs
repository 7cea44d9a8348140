//! What an adapter's configuration may ask for.

use serde_json::{Value, json};

use super::{adapter_config, canonical, parse_config};
use crate::config::Module;
use crate::error::Error;
use crate::lora::LoraConfig;

fn example() -> LoraConfig {
    LoraConfig { r: 8, alpha: 16.0, target_modules: vec![Module::Q, Module::Down] }
}

/// Parses the written form with one field changed; gives the error's text or "ok".
fn check(field: &str, value: Value, expect: &str) {
    let mut json = adapter_config(&example(), "base");
    json[field] = value;
    let shown =
        |problems: Vec<Error>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let found = parse_config(&json, &Module::ALL).map_or_else(shown, |_| "ok".to_owned());
    assert_eq!(found, expect);
}

#[test]
fn what_is_written_is_read() {
    let config = parse_config(&adapter_config(&example(), "base"), &Module::ALL).expect("reads");
    assert_eq!((config.r, config.alpha), (8, 16.0));
    assert_eq!(config.target_modules, [Module::Down, Module::Q]);
}

#[test]
fn what_changes_the_computation_is_refused_by_name() {
    check("use_dora", json!(true), "adapter_config.json: use_dora: true is not supported, only its default");
    check("use_rslora", json!(1), "adapter_config.json: use_rslora: 1 is not supported, only true and false");
    check("use_rslora", json!(true), "ok");
    check(
        "modules_to_save",
        json!(["lm_head"]),
        "adapter_config.json: modules_to_save: [\"lm_head\"] is not supported, only its default",
    );
    check("bias", json!("all"), "adapter_config.json: bias: \"all\" is not supported, only \"none\"");
    check(
        "rank_pattern",
        json!({"q_proj": 4}),
        "adapter_config.json: rank_pattern: {\"q_proj\":4} is not supported, only its default",
    );
    check("r", json!(0), "adapter_config.json: r: 0 is not supported, only a whole number from 1 to 1024");
    check(
        "init_lora_weights",
        json!("pissa"),
        "adapter_config.json: init_lora_weights: \"pissa\" is not supported, only true, false, \"gaussian\", \
         \"eva\" and \"orthogonal\"",
    );
    check(
        "target_modules",
        json!(["q_proj", "embed_tokens"]),
        "adapter_config.json: target_modules: \"embed_tokens\" is not a linear layer of this architecture",
    );
    check("target_modules", json!(["self_attn.q_proj"]), "ok");
    check("modules_to_save", json!([]), "ok");
    check("lora_dropout", json!(0.05), "ok");
}

#[test]
fn rslora_is_the_scale_that_it_means() {
    let mut json = adapter_config(&LoraConfig { r: 16, alpha: 8.0, ..example() }, "base");
    assert_eq!(parse_config(&json, &Module::ALL).expect("reads").alpha, 8.0);
    json["use_rslora"] = json!(true);
    // 8 / sqrt(16) is 32 / 16.
    assert_eq!(parse_config(&json, &Module::ALL).expect("reads").alpha, 32.0);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let json = json!({"peft_type": "IA3", "r": 0, "lora_alpha": -1, "target_modules": ["a", "q_proj", "b"]});
    let fields: Vec<String> = parse_config(&json, &Module::ALL)
        .expect_err("refuses")
        .into_iter()
        .map(|error| match error {
            Error::Adapter { field, .. } => field,
            other => other.to_string(),
        })
        .collect();
    assert_eq!(fields, ["peft_type", "r", "lora_alpha", "target_modules", "target_modules"]);
}

#[test]
fn names_of_older_writers_mean_the_same_tensor() {
    const NEW: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    for name in [
        NEW,
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
        "base_model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "layers.0.self_attn.q_proj.lora_A.default.weight",
    ] {
        assert_eq!(canonical(name), NEW, "{name}");
    }
    assert_ne!(canonical("model.layers.0.self_attn.q_proj.bias.default.weight"), NEW);
}
