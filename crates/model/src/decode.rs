//! Decoding with KV caches: several sequences in one call, each with its own adapter.

use hearth_kernels::backend::{Backend, CachedSpan};

use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::forward::{Attend, Call};
use crate::lora::{Adapters, Lora};
use crate::packed::check_tokens;
use crate::workspace::{Forward, Workspace};

/// Most rows of logits in one product of [`Decoder::decode_scored`]. Few enough that a row's numbers do not depend on
/// how many there are, and that the widest vocabularies need little memory.
pub const SCORED_ROWS_PER_PRODUCT: usize = 8;

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
        let mut wanted = Vec::new();
        let mut end = 0;
        for sequence in sequences.iter() {
            end += sequence.tokens.len();
            if sequence.logits {
                // No index: `run` refuses a sequence without new tokens.
                wanted.push(end.saturating_sub(1) as u32);
            }
        }
        let Some(f) = self.run(sequences, workspace)? else { return Ok(Vec::new()) };
        let logits = if wanted.is_empty() { Vec::new() } else { self.head_logits(&wanted, f) };
        let mut rows = logits.chunks_exact(self.config.vocab_size);
        Ok(sequences.iter().map(|s| if s.logits { rows.next().map(<[f32]>::to_vec) } else { None }).collect())
    }

    /// As [`Decoder::decode`] of one sequence, but gives `each` the logits `[V]` of every new token, in order.
    ///
    /// Only [`SCORED_ROWS_PER_PRODUCT`] rows are held at a time, and each is the same as if it alone was asked for.
    pub fn decode_scored(
        &self,
        sequence: DecodeSeq<'_, B>,
        workspace: &mut Workspace<B>,
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let rows: Vec<u32> = (0..sequence.tokens.len() as u32).collect();
        let Some(f) = self.run(&mut [sequence], workspace)? else { return Ok(()) };
        for rows in rows.chunks(SCORED_ROWS_PER_PRODUCT) {
            self.head_logits(rows, f).chunks_exact(self.config.vocab_size).for_each(&mut *each);
        }
        Ok(())
    }

    /// Runs the blocks over the new tokens of all sequences, and adds them to the caches. `None` without sequences.
    fn run<'w>(
        &self,
        sequences: &mut [DecodeSeq<'_, B>],
        workspace: &'w mut Workspace<B>,
    ) -> Result<Option<&'w mut Forward<B>>> {
        let mut tokens = Vec::new();
        let mut positions = Vec::new();
        let mut spans = Vec::new();
        let mut adapters = Adapters::none();
        for sequence in sequences.iter() {
            let span = self.check_sequence(sequence, tokens.len())?;
            tokens.extend_from_slice(sequence.tokens);
            positions.extend((span.past..span.past + span.n_new).map(|p| p as u32));
            if let Some(lora) = sequence.lora {
                adapters.push(span.start..span.start + span.n_new, lora);
            }
            spans.push(span);
        }
        if tokens.is_empty() {
            return Ok(None);
        }
        let f = workspace.forward(self, tokens.len());
        let mut caches: Vec<&mut KvCache<B>> = sequences.iter_mut().map(|s| &mut *s.cache).collect();
        let mut attend = Attend::Cached { caches: &mut caches, spans: &spans };
        let call = Call { positions: &positions, adapters: &adapters };
        self.blocks(&tokens, &call, &mut attend, f);
        for (cache, span) in caches.iter_mut().zip(&spans) {
            cache.len += span.n_new;
        }
        Ok(Some(f))
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
