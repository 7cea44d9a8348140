//! Activation buffers, kept between calls and sized by the largest call so far.
//!
//! What the backward of a block needs is its [`Acts`]: the residual before each half, q, k and v after the rotation,
//! attention's output and log-sum-exp, gate, up, the inputs of norms inside a half, and the low-rank products of the
//! adapted linears. Outputs of the norms and the MLP's product are cheap and computed again. Blocks may keep their
//! input and attention's output alone and run forward once more in the backward
//! ([`Workspace::set_recomputed_blocks`]); that changes no bit of a result.
//!
//! Nearly all memory is held while the last block goes backward. So few buffers are added to the activations then:
//! gradients take the place of activations that were read for the last time, and buffers serve several purposes, one
//! after the other.

use hearth_kernels::backend::Backend;
use hearth_kernels::{Reference, loss_bytes};

use crate::config::{Group, ModelConfig, Module};
use crate::decoder::Decoder;
use crate::lora::{Lora, LoraConfig};

/// Activations of one block, for `rows` token rows. Operands, but for `lse`.
pub(crate) struct Acts<B: Backend> {
    /// Input of the block, `[T, C]`.
    pub(crate) x: B::Buf,
    /// `[T, q_dim]`, rotated.
    pub(crate) q: B::Buf,
    /// `[T, kv_dim]`, rotated.
    pub(crate) k: B::Buf,
    /// `[T, kv_dim]`.
    pub(crate) v: B::Buf,
    /// Norms of the heads of q and k, where there are any; only for a backward.
    pub(crate) heads: [Option<Normed<B>>; 2],
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
    /// Norms of the outputs of [`Group::O`] and [`Group::Down`], where there are any; only for a backward.
    pub(crate) post: [Option<Normed<B>>; 2],
    /// `scale * x Aᵀ` of the adapted linears by [`Group`], `[T, sum of r]`; only for a backward.
    pub(crate) xa: [Option<B::Buf>; 4],
}

/// What the backward of a norm inside a half needs.
pub(crate) struct Normed<B: Backend> {
    /// Operands: the norm's input.
    pub(crate) x: B::Buf,
    /// Numbers, one per row of the norm.
    pub(crate) rstd: B::Buf,
}

impl<B: Backend> Normed<B> {
    /// `n` norms per token row, each `width` wide.
    fn new(n: usize, width: usize, make: &mut Maker<'_, B::Buf>) -> Self {
        Self { x: (make.operands)(n * width), rstd: (make.numbers)(n) }
    }
}

/// Makes buffers of so many numbers per row: numbers, or operands.
struct Maker<'a, Buf> {
    numbers: &'a mut dyn FnMut(usize) -> Buf,
    operands: &'a mut dyn FnMut(usize) -> Buf,
}

impl<B: Backend> Acts<B> {
    fn new(c: &ModelConfig, lora: Option<&LoraConfig>, make: &mut Maker<'_, B::Buf>) -> Self {
        let adapted = |group: Group| {
            let lora = lora?;
            let count = c.modules(group).iter().filter(|m| lora.target_modules.contains(m)).count();
            (count > 0).then_some(count * lora.r)
        };
        let (heads, post) = (lora.is_some() && c.qk_norm, lora.is_some() && c.sandwich_norms);
        let heads = [c.num_attention_heads, c.num_key_value_heads]
            .map(|n| heads.then(|| Normed::new(n, c.head_dim, make)));
        let post = [(); 2].map(|()| post.then(|| Normed::new(1, c.hidden_size, make)));
        Self {
            x: (make.operands)(c.hidden_size),
            q: (make.operands)(c.q_dim()),
            k: (make.operands)(c.kv_dim()),
            v: (make.operands)(c.kv_dim()),
            heads,
            att: (make.operands)(c.q_dim()),
            lse: (make.numbers)(c.num_attention_heads),
            x_mid: (make.operands)(c.hidden_size),
            // A gradient of v takes its place.
            gate: (make.operands)(c.intermediate_size.max(c.kv_dim())),
            up: (make.operands)(c.intermediate_size),
            post,
            xa: Group::ALL.map(|group| adapted(group).map(&mut *make.operands)),
        }
    }
}

/// Buffers that every block writes anew.
pub(crate) struct Temp<B: Backend> {
    /// Operands: what a linear reads next, the output of a norm `[T, C]` or `activation(gate) * up` `[T, I]`.
    pub(crate) input: B::Buf,
    /// Of a norm of rows, or of heads, `[T]` or `[T, n_heads]`.
    pub(crate) rstd: B::Buf,
    /// Numbers: queries (or their gradient) on the other side of the rotation, `[T, q_dim]`; between forward and
    /// backward, rows of the residual stream that go to the head, `[n, C]`.
    pub(crate) q: B::Buf,
    /// Numbers: keys, likewise, `[T, kv_dim]`.
    pub(crate) k: B::Buf,
    /// Numbers: normed heads of q or k before the rotation (or their gradient), `[T, q_dim]`.
    pub(crate) heads: Option<B::Buf>,
    /// Operands: output of linears that are stored as one (or its gradient).
    pub(crate) fused: Option<B::Buf>,
    /// Numbers: output of a half before and after its norm, where it has one, each `[T, C]`.
    pub(crate) branch: Option<[B::Buf; 2]>,
}

