//! What this installation charges for training.

use hearth_proto::google::r#type::Money;

/// Tokens that a price is for.
const TOKENS: u128 = 1_000_000;
/// Parts of a currency's unit that amounts are counted in.
const NANOS: u128 = 1_000_000_000;

/// A price for a million tokens of training. By default training is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPrice {
    /// Three letters of ISO 4217.
    currency_code: String,
    /// In billionths of that currency's unit.
    nanos: u64,
}

impl Default for TrainingPrice {
    fn default() -> Self {
        Self { currency_code: "USD".to_owned(), nanos: 0 }
    }
}

impl TrainingPrice {
    /// Reads an amount and a currency: `0.50 USD`. The error says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
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
        Ok(Self { currency_code, nanos })
    }

    /// What so many tokens cost, rounded up to the next billionth.
    pub(crate) fn of(&self, tokens: u64) -> Money {
        let nanos = (u128::from(tokens) * u128::from(self.nanos)).div_ceil(TOKENS);
        Money {
            currency_code: self.currency_code.clone(),
            units: i64::try_from(nanos / NANOS).unwrap_or(i64::MAX),
            nanos: (nanos % NANOS) as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let check = |price: &str, tokens: u64, expect: (i64, i32, &str)| {
            let money = TrainingPrice::parse(price).unwrap().of(tokens);
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
        assert_eq!(TrainingPrice::default(), TrainingPrice::parse("0 USD").unwrap());
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
            assert!(TrainingPrice::parse(wrong).is_err(), "{wrong}");
        }
    }
}
