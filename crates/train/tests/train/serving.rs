//! The tokenizer and the chat template that go with an adapter are those that it was trained with.

use std::fs;
use std::path::Path;

use hearth_data::tokenizer::{GgufTokenizer, config_from_gguf, from_gguf};
use hearth_data::{Renderer, Tokenizer};
use hearth_run::JobSpec;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// Puts a vocabulary of SentencePiece, which marks spaces in front of every text, into a base.
fn write_sentencepiece(base: &Path, model_type: &str, architecture: &str) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "[", "]", "/", "▁["].map(str::to_owned));
    tokens.extend(('a'..='z').chain('A'..='Z').map(String::from));
    let mut token_types = vec![1; tokens.len()];
    token_types[..3].copy_from_slice(&[2, 3, 3]);
    token_types[3..259].fill(6);
    let gguf = GgufTokenizer {
        model: "llama".to_owned(),
        // As `tokenizer.json` of these models has it: a mark before each piece of a text.
        architecture: "phi3".to_owned(),
        scores: (0..tokens.len()).map(|id| -(id as f64)).collect(),
        tokens,
        token_types,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        unknown_token_id: Some(0),
        ..Default::default()
    };
    fs::write(base.join("tokenizer.json"), from_gguf(&gguf).unwrap()).unwrap();
    let mut config: Value = serde_json::from_str(&config_from_gguf(&gguf).unwrap()).unwrap();
    config["tokenizer_class"] = json!("LlamaTokenizer");
    config["add_prefix_space"] = json!(true);
    config["legacy"] = json!(false);
    config["chat_template"] = json!(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %} [INST] {{ m.content }} [/INST]{% else %} \
         {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    );
    fs::write(base.join("tokenizer_config.json"), config.to_string()).unwrap();
    let path = base.join("config.json");
    let mut model: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    model["model_type"] = json!(model_type);
    model["architectures"] = json!([architecture]);
    fs::write(path, model.to_string()).unwrap();
}

#[test]
fn the_tokenizer_of_an_adapter_is_that_of_its_base() {
    let text = "<s> [INST] sky [/INST] blue</s> [INST] a";
    let ids = |dir: &Path| Tokenizer::open(dir).unwrap().encode(text).unwrap();
    let mut seen = Vec::new();
    for (model_type, architecture) in [("mistral", "MistralForCausalLM"), ("llama", "LlamaForCausalLM")] {
        let fixture = Fixture::new();
        let base = fixture.path("model");
        write_sentencepiece(&base, model_type, architecture);
        let ended = fixture.run("run", &JobSpec { epochs: 1, ..fixture.job() });
        ended.output();
        assert_eq!(ids(&ended.dir.output_path()), ids(&base), "{model_type}");
        seen.push(ids(&base));
    }
    // Or the test could not fail.
    assert_ne!(seen[0], seen[1]);
}

/// Which prompts are trained is seen in rows of which some samples are left out, too, wherever they stand.
#[test]
fn rows_that_are_used_in_part_are_looked_at() {
    let fixture = Fixture::new();
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
        {% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n\
        {% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}";
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let long = "very ".repeat(90);
    let too_long = json!({"messages": [say("user", &long), say("assistant", &long)]}).to_string();
    let in_part = json!({"messages": [
        say("user", "sky"), say("assistant", "blue"), say("user", &long), say("assistant", &long)]});
    let mut rows = vec![too_long; 70];
    rows.extend(vec![in_part.to_string(); 4]);
    fixture.write_rows("train.jsonl", &rows);
    let job = JobSpec {
        chat_template: Some(template.to_owned()),
        eval_files: vec![],
        epochs: 1,
        max_context_length: 128,
        ..fixture.job()
    };
    let ended = fixture.run("run", &job);
    ended.output();
    let renderer = Renderer::open(&ended.dir.output_path(), None).unwrap();
    assert_ne!(renderer.template().unwrap().source(), template);
    let samples = renderer.render(&hearth_data::Row::from_text(1, &rows[70]).unwrap(), 128).unwrap();
    assert_eq!((samples.samples.len(), samples.too_long.len()), (1, 1));
}
