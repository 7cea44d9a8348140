//! Model files: GGUF against safetensors, shards, damage.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{GgufWriter, Rng, Tiny, random_lora, random_packed, tiny_gguf};
use hearth_kernels::Reference;
use hearth_model::gguf::Gguf;
use hearth_model::{Decoder, Lora, ModelConfig, Module, Workspace, convert, inspect_base, inspect_peft};
use serde_json::json;

const TINY: Tiny = Tiny { tied: false, bias: true };

fn logits(dir: &Path) -> Vec<f32> {
    let decoder = Decoder::load(Arc::new(Reference::<f32>::new()), dir).expect("loads");
    let packed = random_packed(&[5, 3], 1);
    decoder.logits(None, &packed, &[0, 4, 7], &mut Workspace::new(&decoder)).expect("logits")
}

fn load_error(dir: &Path) -> String {
    Decoder::load(Arc::new(Reference::<f32>::new()), dir).err().expect("must not load").to_string()
}

/// The same numbers, with the rows of q and k put back: bit-equal logits, and the same configuration.
#[test]
fn a_gguf_file_is_the_model_that_it_was_made_from() {
    let (hf, converted) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    TINY.write(hf.path());
    let file = Gguf::from_bytes(Arc::new(tiny_gguf(TINY))).expect("reads");
    let found = convert::from_gguf(&file).expect("converts");
    fs::write(converted.path().join("config.json"), found.config.to_string()).expect("writes");
    fs::write(converted.path().join("model.gguf"), tiny_gguf(TINY)).expect("writes");
    assert_eq!(logits(converted.path()), logits(hf.path()));

    let expect = ModelConfig::parse(&TINY.config()).expect("parses");
    assert_eq!(ModelConfig::parse(&found.config).expect("parses"), expect);
    assert_eq!(found.name.as_deref(), Some("Tiny"));
    let tokenizer = found.tokenizer;
    assert_eq!(tokenizer.model, "gpt2");
    assert_eq!(tokenizer.tokens, ["a", "b", "ab", "<end>"]);
    assert_eq!(tokenizer.token_types, [1, 1, 1, 3]);
    assert_eq!(tokenizer.merges, ["a b"]);
    assert_eq!((tokenizer.eos_token_id, tokenizer.bos_token_id), (Some(3), None));
    assert_eq!(tokenizer.add_bos_token, Some(false));
    assert_eq!(tokenizer.chat_template.as_deref(), Some("{{ messages }}"));
}

#[test]
fn shards_are_the_single_file() {
    let (single, sharded) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    TINY.write(single.path());
    fs::write(sharded.path().join("config.json"), TINY.config().to_string()).expect("writes");
    let mut map = serde_json::Map::new();
    let mut tensors = TINY.tensors();
    for i in 0..2 {
        let part = tensors.split_off(if i == 0 { tensors.len() / 2 } else { 0 });
        let file = format!("model-0000{}-of-00002.safetensors", i + 1);
        for (name, _, _) in &part {
            map.insert(name.clone(), json!(file));
        }
        crate::common::write_safetensors(&sharded.path().join(file), &part);
    }
    let index = sharded.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"metadata": {}, "weight_map": map}).to_string()).expect("writes");
    assert_eq!(logits(sharded.path()), logits(single.path()));

    map.insert("lm_head.weight".to_owned(), json!("../elsewhere.safetensors"));
    fs::write(&index, json!({"weight_map": map}).to_string()).expect("writes");
    assert!(load_error(sharded.path()).ends_with("not a .safetensors file in the same directory"));
}

#[test]
fn wrong_tensors_are_named() {
    let check = |change: &dyn Fn(&mut crate::common::Tensors), expect: &str| {
        let dir = tempfile::tempdir().expect("dir");
        TINY.write(dir.path());
        let mut tensors = TINY.tensors();
        change(&mut tensors);
        crate::common::write_safetensors(&dir.path().join("model.safetensors"), &tensors);
        assert_eq!(load_error(dir.path()), expect);
    };
    check(&|t| t.retain(|(name, _, _)| name != "model.norm.weight"), "tensor model.norm.weight: missing");
    check(
        &|t| t.push(("model.layers.0.self_attn.q_norm.weight".into(), vec![8], vec![0.0; 8])),
        "tensor model.layers.0.self_attn.q_norm.weight: is not part of a llama model with this config.json",
    );
    check(
        &|t| {
            t.iter_mut()
                .filter(|(name, _, _)| name.ends_with("1.mlp.up_proj.weight"))
                .for_each(|t| t.1.reverse())
        },
        "tensor model.layers.1.mlp.up_proj.weight: shape is [16, 24], config.json asks for [24, 16]",
    );
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("config.json"), TINY.config().to_string()).expect("writes");
    assert!(load_error(dir.path()).ends_with("holds no weights (model.gguf or model.safetensors)"));
}

