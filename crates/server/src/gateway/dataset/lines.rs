//! The rows of a dataset as they stand in its files, from any place on, with bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_data::read::MAX_LINE_BYTES;
use hearth_data::source::{self, Source};
use hearth_domain::Dataset;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::ServerError;

/// Size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 256 << 10;
/// Longest page token that is looked at, in bytes.
const TOKEN_MAX_BYTES: usize = 512;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where a row begins, and what lies before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Index of the file.
    #[serde(rename = "f")]
    file: usize,
    /// Byte in that file, after unpacking.
    #[serde(rename = "o")]
    offset: u64,
    /// Lines before, over all files, blank ones too.
    #[serde(rename = "l")]
    lines: u64,
}

/// Reads rows, one after the other.
pub(crate) struct Lines {
    files: Vec<PathBuf>,
    at: Place,
    input: Option<BufReader<Source>>,
    buffer: Vec<u8>,
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// What stands there, without line break and byte order mark.
    pub(crate) bytes: &'a [u8],
    /// Its line, counted from 1 over all files.
    pub(crate) number: u64,
    /// Longer than [`MAX_LINE_BYTES`]; what stands there is left out.
    pub(crate) is_too_long: bool,
}

impl Lines {
    /// The rows from `at` on. `None` if no row of these files begins there.
    pub(crate) fn open(files: Vec<PathBuf>, at: Place) -> io::Result<Option<Self>> {
        let Some(path) = files.get(at.file) else { return Ok(None) };
        let Some(input) = open_at(path, at.offset)? else { return Ok(None) };
        Ok(Some(Self { files, at, input: Some(input), buffer: Vec::new() }))
    }

    /// The rows of one input.
    pub(super) fn of(input: Source) -> Self {
        let input = Some(BufReader::with_capacity(BUFFER_BYTES, input));
        Self { files: Vec::new(), at: Place::default(), input, buffer: Vec::new() }
    }

    /// Where the next row begins.
    pub(super) fn place(&self) -> Place {
        self.at
    }

    /// The next row that is not blank; the rules are those of [`hearth_data::RowReader`].
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let Some(input) = &mut self.input else { return Ok(None) };
            self.buffer.clear();
            let mut read = input.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut self.buffer)? as u64;
            if read == 0 {
                self.input = None;
                let next = self.at.file + 1;
                if let Some(path) = self.files.get(next) {
                    self.input = Some(BufReader::with_capacity(BUFFER_BYTES, source::open(path)?));
                    self.at = Place { file: next, offset: 0, lines: self.at.lines };
                }
                continue;
            }
            let is_whole = self.buffer.last() == Some(&b'\n');
            let is_too_long = !is_whole && self.buffer.len() > MAX_LINE_BYTES;
            if is_too_long {
                self.buffer = Vec::new();
                read += input.skip_until(b'\n')? as u64;
            } else if is_whole {
                self.buffer.pop();
            }
            self.at.offset += read;
            self.at.lines += 1;
            let skipped = if self.buffer.starts_with(BOM) { BOM.len() } else { 0 };
            if self.buffer[skipped..].trim_ascii().is_empty() && !is_too_long {
                continue;
            }
            return Ok(Some(Line { bytes: &self.buffer[skipped..], number: self.at.lines, is_too_long }));
        }
    }
}

