//! What is wrong with a request, all of it at once.

use std::fmt;

use crate::code::Code;

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// JSON name of the field.
    pub field: String,
    /// Class.
    pub code: Code,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

/// All that is wrong with a request; at least one thing. Wrong values come before things that are not built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(pub(super) Vec<FieldViolation>);

impl Violations {
    /// Each of them.
    pub fn list(&self) -> &[FieldViolation] {
        &self.0
    }

    /// Class of the first one.
    pub fn code(&self) -> Code {
        self.0[0].code
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Collects violations while the fields are looked at.
#[derive(Default)]
pub(super) struct Checker(pub(super) Vec<FieldViolation>);

impl Checker {
    pub(super) fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
        self.0.push(FieldViolation { field: field.to_owned(), code, message: message.into() });
    }

    /// `value` if it is in 1..=max, `default` if it is 0; a violation otherwise.
    pub(super) fn whole(&mut self, field: &str, value: i32, max: i32, default: i32) -> u32 {
        if !(0..=max).contains(&value) {
            self.add(
                Code::InvalidArgument,
                field,
                format!("{value} is not between 0 and {max} (0 is the default)"),
            );
            return default as u32;
        }
        (if value == 0 { default } else { value }) as u32
    }

    /// `value` if it is in (0, max], `default` if it is 0; a violation otherwise, NaN included.
    pub(super) fn real(&mut self, field: &str, value: f32, max: f32, default: f32) -> f32 {
        if !(0.0..=max).contains(&value) {
            self.add(
                Code::InvalidArgument,
                field,
                format!("{value} is not between 0 and {max} (0 is the default)"),
            );
            return default;
        }
        if value == 0.0 { default } else { value }
    }
}
