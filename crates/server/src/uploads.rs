//! How many uploads and checks of files run at the same time, in all and for one key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::ServerError;
use crate::limits::ServerLimits;

/// All of a server.
pub(crate) struct Uploads {
    most: usize,
    most_per_holder: usize,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    all: usize,
    of: HashMap<String, usize>,
}

impl Uploads {
    pub(crate) fn new(limits: &ServerLimits) -> Self {
        Self {
            most: limits.uploads_max,
            most_per_holder: limits.uploads_per_key_max,
            running: Mutex::default(),
        }
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.lock().all
    }

    /// The right to run one more.
    pub(crate) fn permit(&self, holder: &str) -> Result<UploadPermit<'_>, ServerError> {
        let mut running = self.lock();
        let own = running.of.get(holder).copied().unwrap_or(0);
        let refused = |count: usize, whose: &str| {
            ServerError::ResourceExhausted(format!(
                "{count} uploads{whose} are running; try again in a moment"
            ))
        };
        if running.all >= self.most {
            return Err(refused(self.most, ""));
        }
        if own >= self.most_per_holder {
            return Err(refused(self.most_per_holder, " with this key"));
        }
        running.all += 1;
        running.of.insert(holder.to_owned(), own + 1);
        Ok(UploadPermit { uploads: self, holder: holder.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One upload that runs.
pub(crate) struct UploadPermit<'a> {
    uploads: &'a Uploads,
    holder: String,
}

impl Drop for UploadPermit<'_> {
    fn drop(&mut self) {
        let mut running = self.uploads.lock();
        running.all -= 1;
        if let Some(own) = running.of.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                running.of.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_and_one_key() {
        let limits = ServerLimits { uploads_max: 3, uploads_per_key_max: 2, ..ServerLimits::default() };
        let uploads = Uploads::new(&limits);
        let first = uploads.permit("a").unwrap();
        let second = uploads.permit("a").unwrap();
        assert!(uploads.permit("a").map(|_| ()).unwrap_err().to_string().contains("with this key"));
        let other = uploads.permit("b").unwrap();
        assert!(uploads.permit("c").map(|_| ()).unwrap_err().to_string().starts_with("3 uploads are"));
        drop(first);
        let third = uploads.permit("a").unwrap();
        drop((second, third, other));
        assert_eq!(uploads.running(), 0);
        assert!(uploads.lock().of.is_empty());
    }
}
