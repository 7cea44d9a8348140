//! The parts of a `tokenizer.json` for GGUF vocabularies of SentencePiece's unigram model ("t5").
//!
//! A text is split into the tokens whose scores have the highest sum. What the vocabulary lacks becomes tokens of bytes,
//! if it has them, and else the unknown token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::gguf::{GgufTokenizer, Parts};
use super::sentencepiece::{SPACE, decoder, scores};
use crate::error::Error;

/// The type of a token that stands for a byte.
const BYTE: i32 = 6;

pub(super) fn parts(gguf: &GgufTokenizer) -> Result<Parts, Error> {
    let unknown = gguf.unknown_token_id.ok_or_else(|| {
        Error::tokenizer("the GGUF file has no unknown token, which a unigram vocabulary needs")
    })?;
    let mut normalizers = Vec::new();
    if !gguf.precompiled_charsmap.is_empty() {
        let map = STANDARD.encode(&gguf.precompiled_charsmap);
        normalizers.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
    }
    if gguf.remove_extra_whitespaces == Some(true) {
        // Spaces at the beginning become one mark, as the one that is put in front.
        normalizers.push(json!({"type": "Strip", "strip_left": false, "strip_right": true}));
        normalizers.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": SPACE}));
    }
    let space_in_front = gguf.add_space_prefix != Some(false);
    let scheme = if space_in_front { "always" } else { "never" };
    let vocab: Vec<(&String, &f64)> = gguf.tokens.iter().zip(scores(gguf)?).collect();
    Ok(Parts {
        normalizer: match normalizers.is_empty() {
            true => Value::Null,
            false => json!({"type": "Sequence", "normalizers": normalizers}),
        },
        pre_tokenizer: json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": true}),
        decoder: decoder(space_in_front),
        post_processor: Value::Null,
        model: json!({
            "type": "Unigram",
            "unk_id": unknown,
            "vocab": vocab,
            "byte_fallback": gguf.token_types.contains(&BYTE),
        }),
    })
}
