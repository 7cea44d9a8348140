//! Conversion to words. Products are tested through `linear`, which reaches every shape of them.

use super::pack::{Words, lhs_row};
use crate::options::Isa;
use crate::simd::{round_bf16, to_bf16};
use crate::testing::random;

#[test]
fn words_of_a_row() {
    const UNTOUCHED: u32 = 0xdead_beef;
    for isa in Isa::available() {
        for n in [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100] {
            let mut x = random(n as u64, n);
            for (x, special) in x.iter_mut().zip([f32::NAN, f32::INFINITY, -0.0, 3e38]) {
                *x = special;
            }
            for words in [Words::F32, Words::RoundedF32, Words::Bf16Pairs] {
                let bf16 = |i: usize| x.get(i).map_or(0, |&x| u32::from(to_bf16(0.5 * x)));
                let want: Vec<u32> = (0..words.count(n))
                    .map(|i| match words {
                        Words::F32 => (0.5 * x[i]).to_bits(),
                        Words::RoundedF32 => round_bf16(0.5 * x[i]).to_bits(),
                        Words::Bf16Pairs => bf16(2 * i) | bf16(2 * i + 1) << 16,
                    })
                    .chain([UNTOUCHED; 3])
                    .collect();
                let mut got = vec![UNTOUCHED; want.len()];
                lhs_row(isa, words, 0.5, &x, &mut got);
                assert_eq!(got, want, "{isa} {words:?} {n}");
            }
        }
    }
}
