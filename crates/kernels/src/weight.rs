//! Frozen matrices in the form in which files store them.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Storage form of a frozen matrix. Block formats are those of GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// GGUF Q8_0: 32 elements, f16 scale.
    Q8_0,
    /// GGUF Q4_0.
    Q4_0,
    /// GGUF Q4_1.
    Q4_1,
    /// GGUF Q5_0.
    Q5_0,
    /// GGUF Q5_1.
    Q5_1,
    /// GGUF Q4_K: super-blocks of 256.
    Q4K,
    /// GGUF Q5_K.
    Q5K,
    /// GGUF Q6_K.
    Q6K,
}

impl WeightDtype {
    /// Every form.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Elements per block; 1 for plain forms.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of one row of `cols` elements, or `None` when `cols` is not a whole number of blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        cols.is_multiple_of(self.block_len()).then(|| cols / self.block_len() * self.block_bytes())
    }
}

/// A matrix `[rows, cols]` (`[N, K]`), row-major, in shared bytes: usually a part of a mapped file.
#[derive(Clone)]
pub struct WeightBytes {
    /// Storage form.
    pub dtype: WeightDtype,
    /// N.
    pub rows: usize,
    /// K.
    pub cols: usize,
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    /// Scales of the rows as 8-bit integers, once somebody wanted them.
    int8_scales: Arc<OnceLock<Vec<f32>>>,
}

impl WeightBytes {
    /// `range` of the owner's bytes must be exactly `rows` rows of the form; panics otherwise
    /// (readers check sizes and report errors before they come here).
    pub fn new(
        dtype: WeightDtype,
        rows: usize,
        cols: usize,
        owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
    ) -> Self {
        let row_bytes = dtype.row_bytes(cols).expect("cols is a whole number of blocks");
        assert_eq!(range.len(), rows * row_bytes, "byte range must hold the matrix");
        assert!(range.end <= (*owner).as_ref().len(), "byte range must lie in the owner");
        Self { dtype, rows, cols, owner, range, int8_scales: Arc::default() }
    }

    /// Scales of the rows as 8-bit integers, made at the first call.
    pub(crate) fn int8_scales(&self, make: impl FnOnce() -> Vec<f32>) -> &[f32] {
        self.int8_scales.get_or_init(make)
    }

    /// Some of its rows as a matrix.
    pub(crate) fn part(&self, rows: Range<usize>) -> Self {
        let row_bytes = self.dtype.row_bytes(self.cols).expect("cols is a whole number of blocks");
        let start = self.range.start + rows.start * row_bytes;
        let range = start..start + rows.len() * row_bytes;
        Self::new(self.dtype, rows.len(), self.cols, Arc::clone(&self.owner), range)
    }

    /// The matrix's bytes.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

/// Rows of a matrix in memory, in any stored form and any distance apart: what kernels expand.
#[derive(Clone, Copy)]
pub(crate) struct StoredRows<'a> {
    dtype: WeightDtype,
    rows: usize,
    cols: usize,
    stride: usize,
    bytes: &'a [u8],
}

impl<'a> StoredRows<'a> {
    /// `rows` rows of `cols` elements, `stride` bytes from row to row. Panics if `bytes` is too short.
    pub fn new(dtype: WeightDtype, rows: usize, cols: usize, stride: usize, bytes: &'a [u8]) -> Self {
        let row_bytes = dtype.row_bytes(cols).expect("cols is a whole number of blocks");
        assert!(rows <= 1 || stride >= row_bytes, "rows overlap");
        assert!(rows == 0 || bytes.len() >= (rows - 1) * stride + row_bytes, "too few bytes for the rows");
        Self { dtype, rows, cols, stride, bytes }
    }

    /// Storage form.
    pub fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of a row in elements.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes from row to row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The bytes of `cols` of one row. `cols` begins and ends on block borders.
    pub fn row(&self, row: usize, cols: Range<usize>) -> &'a [u8] {
        let (len, size) = (self.dtype.block_len(), self.dtype.block_bytes());
        assert!(row < self.rows && cols.end <= self.cols, "outside of the matrix");
        assert!(cols.start.is_multiple_of(len) && cols.end.is_multiple_of(len), "inside of a block");
        let start = row * self.stride;
        &self.bytes[start + cols.start / len * size..start + cols.end / len * size]
    }
}

impl<'a> From<&'a WeightBytes> for StoredRows<'a> {
    fn from(w: &'a WeightBytes) -> Self {
        let stride = w.dtype.row_bytes(w.cols).expect("cols is a whole number of blocks");
        Self::new(w.dtype, w.rows, w.cols, stride, w.bytes())
    }
}

impl fmt::Debug for WeightBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightBytes")
            .field("dtype", &self.dtype)
            .field("rows", &self.rows)
            .field("cols", &self.cols)
            .finish_non_exhaustive()
    }
}
