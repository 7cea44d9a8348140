//! Answers of random logits: whatever a model wants to say, what comes out has the form.

use std::path::Path;
use std::sync::OnceLock;

use hearth_data::Tokenizer;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

/// The end token of the tiny tokenizer.
const STOP: u32 = 2;
/// Its tokens, and some rows of a model's table that have none.
const LOGITS: usize = 440;

pub(super) fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/tiny");
    TOKENIZER.get_or_init(|| Tokenizer::open(&dir).unwrap())
}

pub(super) fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(|| Vocabulary::new(tokenizer()).unwrap())
}

pub(super) fn compile(constraint: &Constraint) -> Result<Guide, String> {
    constraint.compile(vocabulary(), Some(ToolForm::Tags)).map_err(|error| error.to_string())
}

fn schema(value: Value) -> Constraint {
    Constraint::JsonSchema(value)
}

/// Sets the logits of tokens that may not come to minus infinity.
fn restrict(guide: &mut Guide, logits: &mut [f32]) -> Result<(), crate::InferenceError> {
    let allowed = guide.allowed(&[STOP])?;
    for (id, logit) in logits.iter_mut().enumerate().filter(|(id, _)| !allowed.has(*id as u32)) {
        assert!(id < LOGITS);
        *logit = f32::NEG_INFINITY;
    }
    Ok(())
}

/// Whether the text can be written token by token, and whether the answer may end there.
pub(super) fn accepts(guide: &Guide, text: &str) -> bool {
    let mut guide = guide.clone();
    for id in tokenizer().encode(text).unwrap() {
        let mut logits = vec![0.0; LOGITS];
        if restrict(&mut guide, &mut logits).is_err() || logits[id as usize] != 0.0 {
            return false;
        }
        guide.take(id).unwrap();
    }
    let mut logits = vec![0.0; LOGITS];
    restrict(&mut guide, &mut logits).is_ok() && logits[STOP as usize] == 0.0
}

/// An answer of random logits that leans to closing what is open; `None` if it is not complete in time. `check` sees
/// every text that might be an answer: those after which the end token is allowed.
fn walk(guide: &Guide, seed: u64, most: usize, mut check: impl FnMut(&str)) -> Option<String> {
    let closing: Vec<u32> =
        ["\"", "}", "]", ":", ","].iter().flat_map(|text| tokenizer().encode(text).unwrap()).collect();
    let mut guide = guide.clone();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let lean = [0.0, 3.0, 9.0][(seed % 3) as usize];
    let mut ids = Vec::new();
    for _ in 0..most {
        let mut logits: Vec<f32> = (0..LOGITS)
            .map(|id| {
                let noise = (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
                noise * 10.0 + if closing.contains(&(id as u32)) { lean } else { 0.0 }
            })
            .collect();
        logits[STOP as usize] += 2.0;
        restrict(&mut guide, &mut logits).unwrap();
        let text = tokenizer().decode(&ids, false).unwrap();
        if logits[STOP as usize].is_finite() {
            check(&text);
        }
        let next = (0..LOGITS).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
        if next == STOP {
            return Some(text);
        }
        ids.push(next);
        if guide.take(next).unwrap() {
            let text = tokenizer().decode(&ids, false).unwrap();
            check(&text);
            return Some(text);
        }
    }
    None
}

fn schemas() -> Vec<Value> {
    let tree = json!({"type": "object", "properties": {
        "value": {"type": "number"}, "left": {"$ref": "#"}, "right": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["value"], "additionalProperties": false});
    vec![
        json!({"type": "object"}),
        json!({"type": "object", "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 5},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b\n", "ü", 1, null]}, "minItems": 1, "maxItems": 3}},
            "required": ["name", "age"], "additionalProperties": false}),
        tree,
        json!({"type": "array", "items": {"type": "boolean"}, "maxItems": 4}),
        json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind"]},
            {"type": "object", "properties": {"kind": {"const": "dog"}, "loud": {"type": "boolean"}}, "required": ["kind", "loud"]}]}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}},
            "patternProperties": {"^x-": {"type": "boolean"}}, "additionalProperties": {"type": "string"}}),
        json!({"type": "object", "properties": {"id": {"type": "string", "pattern": "^[a-c]{2}-[0-9]+$"},
            "day": {"type": "string", "format": "date"}, "key": {"type": "string", "format": "uuid"}},
            "required": ["id", "day"], "additionalProperties": false}),
        json!({"type": "number", "minimum": -2.5, "exclusiveMaximum": 10}),
        json!({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 100}),
        json!({"$defs": {"item": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
            "type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"enum": [1.5, true, "x"]}}, "required": ["b"]}]}),
        json!({"type": ["string", "null"], "maxLength": 3}),
        json!({"type": "array", "prefixItems": [{"const": {"a": [1, "b"]}}, {"type": "integer"}], "items": false, "minItems": 2}),
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2}),
        json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "minProperties": 1,
            "additionalProperties": false}),
        json!(true),
    ]
}

