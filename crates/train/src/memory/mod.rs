//! Memory of this process and of the machine, and whether a run fits.

mod free;
mod limit;
mod needs;

use std::path::Path;
use std::{fmt, fs};

pub use self::free::{available_bytes, total_bytes};
pub(crate) use self::limit::DataLimit;
pub use self::needs::{Fit, Needs};
use crate::error::{TrainError, io_error};

/// Share of what is free that a run may take, in percent, if nobody says otherwise.
const SHARE_PERCENT: u64 = 80;

/// Resident memory of this process, in bytes. Zero where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub rss_bytes: u64,
    /// Highest so far.
    pub peak_rss_bytes: u64,
    /// Resident now and not the content of files, which could be read again.
    pub anonymous_bytes: u64,
    /// Asked for, touched or not, and not the content of files.
    pub data_bytes: u64,
}

impl Memory {
    /// Reads `/proc/self/status`.
    pub fn now() -> Self {
        fs::read_to_string("/proc/self/status").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        };
        Self {
            rss_bytes: field("VmRSS:").unwrap_or(0),
            peak_rss_bytes: field("VmHWM:").unwrap_or(0),
            anonymous_bytes: field("RssAnon:").unwrap_or(0),
            data_bytes: field("VmData:").unwrap_or(0),
        }
    }
}

/// What this process may take in all: a given limit, or a share of what is free beside what it has; `None` where
/// the system does not tell.
pub fn limit_bytes(given: Option<u64>) -> Option<u64> {
    given.or_else(|| Some((available_bytes()? + Memory::now().anonymous_bytes) / 100 * SHARE_PERCENT))
}

/// Loads something of a base. Says with it what this process holds once all of the base was read: what it had, what loading
/// copied, and the weight files, which are mapped.
pub(crate) fn held<T>(
    base_dir: &Path,
    load: impl FnOnce() -> Result<T, TrainError>,
) -> Result<(T, u64), TrainError> {
    let before = Memory::now();
    let loaded = load()?;
    let copied_bytes = Memory::now().anonymous_bytes.saturating_sub(before.anonymous_bytes);
    Ok((loaded, before.rss_bytes + copied_bytes + weight_bytes(base_dir)?))
}

/// Size of the weight files of a base.
fn weight_bytes(base_dir: &Path) -> Result<u64, TrainError> {
    let mut bytes = 0;
    for entry in fs::read_dir(base_dir).map_err(io_error("read", base_dir))? {
        let path = entry.map_err(io_error("read", base_dir))?.path();
        if path.extension().is_some_and(|extension| extension == "gguf" || extension == "safetensors") {
            bytes += fs::metadata(&path).map_err(io_error("read", &path))?.len();
        }
    }
    Ok(bytes)
}

/// Bytes, written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            mib @ 0..10_240 => write!(f, "{mib} MiB"),
            mib => write!(f, "{:.1} GiB", mib as f64 / 1024.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_others_ignored() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t   20 kB\nVmRSS:\t   10 kB\nRssAnon:\t 4 kB\nVmData: 5 kB\n";
        let expected =
            Memory { rss_bytes: 10240, peak_rss_bytes: 20480, anonymous_bytes: 4096, data_bytes: 5120 };
        assert_eq!(Memory::parse(status), expected);
        assert_eq!(Memory::parse("Name:\tx\nVmRSS:\tten kB\n"), Memory::default());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(Size(612 << 20).to_string(), "612 MiB");
        assert_eq!(Size(14_540 << 20).to_string(), "14.2 GiB");
    }

    #[test]
    fn a_given_limit_wins() {
        assert_eq!(limit_bytes(Some(5)), Some(5));
    }
}
