//! The trainer of one job: starting it, asking whether it lives, reading what it says, stopping it.
//!
//! A trainer that this server started is known by its process; one that an earlier server started is known by the lock
//! on the run directory, and by the process id in its last `started` event or in the system's list of locks.
//!
//! A process that is there may still do nothing, for ever: somebody stopped it. So its heartbeat is watched, by this server's
//! own clock, which nobody sets. A trainer whose heart stands still is killed, which ends a stopped process too; then it is
//! a lost one like any other. Until the lock is free it lives: no second trainer is started beside it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hearth_domain::schedule::Run;
use hearth_domain::{Code, Status};
use hearth_run::{EXIT_OUT_OF_RESOURCES, Event, EventKind, EventTail, RunDir, RunError};
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

/// Most that one look adds to the time in which a heart stood still. A server that was stopped itself, or waited for its
/// database, has not looked, and the trainer may have been stopped with it.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// What this server knows of a job's trainer. All of it can be found out again.
pub(super) struct Attempt {
    dir: RunDir,
    tail: EventTail,
    /// Number of the last event that was there when this server read the log first; `None` before.
    unwatched: Option<u64>,
    child: Option<Child>,
    /// Of the last `started` or `fetching` event; may be that of a dead process.
    pid: Option<u32>,
    stopping_since: Option<Instant>,
    pulse: Pulse,
    /// A trainer was there at the last look that succeeded.
    was_live: bool,
    /// Longest time in which the heart may stand still.
    silence_max: Duration,
    /// It was killed because it stood still.
    was_still: bool,
    last_exit: Option<String>,
    /// The last trainer found no room to write down how it ended.
    found_no_room: bool,
}

impl Attempt {
    pub(super) fn new(dir: RunDir, silence_max: Duration) -> Self {
        let tail = EventTail::new(&dir);
        Self {
            dir,
            tail,
            unwatched: None,
            child: None,
            pid: None,
            stopping_since: None,
            pulse: Pulse::default(),
            was_live: false,
            silence_max,
            was_still: false,
            last_exit: None,
            found_no_room: false,
        }
    }

    pub(super) fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// How the last trainer that this server started came to its end.
    pub(super) fn last_exit(&self) -> Option<&str> {
        self.last_exit.as_deref()
    }

    /// What a job fails with whose last trainer, started by this server, could not write down why it failed.
    pub(super) fn untold_failure(&self) -> Option<Status> {
        self.found_no_room.then(|| {
            Status::new(
                Code::ResourceExhausted,
                "the disk is full: the trainer could not write to its run directory; free space and resume the job, \
                 which goes on from its last checkpoint",
            )
        })
    }