/// The file from this byte on. `None` if no line begins there.
fn open_at(path: &Path, offset: u64) -> io::Result<Option<BufReader<Source>>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let Some(before) = offset.checked_sub(1) else {
        return Ok(Some(BufReader::with_capacity(BUFFER_BYTES, source::unpack(file)?)));
    };
    let input: Source = if source::is_packed_file(&mut file)? {
        // There is no other way to a place in it.
        let mut input = source::unpack(file)?;
        if io::copy(&mut input.by_ref().take(before), &mut io::sink())? < before {
            return Ok(None);
        }
        input
    } else {
        if offset > len {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(before))?;
        Box::new(file)
    };
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut last = [0];
    let is_place = match input.read_exact(&mut last) {
        // The last line needs no line break.
        Ok(()) => last == *b"\n" || input.fill_buf()?.is_empty(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    Ok(is_place.then_some(input))
}

/// What a page token holds.
#[derive(Serialize, Deserialize)]
struct Token {
    /// Digest of the question.
    q: String,
    #[serde(flatten)]
    place: Place,
}

/// Page tokens of one question to one dataset. Who makes one by hand can read no more than the dataset's rows.
pub(super) struct Pages {
    question: String,
}

impl Pages {
    /// `question` is whatever else decides what the pages hold.
    pub(super) fn new(dataset: &Dataset, question: &str) -> Self {
        let text = format!("{}|{}|{question}", dataset.name(), dataset.create_time_ms);
        Self { question: hex::encode(&Sha256::digest(text)[..8]) }
    }

    /// Where the page of this token begins; the first page has none.
    pub(super) fn read(&self, token: &str) -> Result<Place, ServerError> {
        if token.is_empty() {
            return Ok(Place::default());
        }
        let decoded = Some(token)
            .filter(|token| token.len() <= TOKEN_MAX_BYTES)
            .and_then(|token| URL_SAFE_NO_PAD.decode(token).ok())
            .and_then(|json| serde_json::from_slice::<Token>(&json).ok());
        match decoded {
            Some(token) if token.q == self.question => Ok(token.place),
            _ => Err(wrong_token()),
        }
    }

    /// The token of the page that begins there.
    pub(super) fn write(&self, place: Place) -> String {
        let token = Token { q: self.question.clone(), place };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
    }
}

/// A token of something else.
pub(super) fn wrong_token() -> ServerError {
    ServerError::field("pageToken", "is not one that this call gave for the same dataset and parameters")
}

/// Rows of one page: `default` if none are asked for, and `most` at most.
pub(in crate::gateway) fn page_size(asked: i32, default: usize, most: usize) -> Result<usize, ServerError> {
    match usize::try_from(asked) {
        Err(_) => Err(ServerError::field("pageSize", format!("{asked} is below 0"))),
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(contents: &[&[u8]]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..contents.len()).map(|i| dir.path().join(i.to_string())).collect();
        for (path, content) in paths.iter().zip(contents) {
            std::fs::write(path, content).unwrap();
        }
        (dir, paths)
    }

    fn rest(paths: &[PathBuf], at: Place) -> Vec<(String, u64, Place)> {
        let mut lines = Lines::open(paths.to_vec(), at).unwrap().unwrap();
        let mut found = Vec::new();
        loop {
            let before = lines.place();
            let Some(line) = lines.next().unwrap() else { return found };
            found.push((String::from_utf8(line.bytes.to_vec()).unwrap(), line.number, before));
        }
    }

    #[test]
    fn rows_are_the_same_from_every_place_on() {
        let (_dir, paths) = lines(&[b"\xef\xbb\xbfa\n\n \t\nb", b"", b"\n", b"c\r\nd\n\n"]);
        let all = rest(&paths, Place::default());
        let texts: Vec<(&str, u64)> = all.iter().map(|(text, line, _)| (text.as_str(), *line)).collect();
        assert_eq!(texts, [("a", 1), ("b", 4), ("c\r", 6), ("d", 7)]);
        for (index, (_, _, before)) in all.iter().enumerate() {
            assert_eq!(rest(&paths, *before), all[index..].to_vec());
        }
    }

    #[test]
    fn packed_rows_are_the_same_from_every_place_on() {
        let text = b"a\n\nb\nc";
        let packed = zstd::encode_all(text.as_slice(), 1).unwrap();
        let (_dir, paths) = lines(&[&packed, text]);
        let all = rest(&paths, Place::default());
        assert_eq!(all.iter().map(|(_, line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5, 7, 8]);
        for (index, (_, _, before)) in all.iter().enumerate() {
            assert_eq!(rest(&paths, *before), all[index..].to_vec());
        }
        let open =
            |offset| Lines::open(paths.clone(), Place { file: 0, offset, lines: 0 }).unwrap().is_some();
        assert!(open(2) && open(6) && !open(1) && !open(7) && !open(u64::MAX));
    }

    #[test]
    fn rows_are_those_that_the_trainer_reads() {
        let row = r#"{"prompt": "p", "completion": "c"}"#;
        let text = format!("\u{feff}{row}\n\n{row}\r\n  \n{row}");
        let (_dir, paths) = lines(&[text.as_bytes()]);
        let read = hearth_data::RowReader::new(text.as_bytes()).map(|row| row.unwrap().line);
        let ours = rest(&paths, Place::default());
        assert_eq!(ours.iter().map(|(_, line, _)| *line).collect::<Vec<_>>(), read.collect::<Vec<_>>());
    }

    #[test]
    fn places_where_no_row_begins_are_not_taken() {
        let (_dir, paths) = lines(&[b"ab\ncd\n"]);
        let open =
            |file, offset| Lines::open(paths.clone(), Place { file, offset, lines: 0 }).unwrap().is_some();
        assert!(open(0, 0) && open(0, 3) && open(0, 6));
        assert!(!open(0, 1) && !open(0, 7) && !open(0, u64::MAX) && !open(1, 0) && !open(usize::MAX, 0));
    }
}
