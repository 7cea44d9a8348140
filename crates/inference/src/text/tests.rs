//! Tables of texts cut in every way.

use super::*;

/// Feeds the pieces; returns the visible pieces joined by `|`, with `#` where a stop string was found.
fn stream(stops: &[&str], pieces: &[&str]) -> String {
    let mut matcher = StopMatcher::new(stops.iter().map(|s| (*s).to_owned()).collect());
    let mut out = Vec::new();
    for piece in pieces {
        let (text, stopped) = matcher.push(piece);
        out.push(text);
        if stopped {
            return out.join("|") + "#";
        }
    }
    out.push(matcher.finish());
    out.join("|")
}

#[test]
fn text_is_held_back_only_while_it_may_become_a_stop_string() {
    let check = |stops: &[&str], pieces: &[&str], expect: &str| {
        assert_eq!(stream(stops, pieces), expect, "{stops:?} {pieces:?}");
    };
    check(&[], &["ab", "c"], "ab|c|");
    check(&["END"], &["text END more"], "text #");
    check(&["END"], &["text E", "N", "D more"], "text ||#");
    check(&["END"], &["text E", "N", "X more"], "text ||ENX more|");
    check(&["END"], &["text EN"], "text |EN");
    check(&["aab"], &["aa", "ab"], "|a#");
    check(&["\n\n"], &["one\n", "two\n", "\n"], "one|\ntwo|#");
    check(&["é!"], &["caf", "é", "?"], "caf||é?|");
    check(&["bc", "abcd"], &["xabc", "d"], "xa#");
    check(&["abcd", "bc"], &["xabcd"], "xa#");
    check(&["abc", "bc"], &["xabc"], "x#");
    check(&["x"], &["", "x"], "|#");
}

#[test]
fn the_result_does_not_depend_on_the_cuts() {
    let text = "aabaéaab\n\nabcabd";
    let stops: &[&[&str]] = &[
        &["abcabd"],
        &["abd", "cab"],
        &["éa", "aé"],
        &["\n\na", "b\n"],
        &["zzz"],
        &["aab\n\nabcabdX", "cabd"],
    ];
    let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
    for stops in stops {
        let clean = |s: String| s.replace('|', "");
        let whole = clean(stream(stops, &[text]));
        for mask in 0u32..1 << borders.len() {
            let mut pieces = Vec::new();
            let mut from = 0;
            for (bit, &at) in borders.iter().enumerate() {
                if mask >> bit & 1 == 1 {
                    pieces.push(&text[from..at]);
                    from = at;
                }
            }
            pieces.push(&text[from..]);
            assert_eq!(clean(stream(stops, &pieces)), whole, "{stops:?} {pieces:?}");
        }
    }
}

#[test]
fn stop_strings_are_bounded() {
    let check = |stops: &[&str], expect: &str| {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(check_stops(&stops).map_err(|e| e.to_string()).err().unwrap_or_default(), expect);
    };
    check(&[], "");
    check(&["a", "b", "c", "d"], "");
    check(&["a", "b", "c", "d", "e"], "stop may hold at most 4 strings, not 5");
    check(&["a", ""], "stop must not hold an empty string");
    check(&["x".repeat(1025).as_str()], "stop strings may have at most 1024 bytes");
}