/// Loading stops at the first error; an inspection names all of them.
#[test]
fn an_inspection_names_every_tensor_that_is_wrong() {
    let dir = tempfile::tempdir().expect("dir");
    TINY.write(dir.path());
    assert_eq!(inspect_base(dir.path()).expect("fine"), ModelConfig::read(dir.path()).expect("reads"));
    let mut tensors = TINY.tensors();
    tensors.retain(|(name, _, _)| name != "model.norm.weight");
    tensors.iter_mut().filter(|t| t.0.ends_with("1.mlp.up_proj.weight")).for_each(|t| t.1.reverse());
    tensors.iter_mut().filter(|t| t.0.ends_with("0.mlp.up_proj.weight")).for_each(|t| t.2[3] = f32::NAN);
    tensors.push(("model.extra.weight".into(), vec![2], vec![0.0; 2]));
    crate::common::write_safetensors(&dir.path().join("model.safetensors"), &tensors);
    let problems: Vec<String> =
        inspect_base(dir.path()).expect_err("refused").iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems[0].starts_with("tensor model.layers.0.mlp.up_proj.weight: the number at [0, 3]"));
    assert_eq!(problems[1], "tensor model.norm.weight: missing");
    assert!(problems[2].starts_with("tensor model.layers.1.mlp.up_proj.weight: shape is"));
    assert!(problems[3].starts_with("tensor model.extra.weight: is not part of"));
}

#[test]
fn an_inspection_of_an_adapter_names_all_too() {
    let decoder = TINY.load(Arc::new(Reference::<f32>::new()));
    let dir = tempfile::tempdir().expect("dir");
    random_lora(&decoder, &[Module::Q, Module::Down], 2, 3).save_peft(dir.path(), "tiny").expect("saves");
    assert_eq!(inspect_peft(decoder.config(), dir.path()).expect("fine").r, 2);
    let path = dir.path().join("adapter_config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("reads")).expect("JSON");
    config["target_modules"] = json!(["q_proj", "k_proj"]);
    fs::write(&path, config.to_string()).expect("writes");
    let problems = inspect_peft(decoder.config(), dir.path()).expect_err("refused");
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    // Two blocks, A and B: k_proj is missing, down_proj was not asked for.
    assert_eq!(
        text.iter().filter(|t| t.contains("k_proj") && t.ends_with("missing from the adapter")).count(),
        4
    );
    assert_eq!(
        text.iter().filter(|t| t.contains("down_proj") && t.contains("is not a LoRA tensor")).count(),
        4
    );
    config["use_dora"] = json!(true);
    fs::write(&path, config.to_string()).expect("writes");
    assert_eq!(inspect_peft(decoder.config(), dir.path()).expect_err("refused").len(), 1);
    fs::write(dir.path().join("adapter_model.safetensors"), b"x").expect("writes");
    assert_eq!(inspect_peft(decoder.config(), dir.path()).expect_err("refused").len(), 2);
}

/// Reads everything that a damaged file still offers. Errors are fine; a panic fails the test.
/// Returns whether the file was readable.
fn survive(bytes: Vec<u8>) -> bool {
    let Ok(file) = Gguf::from_bytes(Arc::new(bytes)) else { return false };
    for name in file.tensors().keys() {
        if let Ok(matrix) = file.matrix(name) {
            assert!(!matrix.bytes().is_empty());
        }
    }
    if let Ok(converted) = convert::from_gguf(&file) {
        let _ = ModelConfig::parse(&converted.config);
    }
    true
}

#[test]
fn damaged_gguf_files_never_panic() {
    let good = tiny_gguf(TINY);
    assert!(survive(good.clone()));
    for len in 0..good.len() {
        assert!(!survive(good[..len].to_vec()), "a file cut at {len} of {} cannot be whole", good.len());
    }
    // The header (metadata and tensor table) is what a reader acts on; the data behind it is only numbers.
    let header = good.windows(5).rposition(|w| w == b".bias").expect("last name") + 40;
    for at in 0..header.min(good.len()) {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff, good[at] ^ 0x01, good[at] ^ 0x10] {
            let mut bad = good.clone();
            bad[at] = value;
            survive(bad);
        }
    }
    let mut rng = Rng(1);
    for _ in 0..5_000 {
        let mut bad = good.clone();
        for _ in 0..1 + rng.below(8) {
            let at = rng.below(header);
            // Runs of equal bytes make the largest counts and lengths.
            let end = (at + 1 + rng.below(9)).min(bad.len());
            let value = [0x00, 0xff, rng.next() as u8][rng.below(3)];
            bad[at..end].fill(value);
        }
        survive(bad);
    }
}

