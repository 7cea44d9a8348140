//! What a service has done and does now, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that wait, or whose model is being loaded.
    pub waiting: u64,
    /// Choices in the batch.
    pub running: u64,
    /// Bases in memory for later requests.
    pub bases: u64,
    /// Tokens of the prompts that joined the batch since the start.
    pub prompt_tokens: u64,
    /// Tokens that were made since the start, ends of turns among them.
    pub completion_tokens: u64,
}

/// What the scheduler counts. Nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    running: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

impl Counts {
    pub(crate) fn set_running(&self, count: usize) {
        self.running.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_prompt_tokens(&self, count: usize) {
        self.prompt_tokens.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_completion_token(&self) {
        self.completion_tokens.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, waiting: usize, bases: usize) -> Stats {
        Stats {
            waiting: waiting as u64,
            bases: bases as u64,
            running: self.running.load(Ordering::Relaxed),
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            completion_tokens: self.completion_tokens.load(Ordering::Relaxed),
        }
    }
}
