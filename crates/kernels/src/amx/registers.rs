//! The assembly: all instructions that touch tile registers.

use std::arch::asm;

use super::{COLUMNS, DEPTH, ROWS, Sums, TILE_ROWS};

/// Bytes of one row of a tile.
const TILE_BYTES: u16 = 64;
/// 1 as bf16, twice.
const BF16_ONES: u32 = 0x3f80_3f80;

/// What one product of tiles multiplies and adds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dot {
    /// Pairs of bf16, to f32.
    Bf16,
    /// Four 8-bit integers, signed on the left side and unsigned on the right one, to 32-bit integers.
    Int8,
}

/// What the assembly walks through: `steps` times 16 words of a term.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Segment {
    pub a: *const u32,
    pub a_stride_bytes: usize,
    pub b: *const u32,
    pub steps: usize,
}

impl Segment {
    /// Fills places of an array that are not walked.
    pub const NONE: Self = Self { a: std::ptr::null(), a_stride_bytes: 0, b: std::ptr::null(), steps: 0 };
}

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Tiles 0 to 3 are the sums, 4 and 5 the left side, 6 and 7 the right side.
    fn new(rows: usize) -> Self {
        let first = rows.min(TILE_ROWS) as u8;
        let second = rows.saturating_sub(TILE_ROWS) as u8;
        let mut config =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let depth = DEPTH as u8;
        config.rows[..8].copy_from_slice(&[first, first, second, second, first, second, depth, depth]);
        for (bytes, &rows) in config.row_bytes.iter_mut().zip(&config.rows) {
            *bytes = if rows == 0 { 0 } else { TILE_BYTES };
        }
        config
    }
}

/// Configures the registers for products of `rows` rows, which clears them.
///
/// # Safety
/// The instructions must be available.
pub unsafe fn configure(rows: usize) {
    let config = Config::new(rows);
    // SAFETY: same contract; the palette and all shapes are valid.
    unsafe {
        asm!(
            "ldtilecfg [{}]", in(reg) &raw const config,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(readonly, nostack, preserves_flags),
        );
    }
}

