//! Which script a row is written in, told by its letters.

/// Declares [`Script`] with the name and the ranges of each.
macro_rules! scripts {
    ($($variant:ident = $name:literal: $($range:pat_param)|+,)*) => {
        /// Scripts, as far as they can be told apart by ranges of characters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Script {
            $(#[doc = $name] $variant,)*
        }

        impl Script {
            pub(super) const ALL: &[Script] = &[$(Script::$variant,)*];

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Script::$variant => $name,)*
                }
            }

            fn of(character: char) -> Option<Script> {
                match character {
                    $($($range)|+ => Some(Script::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

scripts! {
    Latin = "Latin": 'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}',
    Greek = "Greek": '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}',
    Cyrillic = "Cyrillic": '\u{400}'..='\u{52f}',
    Armenian = "Armenian": '\u{530}'..='\u{58f}',
    Hebrew = "Hebrew": '\u{590}'..='\u{5ff}',
    Arabic = "Arabic": '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}',
    Indic = "an Indian script": '\u{900}'..='\u{dff}',
    Thai = "Thai": '\u{e00}'..='\u{e7f}',
    Georgian = "Georgian": '\u{10a0}'..='\u{10ff}',
    Ethiopic = "Ethiopic": '\u{1200}'..='\u{139f}',
    Hangul = "Hangul": '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7af}',
    // Japanese uses both.
    Han = "Chinese or Japanese": '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}',
}

/// Letters of each script.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Letters([u32; Script::ALL.len()]);

impl Letters {
    pub(super) fn add(&mut self, character: char) {
        if let Some(script) = Script::of(character) {
            self.0[script as usize] = self.0[script as usize].saturating_add(1);
        }
    }

    pub(super) fn add_latin(&mut self, count: usize) {
        let latin = &mut self.0[Script::Latin as usize];
        *latin = latin.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// The script of most letters; of two with as many, the first. `None` without letters.
    pub(super) fn script(&self) -> Option<Script> {
        let most = *self.0.iter().max()?;
        let index = self.0.iter().position(|count| *count == most)?;
        (most > 0).then(|| Script::ALL[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_most_letters_counts() {
        let check = |text: &str, expect: Option<&str>| {
            let mut letters = Letters::default();
            text.chars().for_each(|character| letters.add(character));
            assert_eq!(letters.script().map(Script::name), expect, "{text}");
        };
        check("12 + 3 🙂", None);
        check("naïve café", Some("Latin"));
        check("Привет, world", Some("Cyrillic"));
        check("東京は東京です ok", Some("Chinese or Japanese"));
        check("नमस्ते", Some("an Indian script"));
        check("한국어", Some("Hangul"));
    }
}
