//! A limit on what this process may ask for, while it works on what strangers wrote.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::memory::Memory;

/// A process can always ask for this much more: a run that is to take less is refused in words, later.
const LEAST_BYTES: u64 = 256 << 20;

/// While this lives, the process can ask for so many bytes more. A chat template can build strings without end; past
/// the limit the process is aborted, and the machine's other programs are left alone.
#[derive(Debug)]
pub(crate) struct DataLimit {
    before: Rlimit,
}

impl DataLimit {
    /// Sets the limit.
    pub(crate) fn set(more_bytes: u64) -> std::io::Result<Self> {
        let before = getrlimit(Resource::Data);
        let most = Memory::now().data_bytes.saturating_add(more_bytes.max(LEAST_BYTES));
        let current = [before.current, before.maximum].into_iter().flatten().fold(most, u64::min);
        setrlimit(Resource::Data, Rlimit { current: Some(current), maximum: before.maximum })?;
        Ok(Self { before })
    }
}

impl Drop for DataLimit {
    fn drop(&mut self) {
        // Back to what it was, which was allowed then.
        let _ = setrlimit(Resource::Data, self.before);
    }
}
