//! Tile products against scalar sums: on the tile registers where the machine has them, else with their
//! instructions emulated (`emulator`), so that the same assembly runs on every x86-64 Linux machine.

use proptest::prelude::*;

use super::detect::on_hardware;
use super::emulator::{self, Address, Op, decode};
use super::{BATCH, COLUMNS, ROWS, Term, available, with};
use crate::simd::to_bf16;
use crate::testing::random;

/// One term in memory: rows and panel lie between words that are NaN, as are the gaps between rows.
struct Operands {
    a: Vec<u32>,
    lda: usize,
    b: Vec<u32>,
    kw: usize,
}

const NAN_PAIR: u32 = 0x7fc0_7fc0;

impl Operands {
    fn new(seed: u64, rows: usize, columns: usize, kw: usize, gap: usize) -> Self {
        let pairs = |seed: u64, n: usize| -> Vec<u32> {
            let x = random(seed, 2 * n);
            x.as_chunks()
                .0
                .iter()
                .map(|&[x, y]| u32::from(to_bf16(x)) | u32::from(to_bf16(y)) << 16)
                .collect()
        };
        let lda = kw + gap;
        let (left, right) = (pairs(2 * seed, rows * kw), pairs(2 * seed + 1, columns * kw));
        let mut a = vec![NAN_PAIR; rows * lda + 64];
        let mut b = vec![NAN_PAIR; (kw + 32) * COLUMNS];
        for (row, from) in left.chunks_exact(kw.max(1)).enumerate() {
            a[row * lda..][..kw].copy_from_slice(from);
        }
        for (row, from) in right.chunks_exact(columns).enumerate() {
            b[row * COLUMNS..][..columns].copy_from_slice(from);
        }
        Self { a, lda, b, kw }
    }

    fn term(&self) -> Term {
        Term { a: self.a.as_ptr(), lda: self.lda, b: self.b.as_ptr(), kw: self.kw }
    }

    /// Exact products of one output.
    fn products(&self, row: usize, column: usize) -> impl Iterator<Item = f64> {
        let halves = |word: u32| [word << 16, word & 0xffff_0000].map(|bits| f64::from(f32::from_bits(bits)));
        (0..self.kw).flat_map(move |k| {
            let (a, b) = (halves(self.a[row * self.lda + k]), halves(self.b[k * COLUMNS + column]));
            [a[0] * b[0], a[1] * b[1]]
        })
    }
}

fn product(operands: &[Operands], rows: usize, columns: usize) -> Vec<Vec<f32>> {
    assert!(available());
    // SAFETY: tiles are available, and the operands hold what the terms say.
    unsafe {
        with(|tiles| {
            let sums = tiles.product(operands.iter().map(Operands::term), rows, columns);
            sums.0[..rows].iter().map(|row| row[..columns].to_vec()).collect()
        })
    }
}

/// Each of the R products and additions rounds by at most 2^-24 of what was summed by then.
fn check(rows: usize, columns: usize, depths: &[usize], gap: usize) {
    let before = emulator::emulated();
    let operands: Vec<Operands> =
        (0..).zip(depths).map(|(i, &kw)| Operands::new(i, rows, columns, kw, gap)).collect();
    let got = product(&operands, rows, columns);
    for (row, got) in got.iter().enumerate() {
        for (column, &got) in got.iter().enumerate() {
            let (mut want, mut size, mut count) = (0.0, 0.0, 0.0);
            for x in operands.iter().flat_map(|o| o.products(row, column)) {
                (want, size, count) = (want + x, size + x.abs(), count + 1.0);
            }
            let error = (f64::from(got) - want).abs();
            let close = error <= count * 2f64.powi(-23) * size;
            assert!(close, "{rows} x {columns} x {depths:?} at {row}, {column}: {got} instead of {want}");
        }
    }
    let emulated = emulator::emulated() - before;
    assert_eq!(emulated > 0, !on_hardware() && depths.iter().any(|&kw| kw > 0), "{emulated}");
}

