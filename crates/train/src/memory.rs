//! Memory of this process, for reports, and what the machine still has, so that a run that cannot fit fails at its
//! start and not in the middle.

use crate::error::TrainError;

/// Resident memory now and its highest value so far, in bytes. Zero where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub rss_bytes: u64,
    /// Highest so far.
    pub peak_rss_bytes: u64,
}

impl Memory {
    /// Reads `/proc/self/status`.
    pub fn now() -> Self {
        std::fs::read_to_string("/proc/self/status").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        };
        Self { rss_bytes: field("VmRSS:").unwrap_or(0), peak_rss_bytes: field("VmHWM:").unwrap_or(0) }
    }
}

/// Memory that the system can still give without swapping, in bytes; `None` where it does not tell.
pub fn available_bytes() -> Option<u64> {
    parse_available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Refuses a micro-batch of `tokens` rows that takes more than `available_bytes`.
pub fn check(tokens: usize, bytes_per_token: usize, available_bytes: u64) -> Result<(), TrainError> {
    let needed = (tokens as u64).saturating_mul(bytes_per_token as u64);
    if needed <= available_bytes {
        return Ok(());
    }
    Err(TrainError::Memory { tokens, needed_mib: needed >> 20, available_mib: available_bytes >> 20 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_micro_batch_that_cannot_fit_is_refused() {
        let available = parse_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n").expect("it is there");
        assert_eq!(available, 2 << 20);
        assert!(check(2048, 1024, available).is_ok());
        let error = check(2049, 2048, available).expect_err("it does not fit").to_string();
        assert!(
            error.starts_with("a micro-batch of 2049 tokens takes at least 4 MiB, and 2 MiB are free"),
            "{error}"
        );
    }

    #[test]
    fn both_fields_are_found_and_others_ignored() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t   20 kB\nVmRSS:\t   10 kB\nThreads:\t2\n";
        assert_eq!(Memory::parse(status), Memory { rss_bytes: 10240, peak_rss_bytes: 20480 });
        assert_eq!(Memory::parse("Name:\tx\nVmRSS:\tten kB\n"), Memory::default());
    }
}
