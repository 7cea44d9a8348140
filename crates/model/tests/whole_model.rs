//! Whole tiny models on the reference backend: gradients, packing, decoding, adapter files.

use std::fs;
use std::sync::Arc;

use crate::common::{Tiny, assert_close, random_lora, random_packed, random_sequences, run};
use hearth_kernels::{Backend, Reference, Timed};
use hearth_model::{DecodeSeq, Decoder, Lora, LoraConfig, Module, Packed, Workspace};

fn tiny_f64(tied: bool) -> Decoder<Reference<f64>> {
    Tiny { tied, bias: false }.load(Arc::new(Reference::<f64>::new()))
}

/// Every element of every adapter tensor against a finite difference of fourth order:
/// `(4 D(h/2) - D(h)) / 3` with central differences D.
///
/// Error: h^4/480 times the fifth derivative, about 3e-14 times derivatives of order 10^3 at most on
/// this model, plus rounding of the loss (1e-15 * 20 / h = 1e-11). The gradient itself is read as f32
/// (6e-8 relative). Adapter numbers are multiples of 2^-14, so that `p ± h` is exact in f32.
fn check_finite_differences(tied: bool, targets: &[Module]) {
    const H: f32 = 1.0 / 1024.0;
    let decoder = tiny_f64(tied);
    let backend = Arc::clone(decoder.backend());
    let packed = random_packed(&[5, 1, 7], 11);
    let mut lora = random_lora(&decoder, targets, 3, 5);
    let (_, grads) = run(&decoder, &lora, &packed, 0.5);
    let mut workspace = Workspace::new(&decoder);
    let mut compared = 0;
    for (tensor, (name, grad)) in grads.iter().enumerate() {
        assert!(grad.iter().any(|g| g.abs() > 1e-3), "{name}: the test would compare nothing");
        for (i, &found) in grad.iter().enumerate() {
            let mut loss_at = |step: f32| {
                let (_, _, buf) = lora.tensors_mut().iter_mut().nth(tensor).expect("tensor");
                let mut values = backend.download(buf);
                let old = values[i];
                values[i] = old + step;
                assert_eq!(values[i] - old, step, "the step must be exact");
                backend.write(buf, &values);
                let loss = 0.5 * decoder.loss(Some(&lora), &packed, &mut workspace).expect("loss").loss;
                let (_, _, buf) = lora.tensors_mut().iter_mut().nth(tensor).expect("tensor");
                values[i] = old;
                backend.write(buf, &values);
                loss
            };
            let mut central = |h: f32| (loss_at(h) - loss_at(-h)) / (2.0 * f64::from(h));
            let expect = (4.0 * central(H / 2.0) - central(H)) / 3.0;
            let found = f64::from(found);
            assert!(
                (found - expect).abs() <= 1e-9 + 1e-7 * expect.abs(),
                "{name}[{i}]: {found}, expected {expect}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, lora.tensors().element_count());
}

#[test]
fn gradients_are_those_of_finite_differences_tied() {
    check_finite_differences(true, &Module::ALL);
}

#[test]
fn gradients_are_those_of_finite_differences_untied() {
    check_finite_differences(false, &Module::ALL);
}

/// Any subset of modules has the gradients that it has among all of them: stopping early loses nothing.
#[test]
fn every_subset_of_modules_has_the_same_gradients() {
    let decoder = tiny_f64(true);
    let packed = random_packed(&[6, 4], 3);
    for bits in 1u32..128 {
        let picked = |&(i, _): &(usize, Module)| bits & (1 << i) != 0;
        let targets: Vec<Module> =
            Module::ALL.into_iter().enumerate().filter(picked).map(|(_, m)| m).collect();
        let lora = random_lora(&decoder, &targets, 2, u64::from(bits));
        // The same adapter with all modules, zero where the subset has none.
        let mut all = random_lora(&decoder, &Module::ALL, 2, 0);
        for (name, [n, k], buf) in all.tensors_mut().iter_mut() {
            let same = lora.tensors().iter().find(|(other, _, _)| *other == name);
            let values = same.map_or_else(|| vec![0.0; n * k], |(_, _, buf)| decoder.backend().download(buf));
            decoder.backend().write(buf, &values);
        }
        let (sums, grads) = run(&decoder, &lora, &packed, 1.0);
        let (all_sums, all_grads) = run(&decoder, &all, &packed, 1.0);
        assert!((sums.loss - all_sums.loss).abs() < 1e-12, "{targets:?}");
        for (name, grad) in grads {
            let expect = &all_grads.iter().find(|(other, _)| *other == name).expect("same name").1;
            assert_close(&name, &grad, expect, 1e-9, 1e-6);
        }
    }
}

#[test]
fn packed_rows_are_the_rows_alone() {
    let sequences = random_sequences(&[4, 9, 1, 2, 6], 21);
    assert_eq!(check_packed(&sequences), needed_rows(&sequences));
}

#[test]
fn shared_rows_are_the_rows_alone() {
    let mut sequences = random_sequences(&[14, 20, 5, 17], 22);
    let (first, _) = sequences[0].clone();
    for (i, (tokens, weights)) in sequences.iter_mut().enumerate().filter(|(i, _)| *i != 2) {
        tokens[..10].copy_from_slice(&first[..10]);
        weights[..11].fill(0.0);
        assert!(weights[11..].iter().any(|&weight| weight > 0.0), "sequence {i} has nothing to learn");
    }
    assert_eq!(check_packed(&sequences), needed_rows(&sequences) - 2 * 10);
}

/// Rows up to the last prediction that has weight, at least one of each sequence.
fn needed_rows(sequences: &[(Vec<u32>, Vec<f32>)]) -> usize {
    let last = |weights: &[f32]| weights.iter().rposition(|&weight| weight != 0.0).unwrap_or_default();
    sequences.iter().map(|(_, weights)| last(weights).max(1)).sum()
}

/// Compares sequences as `Packed::of` joins them with the sum of each alone. Returns the number of rows.
fn check_packed(sequences: &[(Vec<u32>, Vec<f32>)]) -> usize {
    let decoder = tiny_f64(false);
    let lora = random_lora(&decoder, &Module::ALL, 3, 2);
    let packed = Packed::of(sequences.iter().map(|(tokens, weights)| (&tokens[..], &weights[..])));
    let (mut loss, mut weight) = (0.0, 0.0);
    let mut sum: Vec<Vec<f64>> = Vec::new();
    for (tokens, weights) in sequences {
        let mut alone = Packed::default();
        alone.push(tokens, weights);
        let (sums, grads) = run(&decoder, &lora, &alone, 0.25);
        loss += sums.loss;
        weight += sums.weight;
        sum.resize(grads.len(), Vec::new());
        for (sum, (_, grad)) in sum.iter_mut().zip(&grads) {
            sum.resize(grad.len(), 0.0);
            sum.iter_mut().zip(grad).for_each(|(s, g)| *s += f64::from(*g));
        }
    }
    let (sums, grads) = run(&decoder, &lora, &packed, 0.25);
    assert!(
        (sums.loss - loss).abs() <= 1e-12 * loss.abs() && sums.weight == weight,
        "{sums:?} {loss} {weight}"
    );
    for ((name, grad), expect) in grads.iter().zip(&sum) {
        let expect: Vec<f32> = expect.iter().map(|&x| x as f32).collect();
        // Up to five gradients were rounded to f32 before they were added.
        assert_close(name, grad, &expect, 1e-6, 1e-6);
    }
    packed.len()
}

/// Gradients accumulate, a larger call before leaves nothing behind, and rows without weight are no error.
#[test]
fn workspaces_are_reused_and_gradients_accumulate() {
    let decoder = tiny_f64(true);
    let lora = random_lora(&decoder, &[Module::Q, Module::Up], 3, 2);
    let (large, small) = (random_packed(&[12, 8], 1), random_packed(&[3], 9));
    let (_, expect) = run(&decoder, &lora, &small, 1.0);
    let mut workspace = Workspace::new(&decoder);
    let mut grads = lora.tensors().zeros_like();
    decoder.loss_and_grads(&lora, &large, 1.0, &mut grads, &mut workspace).expect("runs");
    grads.clear();
    for _ in 0..2 {
        decoder.loss_and_grads(&lora, &small, 0.5, &mut grads, &mut workspace).expect("runs");
    }
    for ((name, _, buf), (_, expect)) in grads.iter().zip(&expect) {
        assert_close(name, &decoder.backend().download(buf), expect, 1e-12, 1e-6);
    }
    let mut untrained = small.clone();
    untrained.weights.fill(0.0);
    let sums = decoder.loss_and_grads(&lora, &untrained, 1.0, &mut grads, &mut workspace).expect("runs");
    assert_eq!((sums.loss, sums.weight), (0.0, 0.0));
}

#[test]
fn decoding_with_caches_gives_the_full_forward() {
    let decoder = Tiny { tied: true, bias: true }.load(Arc::new(Reference::<f64>::new()));
    let loras =
        [random_lora(&decoder, &Module::ALL, 3, 1), random_lora(&decoder, &[Module::V, Module::Down], 2, 2)];
    // Sequence, adapter, and how its tokens are split over the calls.
    let plans: [(usize, Option<&Lora<_>>, [usize; 3]); 4] = [
        (9, Some(&loras[0]), [4, 4, 1]),
        (6, None, [5, 1, 0]),
        (7, Some(&loras[1]), [1, 1, 5]),
        (5, Some(&loras[1]), [3, 1, 1]),
    ];
    let sequences = random_sequences(&plans.map(|p| p.0), 4);
    let mut workspace = Workspace::new(&decoder);
    let mut caches: Vec<_> = plans.iter().map(|p| decoder.new_cache(p.0)).collect();
    for call in 0..3 {
        let mut batch = Vec::new();
        let mut expect = Vec::new();
        for ((cache, (tokens, _)), (_, lora, split)) in caches.iter_mut().zip(&sequences).zip(&plans) {
            let (start, n) = (split[..call].iter().sum::<usize>(), split[call]);
            if n == 0 {
                continue;
            }
            let mut whole = Packed::default();
            whole.push(&tokens[..start + n], &vec![0.0; start + n]);
            let last = (start + n - 1) as u32;
            expect
                .push(decoder.logits(*lora, &whole, &[last], &mut Workspace::new(&decoder)).expect("logits"));
            batch.push(DecodeSeq { cache, tokens: &tokens[start..start + n], lora: *lora, logits: true });
        }
        let found = decoder.decode(&mut batch, &mut workspace).expect("decodes");
        for (i, (found, expect)) in found.iter().zip(&expect).enumerate() {
            assert_close(&format!("sequence {i}"), found.as_ref().expect("asked"), expect, 1e-9, 1e-6);
        }
    }
    let mut full = [DecodeSeq { cache: &mut caches[0], tokens: &[1], lora: None, logits: false }];
    let error = decoder.decode(&mut full, &mut workspace).expect_err("full cache");
    assert_eq!(error.to_string(), "model input: 1 new tokens after 9 do not fit a cache of 9");
}

#[test]
fn adapters_survive_a_round_trip_bit_for_bit() {
    let decoder = Tiny { tied: true, bias: false }.load(Arc::new(Reference::<f32>::new()));
    let config = LoraConfig { r: 4, alpha: 8.0, target_modules: vec![Module::Down, Module::Q, Module::Q] };
    let mut lora = Lora::init(&decoder, &config, 42).expect("inits");
    for (name, _, x) in lora.tensors().iter() {
        let zero = x.iter().all(|&x| x == 0.0);
        assert_eq!(zero, name.contains("lora_B"), "{name}: A is random, B zero");
        assert!(x.iter().all(|x| x.abs() <= 0.25), "{name}: within 1/sqrt(16)");
    }
    let mut rng = crate::common::Rng(3);
    for (_, _, x) in lora.tensors_mut().iter_mut() {
        x.iter_mut().for_each(|x| *x += rng.signed() / 3.0);
    }
    let (a, b) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    lora.save_peft(a.path(), "some/base").expect("saves");
    let again = Lora::load_peft(&decoder, a.path()).expect("loads");
    again.save_peft(b.path(), "some/base").expect("saves");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let read = |dir: &tempfile::TempDir| fs::read(dir.path().join(file)).expect("reads");
        assert!(read(&a) == read(&b), "{file}");
    }
    for ((name, _, x), (_, _, y)) in lora.tensors().iter().zip(again.tensors().iter()) {
        assert_eq!(x, y, "{name}");
    }
    assert_eq!(lora.config().target_modules, [Module::Q, Module::Down]);

    // An adapter of another base is refused by name.
    let other = Tiny { tied: true, bias: false };
    let dir = tempfile::tempdir().expect("dir");
    let mut tensors = other.tensors();
    let mut json = other.config();
    json["num_hidden_layers"] = 1.into();
    tensors.retain(|(name, _, _)| !name.contains("layers.1."));
    fs::write(dir.path().join("config.json"), json.to_string()).expect("writes");
    crate::common::write_safetensors(&dir.path().join("model.safetensors"), &tensors);
    let small = Decoder::load(Arc::new(Reference::<f32>::new()), dir.path()).expect("loads");
    let error = Lora::load_peft(&small, a.path()).err().expect("refused").to_string();
    assert_eq!(
        error,
        "tensor base_model.model.model.layers.1.mlp.down_proj.lora_A.weight: \
         is not a LoRA tensor of this base and these target_modules"
    );
}

#[test]
fn initial_numbers_do_not_depend_on_the_other_modules() {
    let decoder = tiny_f64(true);
    let numbers = |targets: &[Module], seed| {
        let config = LoraConfig { r: 2, alpha: 4.0, target_modules: targets.to_vec() };
        let lora = Lora::init(&decoder, &config, seed).expect("inits");
        let found = lora.tensors().iter().find(|(name, _, _)| name.contains("layers.1.mlp.up_proj.lora_A"));
        found.expect("tensor").2.clone()
    };
    let alone = numbers(&[Module::Up], 3);
    assert_eq!(alone, numbers(&Module::ALL, 3));
    assert_ne!(alone, numbers(&Module::ALL, 4));
}

#[test]
fn wrong_inputs_are_errors() {
    let decoder = tiny_f64(true);
    let mut workspace = Workspace::new(&decoder);
    let mut check = |change: &dyn Fn(&mut Packed), expect: &str| {
        let mut packed = random_packed(&[3, 4], 1);
        change(&mut packed);
        let error = decoder.loss(None, &packed, &mut workspace).expect_err(expect);
        assert_eq!(error.to_string(), format!("model input: {expect}"));
    };
    check(
        &|p| p.tokens[2] = 29,
        "token id 29 at row 2 is not below the model's vocabulary of 29; tokenizer and model do not match",
    );
    check(&|p| p.segments[1].own.start = 2, "segment 2..7 does not follow row 3");
    check(&|p| p.segments.truncate(1), "segments cover 3 of 7 rows");
    check(&|p| p.weights[1] = f32::NAN, "loss weight NaN at row 1");
    check(&|p| p.positions.truncate(1), "1 positions for 7 tokens");
    check(&|p| *p = Packed::default(), "a packed batch of 0 tokens");
}

/// What is said of a micro-batch beforehand is what is counted while it is computed.
#[test]
fn the_arithmetic_is_known_beforehand() {
    let check = |targets: &[Module]| {
        let backend = Arc::new(Timed::new(Reference::<f32>::new()));
        let decoder = Tiny { tied: true, bias: false }.load(backend);
        let lora = random_lora(&decoder, targets, 3, 5);
        let packed = random_packed(&[5, 1, 7], 11);
        let counted = || decoder.backend().take().iter().map(|tally| tally.flop).sum::<u64>();
        let _ = counted();
        let mut workspace = Workspace::new(&decoder);
        decoder.loss(Some(&lora), &packed, &mut workspace).expect("loss");
        let config = decoder.config();
        assert_eq!(config.evaluation_flop(lora.config(), &packed), counted());
        let _ = run(&decoder, &lora, &packed, 0.5);
        assert_eq!(config.training_flop(lora.config(), &packed), counted());
    };
    check(&Module::ALL);
}
