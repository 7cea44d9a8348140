//! The backward pass: gradients of an adapter, and of nothing else.
//!
//! Goes down from the head block by block and stops at the lowest adapted linear. Frozen weights take part
//! only in the gradient of their input.

use hearth_kernels::backend::{Backend, Columns, LossSums};

use crate::config::Group;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::forward::{Attend, Call};
use crate::lora::{Adapters, Lora, LoraGrads};
use crate::packed::Packed;
use crate::workspace::{Acts, Backward, Forward, Grads, Kept, Temp, Workspace};

/// What every part of a block's backward is given.
struct At<'a, B: Backend> {
    /// Number of the block.
    l: usize,
    /// Token rows.
    t: usize,
    lora: &'a Lora<B>,
    packed: &'a Packed,
    adapters: &'a Adapters<'a, B>,
}

impl<B: Backend> Decoder<B> {
    /// Forward and backward over packed rows. Returns the loss sums and accumulates
    /// `scale * d(sum of weighted losses)/d(parameter)` into `grads` (the caller clears them).
    ///
    /// The sum is not divided here: with `scale` the reciprocal of the weights of a whole optimiser step,
    /// any split into micro-batches gives the same gradient.
    pub fn loss_and_grads(
        &self,
        lora: &Lora<B>,
        packed: &Packed,
        scale: f32,
        grads: &mut LoraGrads<B>,
        workspace: &mut Workspace<B>,
    ) -> Result<LossSums> {
        self.check_call(Some(lora), packed)?;
        assert!(lora.tensors().same_layout(grads), "gradients of another adapter");
        let (rows, targets, weights) = packed.trained();
        if rows.is_empty() {
            return Ok(LossSums::default());
        }
        let adapters = Adapters::whole(Some(lora), packed.len());
        let (f, back) = workspace.both(self, packed.len(), lora);
        let call = Call { positions: &packed.positions, adapters: &adapters };
        self.blocks_kept(packed, &call, f, &mut back.kept);
        self.gather_normed(&rows, f);
        let (b, d) = (&*self.backend, &mut back.grads);
        let (normed, cap) = (&f.temp.normed, self.config.final_softcap);
        let sums = b.cross_entropy(normed, self.head(), &targets, &weights, scale, cap, Some(&mut d.head));
        self.head_backward(&rows, packed.len(), f, d);
        self.blocks_backward(lora, packed, &call, f, back, grads);
        Ok(sums)
    }

    /// From `d.head` `[n, C]`, the gradient of the final norm's output, to `d.x` `[T, C]`.
    fn head_backward(&self, rows: &[u32], t: usize, f: &Forward<B>, d: &mut Grads<B>) {
        let (b, c) = (&*self.backend, self.config.hidden_size);
        b.clear(&mut d.gathered);
        let (x, rstd) = (&f.gathered, &f.temp.rstd);
        b.rmsnorm_backward(&d.head, x, &self.norm, rstd, rows.len(), &mut d.gathered, None);
        b.scatter_rows(&d.gathered, rows, c, &mut d.x);
        b.copy_rows(&d.x, 0, t, c, &mut d.x_operands, 0);
    }

    fn blocks_backward(
        &self,
        lora: &Lora<B>,
        packed: &Packed,
        call: &Call<'_, B>,
        f: &mut Forward<B>,
        back: &mut Backward<B>,
        grads: &mut LoraGrads<B>,
    ) {
        for l in (0..self.layers.len()).rev() {
            let at = At { l, t: packed.len(), lora, packed, adapters: call.adapters };
            let acts = match (&mut back.kept[l], &mut back.again) {
                (Kept::Acts(acts), _) => &**acts,
                (Kept::Input { x, end }, Some(again)) => {
                    self.backend.copy_rows(x, 0, at.t, self.config.hidden_size, &mut f.hidden, 0);
                    let attend = &mut Attend::Packed(&packed.segments);
                    self.block_to_gate(l, call, attend, again, &mut f.temp, &mut f.hidden, true);
                    end.swap(again);
                    &*again
                }
                (Kept::Input { .. }, None) => unreachable!("made with the first recomputed block"),
            };
            // Every block is adapted alike, so only under the first block nothing is left to do.
            let attention_inputs = l > 0 || self.adapted(lora, Group::Qkv);
            let attention = attention_inputs || self.adapted(lora, Group::O);
            self.mlp_backward(&at, attention, acts, &mut f.temp, &mut back.grads, grads);
            if attention {
                let temp = &mut f.temp;
                self.attention_half_backward(&at, attention_inputs, acts, temp, &mut back.grads, grads);
            }
        }
    }

