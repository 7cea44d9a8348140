//! From the files that somebody brings to a complete model directory, checked as a job and a chat would use it.
//!
//! The one way in, for `hearth model import` and for uploads: [`base`] and [`adapter`] fill an empty directory, and say
//! everything that is wrong at once. [`trained`] does the same with an adapter as a trainer holds it.

mod adapter;
mod base;
mod files;
mod problem;
mod trained;

use std::path::{Path, PathBuf};

use hearth_data::template::process::{RenderReply, RenderRequest};
use hearth_data::{ChatTemplate, Message, Role, SpecialTokens};

pub use adapter::{
    ADAPTER_RANK_MAX, ADAPTER_RANK_MIN, AdapterFacts, AdapterSettings, adapter, adapter_settings,
};
pub use base::{BaseFacts, base};
pub use files::{Take, is_model_file, is_pickle};
pub use problem::Problem;
pub use trained::{TrainedAdapter, trained};

use crate::{InferenceError, Service};

/// The chat template beside the tokenizer.
const TEMPLATE_FILE: &str = "chat_template.jinja";
const CONFIG_FILE: &str = "config.json";
const TOKENIZER_FILE: &str = "tokenizer.json";
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// Why no model came of it.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The files are not those of a model that can be used here.
    #[error("{}", joined(.0))]
    Refused(Vec<Problem>),
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The check itself could not be made.
    #[error("the model cannot be checked")]
    Check(#[source] InferenceError),
}

fn joined(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> AssembleError {
    move |source| AssembleError::Io { action, path: path.to_owned(), source }
}

/// Who runs a chat template to see whether it works.
#[derive(Clone, Copy)]
pub enum Templates<'a> {
    /// This process: whoever brings the model runs this program too.
    Here,
    /// A process of its own, as for chats.
    Apart(&'a Service),
}

impl Templates<'_> {
    /// What is wrong with a template, if anything is.
    fn check(self, source: &str, special: &SpecialTokens) -> Result<Option<Problem>, AssembleError> {
        let message = match self {
            Self::Here => ChatTemplate::compile(source, special).err().map(|error| error.to_string()),
            Self::Apart(service) => {
                let question = [Message::new(Role::User, "hello")];
                match service.render(&RenderRequest::new(source, special, &question, &[])) {
                    Ok(
                        RenderReply::Rendered { .. } | RenderReply::Turns { .. } | RenderReply::Fault { .. },
                    ) => None,
                    Ok(RenderReply::Error { message, line: Some(line) }) => {
                        Some(format!("line {line}: {message}"))
                    }
                    Ok(RenderReply::Error { message, line: None }) => Some(message),
                    Err(error @ InferenceError::TemplateLimits) => Some(error.to_string()),
                    Err(error) => return Err(AssembleError::Check(error)),
                }
            }
        };
        let problem = |message| Problem::of_file(TEMPLATE_FILE, format!("is not usable: {message}"));
        Ok(message.map(problem))
    }
}