/// What any forward needs.
pub(crate) struct Forward<B: Backend> {
    rows: usize,
    /// Of the adapter whose gradients are wanted, if any are.
    lora: Option<LoraConfig>,
    /// Of the last block that ran, if it has no others of its own: the last block of all never has.
    pub(crate) acts: Acts<B>,
    pub(crate) temp: Temp<B>,
    /// Numbers: the residual stream, `[T, C]`; after the loss, gradients of the rows that went to the head, `[n, C]`.
    pub(crate) hidden: B::Buf,
}

/// What a block leaves for its backward.
pub(crate) enum Kept<B: Backend> {
    /// All activations.
    Acts(Box<Acts<B>>),
    /// The linears before gate and up, and these two, run again; attention does not.
    Input {
        /// Numbers: the residual stream at the block's input, `[T, C]`.
        x: B::Buf,
        rest: Rest<B>,
    },
}

/// What is kept of a block that runs forward again: attention's output, and what [`Group::Down`] leaves for the
/// backward.
pub(crate) struct Rest<B: Backend> {
    att: B::Buf,
    lse: B::Buf,
    xa: Option<B::Buf>,
    post: Option<Normed<B>>,
}

impl<B: Backend> Rest<B> {
    /// Puts these buffers into a block's activations, and takes them out again.
    pub(crate) fn swap(&mut self, acts: &mut Acts<B>) {
        std::mem::swap(&mut self.att, &mut acts.att);
        std::mem::swap(&mut self.lse, &mut acts.lse);
        std::mem::swap(&mut self.xa, &mut acts.xa[Group::Down as usize]);
        std::mem::swap(&mut self.post, &mut acts.post[1]);
    }
}

/// What a backward needs beside [`Forward`].
pub(crate) struct Backward<B: Backend> {
    rows: usize,
    lora: LoraConfig,
    recomputed: usize,
    /// One per block but the last, which goes backward right after it went forward.
    pub(crate) kept: Vec<Kept<B>>,
    pub(crate) grads: Grads<B>,
}

/// Gradients of activations that do not take the place of an activation.
pub(crate) struct Grads<B: Backend> {
    /// Numbers: of the residual stream, `[T, C]`; first, of the head's input, `[n, C]`.
    pub(crate) x: B::Buf,
    /// Copy of `x` as operands, `[T, C]`.
    pub(crate) x_operands: B::Buf,
    /// Operands: of what a linear read, `[T, C]`, `[T, q_dim]` or `[T, I]`.
    pub(crate) input: B::Buf,
}

/// Buffers of one caller of one decoder. Empty until the first call; grows, never shrinks.
pub struct Workspace<B: Backend> {
    decoder_id: u64,
    recomputed: usize,
    forward: Option<Forward<B>>,
    backward: Option<Backward<B>>,
}

impl<B: Backend> Workspace<B> {
    /// An empty workspace for this decoder; using it with another one panics.
    pub fn new(decoder: &Decoder<B>) -> Self {
        Self { decoder_id: decoder.id, recomputed: 0, forward: None, backward: None }
    }

    /// The first `blocks` blocks keep little for the backward and run forward again there, all but their attention:
    /// less memory, more time, the same bits.
    pub fn set_recomputed_blocks(&mut self, blocks: usize) {
        self.recomputed = blocks;
    }

    /// Buffers for a forward of `rows` rows.
    pub(crate) fn forward(&mut self, decoder: &Decoder<B>, rows: usize) -> &mut Forward<B> {
        assert_eq!(self.decoder_id, decoder.id, "a workspace belongs to one decoder");
        let lora = self.backward.as_ref().map(|b| &b.lora);
        // The old buffers go before the new ones are made.
        self.forward.take_if(|f| f.rows < rows || (lora.is_some() && f.lora.as_ref() != lora));
        let b = &*decoder.backend;
        self.forward.get_or_insert_with(|| {
            let make =
                &mut Maker { numbers: &mut |w| b.zeros(rows * w), operands: &mut |w| b.operands(rows * w) };
            Forward::new(&decoder.config, rows, lora, make)
        })
    }

    /// Buffers for a forward that keeps what the backward needs.
    pub(crate) fn both(
        &mut self,
        decoder: &Decoder<B>,
        rows: usize,
        lora: &Lora<B>,
    ) -> (&mut Forward<B>, &mut Backward<B>) {
        let recomputed = decoder.config().most_recomputed().min(self.recomputed);
        let fits = |b: &Backward<B>| b.rows >= rows && b.lora == *lora.config() && b.recomputed == recomputed;
        self.backward.take_if(|b| !fits(b));
        self.forward.take_if(|f| f.rows < rows || f.lora.as_ref() != Some(lora.config()));
        let b = &*decoder.backend;
        self.backward.get_or_insert_with(|| {
            let make =
                &mut Maker { numbers: &mut |w| b.zeros(rows * w), operands: &mut |w| b.operands(rows * w) };
            Backward::new(&decoder.config, rows, lora.config(), recomputed, make)
        });
        self.forward(decoder, rows);
        match (&mut self.forward, &mut self.backward) {
            (Some(forward), Some(backward)) => (forward, backward),
            _ => unreachable!("made above"),
        }
    }
}

