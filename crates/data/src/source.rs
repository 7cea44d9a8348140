//! Files of rows as they lie there: plain, or packed by gzip or zstd, told by their first bytes.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Seek};
use std::path::Path;

use crate::finding::{Code, Finding};
use gzip::Members;

mod gzip;

/// Most bytes that a packed file may hold when it is unpacked.
pub const MAX_UNPACKED_BYTES: u64 = 64 << 30;
/// Largest window of a zstd frame, as a power of two: memory that unpacking takes.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;
const BUFFER_BYTES: usize = 64 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// First bytes of files that are often given in place of rows, what they are, and what to do.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (b"BZh", "packed by bzip2", UNPACK),
    (b"\xfd7zXZ\0", "packed by xz", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"PAR1", "a Parquet table", TABLE),
    (b"ARROW1", "an Arrow table", TABLE),
];
const UNPACK: &str = "unpack it; rows may be packed by gzip or zstd";
const TABLE: &str = "write its rows as JSON objects, one a line";
/// Bytes that tell what a file is.
const MAGIC_BYTES: u64 = 6;

/// A reader of a file's rows, unpacked.
pub type Source = Box<dyn Read + Send>;

/// Opens a file of rows.
pub fn open(path: &Path) -> io::Result<Source> {
    unpack(File::open(path)?)
}

/// Reads rows from bytes that may be packed. Damaged ones end the reading with an error that [`finding`] knows.
pub fn unpack(mut input: impl Read + Send + 'static) -> io::Result<Source> {
    let mut magic = Vec::new();
    input.by_ref().take(MAGIC_BYTES).read_to_end(&mut magic)?;
    if let Some(&(_, what, fix)) = OTHERS.iter().find(|(kind, ..)| magic.starts_with(kind)) {
        return Ok(Box::new(Refused { what, fix }));
    }
    let is = |kind: &[u8]| magic.starts_with(kind);
    let (is_gzip, is_zstd) = (is(GZIP), is(ZSTD));
    let input = Cursor::new(magic).chain(input);
    if is_gzip {
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        return Ok(Box::new(Unpacked { input: Members::new(input), kind: "gzip", left: MAX_UNPACKED_BYTES }));
    }
    if is_zstd {
        let mut input = zstd::Decoder::new(input)?;
        input.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Box::new(Unpacked { input, kind: "zstd", left: MAX_UNPACKED_BYTES }));
    }
    Ok(Box::new(input))
}

/// Whether a file is packed. It is at its beginning afterwards.
pub fn is_packed_file(file: &mut File) -> io::Result<bool> {
    file.rewind()?;
    let mut magic = Vec::with_capacity(ZSTD.len());
    file.by_ref().take(ZSTD.len() as u64).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(magic.starts_with(GZIP) || magic.starts_with(ZSTD))
}

/// What to tell of an error of reading, if it is the fault of the bytes.
pub fn finding(error: &io::Error) -> Option<Finding> {
    let unusable = error.get_ref()?.downcast_ref::<Unusable>()?;
    Some(Finding::new(0, "", unusable.code, unusable.to_string(), unusable.fix))
}

/// The error for a file that begins as a JSON array does, which [`finding`] knows.
pub(crate) fn is_array() -> io::Error {
    let what = "the file begins with [, as a JSON array does: rows are JSON objects, one a line".to_owned();
    let fix = "write each element on a line of its own, as jq -c '.[]' does";
    Unusable { code: Code::InvalidJson, what, fix, source: None }.into()
}

/// Why bytes cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Unusable {
    code: Code,
    what: String,
    fix: &'static str,
    source: Option<io::Error>,
}

impl From<Unusable> for io::Error {
    fn from(unusable: Unusable) -> Self {
        io::Error::new(ErrorKind::InvalidData, unusable)
    }
}

/// A file that holds no rows as they are read here.
struct Refused {
    what: &'static str,
    fix: &'static str,
}

impl Read for Refused {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let what = format!("the file is {}", self.what);
        Err(Unusable { code: Code::BadCompression, what, fix: self.fix, source: None }.into())
    }
}

