//! `heartbeat`: how to tell a trainer that stands still from one that takes long over a step.
//!
//! The lock says that a trainer's process is there. It is there as well when it is stopped (SIGSTOP, a debugger, a frozen
//! group) and will never do another step. So a thread of the trainer moves the modification time of this empty file on.
//! The value means nothing but that it changes: it counts seconds up, so it needs no clock that may jump, and no room
//! on a disk that may be full.

use std::fs::{File, OpenOptions};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::dir::io_error;
use crate::{Lock, RunDir, RunError};

/// Time between two beats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How far a beat moves the time on: more than the coarsest file system rounds.
const BEAT: Duration = Duration::from_secs(4);

/// Beats as long as it lives and its process is not stopped.
#[derive(Debug)]
pub struct Heartbeat {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Makes the file if it is not there, beats once, and starts the thread that goes on with it.
    pub fn start(dir: &RunDir, _lock: &Lock) -> Result<Self, RunError> {
        let path = dir.heartbeat_path();
        let file = open(dir)?;
        let mut beat = dir.beat()?.unwrap_or(SystemTime::UNIX_EPOCH) + BEAT;
        file.set_modified(beat).map_err(io_error("touch", &path))?;
        let (end, ended) = mpsc::channel();
        let work = move || {
            while ended.recv_timeout(HEARTBEAT_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                beat += BEAT;
                // A beat that fails is one that is missed.
                let _ = file.set_modified(beat);
            }
        };
        let thread = std::thread::Builder::new()
            .name("hearth-heartbeat".to_owned())
            .spawn(work)
            .map_err(io_error("start a thread for", &path))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did there would be nothing to do about it.
            let _ = thread.join();
        }
    }
}

impl RunDir {
    /// Makes the file of the heartbeat, for a trainer that is about to be started: one that is stopped before it beats
    /// has a heartbeat too.
    pub fn expect_heartbeat(&self) -> Result<(), RunError> {
        open(self).map(drop)
    }
}

fn open(dir: &RunDir) -> Result<File, RunError> {
    let path = dir.heartbeat_path();
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    opened.map_err(io_error("open", &path))
}
