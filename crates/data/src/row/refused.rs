//! Fields that would change what is trained if they were acted on, and are not supported.

use super::Reading;
use crate::finding::Code;
use crate::json::{Json, Place};

/// A key, what is wrong with it beside that it is not supported, and what to do.
type Refused = (&'static str, &'static str, &'static str);

const NO_TEXT: &str = ": rows hold text only";
const REMOVE: &str = "remove it";
const PREFERENCE: (&str, &str) = (
    ": this trains on answers, not on preferences",
    "make the better answer the last message or the completion",
);
const WEIGHT: &str = "write weight 0 for an answer that is not learnt, and remove it";

/// Keys of a row.
pub(super) const ROW_KEYS: &[Refused] = &[
    ("tool_choice", "", REMOVE),
    ("chat_template_kwargs", "", REMOVE),
    ("image", NO_TEXT, REMOVE),
    ("images", NO_TEXT, REMOVE),
    ("audio", NO_TEXT, REMOVE),
    ("video", NO_TEXT, REMOVE),
    ("videos", NO_TEXT, REMOVE),
    ("documents", "", "write what they say into a message, or remove it"),
    ("chosen", PREFERENCE.0, PREFERENCE.1),
    ("rejected", PREFERENCE.0, PREFERENCE.1),
];

/// Keys of a message.
pub(super) const MESSAGE_KEYS: &[Refused] = &[
    ("image", NO_TEXT, REMOVE),
    ("images", NO_TEXT, REMOVE),
    ("audio", NO_TEXT, REMOVE),
    ("video", NO_TEXT, REMOVE),
    ("videos", NO_TEXT, REMOVE),
    ("train", "", WEIGHT),
    ("loss", "", WEIGHT),
    ("loss_weight", "", WEIGHT),
    ("prefix", "", REMOVE),
];

impl Reading {
    /// Refuses the keys of a table, unless their value says "nothing".
    pub(super) fn refuse_keys(&mut self, place: &Place<'_>, object: &Json<'_>, keys: &[Refused]) {
        for (key, why, fix) in keys {
            if object.get(key).is_some_and(|value| !value.says_nothing()) {
                let message = format!("the field {key} is not supported{why}");
                self.push(&place.key(key), Code::UnsupportedField, message, *fix);
            }
        }
    }
}
