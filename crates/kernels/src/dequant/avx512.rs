//! Stored forms as AVX-512 vectors, 32 neighbouring elements at a time.
//!
//! Roundings are those of the plain loops: product, then sum, not fused. Forms of 4 and 5 bits have only 16 or 32
//! values in a scale's reach: these are computed once, with those roundings, and looked up by a permutation.

use std::arch::x86_64::*;

use super::reference::scale_min;

/// Elements of a group: what one call of [`Stored`] expands.
pub const GROUP: usize = 32;

/// A stored form. `row` points at the row's first block, and group `g` is elements `32 g .. 32 g + 32` from there.
pub trait Stored {
    /// Elements per block.
    const BLOCK_LEN: usize;
    /// Bytes per block.
    const BLOCK_BYTES: usize;

    /// Group `g` as f32. Of a plain form, only the first `len` elements are read and the others are 0; forms of
    /// blocks have whole groups only and ignore `len`.
    ///
    /// # Safety
    /// The elements must be readable.
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2];

    /// Group `g` as bf16, nearest even; subnormal numbers become 0, as they would in a product.
    ///
    /// # Safety
    /// As [`Stored::singles`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, len: usize) -> __m512i {
        // SAFETY: same contract.
        let [low, high] = unsafe { Self::singles(row, g, len) };
        narrow(low, high)
    }
}

/// Two vectors of f32 as one of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn narrow(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both are 512 bits of plain data.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The first `len` of 32 elements, one bit each.
#[inline(always)]
pub fn first(len: usize) -> u32 {
    u32::MAX >> (GROUP - len)
}

/// IEEE single.
pub struct F32;
/// IEEE half.
pub struct F16;
/// bfloat16.
pub struct Bf16;
/// GGUF Q8_0.
pub struct Q8_0;
/// GGUF Q4_0.
pub struct Q4_0;
/// GGUF Q4_1.
pub struct Q4_1;
/// GGUF Q5_0.
pub struct Q5_0;
/// GGUF Q5_1.
pub struct Q5_1;
/// GGUF Q4_K.
pub struct Q4K;
/// GGUF Q5_K.
pub struct Q5K;
/// GGUF Q6_K.
pub struct Q6K;

/// `by_form!(dtype, S => expression)`: the expression with `S` as the type of the form.
macro_rules! by_form {
    ($dtype:expr, $s:ident => $body:expr) => {
        $crate::dequant::avx512::by_form!(@arms $dtype, $s, $body,
            F32 F16 Bf16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4K Q5K Q6K)
    };
    (@arms $dtype:expr, $s:ident, $body:expr, $($form:ident)*) => {
        match $dtype {
            $($crate::weight::WeightDtype::$form => {
                type $s = $crate::dequant::avx512::$form;
                $body
            })*
        }
    };
}
pub(crate) use by_form;

/// Expands `out.len()` elements from the first block of `row` on.
///
/// # Safety
/// The elements must be readable. Forms of blocks need whole groups.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn expand<S: Stored>(row: *const u8, out: &mut [f32]) {
    let (groups, rest) = out.as_chunks_mut::<GROUP>();
    let whole = groups.len();
    for (g, out) in groups.iter_mut().enumerate() {
        // SAFETY: the group lies in the row; `out` holds two vectors.
        unsafe {
            let [low, high] = S::singles(row, g, GROUP);
            _mm512_storeu_ps(out.as_mut_ptr(), low);
            _mm512_storeu_ps(out.as_mut_ptr().add(16), high);
        }
    }
    if !rest.is_empty() {
        let mask = first(rest.len());
        // SAFETY: the masks keep to the elements that are there.
        unsafe {
            let [low, high] = S::singles(row, whole, rest.len());
            _mm512_mask_storeu_ps(rest.as_mut_ptr(), mask as u16, low);
            _mm512_mask_storeu_ps(rest.as_mut_ptr().wrapping_add(16), (mask >> 16) as u16, high);
        }
    }
}