    /// MLP half. `d.x` is the gradient of the block's output before and of `x_mid` after;
    /// the latter only if `below`.
    fn mlp_backward(
        &self,
        at: &At<'_, B>,
        below: bool,
        acts: &Acts<B>,
        temp: &mut Temp<B>,
        d: &mut Grads<B>,
        grads: &mut LoraGrads<B>,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[at.l], at.t);
        let n = t * c.intermediate_size;
        let inputs = below || self.adapted(at.lora, Group::GateUp);
        if self.adapted(at.lora, Group::Down) {
            b.glu(c.activation, &acts.gate, &acts.up, n, &mut temp.product);
        }
        self.post_norm_backward(at, Group::Down, acts.post[1].as_ref(), temp, d);
        let product = inputs.then_some(&mut d.product);
        self.group_backward(at, Group::Down, &[&d.x_operands], &temp.product, acts, grads, product);
        if !inputs {
            return;
        }
        b.glu_backward(c.activation, &d.product, &acts.gate, &acts.up, n, &mut d.gate, &mut d.up);
        let Temp { normed, rstd, fused, .. } = temp;
        b.rmsnorm(&acts.x_mid, &layer.mlp_norm, c.rms_norm_eps, t, normed, rstd, None);
        let d_normed = below.then_some(&mut d.normed);
        let douts = [&d.gate, &d.up];
        self.join_backward(at, Group::GateUp, &douts, fused.as_mut(), normed, acts, grads, d_normed);
        if below {
            let copy = Some(&mut d.x_operands);
            b.rmsnorm_backward(&d.normed, &acts.x_mid, &layer.mlp_norm, rstd, t, &mut d.x, copy);
        }
    }

    /// Attention half. `d.x` is the gradient of `x_mid` before and of the block's input after;
    /// the latter only above the first block.
    fn attention_half_backward(
        &self,
        at: &At<'_, B>,
        inputs: bool,
        acts: &Acts<B>,
        temp: &mut Temp<B>,
        d: &mut Grads<B>,
        grads: &mut LoraGrads<B>,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[at.l], at.t);
        self.post_norm_backward(at, Group::O, acts.post[0].as_ref(), temp, d);
        let d_att = inputs.then_some(&mut d.att);
        self.group_backward(at, Group::O, &[&d.x_operands], &acts.att, acts, grads, d_att);
        if !inputs {
            return;
        }
        let (shape, segments) = (self.attention_shape(at.l), &at.packed.segments[..]);
        let Acts { x, q, k, v, att, lse, .. } = acts;
        b.attention_backward(&d.att, q, k, v, att, lse, segments, shape, &mut temp.q, &mut temp.k, &mut d.v);
        self.heads_backward(at, acts, temp, d);
        let Temp { normed, rstd, fused, .. } = temp;
        b.rmsnorm(x, &layer.attn_norm, c.rms_norm_eps, t, normed, rstd, None);
        let d_normed = (at.l > 0).then_some(&mut d.normed);
        let douts = [&d.q, &d.k, &d.v];
        self.join_backward(at, Group::Qkv, &douts, fused.as_mut(), normed, acts, grads, d_normed);
        if at.l > 0 {
            let copy = Some(&mut d.x_operands);
            b.rmsnorm_backward(&d.normed, x, &layer.attn_norm, rstd, t, &mut d.x, copy);
        }
    }

    /// Where the output of a half has a norm: leaves the gradient of the norm's input `x` `[T, C]` in `d.x_operands`,
    /// where otherwise `d.x` stands rounded.
    fn post_norm_backward(
        &self,
        at: &At<'_, B>,
        group: Group,
        x: Option<&B::Buf>,
        temp: &mut Temp<B>,
        d: &mut Grads<B>,
    ) {
        let (b, eps, t) = (&*self.backend, self.config.rms_norm_eps, at.t);
        let (Some(x), Some(norm), Some([dx, normed])) =
            (x, self.layers[at.l].post_norm(group), &mut temp.branch)
        else {
            return;
        };
        // Only for `rstd`.
        b.rmsnorm(x, norm, eps, t, normed, &mut temp.rstd, None);
        b.clear(dx);
        b.rmsnorm_backward(&d.x, x, norm, &temp.rstd, t, dx, Some(&mut d.x_operands));
    }

    /// From the gradients of rotated q and k in `temp.q` and `temp.k` to those of the linears' outputs in `d`: the
    /// rotation back, and the norms of heads where there are any.
    fn heads_backward(&self, at: &At<'_, B>, acts: &Acts<B>, temp: &mut Temp<B>, d: &mut Grads<B>) {
        let (b, c, layer) = (&*self.backend, &self.config, &self.layers[at.l]);
        let positions = &at.packed.positions;
        let Temp { q, k, heads, rstd, .. } = temp;
        let widths = [c.num_attention_heads, c.num_key_value_heads];
        let outs = [&mut d.q, &mut d.k];
        for (i, ((dx, n), out)) in [q, k].into_iter().zip(widths).zip(outs).enumerate() {
            match (&layer.qk_norm, &acts.raw[i], heads.as_mut()) {
                (Some(norms), Some(raw), Some(heads)) => {
                    let rows = at.t * n;
                    self.rotate(at.l, dx, positions, n, true, heads);
                    // Only for `rstd`; `dx` is free now.
                    b.rmsnorm(raw, &norms[i], c.rms_norm_eps, rows, dx, rstd, None);
                    b.clear(dx);
                    b.rmsnorm_backward(heads, raw, &norms[i], rstd, rows, dx, Some(out));
                }
                _ => self.rotate(at.l, dx, positions, n, true, out),
            }
        }
    }

    /// Whether any linear of a group is adapted.
    fn adapted(&self, lora: &Lora<B>, group: Group) -> bool {
        self.config.modules(group).iter().any(|&m| lora.adapts(m))
    }

    /// As [`Self::group_backward`], of linears that may be stored as one: their gradients are joined in `fused` then.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    fn join_backward(
        &self,
        at: &At<'_, B>,
        group: Group,
        douts: &[&B::Buf],
        fused: Option<&mut B::Buf>,
        x: &B::Buf,
        acts: &Acts<B>,
        grads: &mut LoraGrads<B>,
        dx: Option<&mut B::Buf>,
    ) {
        let Some(fused) = fused else { return self.group_backward(at, group, douts, x, acts, grads, dx) };
        let parts = self.config.parts(group);
        let row = parts.iter().sum();
        let mut start = 0;
        for (dout, width) in douts.iter().zip(parts) {
            let to = Columns { row, start };
            self.backend.copy_columns(dout, Columns { row: width, start: 0 }, at.t, width, fused, to);
            start += width;
        }
        self.group_backward(at, group, &[fused], x, acts, grads, dx);
    }

    /// Backward of the linears of a group: accumulates the gradients of their adapters, and overwrites `dx`
    /// `[T, K]` with that of their input, if it is wanted. `douts` `[T, N]` each, `x` `[T, K]`.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    fn group_backward(
        &self,
        at: &At<'_, B>,
        group: Group,
        douts: &[&B::Buf],
        x: &B::Buf,
        acts: &Acts<B>,
        grads: &mut LoraGrads<B>,
        dx: Option<&mut B::Buf>,
    ) {
        let linears = self.linears(at.l, group, at.adapters);
        let mut grads = grads.group_mut(at.l, self.config.modules(group));
        let xa = acts.xa[group as usize].as_ref();
        self.backend.linear_backward(douts, at.t, &linears, x, xa, &mut grads, dx);
    }
}
