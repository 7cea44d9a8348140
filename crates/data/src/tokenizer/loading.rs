//! What transformers changes in a `tokenizer.json` when it loads a model directory.
//!
//! It makes tokenizers of the class `LlamaTokenizer` anew of their vocabulary and merges, with other rules for spaces. It does
//! so for other classes too, whose rules then are the same ones (`docs/templates.md`).

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::error::Error;

/// Types of models whose `tokenizer.json` it takes as it is, whatever the class.
const AS_THEY_ARE: [&str; 2] = ["mistral", "phi3"];

/// The text of the `tokenizer.json` that encodes as transformers does, by `tokenizer_config.json` and `config.json`.
pub(super) fn as_loaded<'a>(text: &'a str, config: &Value, model: &Value) -> Result<Cow<'a, str>, Error> {
    if !is_made_anew(class(config, model)) || is_taken_as_it_is(model) {
        return Ok(text.into());
    }
    let mut tokenizer: Value = serde_json::from_str(text)
        .map_err(|source| Error::tokenizer_from("tokenizer.json is not JSON", source))?;
    // Vocabularies of bytes have no such rules: Llama 3 and DeepSeek.
    let of_bytes = ["pre_tokenizer", "decoder"].iter().any(|part| has_type(&tokenizer[part], "ByteLevel"));
    let (Some(parts), false) = (tokenizer.as_object_mut(), of_bytes) else { return Ok(text.into()) };
    let prefix = config["add_prefix_space"].as_bool().unwrap_or(true);
    let scheme = match (prefix, config["legacy"].as_bool().unwrap_or(false)) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    parts.insert("normalizer".into(), Value::Null);
    parts.insert(
        "pre_tokenizer".into(),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false}),
    );
    parts.insert("decoder".into(), json!({"type": "Sequence", "decoders": decoders}));
    if let Some(model) = parts.get_mut("model").and_then(Value::as_object_mut) {
        for (name, value) in [("fuse_unk", true), ("byte_fallback", true), ("ignore_merges", false)] {
            model.insert(name.into(), Value::Bool(value));
        }
        model.insert("unk_token".into(), Value::Null);
    }
    Ok(tokenizer.to_string().into())
}

/// The class that a `tokenizer_config.json` needs to mean the same where there is no `config.json` beside it, as in the
/// directory of an adapter; `None` if it needs no other.
pub fn class_alone<'a>(config: &Value, model: &'a Value) -> Option<&'a str> {
    if is_made_anew(class(config, model)) && is_taken_as_it_is(model) {
        return Some("PreTrainedTokenizerFast");
    }
    let of_model = model["tokenizer_class"].as_str();
    of_model.filter(|_| !config["tokenizer_class"].is_string())
}

fn class<'a>(config: &'a Value, model: &'a Value) -> &'a str {
    [config, model].iter().find_map(|file| file["tokenizer_class"].as_str()).unwrap_or_default()
}

fn is_made_anew(class: &str) -> bool {
    class.strip_suffix("Fast").unwrap_or(class) == "LlamaTokenizer"
}

fn is_taken_as_it_is(model: &Value) -> bool {
    model["model_type"].as_str().is_some_and(|name| AS_THEY_ARE.contains(&name))
}

/// Whether a part, or one of those that it is made of, has this type.
fn has_type(part: &Value, name: &str) -> bool {
    let inner =
        |key: &str| part[key].as_array().is_some_and(|parts| parts.iter().any(|part| has_type(part, name)));
    part["type"] == name || inner("pretokenizers") || inner("decoders")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme(config: Value, model: Value, tokenizer: Value) -> Option<String> {
        let text = tokenizer.to_string();
        let loaded = as_loaded(&text, &config, &model).expect("it loads");
        let loaded: Value = serde_json::from_str(&loaded).expect("JSON");
        loaded["pre_tokenizer"]["prepend_scheme"].as_str().map(str::to_owned)
    }

    #[test]
    fn a_class_alone_means_what_it_means_beside_the_model() {
        let llama = json!({"tokenizer_class": "LlamaTokenizer"});
        assert_eq!(class_alone(&llama, &json!({"model_type": "mistral"})), Some("PreTrainedTokenizerFast"));
        assert_eq!(class_alone(&llama, &json!({"model_type": "llama"})), None);
        assert_eq!(class_alone(&Value::Null, &llama), Some("LlamaTokenizer"));
        assert_eq!(class_alone(&json!({"tokenizer_class": "GPT2Tokenizer"}), &llama), None);
    }

    #[test]
    fn spaces_go_with_the_class_and_its_settings() {
        let pieces = json!({"model": {"type": "BPE"}, "decoder": {"type": "Fuse"}});
        let check = |config: Value, model: Value, expect: Option<&str>| {
            assert_eq!(scheme(config.clone(), model, pieces.clone()).as_deref(), expect, "{config}");
        };
        let llama = json!({"model_type": "llama"});
        check(json!({"tokenizer_class": "LlamaTokenizer"}), llama.clone(), Some("first"));
        check(
            json!({"tokenizer_class": "LlamaTokenizerFast", "legacy": true}),
            llama.clone(),
            Some("always"),
        );
        check(
            json!({"tokenizer_class": "LlamaTokenizer", "add_prefix_space": false}),
            Value::Null,
            Some("never"),
        );
        check(json!({"tokenizer_class": "PreTrainedTokenizerFast"}), llama.clone(), None);
        check(json!({"tokenizer_class": "LlamaTokenizer"}), json!({"model_type": "mistral"}), None);
        check(
            Value::Null,
            json!({"model_type": "llama", "tokenizer_class": "LlamaTokenizer"}),
            Some("first"),
        );
        let bytes = json!({"decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]}});
        assert_eq!(scheme(json!({"tokenizer_class": "LlamaTokenizer"}), llama, bytes), None);
    }
}
