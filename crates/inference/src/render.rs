//! Prompts: rendered in this process with a base's own template, in a process of its own with any other.
//!
//! Anybody who may train can give a template, and a template can make its process end for want of memory or stack
//! ([`hearth_data::template`]). So one that the base does not have itself, and that of a base which somebody uploaded, is
//! neither compiled nor rendered here.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use hearth_data::template::process::{MAX_REPLY_BYTES, MAX_REQUEST_BYTES, RenderReply, RenderRequest};
use hearth_data::template::{as_given, source_of};
use hearth_data::tokenizer::TokenBytes;
use hearth_data::{Error, Message, Renderer, StreamDecoder, Tokenizer, ToolForm};
use serde_json::Value;

use crate::constraint::Vocabulary;
use crate::{InferenceError, Limits};

/// Most requests that wait for a rendering process; one more is refused, so that slow templates leave places in
/// the queue to other models.
const MAX_RENDERS_WAITING: usize = 16;
/// How often a process that said its last word is looked at, and how many times until it is ended.
const EXIT_POLL: Duration = Duration::from_millis(1);
const EXIT_POLLS_MAX: usize = 200;

/// A rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// What the model is given.
    pub(crate) ids: Vec<u32>,
    /// Ids that end its answer.
    pub(crate) stop_ids: Vec<u32>,
}

/// Tokenizer and chat template of one model.
pub(crate) struct Prompter {
    /// Has no template if `foreign` is set.
    renderer: Renderer,
    /// Source of a template that does not run in this process.
    foreign: Option<String>,
    /// What each token adds to a text; made when it is first asked for.
    token_bytes: OnceLock<Vec<TokenBytes>>,
    /// How the model calls tools; `None` if its template shows none.
    tool_form: Option<ToolForm>,
    /// For constraints; made when the first one comes.
    vocabulary: OnceLock<Result<Vocabulary, String>>,
}

impl Prompter {
    /// Opens the model in `dir` over the base in `base_dir`; both are the same for a base itself. `is_base_trusted`:
    /// the base's own template may run in this process.
    pub(crate) fn open(dir: &Path, base_dir: &Path, is_base_trusted: bool) -> Result<Self, InferenceError> {
        let open = || {
            let source = source_of(dir)?;
            let given = source.as_deref().map(as_given);
            let is_bases = dir == base_dir || given == source_of(base_dir)?.as_deref().map(as_given);
            let tool_form = source.as_deref().and_then(ToolForm::of);
            Ok(if source.is_none() || (is_base_trusted && is_bases) {
                Self::new(Renderer::open_over(dir, base_dir, source.as_deref())?, None, tool_form)
            } else {
                Self::new(Renderer::new(Tokenizer::open_over(dir, base_dir)?, None)?, source, tool_form)
            })
        };
        open().map_err(|source| InferenceError::LoadRenderer { dir: dir.to_owned(), source })
    }

    fn new(renderer: Renderer, foreign: Option<String>, tool_form: Option<ToolForm>) -> Self {
        let (token_bytes, vocabulary) = (OnceLock::new(), OnceLock::new());
        Self { renderer, foreign, token_bytes, tool_form, vocabulary }
    }

    /// How the model calls tools; `None` if its template shows none.
    pub(crate) fn tool_form(&self) -> Option<ToolForm> {
        self.tool_form
    }

    /// What turns tokens into text, with the marks of calls of this form in it.
    pub(crate) fn decoder(&self, calls: Option<ToolForm>) -> StreamDecoder {
        StreamDecoder::showing(self.tokenizer(), calls.map_or(&[], ToolForm::markers))
    }

    /// The tokens as constraints need them. Made by the first call, which takes some tenths of a second.
    ///
    /// # Errors
    /// A sentence, when answers of this model cannot be constrained.
    pub(crate) fn vocabulary(&self) -> Result<&Vocabulary, &str> {
        self.vocabulary.get_or_init(|| Vocabulary::new(self.tokenizer())).as_ref().map_err(String::as_str)
    }

    /// What a token adds to a text; the name of one that is special.
    pub(crate) fn bytes_of(&self, id: u32) -> Vec<u8> {
        let all = self.token_bytes.get_or_init(|| {
            self.tokenizer().token_bytes().unwrap_or_else(|error| {
                tracing::warn!(%error, "the bytes of single tokens are not known");
                Vec::new()
            })
        });
        match all.get(id as usize) {
            Some(TokenBytes::Bytes(bytes)) => bytes.clone(),
            Some(TokenBytes::Special(name)) => name.clone().into_bytes(),
            Some(TokenBytes::Nothing) | None => Vec::new(),
        }
    }

