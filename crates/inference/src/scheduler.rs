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
use crate::render::Prompt;
use crate::sample::Sampler;
use crate::sequence::{Events, Progress, Sequence};
use crate::{InferenceError, Limits};

/// A request that is ready to run.
pub(crate) struct Job {
    pub(crate) model: Model,
    pub(crate) prompt: Prompt,
    pub(crate) max_tokens: usize,
    pub(crate) sampler: Sampler,
    pub(crate) stop: Vec<String>,
    pub(crate) events: Events,
    /// Bytes of its cache.
    pub(crate) cache_bytes: usize,
    /// Its place in the queue, given back when it joins the batch or is dropped.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Owns all running sequences. One thread runs it.
pub(crate) struct Scheduler {
    limits: Limits,
    inbox: Receiver<Job>,
    waiting: VecDeque<Job>,
    running: Vec<Running>,
}

struct Running {
    sequence: Sequence,
    cache_bytes: usize,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits, inbox: Receiver<Job>) -> Self {
        Self { limits, inbox, waiting: VecDeque::new(), running: Vec::new() }
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
        self.decode();
        true
    }

    /// Moves requests into the batch, in order, while there is room for them.
    fn admit(&mut self) {
        while self.running.len() < self.limits.max_batch {
            let used: usize = self.running.iter().map(|r| r.cache_bytes).sum();
            let Some(job) =
                self.waiting.pop_front_if(|job| used + job.cache_bytes <= self.limits.kv_cache_bytes)
            else {
                return;
            };
            let cache = job.model.base.decoder.new_cache(job.prompt.ids.len() + job.max_tokens);
            drop(job.place);
            let sequence = Sequence::new(
                job.model,
                cache,
                job.prompt,
                job.max_tokens,
                job.sampler,
                job.stop,
                job.events,
            );
            self.running.push(Running { sequence, cache_bytes: job.cache_bytes });
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
            let logits = self.forward(&pass, &feeds);
            for (k, &i) in pass.iter().enumerate() {
                let sequence = &mut self.running[i].sequence;
                let progress = match &logits {
                    Ok(logits) => logits[k].as_ref().map(|logits| sequence.advance(logits)),
                    Err(StepFailed) => Some(sequence.fail(InferenceError::StepFailed)),
                };
                done[i] = progress == Some(Progress::Done);
            }
        }
        let mut done = done.into_iter();
        self.running.retain(|_| !done.next().expect("one flag for each"));
    }

    /// Feeds the sequences of one pass. Returns the logits of those that reached their end.
    ///
    /// A panic in the forward pass is a bug; it fails the sequences of this pass and not the server.
    fn forward(&mut self, pass: &[usize], feeds: &[usize]) -> Result<Vec<Option<Vec<f32>>>, StepFailed> {
        let base = Arc::clone(&self.running[pass[0]].sequence.model.base);
        let mut seqs: Vec<DecodeSeq<'_, Cpu>> = self
            .running
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| pass.contains(i))
            .map(|(i, running)| running.sequence.feed(feeds[i]))
            .collect();
        let decode = AssertUnwindSafe(|| base.decoder.decode(&mut seqs, &mut base.workspace()));
        match std::panic::catch_unwind(decode) {
            Ok(Ok(logits)) => Ok(logits),
            Ok(Err(error)) => {
                tracing::error!(%error, "a forward pass failed; its sequences are dropped");
                Err(StepFailed)
            }
            Err(_) => {
                tracing::error!("a forward pass panicked; its sequences are dropped");
                Err(StepFailed)
            }
        }
    }
}

/// The cause is in the log.
struct StepFailed;
