//! The tiny tokenizer of the fixtures, and tokenizers made of GGUF metadata.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn tiny() -> Tokenizer {
    Tokenizer::open(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny"))
        .expect("the fixture opens")
}

/// A vocabulary of the 256 bytes, one merge ("12") and three special tokens.
fn small_gguf(pre: &str) -> GgufTokenizer {
    let mut tokens: Vec<String> = ["<s>", "</s>", "<user>"].map(str::to_owned).into();
    let mut alphabet: Vec<char> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    tokens.extend(alphabet.iter().map(char::to_string));
    tokens.extend(["12", "Ġa", "123"].map(str::to_owned));
    let mut token_types = vec![1; tokens.len()];
    token_types[..3].copy_from_slice(&[3, 3, 4]);
    GgufTokenizer {
        model: "gpt2".into(),
        pre: pre.into(),
        tokens,
        token_types,
        merges: ["1 2", "Ġ a"].map(str::to_owned).into(),
        bos_token_id: Some(0),
        eos_token_id: Some(1),
        ..Default::default()
    }
}

pub(super) fn open(gguf: &GgufTokenizer) -> Tokenizer {
    let config: Value = serde_json::from_str(&config_from_gguf(gguf).expect("a config")).expect("JSON");
    Tokenizer::from_parts(&from_gguf(gguf).expect("a tokenizer"), &config, &Value::Null).expect("it opens")
}

pub(super) fn pieces(tokenizer: &Tokenizer, text: &str) -> String {
    let ids = tokenizer.encode(text).expect("it encodes");
    let piece = |id: &u32| tokenizer.decode(&[*id], false).expect("it decodes");
    ids.iter().map(piece).collect::<Vec<_>>().join("|")
}

#[test]
fn pre_tokenizers_split_digits_and_contractions_by_name() {
    let check = |pre: &str, text: &str, expect: &str| {
        assert_eq!(pieces(&open(&small_gguf(pre)), text), expect, "{pre}")
    };
    check("gpt-2", "x12 a", "x|12| a");
    check("smollm", "x12 a", "x|1|2| a");
    check("qwen2", "x12 a", "x|1|2| a");
    // Whole known pieces need no merge with llama-bpe, and digits come in threes.
    check("llama-bpe", "12312", "123|12");
    check("gpt-2", "123", "12|3");
    check("smollm", "<user> a</s>", "<user>| a|</s>");
    // NFC for qwen2 only: e and a combining acute become two bytes of one character instead of three.
    assert_eq!(open(&small_gguf("qwen2")).encode("e\u{301}").expect("it encodes").len(), 2);
    assert_eq!(open(&small_gguf("smollm")).encode("e\u{301}").expect("it encodes").len(), 3);
}

#[test]
fn control_tokens_are_skipped_and_user_tokens_are_not() {
    let tokenizer = open(&small_gguf("smollm"));
    assert_eq!(tokenizer.decode(&[0, 2, 1], true).expect("it decodes"), "<user>");
    assert_eq!((tokenizer.eos_id(), tokenizer.bos_to_add()), (Some(1), None));
}

#[test]
fn the_beginning_token_is_added_only_where_the_file_says_so() {
    let gguf = GgufTokenizer { add_bos_token: Some(true), ..small_gguf("llama-bpe") };
    let tokenizer = open(&gguf);
    assert_eq!(tokenizer.bos_to_add(), Some(0));
    assert_eq!(tokenizer.encode("a").expect("it encodes").len(), 1);
    // Where the file says nothing, its pre-tokenizer does.
    assert_eq!(open(&small_gguf("llama-bpe")).bos_to_add(), Some(0));
    assert_eq!(open(&small_gguf("tekken")).bos_to_add(), Some(0));
    assert_eq!(open(&small_gguf("smollm")).bos_to_add(), None);
    assert_eq!(
        open(&GgufTokenizer { add_bos_token: Some(false), ..small_gguf("tekken") }).bos_to_add(),
        None
    );
    // Without add_bos_token in the config, the post-processor of tokenizer.json decides.
    let config = json!({"bos_token": "<s>"});
    let tokenizer = Tokenizer::from_parts(&from_gguf(&gguf).expect("a tokenizer"), &config, &Value::Null);
    assert_eq!(tokenizer.expect("it opens").bos_to_add(), Some(0));
}

