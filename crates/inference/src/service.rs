//! The handle that callers hold.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hearth_data::template::process::{RenderReply, RenderRequest};
use hearth_kernels::Cpu;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::constraint::Guide;
use crate::models::{Model, Models, Pin, Residency};
use crate::prompt::Prompted;
use crate::render::{Prompter, RenderProcesses};
use crate::scheduler::{Job, Scheduler};
use crate::sequence::{EVENTS_BESIDE_TOKENS, Options, Task};
use crate::stats::{Counts, Stats};
use crate::{
    Constraint, GenerateRequest, Generation, InferenceError, Input, ModelRef, Overflow, PromptTokens,
};

/// What the service may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sequences in one step.
    pub max_batch: usize,
    /// Most requests that wait to join; one more is refused.
    pub max_waiting: usize,
    /// Bytes of key-value cache of all running sequences. Requests wait while it is used up.
    pub kv_cache_bytes: usize,
    /// Most tokens of one request: for each choice its prompt and the longest answer that it may have. It bounds the
    /// work of a request, and the events that wait for a slow reader.
    pub max_request_tokens: usize,
    /// Bases that stay loaded without being pinned.
    pub max_bases: usize,
    /// Adapters that stay loaded without being pinned.
    pub max_adapters: usize,
    /// Most bytes of weights in memory, pinned or not.
    pub model_bytes: u64,
    /// Processes that render chat templates at the same time.
    pub max_renders: usize,
    /// Longest time that such a process may take.
    pub render_timeout: Duration,
    /// Where the bases are whose own chat templates may run in this process: those of whoever runs it. `None` is
    /// everywhere.
    pub trusted_bases_dir: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch: 8,
            max_waiting: 64,
            kv_cache_bytes: 2 << 30,
            max_request_tokens: 1 << 17,
            max_bases: 4,
            max_adapters: 32,
            model_bytes: u64::MAX,
            max_renders: 2,
            render_timeout: Duration::from_secs(10),
            trusted_bases_dir: None,
        }
    }
}

/// Continues prompts. Clones are cheap and share one scheduler, which ends with the last of them.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    models: Arc<Models>,
    renders: RenderProcesses,
    places: Arc<Semaphore>,
    inbox: Mutex<Sender<Job>>,
    counts: Arc<Counts>,
}

