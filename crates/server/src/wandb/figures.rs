//! What a trainer takes of the machine, as `/proc` tells.

use std::fs;
use std::time::Instant;

use serde_json::{Map, Value};

/// Bytes of a mebibyte.
const MIB: f64 = (1 << 20) as f64;

/// Looks at one process.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pid: u32,
    /// CPU time, in clock ticks, and when it was read.
    before: Option<(u64, Instant)>,
}

impl Watched {
    pub(super) fn new(pid: u32) -> Self {
        Self { pid, before: None }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it takes now, under the names of the official client; empty where the system does not tell. The share of the
    /// CPUs is that since the last call.
    pub(super) fn figures(&mut self) -> Map<String, Value> {
        let mut figures = Map::new();
        let Ok(text) = fs::read_to_string(format!("/proc/{}/stat", self.pid)) else { return figures };
        let Some(stat) = Stat::parse(&text) else { return figures };
        let page_bytes = rustix::param::page_size() as f64;
        figures
            .insert("system.proc.memory.rssMB".to_owned(), (stat.rss_pages as f64 * page_bytes / MIB).into());
        figures.insert("system.proc.cpu.threads".to_owned(), stat.threads.into());
        let now = Instant::now();
        if let Some((ticks, then)) = self.before.replace((stat.cpu_ticks, now)) {
            let elapsed = (now - then).as_secs_f64();
            let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
            let used =
                stat.cpu_ticks.saturating_sub(ticks) as f64 / rustix::param::clock_ticks_per_second() as f64;
            if elapsed > 0.0 {
                figures.insert("system.cpu".to_owned(), (100.0 * used / elapsed / cpus).into());
            }
        }
        figures
    }
}

/// What is read of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    rss_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program may hold anything, so what counts begins behind its last bracket.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The first of these is the third field of the line.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, threads: field(20)?, rss_pages: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read() {
        let line =
            "7 (a) b) R 1 7 7 0 -1 4194304 1 0 0 0 30 12 0 0 20 0 5 0 100 1000 250 18446744073709551615 1";
        assert_eq!(Stat::parse(line), Some(Stat { cpu_ticks: 42, threads: 5, rss_pages: 250 }));
        assert_eq!(Stat::parse("7 (a) R 1"), None);
    }

    #[test]
    fn this_process_takes_memory() {
        if !std::path::Path::new("/proc/self/stat").exists() {
            eprintln!("*** NOT RUN: this system has no /proc ***");
            return;
        }
        let mut watched = Watched::new(std::process::id());
        assert!(watched.figures()["system.proc.memory.rssMB"].as_f64().unwrap() > 1.0);
        assert!(watched.figures().contains_key("system.cpu"));
        assert!(Watched::new(u32::MAX).figures().is_empty());
    }
}
