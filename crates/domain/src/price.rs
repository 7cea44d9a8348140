//! What an installation charges for training.

use serde::{Deserialize, Serialize};

/// Tokens that a price is for.
const TOKENS: u128 = 1_000_000;
/// Parts of a currency's unit that amounts are counted in.
const NANOS: u128 = 1_000_000_000;
/// Most prices of a table.
pub const TRAINING_PRICES_MAX: usize = 100;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Three letters of ISO 4217.
    pub currency_code: String,
    /// Whole units.
    pub units: i64,
    /// Billionths of a unit.
    pub nanos: i32,
}

/// Prices for a million tokens of training, by the size of the base. By default training is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPrices {
    /// Three letters of ISO 4217.
    currency_code: String,
    /// Parameters up to which a price counts, and the price in billionths of the currency's unit; the smallest first,
    /// the last one for all that are larger.
    nanos: Vec<(u64, u64)>,
}

impl Default for TrainingPrices {
    fn default() -> Self {
        Self { currency_code: "USD".to_owned(), nanos: vec![(u64::MAX, 0)] }
    }
}

impl TrainingPrices {
    /// Reads prices: `0.50 USD` for all bases, or `16B=0.50 USD` for those of at most so many parameters, with one price
    /// for all that are larger. No prices: training is free. The error says what is expected.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut currency: Option<String> = None;
        let mut nanos: Vec<(u64, u64)> = Vec::new();
        for text in texts {
            let (parameters, price) = match text.split_once('=') {
                Some((parameters, price)) => (parse_parameters(parameters)?, price),
                None => (u64::MAX, text),
            };
            let (currency_code, amount) = parse_price(price)?;
            if currency.as_ref().is_some_and(|earlier| *earlier != currency_code) {
                return Err("all prices have one currency".to_owned());
            }
            currency = Some(currency_code);
            if nanos.iter().any(|(earlier, _)| *earlier == parameters) {
                return Err(format!("{text:?} is a second price for models of the same size"));
            }
            nanos.push((parameters, amount));
            if nanos.len() > TRAINING_PRICES_MAX {
                return Err(format!("there are more than {TRAINING_PRICES_MAX} prices"));
            }
        }
        let Some(currency_code) = currency else { return Ok(Self::default()) };
        nanos.sort_unstable();
        if nanos.last().is_none_or(|(parameters, _)| *parameters != u64::MAX) {
            return Err("a price for all larger models is missing, like 3 USD".to_owned());
        }
        Ok(Self { currency_code, nanos })
    }

    /// What so many tokens cost on a base of so many parameters, rounded up to the next billionth.
    pub fn of(&self, parameters: u64, tokens: u64) -> Money {
        let price = self.nanos.iter().find(|(most, _)| parameters <= *most).map_or(0, |(_, nanos)| *nanos);
        let nanos = (u128::from(tokens) * u128::from(price)).div_ceil(TOKENS);
        Money {
            currency_code: self.currency_code.clone(),
            units: i64::try_from(nanos / NANOS).unwrap_or(i64::MAX),
            nanos: (nanos % NANOS) as i32,
        }
    }
}

/// `7000000000`, `7B` or `500M`.
fn parse_parameters(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix('B') {
        Some(number) => (number, 1_000_000_000),
        None => match text.strip_suffix('M') {
            Some(number) => (number, 1_000_000),
            None => (text, 1),
        },
    };
    let parsed = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    parsed
        .filter(|&parameters| parameters > 0 && parameters < u64::MAX)
        .ok_or_else(|| format!("{text:?} is not a number of parameters, like 16B or 500M"))
}

/// An amount in billionths, and its currency.
fn parse_price(text: &str) -> Result<(String, u64), String> {
    let wrong =
        || format!("{text:?} is not an amount with up to nine decimals and a currency, like 0.50 USD");
    let (amount, currency) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let currency_code = currency.trim().to_owned();
    if currency_code.len() != 3 || !currency_code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong());
    }
    let (units, decimals) = amount.split_once('.').unwrap_or((amount, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if units.is_empty() || decimals.len() > 9 || !is_number(units) || !is_number(decimals) {
        return Err(wrong());
    }
    let nanos = format!("{units}{decimals:0<9}").parse().map_err(|_| wrong())?;
    Ok((currency_code, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let check = |price: &str, tokens: u64, expect: (i64, i32, &str)| {
            let money = TrainingPrices::parse([price]).unwrap().of(135_000_000, tokens);
            assert_eq!(
                (money.units, money.nanos, money.currency_code.as_str()),
                expect,
                "{price} * {tokens}"
            );
        };
        check("0.50 USD", 1_000_000, (0, 500_000_000, "USD"));
        check("0.50 USD", 3_000_001, (1, 500_000_500, "USD"));
        check("3 EUR", 2_500_000, (7, 500_000_000, "EUR"));
        check("0.000000001 EUR", 1, (0, 1, "EUR"));
        check("0 USD", u64::MAX, (0, 0, "USD"));
        check("18446744073 USD", u64::MAX, (i64::MAX, 827_895_000, "USD"));
        assert_eq!(TrainingPrices::default(), TrainingPrices::parse(["0 USD"]).unwrap());
        assert_eq!(TrainingPrices::default(), TrainingPrices::parse([]).unwrap());
        for wrong in [
            "",
            "1",
            "USD",
            "1USD",
            "-1 USD",
            "1.5.2 USD",
            ".5 USD",
            "1 usd",
            "1 USDX",
            "1e3 USD",
            "1.0000000001 USD",
            "99999999999999999999 USD",
        ] {
            assert!(TrainingPrices::parse([wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn larger_models_may_cost_more() {
        let prices = TrainingPrices::parse(["3 USD", "16B=0.50 USD", "500M=0.1 USD"]).unwrap();
        let check = |parameters: u64, expect: (i64, i32)| {
            let money = prices.of(parameters, 1_000_000);
            assert_eq!((money.units, money.nanos), expect, "{parameters}");
        };
        check(135_000_000, (0, 100_000_000));
        check(500_000_000, (0, 100_000_000));
        check(500_000_001, (0, 500_000_000));
        check(16_000_000_000, (0, 500_000_000));
        check(16_000_000_001, (3, 0));
        for wrong in [
            &["16B=0.50 USD"][..],
            &["1 USD", "2 USD"],
            &["1 USD", "16B=2 EUR"],
            &["1 USD", "0=2 USD"],
            &["1 USD", "B=2 USD"],
            &["1 USD", "18446744073709551615=2 USD"],
            &["1 USD", "1G=2 USD"],
        ] {
            assert!(TrainingPrices::parse(wrong.iter().copied()).is_err(), "{wrong:?}");
        }
    }
}
