//! What each token adds to a text, in bytes: a token may hold a part of a character.

use std::collections::HashMap;

use serde_json::Value;

use super::Tokenizer;
use crate::error::Error;

/// What a token adds to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenBytes {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing: it is special, and this is its name.
    Special(String),
    /// There is no token of this id, or it is the empty text.
    Nothing,
}

impl Tokenizer {
    /// What each token adds to a text, by id.
    ///
    /// # Errors
    /// When the tokenizer turns tokens into text in a way that is not known here.
    pub fn token_bytes(&self) -> Result<Vec<TokenBytes>, Error> {
        let decoder = serde_json::to_value(self.inner.get_decoder())
            .map_err(|source| Error::tokenizer_from("its decoder has no JSON form", source))?;
        let rules = Rules::of(&decoder)
            .ok_or_else(|| Error::tokenizer("tokens become text in a way that is not known"))?;
        let vocab = self.inner.get_vocab(true);
        let size = vocab.values().max().map_or(0, |id| *id as usize + 1);
        let mut tokens = vec![TokenBytes::Nothing; size];
        for (name, id) in vocab {
            tokens[id as usize] = match rules.bytes(&name) {
                Some(bytes) if !bytes.is_empty() => TokenBytes::Bytes(bytes),
                _ => TokenBytes::Nothing,
            };
        }
        for (id, token) in self.inner.get_added_tokens_decoder() {
            tokens[id as usize] = if token.special {
                TokenBytes::Special(token.content)
            } else {
                TokenBytes::Bytes(rules.bytes(&token.content).unwrap_or(token.content.into_bytes()))
            };
        }
        Ok(tokens)
    }
}

/// How a token's name becomes bytes.
enum Rules {
    /// Each character stands for a byte.
    ByteLevel(HashMap<char, u8>),
    /// Texts are replaced, and `<0x0A>` is a byte.
    Replace { pairs: Vec<(String, String)>, bytes: bool },
}

impl Rules {
    fn of(decoder: &Value) -> Option<Self> {
        let steps = match decoder["type"].as_str()? {
            "Sequence" => decoder["decoders"].as_array()?.as_slice(),
            _ => std::slice::from_ref(decoder),
        };
        let kind = |step: &Value| step["type"].as_str().unwrap_or_default().to_owned();
        if steps.iter().any(|step| kind(step) == "ByteLevel") {
            return Some(Self::ByteLevel(byte_level()));
        }
        let (mut pairs, mut bytes) = (Vec::new(), false);
        for step in steps {
            match kind(step).as_str() {
                "Replace" => pairs.push((
                    step["pattern"]["String"].as_str()?.to_owned(),
                    step["content"].as_str()?.to_owned(),
                )),
                "Metaspace" => pairs.push((step["replacement"].as_str()?.to_owned(), " ".to_owned())),
                "ByteFallback" => bytes = true,
                // These change the beginning or the end of a text only.
                "Fuse" | "Strip" => {}
                _ => return None,
            }
        }
        Some(Self::Replace { pairs, bytes })
    }

    /// `None` for a name that the rules do not make, such as that of a special token.
    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::ByteLevel(bytes) => name.chars().map(|c| bytes.get(&c).copied()).collect(),
            Self::Replace { pairs, bytes } => {
                let digits = name.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                if let Some(digits) = digits.filter(|digits| *bytes && digits.len() == 2)
                    && let Ok(byte) = u8::from_str_radix(digits, 16)
                {
                    return Some(vec![byte]);
                }
                let replaced =
                    pairs.iter().fold(name.to_owned(), |text, (from, to)| text.replace(from.as_str(), to));
                Some(replaced.into_bytes())
            }
        }
    }
}

/// The byte of each character of byte-level BPE: printable Latin-1 characters stand for themselves, and the other
/// bytes, in order, for the characters from U+0100 on.
fn byte_level() -> HashMap<char, u8> {
    let mut others = 0x100..;
    (0..=u8::MAX)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if printable { u32::from(byte) } else { others.next().expect("it has no end") };
            (char::from_u32(code).expect("a character"), byte)
        })
        .collect()
}
