//! Stop strings: how much of a text can be given out while it grows.

use crate::InferenceError;

/// Most stop strings in one request; the API's own bound.
pub const MAX_STOP_STRINGS: usize = 4;
/// Longest stop string. Text of this length may be held back while it streams.
pub const MAX_STOP_BYTES: usize = 1024;

/// # Errors
/// [`InferenceError::InvalidParameter`] for too many, empty or too long stop strings.
pub(crate) fn check_stops(stops: &[String]) -> Result<(), InferenceError> {
    let message = if stops.len() > MAX_STOP_STRINGS {
        format!("may hold at most {MAX_STOP_STRINGS} strings, not {}", stops.len())
    } else if stops.iter().any(String::is_empty) {
        "must not hold an empty string".to_owned()
    } else if stops.iter().any(|s| s.len() > MAX_STOP_BYTES) {
        format!("strings may have at most {MAX_STOP_BYTES} bytes")
    } else {
        return Ok(());
    };
    Err(InferenceError::InvalidParameter { field: "stop", message })
}

/// Looks for stop strings in a text that comes in pieces.
///
/// The stop string that is complete first wins, the longest of those that are complete at the same place; the
/// result does not depend on where the pieces are cut.
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Adds a piece. Returns the text that can be given out, and whether a stop string was found: then the
    /// text is what stands before it, and nothing follows.
    pub(crate) fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at)))
            .min();
        if let Some((_, at)) = found {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let safe = self.held.len() - self.partial_len();
        let rest = self.held.split_off(safe);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The held text: no stop string came of it.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text that begins a stop string.
    fn partial_len(&self) -> usize {
        let longest = self.stops.iter().map(|s| s.len() - 1).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        (from..self.held.len())
            .filter(|&at| self.held.is_char_boundary(at))
            .find(|&at| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..])))
            .map_or(0, |at| self.held.len() - at)
    }
}

#[cfg(test)]
mod tests;
