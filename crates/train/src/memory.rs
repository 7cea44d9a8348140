//! Memory of this process, for reports.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fields_are_found_and_others_ignored() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t   20 kB\nVmRSS:\t   10 kB\nThreads:\t2\n";
        assert_eq!(Memory::parse(status), Memory { rss_bytes: 10240, peak_rss_bytes: 20480 });
        assert_eq!(Memory::parse("Name:\tx\nVmRSS:\tten kB\n"), Memory::default());
    }
}
