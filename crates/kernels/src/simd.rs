//! Plain loops compiled once per instruction set, and the small arithmetic that they share.
//!
//! Elementwise ops are written once, in lanes that the compiler turns into vectors. [`per_isa`] makes the
//! copies and chooses at run time, which keeps `unsafe` for these ops in this one place.

/// Defines functions `name(isa, args..)` that run `body(args..)` compiled for `isa`.
///
/// `body` must be `#[inline(always)]`, or it keeps the baseline instructions. With `fma` before the body it
/// gets a const parameter that says whether fused multiply-add is one instruction. Type parameters in brackets
/// are [`crate::numbers::Number`]s, one copy per stored form.
macro_rules! per_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $([$($g:ident),+])? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = fma $($body:ident)::+;) => {
        $crate::simd::per_isa! {
            @define $(#[$meta])* $vis fn $name [$($($g),+)?] ($($arg: $ty),*) $(-> $ret)?,
            ($($body)::+::<true $($(, $g)+)?>), ($($body)::+::<false $($(, $g)+)?>)
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident $([$($g:ident),+])? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $($body:ident)::+;) => {
        $crate::simd::per_isa! {
            @define $(#[$meta])* $vis fn $name [$($($g),+)?] ($($arg: $ty),*) $(-> $ret)?, ($($body)::+), ($($body)::+)
        }
    };
    (@define $(#[$meta:meta])* $vis:vis fn $name:ident [$($g:ident),*] ($($arg:ident: $ty:ty),*) $(-> $ret:ty)?,
        ($($fused:tt)+), ($($plain:tt)+)
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "the arguments of one op")]
        $vis fn $name<$($g: $crate::numbers::Number),*>(isa: $crate::options::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments, reason = "the arguments of one op")]
                fn avx512<$($g: $crate::numbers::Number),*>($($arg: $ty),*) $(-> $ret)? {
                    $($fused)+($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "the arguments of one op")]
                fn avx2<$($g: $crate::numbers::Number),*>($($arg: $ty),*) $(-> $ret)? {
                    $($fused)+($($arg),*)
                }
                use $crate::options::Isa;
                match isa {
                    // SAFETY: `Cpu::new` lets an `Isa` through only after `is_available()` said yes, which
                    // checks every feature named above.
                    Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 => unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 => unsafe { avx2($($arg),*) },
                    Isa::Plain => $($plain)+($($arg),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = isa;
                $($plain)+($($arg),*)
            }
        }
    };
}
pub(crate) use per_isa;

/// `a * b + c`, fused where that is one instruction, else rounded twice.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x for f32: relative error below 3e-7 for -87 <= x <= 88, 0 below -87.3, infinity above 88.7, NaN kept.
///
/// Branch-free, so that loops over it vectorise. `x = n ln 2 + r`, `|r| <= ln 2 / 2`, with ln 2 in two parts
/// (Cody & Waite) and the Taylor polynomial of degree 6, whose next term is at most 1.2e-7 at the border.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits.
    let clamped = if x < -87.5 { -87.5 } else { x };
    let clamped = if clamped > 88.8 { 88.8 } else { clamped };
    let shifted = mul_add::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -0.693_359_4, clamped);
    let r = mul_add::<FMA>(n, 2.121_944_4e-4, r);
    let p = mul_add::<FMA>(r, 1.0 / 720.0, 1.0 / 120.0);
    let p = mul_add::<FMA>(p, r, 1.0 / 24.0);
    let p = mul_add::<FMA>(p, r, 1.0 / 6.0);
    let p = mul_add::<FMA>(p, r, 0.5);
    let p = mul_add::<FMA>(p, r, 1.0);
    let p = mul_add::<FMA>(p, r, 1.0);
    // 2^n in two factors, so that n = 128 and n = -126 stay in range.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = exponent >> 1;
    let scale = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
    let y = p * scale(half) * scale(exponent.wrapping_sub(half));
    if x < -87.336 { 0.0 } else { y }
}

/// Rounds to the nearest bfloat16 (ties to even) and widens again. NaN stays NaN.
#[inline(always)]
pub fn round_bf16(x: f32) -> f32 {
    f32::from_bits(u32::from(to_bf16(x)) << 16)
}

/// Bits of the nearest bfloat16, ties to even. NaN stays NaN.
#[inline(always)]
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

/// Lanes of a reduction: four 512-bit vectors, enough to hide the latency of an addition.
pub const LANES: usize = 64;

/// Adds the lanes, a power of two of them, in a fixed tree.
#[inline(always)]
pub fn sum_lanes<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `f(a[i], b[i])` in [`LANES`] interleaved sums and a fixed tree. `a` and `b` have one length.
#[inline(always)]
pub fn reduce(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], a[i], b[i]);
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = f(lanes[i], a, b);
    }
    sum_lanes(lanes)
}

/// Dot product in [`LANES`] interleaved sums.
#[inline(always)]
pub fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    reduce(a, b, |sum, a, b| mul_add::<FMA>(a, b, sum))
}

#[cfg(test)]
mod tests {
    //! The shared arithmetic against the standard library.

    use super::*;
    use crate::testing::{nan, random};

    per_isa! {
        fn exp_all(x: &[f32], out: &mut [f32]) = fma exp_all_body;
    }

    #[inline(always)]
    fn exp_all_body<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = exp::<FMA>(x);
        }
    }

    #[test]
    fn exponential() {
        let mut x: Vec<f32> = random(1, 200_000).into_iter().map(|x| x * 88.0).collect();
        x.extend([0.0, -0.0, -87.0, 88.0, 88.7, 1e-30]);
        for isa in crate::options::Isa::available() {
            let mut out = nan(x.len());
            exp_all(isa, &x, &mut out);
            for (&x, &got) in x.iter().zip(&out) {
                let want = f64::from(x).exp();
                let error = (f64::from(got) - want).abs() / want;
                assert!(error < 3e-7 || x < -87.0, "{isa}: exp({x}) = {got}, {error:e} off");
            }
            let edges = [f32::NEG_INFINITY, -1e30, -88.0, f32::INFINITY, 1e30, f32::NAN];
            let mut out = nan(edges.len());
            exp_all(isa, &edges, &mut out);
            assert_eq!(out[..3], [0.0; 3], "{isa}");
            assert!(out[3..5] == [f32::INFINITY; 2] && out[5].is_nan(), "{isa}: {out:?}");
        }
    }

    #[test]
    fn rounding_to_bf16() {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40];
        // Exactly between two neighbours: to the even one.
        let ties = [f32::from_bits(0x3f80_8000), f32::from_bits(0x3f81_8000)];
        for x in random(1, 10_000).into_iter().chain(special).chain(ties) {
            assert_eq!(to_bf16(x), half::bf16::from_f32(x).to_bits(), "{x}");
        }
        assert!(round_bf16(f32::NAN).is_nan() && round_bf16(f32::from_bits(0x7f80_0001)).is_nan());
    }
}
