//! LoRA adapters: parameters, their gradients, and which rows of a call they apply to.

use std::ops::Range;
use std::sync::Arc;

use hearth_kernels::backend::{Backend, LoraSpan};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::config::{ModelConfig, Module};
use crate::decoder::Decoder;
use crate::error::{Error, Result};

/// Highest rank that is accepted.
pub const MAX_RANK: usize = 1024;

/// What defines an adapter beside its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank, 1 to [`MAX_RANK`].
    pub r: usize,
    /// `lora_alpha`; the update is scaled by `alpha / r`.
    pub alpha: f32,
    /// Adapted linears, of [`ModelConfig::linears`], the same in every block; order and repeats do not matter.
    pub target_modules: Vec<Module>,
}

/// Name and shape of one adapter tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorSpec {
    pub(crate) name: String,
    pub(crate) shape: [usize; 2],
}

/// One buffer per adapter tensor: parameters, gradients or moments. The order is fixed: block by block,
/// modules in order of execution, A `[r, K]` before B `[N, r]`.
pub struct LoraTensors<B: Backend> {
    backend: Arc<B>,
    specs: Arc<Vec<TensorSpec>>,
    /// Position of each module's A inside a block, by [`Module`].
    slots: [Option<usize>; Module::COUNT],
    per_block: usize,
    bufs: Vec<B::Buf>,
}

/// Gradients of an adapter, in the order of its tensors.
pub type LoraGrads<B> = LoraTensors<B>;

impl<B: Backend> LoraTensors<B> {
    fn zeros(decoder: &Decoder<B>, config: &LoraConfig) -> Self {
        let mut slots = [None; Module::COUNT];
        for (at, &m) in config.target_modules.iter().enumerate() {
            slots[m as usize] = Some(2 * at);
        }
        let per_block = 2 * config.target_modules.len();
        let specs = specs(&decoder.config, config);
        let bufs = specs.iter().map(|s| decoder.backend.zeros(s.shape[0] * s.shape[1])).collect();
        Self { backend: Arc::clone(&decoder.backend), specs: Arc::new(specs), slots, per_block, bufs }
    }

    /// Zeros of the same names and shapes.
    pub fn zeros_like(&self) -> Self {
        let bufs = self.specs.iter().map(|s| self.backend.zeros(s.shape[0] * s.shape[1])).collect();
        Self {
            backend: Arc::clone(&self.backend),
            specs: Arc::clone(&self.specs),
            slots: self.slots,
            per_block: self.per_block,
            bufs,
        }
    }

    /// Sets every number to zero.
    pub fn clear(&mut self) {
        for buf in &mut self.bufs {
            self.backend.clear(buf);
        }
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.bufs.len()
    }

    /// Whether there are no tensors; never true for an adapter that was made here.
    pub fn is_empty(&self) -> bool {
        self.bufs.is_empty()
    }

    /// Numbers in all tensors together.
    pub fn element_count(&self) -> usize {
        self.specs.iter().map(|s| s.shape[0] * s.shape[1]).sum()
    }

    /// PEFT tensor name, shape and buffer of every tensor, in the fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, [usize; 2], &B::Buf)> {
        self.specs.iter().zip(&self.bufs).map(|(s, buf)| (s.name.as_str(), s.shape, buf))
    }

    /// As [`Self::iter`], for writing.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, [usize; 2], &mut B::Buf)> {
        self.specs.iter().zip(&mut self.bufs).map(|(s, buf)| (s.name.as_str(), s.shape, buf))
    }

    /// A and B of a module, when it is adapted.
    pub(crate) fn pair(&self, l: usize, m: Module) -> Option<(&B::Buf, &B::Buf)> {
        let i = l * self.per_block + self.slots[m as usize]?;
        Some((&self.bufs[i], &self.bufs[i + 1]))
    }

    /// A and B of modules of a block in order of execution, where they are adapted.
    pub(crate) fn group_mut(
        &mut self,
        l: usize,
        modules: &[Module],
    ) -> Vec<Option<(&mut B::Buf, &mut B::Buf)>> {
        let mut pairs = self.bufs[l * self.per_block..(l + 1) * self.per_block].chunks_exact_mut(2);
        let mut taken = 0;
        let mut pair = |m: &Module| {
            let slot = self.slots[*m as usize]?;
            let [a, b] = pairs.nth((slot - taken) / 2)? else { unreachable!("a chunk of two") };
            taken = slot + 2;
            Some((a, b))
        };
        modules.iter().map(&mut pair).collect()
    }

    pub(crate) fn same_layout(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.specs, &other.specs) || self.specs == other.specs
    }

    pub(crate) fn backend(&self) -> &Arc<B> {
        &self.backend
    }
}

