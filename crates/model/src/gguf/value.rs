//! Metadata values. Integer widths are folded together; nothing reads them apart.

use super::MAX_ARRAY;
use super::cursor::Cursor;
use crate::error::{Error, Result};

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Uint(u64),
    /// Any signed integer.
    Int(i64),
    /// f32 or f64.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// A string.
    Str(String),
    /// A list of unsigned integers.
    Uints(Vec<u64>),
    /// A list of signed integers.
    Ints(Vec<i64>),
    /// A list of f32 or f64.
    Floats(Vec<f64>),
    /// A list of flags.
    Bools(Vec<bool>),
    /// A list of strings.
    Strs(Vec<String>),
}

impl Value {
    /// The value as a whole number from 0.
    pub fn as_uint(&self) -> Option<u64> {
        match self {
            Self::Uint(n) => Some(*n),
            Self::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The value as a number.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(*x),
            Self::Uint(n) => Some(*n as f64),
            Self::Int(n) => Some(*n as f64),
            _ => None,
        }
    }

    pub(super) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self> {
        const ARRAY: u32 = 9;
        let what = format!("metadata value of {key:?}");
        let kind = cursor.u32(&what)?;
        if kind != ARRAY {
            return Self::read_scalar(cursor, kind, &what);
        }
        let kind = cursor.u32(&what)?;
        let n = cursor.count(&what, MAX_ARRAY)?;
        // Every element takes at least one byte, so a false count cannot ask for more than the file has.
        if n > cursor.remaining() {
            return Err(cursor.ended(&what));
        }
        Self::read_array(cursor, kind, n, &what)
    }

    fn read_scalar(cursor: &mut Cursor<'_>, kind: u32, what: &str) -> Result<Self> {
        Ok(match kind {
            0 => Self::Uint(u64::from(u8::from_le_bytes(cursor.array(what)?))),
            1 => Self::Int(i64::from(i8::from_le_bytes(cursor.array(what)?))),
            2 => Self::Uint(u64::from(u16::from_le_bytes(cursor.array(what)?))),
            3 => Self::Int(i64::from(i16::from_le_bytes(cursor.array(what)?))),
            4 => Self::Uint(u64::from(cursor.u32(what)?)),
            5 => Self::Int(i64::from(i32::from_le_bytes(cursor.array(what)?))),
            6 => Self::Float(f64::from(f32::from_le_bytes(cursor.array(what)?))),
            7 => match cursor.take(1, what)?[0] {
                0 => Self::Bool(false),
                1 => Self::Bool(true),
                other => return Err(Error::Gguf(format!("{what} is a flag with value {other}"))),
            },
            8 => Self::Str(cursor.string(what)?),
            10 => Self::Uint(cursor.u64(what)?),
            11 => Self::Int(i64::from_le_bytes(cursor.array(what)?)),
            12 => Self::Float(f64::from_le_bytes(cursor.array(what)?)),
            other => return Err(Error::Gguf(format!("{what} has unknown type {other}"))),
        })
    }

    fn read_array(cursor: &mut Cursor<'_>, kind: u32, n: usize, what: &str) -> Result<Self> {
        let mut list = match kind {
            0 | 2 | 4 | 10 => Self::Uints(Vec::new()),
            1 | 3 | 5 | 11 => Self::Ints(Vec::new()),
            6 | 12 => Self::Floats(Vec::new()),
            7 => Self::Bools(Vec::new()),
            8 => Self::Strs(Vec::new()),
            9 => return Err(Error::Gguf(format!("{what} is a list of lists, which is not supported"))),
            other => return Err(Error::Gguf(format!("{what} has unknown element type {other}"))),
        };
        for _ in 0..n {
            match (&mut list, Self::read_scalar(cursor, kind, what)?) {
                (Self::Uints(list), Self::Uint(x)) => list.push(x),
                (Self::Ints(list), Self::Int(x)) => list.push(x),
                (Self::Floats(list), Self::Float(x)) => list.push(x),
                (Self::Bools(list), Self::Bool(x)) => list.push(x),
                (Self::Strs(list), Self::Str(x)) => list.push(x),
                // The list was chosen by the same `kind`.
                (list, x) => unreachable!("{x:?} read for {list:?}"),
            }
        }
        Ok(list)
    }
}
