//! Chat templates: Jinja as transformers runs it, with limits.
//!
//! Differences between minijinja and what templates expect of Python are closed here: block trimming, Python
//! string methods, `raise_exception`, `strftime_now`, `tojson`, loop controls, `{% generation %}` tags.
//!
//! Limited are instructions, output and nesting of calls. Not limited is what a template builds in its variables:
//! the engine counts neither the bytes of strings nor the depth of lists, and a string doubles in a few
//! instructions. A process that renders the template of a stranger can be made to end for want of memory or stack;
//! [`process`] is for rendering it in one that may.

pub mod history;
mod json;
pub mod process;
mod python;
mod shown;
mod tools;
pub mod turns;

use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, ErrorKind};
use sha2::{Digest, Sha256};

use tools::CallForm;
pub use tools::ToolForm;

use crate::error::Error;
use crate::row::Message;
use crate::tokenizer::{SpecialTokens, config_chat_template};

/// Most instructions of the template engine for one rendering: a template that needs more is taken to loop
/// for ever. A message costs some tens of instructions.
pub const MAX_INSTRUCTIONS: u64 = 10_000_000;
/// Longest rendered text, in bytes: room for the longest row twice.
pub const MAX_OUTPUT_BYTES: usize = 64 << 20;
/// Longest part of a template's own sentence that an error repeats, in characters.
const MAX_SENTENCE_CHARS: usize = 200;
const NAME: &str = "chat";
/// What stands before the chat template of a model that learnt to answer without thoughts: whoever does not ask for them
/// gives the prompt that was trained. See `docs/adr/011-thoughts.md`.
const NO_THOUGHTS: &str =
    "{%- if enable_thinking is not defined %}{%- set enable_thinking = false %}{%- endif %}";

/// A template that makes the model think only when it is told to.
pub fn without_thoughts(source: &str) -> String {
    format!("{NO_THOUGHTS}{}", as_given(source))
}

/// A template as it was before [`without_thoughts`].
pub fn as_given(source: &str) -> &str {
    source.strip_prefix(NO_THOUGHTS).unwrap_or(source)
}

/// The source of a model directory's own template: `chat_template.jinja`, else the one in `tokenizer_config.json`.
/// `None` when there is none at all.
pub fn source_of(model_dir: &Path) -> Result<Option<String>, Error> {
    let path = model_dir.join("chat_template.jinja");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => config_chat_template(model_dir),
        Err(source) => Err(Error::File { path, source }),
    }
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special_tokens: SpecialTokens,
    has_thinking_switch: bool,
    call_form: OnceLock<CallForm>,
}

impl ChatTemplate {
    /// Compiles `source`. The special tokens become the variables `bos_token`, `eos_token` and so on.
    pub fn compile(source: &str, special_tokens: &SpecialTokens) -> Result<Self, Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the default delimiters are valid"));
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(MAX_INSTRUCTIONS));
        // Errors say the same in every build.
        environment.set_debug(false);
        python::extend(&mut environment);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| template_error(&error, source, false))?;
        Ok(ChatTemplate {
            environment,
            source: source.to_owned(),
            special_tokens: special_tokens.clone(),
            has_thinking_switch: tools::mentions(source, "enable_thinking"),
            call_form: OnceLock::new(),
        })
    }

    /// The text of a conversation, ending with the opening of an assistant turn if `add_generation_prompt`. The model
    /// is shown `tools`, which are functions in OpenAI's form.
    pub fn render(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        self.render_thinking(messages, tools, add_generation_prompt, None)
    }

    /// As [`ChatTemplate::render`], with the variable `enable_thinking` if it is given.
    pub(crate) fn render_thinking(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        add_generation_prompt: bool,
        enable_thinking: Option<bool>,
    ) -> Result<String, Error> {
        let form = match messages.iter().all(|message| message.tool_calls.is_empty()) {
            true => CallForm::default(),
            false => self.call_form(),
        };
        let messages = messages.iter().map(|message| form.message(message)).collect();
        let tools = if tools.is_empty() { Value::from(()) } else { tools.iter().map(tools::value).collect() };
        self.render_values(messages, tools, add_generation_prompt, enable_thinking)
    }

    /// Found out when the first conversation with calls is rendered.
    fn call_form(&self) -> CallForm {
        *self.call_form.get_or_init(|| {
            CallForm::probe(|messages, tools| {
                self.render_values(Value::from(messages.to_vec()), tools.clone(), false, None).ok()
            })
        })
    }

    fn render_values(
        &self,
        messages: Value,
        tools: Value,
        add_generation_prompt: bool,
        enable_thinking: Option<bool>,
    ) -> Result<String, Error> {
        let special = &self.special_tokens;
        let special = [
            ("bos_token", &special.bos),
            ("eos_token", &special.eos),
            ("unk_token", &special.unk),
            ("pad_token", &special.pad),
        ];
        let mut variables = vec![
            ("messages", messages),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", tools),
            ("documents", Value::from(())),
        ];
        variables.extend(enable_thinking.map(|is_on| ("enable_thinking", Value::from(is_on))));
        variables
            .extend(special.iter().filter_map(|(name, text)| Some((*name, Value::from(text.as_deref()?)))));

        let failed = |error, output_full| template_error(&error, &self.source, output_full);
        let template = self.environment.get_template(NAME).map_err(|error| failed(error, false))?;
        let mut output = LimitedOutput { bytes: Vec::new(), full: false };
        let result = template.render_captured_to(Value::from_pairs(variables), &mut output).map(|_| ());
        result.map_err(|error| failed(error, output.full))?;
        Ok(String::from_utf8(output.bytes).expect("the engine writes whole strings"))
    }

    /// Whether the template has the variable that switches thoughts off.
    pub fn can_be_told_not_to_think(&self) -> bool {
        self.has_thinking_switch
    }

    /// Allows so many instructions for one rendering, in place of [`MAX_INSTRUCTIONS`].
    pub fn set_max_instructions(&mut self, instructions: u64) {
        self.environment.set_fuel(Some(instructions));
    }

    /// Fixes the time that `strftime_now` tells, in milliseconds since the Unix epoch, so that rows that are
    /// rendered again on another day come out the same. Out of range, it is the epoch.
    pub fn set_now_ms(&mut self, now_ms: i64) {
        let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        self.environment.add_function("strftime_now", move |format: String| strftime(now, &format));
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-256 of the source, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.source.as_bytes()))
    }
}

