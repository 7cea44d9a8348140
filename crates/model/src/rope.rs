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

/// Reads theta and scaling from the old style (`rope_theta`, `rope_scaling`) or the new (`rope_parameters`).
pub(crate) fn parse_rope(json: &Value, max_position_embeddings: usize) -> Result<(f64, RopeScaling)> {
    let (name, scaling) = match (&json["rope_parameters"], &json["rope_scaling"]) {
        (Value::Null, old) => ("rope_scaling", old),
        (new, Value::Null) => ("rope_parameters", new),
        (new, old) if new == old => ("rope_parameters", new),
        _ => return Err(Error::config("rope_parameters", "differs from rope_scaling; keep one of them")),
    };
    let number = |field: &str, default: Option<f64>| match (&scaling[field], default) {
        (Value::Null, Some(default)) => Ok(default),
        (Value::Null, None) => Err(Error::config(format!("{name}.{field}"), "missing")),
        (value, _) => match value.as_f64() {
            Some(x) if x.is_finite() && x > 0.0 => Ok(x),
            _ => Err(Error::config(
                format!("{name}.{field}"),
                format!("expected a positive number, found {value}"),
            )),
        },
    };
    let theta = match (&scaling["rope_theta"], &json["rope_theta"]) {
        (Value::Null, value) | (value, _) => value,
    };
    let theta = match theta.as_f64() {
        // What transformers takes when the field is absent.
        None if theta.is_null() => 10_000.0,
        Some(number) if number.is_finite() && number > 1.0 => number,
        _ => return Err(Error::config("rope_theta", format!("expected a number above 1, found {theta}"))),
    };
    if scaling.is_null() {
        return Ok((theta, RopeScaling::Default));
    }
    let (kind_field, kind) = match (&scaling["rope_type"], &scaling["type"]) {
        (Value::Null, Value::Null) => return Err(Error::config(format!("{name}.rope_type"), "missing")),
        (Value::Null, kind) => ("type", kind),
        (kind, _) => ("rope_type", kind),
    };
    match scaling["partial_rotary_factor"].as_f64() {
        None | Some(1.0) => {}
        Some(x) => {
            let reason = format!("{x} is not supported, only 1");
            return Err(Error::config(format!("{name}.partial_rotary_factor"), reason));
        }
    }
    let scaling = match kind.as_str() {
        Some("default") => RopeScaling::Default,
        Some("linear") => RopeScaling::Linear { factor: number("factor", None)? },
        Some("llama3") => RopeScaling::Llama3 {
            factor: number("factor", None)?,
            low_freq_factor: number("low_freq_factor", None)?,
            high_freq_factor: number("high_freq_factor", None)?,
            original_max_position_embeddings: number(
                "original_max_position_embeddings",
                Some(max_position_embeddings as f64),
            )?,
        },
        _ => {
            return Err(Error::config(
                format!("{name}.{kind_field}"),
                format!("{kind} is not supported, only \"default\", \"linear\" and \"llama3\""),
            ));
        }
    };
    Ok((theta, scaling))
}

/// `inv_freq[i]` for `i < head_dim / 2`: `theta^(-2i/head_dim)`, scaled.
pub(crate) fn inv_freq(head_dim: usize, theta: f64, scaling: RopeScaling) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|i| {
            let freq = theta.powf(-(2.0 * i as f64) / head_dim as f64);
            scale_freq(freq, scaling) as f32
        })
        .collect()
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
    use super::{RopeScaling, inv_freq};

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
        let found = inv_freq(8, 10_000.0, scaling);
        // 1024 / 628.32 = 1.62975; smooth = 0.209916; 0.01 * (0.790084 / 8 + 0.209916) = 0.00308676
        let expect = [1.0, 0.1, 0.003_086_76, 0.000_125];
        for (f, e) in found.iter().zip(expect) {
            assert!((f - e).abs() <= 1e-6 * e + 1e-8, "{found:?}");
        }
    }
}
