//! Reader of GGUF files: typed metadata and the table of tensors, over mapped bytes.
//!
//! Every count, length and offset comes from the file and is checked before use, so a damaged file is an
//! error and never a panic or a large allocation. Layout (version 2 and 3, little endian): magic, version,
//! tensor count, metadata count, metadata pairs, tensor descriptions, padding to the alignment, data.
//! Source: the GGUF specification in ggml's `docs/gguf.md`.

mod cursor;
mod value;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hearth_kernels::weight::{WeightBytes, WeightDtype};

pub use self::value::Value;

use self::cursor::Cursor;
use crate::error::{Error, Result};
use crate::map::{SharedBytes, map_file};

/// Most metadata pairs in one file.
pub const MAX_METADATA: u64 = 1 << 16;
/// Most tensors in one file.
pub const MAX_TENSORS: u64 = 1 << 16;
/// Largest header (everything before the tensors' data), in bytes. Lists grow up to eightfold in memory.
pub const MAX_HEADER_BYTES: usize = 64 << 20;
/// Longest name of a tensor or metadata key, in bytes.
pub const MAX_NAME_BYTES: u64 = 256;
/// Longest string (chat templates are the longest in practice), in bytes.
pub const MAX_STRING_BYTES: u64 = 8 << 20;
/// Most elements of one metadata array (token lists are the longest).
pub const MAX_ARRAY: u64 = 1 << 22;
/// Most dimensions of a tensor.
pub const MAX_DIMS: u32 = 4;
/// Largest dimension of a tensor. Keeps the size of a row inside 64 bits.
pub const MAX_DIMENSION: u64 = 1 << 32;

/// One tensor of a file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Row-major shape, slowest dimension first (GGUF stores the reverse).
    pub shape: Vec<usize>,
    /// Storage form.
    pub dtype: WeightDtype,
    range: Range<usize>,
}

/// An open GGUF file. Tensor data stays in the mapped file.
pub struct Gguf {
    bytes: SharedBytes,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Maps and reads a file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_bytes(map_file(path)?)
    }

    /// Reads a file that is in memory.
    pub fn from_bytes(bytes: SharedBytes) -> Result<Self> {
        let data: &[u8] = (*bytes).as_ref();
        let mut cursor = Cursor::new(data);
        if cursor.take(4, "magic")? != b"GGUF" {
            return Err(Error::Gguf("this is not a GGUF file (it does not start with \"GGUF\")".to_owned()));
        }
        let version = cursor.u32("version")?;
        if !(2..=3).contains(&version) {
            return Err(Error::Gguf(format!(
                "version {version} is not supported, only 2 and 3 (little endian)"
            )));
        }
        let tensor_count = cursor.count("tensor count", MAX_TENSORS)?;
        let metadata_count = cursor.count("metadata count", MAX_METADATA)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..metadata_count {
            let key = cursor.name("metadata key")?;
            let value = Value::read(&mut cursor, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(Error::Gguf(format!("metadata key {key:?} appears twice")));
            }
        }
        let mut described = Vec::new();
        for _ in 0..tensor_count {
            described.push(Described::read(&mut cursor)?);
        }
        let data_start = align_up(cursor.position(), alignment(&metadata)?, data.len())?;
        let mut tensors = BTreeMap::new();
        for tensor in described {
            let (name, info) = tensor.place(data_start, data.len(), alignment(&metadata)?)?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(Error::Gguf(format!("tensor {name:?} appears twice")));
            }
        }
        check_apart(&tensors)?;
        Ok(Self { bytes, metadata, tensors })
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// A metadata value, or an error that names the missing key.
    pub fn require(&self, key: &str) -> Result<&Value> {
        self.metadata.get(key).ok_or_else(|| Error::Gguf(format!("metadata key {key:?} is missing")))
    }

    /// A whole number of any integer type, if the key is there.
    pub fn uint(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a whole number from 0", Value::as_uint)
    }

    /// A number, if the key is there.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_float)
    }

    /// A flag, if the key is there.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |v| if let Value::Bool(b) = v { Some(*b) } else { None })
    }

    /// A string, if the key is there.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |v| if let Value::Str(s) = v { Some(s.as_str()) } else { None })
    }

    /// A list of strings, if the key is there.
    pub fn strs(&self, key: &str) -> Result<Option<&[String]>> {
        self.typed(
            key,
            "a list of strings",
            |v| if let Value::Strs(s) = v { Some(s.as_slice()) } else { None },
        )
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        get: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        match get(value) {
            Some(x) => Ok(Some(x)),
            None => Err(Error::Gguf(format!("metadata key {key:?} is not {expected}"))),
        }
    }

    /// A tensor as a matrix `[N, K]` that shares the file's bytes; a vector is one row.
    pub fn matrix(&self, name: &str) -> Result<WeightBytes> {
        let info = self.tensors.get(name).ok_or_else(|| Error::tensor(name, "missing from the GGUF file"))?;
        let (rows, cols) = match info.shape[..] {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => return Err(Error::tensor(name, format!("shape {:?} is not a matrix", info.shape))),
        };
        Ok(WeightBytes::new(info.dtype, rows, cols, Arc::clone(&self.bytes), info.range.clone()))
    }
}

