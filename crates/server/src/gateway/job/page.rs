//! Pages of what belongs to one job and is no collection of the store: events and checkpoints.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::ServerError;
use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// How many are shown.
pub(super) fn page_size(asked: i32) -> Result<u32, ServerError> {
    match u32::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT.unsigned_abs()),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX.unsigned_abs())),
        Err(_) => Err(ServerError::field("pageSize", format!("{asked} is below 0"))),
    }
}

/// Behind which one a page begins: its number, and a choice that goes before it. A token belongs to its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) choice: bool,
    pub(super) number: u64,
}

impl Place {
    /// As clients have it.
    pub(super) fn token(self, job: i64) -> String {
        URL_SAFE_NO_PAD.encode(format!("{job}/{}/{}", u8::from(self.choice), self.number))
    }

    /// Reads it. `None`: from the beginning.
    pub(super) fn of_token(token: &str, job: i64) -> Result<Option<Self>, ServerError> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
            let (choice, number) = text.strip_prefix(&format!("{job}/"))?.split_once('/')?;
            Some(Self { choice: choice == "1", number: number.parse().ok()? })
        };
        read().map(Some).ok_or_else(wrong_token)
    }
}

/// The error of a token that is not of a list.
pub(super) fn wrong_token() -> ServerError {
    ServerError::field("pageToken", "is not one of this list; leave it out to begin again")
}
