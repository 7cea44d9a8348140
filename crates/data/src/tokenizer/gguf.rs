//! `tokenizer.json` and `tokenizer_config.json` from the tokenizer that a GGUF file carries.
//!
//! GGUF stores the vocabulary, the merges and the name of a pre-tokenizer; the rules behind the name are those
//! of the model's own `tokenizer.json`.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::pre::{self, PreTokenizer};
use super::{sentencepiece, unigram};
use crate::error::Error;

/// The `tokenizer.ggml.*` values of a GGUF file.
#[derive(Clone, Debug, Default)]
pub struct GgufTokenizer {
    /// `model`: `gpt2` (byte-level BPE), `llama` (SentencePiece's BPE) or `t5` (its unigram model); others are not supported.
    pub model: String,
    /// `general.architecture`: `llama` files do not say how their model treats spaces.
    pub architecture: String,
    /// `pre`: the name of the pre-tokenizer.
    pub pre: String,
    /// `tokens`: each id's token, in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// `scores`, higher is better; SentencePiece only.
    pub scores: Vec<f64>,
    /// `merges`: pairs parted by a space, best first.
    pub merges: Vec<String>,
    /// `bos_token_id`.
    pub bos_token_id: Option<u32>,
    /// `eos_token_id`.
    pub eos_token_id: Option<u32>,
    /// `padding_token_id`.
    pub padding_token_id: Option<u32>,
    /// `unknown_token_id`.
    pub unknown_token_id: Option<u32>,
    /// `add_bos_token`.
    pub add_bos_token: Option<bool>,
    /// `add_space_prefix`; SentencePiece only.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`; unigram only.
    pub remove_extra_whitespaces: Option<bool>,
    /// `precompiled_charsmap`, SentencePiece's rules of normalization; unigram only. Empty: none.
    pub precompiled_charsmap: Vec<u8>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
}

const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;

/// What differs between tokenizers.
pub(super) struct Parts {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) decoder: Value,
    /// Where no beginning token is added.
    pub(super) post_processor: Value,
    pub(super) model: Value,
}

/// What differs between models of the type BPE.
pub(super) struct Bpe {
    pub(super) merges: Value,
    /// The unknown token's text, or null.
    pub(super) unknown: Value,
    /// Whether a piece that is a whole token is taken as it is, without merging.
    pub(super) ignore_merges: bool,
    /// Whether characters that the vocabulary lacks become tokens of bytes.
    pub(super) byte_fallback: bool,
}

impl Bpe {
    pub(super) fn model(self, tokens: &[String]) -> Value {
        let vocab: Map<String, Value> =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": self.unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": self.byte_fallback,
            "byte_fallback": self.byte_fallback,
            "ignore_merges": self.ignore_merges,
            "vocab": vocab,
            "merges": self.merges,
        })
    }
}

/// Parts of byte-level BPE: the pre-tokenizer's name stands for the rules.
fn byte_level(gguf: &GgufTokenizer) -> Result<Parts, Error> {
    let Some(PreTokenizer { normalizer, pre_tokenizer, ignore_merges }) = PreTokenizer::named(&gguf.pre)
    else {
        let names = pre::NAMES.join(", ");
        return Err(Error::tokenizer(format!(
            "the GGUF pre-tokenizer {:?} is not supported; use a model with one of {names}, or a directory with tokenizer.json",
            gguf.pre
        )));
    };
    if let Some(index) = gguf.merges.iter().position(|merge| merge.matches(' ').count() != 1) {
        return Err(Error::tokenizer(format!(
            "merge {index} of the GGUF file is not two tokens and a space"
        )));
    }
    Ok(Parts {
        normalizer,
        pre_tokenizer,
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        post_processor: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}),
        model: Bpe { merges: json!(gguf.merges), unknown: Value::Null, ignore_merges, byte_fallback: false }
            .model(&gguf.tokens),
    })
}

