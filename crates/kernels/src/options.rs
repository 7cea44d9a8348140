//! How to run on this machine: threads, instruction set, precision.

use std::fmt;

/// Upper limit of [`CpuOptions::threads`].
pub const MAX_THREADS: usize = 1024;

/// A family of kernels, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// AVX-512 with BF16 as [`Isa::Avx512Bf16`], and products of bf16 in tile registers (AMX-BF16). Linux only.
    Amx,
    /// AVX-512 with dot products of BF16 (`vdpbf16ps`) and of 8-bit integers (VNNI), which every processor with the
    /// former has; f32 work as [`Isa::Avx512`].
    Avx512Bf16,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// Whatever the compiler makes of plain loops.
    Plain,
}

impl Isa {
    /// All, best first.
    pub const ALL: [Isa; 5] = [Isa::Amx, Isa::Avx512Bf16, Isa::Avx512, Isa::Avx2, Isa::Plain];

    /// Whether this machine (and its operating system) can run the family. For tile registers this asks the
    /// operating system for its permission to use them, once per process.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            let avx512 = avx2
                && std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512vl");
            let avx512_bf16 = avx512
                && std::is_x86_feature_detected!("avx512bf16")
                && std::is_x86_feature_detected!("avx512vnni");
            match self {
                #[cfg(target_os = "linux")]
                Isa::Amx => avx512_bf16 && crate::amx::available(),
                #[cfg(not(target_os = "linux"))]
                Isa::Amx => false,
                Isa::Avx512Bf16 => avx512_bf16,
                Isa::Avx512 => avx512,
                Isa::Avx2 => avx2,
                Isa::Plain => true,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Isa::Plain
        }
    }

    /// The best available family.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Plain)
    }

    /// The available families, best first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The family that runs everything but products in tile registers.
    pub(crate) fn vectors(self) -> Isa {
        if self == Isa::Amx { Isa::Avx512Bf16 } else { self }
    }

    /// Whether products of 8-bit integers have instructions here (AVX-512 VNNI); without, they are right but slow.
    pub fn has_int8(self) -> bool {
        matches!(self, Isa::Amx | Isa::Avx512Bf16)
    }

    /// Name for flags, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Amx => "amx",
            Isa::Avx512Bf16 => "avx512-bf16",
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Plain => "plain",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the inputs of matrix products are rounded to. Sums are f32, but for those of integers, and so is everything
/// else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Inputs of matrix products are rounded to the nearest bfloat16, ties to even.
    #[default]
    Bf16,
    /// Inputs stay f32.
    F32,
    /// Inputs of the linears' products with frozen weights are rounded to 8-bit integers, at the time of the product:
    /// weights with a scale per row, the other side with one or a few per token row. All else is as with
    /// [`Precision::Bf16`]. Needs integer dot products to be fast ([`Isa::has_int8`]).
    Int8,
}

/// How to make a [`crate::Cpu`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Worker threads, the calling one included; 0 means one per core that this process may use.
    pub threads: usize,
    /// Forces one instruction set; `None` takes the best available.
    pub isa: Option<Isa>,
    /// Rounding of the inputs of matrix products.
    pub precision: Precision,
}