/// An adapter for one base.
pub struct Lora<B: Backend> {
    config: LoraConfig,
    tensors: LoraTensors<B>,
}

impl<B: Backend> Lora<B> {
    /// A fresh adapter, initialised as PEFT does: A uniform in `±1/sqrt(K)` (Kaiming uniform with
    /// `a = sqrt(5)`), B zero, so that it changes nothing yet.
    ///
    /// The numbers are a function of `seed`, the tensor's PEFT name and the element's index alone: ChaCha8
    /// keyed with SHA-256 of `"hearth lora init"`, the seed as 8 little-endian bytes and the name; element
    /// `i` is `(2u - 1) / sqrt(K)` with `u` the top 24 bits of the `i`-th 32-bit word over `2^24`.
    pub fn init(decoder: &Decoder<B>, config: &LoraConfig, seed: u64) -> Result<Self> {
        let mut lora = Self::zeros(decoder, config)?;
        for (name, [rows, cols], buf) in lora.tensors.iter_mut() {
            if name.ends_with(A_SUFFIX) {
                decoder.backend.write(buf, &uniform(seed, name, rows * cols, cols));
            }
        }
        Ok(lora)
    }

    /// An adapter of zeros; checks the configuration.
    pub(crate) fn zeros(decoder: &Decoder<B>, config: &LoraConfig) -> Result<Self> {
        let config = checked(config, &decoder.config)?;
        let tensors = LoraTensors::zeros(decoder, &config);
        Ok(Self { config, tensors })
    }

    /// Rank, alpha and modules (sorted in order of execution).
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The parameters.
    pub fn tensors(&self) -> &LoraTensors<B> {
        &self.tensors
    }

    /// The parameters, for an optimiser or a checkpoint to write.
    pub fn tensors_mut(&mut self) -> &mut LoraTensors<B> {
        &mut self.tensors
    }

    /// Factor on `(x Aᵀ) Bᵀ`: `alpha / r`.
    pub fn scale(&self) -> f32 {
        self.config.alpha / self.config.r as f32
    }

    pub(crate) fn adapts(&self, m: Module) -> bool {
        self.tensors.slots[m as usize].is_some()
    }

    /// The adapter of one linear over some rows, when that linear is adapted.
    pub(crate) fn span(&self, l: usize, m: Module, rows: Range<usize>) -> Option<LoraSpan<'_, B::Buf>> {
        let (a, b) = self.tensors.pair(l, m)?;
        Some(LoraSpan { rows, a, b, r: self.config.r, scale: self.scale() })
    }

    /// Refuses an adapter whose tensors do not have the base's shapes.
    pub(crate) fn check_fits(&self, decoder: &Decoder<B>) -> Result<()> {
        // Same number of blocks and the same shapes; names follow from both.
        let fits = self.tensors.len() == decoder.config.num_hidden_layers * self.tensors.per_block
            && self.config.target_modules.iter().zip(self.tensors.specs.chunks(2)).all(|(&m, pair)| {
                let (n, k) = decoder.config.shape(m);
                decoder.config.linears().contains(&m)
                    && pair[0].shape == [self.config.r, k]
                    && pair[1].shape == [n, self.config.r]
            });
        if fits {
            Ok(())
        } else {
            Err(Error::Input("the adapter was made for another base model".to_owned()))
        }
    }
}

