//! Typed reading of a `config.json`'s fields, with errors that name the field and its value.

use serde_json::Value;

use super::{MAX_DIMENSION, MAX_LAYERS};
use crate::error::{Error, Result};

pub(super) struct Fields<'a> {
    pub(super) json: &'a Value,
}

impl<'a> Fields<'a> {
    pub(super) fn optional_dimension(&self, field: &str) -> Result<Option<usize>> {
        let value = &self.json[field];
        if value.is_null() {
            return Ok(None);
        }
        match value.as_u64() {
            Some(n @ 1..=MAX_DIMENSION) => Ok(Some(n as usize)),
            _ => Err(Error::config(
                field,
                format!("expected a whole number from 1 to {MAX_DIMENSION}, found {value}"),
            )),
        }
    }

    pub(super) fn dimension(&self, field: &str) -> Result<usize> {
        self.optional_dimension(field)?.ok_or_else(|| Error::config(field, "missing"))
    }

    /// Refuses a file without the field, where its default would not be what this crate takes.
    pub(super) fn present(&self, field: &str) -> Result<()> {
        self.json.get(field).map(|_| ()).ok_or_else(|| Error::config(field, "missing"))
    }

    pub(super) fn layers(&self) -> Result<usize> {
        const FIELD: &str = "num_hidden_layers";
        match self.dimension(FIELD)? {
            n if n as u64 <= MAX_LAYERS => Ok(n),
            n => Err(Error::config(FIELD, format!("{n} is more than {MAX_LAYERS}"))),
        }
    }

    /// False when absent.
    pub(super) fn flag(&self, field: &str) -> Result<bool> {
        self.flag_or(field, false)
    }

    pub(super) fn flag_or(&self, field: &str, absent: bool) -> Result<bool> {
        match &self.json[field] {
            Value::Null => Ok(absent),
            Value::Bool(b) => Ok(*b),
            other => Err(Error::config(field, format!("expected true or false, found {other}"))),
        }
    }

    /// A positive number; `absent` when the file does not have the field, nothing when it is null.
    pub(super) fn positive(&self, field: &str, absent: Option<f64>) -> Result<Option<f64>> {
        match self.json.get(field) {
            None => Ok(absent),
            Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(x) if x > 0.0 && (x as f32).is_normal() => Ok(Some(x)),
                _ => Err(Error::config(field, format!("expected a positive number, found {value}"))),
            },
        }
    }

    /// A window in tokens; as [`Self::positive`].
    pub(super) fn window(&self, field: &str, absent: Option<usize>) -> Result<Option<usize>> {
        if self.json.get(field).is_none() { Ok(absent) } else { self.optional_dimension(field) }
    }

    pub(super) fn rms_norm_eps(&self) -> Result<f32> {
        let value = &self.json["rms_norm_eps"];
        match value.as_f64() {
            Some(eps) if eps > 0.0 && eps < 1.0 && (eps as f32).is_normal() => Ok(eps as f32),
            _ if value.is_null() => Err(Error::config("rms_norm_eps", "missing")),
            _ => Err(Error::config(
                "rms_norm_eps",
                format!("expected a number between 0 and 1, found {value}"),
            )),
        }
    }

    /// A list with an entry for each block (longer lists are cut); nothing when absent or null.
    pub(super) fn per_layer(&self, field: &str, layers: usize) -> Result<Option<&'a [Value]>> {
        match &self.json[field] {
            Value::Null => Ok(None),
            Value::Array(list) if list.len() >= layers => Ok(Some(&list[..layers])),
            Value::Array(list) => {
                Err(Error::config(field, format!("has {} entries for {layers} blocks", list.len())))
            }
            other => Err(Error::config(field, format!("expected a list, found {other}"))),
        }
    }

    /// Which blocks attend in a sliding window: by `layer_types`, or by `absent` when the file has none.
    pub(super) fn sliding(&self, layers: usize, absent: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        const FIELD: &str = "layer_types";
        let Some(list) = self.per_layer(FIELD, layers)? else { return Ok((0..layers).map(absent).collect()) };
        list.iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                _ => Err(Error::config(
                    FIELD,
                    format!("{kind} is not supported, only \"full_attention\" and \"sliding_attention\""),
                )),
            })
            .collect()
    }

    /// A field that may be absent or null, and otherwise has only one supported value.
    pub(super) fn expect(&self, field: &str, supported: &str, ok: impl Fn(&Value) -> bool) -> Result<()> {
        let value = &self.json[field];
        if value.is_null() || ok(value) {
            return Ok(());
        }
        Err(Error::config(field, format!("{value} is not supported, only {supported}")))
    }
}
