//! Answers of a given form: a JSON schema, a grammar, or calls of tools.
//!
//! A [`Constraint`] is compiled over a model's [`Vocabulary`] to a [`Guide`], which tells before each token which ones
//! may come. The automaton is `llguidance`'s; what goes into it is checked here first, since what compiles slowly or
//! means something else than it says must be refused by name. A guide only ever forbids tokens: it changes nothing
//! about those that it allows, and nothing about other sequences.

mod gbnf;
mod guide;
mod schema;
mod tools;
mod vocabulary;

use serde_json::{Value, json};

pub(crate) use self::guide::{Allowed, Guide};
pub use self::tools::Tool;
pub(crate) use self::vocabulary::Vocabulary;
use crate::InferenceError;
use hearth_data::ToolForm;

/// Stack of the thread that compiles: schemas and grammars nest as deeply as their limits allow.
const COMPILE_STACK_BYTES: usize = 64 << 20;

/// The form that an answer must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// JSON that validates against this schema.
    JsonSchema(Value),
    /// Text of a grammar in GBNF.
    Grammar(String),
    /// At least one call of one of these tools, in the form that the model's template teaches.
    ToolCalls {
        /// Functions that may be called.
        tools: Vec<Tool>,
        /// Whether there may be more than one call, where the form has room for more.
        parallel: bool,
    },
}

impl Constraint {
    /// Any JSON object.
    pub fn json_object() -> Self {
        Self::JsonSchema(json!({"type": "object"}))
    }

    /// The request's field that asks for it.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) | Self::Grammar(_) => "response_format",
            Self::ToolCalls { .. } => "tools",
        }
    }

    /// Makes a guide. Takes bounded time and memory, whatever the constraint is.
    ///
    /// # Errors
    /// [`InferenceError::InvalidParameter`] names the field and what is wrong with it.
    pub(crate) fn compile(
        &self,
        vocabulary: &Vocabulary,
        form: Option<ToolForm>,
    ) -> Result<Guide, InferenceError> {
        let compile = || match self {
            Self::JsonSchema(schema) => vocabulary.json_guide(schema::grammar(schema)?),
            Self::Grammar(text) => vocabulary.grammar_guide(gbnf::grammar(text)?),
            Self::ToolCalls { tools, parallel } => {
                let form = form.ok_or("need a chat template that shows them")?;
                vocabulary.json_guide(tools::grammar(form, tools, *parallel, vocabulary)?)
            }
        };
        let result = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(COMPILE_STACK_BYTES);
            let running = thread.spawn_scoped(scope, compile).map_err(|error| error.to_string())?;
            running.join().unwrap_or_else(|_| Err("cannot be compiled".to_owned()))
        });
        result.map_err(|message| InferenceError::InvalidParameter { field: self.field(), message })
    }
}

#[cfg(test)]
mod tests;
