//! The fast backend against the reference on a whole tiny model.

use std::sync::Arc;

use crate::common::{Tiny, assert_close, random_lora, random_packed, run};
use hearth_kernels::{Cpu, CpuOptions, Isa, Precision, Reference};
use hearth_model::{DecodeSeq, Module, Workspace};

const TINY: Tiny = Tiny { tied: false, bias: true };

/// Loss and all gradients of each instruction set that this machine has, in units of the tensor's largest
/// element. With f32 products the error is that of f32 sums of at most 32 terms through two blocks,
/// about 30 roundings of 6e-8 each, doubled by the backward: 1e-5. With bf16 products every input carries
/// up to 2^-9 = 2e-3; some ten of them meet in a gradient and mostly average out: 3e-2.
fn check(precision: Precision, rtol: f64) {
    let reference = TINY.load(Arc::new(Reference::<f64>::new()));
    let packed = random_packed(&[9, 1, 14], 8);
    let expect_lora = random_lora(&reference, &Module::ALL, 3, 4);
    let (expect_sums, expect) = run(&reference, &expect_lora, &packed, 0.125);
    for isa in Isa::available() {
        let options = CpuOptions { threads: 2, isa: Some(isa), precision };
        let decoder = TINY.load(Arc::new(Cpu::new(options).expect("backend")));
        let lora = random_lora(&decoder, &Module::ALL, 3, 4);
        let (sums, grads) = run(&decoder, &lora, &packed, 0.125);
        let what = format!("{isa} {precision:?}");
        assert_eq!(sums.weight, expect_sums.weight, "{what}");
        let error = (sums.loss - expect_sums.loss).abs() / expect_sums.loss;
        assert!(error <= rtol, "{what}: loss {} instead of {}", sums.loss, expect_sums.loss);
        for ((name, found), (_, expect)) in grads.iter().zip(&expect) {
            let largest = expect.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            assert_close(&format!("{what} {name}"), found, expect, rtol * f64::from(largest), 0.0);
        }
    }
}

#[test]
fn f32_products_agree_with_the_reference() {
    check(Precision::F32, 1e-5);
}

#[test]
fn bf16_products_agree_with_the_reference() {
    check(Precision::Bf16, 3e-2);
}

/// The same bits with one thread and with three.
#[test]
fn threads_change_nothing() {
    let packed = random_packed(&[40, 3, 70], 2);
    let results = [1, 3].map(|threads| {
        let options = CpuOptions { threads, isa: None, precision: Precision::Bf16 };
        let decoder = TINY.load(Arc::new(Cpu::new(options).expect("backend")));
        let lora = random_lora(&decoder, &Module::ALL, 4, 4);
        run(&decoder, &lora, &packed, 1.0)
    });
    let [one, three] = results;
    assert_eq!(one.0.loss.to_bits(), three.0.loss.to_bits());
    assert_eq!(one.1, three.1);
}

/// Prefill and decode of two sequences with different adapters against the packed forward.
#[test]
fn cached_decoding_agrees_with_the_full_forward() {
    let options = CpuOptions { threads: 2, isa: None, precision: Precision::F32 };
    let decoder = TINY.load(Arc::new(Cpu::new(options).expect("backend")));
    let loras = [1, 2].map(|seed| random_lora(&decoder, &Module::ALL, 3, seed));
    let packed = random_packed(&[9, 9], 5);
    let mut workspace = Workspace::new(&decoder);
    let mut caches = [decoder.new_cache(9), decoder.new_cache(9)];
    for range in [0..6, 6..7, 7..9] {
        let mut batch: Vec<_> = caches
            .iter_mut()
            .zip(&loras)
            .zip(&packed.segments)
            .map(|((cache, lora), s)| {
                let tokens = &packed.tokens[s.own.start + range.start..s.own.start + range.end];
                DecodeSeq { cache, tokens, lora: Some(lora), logits: true }
            })
            .collect();
        let found = decoder.decode(&mut batch, &mut workspace).expect("decodes");
        for ((found, lora), s) in found.iter().zip(&loras).zip(&packed.segments) {
            let row = (s.own.start + range.end - 1) as u32;
            let expect =
                decoder.logits(Some(lora), &packed, &[row], &mut Workspace::new(&decoder)).expect("logits");
            assert_close("logits", found.as_ref().expect("asked"), &expect, 1e-5, 1e-5);
        }
    }
}