/// Gives the registers back to their initial state.
///
/// # Safety
/// The instructions must be available.
pub unsafe fn release() {
    // SAFETY: same contract.
    unsafe {
        asm!(
            "tilerelease",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// The assembly of one shape: `zero` or `load` begin the sums, `step` takes 16 words, `store` writes the sums.
///
/// All tile registers are used inside this one block, so nothing depends on what the compiler keeps between two.
macro_rules! walk {
    (
        $segments:ident, $resume:ident, $sums:ident,
        zero [$($zero:expr),*], load [$($load:expr),*], step [$($step:expr),*], store [$($store:expr),*]
    ) => {
        asm!(
            "test {resume:e}, {resume:e}",
            "jnz 4f",
            $($zero,)*
            "jmp 2f",
            "4:",
            $($load,)*
            "2:",
            "mov {a}, [{segment}]",
            "mov {lda}, [{segment} + 8]",
            "mov {b}, [{segment} + 16]",
            "mov {steps}, [{segment} + 24]",
            "mov {a16}, {lda}",
            "shl {a16}, 4",
            "add {a16}, {a}",
            "3:",
            $($step,)*
            "add {a}, 64",
            "add {a16}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "add {segment}, 32",
            "dec {segments}",
            "jnz 2b",
            $($store,)*
            segment = inout(reg) $segments.as_ptr() => _,
            segments = inout(reg) $segments.len() => _,
            resume = in(reg) u32::from($resume),
            sums = in(reg) $sums,
            row = in(reg) size_of::<[u32; COLUMNS]>(),
            a = out(reg) _,
            a16 = out(reg) _,
            lda = out(reg) _,
            b = out(reg) _,
            steps = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// The assembly of all shapes with one instruction for the products.
macro_rules! walk_shape {
    ($dot:literal, $segments:ident, $resume:ident, $shape:expr, $sums:ident) => {
        match $shape {
            (true, true) => walk!(
                $segments, $resume, $sums,
                zero ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
                load [
                    "tileloadd tmm0, [{sums} + {row}*1]",
                    "tileloadd tmm1, [{sums} + {row}*1 + 64]",
                    "tileloadd tmm2, [{sums} + {row}*1 + 2048]",
                    "tileloadd tmm3, [{sums} + {row}*1 + 2112]"
                ],
                step [
                    "tileloadd tmm4, [{a} + {lda}*1]",
                    "tileloadd tmm6, [{b} + {row}*1]",
                    "tileloadd tmm7, [{b} + {row}*1 + 64]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{a16} + {lda}*1]",
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    concat!($dot, " tmm3, tmm5, tmm7")
                ],
                store [
                    "tilestored [{sums} + {row}*1], tmm0",
                    "tilestored [{sums} + {row}*1 + 64], tmm1",
                    "tilestored [{sums} + {row}*1 + 2048], tmm2",
                    "tilestored [{sums} + {row}*1 + 2112], tmm3"
                ]
            ),
            (true, false) => walk!(
                $segments, $resume, $sums,
                zero ["tilezero tmm0", "tilezero tmm2"],
                load [
                    "tileloadd tmm0, [{sums} + {row}*1]",
                    "tileloadd tmm2, [{sums} + {row}*1 + 2048]"
                ],
                step [
                    "tileloadd tmm6, [{b} + {row}*1]",
                    "tileloadd tmm4, [{a} + {lda}*1]",
                    "tileloadd tmm5, [{a16} + {lda}*1]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    concat!($dot, " tmm2, tmm5, tmm6")
                ],
                store [
                    "tilestored [{sums} + {row}*1], tmm0",
                    "tilestored [{sums} + {row}*1 + 2048], tmm2"
                ]
            ),
            (false, true) => walk!(
                $segments, $resume, $sums,
                zero ["tilezero tmm0", "tilezero tmm1"],
                load [
                    "tileloadd tmm0, [{sums} + {row}*1]",
                    "tileloadd tmm1, [{sums} + {row}*1 + 64]"
                ],
                step [
                    "tileloadd tmm4, [{a} + {lda}*1]",
                    "tileloadd tmm6, [{b} + {row}*1]",
                    "tileloadd tmm7, [{b} + {row}*1 + 64]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    concat!($dot, " tmm1, tmm4, tmm7")
                ],
                store [
                    "tilestored [{sums} + {row}*1], tmm0",
                    "tilestored [{sums} + {row}*1 + 64], tmm1"
                ]
            ),
            (false, false) => walk!(
                $segments, $resume, $sums,
                zero ["tilezero tmm0"],
                load ["tileloadd tmm0, [{sums} + {row}*1]"],
                step [
                    "tileloadd tmm4, [{a} + {lda}*1]",
                    "tileloadd tmm6, [{b} + {row}*1]",
                    concat!($dot, " tmm0, tmm4, tmm6")
                ],
                store ["tilestored [{sums} + {row}*1], tmm0"]
            ),
        }
    };
}

/// Runs the assembly for the shape. The sums begin at 0, or with `resume` at what they are.
///
/// # Safety
/// The registers must be configured for `rows`; the segments, of which there is at least one, each of at
/// least one step, must be readable.
pub unsafe fn walk(
    dot: Dot,
    segments: &[Segment],
    resume: bool,
    rows: usize,
    columns: usize,
    sums: *mut [[u32; COLUMNS]; ROWS],
) {
    let shape = (rows > TILE_ROWS, columns > 16);
    // SAFETY: same contract; `sums` has 32 rows of 128 bytes, and a tile writes its configured rows alone.
    unsafe {
        match dot {
            Dot::Bf16 => walk_shape!("tdpbf16ps", segments, resume, shape, sums),
            Dot::Int8 => walk_shape!("tdpbsud", segments, resume, shape, sums),
        }
    }
}

/// `rounds` times four products of tiles of ones, without memory; the sums are left in `sums`, `rounds * 32` each.
///
/// # Safety
/// The registers must be configured for all rows; `rounds` is above 0.
pub unsafe fn chain(rounds: u64, sums: &mut Sums) {
    let ones = [[BF16_ONES; DEPTH]; DEPTH];
    // SAFETY: same contract; the tiles that are loaded have the size of `ones`, those that are stored a quarter of
    // that of `sums`.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{ones} + {stride}*1]",
            "tileloadd tmm5, [{ones} + {stride}*1]",
            "tileloadd tmm6, [{ones} + {stride}*1]",
            "tileloadd tmm7, [{ones} + {stride}*1]",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            "tilestored [{sums} + {row}*1], tmm0",
            "tilestored [{sums} + {row}*1 + 64], tmm1",
            "tilestored [{sums} + {row}*1 + 2048], tmm2",
            "tilestored [{sums} + {row}*1 + 2112], tmm3",
            ones = in(reg) ones.as_ptr(),
            stride = in(reg) u64::from(TILE_BYTES),
            rounds = inout(reg) rounds => _,
            sums = in(reg) sums.0.as_mut_ptr(),
            row = in(reg) size_of::<[u32; COLUMNS]>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
