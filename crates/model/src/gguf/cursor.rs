//! Bounds-checked reading of little-endian numbers and strings.

use super::{MAX_HEADER_BYTES, MAX_NAME_BYTES, MAX_STRING_BYTES};
use crate::error::{Error, Result};

pub(super) struct Cursor<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Reads no further than [`MAX_HEADER_BYTES`].
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data: &data[..data.len().min(MAX_HEADER_BYTES)], position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.data.len() - self.position
    }

    pub(super) fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        if n > self.remaining() {
            return Err(self.ended(what));
        }
        let start = self.position;
        self.position += n;
        Ok(&self.data[start..start + n])
    }

    /// The error of a header that is longer than what there is of it.
    pub(super) fn ended(&self, what: &str) -> Error {
        let end = match self.data.len() {
            MAX_HEADER_BYTES => format!("the header is longer than {MAX_HEADER_BYTES} bytes, with"),
            _ => "the file ends inside".to_owned(),
        };
        Error::Gguf(format!("{end} its {what} (at byte {})", self.position))
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count that may not exceed `limit`.
    pub(super) fn count(&mut self, what: &str, limit: u64) -> Result<usize> {
        let n = self.u64(what)?;
        if n > limit {
            return Err(Error::Gguf(format!("{what} {n} is more than {limit}; the file is damaged")));
        }
        Ok(n as usize)
    }

    /// The name of a tensor or of a metadata key.
    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        self.text(what, MAX_NAME_BYTES)
    }

    pub(super) fn string(&mut self, what: &str) -> Result<String> {
        self.text(what, MAX_STRING_BYTES)
    }

    fn text(&mut self, what: &str, limit: u64) -> Result<String> {
        let n = self.count(&format!("length of a {what}"), limit)?;
        let bytes = self.take(n, what)?;
        match std::str::from_utf8(bytes) {
            Ok(s) => Ok(s.to_owned()),
            Err(_) => Err(Error::Gguf(format!("{what} ending at byte {} is not UTF-8", self.position))),
        }
    }
}
