//! Logits, losses and gradients against torch + transformers + peft, from committed fixtures that
//! `conformance/golden.py` writes. The tiny models lie beside their numbers; the real one is installed by
//! `cargo xtask setup`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::assert_close;
use hearth_kernels::{Backend, Cpu, CpuOptions, Precision, Reference};
use hearth_model::{DecodeSeq, Decoder, Lora, Packed, Workspace};
use safetensors::{Dtype, SafeTensors};

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Where the model catalogue installed a base; only tests look here.
fn installed_base(id: &str) -> PathBuf {
    let help = "the real base is needed: run `cargo xtask setup`, then `cargo xtask test`, or set \
                HEARTH_TEST_MODELS_DIR to a directory that holds it below fireworks";
    let dir = PathBuf::from(std::env::var_os("HEARTH_TEST_MODELS_DIR").expect(help));
    let base = dir.join("fireworks").join(id);
    assert!(base.join("config.json").exists(), "{} holds no model; {help}", base.display());
    base
}

/// A fixture's tensors.
struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn read(dir: &Path) -> Self {
        Self { bytes: fs::read(dir.join("golden.safetensors")).expect("golden.safetensors") }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("fixture is readable")
    }

    fn f32s(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn ints(&self, name: &str) -> Vec<u32> {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), Dtype::I64, "{name}");
        let wide = view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
        wide.map(|x| u32::try_from(x).expect("a small number")).collect()
    }

    /// Names after a prefix such as `grad.`.
    fn names(&self, prefix: &str) -> Vec<String> {
        let file = self.file();
        file.names().iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    fn packed(&self) -> Packed {
        let segments = self.ints("segments");
        Packed {
            tokens: self.ints("tokens"),
            positions: self.ints("positions"),
            segments: segments.chunks(2).map(|s| (s[0] as usize..s[1] as usize).into()).collect(),
            targets: self.ints("targets"),
            weights: self.f32s("weights"),
        }
    }
}

fn max_abs(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |max, x| f64::from(x.abs()).max(max))
}

/// Loss, and every gradient that the fixture has, within `rtol` of the tensor's largest element.
fn check_training<B: Backend>(what: &str, decoder: &Decoder<B>, lora: &Lora<B>, golden: &Golden, rtol: f64) {
    let (loss, weight) = (f64::from(golden.f32s("loss_sum")[0]), f64::from(golden.f32s("weight_sum")[0]));
    let (sums, grads) = crate::common::run(decoder, lora, &golden.packed(), (1.0 / weight) as f32);
    assert_eq!(sums.weight, weight, "{what}");
    assert!((sums.loss - loss).abs() <= rtol * loss, "{what}: loss {}, expected {loss}", sums.loss);
    let mut compared = 0;
    for (name, found) in &grads {
        let norm = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let expect = f64::from(golden.f32s(&format!("grad_norm.{name}"))[0]);
        assert!((norm - expect).abs() <= rtol * expect, "{what} {name}: norm {norm}, expected {expect}");
        if golden.names("grad.").contains(name) {
            let expect = golden.f32s(&format!("grad.{name}"));
            assert_close(&format!("{what} {name}"), found, &expect, rtol * max_abs(&expect), 0.0);
            compared += 1;
        }
    }
    assert_eq!(compared, golden.names("grad.").len(), "{what}: every gradient of the fixture has its tensor");
    assert!(compared > 0, "{what}");
}

/// torch computes in f32 (unit roundoff 6e-8), the reference in f64. Errors of dot products of 100
/// terms grow with the root of the length to 6e-7; three blocks with a handful of products each, normed
/// to the largest element, stay below 1e-5. Gradients pass through twice as many.
#[test]
fn tiny_models_agree_with_torch() {
    let mut tested = 0;
    for entry in fs::read_dir(golden_dir()).expect("tests/golden") {
        let dir = entry.expect("entry").path();
        let name = dir.file_name().expect("name").to_string_lossy().into_owned();
        if !name.starts_with("tiny-") {
            continue;
        }
        let golden = Golden::read(&dir);
        let decoder = Decoder::load(Arc::new(Reference::<f64>::new()), &dir).expect("loads");
        let lora = Lora::load_peft(&decoder, &dir.join("adapter")).expect("adapter loads");
        let packed = golden.packed();
        let rows: Vec<u32> = (0..packed.len() as u32).collect();
        let found =
            decoder.logits(Some(&lora), &packed, &rows, &mut Workspace::new(&decoder)).expect("logits");
        let expect = golden.f32s("logits");
        assert_close(&format!("{name} logits"), &found, &expect, 1e-5 * max_abs(&expect), 0.0);
        check_training(&name, &decoder, &lora, &golden, 2e-5);
        tested += 1;
    }
    assert!(tested >= 10, "a tiny model of each architecture is expected in {}", golden_dir().display());
}