#[test]
fn every_complete_answer_parses_and_validates() {
    for schema in schemas() {
        let guide = compile(&super::tests::schema(schema.clone())).unwrap();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let mut complete = 0;
        for seed in 0..60 {
            let found = walk(&guide, seed, 120, |text| {
                let syntax = serde_json::from_str::<serde::de::IgnoredAny>(text);
                syntax.unwrap_or_else(|error| panic!("{schema} {text:?}: {error}"));
                match serde_json::from_str(text) {
                    Ok(value) => assert!(validator.is_valid(&value), "{schema} does not hold for {text}"),
                    // JSON has numbers that the reader has not.
                    Err(error) => assert!(error.to_string().starts_with("number out of range"), "{error}"),
                }
            });
            complete += usize::from(found.is_some());
        }
        assert!(complete >= 10, "{schema}: {complete} of 60");
    }
}

#[test]
fn good_answers_are_allowed() {
    let schemas = schemas();
    let check = |index: usize, texts: &[&str]| {
        let guide = compile(&schema(schemas[index].clone())).unwrap();
        for text in texts {
            assert!(accepts(&guide, text), "{} {text}", schemas[index]);
        }
    };
    check(0, &["{}", r#"{"a":1}"#, r#"{"a": [1, {"b": null}, "c\n"], "d": -1.5e3}"#, "{\n  \"a\": 1\n}"]);
    check(1, &[r#"{"name": "Ada", "age": 36}"#, r#"{"name":"žlu","age":0,"tags":["ü","b\n"]}"#]);
    check(2, &[r#"{"value": 1, "left": {"value": 2.5}, "right": null}"#]);
    check(4, &[r#"{"kind": "dog", "loud": false}"#, r#"{"kind": "cat"}"#]);
    check(5, &[r#"{"a": 1, "x-y": true, "b": "c"}"#]);
    check(12, &[r#"[{"a": [1, "b"]}, 7]"#]);
}

#[test]
fn an_answer_ends_only_when_it_is_complete() {
    let guide = compile(&Constraint::json_object()).unwrap();
    for text in ["", "{", "{\"a", "{\"a\":", "{\"a\":1", "{\"a\":1,", "[]", "1", " {}", "{}{}", "{\"a\":01}"]
    {
        assert!(!accepts(&guide, text), "{text:?}");
    }
}

#[test]
fn what_is_not_supported_is_named_with_its_place() {
    let check = |value: Value, expect: &str| {
        let message = compile(&schema(value.clone())).err().unwrap_or_default();
        assert_eq!(message, format!("response_format {expect}"), "{value}");
    };
    check(
        json!({"type": "object", "properties": {"a": {"not": {"type": "null"}}}}),
        "is not supported: at /properties/a, the keyword \"not\" is not supported",
    );
    check(
        json!({"type": "array", "uniqueItems": true}),
        "is not supported: the keyword \"uniqueItems\" is not supported",
    );
    check(
        json!({"type": "object", "x-guidance": {"lenient": true}}),
        "is not supported: the keyword \"x-guidance\" is not supported",
    );
    check(json!({"type": "thing"}), "is not supported: Invalid type: thing");
    check(json!({"type": "string", "format": "colour"}), "is not supported: Unknown format: colour");
    check(json!({"properties": 1}), "is not supported: properties must be an object");
    check(json!({"items": {"anyOf": {}}}), "is not supported: at /items, anyOf must be a list");
    check(
        json!({"properties": {"a": 1}}),
        "is not supported: at /properties/a, a schema must be an object, true or false",
    );
    check(json!(false), "has the schema false, which nothing validates against");
    check(json!([]), "is not supported: a schema must be an object, true or false");
    check(json!({"enum": []}), "is not supported: enum must not be empty");
    check(
        json!({"type": "string", "minLength": -1}),
        "is not supported: minLength must be a whole number from 0",
    );
    check(
        json!({"type": "string", "maxLength": 1_000_000_000}),
        "is not supported: maxLength may be at most 10000",
    );
    check(json!({"type": "number", "minimum": 1e300}), "is not supported: minimum may be up to 1e15");
    check(
        json!({"type": "integer", "multipleOf": 0}),
        "is not supported: multipleOf must be a number above 0",
    );
    check(
        json!({"$ref": "https://example.com/schema"}),
        "is not supported: $ref must lead to a schema of this document, as #/$defs/NAME does",
    );
    check(
        json!({"items": {"$ref": "#/$defs/b"}, "$defs": {"a": {}}}),
        "is not supported: at /items, $ref must lead to a schema of this document, as #/$defs/NAME does",
    );
    check(
        json!({"$ref": "#/hidden", "hidden": {"maxItems": 1_000_000_000_000u64}}),
        "is not supported: $ref must lead to a schema of this document, as #/$defs/NAME does",
    );
    let many: serde_json::Map<String, Value> = (0..301).map(|i| (i.to_string(), json!({}))).collect();
    check(json!({"properties": many}), "is not supported: properties may have at most 300 names");
    check(
        json!({"type": "object", "minProperties": 1}),
        "is not supported: minProperties needs additionalProperties to be false",
    );
    let both = json!({"oneOf": [{"type": "integer"}, {"type": "number"}]});
    assert!(compile(&schema(both)).is_err(), "it cannot be told which of the two holds");
}

#[test]
fn calls_of_tools_have_the_form_of_the_template() {
    let point = json!({"type": "object", "properties": {"at": {"$ref": "#/$defs/p"}}, "required": ["at"],
        "$defs": {"p": {"type": "integer"}}, "additionalProperties": false});
    let tool =
        |name: &str, parameters: &Value| Tool { name: name.to_owned(), parameters: parameters.clone() };
    let tools = vec![tool("go", &point), tool("stop", &json!({"type": "object", "properties": {}}))];
    let check = |form: ToolForm, parallel: bool, good: &[&str], bad: &[&str]| {
        let calls = Constraint::ToolCalls { tools: tools.clone(), parallel };
        let guide = calls.compile(vocabulary(), Some(form)).unwrap();
        good.iter().for_each(|text| assert!(accepts(&guide, text), "{form:?} {text}"));
        bad.iter().for_each(|text| assert!(!accepts(&guide, text), "{form:?} {text}"));
    };
    let go = "<tool_call>\n{\"name\": \"go\", \"arguments\": {\"at\": 3}}\n</tool_call>";
    let stop = "<tool_call>\n{\"name\":\"stop\",\"arguments\":{}}\n</tool_call>";
    let both = format!("{go}\n{stop}");
    check(ToolForm::Tags, true, &[go, stop, &both], &["", "x", "{}", &go[1..], &go[..20]]);
    check(ToolForm::Tags, false, &[go, stop], &[&both, &go.replace('3', "\"3\""), &go.replace("go", "gone")]);
    let go = r#"{"name": "go", "parameters": {"at": 3}}"#;
    check(ToolForm::Llama, true, &[go], &[&go.replace("parameters", "arguments"), &format!("{go}; {go}")]);
    let go = r#"{"name": "go", "arguments": {"at": 3}}"#;
    let (one, two) = (format!("[TOOL_CALLS] [{go}]"), format!("[TOOL_CALLS][{go}, {go}]"));
    check(ToolForm::Mistral, true, &[&one, &two], &["[TOOL_CALLS][]", go]);
    check(ToolForm::Mistral, false, &[&one], &[&two]);
    let (go_apart, stop_apart) = ("[TOOL_CALLS]go[ARGS]{\"at\": 3}", "[TOOL_CALLS]stop[ARGS]{}");
    let both = format!("{go_apart}{stop_apart}");
    let wrong = ["[TOOL_CALLS]go[ARGS]{}", "[TOOL_CALLS]on[ARGS]{}", "[TOOL_CALLS]", "go"];
    check(ToolForm::MistralArgs, true, &[go_apart, stop_apart, &both], &wrong);
    check(ToolForm::MistralArgs, false, &[go_apart], &[&both]);
    check(ToolForm::Unknown, true, &[go, &format!("{go}\n{go}")], &["", "[]"]);
    check(ToolForm::Unknown, false, &[go], &[&format!("{go}\n{go}")]);

    let calls = Constraint::ToolCalls { tools, parallel: true };
    assert_eq!(
        calls.compile(vocabulary(), Some(ToolForm::Functions)).err().map(|error| error.to_string()).unwrap(),
        "tools cannot be required of this model, which writes its calls as <function=NAME>: set tool_choice to \"auto\""
    );
    let wrong = Constraint::ToolCalls { tools: vec![tool("f", &json!({"if": {}}))], parallel: true };
    assert_eq!(
        compile(&wrong).err().unwrap(),
        "tools has a function \"f\" whose schema of parameters is not supported: the keyword \"if\" is not supported"
    );
}

/// Each is refused, or followed with bounded work: then some steps are tried. None may end the process.
#[test]
fn hostile_constraints_cost_little() {
    let mut deep = json!({"type": "integer"});
    let mut deep_any = json!({"type": "integer"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
        deep_any = json!({"anyOf": [deep_any, {"type": "null"}]});
    }
    let texts: Vec<String> = (0..2_000).map(|i| format!("{i:->100}")).collect();
    let properties: serde_json::Map<String, Value> =
        (0..300).map(|i| (format!("p{i}"), json!({"type": "string", "maxLength": 10_000}))).collect();
    let pattern = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let any_of = |n: usize| -> Value {
        (0..n).map(|i| json!({"type": "object", "properties": {format!("p{i}"): {"const": i}}})).collect()
    };
    let product: Vec<Value> = (0..30).map(|_| json!({"anyOf": any_of(8)})).collect();
    let mut schemas = vec![
        deep,
        deep_any,
        json!({"enum": texts}),
        json!({"type": "object", "properties": properties}),
        json!({"allOf": product}),
        json!({"oneOf": any_of(64)}),
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"],
            "allOf": [{"$ref": "#"}]}),
        json!({"type": "array", "minItems": 1000, "items": {"type": "array", "minItems": 1000,
            "items": {"type": "array", "minItems": 1000, "items": {"type": "integer"}}}}),
        json!({"type": "string", "minLength": 10_000, "maxLength": 10_000, "pattern": "(a|b)*a(a|b){100}"}),
        json!({"patternProperties": {"^(a|b)*a(a|b){50}$": {}, "^(a|b)*b(a|b){50}$": {}}}),
        json!({"type": "integer", "multipleOf": 999_999_937, "minimum": 1}),
        json!({"type": "number", "multipleOf": 1e-300}),
    ];
    schemas.extend(
        [
            "(a|b)*a(a|b){200}",
            "((a{1,500}){1,500}){1,500}",
            "(?:a?){1000}a{1000}",
            "(x+x+)+y",
            "^(([a-z])+.)+[A-Z]([a-z])+$",
            "\\p{L}{1000}",
            "[",
            "(?=a)b",
            "\\1",
            "\u{0}",
        ]
        .map(pattern),
    );
    let branches: Vec<Value> = (1..128)
        .map(|i| {
            let text = json!({"type": "string", "maxLength": i});
            let members: serde_json::Map<String, Value> =
                (0..8).map(|k| (format!("p{k}"), text.clone())).collect();
            json!({"type": "object", "properties": members, "required": ["p0"]})
        })
        .collect();
    schemas.push(json!({"anyOf": branches}));
    schemas.push(pattern(&"(".repeat(500)));
    schemas.push(pattern(&format!("{}a{}", "(".repeat(200), ")*".repeat(200))));
    schemas.push(pattern(&"a?".repeat(500)));
    let grammars = [
        "root ::= root",
        "root ::= root root | \"a\"",
        "root ::= root root root | \"a\" | \"\"",
        "root ::= root root root | [^x] | \"\"",
        "root ::= (a|b|c|d)+ (\"!\" root)?\na ::= [^a]{1,50}\nb ::= [^b]{1,60}\nc ::= [^c]{1,70}\nd ::= [^d]{1,80}",
        "root ::= (\"a\"? ){1,10000}",
        "root ::= ((\"a\"{1,10000}){1,10000}){1,10000}",
        "root ::= [a-b]* \"a\" [a-b]{1000}",
        "root ::= x{10000}\nx ::= \"(\" x \")\" | \"\"",
        "root ::= (a | b | c)*\na ::= b | c | \"x\"\nb ::= a | c | \"x\"\nc ::= a | b | \"x\"",
    ];
    let mut many = String::from("root ::= r1\n");
    (1..900).for_each(|i| many.push_str(&format!("r{i} ::= \"a\" r{}\n", i + 1)));
    many.push_str("r900 ::= \"a\"\n");
    let mut doubling = String::from("root ::= r1\n");
    (1..60).for_each(|i| doubling.push_str(&format!("r{i} ::= r{n} r{n}\n", n = i + 1)));
    doubling.push_str("r60 ::= \"a\"\n");
    let mut wide = String::from("root ::= root \"b\" | ");
    wide.push_str(&(0..4_000).map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(" | "));
    let texts = grammars.map(str::to_owned).into_iter().chain([many, doubling, wide, "(".repeat(60_000)]);

    let constraints = schemas.into_iter().map(Constraint::JsonSchema).chain(texts.map(Constraint::Grammar));
    for constraint in constraints {
        let Ok(mut guide) = compile(&constraint) else { continue };
        for step in 0..30 {
            let mut logits: Vec<f32> = (0..LOGITS).map(|id| ((id * 31 + step * 17) % 101) as f32).collect();
            if restrict(&mut guide, &mut logits).is_err() {
                break;
            }
            let next = (0..LOGITS).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
            if next == STOP || guide.take(next).unwrap_or(true) {
                break;
            }
        }
    }
}
