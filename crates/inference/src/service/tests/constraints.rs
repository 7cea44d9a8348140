//! Answers of a given form, of tiny random models.

use hearth_data::ToolCall;
use serde_json::Value;

use super::*;
use crate::{Constraint, Tool};

fn constrained(request: GenerateRequest, constraint: Constraint) -> GenerateRequest {
    GenerateRequest { constraint: Some(constraint), max_tokens: 160, ..request }
}

/// A schema whose answers are short.
fn schema() -> Value {
    json!({"type": "object", "properties": {
        "sky": {"enum": ["clear", "grey"]}, "wind": {"type": "integer", "minimum": 0, "maximum": 12},
        "rain": {"type": "boolean"}}, "required": ["sky", "wind", "rain"], "additionalProperties": false})
}

#[test]
fn answers_keep_to_the_schema_or_say_that_they_were_cut() {
    let mut fixture = Fixture::new(Limits::default());
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut complete = 0;
    for seed in 0..10 {
        let request = constrained(sampled(fixture.request("hi"), seed), Constraint::JsonSchema(schema()));
        let answer = fixture.answer(request);
        match answer.reason {
            FinishReason::Stop => {
                let value: Value = serde_json::from_str(&answer.text()).unwrap();
                assert!(validator.is_valid(&value), "{value}");
                complete += 1;
            }
            FinishReason::Length => assert_eq!(answer.usage.completion_tokens, 160),
        }
    }
    assert!(complete >= 5, "{complete}");

    let request = constrained(sampled(fixture.request("hi"), 1), Constraint::JsonSchema(schema()));
    let cut = fixture.answer(GenerateRequest { max_tokens: 3, ..request });
    assert_eq!((cut.reason, cut.usage.completion_tokens), (FinishReason::Length, 3));
    assert!(serde_json::from_str::<Value>(&cut.text()).is_err());
}

#[test]
fn an_answer_that_nothing_may_follow_ends_without_an_end_token() {
    let mut fixture = Fixture::new(Limits::default());
    let grammar = Constraint::Grammar("root ::= \"ab\"".to_owned());
    let answer = fixture.answer(constrained(fixture.request("hi"), grammar));
    assert_eq!((answer.text().as_str(), answer.reason), ("ab", FinishReason::Stop));
    let ids = Tokenizer::open(&fixture.base_dir()).unwrap().encode("ab").unwrap();
    assert!(answer.usage.completion_tokens <= ids.len().max(2));
}

#[test]
fn constrained_sequences_change_nothing_for_others_nor_others_for_them() {
    let mut fixture = Fixture::new(Limits { max_batch: 4, ..Limits::default() });
    let requests: Vec<GenerateRequest> = (0..9)
        .map(|i| {
            let request = sampled(fixture.request(&"x7 ".repeat(1 + 20 * i)), i as u64);
            match i % 3 {
                0 => request,
                1 => constrained(request, Constraint::json_object()),
                _ => constrained(request, Constraint::JsonSchema(schema())),
            }
        })
        .collect();
    let alone: Vec<Answer> = requests.iter().map(|request| fixture.answer(request.clone())).collect();
    let generations: Vec<Generation> = requests
        .iter()
        .map(|request| {
            let generation = fixture.submit(request.clone()).unwrap();
            assert!(fixture.scheduler.step() && fixture.scheduler.step());
            generation
        })
        .collect();
    let together: Vec<Answer> =
        generations.into_iter().map(|generation| fixture.finish(generation).unwrap()).collect();
    assert_eq!(together, alone);
}

#[test]
fn each_choice_goes_its_own_way_through_a_constraint() {
    let mut fixture = Fixture::new(Limits::default());
    let grammar = Constraint::Grammar("root ::= [a-z]{4}".to_owned());
    let request = constrained(sampled(fixture.request("hi"), 3), grammar);
    let many = fixture.submit(GenerateRequest { n: 6, ..request }).unwrap();
    let texts: Vec<String> = fixture.finish_all(many).unwrap().iter().map(Answer::text).collect();
    assert!(texts.iter().all(|text| text.len() == 4 && text.chars().all(|c| c.is_ascii_lowercase())));
    assert!(texts.iter().any(|text| *text != texts[0]), "{texts:?}");
}

#[test]
fn a_constraint_that_is_not_supported_is_refused_by_its_field() {
    let fixture = Fixture::new(Limits::default());
    let refused = |constraint: Constraint| {
        fixture.submit(constrained(fixture.request("hi"), constraint)).err().unwrap().to_string()
    };
    let message = refused(Constraint::JsonSchema(json!({"not": {}})));
    assert_eq!(message, "response_format is not supported: the keyword \"not\" is not supported");
    let message = refused(Constraint::Grammar("root ::= x".to_owned()));
    let expect = "response_format has an error in its grammar: line 1, column 10: the rule is not defined";
    assert_eq!(message, expect);
    let request = constrained(fixture.request("hi"), Constraint::json_object());
    let error = fixture.submit(GenerateRequest { ignore_eos: true, ..request }).err().unwrap();
    assert_eq!(error.to_string(), "ignore_eos does not go with an answer of a given form, which ends");
}

#[test]
fn tools_need_a_template_that_shows_them() {
    let fixture = Fixture::new(Limits::default());
    let function = json!({"type": "function", "function": {"name": "go", "parameters": {"type": "object"}}});
    let with_tools = |request: GenerateRequest| {
        let chat =
            ChatInput { messages: messages("hi"), tools: vec![function.clone()], truncate_tokens: None };
        GenerateRequest { inputs: vec![Input::Chat(chat)], ..request }
    };
    let because = "with this model: its chat template does not show tools; describe them in a system message and ask \
                   for JSON by response_format";
    let error = fixture.submit(with_tools(fixture.request("hi"))).err().unwrap();
    assert_eq!(error.to_string(), format!("tools cannot be used {because}"));
    let call = ToolCall { id: "1".to_owned(), name: "go".to_owned(), arguments: Default::default() };
    let said = Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") };
    let request = GenerateRequest::chat(fixture.model(), vec![said]);
    let error = fixture.submit(request).err().unwrap();
    assert_eq!(error.to_string(), format!("messages hold calls of tools, which cannot be used {because}"));

    let template = "{% if tools %}{{ tools | tojson }} <tool_call>{% endif %}{% for m in messages %}\
        {{ m.content }}<|im_end|>{% endfor %}";
    fs::write(fixture.base_dir().join("chat_template.jinja"), template).unwrap();
    let mut other = Fixture { dir: fixture.dir, ..Fixture::new(Limits::default()) };
    let plain = other.submit(other.request("hi")).unwrap();
    assert_eq!((plain.tool_form(), plain.prompts()[0].text.contains("\"go\"")), (None, false));
    let tools = vec![Tool { name: "go".to_owned(), parameters: json!({"type": "object", "properties": {}}) }];
    let calls = Constraint::ToolCalls { tools, parallel: false };
    let request = constrained(with_tools(sampled(other.request("hi"), 4)), calls);
    let generation = other.submit(request).unwrap();
    assert_eq!(generation.tool_form(), Some(hearth_data::ToolForm::Tags));
    assert!(generation.prompts()[0].text.contains("\"go\""));
    let answer = other.finish(generation).unwrap();
    assert!(answer.text().starts_with("<tool_call>\n{"), "{}", answer.text());
}
