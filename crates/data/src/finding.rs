//! What is wrong or remarkable in a dataset, and where.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares [`Code`] with the name and the meaning of each.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What kind of thing a [`Finding`] is. The names are part of the reports' JSON and do not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The name in reports.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The file holds no row.
    EmptyFile = "empty_file",
    /// Fewer rows than a dataset needs.
    TooFewRows = "too_few_rows",
    /// More rows than a dataset may have.
    TooManyRows = "too_many_rows",
    /// The reading was given up: nearly every line is bad.
    GaveUp = "gave_up",
    /// Compressed bytes that are damaged, unpack to too much, or are of a kind that is not read.
    BadCompression = "bad_compression",
    /// A line is longer than a row may be.
    LineTooLong = "line_too_long",
    /// Bytes that are no UTF-8.
    InvalidUtf8 = "invalid_utf8",
    /// A line that is no JSON.
    InvalidJson = "invalid_json",
    /// Lists and objects in one another, too many of them.
    NestedTooDeeply = "nested_too_deeply",
    /// More values in a row than are allowed.
    TooManyValues = "too_many_values",
    /// A key that an object has twice.
    DuplicateKey = "duplicate_key",
    /// A number that would be rounded.
    NumberOutOfRange = "number_out_of_range",
    /// A value of another type than the field has.
    WrongType = "wrong_type",
    /// A field that is needed and not there.
    MissingField = "missing_field",
    /// Fields that exclude each other.
    ConflictingFields = "conflicting_fields",
    /// Rows of another format than those before.
    MixedFormats = "mixed_formats",
    /// Some rows have a weight, others have none.
    MixedWeights = "mixed_weights",
    /// A list without elements.
    EmptyList = "empty_list",
    /// More messages than a conversation may have.
    TooManyMessages = "too_many_messages",
    /// A role that is not known.
    UnknownRole = "unknown_role",
    /// A system message behind others.
    MisplacedSystem = "misplaced_system",
    /// A tool's answer that follows no call.
    MisplacedTool = "misplaced_tool",
    /// A tool's answer to a call that was not made.
    UnknownToolCall = "unknown_tool_call",
    /// A definition of a tool that is none.
    BadTool = "bad_tool",
    /// A call of a tool that is none.
    BadToolCall = "bad_tool_call",
    /// Arguments of a call that are not the JSON text of an object.
    BadArguments = "bad_arguments",
    /// A weight that is not allowed.
    BadWeight = "bad_weight",
    /// Content other than text.
    UnsupportedContent = "unsupported_content",
    /// A field that would change what is trained, and is not supported.
    UnsupportedField = "unsupported_field",
    /// No message, or no token, is trained.
    NothingToTrain = "nothing_to_train",
    /// The chat template refuses the row, or fails at it.
    Template = "template",
    /// The trained tokens of the row cannot be told.
    UnstableTemplate = "unstable_template",
    /// The model would not learn to stop.
    NoEndOfTurn = "no_end_of_turn",

    /// How a row in another spelling was read.
    ReadAs = "read_as",
    /// What follows the last answer is not used.
    EndsWithoutAnswer = "ends_without_answer",
    /// A trained answer without text or calls.
    EmptyAnswer = "empty_answer",
    /// A message without text.
    EmptyMessage = "empty_message",
    /// A call of a tool that the row does not define.
    UndefinedTool = "undefined_tool",
    /// The same as an earlier row.
    DuplicateRow = "duplicate_row",
    /// The same as an earlier row but for case, white space and punctuation.
    NearDuplicateRow = "near_duplicate_row",
    /// The same question as an earlier row, with another answer.
    ConflictingAnswers = "conflicting_answers",
    /// A row of the evaluation data that is in the training data too.
    Leakage = "leakage",
    /// Text that looks like a password or key.
    Secret = "secret",
    /// A character that stands for bytes that were lost.
    ReplacementCharacter = "replacement_character",
    /// Text that was decoded in a wrong encoding.
    WrongEncoding = "wrong_encoding",
    /// A control character.
    ControlCharacter = "control_character",
    /// A row in another script than nearly all others.
    RareScript = "rare_script",
    /// Something of a row that the chat template does not write.
    LeftOut = "left_out",
    /// Longer than the context: left out of training.
    TooLong = "too_long",
    /// Text that the tokenizer takes for a special token.
    SpecialToken = "special_token",
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let code = Code::ALL.iter().find(|code| code.as_str() == name);
        code.copied().ok_or_else(|| D::Error::custom("no such code"))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something wrong or remarkable in a dataset. The texts never quote a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The file, where a dataset has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line of the file, from 1; 0 when it concerns the file as a whole.
    pub line: u64,
    /// JSON pointer (RFC 6901) to the value at fault; empty for the whole row.
    pub pointer: String,
    /// What kind of thing it is.
    pub code: Code,
    /// What is wrong, in lower case, no full stop.
    pub message: String,
    /// What to do, in the same form; never empty.
    pub fix: String,
}

impl Finding {
    /// A finding of its parts.
    pub fn new(
        line: u64,
        pointer: impl Into<String>,
        code: Code,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Finding { file: None, line, pointer: pointer.into(), code, message: message.into(), fix: fix.into() }
    }

    /// What is wrong and what to do, without the place.
    pub fn sentence(&self) -> String {
        format!("{}; {}", self.message, self.fix)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            f.write_str(if self.line == 0 { ": " } else { ", " })?;
        }
        match (self.line, self.pointer.is_empty()) {
            (0, _) => {}
            (line, true) => write!(f, "line {line}: ")?,
            (line, false) => write!(f, "line {line}, {}: ", self.pointer)?,
        }
        write!(f, "{}; {}", self.message, self.fix)
    }
}

/// All that is wrong with one row; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    findings: Vec<Finding>,
}

impl BadRow {
    /// A row with these faults. Panics without any (programmer error).
    pub fn new(findings: Vec<Finding>) -> Self {
        assert!(!findings.is_empty(), "a bad row has something wrong");
        BadRow { findings }
    }

    /// The faults, in the order in which they were found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// As [`BadRow::findings`].
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

impl From<Finding> for BadRow {
    fn from(finding: Finding) -> Self {
        BadRow { findings: vec![finding] }
    }
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, finding) in self.findings.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for BadRow {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: HashSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn places_are_shown() {
        let check = |line, pointer: &str, expect: &str| {
            assert_eq!(
                Finding::new(line, pointer, Code::WrongType, "it is wrong", "right it").to_string(),
                expect
            );
        };
        check(0, "", "it is wrong; right it");
        check(3, "", "line 3: it is wrong; right it");
        check(3, "/a/0", "line 3, /a/0: it is wrong; right it");
    }
}
