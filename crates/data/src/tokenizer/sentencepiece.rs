//! The parts of a `tokenizer.json` for GGUF vocabularies that SentencePiece made as BPE ("llama").
//!
//! Such a file has tokens with scores and no merges. They are byte-pair vocabularies all the same: a token can come
//! from every pair of tokens that it is made of, and pairs whose token is better come first.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use serde_json::{Value, json};

use super::gguf::{Bpe, GgufTokenizer, Parts, USER_DEFINED, token};
use crate::error::Error;

/// What stands for a space inside of tokens.
pub(super) const SPACE: &str = "\u{2581}";

/// How a model treats the spaces of a text. Files do not say it; it goes with the architecture.
enum Spaces {
    /// A space is put in front of the text, and before text that follows a special token none: Llama 2, Mistral.
    First,
    /// A space is put in front of every piece of text: Phi-3.
    Each,
    /// Nothing is put in front: Gemma.
    AsTheyAre,
}

/// Parts for tokens as [`tokens`] gives them.
pub(super) fn parts(gguf: &GgufTokenizer, tokens: &[String]) -> Result<Parts, Error> {
    let gemma = gguf.architecture.starts_with("gemma");
    let spaces = match gguf.architecture.as_str() {
        _ if gemma || gguf.add_space_prefix == Some(false) => Spaces::AsTheyAre,
        "phi3" => Spaces::Each,
        _ => Spaces::First,
    };
    let merges = if gemma { gemma_merges(gguf, tokens) } else { merges(tokens, scores(gguf)?) };
    let unknown = match gguf.unknown_token_id {
        Some(id) => json!(token(gguf, "unk_token", id)?),
        None => Value::Null,
    };
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let (normalizer, pre_tokenizer) = match spaces {
        Spaces::First => (
            Value::Null,
            json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": false}),
        ),
        Spaces::Each => (
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]}),
            Value::Null,
        ),
        Spaces::AsTheyAre => (replace, Value::Null),
    };
    Ok(Parts {
        normalizer,
        pre_tokenizer,
        decoder: decoder(!matches!(spaces, Spaces::AsTheyAre)),
        post_processor: Value::Null,
        model: Bpe { merges: json!(merges), unknown, ignore_merges: false, byte_fallback: true }
            .model(tokens),
    })
}

/// Tokens to text, without the space that was put in front if there is one.
pub(super) fn decoder(space_in_front: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space_in_front {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

/// Each token's score.
pub(super) fn scores(gguf: &GgufTokenizer) -> Result<&[f64], Error> {
    if gguf.scores.len() != gguf.tokens.len() {
        return Err(Error::tokenizer(format!(
            "the GGUF file has {} tokens but {} scores",
            gguf.tokens.len(),
            gguf.scores.len()
        )));
    }
    Ok(&gguf.scores)
}

/// Tokens of spaces alone are stored as spaces, though the text that they are compared with has none.
pub(super) fn tokens(stored: &[String]) -> Vec<String> {
    let all_spaces = |token: &str| !token.is_empty() && token.bytes().all(|b| b == b' ');
    stored
        .iter()
        .map(|token| if all_spaces(token) { SPACE.repeat(token.len()) } else { token.clone() })
        .collect()
}

/// The pairs of the token with the highest score first. Of equal scores, which runs of spaces have, the token that comes
/// first; of one token, the pair whose left side comes first.
fn merges<'a>(tokens: &'a [String], scores: &[f64]) -> Vec<[&'a str; 2]> {
    let mut pairs = pairs(tokens);
    // Stable: what is equal stays in the order of ids.
    pairs.sort_by(|a, b| scores[b.id].partial_cmp(&scores[a.id]).unwrap_or(Ordering::Equal));
    pairs.into_iter().map(|pair| pair.sides).collect()
}

/// Gemma's scores do not follow the order in which its pairs were merged; the order of its tokens does. Runs of spaces,
/// tabs and line breaks, which the file has as user-defined, come before all others, those with the longest left sides
/// first.
fn gemma_merges<'a>(gguf: &GgufTokenizer, tokens: &'a [String]) -> Vec<[&'a str; 2]> {
    let is_run = |id: usize| gguf.token_types[id] == USER_DEFINED;
    let lengths = |pair: &Pair| pair.sides.map(|side| Reverse(side.chars().count()));
    let mut pairs = pairs(tokens);
    pairs.sort_by_cached_key(|pair| (if is_run(pair.id) { 0 } else { pair.id + 1 }, lengths(pair)));
    pairs.into_iter().map(|pair| pair.sides).collect()
}