    /// Starts a process in a group of its own, so that it outlives this server. What it prints goes to `trainer.log`.
    pub(super) fn launch(&mut self, command: &[OsString], work: &Work) -> io::Result<()> {
        let log = self.open_log()?;
        // Without it the process is only not watched.
        if let Err(error) = self.dir.expect_heartbeat() {
            tracing::warn!(run = %self.dir.root().display(), %error, "the heartbeat cannot be made");
        }
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
        self.was_live = true;
        self.pid = None;
        self.stopping_since = None;
        self.pulse = Pulse::default();
        self.found_no_room = false;
        Ok(())
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.dir.log_path())
    }

    /// Whether a trainer lives. Looked at before [`poll`](Self::poll), so that the events of a dead one are all read. One
    /// whose heart stood still for too long is killed here, and lives until it is gone.
    pub(super) fn is_live(&mut self) -> Result<bool, RunError> {
        self.was_live = self.ask()?;
        Ok(self.was_live)
    }

    /// What [`is_live`](Self::is_live) said when it could be asked last.
    pub(super) fn was_live(&self) -> bool {
        self.was_live
    }

    fn ask(&mut self) -> Result<bool, RunError> {
        if let Some(child) = &mut self.child {
            // A child is not asked through the lock: whoever asks holds it for a moment.
            match child.try_wait() {
                Ok(None) => {
                    self.feel()?;
                    return Ok(true);
                }
                Ok(Some(status)) => {
                    self.found_no_room = status.code() == Some(EXIT_OUT_OF_RESOURCES);
                    let still = std::mem::take(&mut self.was_still);
                    self.last_exit = Some(if still { self.describe_silence() } else { describe(status) });
                }
                Err(error) => self.last_exit = Some(format!("cannot be waited for: {error}")),
            }
            self.child = None;
        }
        let live = self.dir.is_live()?;
        if live {
            self.feel()?;
        } else {
            self.stopping_since = None;
            self.pulse = Pulse::default();
            if std::mem::take(&mut self.was_still) {
                self.last_exit = Some(self.describe_silence());
            }
        }
        Ok(live)
    }

    /// Looks at the heartbeat of a trainer that is there, and kills it if it stands still.
    fn feel(&mut self) -> Result<(), RunError> {
        let still = self.pulse.look(self.dir.beat()?, Instant::now());
        if still < self.silence_max {
            return Ok(());
        }
        // If it is still there after another such time, it is tried again.
        self.pulse = Pulse::default();
        if self.signal(Signal::KILL) {
            self.was_still = true;
            let what = self.describe_silence();
            tracing::warn!(run = %self.dir.root().display(), "the trainer {what}");
            // For the user, who reads this log. One that cannot be written stops nothing.
            let _ = self.open_log().and_then(|mut log| writeln!(log, "warning: the trainer {what}"));
        }
        Ok(())
    }

    fn describe_silence(&self) -> String {
        format!(
            "gave no sign of life for {} seconds, as one that was stopped, and was killed",
            self.silence_max.as_secs()
        )
    }

    /// For the scheduler's snapshot. The time since the trainer was asked to stop comes from a clock that nobody sets.
    pub(super) fn run(&self, live: bool) -> Run {
        match (live, self.stopping_since) {
            (false, _) => Run::Gone,
            (true, None) => Run::Live,
            (true, Some(since)) => {
                let elapsed_ms = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
                Run::Stopping { since_ms: crate::now_ms().saturating_sub(elapsed_ms) }
            }
        }
    }

    /// Events that were not read yet, in order.
    pub(super) fn poll(&mut self) -> Result<Vec<Event>, RunError> {
        let events = self.tail.poll()?;
        self.unwatched.get_or_insert(events.last().map_or(0, |event| event.seq));
        for event in &events {
            if let EventKind::Started { pid, .. } | EventKind::Fetching { pid, .. } = event.kind {
                self.pid = Some(pid);
            }
        }
        Ok(events)
    }

    /// Up to which event the log was written while this server was not there to watch.
    pub(super) fn unwatched(&self) -> u64 {
        self.unwatched.unwrap_or(0)
    }

    /// Lets [`poll`](Self::poll) begin again with the first event.
    pub(super) fn rewind(&mut self) {
        self.tail = EventTail::new(&self.dir);
    }

    /// Asks the trainer to stop; it writes a checkpoint first. Whether it was asked: one that has not yet said its
    /// process id cannot be.
    pub(super) fn stop(&mut self) -> bool {
        let sent = self.signal(Signal::TERM);
        if sent {
            self.stopping_since = Some(Instant::now());
        }
        sent
    }

    /// Ends the trainer.
    pub(super) fn kill(&mut self) {
        if self.signal(Signal::KILL) {
            // Another grace until it is tried again.
            self.stopping_since = Some(Instant::now());
        }
    }

    /// Sends a signal to the trainer, and to nobody else. Whether it was sent.
    fn signal(&self, signal: Signal) -> bool {
        // A child that was not waited for keeps its process id.
        let pid = match &self.child {
            Some(child) => Some(Pid::from_child(child)),
            None => {
                let known = self.pid.filter(|&pid| self.is_ours(pid));
                known.or_else(|| self.holder()).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            }
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

    /// The process that holds the lock, as the system lists it: for a trainer that has not said its process id yet. One
    /// that was stopped in that moment never will.
    fn holder(&self) -> Option<u32> {
        let inode = fs::metadata(self.dir.lock_path()).ok()?.ino().to_string();
        // NUMBER: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let mut holders = locks.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else { return None };
            (file.rsplit(':').next() == Some(&inode)).then(|| pid.parse().ok())?
        });
        holders.find(|&pid| self.is_ours(pid))
    }
}

/// How long a heart has stood still.
#[derive(Debug, Default)]
struct Pulse {
    beat: Option<SystemTime>,
    looked: Option<Instant>,
    still: Duration,
}

impl Pulse {
    /// Takes in a look. A trainer without a heartbeat is not judged.
    fn look(&mut self, beat: Option<SystemTime>, now: Instant) -> Duration {
        let since = self.looked.replace(now).map_or(Duration::ZERO, |looked| now - looked);
        if beat.is_none() || beat != self.beat {
            (self.beat, self.still) = (beat, Duration::ZERO);
        } else {
            self.still += since.min(LOOK_MAX);
        }
        self.still
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
