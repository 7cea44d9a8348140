//! Decoding with KV caches: several sequences in one call, each with its own adapter.

use hearth_kernels::backend::{Backend, CachedSpan};

use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::forward::{Attend, Call};
use crate::lora::{Adapters, Lora};
use crate::packed::check_tokens;
use crate::workspace::Workspace;

/// Rotated keys and values of one sequence so far.
pub struct KvCache<B: Backend> {
    decoder_id: u64,
    /// One `[capacity, kv_dim]` per block.
    pub(crate) k: Vec<B::Buf>,
    pub(crate) v: Vec<B::Buf>,
    len: usize,
    capacity: usize,
}

impl<B: Backend> KvCache<B> {
    /// Tokens that the cache holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the cache holds no tokens.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens that the cache can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

/// One sequence of a decoding call: new tokens (a prompt, a part of one, or the last sampled token) after
/// those in its cache.
pub struct DecodeSeq<'a, B: Backend> {
    /// The sequence so far.
    pub cache: &'a mut KvCache<B>,
    /// At least one new token.
    pub tokens: &'a [u32],
    /// Adapter of this sequence.
    pub lora: Option<&'a Lora<B>>,
    /// Whether the logits after the last new token are wanted.
    pub logits: bool,
}

impl<B: Backend> Decoder<B> {
    /// An empty cache for one sequence of up to `capacity` tokens.
    pub fn new_cache(&self, capacity: usize) -> KvCache<B> {
        let buffers = || {
            (0..self.layers.len()).map(|_| self.backend.operands(capacity * self.config.kv_dim())).collect()
        };
        KvCache { decoder_id: self.id, k: buffers(), v: buffers(), len: 0, capacity }
    }

    /// Bytes of a cache per token of capacity.
    pub fn cache_bytes_per_token(&self) -> usize {
        2 * self.layers.len() * self.config.kv_dim() * self.backend.operand_bytes()
    }

    /// Runs the new tokens of all sequences, adds them to the caches, and returns for each sequence that
    /// asked the logits `[V]` of its last new token. Errors leave the caches as they were.
    ///
    /// Panics if a cache or the workspace belongs to another decoder.
    pub fn decode(
        &self,
        sequences: &mut [DecodeSeq<'_, B>],
        workspace: &mut Workspace<B>,
    ) -> Result<Vec<Option<Vec<f32>>>> {
        let mut tokens = Vec::new();
        let mut positions = Vec::new();
        let mut spans = Vec::new();
        let mut adapters = Adapters::none();
        let mut wanted = Vec::new();
        for sequence in sequences.iter() {
            let span = self.check_sequence(sequence, tokens.len())?;
            let end = span.start + span.n_new;
            tokens.extend_from_slice(sequence.tokens);
            positions.extend((span.past..span.past + span.n_new).map(|p| p as u32));
            if let Some(lora) = sequence.lora {
                adapters.push(span.start..end, lora);
            }
            if sequence.logits {
                wanted.push((end - 1) as u32);
            }
            spans.push(span);
        }
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let f = workspace.forward(self, tokens.len());
        let mut caches: Vec<&mut KvCache<B>> = sequences.iter_mut().map(|s| &mut *s.cache).collect();
        let mut attend = Attend::Cached { caches: &mut caches, spans: &spans };
        let call = Call { positions: &positions, adapters: &adapters };
        self.blocks(&tokens, &call, &mut attend, f);
        for (cache, span) in caches.iter_mut().zip(&spans) {
            cache.len += span.n_new;
        }
        let logits = if wanted.is_empty() { Vec::new() } else { self.head_logits(&wanted, f) };
        let mut rows = logits.chunks_exact(self.config.vocab_size);
        Ok(sequences.iter().map(|s| if s.logits { rows.next().map(<[f32]>::to_vec) } else { None }).collect())
    }

    fn check_sequence(&self, sequence: &DecodeSeq<'_, B>, start: usize) -> Result<CachedSpan> {
        let cache = &*sequence.cache;
        assert_eq!(cache.decoder_id, self.id, "a cache belongs to one decoder");
        if sequence.tokens.is_empty() {
            return Err(Error::Input("a sequence without new tokens".to_owned()));
        }
        if sequence.tokens.len() > cache.capacity - cache.len {
            return Err(Error::Input(format!(
                "{} new tokens after {} do not fit a cache of {}",
                sequence.tokens.len(),
                cache.len,
                cache.capacity
            )));
        }
        check_tokens(sequence.tokens, &self.config)?;
        if let Some(lora) = sequence.lora {
            lora.check_fits(self)?;
        }
        Ok(CachedSpan { start, n_new: sequence.tokens.len(), past: cache.len })
    }
}