/// Logits of some rows, loss and gradients of a real base with an adapter, on the fast backend with f32 products.
fn check_real_base(id: &str, rtol: f64) {
    let golden = Golden::read(&golden_dir().join(id));
    let options = CpuOptions { precision: Precision::F32, ..CpuOptions::default() };
    let backend = Arc::new(Cpu::new(options).expect("backend"));
    let decoder = Decoder::load(backend, &installed_base(id)).expect("loads");
    let lora = Lora::load_peft(&decoder, &golden_dir().join(id).join("adapter")).expect("adapter loads");
    let rows = golden.ints("logit_rows");
    let mut workspace = Workspace::new(&decoder);
    let logits = decoder.logits(Some(&lora), &golden.packed(), &rows, &mut workspace).expect("logits");
    let expect = golden.f32s("logits_head");
    let columns = expect.len() / rows.len();
    let found: Vec<f32> =
        logits.chunks(decoder.config().vocab_size).flat_map(|row| row[..columns].to_vec()).collect();
    assert_close("logits", &found, &expect, rtol * max_abs(&expect), 0.0);
    check_training(id, &decoder, &lora, &golden, rtol);
}

/// 135M weights in Q4_1. Both sides compute in f32: products of up to 1,536 terms (2e-6) through 30 blocks whose
/// errors add up like a random walk, so 1e-4 of the largest element, for gradients as for logits.
#[test]
fn the_real_base_agrees_with_torch() {
    check_real_base("smollm2-135m-instruct", 1e-4);
}

/// 268M weights in Q4_K_M, rows longer than the window. The products have up to 2,048 terms and the blocks are 18,
/// each with more norms: the same bound.
#[test]
fn gemma_3_agrees_with_torch() {
    check_real_base("gemma3-270m", 1e-4);
}

/// The same base in the precision of training and chat. bf16 keeps 8 bits (4e-3 per rounding); roundings
/// of many terms average out, so losses agree to 1e-2; gradients are compared in f32 above.
#[test]
fn the_real_base_in_bf16_has_the_same_loss_and_knows_a_capital() {
    let golden = Golden::read(&golden_dir().join("smollm2-135m-instruct"));
    let options = CpuOptions { precision: Precision::Bf16, ..CpuOptions::default() };
    let base = installed_base("smollm2-135m-instruct");
    let decoder = Decoder::load(Arc::new(Cpu::new(options).expect("backend")), &base).expect("loads");
    let adapter = golden_dir().join("smollm2-135m-instruct/adapter");
    let lora = Lora::load_peft(&decoder, &adapter).expect("adapter loads");
    let mut workspace = Workspace::new(&decoder);
    let expect = f64::from(golden.f32s("loss_sum")[0]);
    let loss = decoder.loss(Some(&lora), &golden.packed(), &mut workspace).expect("loss").loss;
    assert!((loss - expect).abs() <= 1e-2 * expect, "loss {loss}, expected {expect}");

    // "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    let prompt = [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198];
    // "The capital of France is Paris.", and 2 = "<|im_end|>".
    let expect = [504, 3575, 282, 4649, 314, 7042, 30, 2];
    let mut cache = decoder.new_cache(prompt.len() + expect.len());
    let mut next = prompt.to_vec();
    let mut found = Vec::new();
    for _ in 0..expect.len() {
        let sequence = DecodeSeq { cache: &mut cache, tokens: &next, lora: None, logits: true };
        let logits =
            decoder.decode(&mut [sequence], &mut workspace).expect("decodes").remove(0).expect("logits");
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("a token").0 as u32;
        found.push(best);
        next = vec![best];
    }
    assert_eq!(found, expect);
}
