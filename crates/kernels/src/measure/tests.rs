//! Chains do the operations that they count, and the peak is a rate.

use super::*;
use crate::options::Precision;
use crate::pool::Pool;

/// Sums of a chain grow by the same number each round, so a chain that leaves rounds or accumulators out is found.
#[test]
fn chains_do_the_operations_that_they_count() {
    for isa in Isa::available() {
        for precision in [Precision::Bf16, Precision::F32] {
            let mode = Mode::new(isa, precision);
            if isa == Isa::Plain {
                // Each sum tends to 2.
                assert_eq!(chain(mode, 100), 2.0 * PLAIN_LANES as f32);
            } else {
                // Operands of 1: the sum of all accumulators is half the operations.
                assert_eq!(chain(mode, 100), 50.0 * flop_per_round(mode) as f32, "{isa} {precision:?}");
            }
        }
    }
}

#[test]
fn a_peak_is_a_rate() {
    // Without tiles, which may be emulated here.
    let mode = Mode::new(Isa::best().vectors(), Precision::Bf16);
    let ctx = Context::new(Pool::new(2).unwrap(), mode);
    let peak = peak_flop_per_second(&ctx);
    assert!(peak.is_finite() && peak > 0.0, "{peak}");
}