/// The text of a `tokenizer.json` that encodes as the GGUF file's tokenizer does.
pub fn from_gguf(gguf: &GgufTokenizer) -> Result<String, Error> {
    if gguf.token_types.len() != gguf.tokens.len() {
        return Err(Error::tokenizer(format!(
            "the GGUF file has {} tokens but {} token types",
            gguf.tokens.len(),
            gguf.token_types.len()
        )));
    }
    let tokens = match gguf.model.as_str() {
        "llama" => Cow::Owned(sentencepiece::tokens(&gguf.tokens)),
        _ => Cow::Borrowed(gguf.tokens.as_slice()),
    };
    let mut seen = HashSet::new();
    if let Some(id) = tokens.iter().position(|token| !seen.insert(token)) {
        return Err(Error::tokenizer(format!("token {id} of the GGUF file is there twice")));
    }
    let parts = match gguf.model.as_str() {
        "gpt2" => byte_level(gguf)?,
        "llama" => sentencepiece::parts(gguf, &tokens)?,
        "t5" => unigram::parts(gguf)?,
        other => {
            return Err(Error::tokenizer(format!(
                "the GGUF tokenizer model {other:?} is not supported; use a model with gpt2, llama or t5, or a directory with tokenizer.json"
            )));
        }
    };
    let text = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(gguf, &tokens),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": begins_with(gguf)?.unwrap_or(parts.post_processor),
        "decoder": parts.decoder,
        "model": parts.model,
    })
    .to_string();
    tokenizers::Tokenizer::from_bytes(text.as_bytes()).map_err(|source| {
        Error::tokenizer_from("the GGUF file's vocabulary and merges do not fit", source)
    })?;
    Ok(text)
}

/// The text of the `tokenizer_config.json` beside [`from_gguf`]'s: special tokens and chat template.
pub fn config_from_gguf(gguf: &GgufTokenizer) -> Result<String, Error> {
    let mut config = Map::new();
    // Loaders that know the class by a more special name rebuild the rules; this one takes tokenizer.json as it is.
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    config.insert("add_prefix_space".into(), json!(false));
    config.insert("add_bos_token".into(), json!(adds_bos(gguf)));
    for (name, id) in [
        ("bos_token", gguf.bos_token_id),
        ("eos_token", gguf.eos_token_id),
        ("pad_token", gguf.padding_token_id),
        ("unk_token", gguf.unknown_token_id),
    ] {
        if let Some(id) = id {
            config.insert(name.into(), json!(token(gguf, name, id)?));
        }
    }
    if let Some(template) = &gguf.chat_template {
        config.insert("chat_template".into(), json!(template));
    }
    Ok(format!("{:#}\n", Value::Object(config)))
}

pub(super) fn token<'a>(gguf: &'a GgufTokenizer, name: &str, id: u32) -> Result<&'a str, Error> {
    gguf.tokens.get(id as usize).map(String::as_str).ok_or_else(|| {
        Error::tokenizer(format!(
            "the {name} of the GGUF file is {id}, but it has {} tokens",
            gguf.tokens.len()
        ))
    })
}

/// SentencePiece's files, and those of some pre-tokenizers, say when the beginning token is not to be added, the others
/// when it is.
fn adds_bos(gguf: &GgufTokenizer) -> bool {
    const ADDING: [&str; 4] = ["llama3", "llama-v3", "llama-bpe", "tekken"];
    gguf.add_bos_token.unwrap_or(gguf.model == "llama" || ADDING.contains(&gguf.pre.as_str()))
}

/// `tokens`: as the vocabulary has them.
fn added_tokens(gguf: &GgufTokenizer, tokens: &[String]) -> Vec<Value> {
    let special = |kind: i32| kind == CONTROL || (kind == UNKNOWN && gguf.model != "gpt2");
    let kinds = tokens.iter().zip(&gguf.token_types).enumerate();
    kinds
        .filter(|(_, (_, kind))| special(**kind) || **kind == USER_DEFINED)
        .map(|(id, (token, kind))| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special(*kind),
            })
        })
        .collect()
}

/// Puts the beginning token first, for loaders that add special tokens, if the file asks for it.
fn begins_with(gguf: &GgufTokenizer) -> Result<Option<Value>, Error> {
    let Some(id) = gguf.bos_token_id.filter(|_| adds_bos(gguf)) else { return Ok(None) };
    let bos = token(gguf, "bos_token", id)?;
    let special = |type_id: u32| json!({"SpecialToken": {"id": bos, "type_id": type_id}});
    let sequence = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    Ok(Some(json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
    })))
}
