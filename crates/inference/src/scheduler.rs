//! The loop that owns the batch: sequences join and leave between steps.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};

use crate::Cpu;
use hearth_model::DecodeSeq;
use tokio::sync::OwnedSemaphorePermit;

use crate::models::{Base, Model};
use crate::plan::plan;
use crate::sample::Sampler;
use crate::sequence::{Events, Progress, Sequence};
use crate::{InferenceError, Limits};

/// A request that is ready to run.
pub(crate) struct Job {
    pub(crate) model: Model,
    pub(crate) prompt: Vec<u32>,
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
            let cache = job.model.base.decoder.new_cache(job.prompt.len() + job.max_tokens);
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

    /// One forward pass per base over all of its sequences.
    fn decode(&mut self) {
        let pending: Vec<usize> = self.running.iter().map(|r| r.sequence.pending_len()).collect();
        let feeds = plan(&pending);
        let mut rest: Vec<(Running, usize)> = self.running.drain(..).zip(feeds).collect();
        let mut kept = Vec::with_capacity(rest.len());
        while let Some((first, _)) = rest.first() {
            let base = Arc::clone(&first.sequence.model.base);
            let (mut group, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(r, _)| Arc::ptr_eq(&r.sequence.model.base, &base));
            rest = others;
            match forward(&base, &mut group) {
                Ok(logits) => kept.extend(advance(group, logits)),
                Err(()) => group.into_iter().for_each(|(r, _)| r.sequence.fail(InferenceError::StepFailed)),
            }
        }
        self.running = kept;
    }
}

/// Feeds each sequence its tokens. Returns the logits of those that reached their end.
///
/// A panic in the forward pass is a bug; it fails the sequences of this pass and not the server.
fn forward(base: &Base, group: &mut [(Running, usize)]) -> Result<Vec<Option<Vec<f32>>>, ()> {
    let mut seqs: Vec<DecodeSeq<'_, Cpu>> = group
        .iter_mut()
        .filter(|(_, n)| *n > 0)
        .map(|(running, n)| {
            let logits = running.sequence.wants_logits(*n);
            let (cache, tokens, lora) = running.sequence.feed(*n);
            DecodeSeq { cache, tokens, lora, logits }
        })
        .collect();
    let pass = AssertUnwindSafe(|| base.decoder.decode(&mut seqs, &mut base.workspace()));
    let mut logits = match std::panic::catch_unwind(pass) {
        Ok(Ok(logits)) => logits.into_iter(),
        Ok(Err(error)) => {
            tracing::error!(%error, "a forward pass failed; its sequences are dropped");
            return Err(());
        }
        Err(_) => {
            tracing::error!("a forward pass panicked; its sequences are dropped");
            return Err(());
        }
    };
    Ok(group.iter().map(|(_, n)| if *n > 0 { logits.next().flatten() } else { None }).collect())
}

/// Gives each sequence its logits; returns those that go on.
fn advance(group: Vec<(Running, usize)>, logits: Vec<Option<Vec<f32>>>) -> impl Iterator<Item = Running> {
    group.into_iter().zip(logits).filter_map(|((mut running, _), logits)| {
        let progress = logits.map_or(Progress::Running, |logits| running.sequence.advance(&logits));
        (progress == Progress::Running).then_some(running)
    })
}
