//! The journal of a batch job: one line for each row that is done, in the order of the rows.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use hearth_domain::BatchProgress;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The row's own id.
    pub(super) custom_id: String,
    /// The answer, or the error.
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    /// Tokens of the prompt.
    #[serde(default)]
    pub(super) input_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub(super) output_tokens: u64,
}

/// An answer or an error, in the form in which the output has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// A chat completion.
    Response(Value),
    /// The error of an inference path.
    Error(Value),
}

impl Entry {
    /// Counts the row.
    pub(super) fn add_to(&self, progress: &mut BatchProgress) {
        match self.outcome {
            Outcome::Response(_) => progress.succeeded += 1,
            Outcome::Error(_) => progress.failed += 1,
        }
        progress.input_tokens += self.input_tokens;
        progress.output_tokens += self.output_tokens;
    }
}

/// A journal that is written to.
pub(super) struct Journal {
    file: BufWriter<File>,
}

impl Journal {
    /// Opens or makes a journal and counts what is in it. A last line that is not whole, because a server was killed
    /// in the middle of it, is cut off. Blocking.
    pub(super) fn open(path: &Path) -> io::Result<(Self, BatchProgress)> {
        let mut progress = BatchProgress::default();
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        // Its name as well as its lines outlast a power cut.
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        let mut whole_bytes = 0;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let Some(entry) =
                line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice::<Entry>(line).ok())
            else {
                break;
            };
            entry.add_to(&mut progress);
            whole_bytes += line.len() as u64;
            line.clear();
        }
        file.set_len(whole_bytes)?;
        file.seek(SeekFrom::Start(whole_bytes))?;
        Ok((Self { file: BufWriter::new(file) }, progress))
    }

    /// Appends a line. Blocking.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, entry)?;
        self.file.write_all(b"\n")?;
        self.file.flush()
    }

    /// Puts all lines on disk. Blocking.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.get_ref().sync_data()
    }
}

/// Reads the whole lines of a journal. Blocking.
pub(super) fn entries(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
    let lines = BufReader::new(File::open(path)?).split(b'\n');
    Ok(lines.map(|line| line.and_then(|line| serde_json::from_slice(&line).map_err(io::Error::from))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, ok: bool) -> Entry {
        let value = serde_json::json!({"text": "a\nb"});
        let outcome = if ok { Outcome::Response(value) } else { Outcome::Error(value) };
        Entry { custom_id: id.to_owned(), outcome, input_tokens: 3, output_tokens: 2 }
    }

    #[test]
    fn goes_on_behind_the_last_whole_line_wherever_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, empty) = Journal::open(&path).unwrap();
        assert_eq!(empty, BatchProgress::default());
        for (id, ok) in [("a", true), ("b", false)] {
            journal.append(&entry(id, ok)).unwrap();
        }
        journal.sync().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, progress) = Journal::open(&path).unwrap();
            let done = u64::from(cut >= first) + u64::from(cut == whole.len());
            assert_eq!(progress.processed(), done, "cut at {cut}");
            assert_eq!((progress.input_tokens, progress.output_tokens), (3 * done, 2 * done));
            journal.append(&entry("c", true)).unwrap();
            let ids: Vec<String> = entries(&path).unwrap().map(|entry| entry.unwrap().custom_id).collect();
            assert_eq!(ids.len() as u64, done + 1);
            assert_eq!(ids.last().unwrap(), "c");
        }
    }
}
