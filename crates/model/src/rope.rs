//! Rotary frequencies and how a model changes them for longer contexts.

use serde_json::Value;

use crate::error::{Error, Result};

/// `rope_scaling` of `config.json`. Other kinds are refused by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// No change.
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// Divisor of the frequencies.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a smooth passage between.
    /// Source: HF `_compute_llama3_parameters` in `modeling_rope_utils.py`.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of the first training.
        original_max_position_embeddings: f64,
    },
}

/// One rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// What `rope_parameters` calls the settings of blocks that see everything, and of those with a window.
const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

impl Rope {
    /// Reads theta and scaling from the old style (`rope_theta`, `rope_scaling`) or the new (`rope_parameters`);
    /// where windows have settings of their own, those of the other blocks. `theta` counts when the file has none.
    pub(crate) fn parse(json: &Value, theta: f64, max_position_embeddings: usize) -> Result<Self> {
        let (name, settings) = match (&json["rope_parameters"], &json["rope_scaling"]) {
            (Value::Null, old) => ("rope_scaling".to_owned(), old),
            (new, Value::Null) if new[GLOBAL].is_object() || new[LOCAL].is_object() => {
                (format!("rope_parameters.{GLOBAL}"), &new[GLOBAL])
            }
            (new, Value::Null) => ("rope_parameters".to_owned(), new),
            (new, old) if new == old => ("rope_parameters".to_owned(), new),
            _ => return Err(Error::config("rope_parameters", "differs from rope_scaling; keep one of them")),
        };
        let theta = match (&settings["rope_theta"], &json["rope_theta"]) {
            (Value::Null, value) | (value, _) => parse_theta("rope_theta", value)?.unwrap_or(theta),
        };
        Ok(Self { theta, scaling: Settings { name, json: settings }.scaling(max_position_embeddings)? })
    }

    /// The settings of blocks with a window, if the file has any.
    pub(crate) fn parse_local(json: &Value, max_position_embeddings: usize) -> Result<Option<Self>> {
        let settings = &json["rope_parameters"][LOCAL];
        let field = "rope_local_base_freq";
        let theta = match (&settings["rope_theta"], &json[field]) {
            (Value::Null, value) | (value, _) => parse_theta(field, value)?,
        };
        let name = format!("rope_parameters.{LOCAL}");
        let scaling = Settings { name, json: settings }.scaling(max_position_embeddings)?;
        Ok(theta.map(|theta| Self { theta, scaling }))
    }

    /// `inv_freq[i]` for `i < head_dim / 2`: `theta^(-2i/head_dim)`, scaled.
    pub(crate) fn inv_freq(&self, head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2)
            .map(|i| {
                let freq = self.theta.powf(-(2.0 * i as f64) / head_dim as f64);
                scale_freq(freq, self.scaling) as f32
            })
            .collect()
    }
}

fn parse_theta(field: &str, value: &Value) -> Result<Option<f64>> {
    match value.as_f64() {
        None if value.is_null() => Ok(None),
        Some(number) if number.is_finite() && number > 1.0 => Ok(Some(number)),
        _ => Err(Error::config(field, format!("expected a number above 1, found {value}"))),
    }
}

/// The object that says how the frequencies are changed, and its place in the file.
struct Settings<'a> {
    name: String,
    json: &'a Value,
}

impl Settings<'_> {
    fn scaling(&self, max_position_embeddings: usize) -> Result<RopeScaling> {
        if self.json.is_null() {
            return Ok(RopeScaling::Default);
        }
        let (field, kind) = match (&self.json["rope_type"], &self.json["type"]) {
            (Value::Null, Value::Null) => return Err(self.error("rope_type", "missing")),
            (Value::Null, kind) => ("type", kind),
            (kind, _) => ("rope_type", kind),
        };
        match self.json["partial_rotary_factor"].as_f64() {
            None | Some(1.0) => {}
            Some(x) => {
                return Err(self.error("partial_rotary_factor", format!("{x} is not supported, only 1")));
            }
        }
        match kind.as_str() {
            Some("default") => Ok(RopeScaling::Default),
            Some("linear") => Ok(RopeScaling::Linear { factor: self.number("factor", None)? }),
            Some("llama3") => self.llama3(max_position_embeddings),
            _ => Err(self.error(
                field,
                format!("{kind} is not supported, only \"default\", \"linear\" and \"llama3\""),
            )),
        }
    }

    fn llama3(&self, max_position_embeddings: usize) -> Result<RopeScaling> {
        let low_freq_factor = self.number("low_freq_factor", None)?;
        let high_freq_factor = self.number("high_freq_factor", None)?;
        if high_freq_factor <= low_freq_factor {
            let reason = format!("{high_freq_factor} is not above low_freq_factor {low_freq_factor}");
            return Err(self.error("high_freq_factor", reason));
        }
        Ok(RopeScaling::Llama3 {
            factor: self.number("factor", None)?,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: self
                .number("original_max_position_embeddings", Some(max_position_embeddings as f64))?,
        })
    }

    fn number(&self, field: &str, absent: Option<f64>) -> Result<f64> {
        match (&self.json[field], absent) {
            (Value::Null, Some(absent)) => Ok(absent),
            (Value::Null, None) => Err(self.error(field, "missing")),
            (value, _) => match value.as_f64() {
                Some(x) if x > 0.0 && (x as f32).is_normal() => Ok(x),
                _ => Err(self.error(field, format!("expected a positive number, found {value}"))),
            },
        }
    }

    fn error(&self, field: &str, reason: impl Into<String>) -> Error {
        Error::config(format!("{}.{field}", self.name), reason)
    }
}

fn scale_freq(freq: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::Default => freq,
        RopeScaling::Linear { factor } => freq / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let wavelen = std::f64::consts::TAU / freq;
            if wavelen < original_max_position_embeddings / high_freq_factor {
                freq
            } else if wavelen > original_max_position_embeddings / low_freq_factor {
                freq / factor
            } else {
                let smooth = (original_max_position_embeddings / wavelen - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * freq / factor + smooth * freq
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rope, RopeScaling};

    /// Worked by hand for head_dim 8 and theta 10,000: frequencies 1, 0.1, 0.01, 0.001; wavelengths 6.28,
    /// 62.8, 628, 6283.
    #[test]
    fn llama3_keeps_high_divides_low_and_blends() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 1024.0,
        };
        let found = Rope { theta: 10_000.0, scaling }.inv_freq(8);
        // 1024 / 628.32 = 1.62975; smooth = 0.209916; 0.01 * (0.790084 / 8 + 0.209916) = 0.00308676
        let expect = [1.0, 0.1, 0.003_086_76, 0.000_125];
        for (f, e) in found.iter().zip(expect) {
            assert!((f - e).abs() <= 1e-6 * e + 1e-8, "{found:?}");
        }
    }
}
