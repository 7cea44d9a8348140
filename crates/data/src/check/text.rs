//! What is remarkable in a text: keys and passwords, damaged characters, special tokens.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};

use crate::finding::Code;
use crate::tokenizer::Tokenizer;

/// Each kind of secret by its name, as its own group, and what it looks like.
const SECRETS: &[(&str, &str)] = &[
    ("an AWS access key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20}"),
    ("an API key", r"\bsk-[A-Za-z0-9_-]{20,}"),
    ("a Stripe key", r"\b[sr]k_live_[A-Za-z0-9]{16}"),
    ("a Google key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{30}"),
    ("a Slack token", r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
    ("a private key", r"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY-----"),
    ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    ("a password in a URL", r"\b[a-z][a-z0-9+]*://[^\s/:@]{1,64}:[^\s/:@]{3,64}@[A-Za-z0-9]"),
];
/// Where one of [`SECRETS`] may be: found much faster than they are.
const MAYBE_SECRET: &str = r"AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|sk-|[sr]k_live_|AIza|hf_|xox[abeprs]-|-----BEGIN |eyJ|://[^\s/:@]{1,64}:";
/// Words that stand for a password and are none.
const PLACEHOLDERS: [&str; 12] = [
    "pass",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "pw",
    "secret",
    "token",
    "xxx",
    "example",
    "changeme",
    "your",
];

/// Most special tokens that are looked for; some vocabularies have thousands.
const MAX_SPECIAL: usize = 16_384;
/// Longest of them, in bytes.
const MAX_SPECIAL_BYTES: usize = 256;
/// Memory that as many and as long ones cannot exceed.
const SPECIAL_BYTES_MAX: usize = 1 << 30;

/// Something in a text. The message says neither where nor what exactly.
pub(super) type Remark = (Code, String, &'static str);

/// Looks through texts.
#[derive(Clone)]
pub(super) struct Scanner {
    maybe_secret: Regex,
    secrets: Vec<(&'static str, Regex)>,
    special: Option<Regex>,
}

/// Compiled once: that takes longer than the check of a small file.
static SECRET_PATTERNS: LazyLock<(Regex, Vec<(&str, Regex)>)> = LazyLock::new(|| {
    let regex = |pattern: &str| Regex::new(pattern).expect("the pattern is one");
    (regex(MAYBE_SECRET), SECRETS.iter().map(|(name, pattern)| (*name, regex(pattern))).collect())
});

impl Scanner {
    /// With a tokenizer, its special tokens are looked for too.
    pub(super) fn new(tokenizer: Option<&Tokenizer>) -> Self {
        let special = tokenizer.map(Tokenizer::special_texts).filter(|texts| !texts.is_empty());
        let special = special.map(|texts| {
            let texts = texts.iter().filter(|text| text.len() <= MAX_SPECIAL_BYTES).take(MAX_SPECIAL);
            let escaped: Vec<String> = texts.map(|text| regex::escape(text)).collect();
            let pattern = RegexBuilder::new(&escaped.join("|")).size_limit(SPECIAL_BYTES_MAX).build();
            pattern.expect("the limits leave enough memory")
        });
        let (maybe_secret, secrets) = SECRET_PATTERNS.clone();
        Scanner { maybe_secret, secrets, special }
    }

    /// Tells what is in `text`, each kind once.
    pub(super) fn scan(&self, text: &str, mut tell: impl FnMut(Remark)) {
        if self.maybe_secret.is_match(text) {
            for (name, pattern) in &self.secrets {
                if pattern.find_iter(text).any(|found| is_secret(found.as_str())) {
                    let fix = "remove it and make it invalid: what is trained can come out again";
                    tell((Code::Secret, format!("the text holds what looks like {name}"), fix));
                }
            }
        }
        if self.special.as_ref().is_some_and(|special| special.is_match(text)) {
            let what = "the tokenizer takes a part of the text for a special token";
            tell((Code::SpecialToken, what.into(), "remove it, or write it in another way"));
        }
        let mut has_control = text.bytes().fold(false, |found, byte| found | is_control(byte));
        if !text.is_ascii() {
            if text.contains(char::REPLACEMENT_CHARACTER) {
                let what = "the text has U+FFFD, which stands for bytes that were lost";
                let fix = "make the row again from its source, read in the right encoding";
                tell((Code::ReplacementCharacter, what.into(), fix));
            }
            if is_mojibake(text) {
                let what = "the text looks like UTF-8 that was read as Latin-1 or Windows-1252";
                let fix = "make the row again from its source, read as UTF-8";
                tell((Code::WrongEncoding, what.into(), fix));
            } else {
                has_control |= text.chars().any(|character| ('\u{80}'..='\u{9f}').contains(&character));
            }
        }
        if has_control {
            let what = "the text has control characters other than tabs and line breaks";
            tell((Code::ControlCharacter, what.into(), "remove them"));
        }
    }
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t' && byte != b'\n' && byte != b'\r') || byte == 0x7f
}

/// Whether what looks like a secret is neither a placeholder nor words with hyphens.
fn is_secret(found: &str) -> bool {
    if let Some((_, rest)) = found.split_once("://") {
        let password = rest.split_once(':').map_or("", |(_, password)| password);
        let password = password.rsplit_once('@').map_or(password, |(password, _)| password);
        let small = password.to_ascii_lowercase();
        let is_pattern = password.contains(['<', '>', '{', '}', '$', '*', '[', ']', '%', '.']);
        let is_word = PLACEHOLDERS.iter().any(|word| small.starts_with(word) || small.ends_with(word));
        return !is_pattern && !is_word;
    }
    if found.starts_with("sk-") {
        let has = |test: fn(&u8) -> bool| found[3..].bytes().any(|byte| test(&byte));
        return has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    }
    // A run of one character is a placeholder.
    let tail = &found.as_bytes()[found.len() - 8..];
    found.ends_with('-') || tail.iter().any(|byte| *byte != tail[0])
}

/// Whether the characters are bytes of UTF-8 that were taken for characters.
///
/// What hardly stands in a good text counts at once: `Ã` or `Â` before a sign or a C1 control, `â€`. Of others two must
/// follow one another: an accented letter before a closing quotation mark is good French.
fn is_mojibake(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let mut rest = characters.clone();
        match (character, rest.next()) {
            ('Ã' | 'Â', Some('\u{80}'..='\u{bf}')) | ('Ã', Some('Ÿ')) => return true,
            ('â', Some('€' | '\u{80}' | '†' | '„' | '\u{86}' | '\u{84}')) => return true,
            ('ð', Some('Ÿ' | '\u{9f}')) => return true,
            ('\u{c2}'..='\u{ef}', Some(_)) => {
                let mut rest = characters.clone();
                if is_sequence(character, &mut rest)
                    && rest.next().is_some_and(|lead| is_sequence(lead, &mut rest))
                {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// Whether the first byte of a character in UTF-8 is followed by its others.
fn is_sequence(lead: char, rest: &mut std::str::Chars<'_>) -> bool {
    let others = match lead {
        '\u{c2}'..='\u{df}' => 1,
        '\u{e0}'..='\u{ef}' => 2,
        _ => return false,
    };
    (0..others).all(|_| rest.next().and_then(byte_of).is_some_and(|byte| (0x80..0xc0).contains(&byte)))
}

/// The byte that is this character in Latin-1 or Windows-1252.
fn byte_of(character: char) -> Option<u8> {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match u32::from(character) {
        0..0x80 => None,
        code @ 0x80..=0xff => u8::try_from(code).ok(),
        _ => FROM_80.iter().position(|other| *other == character).and_then(|at| u8::try_from(0x80 + at).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[Code]) {
        let mut codes = Vec::new();
        Scanner::new(None).scan(text, |(code, _, _)| codes.push(code));
        assert_eq!(codes, expect, "for {text:?}");
    }

    #[test]
    fn good_texts_pass() {
        for text in [
            "plain text\twith\nbreaks\r\n",
            "« Il est passé » dit-il, à : l’été, MARCHÉ… Noël",
            "ÀÉÖ naïve façade, NÃO, „Über“, “quoted” — 20 €…",
            "Привет, как дела? Ελληνικά. 東京タワー 한국어 العربية हिन्दी",
            "emoji 🙂👩‍👩‍👧 ✓ ½ × °C £5 ñandú",
            "pip install sk-learn; the class risk-of-something-very-long-indeed",
            "git clone https://user:password@host.example/x and postgres://$USER:$PASS@db",
            "http://localhost:8080/a@b see eyJ or AKIA and hf_hub",
            "ssh://git@example.org:22/x",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn damaged_texts_are_told() {
        check("a\u{0}b", &[Code::ControlCharacter]);
        check("\u{1b}[31mred", &[Code::ControlCharacter]);
        check("a\u{85}b", &[Code::ControlCharacter]);
        check("caf\u{fffd}", &[Code::ReplacementCharacter]);
        for (text, windows) in [
            ("café", true),
            ("don’t", true),
            ("Straße", true),
            ("Привет", true),
            ("🙂", true),
            ("20\u{a0}°", false),
        ] {
            let latin: String = text.bytes().map(char::from).collect();
            check(&latin, &[Code::WrongEncoding]);
            if windows {
                let windows: String = latin.chars().map(windows_1252).collect();
                check(&windows, &[Code::WrongEncoding]);
            }
        }
    }

    fn windows_1252(latin: char) -> char {
        (0x100..0x2200)
            .filter_map(char::from_u32)
            .find(|c| byte_of(*c).map(char::from) == Some(latin))
            .unwrap_or(latin)
    }

    #[test]
    fn secrets_are_told_by_their_kind() {
        let random = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6k";
        let upper = "Q7RTZ2MNP4KXW8VB";
        for (text, kind) in [
            (format!("key {}{upper} ok", "AKIA"), "an AWS access key"),
            (format!("{}_{random}", "ghp"), "a GitHub token"),
            (format!("{}-{random}", "sk"), "an API key"),
            (format!("{}-proj-{random}", "sk"), "an API key"),
            (format!("{}_live_{random}", "sk"), "a Stripe key"),
            (format!("{}{}", "AIza", &random[..35]), "a Google key"),
            (format!("{}_{random}", "hf"), "a Hugging Face token"),
            (format!("{}-123456789012-{random}", "xoxb"), "a Slack token"),
            (format!("-----BEGIN {} KEY-----", "RSA PRIVATE"), "a private key"),
            (format!("{}{random}.{}{random}.{random}", "eyJ", "eyJ"), "a JSON web token"),
            (format!("postgres://app:{}@db.internal/x", &random[..12]), "a password in a URL"),
        ] {
            let mut told = Vec::new();
            Scanner::new(None).scan(&text, |(code, message, _)| told.push((code, message)));
            assert_eq!(told, [(Code::Secret, format!("the text holds what looks like {kind}"))]);
        }
    }
}