/// An f16 as 16 equal f32.
///
/// # Safety
/// Two bytes must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn half(at: *const u8) -> __m512 {
    // SAFETY: by contract.
    let bits = unsafe { at.cast::<i16>().read_unaligned() };
    _mm512_cvtph_ps(_mm256_set1_epi16(bits))
}

/// `start, start + 1, ..`
#[inline]
#[target_feature(enable = "avx512f")]
fn count_from(start: f32) -> __m512 {
    let steps = _mm512_setr_ps(0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.);
    _mm512_add_ps(steps, _mm512_set1_ps(start))
}

/// 16 bytes as 32-bit integers.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn wide(at: *const u8) -> __m512i {
    // SAFETY: by contract.
    _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(at.cast()) })
}

/// 16 bytes as 32 numbers of 16 bits: the low nibble of each in the first 16, the high one in the others, with
/// the bits above the nibble left as they are.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn nibble_halves(at: *const u8) -> __m512i {
    // SAFETY: by contract.
    let bytes = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(at.cast()) });
    let shifts = _mm512_inserti64x4::<1>(_mm512_setzero_si512(), _mm256_set1_epi16(4));
    _mm512_srlv_epi16(_mm512_cvtepu8_epi16(bytes), shifts)
}

/// 32 bytes as 16-bit integers.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn wide_halves(at: *const u8) -> __m512i {
    // SAFETY: by contract.
    _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(at.cast()) })
}

/// 32 bits that follow `at`.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn bits(at: *const u8) -> u32 {
    // SAFETY: by contract.
    unsafe { at.cast::<u32>().read_unaligned() }
}

impl Stored for F32 {
    const BLOCK_LEN: usize = 1;
    const BLOCK_BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2] {
        let (mask, at) = (first(len), row.wrapping_add(4 * GROUP * g).cast::<f32>());
        // SAFETY: the masks keep to the elements that are there.
        unsafe {
            [
                _mm512_maskz_loadu_ps(mask as u16, at),
                _mm512_maskz_loadu_ps((mask >> 16) as u16, at.wrapping_add(16)),
            ]
        }
    }
}

/// The first `len` of 32 numbers of 16 bits.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn halves_at(row: *const u8, g: usize, len: usize) -> __m512i {
    // SAFETY: the mask keeps to the elements that are there.
    unsafe { _mm512_maskz_loadu_epi16(first(len), row.wrapping_add(2 * GROUP * g).cast()) }
}

impl Stored for F16 {
    const BLOCK_LEN: usize = 1;
    const BLOCK_BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2] {
        // SAFETY: same contract.
        let halves = unsafe { halves_at(row, g, len) };
        [
            _mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
            _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves)),
        ]
    }
}

impl Stored for Bf16 {
    const BLOCK_LEN: usize = 1;
    const BLOCK_BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, len: usize) -> [__m512; 2] {
        // SAFETY: same contract.
        let halves = unsafe { halves_at(row, g, len) };
        let single = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        [single(_mm512_castsi512_si256(halves)), single(_mm512_extracti64x4_epi64::<1>(halves))]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, len: usize) -> __m512i {
        // SAFETY: same contract.
        unsafe { halves_at(row, g, len) }
    }
}

impl Stored for Q8_0 {
    const BLOCK_LEN: usize = 32;
    const BLOCK_BYTES: usize = 34;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        // SAFETY: a block has 34 bytes.
        unsafe {
            let block = row.add(34 * g);
            let d = half(block);
            let low = _mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(2).cast()));
            let high = _mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(18).cast()));
            [_mm512_mul_ps(_mm512_cvtepi32_ps(low), d), _mm512_mul_ps(_mm512_cvtepi32_ps(high), d)]
        }
    }
}

