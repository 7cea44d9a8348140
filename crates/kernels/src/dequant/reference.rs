//! The definition of every stored form, as plain loops without branches on data.

use crate::weight::WeightDtype;

// Macros, not functions of functions: a function item that is passed on is called out of line, without the
// caller's vector instructions.

/// Each element from its own bytes.
macro_rules! each {
    ($bytes:ident, $out:ident, $size:literal, |$b:ident| $value:expr) => {
        for (o, $b) in $out.iter_mut().zip($bytes.as_chunks::<$size>().0) {
            *o = $value;
        }
    };
}

/// Block after block.
macro_rules! blocks {
    ($bytes:ident, $out:ident, $size:literal, $len:literal, $block:ident) => {
        for (b, o) in $bytes.as_chunks::<$size>().0.iter().zip($out.as_chunks_mut::<$len>().0) {
            $block(b, o);
        }
    };
}

/// Expands whole blocks: `bytes` holds exactly `out.len()` elements of the form. Panics otherwise.
#[inline(always)]
pub fn expand(dtype: WeightDtype, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "bytes and elements of a stored form disagree");
    match dtype {
        WeightDtype::F32 => each!(bytes, out, 4, |b| f32::from_le_bytes(*b)),
        WeightDtype::F16 => each!(bytes, out, 2, |b| f16_to_f32(u16::from_le_bytes(*b))),
        WeightDtype::Bf16 => each!(bytes, out, 2, |b| bf16_to_f32(u16::from_le_bytes(*b))),
        WeightDtype::Q8_0 => blocks!(bytes, out, 34, 32, q8_0),
        WeightDtype::Q4_0 => blocks!(bytes, out, 18, 32, q4_0),
        WeightDtype::Q4_1 => blocks!(bytes, out, 20, 32, q4_1),
        WeightDtype::Q5_0 => blocks!(bytes, out, 22, 32, q5_0),
        WeightDtype::Q5_1 => blocks!(bytes, out, 24, 32, q5_1),
        WeightDtype::Q4K => blocks!(bytes, out, 144, 256, q4_k),
        WeightDtype::Q5K => blocks!(bytes, out, 176, 256, q5_k),
        WeightDtype::Q6K => blocks!(bytes, out, 210, 256, q6_k),
    }
}

/// IEEE half to single, exactly, with subnormals, infinities and NaN; branch-free, so that loops vectorise.
#[inline(always)]
pub fn f16_to_f32(h: u16) -> f32 {
    let magnitude = u32::from(h & 0x7fff);
    // The half's exponent and mantissa, read as a single, are 2^-112 of the value.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | (u32::from(h & 0x8000) << 16))
}

/// bfloat16 to single, exactly.
#[inline(always)]
pub fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

#[inline(always)]
fn half_at(b: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([b[at], b[at + 1]]))
}

/// f16 scale, 32 signed bytes.
#[inline(always)]
fn q8_0(b: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for i in 0..32 {
        out[i] = f32::from(b[2 + i] as i8) * d;
    }
}

/// f16 scale, 32 nibbles with offset 8: low nibbles are elements 0..16, high ones 16..32.
#[inline(always)]
fn q4_0(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for i in 0..16 {
        let q = u32::from(b[2 + i]);
        out[i] = ((q & 15) as i32 - 8) as f32 * d;
        out[i + 16] = ((q >> 4) as i32 - 8) as f32 * d;
    }
}

/// f16 scale, f16 minimum, 32 nibbles.
#[inline(always)]
fn q4_1(b: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    for i in 0..16 {
        let q = u32::from(b[4 + i]);
        out[i] = (q & 15) as i32 as f32 * d + m;
        out[i + 16] = (q >> 4) as i32 as f32 * d + m;
    }
}

/// f16 scale, 32 fifth bits, 32 nibbles; offset 16.
#[inline(always)]
fn q5_0(b: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    let high = u32::from_le_bytes([b[2], b[3], b[4], b[5]]);
    for i in 0..16 {
        let low = u32::from(b[6 + i]);
        out[i] = (((low & 15) | ((high >> i) & 1) << 4) as i32 - 16) as f32 * d;
        out[i + 16] = (((low >> 4) | ((high >> (i + 16)) & 1) << 4) as i32 - 16) as f32 * d;
    }
}

/// f16 scale, f16 minimum, 32 fifth bits, 32 nibbles.
#[inline(always)]
fn q5_1(b: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    let high = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
    for i in 0..16 {
        let low = u32::from(b[8 + i]);
        out[i] = ((low & 15) | ((high >> i) & 1) << 4) as i32 as f32 * d + m;
        out[i + 16] = ((low >> 4) | ((high >> (i + 16)) & 1) << 4) as i32 as f32 * d + m;
    }
}

/// Six-bit scale and minimum of sub-block `j` of 8, from the 12 packed bytes of Q4_K and Q5_K.
#[inline(always)]
pub fn scale_min(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4, (packed[j + 4] >> 4) | (packed[j] >> 6) << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// f16 scale of scales, f16 scale of minima, 12 bytes of scales, 256 nibbles in groups of 64.
#[inline(always)]
fn q4_k(b: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for g in 0..4 {
        let (s1, m1) = scale_min(&b[4..16], 2 * g);
        let (s2, m2) = scale_min(&b[4..16], 2 * g + 1);
        let (d1, m1, d2, m2) = (d * s1, dmin * m1, d * s2, dmin * m2);
        let q = &b[16 + 32 * g..48 + 32 * g];
        let out = &mut out[64 * g..64 * g + 64];
        for i in 0..32 {
            out[i] = d1 * (q[i] & 15) as i32 as f32 - m1;
            out[i + 32] = d2 * (q[i] >> 4) as i32 as f32 - m2;
        }
    }
}

/// As Q4_K with 32 bytes of fifth bits before the nibbles: bit `2g` and `2g + 1` belong to group `g`.
#[inline(always)]
fn q5_k(b: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    let high = &b[16..48];
    for g in 0..4 {
        let (s1, m1) = scale_min(&b[4..16], 2 * g);
        let (s2, m2) = scale_min(&b[4..16], 2 * g + 1);
        let (d1, m1, d2, m2) = (d * s1, dmin * m1, d * s2, dmin * m2);
        let q = &b[48 + 32 * g..80 + 32 * g];
        let out = &mut out[64 * g..64 * g + 64];
        for i in 0..32 {
            let low = (q[i] & 15) | ((high[i] >> (2 * g)) & 1) << 4;
            let top = (q[i] >> 4) | ((high[i] >> (2 * g + 1)) & 1) << 4;
            out[i] = d1 * low as i32 as f32 - m1;
            out[i + 32] = d2 * top as i32 as f32 - m2;
        }
    }
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, f16 scale of scales; offset 32.
#[inline(always)]
fn q6_k(b: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(b, 208);
    for half in 0..2 {
        let low = &b[64 * half..64 * half + 64];
        let high = &b[128 + 32 * half..160 + 32 * half];
        let scales = &b[192 + 8 * half..200 + 8 * half];
        let out = &mut out[128 * half..128 * half + 128];
        for part in 0..4 {
            for sub in 0..2 {
                let scale = d * f32::from(scales[2 * part + sub] as i8);
                for i in 16 * sub..16 * sub + 16 {
                    let nibble = (low[32 * (part % 2) + i] >> (4 * (part / 2))) & 15;
                    let q = nibble | ((high[i] >> (2 * part)) & 3) << 4;
                    out[32 * part + i] = scale * (q as i32 - 32) as f32;
                }
            }
        }
    }
}
