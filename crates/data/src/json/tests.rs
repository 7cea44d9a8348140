//! Texts in, values or findings out.