/// The same for the whole way: a decoder from a damaged file is an error or a decoder.
#[test]
fn damaged_model_directories_never_panic() {
    let good = tiny_gguf(TINY);
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("config.json"), TINY.config().to_string()).expect("writes");
    let mut rng = Rng(2);
    for i in 0..300 {
        let mut bad = good.clone();
        let at = rng.below(bad.len().min(4_000));
        bad[at] = rng.next() as u8;
        if i % 3 == 0 {
            bad.truncate(rng.below(good.len()));
        }
        fs::write(dir.path().join("model.gguf"), &bad).expect("writes");
        let _ = Decoder::load(Arc::new(Reference::<f32>::new()), dir.path());
    }
}

#[test]
fn damaged_adapters_never_panic() {
    let decoder = TINY.load(Arc::new(Reference::<f32>::new()));
    let dir = tempfile::tempdir().expect("dir");
    random_lora(&decoder, &[Module::Q, Module::Down], 2, 3).save_peft(dir.path(), "tiny").expect("saves");
    let mut rng = Rng(3);
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let path = dir.path().join(file);
        let good = fs::read(&path).expect("reads");
        for _ in 0..500 {
            let mut bad = good.clone();
            let at = rng.below(bad.len().min(1_500));
            bad[at] = rng.next() as u8;
            fs::write(&path, &bad).expect("writes");
            let _ = Lora::load_peft(&decoder, dir.path());
            // Without the last byte, a newline, the configuration is still whole.
            bad.truncate(rng.below(good.len() - 1));
            fs::write(&path, &bad).expect("writes");
            assert!(Lora::load_peft(&decoder, dir.path()).is_err(), "{file} cut short");
        }
        fs::write(&path, &good).expect("writes");
    }
    Lora::load_peft(&decoder, dir.path()).expect("whole again");
}

fn gguf_error(bytes: Vec<u8>) -> String {
    Gguf::from_bytes(Arc::new(bytes)).err().expect("must not read").to_string()
}

/// The file is otherwise sound: a small file cannot pass for a large model by giving the same bytes twice.
#[test]
fn overlapping_tensors_are_named() {
    let tensor = |name: &str| (name.to_owned(), vec![8], 0, vec![0; 32]);
    let mut bytes = GgufWriter::new().finish(&[tensor("first"), tensor("second")]);
    let second = 32u64.to_le_bytes();
    let at = bytes.windows(8).rposition(|window| window == second).expect("offset of the second tensor");
    Gguf::from_bytes(Arc::new(bytes.clone())).expect("reads as written");
    bytes[at] = 0;
    assert_eq!(gguf_error(bytes), "gguf: tensors \"first\" and \"second\" overlap; the file is damaged");
}

/// 2^62 + 4 numbers of four bytes are 16 bytes in 64 bits.
#[test]
fn sizes_that_do_not_fit_a_word_are_refused() {
    let cols = (1 << 62) + 4;
    let check = |shape: Vec<usize>, expect: &str| {
        let bytes = GgufWriter::new().finish(&[("t".to_owned(), shape, 0, vec![0; 64])]);
        assert_eq!(gguf_error(bytes), format!("gguf: tensor \"t\" {expect}"));
    };
    check(vec![cols], "has a dimension of 4611686018427387908; 1 to 4294967296 are supported");
    check(vec![cols, 1], "has a dimension of 4611686018427387908; 1 to 4294967296 are supported");
    check(vec![0, 4], "has a dimension of 0; 1 to 4294967296 are supported");
    let large = 1 << 32;
    let place = "does not fit the file; it is cut or damaged";
    check(vec![large; 4], &format!("(shape {:?}, F32, offset 0) {place}", [large; 4]));
}

