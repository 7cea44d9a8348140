//! Training samples for people to look at, made as the trainer makes them.

use std::path::Path;
use std::sync::Arc;

use hearth_data::render::Piece;
use hearth_data::template::process::{RenderReply, RenderRequest};
use hearth_data::{
    Code, Conversation, Finding, Message, Rendered, Renderer, Role, Row, RowContent, Sample, Tokenizer,
};

use crate::InferenceError;
use crate::render::Prompter;
use crate::service::Service;

/// Tokenizer and chat template of a base, or another template in its place.
pub struct Sampler {
    service: Service,
    kind: Kind,
}

enum Kind {
    /// The base's own template, or none.
    Own(Arc<Prompter>),
    /// A template that runs in a process of its own.
    Foreign {
        /// Has no template.
        renderer: Box<Renderer>,
        template: String,
        stop_ids: Vec<u32>,
    },
}

impl Service {
    /// Opens the tokenizer of the base in `base_dir`, with `template` in place of its chat template if it is given.
    /// Blocks.
    ///
    /// # Errors
    /// [`InferenceError::Template`] and [`InferenceError::TemplateLimits`] if that template does not work at all.
    pub fn sampler(&self, base_dir: &Path, template: Option<&str>) -> Result<Sampler, InferenceError> {
        let load = |source| InferenceError::LoadRenderer { dir: base_dir.to_owned(), source };
        let own = hearth_data::template::source_of(base_dir).map_err(load)?;
        // The template of a base that somebody uploaded is a stranger's too.
        let is_trusted = self.is_base_trusted(base_dir);
        let kind = match template.or(own.as_deref()) {
            Some(template) if !is_trusted || own.as_deref() != Some(template) => {
                let tokenizer = Tokenizer::open(base_dir).map_err(load)?;
                let renderer = Box::new(Renderer::new(tokenizer, None).map_err(load)?);
                let messages = vec![Message::new(Role::User, "a"), Message::new(Role::Assistant, "b")];
                let probe = Conversation { messages, tools: Vec::new() };
                let special = renderer.tokenizer().special_tokens();
                let request = RenderRequest::for_training(template, special, &probe);
                let answer = match self.render(&request)? {
                    RenderReply::Turns { answer, .. } => answer,
                    other => return Err(InferenceError::Template(refusal(other))),
                };
                let stop_ids = renderer.stop_ids_from_text(&answer).map_err(InferenceError::Template)?;
                Kind::Foreign { renderer, template: template.to_owned(), stop_ids }
            }
            _ => Kind::Own(self.base_prompter(base_dir)?),
        };
        Ok(Sampler { service: self.clone(), kind })
    }
}

impl Sampler {
    fn renderer(&self) -> &Renderer {
        match &self.kind {
            Kind::Own(prompter) => prompter.renderer(),
            Kind::Foreign { renderer, .. } => renderer,
        }
    }

    /// The training samples of a row; those of more than `max_tokens` tokens are left out of training. The inner error is
    /// what is wrong with the row. Blocks.
    pub fn render(&self, row: &Row, max_tokens: usize) -> Result<Result<Rendered, Finding>, InferenceError> {
        let (Kind::Foreign { renderer, template, stop_ids }, RowContent::Chat(conversation)) =
            (&self.kind, &row.content)
        else {
            return Ok(self.renderer().render(row, max_tokens));
        };
        let request =
            RenderRequest::for_training(template, renderer.tokenizer().special_tokens(), conversation);
        Ok(match self.service.render(&request)? {
            RenderReply::Turns { turns, .. } if turns.is_sound() => {
                renderer.render_turns(row, &turns, stop_ids, max_tokens)
            }
            RenderReply::Fault { fault } => Err(fault.at(row)),
            other => {
                let message = refusal(other).to_string();
                let fix = "change the row or the chat template";
                Err(Finding::new(row.line, "", Code::Template, message, fix))
            }
        })
    }

    /// A sample in parts of equal weight; see [`Renderer::segments`].
    pub fn segments(&self, sample: &Sample) -> Result<Vec<Piece>, InferenceError> {
        self.renderer().segments(sample).map_err(InferenceError::Decode)
    }
}

/// Why a template gave no turns.
fn refusal(reply: RenderReply) -> hearth_data::Error {
    match reply {
        RenderReply::Error { message, line } => hearth_data::Error::Template { message, line },
        _ => {
            hearth_data::Error::Template { message: "its process answered something else".into(), line: None }
        }
    }
}
