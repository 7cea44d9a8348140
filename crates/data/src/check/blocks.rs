//! Files cut into blocks of lines, so that each can be checked by another thread.

use std::io::Read;
use std::path::Path;

use crate::error::Error;
use crate::finding::Finding;
use crate::read::{Limits, Line, LineReader, too_many_rows};
use crate::source;

/// A file to check.
pub struct Input<'a> {
    /// What findings call it when there are several.
    pub name: String,
    /// Its bytes, unpacked.
    pub source: Box<dyn Read + Send + 'a>,
}

impl<'a> Input<'a> {
    /// Bytes of this name.
    pub fn new(name: impl Into<String>, source: Box<dyn Read + Send + 'a>) -> Self {
        Input { name: name.into(), source }
    }

    /// A file, which may be packed, named by its path.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self::new(path.display().to_string(), source::open(path)?))
    }
}

/// A line of a block that is not blank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// From 1.
    pub(super) line: u64,
    /// Where its bytes end in the block; they begin where those of the line before end.
    pub(super) end: usize,
    /// Its bytes were not kept.
    pub(super) is_too_long: bool,
}

/// Lines that stand behind one another in a file.
#[derive(Debug)]
pub(super) struct Block {
    /// Counted from 0 over all files.
    pub(super) number: u64,
    /// Which of the files.
    pub(super) file: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Span>,
    /// Bytes of the file that these lines took, breaks not counted.
    pub(super) size_bytes: u64,
    /// What ended the reading of the file early.
    pub(super) end: Option<Finding>,
}

impl Block {
    /// Its lines: the number, and the bytes unless they are too many.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, Option<&[u8]>)> {
        let mut start = 0;
        self.spans.iter().map(move |span| {
            let bytes = &self.bytes[start..span.end];
            start = span.end;
            (span.line, (!span.is_too_long).then_some(bytes))
        })
    }

    /// Leaves out what stands behind the first `rows` lines.
    pub(super) fn cut(&mut self, rows: usize) {
        self.spans.truncate(rows);
        let bytes = self.spans.last().map_or(0, |span| span.end);
        self.bytes.truncate(bytes);
        self.size_bytes = bytes as u64;
    }
}

/// Reads files one after the other.
pub(super) struct Cutter<'a> {
    files: std::vec::IntoIter<(usize, Input<'a>)>,
    reader: Option<(usize, LineReader<Box<dyn Read + Send + 'a>>)>,
    limits: Limits,
    block_bytes: usize,
    rows: u64,
    number: u64,
}

impl<'a> Cutter<'a> {
    /// Numbers of files count from `first_file`. Blocks have about `block_bytes`, more only if one line has.
    pub(super) fn new(files: Vec<Input<'a>>, first_file: usize, limits: Limits, block_bytes: usize) -> Self {
        let files: Vec<(usize, Input<'a>)> = (first_file..).zip(files).collect();
        Cutter { files: files.into_iter(), reader: None, limits, block_bytes, rows: 0, number: 0 }
    }

    /// The next block; `None` at the end of the last file. An error is for input that cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Block>, Error> {
        if self.reader.is_none() {
            let Some((file, input)) = self.files.next() else { return Ok(None) };
            self.reader = Some((file, LineReader::new(input.source, self.limits.line_bytes)));
        }
        let Some((file, mut reader)) = self.reader.take() else { return Ok(None) };
        let mut block = Block {
            number: self.number,
            file,
            bytes: Vec::new(),
            spans: Vec::new(),
            size_bytes: 0,
            end: None,
        };
        self.number += 1;
        block.bytes.reserve(self.block_bytes + self.block_bytes / 8);
        let mut is_ended = false;
        while block.bytes.len() < self.block_bytes && block.spans.len() < self.block_bytes / 16 {
            let start = block.bytes.len();
            let found = match reader.next_line(&mut block.bytes) {
                Ok(found) => found,
                Err(error) => {
                    block.end = Some(source::finding(&error).ok_or(Error::Read(error))?);
                    block.bytes.truncate(start);
                    is_ended = true;
                    break;
                }
            };
            if found == Line::End {
                is_ended = true;
                break;
            }
            if found == Line::Whole && is_blank(&block.bytes[start..]) {
                block.bytes.truncate(start);
                continue;
            }
            if self.rows == self.limits.rows {
                block.bytes.truncate(start);
                block.end = Some(too_many_rows(reader.number(), self.limits));
                // Nothing behind it is read, in no file.
                self.files = Vec::new().into_iter();
                is_ended = true;
                break;
            }
            self.rows += 1;
            let (line, end) = (reader.number(), block.bytes.len());
            block.spans.push(Span { line, end, is_too_long: found == Line::TooLong });
        }
        block.size_bytes = block.bytes.len() as u64;
        if !is_ended {
            self.reader = Some((file, reader));
        }
        Ok(Some(block))
    }
}

fn is_blank(line: &[u8]) -> bool {
    // Nearly all lines begin with a bracket.
    line.first().is_none_or(u8::is_ascii_whitespace) && line.trim_ascii().is_empty()
}