#[test]
fn borders_of_rows_columns_and_depth_on_hardware_or_emulated() {
    for rows in [1, 2, 15, 16, 17, 31, 32] {
        for columns in [1, 15, 16, 17, 32] {
            for kw in [0, 1, 4, 8, 12, 15, 16, 17, 36] {
                check(rows, columns, &[kw], 0);
            }
        }
    }
    check(32, 32, &[288, 4], 16);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_terms_on_hardware_or_emulated(
        rows in 1..=ROWS,
        columns in 1..=COLUMNS,
        depths in proptest::collection::vec(0usize..50, 1..=2 * BATCH + 1),
        gap in 0usize..20,
    ) {
        check(rows, columns, &depths, gap);
    }
}

#[test]
fn nothing_of_the_product_before_remains() {
    for depths in [[15; BATCH], [3, 0, 0, 0, 0, 0, 0, 0], [4; BATCH], [9, 9, 0, 0, 0, 0, 0, 1]] {
        check(32, 32, &depths, 0);
        check(7, 9, &depths, 1);
    }
    assert!(product(&[], 3, 3).iter().flatten().all(|&x| x == 0.0));
}

/// All values of a byte on either side, in more groups than a tile is deep.
#[test]
fn integers_are_exact_on_hardware_or_emulated() {
    let bytes = |seed: u32, count: usize| -> Vec<u32> {
        (0..count as u32).map(|i| (i + seed).wrapping_mul(0x9e37_79b9) ^ i.rotate_left(13)).collect()
    };
    for (rows, columns, kw) in [(1, 1, 1), (5, 17, 16), (16, 16, 37), (32, 32, 256), (31, 9, 144)] {
        let (a, b) = (bytes(1, rows * kw), bytes(2, kw * COLUMNS));
        let term = Term { a: a.as_ptr(), lda: kw, b: b.as_ptr(), kw };
        assert!(available());
        // SAFETY: tiles are available, and both sides hold what the term says.
        let got = unsafe { with(|tiles| *tiles.integers(term, rows, columns)) };
        for row in 0..rows {
            for column in 0..columns {
                let word = |k: usize| (a[row * kw + k].to_le_bytes(), b[k * COLUMNS + column].to_le_bytes());
                let products = (0..kw).flat_map(|k| {
                    let (x, y) = word(k);
                    (0..4).map(move |i| i32::from(x[i].cast_signed()) * i32::from(y[i]))
                });
                assert_eq!(
                    got[row][column],
                    products.sum::<i32>(),
                    "{rows} x {columns} x {kw} at {row}, {column}"
                );
            }
        }
    }
}

/// Two halves of an ulp count, because pairs are added before they meet the sum; subnormals do not.
#[test]
fn order_and_rounding_of_a_sum() {
    let pair = |x: f32, y: f32| u32::from(to_bf16(x)) | u32::from(to_bf16(y)) << 16;
    let sum = |words: &[(usize, u32, u32)]| {
        let mut operands = Operands::new(0, 1, 1, 32, 0);
        operands.a[..32].fill(0);
        operands.b.fill(0);
        for &(k, a, b) in words {
            (operands.a[k], operands.b[k * COLUMNS]) = (a, b);
        }
        product(&[operands], 1, 1)[0][0]
    };
    let (one, half_ulp) = (1.0, 2f32.powi(-24));
    assert_eq!(
        sum(&[(0, pair(one, 0.0), pair(one, 0.0)), (16, pair(one, one), pair(half_ulp, half_ulp))]),
        { 1.0 + 2.0 * half_ulp }
    );
    // In one step with the 1, the even half is lost against it.
    assert_eq!(
        sum(&[(0, pair(one, 0.0), pair(one, 0.0)), (1, pair(one, one), pair(half_ulp, half_ulp))]),
        1.0
    );
    let tiny = f32::MIN_POSITIVE;
    assert_eq!(sum(&[(0, pair(tiny, 0.0), pair(1.0, 0.0))]), tiny);
    assert_eq!(sum(&[(0, pair(tiny, 0.0), pair(0.5, 0.0))]), 0.0, "a subnormal product");
    assert_eq!(sum(&[(0, pair(tiny / 2.0, 0.0), pair(2.0, 0.0))]), 0.0, "a subnormal input");
    assert!(sum(&[(31, pair(f32::NAN, 0.0), pair(1.0, 0.0))]).is_nan());
}