/// Two tokens that make a third.
struct Pair<'a> {
    id: usize,
    sides: [&'a str; 2],
}

/// Every pair: by the token that it makes, then by its left and its right side.
fn pairs(tokens: &[String]) -> Vec<Pair<'_>> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, t)| (t.as_str(), id)).collect();
    let mut pairs = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let mut own: Vec<_> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((ids.get(left)?, ids.get(right)?, [left, right]))
            })
            .collect();
        own.sort_unstable_by_key(|&(left, right, _)| (left, right));
        pairs.extend(own.into_iter().map(|(_, _, sides)| Pair { id, sides }));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::tests::{joined, open, pieces};
    use super::*;

    /// Letters, a byte token, and tokens whose scores and order disagree.
    fn small(architecture: &str) -> GgufTokenizer {
        let named =
            ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "  ", "ab", "bc", "▁a", "▁", "a", "b", "c", "<u>"];
        let mut token_types = vec![1; named.len()];
        token_types[..5].copy_from_slice(&[2, 3, 3, 6, 6]);
        token_types[5] = 4;
        token_types[13] = 4;
        let mut scores = vec![-100.0; named.len()];
        // "bc" is better than "ab", which comes first.
        (scores[6], scores[7], scores[8]) = (-2.0, -1.0, -3.0);
        GgufTokenizer {
            model: "llama".into(),
            architecture: architecture.into(),
            tokens: named.map(str::to_owned).into(),
            token_types,
            scores,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
            unknown_token_id: Some(0),
            ..Default::default()
        }
    }

    #[test]
    fn scores_or_places_order_the_merges() {
        assert_eq!(pieces(&open(&small("llama")), "abc"), "a|bc");
        assert_eq!(pieces(&open(&small("gemma3")), "abc"), "ab|c");
    }

    #[test]
    fn runs_of_spaces_are_merged_and_mark_nothing() {
        let mut gguf = small("gemma3");
        gguf.tokens.extend(["    ", "   ", "▁▁a"].map(str::to_owned));
        gguf.token_types.extend([USER_DEFINED, USER_DEFINED, 1]);
        let gemma = open(&gguf);
        // Longest left sides first: three spaces and one make four.
        assert_eq!(gemma.encode("    a").expect("encodes"), [14, 10]);
        assert_eq!(gemma.encode("     a").expect("encodes"), [14, 8]);
        // As it is written in the file, it is found before all else.
        assert_eq!(gemma.encode("▁▁a").expect("encodes"), [5, 10]);
        assert!(gemma.is_added(13) && !gemma.is_added(5) && !gemma.is_added(14));
        assert_eq!(joined(&gemma, &[5, 14]), b"      ");
    }

    #[test]
    fn spaces_go_with_the_architecture() {
        let ids = |architecture, text| open(&small(architecture)).encode(text).expect("encodes");
        assert_eq!(ids("gemma3", "a"), [10]);
        assert_eq!(ids("gemma3", "  a"), [5, 10]);
        assert_eq!(ids("llama", "a<u>a"), [8, 13, 10]);
        assert_eq!(ids("phi3", "a<u>a"), [8, 13, 8]);
        let text = "a  b<u> c";
        for architecture in ["gemma3", "llama"] {
            let tokenizer = open(&small(architecture));
            let ids = tokenizer.encode(text).expect("encodes");
            assert_eq!(tokenizer.decode(&ids, false).expect("decodes"), text, "{architecture}");
        }
    }

    #[test]
    fn unknown_characters_become_bytes_and_bos_is_added_unless_the_file_says_no() {
        let tokenizer = open(&small("gemma3"));
        assert_eq!(tokenizer.encode("é").expect("encodes"), [3, 4]);
        assert_eq!(tokenizer.decode(&[3, 4], false).expect("decodes"), "é");
        assert_eq!(tokenizer.bos_to_add(), Some(1));
        let without = GgufTokenizer { add_bos_token: Some(false), ..small("gemma3") };
        assert_eq!(open(&without).bos_to_add(), None);
    }

    #[test]
    fn token_bytes_are_texts_without_their_marks() {
        let tokenizer = open(&small("llama"));
        assert_eq!(joined(&tokenizer, &[1, 8, 3, 4, 5, 13, 9, 7]), " aé  <u> bc".as_bytes());
    }

    #[test]
    fn missing_scores_are_an_error() {
        let gguf = GgufTokenizer { scores: vec![0.0], ..small("llama") };
        let error = super::super::from_gguf(&gguf).expect_err("refused").to_string();
        assert_eq!(error, "tokenizer: the GGUF file has 14 tokens but 1 scores");
    }
}
