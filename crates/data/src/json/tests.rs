//! Texts in, values or findings out.

use proptest::prelude::*;

use super::*;

fn outline(text: &str) -> String {
    match parse(7, text) {
        Ok(value) => value.to_value().to_string(),
        Err(findings) => findings.iter().map(|finding| format!("{finding}")).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(outline(text), expect, "for {text}");
}

#[test]
fn values_keep_their_order_and_their_numbers() {
    check(
        r#"{"z":1,"a":[null,true,"x\n"],"m":{"b":1.50,"a":-7}}"#,
        r#"{"z":1,"a":[null,true,"x\n"],"m":{"b":1.5,"a":-7}}"#,
    );
    check("[18446744073709551615, -9223372036854775808]", "[18446744073709551615,-9223372036854775808]");
    check(
        "[1e30, 1.7976931348623157e308, -9223372036854775809.0]",
        "[1e+30,1.7976931348623157e+308,-9.223372036854776e+18]",
    );
}

#[test]
fn whole_numbers_that_would_be_rounded_are_told_by_how_they_are_written() {
    const FAULT: &str = "the whole number has more digits than 64 bits hold; write it as a text";
    for (number, is_kept) in [
        ("18446744073709551616", false),
        ("-9223372036854775809", false),
        ("123456789012345678901234", false),
        ("18446744073709551616.0", true),
        ("1E30", true),
        ("-1e+19", true),
    ] {
        let text = format!(r#"{{"5": ["-1\"2.5", "\\", 0.5, -3, "9", 1e20], "n": {number}, "x": [1, 2]}}"#);
        match is_kept {
            true => assert!(parse(7, &text).is_ok(), "{text}"),
            false => check(&text, &format!("line 7, /n: {FAULT}")),
        }
    }
    check(
        "[18446744073709551616, 1, 1e30, 18446744073709551616, 2]",
        &format!("line 7, /0: {FAULT}\nline 7, /3: {FAULT}"),
    );
    check("1e400", "line 7: invalid JSON at column 5: number out of range; write it as a text");
}

#[test]
fn keys_that_are_there_twice_are_told_with_their_places() {
    check(
        r#"{"a": {"b/c": [{"~": 1, "~": 2}]}, "a": 3}"#,
        "line 7, /a/(key)/0/(key): the key is there twice in its object; keep one of them: programs differ in which one they \
         take\n\
         line 7, /a: the key is there twice in its object; keep one of them: programs differ in which one they take",
    );
    let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\": {n}")).collect();
    check(&format!("{{{}}}", many.join(",")), &outline(&format!("{{{}}}", many.join(","))));
    assert!(
        outline(&format!("{{{}, \"k39\": 1}}", many.join(",")))
            .starts_with("line 7, /k39: the key is there twice")
    );
    // What does not look like a name could be content, or speak to a terminal.
    let long = "k".repeat(65);
    for (key, shown) in [
        ("What is my card number?", "(key)"),
        ("jo@example.org", "(key)"),
        ("\\u001b[31mRED", "(key)"),
        ("\\u202e", "(key)"),
        ("名前", "(key)"),
        ("", "(key)"),
        (&long, "(key)"),
        ("$defs", "$defs"),
        ("a_b-c.d9", "a_b-c.d9"),
    ] {
        check(
            &format!(r#"{{"{key}": 1, "{key}": 1}}"#),
            &format!(
                "line 7, /{shown}: the key is there twice in its object; keep one of them: programs differ in which one they \
                 take"
            ),
        );
    }
}

#[test]
fn syntax_errors_say_what_to_do() {
    check(
        "{\"a\": ",
        "line 7: invalid JSON at column 6: the line ends too early; write the whole JSON object on one line",
    );
    check(
        "{\"a\": 1} {",
        "line 7: invalid JSON at column 10: trailing characters; write one JSON object a line and nothing behind it",
    );
    check(
        "[1,]",
        "line 7: invalid JSON at column 4: trailing comma; remove the comma before the closing bracket",
    );
    check("{a: 1}", "line 7: invalid JSON at column 2: key must be a string; put keys in double quotes");
    check("{'a': 1}", "line 7: invalid JSON at column 2: key must be a string; put keys in double quotes");
    check(
        "[NaN]",
        "line 7: invalid JSON at column 2: expected value; write JSON: texts in double quotes, true, false, null, and \
         finite numbers",
    );
    let half = "a \\u escape is half of a surrogate pair; write the character itself, or both halves; such halves come from \
                texts that were cut";
    check(r#"["\ud83d"]"#, &format!("line 7: invalid JSON at column 9: {half}"));
    check(r#"["\ude00"]"#, &format!("line 7: invalid JSON at column 8: {half}"));
    check(
        "[\"\u{0}\"]",
        "line 7: invalid JSON at column 3: a text holds a control character; escape it, a line break as \\n",
    );
    let deep = "[".repeat(100_000);
    check(
        &deep,
        "line 7: lists and objects are nested too deeply at column 128; keep to fewer than 128 levels",
    );
}

#[test]
fn what_a_row_takes_in_memory_is_limited() {
    let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
    check(&many, "line 7: the row has more than 200000 values; divide it into several rows");
    let fewer = format!("[{}0]", "0,".repeat(MAX_VALUES - 2));
    assert!(parse(7, &fewer).is_ok());
}

proptest! {
    /// What the library reads is read, as the same.
    #[test]
    fn any_text_is_read_as_the_library_reads_it(text in r#"(\{|\}|\[|\]|,|:|"|\\|a|1|-|\.|e|null|true|"a":|\PC){0,24}"#) {
        match (parse(1, &text), serde_json::from_str::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours.to_value(), theirs),
            (Err(found), Ok(_)) => prop_assert!(
                found.iter().all(|finding| matches!(finding.code, Code::DuplicateKey | Code::NumberOutOfRange))
            ),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => prop_assert!(false, "{error}"),
        }
    }
}
