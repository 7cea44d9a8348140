//! The tokenizer of a model directory, and one made of a GGUF file's metadata.

mod bytes;
mod gguf;
mod loading;
mod pre;
mod sentencepiece;
mod unigram;

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use bytes::TokenBytes;
pub use gguf::{GgufTokenizer, config_from_gguf, from_gguf};
pub use loading::class_alone;

use crate::error::Error;

/// Most tokens that a [`StreamDecoder`] holds back. An unfinished character has at most 3, but a run of real
/// U+FFFD looks unfinished too, so there is room for some of them.
const MAX_HELD_TOKENS: usize = 32;
/// Longest run of white space that is encoded, in characters. The patterns of pre-tokenizers go back over a run step by
/// step; after a million steps the library gives up without a word, and the ids would be others than Hugging Face's.
const MAX_WHITE_SPACE: usize = 500_000;
const CONFIG_FILE: &str = "tokenizer_config.json";

/// The texts of a tokenizer's special tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Beginning of a sequence.
    pub bos: Option<String>,
    /// End of a sequence.
    pub eos: Option<String>,
    /// Padding.
    pub pad: Option<String>,
    /// Stands for what the vocabulary lacks.
    pub unk: Option<String>,
}

/// Where a token begins and ends in a text, in bytes.
pub(crate) type Place = (usize, usize);

