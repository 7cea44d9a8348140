//! Scalar row moves.

use crate::backend::Columns;
use crate::dequant;
use crate::real::Real;
use crate::weight::WeightBytes;

/// `out[t] = scale * table[ids[t]]`.
pub fn embed<F: Real>(table: &WeightBytes, ids: &[u32], scale: f32, out: &mut [F]) {
    let c = table.cols;
    let mut row = vec![0.0; c];
    for (t, &id) in ids.iter().enumerate() {
        let bytes = dequant::row_bytes(table, id as usize, 0..c);
        dequant::reference::expand(table.dtype, bytes, &mut row);
        for (o, &x) in out[t * c..][..c].iter_mut().zip(&row) {
            *o = F::of(scale) * F::of(x);
        }
    }
}

/// `out[i] = x[rows[i]]`.
pub fn gather<F: Copy>(x: &[F], rows: &[u32], c: usize, out: &mut [F]) {
    for (i, &r) in rows.iter().enumerate() {
        out[i * c..][..c].copy_from_slice(&x[r as usize * c..][..c]);
    }
}

/// `out[rows[i]] = x[i]`, 0 elsewhere.
pub fn scatter<F: Real>(x: &[F], rows: &[u32], c: usize, out: &mut [F]) {
    out.fill(F::ZERO);
    for (i, &r) in rows.iter().enumerate() {
        out[r as usize * c..][..c].copy_from_slice(&x[i * c..][..c]);
    }
}

/// `dst[t][to.start + i] = src[t][from.start + i]` for `i < width`.
pub fn copy_columns<F: Copy>(src: &[F], from: Columns, t: usize, width: usize, dst: &mut [F], to: Columns) {
    for t in 0..t {
        let src = &src[t * from.row + from.start..][..width];
        dst[t * to.row + to.start..][..width].copy_from_slice(src);
    }
}

/// `y += x`.
pub fn add<F: Real>(x: &[F], y: &mut [F]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}
