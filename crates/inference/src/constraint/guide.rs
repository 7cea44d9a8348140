//! One sequence on its way through a constraint.

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use crate::InferenceError;

/// Which tokens may come next. Copies go their own ways.
#[derive(Clone)]
pub(crate) struct Guide {
    matcher: Matcher,
}

/// The tokens that may come at one place.
pub(crate) struct Allowed<'a> {
    /// Those that go on with the answer, if any may.
    mask: Option<SimpleVob>,
    /// Those that end it, if it is complete.
    stop_ids: &'a [u32],
    complete: bool,
}

impl Allowed<'_> {
    /// Whether this token may come.
    pub(crate) fn has(&self, id: u32) -> bool {
        if self.stop_ids.contains(&id) {
            return self.complete;
        }
        self.mask.as_ref().is_some_and(|mask| (id as usize) < mask.len() && mask.is_allowed(id))
    }
}

impl Guide {
    pub(super) fn new(matcher: Matcher) -> Self {
        Self { matcher }
    }

    /// The tokens that may come next. `stop_ids` end the answer: they may come only when it is complete.
    ///
    /// # Errors
    /// [`InferenceError::ConstraintFailed`] when no token may come, or finding them takes too much work.
    pub(crate) fn allowed<'a>(&mut self, stop_ids: &'a [u32]) -> Result<Allowed<'a>, InferenceError> {
        let complete = self.matcher.is_accepting().map_err(failed)?;
        let mask = if self.matcher.is_stopped() { None } else { Some(self.matcher.compute_mask()) };
        match mask {
            Some(Ok(mask)) => Ok(Allowed { mask: Some(mask), stop_ids, complete }),
            // Nothing may follow a complete answer.
            None | Some(Err(_)) if complete && !stop_ids.is_empty() => {
                Ok(Allowed { mask: None, stop_ids, complete })
            }
            None | Some(Err(_)) => Err(InferenceError::ConstraintFailed),
        }
    }

    /// Goes on by a token that was allowed and is no stop token. True when the answer is complete and nothing may
    /// follow.
    ///
    /// # Errors
    /// [`InferenceError::ConstraintFailed`] when it was not allowed, or finding that out takes too much work.
    pub(crate) fn take(&mut self, token: u32) -> Result<bool, InferenceError> {
        self.matcher.consume_token(token).map_err(failed)?;
        if !self.matcher.is_stopped() {
            return Ok(false);
        }
        if self.matcher.stop_reason().is_ok() { Ok(true) } else { Err(InferenceError::ConstraintFailed) }
    }
}

/// The library's sentence may quote the request, so it goes nowhere.
fn failed(_: impl std::fmt::Display) -> InferenceError {
    InferenceError::ConstraintFailed
}