/// Text to ids and back. Cheap to share between threads behind an `Arc`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: SpecialTokens,
    added: HashSet<u32>,
    bos_to_add: Option<u32>,
    eos_id: Option<u32>,
    eos_ids: Vec<u32>,
    /// Whether a text is encoded with a space in front of it.
    puts_space_in_front: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, where they are there, `tokenizer_config.json` (special tokens), `config.json` (what
    /// transformers goes by when it loads a tokenizer) and `generation_config.json` (further end tokens).
    pub fn open(model_dir: &Path) -> Result<Self, Error> {
        Self::open_over(model_dir, model_dir)
    }

    /// As [`Tokenizer::open`], for the directory of an adapter, which has no `config.json`: that of its base counts.
    pub fn open_over(model_dir: &Path, base_dir: &Path) -> Result<Self, Error> {
        let text = read(&model_dir.join("tokenizer.json"))?;
        let config = read_json(&model_dir.join(CONFIG_FILE))?;
        let generation = read_json(&model_dir.join("generation_config.json"))?;
        let text = loading::as_loaded(&text, &config, &read_json(&base_dir.join("config.json"))?)?;
        Self::from_parts(&text, &config, &generation)
    }

    /// As [`Tokenizer::open`], from the contents, and `tokenizer.json` as it is: `tokenizer.json`, `tokenizer_config.json` and
    /// `generation_config.json` (`Null` for a file that is not there).
    pub fn from_parts(tokenizer: &str, config: &Value, generation: &Value) -> Result<Self, Error> {
        for (name, value) in [("tokenizer_config.json", config), ("generation_config.json", generation)] {
            if !(value.is_object() || value.is_null()) {
                return Err(Error::tokenizer(format!("{name} is not a JSON object")));
            }
        }
        let mut inner = parse(tokenizer)?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|source| Error::tokenizer_from("truncation cannot be switched off", source))?;
        let special = SpecialTokens {
            bos: token_text(config, "bos_token"),
            eos: token_text(config, "eos_token"),
            pad: token_text(config, "pad_token"),
            unk: token_text(config, "unk_token"),
        };
        let id_of = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => match inner.token_to_id(text) {
                Some(id) => Ok(Some(id)),
                None => Err(Error::tokenizer(format!(
                    "the {name} of tokenizer_config.json is not in tokenizer.json"
                ))),
            },
        };
        let bos_id = id_of("bos_token", &special.bos)?;
        let eos_id = id_of("eos_token", &special.eos)?;
        let mut eos_ids: Vec<u32> = eos_id.into_iter().collect();
        for id in ids_of(&generation["eos_token_id"]) {
            if !eos_ids.contains(&id) {
                eos_ids.push(id);
            }
        }
        let is_space = |c: char| c.is_whitespace() || c == '▁';
        let added = inner.get_added_tokens_decoder().into_iter();
        let added =
            added.filter(|(_, token)| !token.content.chars().all(is_space)).map(|(id, _)| id).collect();
        let mut tokenizer = Tokenizer {
            inner,
            special,
            added,
            bos_to_add: None,
            eos_id,
            eos_ids,
            puts_space_in_front: false,
        };
        let first = tokenizer.encode("x")?.first().and_then(|&id| tokenizer.inner.id_to_token(id));
        tokenizer.puts_space_in_front = first.is_some_and(|token| token.starts_with(['▁', 'Ġ']));
        let adds_bos = match config["add_bos_token"].as_bool() {
            Some(adds) => adds,
            None => bos_id.is_some() && tokenizer.ids("", true)?.first().copied() == bos_id,
        };
        tokenizer.bos_to_add = bos_id.filter(|_| adds_bos);
        Ok(tokenizer)
    }

    fn ids(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, Error> {
        check_white_space(text)?;
        let encoding = self.inner.encode_fast(text, add_special_tokens).map_err(cannot_encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of `text`. Special tokens in the text become their ids; none are added. A text with a run of more than
    /// 500,000 white-space characters is refused.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.ids(text, false)
    }

    /// As [`Tokenizer::encode`], and where each token begins and ends in the text, in bytes.
    pub(crate) fn encode_with_places(&self, text: &str) -> Result<(Vec<u32>, Vec<Place>), Error> {
        check_white_space(text)?;
        let encoding = self.inner.encode(text, false).map_err(cannot_encode)?;
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec()))
    }

    /// The ids of a text that stands behind another one: without the space that some tokenizers put in front of a text.
    pub(crate) fn encode_continuation(&self, text: &str) -> Result<Vec<u32>, Error> {
        if self.puts_space_in_front {
            // Characters that become tokens of their own, whatever follows.
            for before in ["\n", "\u{1}"] {
                let alone = self.encode(before)?;
                if let Some(rest) = self.encode(&format!("{before}{text}"))?.strip_prefix(alone.as_slice()) {
                    return Ok(rest.to_vec());
                }
            }
        }
        self.encode(text)
    }

    /// The ids of what follows the added token `id` in a text.
    pub(crate) fn encode_after(&self, id: u32, text: &str) -> Result<Option<Vec<u32>>, Error> {
        if text.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let Some(token) = self.inner.id_to_token(id) else { return Ok(None) };
        let ids = self.encode(&(token + text))?;
        Ok(ids.strip_prefix(&[id]).map(<[u32]>::to_vec))
    }

    /// The text of `ids`, special tokens left out if `skip_special`. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|source| Error::tokenizer_from("the tokens cannot be decoded", source))
    }

    /// Ids that end a text: the end token, and those that `generation_config.json` names.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// The end token of `tokenizer_config.json`.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// The beginning token, if the tokenizer's settings put it before plain text.
    pub fn bos_to_add(&self) -> Option<u32> {
        self.bos_to_add
    }

    /// Whether `id` is an added token (special or not): text is always split before and after it. White space is none,
    /// though Gemma has line breaks and runs of spaces among them: it marks nothing.
    pub fn is_added(&self, id: u32) -> bool {
        self.added.contains(&id)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of exactly this token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether [`Tokenizer::decode`] leaves `id` out when special tokens are skipped.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// Texts of all special tokens, sorted: where they stand in a text, they become their ids.
    pub fn special_texts(&self) -> Vec<String> {
        let added = self.inner.get_added_tokens_decoder();
        let mut texts: Vec<String> =
            added.into_values().filter(|token| token.special).map(|token| token.content).collect();
        texts.sort_unstable();
        texts
    }

    /// Texts of the special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }
}

