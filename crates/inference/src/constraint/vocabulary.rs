//! A tokenizer's tokens as bytes, in a tree that constraints walk.

use std::sync::Arc;

use hearth_data::Tokenizer;
use hearth_data::tokenizer::TokenBytes;
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Logger, Matcher, ParserFactory};

use super::Guide;

/// Most states of one guide's automaton. A state takes one or two KiB.
const MAX_LEXER_STATES: usize = 20_000;
/// Most work of making the automaton's first state; a thousand units are some tens of microseconds.
const MAX_COMPILE_COST: u64 = 1_000_000;
/// Most work that one mask may cost in new states of the automaton: some milliseconds.
const MAX_MASK_LEXER_COST: u64 = 200_000;
/// Most items of the parser in one mask, and at one place of the text: about a tenth of a second at worst. Grammars go
/// character by character, which takes more items for a mask, and fewer for a place unless they are very ambiguous.
const MAX_JSON_ITEMS: (usize, usize) = (100_000, 2_000);
const MAX_GRAMMAR_ITEMS: (usize, usize) = (200_000, 400);
/// Most symbols of a compiled grammar.
const MAX_GRAMMAR_SYMBOLS: usize = 200_000;
/// Longest part of the library's own sentence that an error repeats, in characters.
const MAX_SENTENCE_CHARS: usize = 200;

/// The tokens of one model.
pub(crate) struct Vocabulary {
    factory: ParserFactory,
    /// Special tokens by name.
    special: Vec<(String, u32)>,
}

impl Vocabulary {
    /// Takes some tenths of a second for a usual tokenizer.
    ///
    /// # Errors
    /// A sentence, when it is not known what bytes the tokens stand for.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Self, String> {
        let tokens = tokenizer.token_bytes().map_err(|error| error.to_string())?;
        let (mut words, mut special) = (Vec::with_capacity(tokens.len()), Vec::new());
        for (id, token) in tokens.into_iter().enumerate() {
            words.push(match token {
                TokenBytes::Bytes(bytes) => bytes,
                TokenBytes::Special(name) => {
                    let word = [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat();
                    special.push((name, id as u32));
                    word
                }
                TokenBytes::Nothing => Vec::new(),
            });
        }
        let end = tokenizer.eos_ids().iter().copied().find(|id| (*id as usize) < words.len());
        let info = TokRxInfo::new(words.len() as u32, end.unwrap_or(INVALID_TOKEN));
        let make = || {
            let trie = TokTrie::from(&info, &words);
            let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let slices = llguidance::earley::SlicedBiasComputer::general_slices();
            ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
        };
        // The library asserts what it expects of tokens.
        let mut factory = std::panic::catch_unwind(std::panic::AssertUnwindSafe(make))
            .map_err(|_| "the tokens do not fit into a tree".to_owned())?
            .map_err(|error| error.to_string())?;
        factory.quiet();
        Ok(Self { factory, special })
    }

    /// The special token of this name.
    pub(super) fn special(&self, name: &str) -> Option<u32> {
        self.special.iter().find(|(special, _)| special == name).map(|(_, id)| *id)
    }

    /// A guide through texts of JSON, with what stands around them.
    ///
    /// # Errors
    /// The library's sentence for what it does not take.
    pub(super) fn json_guide(&self, grammar: TopLevelGrammar) -> Result<Guide, String> {
        self.guide(grammar, MAX_JSON_ITEMS)
    }

    /// A guide through texts of a grammar whose lexemes are characters.
    ///
    /// # Errors
    /// As [`Vocabulary::json_guide`].
    pub(super) fn grammar_guide(&self, grammar: TopLevelGrammar) -> Result<Guide, String> {
        self.guide(grammar, MAX_GRAMMAR_ITEMS)
    }

    fn guide(&self, grammar: TopLevelGrammar, items: (usize, usize)) -> Result<Guide, String> {
        let limits = ParserLimits {
            step_max_items: items.0,
            max_items_in_row: items.1,
            initial_lexer_fuel: MAX_COMPILE_COST,
            step_lexer_fuel: MAX_MASK_LEXER_COST,
            max_lexer_states: MAX_LEXER_STATES,
            max_grammar_size: MAX_GRAMMAR_SYMBOLS,
            precompute_large_lexemes: false,
            verbose_errors: false,
        };
        let parser = self.factory.create_parser_from_init_ext(
            GrammarInit::Serialized(grammar),
            Logger::new(0, 0),
            InferenceCapabilities::default(),
            limits,
        );
        match parser {
            Ok(parser) => Ok(Guide::new(Matcher::new(Ok(parser)))),
            Err(error) => Err(format!("is not supported: {}", sentence(&error.to_string()))),
        }
    }
}

/// The first line of what the library says, which may have more: its own state.
fn sentence(text: &str) -> String {
    if text.starts_with("panic") {
        return "it cannot be compiled".to_owned();
    }
    text.lines().next().unwrap_or_default().chars().take(MAX_SENTENCE_CHARS).collect()
}