/// Elements of 4 bits: 16 values, and where the nibbles of a 32-element block are.
macro_rules! nibble_form {
    ($form:ident, $bytes:literal, $quants:literal, |$block:ident| $values:expr) => {
        impl Stored for $form {
            const BLOCK_LEN: usize = 32;
            const BLOCK_BYTES: usize = $bytes;

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
                // SAFETY: offsets are those of the form's block. The permutation uses 4 bits of an index.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values: __m512 = $values;
                    let q = wide($block.add($quants));
                    [
                        _mm512_permutexvar_ps(q, values),
                        _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(q), values),
                    ]
                }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
            unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
                // SAFETY: as above. The permutation uses 5 bits of an index, and both halves of the table are
                // equal, so that the fifth does not matter.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values: __m512 = $values;
                    _mm512_permutexvar_epi16(nibble_halves($block.add($quants)), narrow(values, values))
                }
            }
        }
    };
}

nibble_form!(Q4_0, 18, 2, |block| _mm512_mul_ps(count_from(-8.0), half(block)));
nibble_form!(Q4_1, 20, 4, |block| {
    _mm512_add_ps(_mm512_mul_ps(count_from(0.0), half(block)), half(block.add(2)))
});

/// Elements of 5 bits: 32 values, where a 32-element block has the fifth bits and the nibbles.
macro_rules! five_bit_form {
    ($form:ident, $bytes:literal, $fifth:literal, $quants:literal, |$block:ident, $steps:ident| $values:expr,
        $start:literal
    ) => {
        impl Stored for $form {
            const BLOCK_LEN: usize = 32;
            const BLOCK_BYTES: usize = $bytes;

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
                // SAFETY: offsets are those of the form's block. The permutation uses 5 bits of an index.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values = |$steps: __m512| -> __m512 { $values };
                    let (low, high) = (values(count_from($start)), values(count_from($start + 16.0)));
                    let (fifth, q) = (bits($block.add($fifth)), wide($block.add($quants)));
                    let nibble = |q| _mm512_and_si512(q, _mm512_set1_epi32(15));
                    let pick = |mask: u32, q| {
                        let index = _mm512_mask_or_epi32(q, mask as u16, q, _mm512_set1_epi32(16));
                        _mm512_permutex2var_ps(low, index, high)
                    };
                    [pick(fifth, nibble(q)), pick(fifth >> 16, _mm512_srli_epi32::<4>(q))]
                }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
            unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
                // SAFETY: as above.
                unsafe {
                    let $block = row.add($bytes * g);
                    let values = |$steps: __m512| -> __m512 { $values };
                    let table = narrow(values(count_from($start)), values(count_from($start + 16.0)));
                    let q = _mm512_and_si512(nibble_halves($block.add($quants)), _mm512_set1_epi16(15));
                    _mm512_permutexvar_epi16(with_fifth(q, bits($block.add($fifth))), table)
                }
            }
        }
    };
}

/// Nibbles with the fifth bit set in the elements of the mask.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn with_fifth(q: __m512i, mask: u32) -> __m512i {
    _mm512_mask_add_epi16(q, mask, q, _mm512_set1_epi16(16))
}

five_bit_form!(Q5_0, 22, 2, 6, |block, steps| _mm512_mul_ps(steps, half(block)), -16.0);
five_bit_form!(
    Q5_1,
    24,
    4,
    8,
    |block, steps| _mm512_add_ps(_mm512_mul_ps(steps, half(block)), half(block.add(2))),
    0.0
);

/// Scale and minimum of sub-block `j` of a Q4_K or Q5_K block.
///
/// # Safety
/// The block's first 16 bytes must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn k_scales(block: *const u8, j: usize) -> (__m512, __m512) {
    // SAFETY: by contract.
    unsafe {
        let (scale, min) = scale_min(&*block.add(4).cast::<[u8; 12]>(), j);
        let d = _mm512_mul_ps(half(block), _mm512_set1_ps(scale));
        (d, _mm512_mul_ps(half(block.add(2)), _mm512_set1_ps(min)))
    }
}

/// A shift count for a vector shift.
#[inline]
#[target_feature(enable = "sse2")]
fn by(count: usize) -> __m128i {
    _mm_cvtsi32_si128(count as i32)
}