impl Service {
    /// Starts the scheduler's thread. Models are loaded when they are first asked for.
    ///
    /// `render_command` is the program, with its arguments, that renders the chat template of an adapter that is not
    /// its base's own: it reads a [`RenderRequest`](hearth_data::template::process::RenderRequest) as JSON, writes a
    /// [`RenderReply`](hearth_data::template::process::RenderReply), limits its own memory, and starts no other
    /// process. If it is empty, such adapters cannot be asked.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(backend: Arc<Cpu>, limits: Limits, render_command: Vec<OsString>) -> std::io::Result<Self> {
        let (service, scheduler) = Self::parts(backend, limits, render_command);
        thread::Builder::new().name("inference".to_owned()).spawn(move || scheduler.run())?;
        Ok(service)
    }

    /// The handle and a scheduler that does not run yet.
    pub(crate) fn parts(
        backend: Arc<Cpu>,
        limits: Limits,
        render_command: Vec<OsString>,
    ) -> (Self, Scheduler) {
        assert!(limits.max_batch > 0 && limits.max_waiting > 0, "a service answers something");
        let (sender, inbox) = std::sync::mpsc::channel();
        let counts = Arc::new(Counts::default());
        let scheduler = Scheduler::new(limits.clone(), inbox, Arc::clone(&counts));
        let shared = Shared {
            models: Arc::new(Models::new(backend, &limits)),
            renders: RenderProcesses::new(render_command, &limits),
            places: Arc::new(Semaphore::new(limits.max_waiting)),
            inbox: Mutex::new(sender),
            counts,
            limits,
        };
        (Self { shared: Arc::new(shared) }, scheduler)
    }

    /// Loads the model if needed, renders the prompts and queues the request. The answers come through the returned
    /// [`Generation`].
    ///
    /// # Errors
    /// Bad parameters, a conversation that the template refuses or that does not fit, more tokens than one request
    /// may use, a model that cannot be loaded, or [`InferenceError::QueueFull`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Generation, InferenceError> {
        let arrived = Instant::now();
        request.check()?;
        let place = self.place()?;
        let service = self.clone();
        match tokio::task::spawn_blocking(move || service.enqueue(request, place, arrived)).await {
            Ok(generation) => generation,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(InferenceError::ShuttingDown),
        }
    }

    /// Tokenizer and chat template of a base. Blocks while they load.
    pub(crate) fn base_prompter(&self, dir: &Path) -> Result<Arc<Prompter>, InferenceError> {
        self.shared.models.base_prompter(dir)
    }

    /// Whether a base's own template may run in this process.
    pub fn is_base_trusted(&self, dir: &Path) -> bool {
        self.shared.models.is_base_trusted(dir)
    }

    /// Lets a process render. Blocks.
    pub(crate) fn render(&self, request: &RenderRequest) -> Result<RenderReply, InferenceError> {
        self.shared.renders.render(request)
    }

    /// Loads a model before it is needed, so that the first answer does not wait for it. Blocks.
    ///
    /// # Errors
    /// A model that cannot be loaded.
    pub fn load(&self, model: &ModelRef) -> Result<(), InferenceError> {
        self.shared.models.get(model).map(|_| ())
    }

    /// Loads a model and forgets it again: whether it can be used. Its base stays loaded, as for an answer. Blocks.
    ///
    /// # Errors
    /// A model that cannot be loaded.
    pub fn check(&self, model: &ModelRef) -> Result<(), InferenceError> {
        self.shared.models.check(model)
    }

    /// What the models run on.
    pub fn backend(&self) -> &Arc<Cpu> {
        self.shared.models.backend()
    }

    /// What was done and is being done.
    pub fn stats(&self) -> Stats {
        let free = self.shared.places.available_permits();
        let waiting = self.shared.limits.max_waiting.saturating_sub(free);
        self.shared.counts.stats(waiting, self.resident().bases.len())
    }

    /// Loads a model and keeps it loaded until the [`Pin`] is dropped. Blocks.
    ///
    /// # Errors
    /// A model that cannot be loaded, or [`InferenceError::MemoryLimit`].
    pub fn pin(&self, model: &ModelRef) -> Result<Pin, InferenceError> {
        self.shared.models.pin(model)
    }

    /// What is loaded now.
    pub fn resident(&self) -> Residency {
        self.shared.models.resident()
    }

    /// A place in the queue, from before the model is loaded until the request joins the batch.
    fn place(&self) -> Result<OwnedSemaphorePermit, InferenceError> {
        Arc::clone(&self.shared.places)
            .try_acquire_owned()
            .map_err(|_| InferenceError::QueueFull { limit: self.shared.limits.max_waiting })
    }

    /// The blocking part of [`Service::generate`].
    fn enqueue(
        &self,
        request: GenerateRequest,
        place: OwnedSemaphorePermit,
        arrived: Instant,
    ) -> Result<Generation, InferenceError> {
        let model = self.shared.models.get(&request.model)?;
        check_biased(&request, &model)?;
        let (mut tasks, mut prompts, mut tokens) = (Vec::new(), Vec::new(), 0);
        for input in &request.inputs {
            let task = self.task(Prompted::read(input, &model, &self.shared.renders)?, &request, &model)?;
            tokens += request.n * (task.prompt.ids.len() + task.max_tokens);
            if tokens > self.shared.limits.max_request_tokens {
                let limit = self.shared.limits.max_request_tokens;
                return Err(InferenceError::RequestTooLarge { limit });
            }
            let text = task.prompt.text(model.prompter.tokenizer(), 0..task.prompt.ids.len())?;
            prompts.push(PromptTokens { ids: task.prompt.ids.as_slice().into(), text });
            tasks.push(Arc::new(task));
        }
        let guide =
            request.constraint.as_ref().map(|constraint| constrain(constraint, &model)).transpose()?;
        let shows_tools = |input: &Input| matches!(input, Input::Chat(chat) if !chat.tools.is_empty());
        let tool_form = model.prompter.tool_form().filter(|_| request.inputs.iter().any(shows_tools));
        let choices = request.n * tasks.len();
        let events = |task: &Arc<Task>| request.n * (task.max_tokens + EVENTS_BESIDE_TOKENS);
        let (sender, events) = mpsc::channel(tasks.iter().map(events).sum());
        let options = Options {
            sampling: request.sampling,
            stop: request.stop,
            ignore_eos: request.ignore_eos,
            echo_tokens: request.echo_tokens,
            logprobs: request.logprobs,
            guide,
            tool_form,
            arrived,
        };
        let job =
            Job { model, tasks, n: request.n, next: 0, options: Arc::new(options), events: sender, place };
        let inbox = self.shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.send(job).map_err(|_| InferenceError::ShuttingDown)?;
        Ok(Generation { events, prompts, choices, ended: 0, tool_form })
    }

    /// What fits after the prompt.
    fn task(
        &self,
        prompt: Prompted,
        request: &GenerateRequest,
        model: &Model,
    ) -> Result<Task, InferenceError> {
        let context_length = model.base.decoder.config().max_position_embeddings;
        let prompt_tokens = prompt.ids.len();
        let room = context_length.saturating_sub(prompt_tokens);
        if prompt_tokens > context_length || (room == 0 && request.max_tokens > 0) {
            return Err(InferenceError::PromptTooLong { prompt_tokens, context_length });
        }
        if request.max_tokens > room && request.overflow == Overflow::Refuse {
            let max_tokens = request.max_tokens;
            return Err(InferenceError::ContextExceeded { prompt_tokens, max_tokens, context_length });
        }
        let max_tokens = request.max_tokens.min(room);
        let cache_bytes = model.base.decoder.cache_bytes_per_token() * (prompt_tokens + max_tokens);
        if cache_bytes > self.shared.limits.kv_cache_bytes {
            return Err(InferenceError::CacheTooSmall {
                needed_bytes: cache_bytes,
                limit_bytes: self.shared.limits.kv_cache_bytes,
            });
        }
        Ok(Task { prompt, max_tokens, cache_bytes })
    }
}

/// The way through a constraint, for all answers of a request.
fn constrain(constraint: &Constraint, model: &Model) -> Result<Guide, InferenceError> {
    let field = constraint.field();
    let vocabulary = model.prompter.vocabulary().map_err(|reason| {
        let message = format!("cannot be kept to with this model's tokenizer: {reason}");
        InferenceError::InvalidParameter { field, message }
    })?;
    constraint.compile(vocabulary, model.prompter.tool_form())
}

/// Refuses biases of tokens that the model does not have.
fn check_biased(request: &GenerateRequest, model: &Model) -> Result<(), InferenceError> {
    let vocab_size = model.base.decoder.config().vocab_size;
    match request.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= vocab_size) {
        None => Ok(()),
        Some((id, _)) => {
            let message = format!("names token {id}, but the model's vocabulary has {vocab_size}");
            Err(InferenceError::InvalidParameter { field: "logit_bias", message })
        }
    }
}

#[cfg(test)]
mod tests;
