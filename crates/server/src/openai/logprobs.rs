//! Log probabilities of tokens, in the two forms that clients read.

use std::fmt::Write;

use hearth_inference::{Alternative, Token, TokenScore};
use serde_json::{Map, Value, json};

use super::options::LogprobsForm;

/// The log probabilities of those `tokens` whose text is shown.
pub(super) fn shown(form: LogprobsForm, tokens: &[Token]) -> Value {
    let shown: Vec<&Token> = tokens.iter().filter(|token| token.is_shown).collect();
    match form {
        LogprobsForm::Content => content(&shown),
        LogprobsForm::Legacy => legacy(&shown),
    }
}

/// The list form, of all tokens that have scores.
pub(super) fn content(tokens: &[&Token]) -> Value {
    let entries = scored(tokens).map(|(id, score)| {
        let mut entry = json!({
            "token": text_of(&score.bytes),
            "bytes": score.bytes,
            "logprob": score.logprob,
            "text_offset": score.text_offset,
            "token_id": id,
            "top_logprobs": score.top.iter().map(alternative).collect::<Vec<_>>(),
        });
        if let Some(logprob) = score.sampling_logprob {
            entry["sampling_logprob"] = json!(logprob);
        }
        entry
    });
    json!({"content": entries.collect::<Vec<_>>()})
}

fn alternative(top: &Alternative) -> Value {
    json!({
        "token": text_of(&top.bytes),
        "bytes": top.bytes,
        "logprob": top.logprob,
        "token_id": top.id,
    })
}

/// The older form: lists beside each other. The alternatives of a token are named by their texts, the token among them.
fn legacy(tokens: &[&Token]) -> Value {
    let all: Vec<(u32, &TokenScore)> = scored(tokens).collect();
    let each = |of: &dyn Fn(u32, &TokenScore) -> Value| -> Vec<Value> {
        all.iter().map(|(id, score)| of(*id, score)).collect()
    };
    json!({
        "tokens": each(&|_, score| text_of(&score.bytes).into()),
        "token_logprobs": each(&|_, score| score.logprob.into()),
        "top_logprobs": each(&|_, score| {
            let mut top: Map<String, Value> =
                score.top.iter().map(|top| (text_of(&top.bytes), top.logprob.into())).collect();
            // The first token of a prompt has no probability, and no alternatives.
            if !score.top.is_empty() {
                top.insert(text_of(&score.bytes), score.logprob.into());
            }
            top.into()
        }),
        "text_offset": each(&|_, score| score.text_offset.into()),
        "token_ids": each(&|id, _| id.into()),
    })
}

fn scored<'a>(tokens: &'a [&'a Token]) -> impl Iterator<Item = (u32, &'a TokenScore)> {
    tokens.iter().filter_map(|token| token.score.as_ref().map(|score| (token.id, score)))
}

/// A token as text; the bytes of one that is not whole characters are written as `\xE2`.
fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "\\x{byte:02x}").expect("a String takes everything");
            text
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, bytes: &[u8], logprob: f32, top: &[(u32, &[u8], f32)]) -> Token {
        let top = top.iter().map(|(id, bytes, logprob)| Alternative {
            id: *id,
            bytes: bytes.to_vec(),
            logprob: *logprob,
        });
        let score = TokenScore {
            bytes: bytes.to_vec(),
            text_offset: 3,
            logprob,
            sampling_logprob: Some(-0.5),
            top: top.collect(),
        };
        Token { id, is_shown: true, score: Some(score) }
    }

    #[test]
    fn both_forms_show_tokens_and_their_alternatives() {
        let hidden = Token { is_shown: false, ..token(9, b"end", -1.0, &[]) };
        let tokens = [
            token(7, b" a", -1.5, &[(8, b"b", -0.25)]),
            token(5, b"\xe2\x82", -2.0, &[(5, b"\xe2\x82", -2.0)]),
            hidden,
        ];
        assert_eq!(
            shown(LogprobsForm::Content, &tokens),
            json!({"content": [
                {
                    "token": " a", "bytes": [32, 97], "logprob": -1.5, "sampling_logprob": -0.5, "text_offset": 3,
                    "token_id": 7,
                    "top_logprobs": [{"token": "b", "bytes": [98], "logprob": -0.25, "token_id": 8}],
                },
                {
                    "token": "\\xe2\\x82", "bytes": [226, 130], "logprob": -2.0, "sampling_logprob": -0.5,
                    "text_offset": 3, "token_id": 5,
                    "top_logprobs": [{"token": "\\xe2\\x82", "bytes": [226, 130], "logprob": -2.0, "token_id": 5}],
                },
            ]})
        );
        assert_eq!(
            shown(LogprobsForm::Legacy, &tokens),
            json!({
                "tokens": [" a", "\\xe2\\x82"], "token_logprobs": [-1.5, -2.0], "text_offset": [3, 3],
                "token_ids": [7, 5], "top_logprobs": [{"b": -0.25, " a": -1.5}, {"\\xe2\\x82": -2.0}],
            })
        );
    }
}