fn check_white_space(text: &str) -> Result<(), Error> {
    if text.len() > MAX_WHITE_SPACE && longest_white_space(text) > MAX_WHITE_SPACE {
        return Err(Error::tokenizer(format!(
            "the text has a run of more than {MAX_WHITE_SPACE} white-space characters; remove some of them"
        )));
    }
    Ok(())
}

fn cannot_encode(source: tokenizers::Error) -> Error {
    Error::tokenizer_from("the text cannot be encoded", source)
}

/// Turns generated ids into text as they come, special tokens left out, never giving half a character.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    /// Special tokens that are shown, with their texts.
    shown: Vec<(u32, String)>,
    /// Ids from one or more whole characters before `given` on: some decoders treat a first token differently.
    ids: Vec<u32>,
    /// Ids at the front of `ids` whose text was given out.
    given: usize,
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder that gives these tokens as their texts, though they are special. Those that are not special, or not
    /// there, are no concern of it.
    pub fn showing(tokenizer: &Tokenizer, texts: &[&str]) -> Self {
        let shown = texts.iter().filter_map(|text| {
            let id = tokenizer.token_id(text).filter(|id| tokenizer.is_special(*id))?;
            Some((id, (*text).to_owned()))
        });
        Self { shown: shown.collect(), ..Self::default() }
    }

    /// Takes one id; gives the text that is complete with it, which may be empty.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, Error> {
        if let Some(at) = self.shown.iter().position(|(shown, _)| *shown == id) {
            let mut text = self.finish(tokenizer)?;
            text.push_str(&self.shown[at].1);
            // What follows is decoded as a text of its own.
            self.ids.clear();
            self.given = 0;
            return Ok(text);
        }
        self.ids.push(id);
        self.advance(tokenizer, self.ids.len() - self.given > MAX_HELD_TOKENS)
    }

    /// The rest of the text at its end; an unfinished character becomes U+FFFD.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String, Error> {
        self.advance(tokenizer, true)
    }

    fn advance(&mut self, tokenizer: &Tokenizer, even_if_unfinished: bool) -> Result<String, Error> {
        let before = tokenizer.decode(&self.ids[..self.given], true)?;
        let after = tokenizer.decode(&self.ids, true)?;
        if after.ends_with(char::REPLACEMENT_CHARACTER) && !even_if_unfinished {
            return Ok(String::new());
        }
        let text = after.get(before.len()..).unwrap_or_default().to_owned();
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        Ok(text)
    }
}

/// Characters of the longest run of white space.
fn longest_white_space(text: &str) -> usize {
    text.split(|c: char| !c.is_whitespace()).map(|run| run.chars().count()).max().unwrap_or(0)
}

/// The library panics at some merges that do not fit their vocabulary; here that is an error like the others.
fn parse(text: &str) -> Result<tokenizers::Tokenizer, Error> {
    std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(text.as_bytes()))
        .unwrap_or_else(|_| Err("its merges do not fit its vocabulary".into()))
        .map_err(|source| Error::tokenizer_from("tokenizer.json is not usable", source))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// The file's JSON; `Null` if it is not there.
fn read_json(path: &Path) -> Result<Value, Error> {
    if !path.exists() {
        return Ok(Value::Null);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    serde_json::from_str(&read(path)?)
        .map_err(|source| Error::tokenizer_from(format!("{name} is not JSON"), source))
}

/// The chat template of `tokenizer_config.json`.
pub(crate) fn config_chat_template(model_dir: &Path) -> Result<Option<String>, Error> {
    Ok(template_of(&read_json(&model_dir.join(CONFIG_FILE))?["chat_template"]))
}

/// A special token stands as a string, or as an object with `content`.
fn token_text(config: &Value, name: &str) -> Option<String> {
    let value = &config[name];
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// `eos_token_id` is a number or a list of numbers.
fn ids_of(value: &Value) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(ids) => ids.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    }
}

/// `chat_template` is a string, or a list of named templates of which `default` counts.
fn template_of(value: &Value) -> Option<String> {
    match value {
        Value::String(source) => Some(source.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|template| template["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
