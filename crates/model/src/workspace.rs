//! Activation buffers, kept between calls and sized by the largest call so far.
//!
//! What the backward needs is kept per block: the residual before each half, q, k and v after the rotation,
//! attention's output and log-sum-exp, gate, up, and `x Aᵀ` of every adapted linear. Outputs of the norms
//! and the SwiGLU product are cheap and computed again.

use hearth_kernels::backend::Backend;

use crate::config::{ModelConfig, Module};
use crate::decoder::Decoder;
use crate::lora::{Lora, LoraConfig};

/// Activations of one block, for `rows` token rows.
pub(crate) struct Acts<B: Backend> {
    /// Input of the block, `[T, C]`.
    pub(crate) x: B::Buf,
    /// `[T, q_dim]`, rotated.
    pub(crate) q: B::Buf,
    /// `[T, kv_dim]`, rotated.
    pub(crate) k: B::Buf,
    /// `[T, kv_dim]`.
    pub(crate) v: B::Buf,
    /// Output of attention, `[T, q_dim]`.
    pub(crate) att: B::Buf,
    /// `[T, n_heads]`.
    pub(crate) lse: B::Buf,
    /// Residual between attention and MLP, `[T, C]`.
    pub(crate) x_mid: B::Buf,
    /// `[T, I]`.
    pub(crate) gate: B::Buf,
    /// `[T, I]`.
    pub(crate) up: B::Buf,
    /// `x Aᵀ` of the adapted linears, `[T, r]`; only for a backward.
    pub(crate) xa: [Option<B::Buf>; 7],
}

impl<B: Backend> Acts<B> {
    /// `zeros(width)` makes a buffer of that many numbers per row.
    fn new(c: &ModelConfig, lora: Option<&LoraConfig>, zeros: &mut dyn FnMut(usize) -> B::Buf) -> Self {
        let rank = |m: Module| lora.filter(|l| l.target_modules.contains(&m)).map(|l| l.r);
        Self {
            x: zeros(c.hidden_size),
            q: zeros(c.q_dim()),
            k: zeros(c.kv_dim()),
            v: zeros(c.kv_dim()),
            att: zeros(c.q_dim()),
            lse: zeros(c.num_attention_heads),
            x_mid: zeros(c.hidden_size),
            gate: zeros(c.intermediate_size),
            up: zeros(c.intermediate_size),
            xa: Module::ALL.map(|m| rank(m).map(&mut *zeros)),
        }
    }
}

/// Buffers that every block writes anew.
pub(crate) struct Temp<B: Backend> {
    /// Output of a norm, `[T, C]`.
    pub(crate) normed: B::Buf,
    /// `[T]`.
    pub(crate) rstd: B::Buf,
    /// `silu(gate) * up`, `[T, I]`.
    pub(crate) product: B::Buf,
}

/// What any forward needs.
pub(crate) struct Forward<B: Backend> {
    rows: usize,
    pub(crate) acts: Acts<B>,
    pub(crate) temp: Temp<B>,
    /// The residual stream as it leaves a block, `[T, C]`.
    pub(crate) hidden: B::Buf,
    /// Rows of `hidden` that go to the head, `[n, C]`.
    pub(crate) gathered: B::Buf,
}

/// What a backward needs beside [`Forward`].
pub(crate) struct Backward<B: Backend> {
    rows: usize,
    lora: LoraConfig,
    /// One per block.
    pub(crate) kept: Vec<Acts<B>>,
    pub(crate) grads: Grads<B>,
}

/// Gradients of activations.
pub(crate) struct Grads<B: Backend> {
    /// Of the residual stream, `[T, C]`.
    pub(crate) x: B::Buf,
    /// Of a norm's output, `[T, C]`; of the gathered normed rows `[n, C]` at the head.
    pub(crate) normed: B::Buf,
    /// Of the gathered rows, `[n, C]`.
    pub(crate) gathered: B::Buf,
    /// `[T, q_dim]`.
    pub(crate) att: B::Buf,
    /// `[T, q_dim]`.
    pub(crate) q: B::Buf,
    /// `[T, kv_dim]`.
    pub(crate) k: B::Buf,
    /// `[T, kv_dim]`.
    pub(crate) v: B::Buf,
    /// `[T, I]`.
    pub(crate) product: B::Buf,
    /// `[T, I]`.
    pub(crate) gate: B::Buf,
    /// `[T, I]`.
    pub(crate) up: B::Buf,
}

