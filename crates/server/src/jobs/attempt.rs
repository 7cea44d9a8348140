//! The trainer of one job: starting it, asking whether it lives, reading what it says, stopping it.
//!
//! A trainer that this server started is known by its process; one that an earlier server started is known by the lock
//! on the run directory, and by the process id in its last `started` event.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use hearth_domain::schedule::Run;
use hearth_run::{Event, EventKind, EventTail, RunDir, RunError};
use hearth_store::SecretKeys;
use rustix::process::{Pid, Signal, kill_process};
use zeroize::Zeroizing;

/// What a process in a run directory is to do.
pub(super) enum Work {
    /// Fetch rows; it is told over a pipe which, and what opens them.
    Fetch(Zeroizing<Vec<u8>>),
    /// Train.
    Train {
        /// Threads.
        threads: usize,
        /// Memory that it may take; without it, what it finds free.
        memory_bytes: Option<u64>,
    },
}

impl Work {
    fn options(&self) -> Vec<String> {
        match self {
            Self::Fetch(_) => Vec::new(),
            Self::Train { threads, memory_bytes } => {
                let memory = memory_bytes.map(|bytes| format!("--memory-limit={bytes}"));
                std::iter::once(format!("--threads={threads}")).chain(memory).collect()
            }
        }
    }
}

/// What this server knows of a job's trainer. All of it can be found out again.
pub(super) struct Attempt {
    dir: RunDir,
    tail: EventTail,
    child: Option<Child>,
    /// Of the last `started` or `fetching` event; may be that of a dead process.
    pid: Option<u32>,
    stopping_since_ms: Option<i64>,
    last_exit: Option<String>,
}

impl Attempt {
    pub(super) fn new(dir: RunDir) -> Self {
        let tail = EventTail::new(&dir);
        Self { dir, tail, child: None, pid: None, stopping_since_ms: None, last_exit: None }
    }

    pub(super) fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// How the last trainer that this server started came to its end.
    pub(super) fn last_exit(&self) -> Option<&str> {
        self.last_exit.as_deref()
    }

    /// Starts a process in a group of its own, so that it outlives this server. What it prints goes to `trainer.log`.
    pub(super) fn launch(&mut self, command: &[OsString], work: &Work) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.log_path())?;
        let (program, arguments) = command.split_first().expect("the command is not empty");
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove(SecretKeys::VARIABLE)
            .arg(self.dir.root())
            .args(work.options())
            .stdin(if matches!(work, Work::Fetch(_)) { Stdio::piped() } else { Stdio::null() })
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        if let (Work::Fetch(input), Some(mut pipe)) = (work, child.stdin.take()) {
            // One that died before it read is found to be gone, like others.
            let _ = pipe.write_all(input);
        }
        self.child = Some(child);
        self.pid = None;
        self.stopping_since_ms = None;
        Ok(())
    }

    /// Whether a trainer lives. Looked at before [`poll`](Self::poll), so that the events of a dead one are all read.
    pub(super) fn is_live(&mut self) -> Result<bool, RunError> {
        if let Some(child) = &mut self.child {
            // A child is not asked through the lock: whoever asks holds it for a moment.
            match child.try_wait() {
                Ok(None) => return Ok(true),
                Ok(Some(status)) => self.last_exit = Some(describe(status)),
                Err(error) => self.last_exit = Some(format!("cannot be waited for: {error}")),
            }
            self.child = None;
        }
        let live = self.dir.is_live()?;
        if !live {
            self.stopping_since_ms = None;
        }
        Ok(live)
    }

    /// For the scheduler's snapshot.
    pub(super) fn run(&self, live: bool) -> Run {
        match (live, self.stopping_since_ms) {
            (false, _) => Run::Gone,
            (true, None) => Run::Live,
            (true, Some(since_ms)) => Run::Stopping { since_ms },
        }
    }

    /// Events that were not read yet, in order.
    pub(super) fn poll(&mut self) -> Result<Vec<Event>, RunError> {
        let events = self.tail.poll()?;
        for event in &events {
            if let EventKind::Started { pid, .. } | EventKind::Fetching { pid, .. } = event.kind {
                self.pid = Some(pid);
            }
        }
        Ok(events)
    }

    /// Lets [`poll`](Self::poll) begin again with the first event.
    pub(super) fn rewind(&mut self) {
        self.tail = EventTail::new(&self.dir);
    }

    /// Asks the trainer to stop; it writes a checkpoint first. Whether it was asked: one that has not yet said its
    /// process id cannot be.
    pub(super) fn stop(&mut self, now_ms: i64) -> bool {
        let sent = self.signal(Signal::TERM);
        if sent {
            self.stopping_since_ms = Some(now_ms);
        }
        sent
    }

    /// Ends the trainer.
    pub(super) fn kill(&mut self, now_ms: i64) {
        if self.signal(Signal::KILL) {
            // Another grace until it is tried again.
            self.stopping_since_ms = Some(now_ms);
        }
    }

    /// Sends a signal to the trainer, and to nobody else. Whether it was sent.
    fn signal(&self, signal: Signal) -> bool {
        // A child that was not waited for keeps its process id.
        let pid = match &self.child {
            Some(child) => Some(Pid::from_child(child)),
            None => self.pid.filter(|&pid| self.is_ours(pid)).and_then(|pid| Pid::from_raw(pid as i32)),
        };
        let Some(pid) = pid else { return false };
        match kill_process(pid, signal) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(run = %self.dir.root().display(), %error, "the trainer could not be signalled");
                false
            }
        }
    }

    /// A process id from a log may belong to anybody by now. It is the trainer's if somebody holds the lock and the
    /// process was started on this run directory.
    fn is_ours(&self, pid: u32) -> bool {
        let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let root = self.dir.root().as_os_str().as_bytes();
        self.dir.is_live().unwrap_or(false) && command_line.split(|&byte| byte == 0).any(|word| word == root)
    }
}

/// For people: how a process ended.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(9)) => "killed by signal 9, perhaps because the machine had no memory left".to_owned(),
        (_, Some(6)) => {
            "ended itself by signal 6, as it does when it gets no more memory; its log says more".to_owned()
        }
        (_, Some(signal)) => format!("killed by signal {signal}"),
        (Some(code), None) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
