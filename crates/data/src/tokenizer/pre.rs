//! Pre-tokenizers by the names that GGUF files have for them.
//!
//! A name stands for the rules of a model's own `tokenizer.json`. Here are those that were compared with it, or with
//! ids that were made by it (`docs/templates.md`); any other is refused.

use serde_json::{Value, json};

/// The rules behind a name.
pub(super) struct PreTokenizer {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    /// Whether a piece that is a whole token is taken as it is, without merging.
    pub(super) ignore_merges: bool,
}

/// Names that are known.
pub(super) const NAMES: [&str; 18] = [
    "gpt-2",
    "gpt2",
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "falcon",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "dbrx",
    "qwen2",
    "deepseek-r1-qwen",
    "tekken",
    "gpt-4o",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
];

const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
/// White space: with the line breaks that it ends in, then all but the last before other text, then the rest.
const SPACES: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words whose capitals come first, and words of capitals.
const CASED: [&str; 2] = [
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
];
/// The letters of the alphabets that have capitals, as of the model.
const DEEPSEEK_LETTERS: &str = "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃";
const DEEPSEEK_CJK: &str = "[一-龥ࠀ-一가-퟿]+";

impl PreTokenizer {
    /// The rules behind `name`, if they are known.
    pub(super) fn named(name: &str) -> Option<Self> {
        let nfc = json!({"type": "NFC"});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let (normalizer, steps, ignore_merges) = match name {
            "gpt-2" | "gpt2" => (Value::Null, vec![byte_level(true)], false),
            "smollm" | "starcoder" | "refact" => (Value::Null, vec![digits, byte_level(true)], false),
            "command-r" => (nfc, vec![digits, byte_level(true)], false),
            "falcon" => {
                let punctuation = json!({"type": "Punctuation", "behavior": "Contiguous"});
                let numbers = json!({"type": "Digits", "individual_digits": false});
                let steps = vec![punctuation, byte_level(true), numbers, split("[0-9][0-9][0-9]")];
                (Value::Null, steps, false)
            }
            "llama-bpe" | "llama-v3" | "llama3" => (Value::Null, words(r"\p{N}{1,3}"), true),
            "dbrx" => (Value::Null, words(r"\p{N}{1,3}"), false),
            "qwen2" | "deepseek-r1-qwen" => (nfc, words(r"\p{N}"), false),
            "tekken" => {
                let [first, second] = CASED;
                let pattern = format!(r"{first}|{second}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}");
                (Value::Null, vec![split(&pattern), byte_level(false)], true)
            }
            "gpt-4o" => {
                let [first, second] = CASED.map(|words| format!("{words}{CONTRACTIONS}?"));
                let pattern =
                    format!(r"{first}|{second}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}");
                (Value::Null, vec![split(&pattern), byte_level(false)], false)
            }
            "deepseek-llm" => {
                let patterns = [
                    "[\r\n]",
                    &format!(r"\s?[{DEEPSEEK_LETTERS}]+"),
                    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
                    r"\s+$",
                    DEEPSEEK_CJK,
                ];
                (
                    Value::Null,
                    patterns.map(split).into_iter().chain([digits, byte_level(false)]).collect(),
                    false,
                )
            }
            "deepseek-coder" => {
                let patterns = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK];
                (
                    Value::Null,
                    patterns.map(split).into_iter().chain([digits, byte_level(false)]).collect(),
                    false,
                )
            }
            "deepseek-v3" => {
                let marks = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##;
                let words = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*";
                let patterns = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", &format!("{marks}|{words}|{SPACES}")];
                (Value::Null, patterns.map(split).into_iter().chain([byte_level(false)]).collect(), false)
            }
            _ => return None,
        };
        let pre_tokenizer = match <[Value; 1]>::try_from(steps) {
            Ok([step]) => step,
            Err(steps) => json!({"type": "Sequence", "pretokenizers": steps}),
        };
        Some(PreTokenizer { normalizer, pre_tokenizer, ignore_merges })
    }
}

/// Contractions, words with a character before them, digits, other characters, white space.
fn words(digits: &str) -> Vec<Value> {
    let symbols = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
    let pattern = format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}|{symbols}|{SPACES}");
    vec![split(&pattern), byte_level(false)]
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// Characters for bytes; with GPT-2's own pattern, or after others.
fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_rules_that_the_library_takes() {
        for name in NAMES {
            let rules = PreTokenizer::named(name).expect("rules");
            serde_json::from_value::<tokenizers::PreTokenizerWrapper>(rules.pre_tokenizer)
                .expect("a pre-tokenizer");
        }
        assert!(PreTokenizer::named("default").is_none());
    }
}
