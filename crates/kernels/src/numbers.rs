//! The two forms of a buffer: f32 numbers, and operands rounded to bf16.

use crate::simd::to_bf16;

/// Numbers to read.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// f32.
    F32(&'a [f32]),
    /// Bits of bf16.
    Bf16(&'a [u16]),
}

/// Numbers to write.
#[derive(Debug)]
pub enum NumbersMut<'a> {
    /// f32.
    F32(&'a mut [f32]),
    /// Bits of bf16.
    Bf16(&'a mut [u16]),
}

/// One stored number. Arithmetic is done in f32.
pub trait Number: Copy + Default + Send + Sync + 'static {
    /// Widens, exactly.
    fn get(self) -> f32;
    /// Rounds to nearest, ties to even.
    fn of(x: f32) -> Self;
}

/// How a buffer stores its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// f32.
    F32,
    /// Bits of bf16.
    Bf16,
}

impl Form {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Form::F32 => 4,
            Form::Bf16 => 2,
        }
    }
}

impl Number for f32 {
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
    #[inline(always)]
    fn of(x: f32) -> Self {
        x
    }
}

impl Number for u16 {
    #[inline(always)]
    fn get(self) -> f32 {
        f32::from_bits(u32::from(self) << 16)
    }
    #[inline(always)]
    fn of(x: f32) -> Self {
        to_bf16(x)
    }
}

impl<'a> Numbers<'a> {
    /// How many.
    pub fn len(self) -> usize {
        match self {
            Numbers::F32(x) => x.len(),
            Numbers::Bf16(x) => x.len(),
        }
    }

    /// The part from `start`, `len` numbers.
    pub fn part(self, start: usize, len: usize) -> Numbers<'a> {
        match self {
            Numbers::F32(x) => Numbers::F32(&x[start..start + len]),
            Numbers::Bf16(x) => Numbers::Bf16(&x[start..start + len]),
        }
    }

    /// As f32.
    pub fn to_vec(self) -> Vec<f32> {
        match self {
            Numbers::F32(x) => x.to_vec(),
            Numbers::Bf16(x) => x.iter().map(|x| x.get()).collect(),
        }
    }
}

impl<'a> NumbersMut<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            NumbersMut::F32(x) => x.len(),
            NumbersMut::Bf16(x) => x.len(),
        }
    }

    /// The same numbers, to read.
    pub fn as_numbers(&self) -> Numbers<'_> {
        match self {
            NumbersMut::F32(x) => Numbers::F32(x),
            NumbersMut::Bf16(x) => Numbers::Bf16(x),
        }
    }

    /// The same numbers, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> NumbersMut<'_> {
        match self {
            NumbersMut::F32(x) => NumbersMut::F32(x),
            NumbersMut::Bf16(x) => NumbersMut::Bf16(x),
        }
    }

    /// The part from `start`, `len` numbers.
    pub fn part(self, start: usize, len: usize) -> NumbersMut<'a> {
        match self {
            NumbersMut::F32(x) => NumbersMut::F32(&mut x[start..start + len]),
            NumbersMut::Bf16(x) => NumbersMut::Bf16(&mut x[start..start + len]),
        }
    }

    /// Only the first `len`.
    pub fn first(self, len: usize) -> NumbersMut<'a> {
        self.part(0, len)
    }

    /// Address of the first number and its form.
    pub fn as_ptr(&mut self) -> (*mut u8, Form) {
        match self {
            NumbersMut::F32(x) => (x.as_mut_ptr().cast(), Form::F32),
            NumbersMut::Bf16(x) => (x.as_mut_ptr().cast(), Form::Bf16),
        }
    }
}

/// Runs the same text for either form: `either!(Numbers, x => body)` binds `x` to the slice.
macro_rules! either {
    ($kind:ident, $x:ident => $body:expr) => {
        match $x {
            $crate::numbers::$kind::F32($x) => $body,
            $crate::numbers::$kind::Bf16($x) => $body,
        }
    };
}
pub(crate) use either;
