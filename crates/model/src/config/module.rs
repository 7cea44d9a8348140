//! The linear layers of a decoder block: their names, and which of them are one call.

/// A linear layer of a block, in order of execution. Some models (Phi-3) store q, k and v as one matrix, and gate
/// and up as another; they have four linears, the others seven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Module {
    /// Query projection, `[n_heads * head_dim, hidden]`.
    Q,
    /// Key projection, `[n_kv_heads * head_dim, hidden]`.
    K,
    /// Value projection, `[n_kv_heads * head_dim, hidden]`.
    V,
    /// Q, K and V below one another.
    Qkv,
    /// Attention output projection, `[hidden, n_heads * head_dim]`.
    O,
    /// MLP gate, `[intermediate, hidden]`.
    Gate,
    /// MLP up projection, `[intermediate, hidden]`.
    Up,
    /// Gate and up below one another.
    GateUp,
    /// MLP down projection, `[hidden, intermediate]`.
    Down,
}

impl Module {
    /// Number of variants, for arrays by module.
    pub(crate) const COUNT: usize = 9;
    /// Those of a model without fused matrices.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];
    /// Those of a model with fused matrices.
    pub(crate) const FUSED: [Self; 4] = [Self::Qkv, Self::O, Self::GateUp, Self::Down];

    /// The name that Hugging Face and PEFT use, for example `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
            Self::Qkv => "qkv_proj",
            Self::GateUp => "gate_up_proj",
        }
    }

    /// The module of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Qkv, Self::GateUp]).find(|m| m.name() == name)
    }

    /// What is stored in it: itself, or the linears of other models that are fused in it.
    pub fn parts(self) -> &'static [Self] {
        match self {
            Self::Qkv => &[Self::Q, Self::K, Self::V],
            Self::GateUp => &[Self::Gate, Self::Up],
            Self::Q => &[Self::Q],
            Self::K => &[Self::K],
            Self::V => &[Self::V],
            Self::O => &[Self::O],
            Self::Gate => &[Self::Gate],
            Self::Up => &[Self::Up],
            Self::Down => &[Self::Down],
        }
    }

    /// `self_attn` or `mlp`.
    pub fn parent(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O | Self::Qkv => "self_attn",
            Self::Gate | Self::Up | Self::Down | Self::GateUp => "mlp",
        }
    }
}

/// Linears of a block that share their input, and so are one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Group {
    /// q, k, v of the attention norm's output.
    Qkv,
    /// Attention's output projection.
    O,
    /// Gate and up of the MLP norm's output.
    GateUp,
    /// The MLP's output projection.
    Down,
}

impl Group {
    /// All four, in order of execution.
    pub(crate) const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::GateUp, Self::Down];

    /// Its linears, as a model stores them.
    pub(crate) fn modules(self, fused: bool) -> &'static [Module] {
        match self {
            Self::Qkv if fused => &[Module::Qkv],
            Self::GateUp if fused => &[Module::GateUp],
            Self::Qkv => &[Module::Q, Module::K, Module::V],
            Self::O => &[Module::O],
            Self::GateUp => &[Module::Gate, Module::Up],
            Self::Down => &[Module::Down],
        }
    }
}