#[test]
fn each_thread_has_tiles_of_its_own_and_releases_them() {
    std::thread::scope(|s| {
        for thread in 0..3 {
            s.spawn(move || {
                for rows in [5, 32, 16, 20] {
                    check(rows, 20 + thread, &[20, 3 + thread], 0);
                }
                assert!(!emulator::configured());
            });
        }
    });
}

#[test]
fn a_panic_releases_the_tiles() {
    let operands = Operands::new(1, 4, 4, 4, 0);
    assert!(available());
    let result = std::panic::catch_unwind(|| {
        // SAFETY: tiles are available, and the operands hold what the term says.
        unsafe {
            with(|tiles| {
                tiles.product([operands.term()], 4, 4);
                assert!(tiles.configured == 0, "configured");
            });
        }
    });
    assert!(result.is_err() && !emulator::configured());
    check(4, 4, &[4], 0);
}

/// Encodings as GNU as 2.40 writes them.
#[test]
fn decoding() {
    let check = |bytes: &[u8], expect: Option<Op>| {
        let len = bytes.len();
        assert_eq!(decode(|i| bytes[i]), expect.map(|op| (op, len)), "{bytes:02x?}");
    };
    let at = |base, index: Option<u8>, scale, displacement| Address { base, index, scale, displacement };
    let (rax, rbx, rsp, rbp, r8, r9, r12, r13) = (0, 3, 4, 5, 8, 9, 12, 13);
    check(
        &[0xc4, 0xe2, 0x7b, 0x4b, 0x74, 0x18, 0x40], // tileloadd tmm6, [rax+rbx*1+0x40]
        Some(Op::Load(6, at(Some(rax), Some(rbx), 1, 0x40))),
    );
    check(
        &[0xc4, 0xa2, 0x7b, 0x4b, 0xac, 0xa5, 0xf0, 0xff, 0xff, 0xff], // tileloadd tmm5, [rbp+r12*4-0x10], disp32
        Some(Op::Load(5, at(Some(rbp), Some(r12), 4, -16))),
    );
    check(
        &[0xc4, 0xc2, 0x7b, 0x4b, 0x64, 0x1d, 0x00], // tileloadd tmm4, [r13+rbx*1+0x0]
        Some(Op::Load(4, at(Some(r13), Some(rbx), 1, 0))),
    );
    check(
        &[0xc4, 0x82, 0x7a, 0x4b, 0x1c, 0x08], // tilestored [r8+r9*1], tmm3
        Some(Op::Store(at(Some(r8), Some(r9), 1, 0), 3)),
    );
    check(&[0xc4, 0xe2, 0x42, 0x5c, 0xcc], Some(Op::Dot { sums: 1, a: 4, b: 7 })); // tdpbf16ps tmm1, tmm4, tmm7
    check(
        &[0xc4, 0xe2, 0x78, 0x49, 0x04, 0x24], // ldtilecfg [rsp]
        Some(Op::Configure(at(Some(rsp), None, 1, 0))),
    );
    check(&[0xc4, 0xe2, 0x78, 0x49, 0xc0], Some(Op::Release));
    check(&[0xc4, 0xe2, 0x7b, 0x49, 0xe8], Some(Op::Zero(5)));
    check(&[0xc4, 0xe2, 0x79, 0x49, 0x04, 0x24], None); // sttilecfg [rsp]
    check(&[0xc4, 0xe2, 0x43, 0x5e, 0xcc], None); // tdpbssd tmm1, tmm4, tmm7
    check(&[0x0f, 0x0b], None); // ud2
}

/// Ends with `SIGILL`, as without the handler.
#[test]
fn other_illegal_instructions_stay_illegal() {
    assert!(available());
    // SAFETY: the child does nothing but run into the instruction.
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            std::arch::asm!("ud2", options(noreturn));
        }
        assert!(child > 0, "fork");
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    };
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGILL, "status {status:#x}");
}