    /// Tokenizer and template; without the template if it is not the base's own.
    pub(crate) fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// The tokenizer.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.renderer.tokenizer()
    }

    /// Renders and tokenises; the model is shown `tools`. Blocks while another process renders.
    pub(crate) fn prompt(
        &self,
        messages: &[Message],
        tools: &[Value],
        processes: &RenderProcesses,
    ) -> Result<Prompt, InferenceError> {
        let result = match &self.foreign {
            None => self.renderer.prompt(messages, tools).map(|ids| (ids, self.renderer.stop_ids().to_vec())),
            Some(source) => {
                let request = RenderRequest::new(source, self.tokenizer().special_tokens(), messages, tools);
                match processes.render(&request)? {
                    RenderReply::Rendered { prompt, answer } => {
                        let ids = self.renderer.prompt_from_text(&prompt);
                        ids.and_then(|ids| Ok((ids, self.renderer.stop_ids_from_text(&answer)?)))
                    }
                    RenderReply::Error { message, line } => Err(Error::Template { message, line }),
                    RenderReply::Turns { .. } | RenderReply::Fault { .. } => Err(Error::Template {
                        message: "its process answered something else".into(),
                        line: None,
                    }),
                }
            }
        };
        let (ids, stop_ids) = result.map_err(InferenceError::Template)?;
        Ok(Prompt { ids, stop_ids })
    }
}

/// Starts rendering processes, one for each request, few at a time.
pub(crate) struct RenderProcesses {
    command: Vec<OsString>,
    timeout: Duration,
    max_running: usize,
    counts: Mutex<Counts>,
    ended: Condvar,
}

#[derive(Default)]
struct Counts {
    running: usize,
    waiting: usize,
}

impl RenderProcesses {
    /// `command` is program and arguments.
    pub(crate) fn new(command: Vec<OsString>, limits: &Limits) -> Self {
        assert!(limits.max_renders > 0, "a service renders something");
        Self {
            command,
            timeout: limits.render_timeout,
            max_running: limits.max_renders,
            counts: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    pub(crate) fn render(&self, request: &RenderRequest) -> Result<RenderReply, InferenceError> {
        let request = serde_json::to_vec(request).expect("strings are JSON");
        if request.len() > MAX_REQUEST_BYTES {
            return Err(InferenceError::TemplateLimits);
        }
        let slot = self.slot()?;
        let (reply, status) = self.exchange(&request).map_err(InferenceError::RenderProcess)?;
        drop(slot);
        if reply.len() <= MAX_REPLY_BYTES
            && let Ok(reply) = serde_json::from_slice(&reply)
        {
            return Ok(reply);
        }
        let status = status.map_or("killed".to_owned(), |status| status.to_string());
        tracing::warn!(%status, reply_bytes = reply.len(), "a chat template's process ended without an answer");
        Err(InferenceError::TemplateLimits)
    }

    /// Starts a process, gives it `request` and reads its reply, at most one byte more than is allowed. The process is
    /// gone afterwards; its status, unless it had to be killed.
    fn exchange(&self, request: &[u8]) -> io::Result<(Vec<u8>, Option<ExitStatus>)> {
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| io::Error::other("the service was given no command"))?;
        // Its last words may quote the conversation, so nobody hears them.
        let mut child = Command::new(program)
            .args(arguments)
            // A stranger's template runs in it.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let (reading, read) = std::sync::mpsc::channel::<()>();
        let timeout = self.timeout;
        thread::scope(|scope| {
            let watch = scope.spawn(move || end(child, &read, timeout));
            // One that ends before it has read everything may still have answered.
            let _ = stdin.write_all(request);
            drop(stdin);
            let mut reply = Vec::new();
            let result = stdout.take(MAX_REPLY_BYTES as u64 + 1).read_to_end(&mut reply);
            drop(reading);
            let status = watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            result.map(|_| (reply, status))
        })
    }

    /// A place to run, waited for if all are taken.
    fn slot(&self) -> Result<Slot<'_>, InferenceError> {
        let mut counts = self.counts();
        if counts.running == self.max_running {
            if counts.waiting == MAX_RENDERS_WAITING {
                return Err(InferenceError::QueueFull { limit: MAX_RENDERS_WAITING });
            }
            counts.waiting += 1;
            let full = |counts: &mut Counts| counts.running == self.max_running;
            counts = self.ended.wait_while(counts, full).unwrap_or_else(PoisonError::into_inner);
            counts.waiting -= 1;
        }
        counts.running += 1;
        Ok(Slot(self))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that may run; gives its place back when dropped.
struct Slot<'a>(&'a RenderProcesses);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.counts().running -= 1;
        self.0.ended.notify_one();
    }
}

/// Waits until `read` is closed, which means that the process has no more to say, or for `timeout`. Kills the process
/// if it does not end by itself then.
fn end(mut child: Child, read: &Receiver<()>, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    if read.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected) {
        for _ in 0..EXIT_POLLS_MAX {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(EXIT_POLL);
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests;