struct Unpacked<R> {
    input: R,
    kind: &'static str,
    left: u64,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let kind = self.kind;
        let read = match self.input.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            // The file itself could not be read.
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(source) => {
                let what = match source.kind() {
                    ErrorKind::UnexpectedEof => "ends too early",
                    _ => "is damaged, or needs more memory to unpack than is allowed",
                };
                return Err(Unusable {
                    code: Code::BadCompression,
                    what: format!("the {kind} data {what}"),
                    fix: "pack the file again; zstd without --long or --ultra",
                    source: Some(source),
                }
                .into());
            }
        };
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => {
                let what = format!("the {kind} data unpacks to more than {} GiB", MAX_UNPACKED_BYTES >> 30);
                let fix = "divide the file";
                Err(Unusable { code: Code::BadCompression, what, fix, source: None }.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut source = unpack(Cursor::new(bytes)).expect("memory can be read");
        match source.read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(finding(&error).expect("the bytes are at fault").to_string()),
        }
    }

    #[test]
    fn packed_bytes_are_unpacked() {
        let text = b"some rows\n".repeat(1000);
        assert_eq!(read(text.clone()), Ok(text.clone()));
        assert_eq!(read(b"ab".to_vec()), Ok(b"ab".to_vec()));
        assert_eq!(read(Vec::new()), Ok(Vec::new()));
        assert_eq!(read([gzip(&text), gzip(b"more")].concat()), Ok([text.as_slice(), b"more"].concat()));
        let packed = zstd::encode_all(text.as_slice(), 3).expect("memory");
        assert_eq!(read([packed.clone(), packed].concat()), Ok(text.repeat(2)));
    }

    #[test]
    fn zeros_behind_gzip_are_passed() {
        let text = b"some rows\n".repeat(1000);
        for zeros in [1, 9, 10, 511, 200_000] {
            let padded = [gzip(&text), vec![0; zeros]].concat();
            assert_eq!(read(padded.clone()), Ok(text.clone()), "{zeros} zeros");
            assert_eq!(read([padded.clone(), gzip(b"more")].concat()), Ok([&text[..], b"more"].concat()));
            assert!(read([padded, b"other".to_vec()].concat()).is_err());
        }
    }

    #[test]
    fn other_files_are_told_by_their_first_bytes() {
        for (magic, expect) in [
            (
                &b"PK\x03\x04\x14\0\0\0"[..],
                "the file is a zip archive; unpack it; rows may be packed by gzip or zstd",
            ),
            (b"BZh91AY", "the file is packed by bzip2; unpack it; rows may be packed by gzip or zstd"),
            (b"\xfd7zXZ\0\0", "the file is packed by xz; unpack it; rows may be packed by gzip or zstd"),
            (b"PAR1\x15\x04", "the file is a Parquet table; write its rows as JSON objects, one a line"),
        ] {
            assert_eq!(read(magic.to_vec()), Err(expect.to_owned()));
        }
    }

    #[test]
    fn damaged_bytes_are_told() {
        let text: Vec<u8> =
            (0..20_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let fix = "pack the file again; zstd without --long or --ultra";
        for (kind, packed) in
            [("gzip", gzip(&text)), ("zstd", zstd::encode_all(text.as_slice(), 3).expect("memory"))]
        {
            let cut = read(packed[..packed.len() / 2].to_vec());
            assert_eq!(cut, Err(format!("the {kind} data ends too early; {fix}")));
        }
        let mut packed = gzip(&text);
        let at = packed.len() - 6;
        packed[at] ^= 1;
        let damaged = "is damaged, or needs more memory to unpack than is allowed";
        assert_eq!(read(packed), Err(format!("the gzip data {damaged}; {fix}")));
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
        encoder.window_log(27).expect("a window");
        encoder.write_all(&text).expect("memory");
        assert_eq!(read(encoder.finish().expect("memory")), Err(format!("the zstd data {damaged}; {fix}")));
    }

    #[test]
    fn unpacking_ends_at_the_limit() {
        let mut source = Unpacked { input: io::repeat(b'x').take(100), kind: "gzip", left: 50 };
        let error = source.read_to_end(&mut Vec::new()).expect_err("too much");
        let text = finding(&error).expect("the bytes are at fault").to_string();
        assert_eq!(text, "the gzip data unpacks to more than 64 GiB; divide the file");
    }
}