const A_SUFFIX: &str = ".lora_A.weight";
const B_SUFFIX: &str = ".lora_B.weight";

/// The configuration with its modules in order of execution, each once, if an adapter of a base can be like it.
pub(crate) fn checked(config: &LoraConfig, base: &ModelConfig) -> Result<LoraConfig> {
    if config.r == 0 || config.r > MAX_RANK {
        return Err(Error::adapter("r", format!("{} is not between 1 and {MAX_RANK}", config.r)));
    }
    if !(config.alpha.is_finite() && config.alpha > 0.0) {
        return Err(Error::adapter("lora_alpha", format!("{} is not a positive number", config.alpha)));
    }
    if config.target_modules.is_empty() {
        return Err(Error::adapter("target_modules", "empty"));
    }
    let mut config = config.clone();
    config.target_modules.sort();
    config.target_modules.dedup();
    let targets = base.linears();
    if let Some(other) = config.target_modules.iter().find(|m| !targets.contains(m)) {
        let names: Vec<&str> = targets.iter().map(|m| m.name()).collect();
        let reason = format!(
            "{} is not a linear layer of a {} model; it has {}",
            other.name(),
            base.model_type,
            names.join(", ")
        );
        return Err(Error::adapter("target_modules", reason));
    }
    Ok(config)
}

pub(crate) fn specs(model: &ModelConfig, lora: &LoraConfig) -> Vec<TensorSpec> {
    let mut specs = Vec::new();
    for l in 0..model.num_hidden_layers {
        for &m in &lora.target_modules {
            let (n, k) = model.shape(m);
            let stem = format!("base_model.model.model.layers.{l}.{}.{}", m.parent(), m.name());
            specs.push(TensorSpec { name: format!("{stem}{A_SUFFIX}"), shape: [lora.r, k] });
            specs.push(TensorSpec { name: format!("{stem}{B_SUFFIX}"), shape: [n, lora.r] });
        }
    }
    specs
}

fn uniform(seed: u64, name: &str, len: usize, fan_in: usize) -> Vec<f32> {
    let mut hash = Sha256::new();
    hash.update(b"hearth lora init");
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(hash.finalize().into());
    let bound = 1.0 / (fan_in as f64).sqrt();
    (0..len)
        .map(|_| {
            let u = f64::from(rng.next_u32() >> 8) / f64::from(1u32 << 24);
            ((2.0 * u - 1.0) * bound) as f32
        })
        .collect()
}

/// Which adapter applies to which rows of a call.
pub(crate) struct Adapters<'a, B: Backend> {
    spans: Vec<(Range<usize>, &'a Lora<B>)>,
}

impl<'a, B: Backend> Adapters<'a, B> {
    /// One adapter, or none, over all rows.
    pub(crate) fn whole(lora: Option<&'a Lora<B>>, t: usize) -> Self {
        Self { spans: lora.map(|lora| (0..t, lora)).into_iter().collect() }
    }

    pub(crate) fn none() -> Self {
        Self { spans: Vec::new() }
    }

    /// Adds rows that follow all earlier ones; joins them to the last span when the adapter is the same.
    pub(crate) fn push(&mut self, rows: Range<usize>, lora: &'a Lora<B>) {
        match self.spans.last_mut() {
            Some((last, same)) if last.end == rows.start && std::ptr::eq(*same, lora) => last.end = rows.end,
            _ => self.spans.push((rows, lora)),
        }
    }

    pub(crate) fn spans(&self, l: usize, m: Module) -> Vec<LoraSpan<'a, B::Buf>> {
        self.spans.iter().filter_map(|(rows, lora)| lora.span(l, m, rows.clone())).collect()
    }
}