#[test]
fn long_names_and_headers_of_gguf_files_are_refused() {
    let name = "n".repeat(257);
    let bytes = GgufWriter::new().finish(&[(name.clone(), vec![1], 0, vec![0; 4])]);
    let expect = "gguf: length of a tensor name 257 is more than 256; the file is damaged";
    assert_eq!(gguf_error(bytes), expect);
    let mut writer = GgufWriter::new();
    writer.u32(&name, 1);
    assert_eq!(gguf_error(writer.finish(&[])), expect.replace("tensor name", "metadata key"));

    let mut writer = GgufWriter::new();
    let text = "x".repeat(8 << 20);
    for i in 0..9 {
        writer.str(&format!("k{i}"), &text);
    }
    let error = gguf_error(writer.finish(&[]));
    let expect = "gguf: the header is longer than 67108864 bytes, with its metadata value of \"k7\"";
    assert!(error.starts_with(expect), "{error}");
}

/// No bytes are enough for such a tensor, whatever its other dimension.
#[test]
fn empty_safetensors_are_named() {
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("config.json"), TINY.config().to_string()).expect("writes");
    for cols in [4, 1u64 << 63] {
        let shape = json!({"dtype": "F32", "shape": [0, cols], "data_offsets": [0, 0]});
        let header = json!({"model.embed_tokens.weight": shape}).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        fs::write(dir.path().join("model.safetensors"), bytes).expect("writes");
        let expect = format!("tensor model.embed_tokens.weight: shape [0, {cols}] is empty");
        assert_eq!(load_error(dir.path()), expect);
    }
}

/// Such numbers are above 0 as f64 and become 0 or infinite as f32, and every logit NaN with them.
#[test]
fn numbers_that_f32_cannot_hold_are_refused() {
    let check = |class: &str, field: &str, value: serde_json::Value| {
        let mut config = TINY.config();
        config["architectures"] = json!([class]);
        config["hidden_activation"] =
            json!(if class.starts_with("Gemma") { Some("gelu_pytorch_tanh") } else { None });
        ModelConfig::parse(&config).unwrap_or_else(|error| panic!("{class}: {error}"));
        config[field] = value;
        let error = ModelConfig::parse(&config).expect_err(field).to_string();
        assert!(error.starts_with(&format!("config.json: {field}")), "{error}");
    };
    check("LlamaForCausalLM", "rms_norm_eps", json!(1e-46));
    check("LlamaForCausalLM", "rope_scaling", json!({"rope_type": "linear", "factor": 1e-300}));
    // The passage from low to high frequencies divides by the factors' difference.
    let equal =
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 2.0, "high_freq_factor": 2.0});
    check("LlamaForCausalLM", "rope_scaling", equal);
    check("Gemma2ForCausalLM", "query_pre_attn_scalar", json!(1e-300));
    check("Gemma2ForCausalLM", "attn_logit_softcapping", json!(1e-60));
    check("Gemma2ForCausalLM", "final_logit_softcapping", json!(1e60));
}

/// However much text a file has where a name should be.
#[test]
fn errors_repeat_little_of_a_file() {
    let mut config = TINY.config();
    config["architectures"] = json!(["é".repeat(100_000)]);
    let error = ModelConfig::parse(&config).expect_err("no such class").to_string();
    assert!(error.starts_with("config.json: architectures: éé") && error.len() < 1_200, "{error}");
    let mut writer = GgufWriter::new();
    writer.str("general.architecture", &"\n".repeat(100_000));
    let file = Gguf::from_bytes(Arc::new(writer.finish(&[]))).expect("reads");
    let error = convert::from_gguf(&file).expect_err("no such architecture").to_string();
    assert!(error.starts_with("gguf: architecture") && error.len() < 1_200, "{error}");
}

/// Reading a device would never end, and opening a pipe would block.
#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().expect("dir");
    for name in ["config.json", "model.safetensors"] {
        TINY.write(dir.path());
        fs::remove_file(dir.path().join(name)).expect("removes");
        std::os::unix::fs::symlink("/dev/zero", dir.path().join(name)).expect("links");
        assert_eq!(load_error(dir.path()), format!("cannot open {}", dir.path().join(name).display()));
        fs::remove_file(dir.path().join(name)).expect("removes");
    }
}
