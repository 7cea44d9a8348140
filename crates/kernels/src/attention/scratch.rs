//! Outputs that tasks share.

use std::marker::PhantomData;

use crate::numbers::NumbersMut;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for bytes that will be written soon: a store that misses the cache holds up those behind it.
fn prefetch_for_write(first: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..bytes).step_by(LINE) {
        // SAFETY: a prefetch reads nothing and is in the baseline instructions.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_ET0>(first.wrapping_add(at).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, bytes);
}

/// An output `[rows, heads * head_dim]` of which each task writes other pieces.
pub struct Shared<'a> {
    first: First,
    len: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

#[derive(Clone, Copy)]
enum First {
    F32(*mut f32),
    Bf16(*mut u16),
}

// SAFETY: the only use is `piece`, whose callers write disjoint pieces.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Takes over the borrow of `x`.
    pub fn new(x: NumbersMut<'a>) -> Self {
        let (first, len) = match x {
            NumbersMut::F32(x) => (First::F32(x.as_mut_ptr()), x.len()),
            NumbersMut::Bf16(x) => (First::Bf16(x.as_mut_ptr()), x.len()),
        };
        Self { first, len, borrow: PhantomData }
    }

    /// Asks for numbers that will be written soon: `len` of them from `at` on.
    pub fn fetch(&self, at: usize, len: usize) {
        match self.first {
            First::F32(x) => prefetch_for_write(x.wrapping_add(at).cast(), 4 * len),
            First::Bf16(x) => prefetch_for_write(x.wrapping_add(at).cast(), 2 * len),
        }
    }

    /// The numbers from `at` on, `len` of them.
    ///
    /// # Safety
    /// No two pieces that are alive at one time may overlap.
    pub unsafe fn piece(&self, at: usize, len: usize) -> NumbersMut<'_> {
        assert!(at <= self.len && len <= self.len - at, "a piece lies behind the end of an output");
        // SAFETY: inside the borrowed numbers by the assertion; disjoint by the contract.
        unsafe {
            match self.first {
                First::F32(x) => NumbersMut::F32(std::slice::from_raw_parts_mut(x.add(at), len)),
                First::Bf16(x) => NumbersMut::Bf16(std::slice::from_raw_parts_mut(x.add(at), len)),
            }
        }
    }
}
