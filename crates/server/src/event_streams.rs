//! How many streams of events are open, in all and for one account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_domain::AccountId;

use crate::error::ServerError;
use crate::limits::{EVENT_STREAMS_MAX, EVENT_STREAMS_PER_ACCOUNT_MAX};

/// All of a server. Clones share the counts.
#[derive(Clone, Default)]
pub(crate) struct EventStreams(Arc<Mutex<HashMap<AccountId, usize>>>);

impl EventStreams {
    /// The right to open one more; RESOURCE_EXHAUSTED when too many are open.
    pub(crate) fn permit(&self, account: &AccountId) -> Result<StreamPermit, ServerError> {
        let mut open = self.lock();
        let own = open.get(account).copied().unwrap_or(0);
        let refused = |most: usize, whose: &str| {
            ServerError::ResourceExhausted(format!(
                "{most} streams of events{whose} are open; close one, or list the events instead"
            ))
        };
        if open.values().sum::<usize>() >= EVENT_STREAMS_MAX {
            return Err(refused(EVENT_STREAMS_MAX, ""));
        }
        if own >= EVENT_STREAMS_PER_ACCOUNT_MAX {
            return Err(refused(EVENT_STREAMS_PER_ACCOUNT_MAX, " of this account"));
        }
        open.insert(account.clone(), own + 1);
        Ok(StreamPermit { streams: self.clone(), account: account.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held as long as a stream is open.
pub(crate) struct StreamPermit {
    streams: EventStreams,
    account: AccountId,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        let left = open.get(&self.account).map_or(0, |own| own - 1);
        if left == 0 {
            open.remove(&self.account);
        } else {
            open.insert(self.account.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_and_all_together_have_a_limit() {
        let streams = EventStreams::default();
        let account = |n: usize| AccountId::new(format!("a{n}")).unwrap();
        let mut own: Vec<StreamPermit> =
            (0..EVENT_STREAMS_PER_ACCOUNT_MAX).map(|_| streams.permit(&account(0)).unwrap()).collect();
        assert!(streams.permit(&account(0)).is_err());
        let others: Vec<StreamPermit> = (EVENT_STREAMS_PER_ACCOUNT_MAX..EVENT_STREAMS_MAX)
            .map(|n| streams.permit(&account(1 + n)).unwrap())
            .collect();
        assert!(streams.permit(&account(9999)).is_err(), "no more in all");
        own.pop();
        own.push(streams.permit(&account(0)).unwrap());
        drop((own, others));
        assert!(streams.lock().is_empty());
    }
}