/// Buffers of one caller of one decoder. Empty until the first call; grows, never shrinks.
pub struct Workspace<B: Backend> {
    decoder_id: u64,
    forward: Option<Forward<B>>,
    backward: Option<Backward<B>>,
}

impl<B: Backend> Workspace<B> {
    /// An empty workspace for this decoder; using it with another one panics.
    pub fn new(decoder: &Decoder<B>) -> Self {
        Self { decoder_id: decoder.id, forward: None, backward: None }
    }

    /// Buffers for a forward of `rows` rows.
    pub(crate) fn forward(&mut self, decoder: &Decoder<B>, rows: usize) -> &mut Forward<B> {
        assert_eq!(self.decoder_id, decoder.id, "a workspace belongs to one decoder");
        // The old buffers go before the new ones are made.
        self.forward.take_if(|f| f.rows < rows);
        self.forward.get_or_insert_with(|| {
            Forward::new(&decoder.config, rows, &mut |w| decoder.backend.zeros(rows * w))
        })
    }

    /// Buffers for a forward that keeps what the backward needs.
    pub(crate) fn both(
        &mut self,
        decoder: &Decoder<B>,
        rows: usize,
        lora: &Lora<B>,
    ) -> (&mut Forward<B>, &mut Backward<B>) {
        self.forward(decoder, rows);
        self.backward.take_if(|b| b.rows < rows || b.lora != *lora.config());
        let backward = self.backward.get_or_insert_with(|| {
            Backward::new(&decoder.config, rows, lora.config(), &mut |w| decoder.backend.zeros(rows * w))
        });
        let forward = self.forward.as_mut().unwrap_or_else(|| unreachable!("made above"));
        (forward, backward)
    }
}

impl<B: Backend> Forward<B> {
    fn new(c: &ModelConfig, rows: usize, zeros: &mut dyn FnMut(usize) -> B::Buf) -> Self {
        Self {
            rows,
            acts: Acts::new(c, None, zeros),
            temp: Temp { normed: zeros(c.hidden_size), rstd: zeros(1), product: zeros(c.intermediate_size) },
            hidden: zeros(c.hidden_size),
            gathered: zeros(c.hidden_size),
        }
    }
}

impl<B: Backend> Backward<B> {
    fn new(c: &ModelConfig, rows: usize, lora: &LoraConfig, zeros: &mut dyn FnMut(usize) -> B::Buf) -> Self {
        Self {
            rows,
            lora: lora.clone(),
            kept: (0..c.num_hidden_layers).map(|_| Acts::new(c, Some(lora), zeros)).collect(),
            grads: Grads {
                x: zeros(c.hidden_size),
                normed: zeros(c.hidden_size),
                gathered: zeros(c.hidden_size),
                att: zeros(c.q_dim()),
                q: zeros(c.q_dim()),
                k: zeros(c.kv_dim()),
                v: zeros(c.kv_dim()),
                product: zeros(c.intermediate_size),
                gate: zeros(c.intermediate_size),
                up: zeros(c.intermediate_size),
            },
        }
    }
}

impl<B: Backend> Decoder<B> {
    /// Bytes of workspace per token row that a forward takes, for buffers of f32. The backend's own
    /// scratch and the logits are not counted.
    pub fn forward_bytes_per_token(&self) -> usize {
        self.count_bytes(|zeros| drop(Forward::<B>::new(&self.config, 0, zeros)))
    }

    /// Bytes of workspace per token row that [`Decoder::loss_and_grads`] takes, for buffers of f32:
    /// activations kept for the backward, gradients of activations and the forward's own buffers.
    pub fn activation_bytes_per_token(&self, lora: &LoraConfig) -> usize {
        self.forward_bytes_per_token()
            + self.count_bytes(|zeros| drop(Backward::<B>::new(&self.config, 0, lora, zeros)))
    }

    /// Lets `make` ask for its buffers and adds up their widths.
    fn count_bytes(&self, make: impl FnOnce(&mut dyn FnMut(usize) -> B::Buf)) -> usize {
        let mut width = 0;
        make(&mut |w| {
            width += w;
            self.backend.zeros(0)
        });
        width * size_of::<f32>()
    }
}
