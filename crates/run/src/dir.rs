//! Files of a run directory, its lock, and the append-only event log.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::ledger::LEDGER_FILE;
use crate::{Event, EventKind, JobSpec};

/// Longest line that a reader of `events.jsonl` accepts.
const EVENT_LINE_MAX_BYTES: usize = 1 << 20;

/// What can go wrong with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is not a valid {what}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// `job.json` has a version that this program does not know.
    #[error("{path} has version {found}; this program knows version {known}", known = JobSpec::VERSION)]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A ledger cannot be used.
    #[error("{path} is not a ledger that can be read: {message}")]
    Ledger {
        /// Which file.
        path: PathBuf,
        /// What is wrong. Holds none of its lines.
        message: String,
    },
    /// Another trainer is alive on this run directory.
    #[error("another trainer holds {path}")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Io { action, path: path.to_owned(), source }
}

/// Names of the files in one run directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// The directory need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// `job.json`.
    pub fn job_path(&self) -> PathBuf {
        self.root.join("job.json")
    }
    /// `events.jsonl`.
    pub fn events_path(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }
    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }
    /// `trainer.log`: standard output and error of the trainer.
    pub fn log_path(&self) -> PathBuf {
        self.root.join("trainer.log")
    }
    /// `data/`: the rows.
    pub fn data_path(&self) -> PathBuf {
        self.root.join("data")
    }
    /// `checkpoints/`.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
    /// `output/`: the adapter.
    pub fn output_path(&self) -> PathBuf {
        self.root.join("output")
    }
    /// `ledger.jsonl.zst`: see [`ledger`](crate::ledger).
    pub fn ledger_path(&self) -> PathBuf {
        self.root.join(LEDGER_FILE)
    }
    /// `serving/`: tokenizer and chat template as they go with the adapter, and what says so.
    pub fn serving_path(&self) -> PathBuf {
        self.root.join("serving")
    }
    /// `lock`.
    pub fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// `heartbeat`: see [`Heartbeat`](crate::Heartbeat).
    pub fn heartbeat_path(&self) -> PathBuf {
        self.root.join("heartbeat")
    }

    /// The trainer's last beat: any value that a later one differs from. `None` if it has no heartbeat, as trainers of
    /// earlier versions.
    pub fn beat(&self) -> Result<Option<SystemTime>, RunError> {
        let path = self.heartbeat_path();
        match std::fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(beat) => Ok(Some(beat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunError::Io { action: "read", path, source }),
        }
    }

    /// Makes a directory of the run that a power cut does not take back, with what is in it. Forced to disk are all new
    /// directories and those that they are in.
    pub fn create_dir(&self, dir: &Path) -> Result<(), RunError> {
        let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        std::fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        new.into_iter().filter_map(Path::parent).try_for_each(sync_dir)
    }

    /// Forces the names in the run directory to disk.
    pub fn sync(&self) -> Result<(), RunError> {
        sync_dir(&self.root)
    }

    /// Makes the directory and writes `job.json`, synced and renamed into place.
    pub fn create(&self, job: &JobSpec) -> Result<(), RunError> {
        self.create_dir(&self.root)?;
        let path = self.job_path();
        let text = serde_json::to_vec_pretty(job).map_err(|source| RunError::Format {
            path: path.clone(),
            what: "job",
            source,
        })?;
        write_synced(&path, &text)
    }

    /// Reads `job.json`.
    pub fn job(&self) -> Result<JobSpec, RunError> {
        let path = self.job_path();
        let text = std::fs::read(&path).map_err(io_error("read", &path))?;
        let format = |source| RunError::Format { path: path.clone(), what: "job", source };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(format)?;
        let found = value["version"].as_u64().unwrap_or(0);
        if found != u64::from(JobSpec::VERSION) {
            return Err(RunError::Version { path, found });
        }
        // From the text, so that an error tells line and column.
        serde_json::from_slice(&text).map_err(format)
    }

    /// Takes the lock for the life of the returned value, or says that a trainer is alive.
    pub fn lock(&self) -> Result<Lock, RunError> {
        let path = self.lock_path();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(RunError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(RunError::Io { action: "lock", path, source }),
        }
    }

    /// Whether a trainer holds the lock. Asking takes a shared lock for a moment, so that two who ask do
    /// not see each other as trainers; a trainer that starts at that moment has to try again.
    pub fn is_live(&self) -> Result<bool, RunError> {
        let path = self.lock_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(RunError::Io { action: "open", path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(RunError::Io { action: "lock", path, source }),
        }
    }
}

