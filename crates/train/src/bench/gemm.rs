//! Single products.
//!
//! Forward `x Wᵀ` and backward `g W`, without LoRA and bias, from operands to operands, as [`Backend::linear`] and
//! [`Backend::linear_backward`] do them. Matrices of a model are those of its file, block after block, so that
//! they come from memory as in training.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hearth_kernels::{Backend, Cpu, CpuBuf, Isa, Linear, WeightBytes, WeightDtype};
use hearth_model::Decoder;
use hearth_run::Precision as PrecisionName;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::bench::{SEED, cpu, median, refused};
use crate::error::TrainError;

/// Measured calls of one product at least.
const CALLS_MIN: usize = 5;
/// Measured calls of one product at most.
const CALLS_MAX: usize = 200;
/// Within these limits a product is called until its calls took this long together.
const SECONDS_PER_PRODUCT: f64 = 0.5;
/// Most numbers of one side of a product, the matrix aside: large heads take fewer rows.
const SIDE_NUMBERS: usize = 16 << 20;
/// But not fewer rows than this.
const ROWS_MIN: usize = 192;
/// Random numbers that fill operands, again and again.
const FILL_NUMBERS: usize = 4099;

/// A matrix `[outputs, inputs]` of a stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixSize {
    /// N.
    pub outputs: usize,
    /// K.
    pub inputs: usize,
    /// How it is stored.
    pub form: WeightDtype,
}

/// Which products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Products {
    /// All of a training step of the model in this directory.
    Model(PathBuf),
    /// Those of matrices of random content, which stay in cache if they fit.
    Sizes(Vec<MatrixSize>),
}

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GemmOptions {
    /// Which products.
    pub products: Products,
    /// Token rows M; at least 1.
    pub rows: usize,
    /// Instruction set; `None` means the best one.
    pub isa: Option<Isa>,
    /// Rounding of inputs.
    pub precision: PrecisionName,
    /// Threads; 0 means one per core.
    pub threads: usize,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GemmReport {
    /// Backend with the instruction set in use.
    pub backend: String,
    /// Rounding of inputs.
    pub precision: PrecisionName,
    /// Threads in use.
    pub threads: usize,
    /// [`Cpu::peak_flop_per_second`].
    pub ceiling_flop_per_second: f64,
    /// One entry per shape, stored form and direction.
    pub products: Vec<Product>,
}

/// Speed of one product.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Product {
    /// Linears of this shape and form; empty for given sizes.
    pub linears: Vec<&'static str>,
    /// `forward` or `backward`.
    pub direction: &'static str,
    /// Token rows M.
    pub rows: usize,
    /// N.
    pub outputs: usize,
    /// K.
    pub inputs: usize,
    /// How the matrix is stored.
    pub form: String,
    /// Measured calls.
    pub calls: usize,
    /// `2 M N K` by the median time of a call.
    pub flop_per_second: f64,
    /// By the shortest time of a call.
    pub flop_per_second_best: f64,
    /// `flop_per_second` by the ceiling.
    pub share_of_ceiling: f64,
}

/// Matrices of one shape and form.
struct Group {
    linears: Vec<&'static str>,
    size: MatrixSize,
    matrices: Vec<WeightBytes>,
}

/// Runs products. Fails for a model that cannot be loaded and for options that leave nothing to do.
pub fn gemm(options: &GemmOptions) -> Result<GemmReport, TrainError> {
    if options.rows == 0 {
        return Err(refused("rows must be at least 1"));
    }
    let cpu = Arc::new(cpu(options.threads, options.isa, options.precision)?);
    let groups = match &options.products {
        Products::Model(dir) => of_model(&cpu, dir)?,
        Products::Sizes(sizes) => sizes.iter().map(of_size).collect::<Result<_, _>>()?,
    };
    let ceiling = cpu.peak_flop_per_second();
    let mut products = Vec::new();
    for group in &groups {
        for backward in [false, true] {
            products.push(measure(&cpu, group, options.rows, backward, ceiling));
        }
    }
    Ok(GemmReport {
        backend: cpu.name(),
        precision: options.precision,
        threads: cpu.threads(),
        ceiling_flop_per_second: ceiling,
        products,
    })
}

fn of_model(cpu: &Arc<Cpu>, dir: &Path) -> Result<Vec<Group>, TrainError> {
    let decoder = Decoder::load(Arc::clone(cpu), dir).map_err(|source| TrainError::Model {
        action: "load the base model in",
        path: dir.to_owned(),
        source,
    })?;
    let mut groups: Vec<Group> = Vec::new();
    for (name, matrix) in decoder.matrices() {
        let size = MatrixSize { outputs: matrix.rows, inputs: matrix.cols, form: matrix.dtype };
        let at = groups.iter().position(|group| group.size == size).unwrap_or_else(|| {
            groups.push(Group { linears: Vec::new(), size, matrices: Vec::new() });
            groups.len() - 1
        });
        if !groups[at].linears.contains(&name) {
            groups[at].linears.push(name);
        }
        groups[at].matrices.push(matrix.clone());
    }
    Ok(groups)
}

