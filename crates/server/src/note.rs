//! What is learnt of a request on its way, for its log line, the metrics and its answer.
//!
//! It is bound to the request's task, so that whoever authenticates or refuses need not be handed it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::rate::Class;

tokio::task_local! {
    static NOTE: Arc<Note>;
}

/// In which form a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Surface {
    /// Transcoded RPCs and files.
    Rest,
    /// gRPC.
    Grpc,
    /// OpenAI's API.
    Inference,
}

impl Surface {
    /// As the log and the metrics show it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Grpc => "grpc",
            Self::Inference => "inference",
        }
    }
}

/// Whose key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The account.
    pub(crate) account: String,
    /// The key's id; empty if it is not known.
    pub(crate) key_id: String,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Note {
    /// Names it in the reply and in the log.
    pub(crate) request_id: String,
    /// Form of its answer.
    pub(crate) surface: Surface,
    /// Who sends it.
    pub(crate) peer: Option<IpAddr>,
    route: OnceLock<Arc<str>>,
    who: OnceLock<Who>,
    is_upload: AtomicBool,
    is_stalled: AtomicBool,
    bytes_in: AtomicU64,
    retry_after: OnceLock<Duration>,
    limited: OnceLock<Class>,
}

impl Note {
    pub(crate) fn new(request_id: String, surface: Surface, peer: Option<IpAddr>) -> Self {
        Self {
            request_id,
            surface,
            peer,
            route: OnceLock::new(),
            who: OnceLock::new(),
            is_upload: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            retry_after: OnceLock::new(),
            limited: OnceLock::new(),
        }
    }

    /// Which template answers it. The first word counts.
    pub(crate) fn set_route(&self, template: Arc<str>) {
        let _ = self.route.set(template);
    }

    pub(crate) fn route(&self) -> Option<&Arc<str>> {
        self.route.get()
    }

    /// Whose key came with it. The first word counts.
    pub(crate) fn set_who(&self, account: &str, key_id: &str) {
        let _ = self.who.set(Who { account: account.to_owned(), key_id: key_id.to_owned() });
    }

    pub(crate) fn who(&self) -> Option<&Who> {
        self.who.get()
    }

    /// Whose share of a limit it uses: the key's, or the account's where no key is known.
    pub(crate) fn holder(&self) -> Option<&str> {
        self.who().map(|who| if who.key_id.is_empty() { who.account.as_str() } else { &who.key_id })
    }

    /// It brings a file.
    pub(crate) fn set_upload(&self) {
        self.is_upload.store(true, Ordering::Relaxed);
    }

    /// What its key's calls are counted as.
    pub(crate) fn class(&self) -> Class {
        match self.surface {
            _ if self.is_upload.load(Ordering::Relaxed) => Class::Upload,
            Surface::Inference => Class::Inference,
            Surface::Rest | Surface::Grpc => Class::Control,
        }
    }

    /// Its body did not come in time.
    pub(crate) fn set_stalled(&self) {
        self.is_stalled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes_in(&self, count: usize) {
        self.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// It is refused because of a rate.
    pub(crate) fn set_limited(&self, class: Class, retry_after: Duration) {
        let _ = self.limited.set(class);
        let _ = self.retry_after.set(retry_after);
    }

    pub(crate) fn limited(&self) -> Option<Class> {
        self.limited.get().copied()
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after.get().copied()
    }
}

/// Binds a note to everything that `future` does itself.
pub(crate) async fn scope<F: Future>(note: Arc<Note>, future: F) -> F::Output {
    NOTE.scope(note, future).await
}

/// The note of the request that is being answered; `None` outside of one.
pub(crate) fn current() -> Option<Arc<Note>> {
    NOTE.try_with(Arc::clone).ok()
}