impl Stored for Q4K {
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 144;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: offsets are those of the form's block. The permutation uses 4 bits of an index.
        unsafe {
            let block = row.add(144 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = _mm512_sub_ps(_mm512_mul_ps(d, count_from(0.0)), m);
            let q = block.add(16 + 32 * (j / 2));
            let pick = |q| _mm512_permutexvar_ps(_mm512_srl_epi32(q, shift), values);
            [pick(wide(q)), pick(wide(q.add(16)))]
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: as above. The permutation uses 5 bits of an index, and both halves of the table are equal.
        unsafe {
            let block = row.add(144 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = _mm512_sub_ps(_mm512_mul_ps(d, count_from(0.0)), m);
            let q = wide_halves(block.add(16 + 32 * (j / 2)));
            _mm512_permutexvar_epi16(_mm512_srl_epi16(q, shift), narrow(values, values))
        }
    }
}

impl Stored for Q5K {
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 176;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: offsets are those of the form's block. The permutation uses 5 bits of an index.
        unsafe {
            let block = row.add(176 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = |start| _mm512_sub_ps(_mm512_mul_ps(d, count_from(start)), m);
            let (low, high) = (values(0.0), values(16.0));
            let pick = |at: usize| {
                let q = _mm512_srl_epi32(wide(block.add(48 + 32 * (j / 2) + at)), shift);
                let q = _mm512_and_si512(q, _mm512_set1_epi32(15));
                let fifth = _mm512_test_epi32_mask(wide(block.add(16 + at)), _mm512_set1_epi32(1 << j));
                let index = _mm512_mask_add_epi32(q, fifth, q, _mm512_set1_epi32(16));
                _mm512_permutex2var_ps(low, index, high)
            };
            [pick(0), pick(16)]
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn pairs(row: *const u8, g: usize, _len: usize) -> __m512i {
        let (j, shift) = (g % 8, by(4 * (g % 2)));
        // SAFETY: as above.
        unsafe {
            let block = row.add(176 * (g / 8));
            let (d, m) = k_scales(block, j);
            let values = |start| _mm512_sub_ps(_mm512_mul_ps(d, count_from(start)), m);
            let q = _mm512_srl_epi16(wide_halves(block.add(48 + 32 * (j / 2))), shift);
            let q = _mm512_and_si512(q, _mm512_set1_epi16(15));
            let high = _mm256_loadu_si256(block.add(16).cast());
            let fifth = _mm256_test_epi8_mask(high, _mm256_set1_epi8((1u8 << j).cast_signed()));
            _mm512_permutexvar_epi16(with_fifth(q, fifth), narrow(values(0.0), values(16.0)))
        }
    }
}

impl Stored for Q6K {
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 210;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn singles(row: *const u8, g: usize, _len: usize) -> [__m512; 2] {
        let (half_block, part) = (g % 8 / 4, g % 4);
        // SAFETY: offsets are those of the form's block.
        unsafe {
            let block = row.add(210 * (g / 8));
            let low = _mm256_loadu_si256(block.add(64 * half_block + 32 * (part % 2)).cast());
            let low = _mm256_and_si256(_mm256_srl_epi16(low, by(4 * (part / 2))), _mm256_set1_epi8(15));
            let high = _mm256_loadu_si256(block.add(128 + 32 * half_block).cast());
            let high = _mm256_and_si256(_mm256_srl_epi16(high, by(2 * part)), _mm256_set1_epi8(3));
            let q = _mm256_or_si256(low, _mm256_slli_epi16::<4>(high));
            let q = _mm256_sub_epi8(q, _mm256_set1_epi8(32));
            let (d, scales) = (half(block.add(208)), block.add(192 + 8 * half_block + 2 * part));
            let value = |q: __m128i, at: usize| {
                let scale = f32::from(*scales.add(at).cast::<i8>());
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(scale));
                _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)))
            };
            [value(_mm256_castsi256_si128(q), 0), value(_mm256_extracti128_si256::<1>(q), 1)]
        }
    }
}