/// Held by the live trainer. The kernel releases it when the process dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Writes a file so that after a crash it is either the old one or the new one, whole.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let beside = path.with_extension("tmp");
    let mut file = File::create(&beside).map_err(io_error("create", &beside))?;
    file.write_all(bytes).map_err(io_error("write", &beside))?;
    file.sync_all().map_err(io_error("sync", &beside))?;
    std::fs::rename(&beside, path).map_err(io_error("rename", &beside))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), RunError> {
    // The parent of a relative path of one part.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

/// Appends events. Whoever makes one holds the [`Lock`].
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len_bytes: u64,
    next_seq: u64,
    /// Of the last event.
    time_ms: i64,
    damage: Option<String>,
}

impl EventWriter {
    /// Opens the log, cuts off a last line that a crash left unfinished and what a power cut or a disk damaged, and goes
    /// on counting.
    pub fn open(dir: &RunDir, _lock: &Lock) -> Result<Self, RunError> {
        let path = dir.events_path();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let mut tail = EventTail::new(dir);
        let (mut next_seq, mut time_ms) = (1, i64::MIN);
        for event in tail.poll()? {
            (next_seq, time_ms) = (event.seq + 1, time_ms.max(event.time_ms));
        }
        let mut writer =
            Self { path, file, len_bytes: tail.offset, next_seq, time_ms, damage: tail.damage.take() };
        writer.cut()?;
        if next_seq == 1 {
            dir.sync()?;
        }
        Ok(writer)
    }

    /// What was wrong with the log when it was opened. What stood there and behind is cut off.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Forgets what is not a whole line.
    fn cut(&mut self) -> Result<(), RunError> {
        self.file.set_len(self.len_bytes).map_err(io_error("truncate", &self.path))?;
        self.file.seek(SeekFrom::Start(self.len_bytes)).map_err(io_error("seek", &self.path)).map(drop)
    }

    /// Appends one event and returns it, or leaves the log as it is. Written in one call, so that readers see whole
    /// lines. Its time is never before that of the event before, whatever the clock does.
    pub fn append(&mut self, kind: EventKind) -> Result<Event, RunError> {
        let time_ms = jiff::Timestamp::now().as_millisecond().max(self.time_ms);
        let event = Event { seq: self.next_seq, time_ms, kind };
        let mut line = serde_json::to_vec(&event).map_err(|source| RunError::Format {
            path: self.path.clone(),
            what: "event",
            source,
        })?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // On a full disk a part of the line may be there; the next event would stand behind it.
            self.cut()?;
            return Err(io_error("write", &self.path)(error));
        }
        self.len_bytes += line.len() as u64;
        (self.next_seq, self.time_ms) = (self.next_seq + 1, time_ms);
        Ok(event)
    }

    /// Forces what was appended to disk.
    pub fn sync(&self) -> Result<(), RunError> {
        self.file.sync_data().map_err(io_error("sync", &self.path))
    }
}

/// Reads events as they come; remembers how far it read. Where the log is damaged, it ends.
#[derive(Clone, Debug)]
pub struct EventTail {
    path: PathBuf,
    offset: u64,
    last_seq: u64,
    damage: Option<String>,
}

impl EventTail {
    /// From the beginning.
    pub fn new(dir: &RunDir) -> Self {
        Self { path: dir.events_path(), offset: 0, last_seq: 0, damage: None }
    }

    /// All whole lines since the last call. A file that does not exist yet has none. From a line on that is no event,
    /// or not the next one, there are none either: only a power cut or a bad disk leaves such a line, and the next trainer
    /// cuts the log there.
    pub fn poll(&mut self) -> Result<Vec<Event>, RunError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(RunError::Io { action: "open", path: self.path.clone(), source });
            }
        };
        file.seek(SeekFrom::Start(self.offset)).map_err(io_error("seek", &self.path))?;
        let mut reader = BufReader::new(file);
        let mut events = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader)
                .take(EVENT_LINE_MAX_BYTES as u64)
                .read_until(b'\n', &mut line)
                .map_err(io_error("read", &self.path))?;
            if !line.ends_with(b"\n") {
                if read == EVENT_LINE_MAX_BYTES {
                    self.damage = Some(format!("a line is longer than {EVENT_LINE_MAX_BYTES} bytes"));
                }
                return Ok(events);
            }
            let event: Event = match serde_json::from_slice(&line) {
                Ok(event) => event,
                Err(error) => {
                    // Of the error only the place: its text may repeat the line.
                    let (after, column) = (self.last_seq, error.column());
                    self.damage = Some(format!("what follows event {after} is none, at column {column}"));
                    return Ok(events);
                }
            };
            if event.seq != self.last_seq + 1 {
                self.damage = Some(format!("event {} follows event {}", event.seq, self.last_seq));
                return Ok(events);
            }
            self.last_seq = event.seq;
            self.offset += read as u64;
            events.push(event);
        }
    }
}

#[cfg(test)]
mod tests;
