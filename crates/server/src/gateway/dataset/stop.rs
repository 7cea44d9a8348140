//! Work of threads that ends when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets its flag when it is dropped, as it is when a call runs out of time or its client goes away.
#[derive(Default)]
pub(in crate::gateway) struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    /// What the thread looks at.
    pub(in crate::gateway) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
