//! Grammars, the texts that they allow, and the sentences for wrong ones.

use crate::constraint::Constraint;
use crate::constraint::tests::{accepts, compile};

#[track_caller]
fn check(grammar: &str, good: &[&str], bad: &[&str]) {
    let guide =
        compile(&Constraint::Grammar(grammar.to_owned())).unwrap_or_else(|e| panic!("{grammar}: {e}"));
    good.iter().for_each(|text| assert!(accepts(&guide, text), "{grammar} does not allow {text:?}"));
    bad.iter().for_each(|text| assert!(!accepts(&guide, text), "{grammar} allows {text:?}"));
}

#[test]
fn grammars_without_recursion_allow_their_texts_and_no_others() {
    check("root ::= \"yes\" | \"no\"", &["yes", "no"], &["", "y", "yesno", "maybe"]);
    check("root ::= [a-z]+ \"x\"", &["ax", "xx", "xxx", "abcx"], &["x", "a", "axa"]);
    check("root ::= [^a-c\\n] . ", &["dx", "ü\n", "🐎ž"], &["ax", "\nx", "d", "dxx"]);
    check("root ::= (\"a\" | \"b\" \"c\"){2,3}", &["aa", "abc", "bcbcbc"], &["a", "aaaa", "bb"]);
    check("root ::= \"a\"{2} \"b\"{,2} \"c\"{1,} \"d\"{0}", &["aac", "aabbcc"], &["aabbb", "ac", "aacd"]);
    check("root ::= \"\\x41\\u00e9\\U0001F40E\\\"\\\\\\t/\"", &["Aé🐎\"\\\t/"], &["A"]);
    check("root ::= [\\]\\-\\^a-]+", &["]-^a", "-"], &["b", "["]);
    check("root ::= \"\" | \"a\"", &["", "a"], &["aa"]);
    check(
        "# a comment\nroot ::= item (\n  \",\" item # here\n)*\n\nitem ::=\n  \"a\"\n  | \"b\"\n",
        &["a", "a,b", "b,b,a"],
        &["", ",", "a,"],
    );
}

#[test]
fn recursive_grammars_do_too() {
    check("root ::= \"(\" root \")\" | \"\"", &["", "()", "((()))"], &["(", ")", "()()", "(()"]);
    check("root ::= root \"+\" [0-9]+ | [0-9]+", &["1", "12+3", "1+2+3"], &["", "+", "1+", "1++2"]);
    // A lexeme must not take what comes after it, nor hide one that begins in the same way.
    check(
        "root ::= [a-z]+ \"x\" (\"(\" root \")\")?",
        &["ax", "abx(xx)", "xx(yx(zx))"],
        &["x", "ab", "ax()"],
    );
    check(
        "root ::= (\"abc\" | [a-b]) root?  \"!\"",
        &["a!", "abc!", "ab!!", "aabc!!", "ababc!!!"],
        &["ac!", "abcb!"],
    );
    check(
        "root ::= value\nvalue ::= list | word\nlist ::= \"[\" (value (\", \" value)*)? \"]\"\nword ::= [a-zé]+",
        &["[]", "é", "[a, [b, []], cé]"],
        &["[", "[a,b]", "[a, ]", "a b"],
    );
}

#[test]
fn errors_have_a_line_and_a_column() {
    let check = |grammar: &str, expect: &str| {
        let message = compile(&Constraint::Grammar(grammar.to_owned())).err().unwrap_or_default();
        assert_eq!(message.strip_prefix("response_format has "), Some(expect), "{grammar}");
    };
    let at = |place: &str| format!("an error in its grammar: {place}");
    check("", &at("it has no rule \"root\", where answers begin"));
    check("a ::= \"b\"", &at("it has no rule \"root\", where answers begin"));
    check("root ::= \"a", &at("line 1, column 10: the text has no closing quote"));
    check("root ::= \"a\"\nx ::= [a", &at("line 2, column 7: the class has no closing bracket"));
    check("root ::= x", &at("line 1, column 10: the rule is not defined"));
    check("root = \"a\"", &at("line 1, column 6: \"::=\" is expected"));
    check("root ::= \"a\"\nroot ::= \"b\"", &at("line 2, column 1: the rule is defined already"));
    check("root ::= (\"a\"", &at("line 1, column 14: \")\" is expected"));
    check("root ::= \"a\")", &at("line 1, column 13: this is no part of a rule"));
    check("root ::= * \"a\"", &at("line 1, column 10: there is nothing to repeat"));
    check(
        "root ::= \"a\"{2,1}",
        &at("line 1, column 13: a repetition is {m}, {m,} or {m,n} with n from m on"),
    );
    check("root ::= \"a\"{1000000}", &at("line 1, column 14: a part may be repeated 10000 times"));
    check("root ::= \"a\"**", &at("line 1, column 14: a repetition of a repetition needs parentheses"));
    check("root ::= [z-a]", &at("line 1, column 11: the range ends before it begins"));
    check("root ::= []", &at("line 1, column 10: the class is empty"));
    check(
        "root ::= \"\\q\"",
        &at(
            "line 1, column 11: the escapes are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH",
        ),
    );
    check("root ::= \"\\xg1\"", &at("line 1, column 11: 2 hexadecimal digits of a character are expected"));
    check("root ::= \"\\ud800\"", &at("line 1, column 11: 4 hexadecimal digits of a character are expected"));
    check("root ::= <[7]>", &at("line 1, column 10: tokens are not supported; write their text in quotes"));
    check(
        "root ::= \"\\",
        &at(
            "line 1, column 11: the escapes are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH",
        ),
    );
    check("root ::= root", "a grammar with a rule that leads to itself and never ends");
    let groups = format!("root ::= {}", "(".repeat(40));
    check(&groups, &at("line 1, column 42: groups may be nested 32 deep"));
    let long = format!("root ::= \"{}\"", "a".repeat(70_000));
    check(&long, &at("it has 70011 bytes and may have 65536"));
    check(
        "root ::= (\"a\"{10000}){10000}",
        "a grammar whose shortest text is longer than 1048576 characters",
    );
}