fn of_size(size: &MatrixSize) -> Result<Group, TrainError> {
    let bytes = size.form.row_bytes(size.inputs).filter(|_| size.inputs > 0 && size.outputs > 0);
    let bytes = bytes.ok_or_else(|| TrainError::Benchmark {
        message: format!(
            "a matrix of {} x {} in {}: rows and columns must be above 0, and columns a multiple of {}",
            size.outputs,
            size.inputs,
            form_name(size.form),
            size.form.block_len()
        ),
    })?;
    let mut content = vec![0u8; size.outputs * bytes];
    ChaCha8Rng::seed_from_u64(SEED).fill_bytes(&mut content);
    // Bytes from 0x38 to 0x3f are, in pairs and fours, numbers between 2^-15 and 2 in every floating-point form,
    // scales of blocks included.
    for byte in &mut content {
        *byte = 0x38 | (*byte & 7);
    }
    let range = 0..content.len();
    let matrix = WeightBytes::new(size.form, size.outputs, size.inputs, Arc::new(content), range);
    Ok(Group { linears: Vec::new(), size: *size, matrices: vec![matrix] })
}

fn measure(cpu: &Cpu, group: &Group, rows: usize, backward: bool, ceiling: f64) -> Product {
    let MatrixSize { outputs, inputs, form } = group.size;
    let rows = rows.min((SIDE_NUMBERS / outputs.max(inputs)).max(ROWS_MIN));
    let (from, to) = if backward { (outputs, inputs) } else { (inputs, outputs) };
    let x = operands(cpu, rows * from);
    let mut out = cpu.operands(rows * to);
    // The backward of a linear without adapter does not look at the forward's input.
    let nothing = cpu.operands(0);
    let mut call = |weight: &WeightBytes| {
        let linear = [Linear { weight, bias: None, spans: Vec::new() }];
        let started = Instant::now();
        if backward {
            cpu.linear_backward(&[&x], rows, &linear, &nothing, None, &mut [None], Some(&mut out));
        } else {
            cpu.linear(&x, rows, &linear, None, false, &mut [&mut out]);
        }
        started.elapsed().as_secs_f64().max(1e-9)
    };
    call(&group.matrices[0]);
    let mut seconds = Vec::new();
    let mut total = 0.0;
    for weight in group.matrices.iter().cycle().take(CALLS_MAX) {
        if seconds.len() >= CALLS_MIN && total >= SECONDS_PER_PRODUCT {
            break;
        }
        seconds.push(call(weight));
        total += seconds[seconds.len() - 1];
    }
    let flop = 2.0 * rows as f64 * outputs as f64 * inputs as f64;
    let flop_per_second = flop / median(&seconds);
    Product {
        linears: group.linears.clone(),
        direction: if backward { "backward" } else { "forward" },
        rows,
        outputs,
        inputs,
        form: form_name(form),
        calls: seconds.len(),
        flop_per_second,
        flop_per_second_best: flop / seconds.iter().copied().fold(f64::INFINITY, f64::min),
        share_of_ceiling: flop_per_second / ceiling,
    }
}

/// Random operands in [-1, 1).
fn operands(cpu: &Cpu, len: usize) -> CpuBuf {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut unit = || (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let fill: Vec<f32> = (0..FILL_NUMBERS).map(|_| unit()).collect();
    let numbers: Vec<f32> = fill.iter().copied().cycle().take(len).collect();
    let mut buf = cpu.operands(len);
    cpu.write(&mut buf, &numbers);
    buf
}

/// As flags and reports write it, for example `q4_1`.
pub(super) fn form_name(form: WeightDtype) -> String {
    format!("{form:?}").to_lowercase()
}

impl std::str::FromStr for MatrixSize {
    type Err = String;

    /// `NxK`, in bf16, or `NxK:FORM`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (size, form) = text.split_once(':').unwrap_or((text, "bf16"));
        let forms = WeightDtype::ALL;
        let form = forms
            .into_iter()
            .find(|&known| form_name(known) == form)
            .ok_or_else(|| format!("{form} is not one of {}", forms.map(form_name).join(", ")))?;
        let numbers = size.split_once('x').and_then(|(n, k)| Some((n.parse().ok()?, k.parse().ok()?)));
        let (outputs, inputs) = numbers.ok_or("expected OUTPUTSxINPUTS or OUTPUTSxINPUTS:FORM")?;
        Ok(Self { outputs, inputs, form })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        let check = |text: &str, expect: Result<(usize, usize, WeightDtype), &str>| match (
            text.parse::<MatrixSize>(),
            expect,
        ) {
            (Ok(size), Ok((outputs, inputs, form))) => {
                assert_eq!(size, MatrixSize { outputs, inputs, form });
            }
            (Err(message), Err(piece)) => assert!(message.contains(piece), "{message}"),
            other => panic!("{text}: {other:?}"),
        };
        check("576x1536", Ok((576, 1536, WeightDtype::Bf16)));
        check("8x256:q4k", Ok((8, 256, WeightDtype::Q4K)));
        check("8x32:q4_1", Ok((8, 32, WeightDtype::Q4_1)));
        check("8", Err("OUTPUTSxINPUTS"));
        check("8x-1", Err("OUTPUTSxINPUTS"));
        check("8x32:q9", Err("q4_1"));
    }

    /// Also the content of every form: a product of numbers that are not finite could be slower.
    #[test]
    fn every_form_is_measured_on_finite_numbers() {
        let cpu = cpu(1, None, PrecisionName::F32).unwrap();
        for form in WeightDtype::ALL {
            let group = of_size(&MatrixSize { outputs: 2, inputs: 256, form }).unwrap();
            let mut out = cpu.zeros(2);
            let linear = [Linear { weight: &group.matrices[0], bias: None, spans: Vec::new() }];
            cpu.linear(&operands(&cpu, 256), 1, &linear, None, false, &mut [&mut out]);
            assert!(cpu.download(&out).iter().all(|x| x.is_finite()), "{form:?}");
        }
        let odd = MatrixSize { outputs: 2, inputs: 33, form: WeightDtype::Q8_0 };
        assert!(of_size(&odd).err().unwrap().to_string().contains("multiple of 32"));
    }
}