/// Refuses files in which tensors share bytes: no writer makes them, and a small one could pass for a huge model.
fn check_apart(tensors: &BTreeMap<String, TensorInfo>) -> Result<()> {
    let mut places: Vec<_> = tensors.iter().map(|(name, info)| (&info.range, name)).collect();
    places.sort_unstable_by_key(|(range, _)| range.start);
    for pair in places.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        if second.start < first.end {
            return Err(Error::Gguf(format!("tensors {a:?} and {b:?} overlap; the file is damaged")));
        }
    }
    Ok(())
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<usize> {
    const KEY: &str = "general.alignment";
    match metadata.get(KEY).map(Value::as_uint) {
        None => Ok(32),
        Some(Some(a)) if a.is_power_of_two() && (8..=1 << 16).contains(&a) => Ok(a as usize),
        Some(_) => Err(Error::Gguf(format!("metadata key {KEY:?} is not a power of two from 8 to 65536"))),
    }
}

fn align_up(position: usize, alignment: usize, file_len: usize) -> Result<usize> {
    let start = position.checked_next_multiple_of(alignment).filter(|&s| s <= file_len);
    // A file without tensor data may end before the padding.
    Ok(start.unwrap_or(file_len))
}

/// A tensor's description before its bytes were checked against the file.
struct Described {
    name: String,
    shape: Vec<usize>,
    dtype: WeightDtype,
    offset: u64,
}

impl Described {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let name = cursor.name("tensor name")?;
        let dims = cursor.u32("tensor dimension count")?;
        if dims == 0 || dims > MAX_DIMS {
            return Err(Error::Gguf(format!(
                "tensor {name:?} has {dims} dimensions; 1 to {MAX_DIMS} are supported"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let n = cursor.u64("tensor dimension")?;
            if n == 0 || n > MAX_DIMENSION {
                return Err(Error::Gguf(format!(
                    "tensor {name:?} has a dimension of {n}; 1 to {MAX_DIMENSION} are supported"
                )));
            }
            shape.push(n as usize);
        }
        shape.reverse();
        let type_id = cursor.u32("tensor type")?;
        let dtype = dtype(type_id).ok_or_else(|| {
            let known = type_name(type_id);
            Error::Gguf(format!("tensor {name:?} has type {type_id} ({known}), which is not supported"))
        })?;
        Ok(Self { name, shape, dtype, offset: cursor.u64("tensor offset")? })
    }

    fn place(self, data_start: usize, file_len: usize, alignment: usize) -> Result<(String, TensorInfo)> {
        let range = self.range(data_start, file_len, alignment);
        let Self { name, shape, dtype, offset } = self;
        let Some(range) = range else {
            return Err(Error::Gguf(format!(
                "tensor {name:?} (shape {shape:?}, {dtype:?}, offset {offset}) does not fit the file; it is cut or damaged"
            )));
        };
        Ok((name, TensorInfo { shape, dtype, range }))
    }

    fn range(&self, data_start: usize, file_len: usize, alignment: usize) -> Option<Range<usize>> {
        let (cols, outer) = self.shape.split_last()?;
        let mut size = self.dtype.row_bytes(*cols)?;
        for n in outer {
            size = size.checked_mul(*n)?;
        }
        let offset = usize::try_from(self.offset).ok().filter(|o| o.is_multiple_of(alignment))?;
        let start = data_start.checked_add(offset)?;
        let end = start.checked_add(size).filter(|&end| end <= file_len)?;
        Some(start..end)
    }
}

/// The numbers are those of ggml's `enum ggml_type`.
fn dtype(id: u32) -> Option<WeightDtype> {
    Some(match id {
        0 => WeightDtype::F32,
        1 => WeightDtype::F16,
        2 => WeightDtype::Q4_0,
        3 => WeightDtype::Q4_1,
        6 => WeightDtype::Q5_0,
        7 => WeightDtype::Q5_1,
        8 => WeightDtype::Q8_0,
        12 => WeightDtype::Q4K,
        13 => WeightDtype::Q5K,
        14 => WeightDtype::Q6K,
        30 => WeightDtype::Bf16,
        _ => return None,
    })
}

fn type_name(id: u32) -> &'static str {
    match id {
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16..=23 | 29 => "an IQ form",
        24..=28 => "a plain integer or f64 form",
        _ => "unknown",
    }
}
