//! The loop that owns the batch: sequences join and leave between steps.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};

use hearth_kernels::Cpu;
use hearth_model::DecodeSeq;
use tokio::sync::OwnedSemaphorePermit;

use crate::models::Model;
use crate::plan::{passes, plan};
use crate::sample::Score;
use crate::sequence::{Events, Options, Progress, Sequence, Task};
use crate::stats::Counts;
use crate::{InferenceError, Limits};

/// A request that is ready to run.
pub(crate) struct Job {
    pub(crate) model: Model,
    /// Its prompts.
    pub(crate) tasks: Vec<Arc<Task>>,
    /// Choices of each prompt.
    pub(crate) n: usize,
    /// The choice that joins next; below `n` times the prompts.
    pub(crate) next: usize,
    pub(crate) options: Arc<Options>,
    pub(crate) events: Events,
    /// Its place in the queue, given back when all its choices have joined the batch or it is dropped.
    pub(crate) place: OwnedSemaphorePermit,
}

impl Job {
    fn next_task(&self) -> &Arc<Task> {
        &self.tasks[self.next / self.n]
    }

    fn is_used_up(&self) -> bool {
        self.next == self.n * self.tasks.len()
    }
}

/// Owns all running sequences. One thread runs it.
pub(crate) struct Scheduler {
    limits: Limits,
    inbox: Receiver<Job>,
    waiting: VecDeque<Job>,
    running: Vec<Running>,
    counts: Arc<Counts>,
}

struct Running {
    sequence: Sequence,
    cache_bytes: usize,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits, inbox: Receiver<Job>, counts: Arc<Counts>) -> Self {
        Self { limits, inbox, waiting: VecDeque::new(), running: Vec::new(), counts }
    }

    /// Works until every handle to the service is gone.
    pub(crate) fn run(mut self) {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                match self.inbox.recv() {
                    Ok(job) => self.waiting.push_back(job),
                    Err(RecvError) => return,
                }
            }
            if !self.step() {
                return;
            }
        }
    }

    /// One step: takes in what waits, feeds every sequence, lets go of those that ended. False when every
    /// handle to the service is gone; answers in the making break off then.
    pub(crate) fn step(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        self.waiting.retain(|job| !job.events.is_closed());
        self.running.retain(|r| !r.sequence.is_abandoned());
        self.admit();
        self.counts.set_running(self.running.len());
        self.decode();
        self.counts.set_running(self.running.len());
        true
    }

    /// Moves choices into the batch while there is room for them. Requests take turns, in order, so that one with
    /// many choices does not keep the others out.
    fn admit(&mut self) {
        while self.running.len() < self.limits.max_batch {
            let used: usize = self.running.iter().map(|r| r.cache_bytes).sum();
            let fits = |job: &mut Job| used + job.next_task().cache_bytes <= self.limits.kv_cache_bytes;
            let Some(mut job) = self.waiting.pop_front_if(fits) else { return };
            let task = Arc::clone(job.next_task());
            if job.next.is_multiple_of(job.n) {
                self.counts.add_prompt_tokens(task.prompt.ids.len());
            }
            let cache = job.model.base.decoder.new_cache(task.prompt.ids.len() + task.max_tokens);
            let cache_bytes = task.cache_bytes;
            let (options, events) = (Arc::clone(&job.options), job.events.clone());
            let mut sequence = Sequence::new(job.model.clone(), cache, job.next, task, options, events);
            job.next += 1;
            if job.is_used_up() {
                drop(job.place);
            } else {
                self.waiting.push_back(job);
            }
            if sequence.is_only_echo() {
                sequence.finish_echo();
                continue;
            }
            self.running.push(Running { sequence, cache_bytes });
        }
    }

    /// Feeds every sequence its share, and lets go of those that ended.
    fn decode(&mut self) {
        let pending: Vec<usize> = self.running.iter().map(|r| r.sequence.pending_len()).collect();
        let bases: Vec<usize> =
            self.running.iter().map(|r| Arc::as_ptr(&r.sequence.model.base) as usize).collect();
        let feeds = plan(&pending);
        let mut done = vec![false; self.running.len()];
        for pass in passes(&feeds, &bases) {
            let logits = match self.running[pass[0]].sequence.scored_next(feeds[pass[0]]) {
                // Only prompts are scored, and those have passes of their own.
                Some(next) if pass.len() == 1 => self.forward_scored(pass[0], &next),
                _ => self.forward(&pass, &feeds),
            };
            for (k, &i) in pass.iter().enumerate() {
                let sequence = &mut self.running[i].sequence;
                let progress = match &logits {
                    Ok(logits) => logits[k].as_ref().map(|logits| {
                        self.counts.add_completion_token();
                        sequence.advance(logits)
                    }),
                    Err(StepFailed::Logged) => Some(sequence.fail(InferenceError::StepFailed)),
                    Err(StepFailed::NotFinite) => Some(sequence.fail(InferenceError::NotFinite)),
                };
                done[i] = progress == Some(Progress::Done);
            }
        }
        let mut done = done.into_iter();
        self.running.retain(|_| !done.next().expect("one flag for each"));
    }

    /// Feeds the sequences of one pass. Returns the logits of those that reached their end.
    fn forward(&mut self, pass: &[usize], feeds: &[usize]) -> Result<Vec<Option<Vec<f32>>>, StepFailed> {
        let base = Arc::clone(&self.running[pass[0]].sequence.model.base);
        let mut seqs: Vec<DecodeSeq<'_, Cpu>> = self
            .running
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| pass.contains(i))
            .map(|(i, running)| running.sequence.feed(feeds[i]))
            .collect();
        caught(|| base.decoder.decode(&mut seqs, &mut base.workspace()))
    }

    /// Feeds one sequence as many tokens of its prompt as there are in `next`, the tokens that follow them, where their
    /// scores are wanted. Otherwise as [`Scheduler::forward`].
    fn forward_scored(
        &mut self,
        i: usize,
        next: &[Option<u32>],
    ) -> Result<Vec<Option<Vec<f32>>>, StepFailed> {
        let sequence = &mut self.running[i].sequence;
        let base = Arc::clone(&sequence.model.base);
        let top = sequence.top_logprobs();
        let seq = sequence.feed(next.len());
        let is_end = seq.logits;
        let (mut scores, mut last, mut at) = (Vec::new(), None, 0);
        let mut each = |logits: &[f32]| {
            if let Some(id) = next[at] {
                scores.push(Score::of(logits, id, top));
            }
            at += 1;
            if at == next.len() && is_end {
                last = Some(logits.to_vec());
            }
        };
        caught(|| base.decoder.decode_scored(seq, &mut base.workspace(), &mut each))?;
        let scores: Result<Vec<Score>, InferenceError> = scores.into_iter().collect();
        self.running[i].sequence.take_scores(scores.map_err(|_| StepFailed::NotFinite)?);
        Ok(vec![last])
    }
}

/// A forward pass whose failure is in the log.
///
/// A panic in it is a bug; it fails the sequences of this pass and not the server.
fn caught<T>(pass: impl FnOnce() -> hearth_model::Result<T>) -> Result<T, StepFailed> {
    match std::panic::catch_unwind(AssertUnwindSafe(pass)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::error!(%error, "a forward pass failed; its sequences are dropped");
            Err(StepFailed::Logged)
        }
        Err(_) => {
            tracing::error!("a forward pass panicked; its sequences are dropped");
            Err(StepFailed::Logged)
        }
    }
}

/// Why a pass has no logits.
enum StepFailed {
    /// The cause is in the log.
    Logged,
    /// The model is broken.
    NotFinite,
}
