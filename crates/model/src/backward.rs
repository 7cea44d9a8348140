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
use crate::workspace::{Acts, Backward, Forward, Grads, Kept, Normed, Temp, Workspace};

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
        let (normed, cap) = (&f.temp.input, self.config.final_softcap);
        let sums = b.cross_entropy(normed, self.head(), &targets, &weights, scale, cap, Some(&mut d.x));
        self.head_backward(&rows, packed.len(), f, d);
        self.blocks_backward(lora, packed, &call, f, back, grads);
        Ok(sums)
    }

    /// From the gradient of the final norm's output `[n, C]` to that of the residual stream `[T, C]`, both in `d.x`.
    fn head_backward(&self, rows: &[u32], t: usize, f: &mut Forward<B>, d: &mut Grads<B>) {
        let (b, c) = (&*self.backend, self.config.hidden_size);
        let (x, rstd) = (&f.temp.q, &f.temp.rstd);
        // The stream itself is not read again.
        b.rmsnorm_backward(&d.x, x, &self.norm, rstd, rows.len(), None, Some(&mut f.hidden));
        b.scatter_rows(&f.hidden, rows, c, &mut d.x);
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
        let Forward { acts: own, temp, hidden, .. } = f;
        for l in (0..self.layers.len()).rev() {
            let at = At { l, t: packed.len(), lora, packed, adapters: call.adapters };
            let acts = match back.kept.get_mut(l) {
                None => &mut *own,
                Some(Kept::Acts(acts)) => &mut **acts,
                Some(Kept::Input { x, rest }) => {
                    self.backend.copy_rows(x, 0, at.t, self.config.hidden_size, hidden, 0);
                    rest.swap(own);
                    self.block_to_gate(l, call, &mut Attend::Done, own, temp, hidden, true);
                    &mut *own
                }
            };
            // Every block is adapted alike, so only under the first block nothing is left to do.
            let attention_inputs = l > 0 || self.adapted(lora, Group::Qkv);
            let attention = attention_inputs || self.adapted(lora, Group::O);
            self.mlp_backward(&at, attention, acts, temp, &mut back.grads, grads);
            if attention {
                self.attention_half_backward(&at, attention_inputs, acts, temp, &mut back.grads, grads);
            }
        }
    }

    /// MLP half. `d.x` is the gradient of the block's output before and of `x_mid` after;
    /// the latter only if `below`. The gradients of gate and up take their places.
    fn mlp_backward(
        &self,
        at: &At<'_, B>,
        below: bool,
        acts: &mut Acts<B>,
        temp: &mut Temp<B>,
        d: &mut Grads<B>,
        grads: &mut LoraGrads<B>,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[at.l], at.t);
        let n = t * c.intermediate_size;
        let inputs = below || self.adapted(at.lora, Group::GateUp);
        self.post_norm_backward(at, Group::Down, acts.post[1].as_ref(), d);
        // The gradient of the product, and then the product, which was not kept.
        let product = &mut d.input;
        if inputs {
            self.input_backward(at, Group::Down, &d.x_operands, product);
            b.glu_backward(c.activation, product, &mut acts.gate, &mut acts.up, n);
        } else {
            b.glu(c.activation, &acts.gate, &acts.up, n, product);
        }
        let xa = |group| acts.xa[group as usize].as_ref();
        if let Some(xa) = xa(Group::Down) {
            self.group_backward(at, Group::Down, &[&d.x_operands], product, Some(xa), grads, None);
        }
        if !inputs {
            return;
        }
        let Temp { input: normed, rstd, fused, .. } = temp;
        b.rmsnorm(&acts.x_mid, &layer.mlp_norm, c.rms_norm_eps, t, normed, rstd, None);
        let (douts, xa, fused) = ([&acts.gate, &acts.up], xa(Group::GateUp), fused.as_mut());
        let d_normed = below.then_some(&mut d.input);
        self.join_backward(at, Group::GateUp, &douts, fused, normed, xa, grads, d_normed);
        if below {
            let (sum, copy) = (Some(&mut d.x), Some(&mut d.x_operands));
            b.rmsnorm_backward(&d.input, &acts.x_mid, &layer.mlp_norm, rstd, t, sum, copy);
        }
    }

    /// Attention half. `d.x` is the gradient of `x_mid` before and of the block's input after;
    /// the latter only above the first block. The gradients of q and k take their places, that of v the place of gate.
    fn attention_half_backward(
        &self,
        at: &At<'_, B>,
        inputs: bool,
        acts: &mut Acts<B>,
        temp: &mut Temp<B>,
        d: &mut Grads<B>,
        grads: &mut LoraGrads<B>,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[at.l], at.t);
        self.post_norm_backward(at, Group::O, acts.post[0].as_ref(), d);
        let (xa, d_att) = (acts.xa[Group::O as usize].as_ref(), inputs.then_some(&mut d.input));
        self.group_backward(at, Group::O, &[&d.x_operands], &acts.att, xa, grads, d_att);
        if !inputs {
            return;
        }
        let (shape, segments) = (self.attention_shape(at.l), &at.packed.segments[..]);
        let Acts { q, k, v, att, lse, gate: dv, .. } = acts;
        b.attention_backward(&d.input, q, k, v, att, lse, segments, shape, &mut temp.q, &mut temp.k, dv);
        self.heads_backward(at, acts, temp);
        let Temp { input: normed, rstd, fused, .. } = temp;
        b.rmsnorm(&acts.x, &layer.attn_norm, c.rms_norm_eps, t, normed, rstd, None);
        let d_normed = (at.l > 0).then_some(&mut d.input);
        let (douts, xa) = ([&acts.q, &acts.k, &acts.gate], acts.xa[Group::Qkv as usize].as_ref());
        self.join_backward(at, Group::Qkv, &douts, fused.as_mut(), normed, xa, grads, d_normed);
        if at.l > 0 {
            let (sum, copy) = (Some(&mut d.x), Some(&mut d.x_operands));
            b.rmsnorm_backward(&d.input, &acts.x, &layer.attn_norm, rstd, t, sum, copy);
        }
    }

    /// Where the output of a half has a norm: leaves the gradient of the norm's input `[T, C]` in `d.x_operands`,
    /// where otherwise `d.x` stands rounded.
    fn post_norm_backward(&self, at: &At<'_, B>, group: Group, kept: Option<&Normed<B>>, d: &mut Grads<B>) {
        if let (Some(Normed { x, rstd }), Some(norm)) = (kept, self.layers[at.l].post_norm(group)) {
            self.backend.rmsnorm_backward(&d.x, x, norm, rstd, at.t, None, Some(&mut d.x_operands));
        }
    }

    /// From the gradients of rotated q and k in `temp.q` and `temp.k` to those of the linears' outputs, in place of q
    /// and k: the rotation back, and the norms of heads where there are any.
    fn heads_backward(&self, at: &At<'_, B>, acts: &mut Acts<B>, temp: &mut Temp<B>) {
        let (b, c, layer) = (&*self.backend, &self.config, &self.layers[at.l]);
        let positions = &at.packed.positions;
        let Temp { q, k, heads, .. } = temp;
        let widths = [c.num_attention_heads, c.num_key_value_heads];
        let outs = [&mut acts.q, &mut acts.k];
        for (i, ((dx, n), out)) in [q, k].into_iter().zip(widths).zip(outs).enumerate() {
            match (&layer.qk_norm, &acts.heads[i], heads.as_mut()) {
                (Some(norms), Some(Normed { x, rstd }), Some(heads)) => {
                    self.rotate(at.l, dx, positions, n, true, heads);
                    b.rmsnorm_backward(heads, x, &norms[i], rstd, at.t * n, None, Some(out));
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
        xa: Option<&B::Buf>,
        grads: &mut LoraGrads<B>,
        dx: Option<&mut B::Buf>,
    ) {
        let Some(fused) = fused else { return self.group_backward(at, group, douts, x, xa, grads, dx) };
        let parts = self.config.parts(group);
        let row = parts.iter().sum();
        let mut start = 0;
        for (dout, width) in douts.iter().zip(parts) {
            let to = Columns { row, start };
            self.backend.copy_columns(dout, Columns { row: width, start: 0 }, at.t, width, fused, to);
            start += width;
        }
        self.group_backward(at, group, &[fused], x, xa, grads, dx);
    }

    /// Gradient of the input `[T, K]` of the only linear of a group, and no others. `dout` `[T, N]`.
    fn input_backward(&self, at: &At<'_, B>, group: Group, dout: &B::Buf, dx: &mut B::Buf) {
        let linears = self.linears(at.l, group, at.adapters);
        // Without gradients of adapters the linears' input is not read.
        self.backend.linear_backward(&[dout], at.t, &linears, dout, None, &mut [None], Some(dx));
    }

    /// Backward of the linears of a group: accumulates the gradients of their adapters, and overwrites `dx`
    /// `[T, K]` with that of their input, if it is wanted. `douts` `[T, N]` each, `x` `[T, K]`, `xa` as the forward
    /// kept it, where there are adapters.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    fn group_backward(
        &self,
        at: &At<'_, B>,
        group: Group,
        douts: &[&B::Buf],
        x: &B::Buf,
        xa: Option<&B::Buf>,
        grads: &mut LoraGrads<B>,
        dx: Option<&mut B::Buf>,
    ) {
        let linears = self.linears(at.l, group, at.adapters);
        let mut grads = grads.group_mut(at.l, self.config.modules(group));
        self.backend.linear_backward(douts, at.t, &linears, x, xa, &mut grads, dx);
    }
}