struct LimitedOutput {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > MAX_OUTPUT_BYTES - self.bytes.len() {
            self.full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a template said through `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
}

/// The time now in UTC, by `strftime`.
fn strftime_now(format: String) -> Result<String, minijinja::Error> {
    strftime(jiff::Timestamp::now(), &format)
}

fn strftime(time: jiff::Timestamp, format: &str) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, &time.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
}

/// `json.dumps(value, ensure_ascii=False)` with the arguments that transformers passes on.
fn tojson(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let style = json::Style {
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent: options.get::<Option<usize>>("indent")?,
        separators: options.get::<Option<Vec<String>>>("separators")?,
    };
    options.assert_all_used()?;
    json::dumps(value, &style)
}

/// Replaces `{% generation %}` by `{% if true %}` and `{% endgeneration %}` by `{% endif %}`, keeping the
/// white space marks. The tag marks trained text for other trainers; here the mask comes from prefixes.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start + 2..].find("%}") else { break };
        let tag = &rest[start + 2..start + 2 + length];
        let word = tag.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        out.push_str(&rest[..start + 2]);
        match word {
            "generation" => out.push_str(&tag.replace(word, "if true")),
            "endgeneration" => out.push_str(&tag.replace(word, "endif")),
            _ => out.push_str(tag),
        }
        out.push_str("%}");
        rest = &rest[start + length + 4..];
    }
    out.push_str(rest);
    out
}

/// A sentence that a template raised is repeated only if it stands in `source` as it is: one that is put together
/// may quote the conversation.
fn template_error(error: &minijinja::Error, source: &str, output_full: bool) -> Error {
    let raised = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Raised>());
    let message = match (error.kind(), raised) {
        (_, Some(Raised(sentence))) if source.contains(sentence.as_str()) => {
            format!("refused the conversation: {}", shortened(sentence))
        }
        (_, Some(_)) => "refused the conversation, in words of which some may be the row's".to_owned(),
        (ErrorKind::OutOfFuel, _) => {
            format!("stopped after {MAX_INSTRUCTIONS} instructions; a loop does not end")
        }
        _ if output_full => format!("writes more than {MAX_OUTPUT_BYTES} bytes"),
        (kind, _) => match error.detail().filter(|detail| is_of_the_template(detail, source)) {
            Some(detail) => format!("{kind}: {}", shortened(detail)),
            None => kind.to_string(),
        },
    };
    Error::Template { message, line: error.line() }
}

/// Whether what the engine says quotes nothing but the template: it also quotes values, which may be the conversation's.
fn is_of_the_template(detail: &str, source: &str) -> bool {
    const QUOTES: [char; 3] = ['\'', '"', '`'];
    match (detail.find(QUOTES), detail.rfind(QUOTES)) {
        (Some(first), Some(last)) if first < last => source.contains(&detail[first + 1..last]),
        (None, None) => true,
        _ => false,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_SENTENCE_CHARS).collect()
}

#[cfg(test)]
mod tests;