#[test]
fn bad_gguf_metadata_is_refused_by_name() {
    let check = |change: fn(&mut GgufTokenizer), expect: &str| {
        let mut gguf = small_gguf("smollm");
        change(&mut gguf);
        let error = from_gguf(&gguf).and(config_from_gguf(&gguf)).expect_err("an error").to_string();
        assert!(error.starts_with(expect), "{error}");
    };
    check(|g| g.model = "rwkv".into(), r#"tokenizer: the GGUF tokenizer model "rwkv" is not supported"#);
    check(
        |g| g.model = "t5".into(),
        "tokenizer: the GGUF file has no unknown token, which a unigram vocabulary needs",
    );
    check(|g| g.pre = "bloom".into(), r#"tokenizer: the GGUF pre-tokenizer "bloom" is not supported"#);
    check(|g| g.token_types.truncate(9), "tokenizer: the GGUF file has 262 tokens but 9 token types");
    check(|g| g.tokens[9] = "<s>".into(), "tokenizer: token 9 of the GGUF file is there twice");
    check(
        |g| g.merges.push("a b c".into()),
        "tokenizer: merge 2 of the GGUF file is not two tokens and a space",
    );
    check(|g| g.merges.push("zz zz".into()), "tokenizer: the GGUF file's vocabulary and merges do not fit");
    check(
        |g| g.eos_token_id = Some(999),
        "tokenizer: the eos_token of the GGUF file is 999, but it has 262 tokens",
    );
}

#[test]
fn the_files_of_a_model_directory() {
    let tokenizer = tiny();
    assert_eq!(tokenizer.vocab_size(), 427);
    let ids = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(|token| tokenizer.token_id(token));
    assert_eq!(ids, [Some(0), Some(1), Some(2)]);
    assert_eq!(tokenizer.eos_ids(), [2]);
    assert_eq!(tokenizer.special_tokens().eos.as_deref(), Some("<|im_end|>"));
    let config = json!({"eos_token": "<|im_end|>", "chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]});
    let text = include_str!("../../tests/fixtures/tiny/tokenizer.json");
    let tokenizer = Tokenizer::from_parts(text, &config, &json!({"eos_token_id": [2, 0]})).expect("it opens");
    assert_eq!(tokenizer.eos_ids(), [2, 0]);
    assert_eq!(template_of(&config["chat_template"]).as_deref(), Some("d"));
    let error =
        Tokenizer::from_parts(text, &json!({"eos_token": "</s>"}), &Value::Null).err().expect("an error");
    assert_eq!(
        error.to_string(),
        "tokenizer: the eos_token of tokenizer_config.json is not in tokenizer.json"
    );
}

proptest! {
    #[test]
    fn text_survives_encoding_and_streaming(text in "(\\PC|[ \n🐎ž<|im_end|>]){0,40}") {
        let tokenizer = tiny();
        let ids = tokenizer.encode(&text).expect("it encodes");
        prop_assert_eq!(tokenizer.decode(&ids, false).expect("it decodes"), text.as_str());
        let mut stream = StreamDecoder::new();
        let mut out = String::new();
        for id in &ids {
            let delta = stream.push(&tokenizer, *id).expect("it decodes");
            let own = text.contains(char::REPLACEMENT_CHARACTER);
            prop_assert!(own || !delta.contains(char::REPLACEMENT_CHARACTER));
            out += &delta;
        }
        out += &stream.finish(&tokenizer).expect("it decodes");
        prop_assert_eq!(out, tokenizer.decode(&ids, true).expect("it decodes"));
    }
}

/// The bytes of the tokens one after another.
pub(super) fn joined(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u8> {
    let tokens = tokenizer.token_bytes().expect("the decoder is known");
    let bytes = |id: &u32| match &tokens[*id as usize] {
        TokenBytes::Bytes(bytes) => bytes.clone(),
        TokenBytes::Special(_) | TokenBytes::Nothing => Vec::new(),
    };
    ids.iter().flat_map(bytes).collect()
}

proptest! {
    /// Any ids, also such as give no whole characters.
    #[test]
    fn token_bytes_are_those_of_the_decoded_text(ids in proptest::collection::vec(0u32..427, 0..30)) {
        let tokenizer = tiny();
        let bytes = joined(&tokenizer, &ids);
        let text = tokenizer.decode(&ids, true).expect("it decodes");
        prop_assert_eq!(String::from_utf8_lossy(&bytes).into_owned(), text);
    }
}

#[test]
fn token_bytes_tell_special_tokens_from_others() {
    let tokenizer = open(&small_gguf("smollm"));
    let tokens = tokenizer.token_bytes().expect("the decoder is known");
    assert_eq!(tokens.len(), 262);
    assert_eq!(tokens[0], TokenBytes::Special("<s>".to_owned()));
    assert_eq!(tokens[2], TokenBytes::Bytes(b"<user>".to_vec()));
    assert_eq!(tokens[260], TokenBytes::Bytes(b" a".to_vec()));
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(2) && !tokenizer.is_special(260));
}

#[test]
fn a_special_token_can_be_shown() {
    let tokenizer = tiny();
    let horse = tokenizer.encode("🐎").expect("it encodes");
    let ids = [tokenizer.encode("a ").expect("it encodes"), vec![1, 2], horse[..1].to_vec(), vec![2], horse];
    let mut stream = StreamDecoder::showing(&tokenizer, &["<|im_end|>", "a", "nothing"]);
    let mut text = String::new();
    for id in ids.concat() {
        text += &stream.push(&tokenizer, id).expect("it decodes");
    }
    text += &stream.finish(&tokenizer).expect("it decodes");
    assert_eq!(text, "a <|im_end|>\u{fffd}<|im_end|>🐎");
}

#[test]
fn bytes_that_never_become_a_character_are_given_out_at_last() {
    let tokenizer = tiny();
    let horse = tokenizer.encode("🐎").expect("it encodes");
    let mut stream = StreamDecoder::new();
    let deltas: Vec<String> =
        (0..3 * MAX_HELD_TOKENS).map(|_| stream.push(&tokenizer, horse[0]).expect("it decodes")).collect();
    assert!(deltas.concat().chars().count() >= 2 * MAX_HELD_TOKENS, "{deltas:?}");
    assert!(stream.ids.len() <= 2 * MAX_HELD_TOKENS + 2);
}

#[test]
fn a_tokenizer_whose_parts_do_not_fit_is_an_error() {
    let whole: Value =
        serde_json::from_str(include_str!("../../tests/fixtures/tiny/tokenizer.json")).expect("JSON");
    let check = |pointer: &str, value: Value, expect: &str| {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).expect("it is there") = value;
        let opened = Tokenizer::from_parts(&changed.to_string(), &Value::Null, &Value::Null);
        assert_eq!(opened.err().expect("an error").to_string(), expect);
    };
    let unusable = "tokenizer: tokenizer.json is not usable";
    check("/model/continuing_subword_prefix", json!("<|im_end|>"), unusable);
    check("/model/merges", json!([["a", "not there"]]), unusable);
    check("/model/vocab", json!({"a": -1}), unusable);
}

#[test]
fn endless_white_space_is_refused_and_less_is_whole() {
    let text = |count: usize| format!("{}a", " \u{a0}".repeat(count / 2));
    for pre in ["gpt-2", "llama-bpe", "gpt-4o"] {
        let tokenizer = open(&small_gguf(pre));
        let ids = tokenizer.encode(&text(MAX_WHITE_SPACE)).expect("it encodes");
        assert_eq!(tokenizer.decode(&ids, false).expect("it decodes"), text(MAX_WHITE_SPACE), "{pre}");
        let error = tokenizer.encode(&text(MAX_WHITE_SPACE + 2)).expect_err("refused").to_string();
        assert!(error.contains("more than 500000 white-space characters"), "{error}");
    }
}

#[test]
fn settings_that_are_no_object_are_an_error() {
    let text = include_str!("../../tests/fixtures/tiny/tokenizer.json");
    let error = Tokenizer::from_parts(text, &json!([]), &Value::Null).err().expect("an error");
    assert_eq!(error.to_string(), "tokenizer: tokenizer_config.json is not a JSON object");
    let error = Tokenizer::from_parts(text, &Value::Null, &json!("x")).err().expect("an error");
    assert_eq!(error.to_string(), "tokenizer: generation_config.json is not a JSON object");
}