impl<B: Backend> Forward<B> {
    fn new(c: &ModelConfig, rows: usize, lora: Option<&LoraConfig>, make: &mut Maker<'_, B::Buf>) -> Self {
        Self {
            rows,
            lora: lora.cloned(),
            acts: Acts::new(c, lora, make),
            temp: Temp {
                input: (make.operands)(c.hidden_size.max(c.intermediate_size)),
                rstd: (make.numbers)(if c.qk_norm { c.num_attention_heads } else { 1 }),
                q: (make.numbers)(c.q_dim().max(c.hidden_size)),
                k: (make.numbers)(c.kv_dim()),
                heads: c.qk_norm.then(|| (make.numbers)(c.q_dim())),
                fused: c.fused.then(|| (make.operands)(fused_width(c))),
                branch: c.sandwich_norms.then(|| [c.hidden_size; 2].map(&mut *make.numbers)),
            },
            hidden: (make.numbers)(c.hidden_size),
        }
    }
}

/// Width of the widest output of a fused linear.
fn fused_width(c: &ModelConfig) -> usize {
    c.shape(Module::Qkv).0.max(c.shape(Module::GateUp).0)
}

impl<B: Backend> Backward<B> {
    fn new(
        c: &ModelConfig,
        rows: usize,
        lora: &LoraConfig,
        recomputed: usize,
        make: &mut Maker<'_, B::Buf>,
    ) -> Self {
        let kept = |l: usize, make: &mut Maker<'_, B::Buf>| match l < recomputed {
            true => {
                let xa = lora.target_modules.contains(&Module::Down).then(|| (make.operands)(lora.r));
                let post = c.sandwich_norms.then(|| Normed::new(1, c.hidden_size, make));
                let (att, lse) = ((make.operands)(c.q_dim()), (make.numbers)(c.num_attention_heads));
                Kept::Input { x: (make.numbers)(c.hidden_size), rest: Rest { att, lse, xa, post } }
            }
            false => Kept::Acts(Box::new(Acts::new(c, Some(lora), make))),
        };
        Self {
            rows,
            lora: lora.clone(),
            recomputed,
            kept: (1..c.num_hidden_layers).map(|l| kept(l - 1, make)).collect(),
            grads: Grads {
                x: (make.numbers)(c.hidden_size),
                x_operands: (make.operands)(c.hidden_size),
                input: (make.operands)(c.hidden_size.max(c.intermediate_size).max(c.q_dim())),
            },
        }
    }
}

impl ModelConfig {
    /// Bytes of workspace per token row that a forward takes, with the adapter whose gradients this workspace serves
    /// as well, if any; `operand_bytes` are those of the backend. Its own scratch and the logits are not counted.
    pub fn forward_bytes_per_token(&self, lora: Option<&LoraConfig>, operand_bytes: usize) -> usize {
        count_bytes(operand_bytes, |make| drop(Forward::<Counting>::new(self, 0, lora, make)))
    }

    /// Bytes of workspace per token row that [`Decoder::loss_and_grads`] takes, if so many blocks run forward again:
    /// activations kept for the backward, gradients of activations and the forward's own buffers.
    pub fn activation_bytes_per_token(
        &self,
        lora: &LoraConfig,
        recomputed: usize,
        operand_bytes: usize,
    ) -> usize {
        let recomputed = self.most_recomputed().min(recomputed);
        self.forward_bytes_per_token(Some(lora), operand_bytes)
            + count_bytes(operand_bytes, |make| {
                drop(Backward::<Counting>::new(self, 0, lora, recomputed, make));
            })
    }

    /// Bytes that the loss of at most `rows` rows and its gradient take beside the workspace.
    pub fn loss_bytes(&self, rows: usize, operand_bytes: usize) -> usize {
        loss_bytes(rows, self.hidden_size, operand_bytes)
    }

    /// Blocks that can run forward again: all but the last, since nothing runs between its forward and its backward.
    pub fn most_recomputed(&self) -> usize {
        self.num_hidden_layers.saturating_sub(1)
    }
}

/// Its buffers are empty here: they are asked for, and counted.
type Counting = Reference<f32>;

/// Lets `make` ask for its buffers and adds up their widths.
fn count_bytes(operand_bytes: usize, make: impl FnOnce(&mut Maker<'_, <Counting as Backend>::Buf>)) -> usize {
    let backend = Counting::new();
    let (mut numbers, mut operands) = (0, 0);
    make(&mut Maker {
        numbers: &mut |w| {
            numbers += w;
            backend.zeros(0)
        },
        operands: &mut |w| {
            operands += w;
            backend.operands(0)
        },
    });
    numbers * size_of::<f32>() + operands * operand_bytes
}
