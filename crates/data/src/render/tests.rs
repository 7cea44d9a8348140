//! Masks, prefixes, and what is refused.

mod left_out;
mod thoughts;

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::row::Role::{Assistant, System, Tool, User};
use crate::row::{Conversation, Role, ToolCall};
use crate::template::process::{RenderReply, RenderRequest};
use crate::tokenizer::SpecialTokens;

fn tiny_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny")
}

fn tiny(template_override: Option<&str>) -> Renderer {
    Renderer::open(&tiny_dir(), template_override).expect("the fixture opens")
}

fn chat(messages: &[(Role, &str)]) -> Row {
    chat_of(messages.iter().map(|(role, text)| Message::new(*role, *text)).collect())
}

fn chat_of(messages: Vec<Message>) -> Row {
    Row::new(3, RowContent::Chat(Conversation { messages, tools: Vec::new() }))
}

fn messages(row: &mut Row) -> &mut Vec<Message> {
    let RowContent::Chat(conversation) = &mut row.content else { unreachable!() };
    &mut conversation.messages
}

fn samples(renderer: &Renderer, row: &Row) -> Result<Vec<Sample>, Finding> {
    renderer.render(row, usize::MAX).map(|rendered| rendered.samples)
}

/// The samples' texts with the trained spans in `⟦⟧`, one on a line of its own, or the error.
fn marked(renderer: &Renderer, row: &Row) -> String {
    match samples(renderer, row) {
        Ok(samples) => {
            let texts: Vec<String> = samples.iter().map(|sample| marked_sample(renderer, sample)).collect();
            texts.join("\n====\n")
        }
        Err(error) => error.to_string(),
    }
}

fn marked_sample(renderer: &Renderer, sample: &Sample) -> String {
    assert_eq!(sample.tokens.len(), sample.weights.len());
    let mut out = String::new();
    let mut start = 0;
    while start < sample.tokens.len() {
        let weight = sample.weights[start];
        let len = sample.weights[start..].iter().take_while(|w| **w == weight).count();
        let text = renderer.tokenizer.decode(&sample.tokens[start..start + len], false).expect("it decodes");
        out += &if weight > 0.0 { format!("⟦{text}⟧") } else { text };
        start += len;
    }
    out
}

#[track_caller]
fn check(renderer: &Renderer, row: &Row, expect: &str) {
    assert_eq!(marked(renderer, row), expect);
}

#[test]
fn every_answer_and_its_end_is_trained_and_nothing_else() {
    let renderer = tiny(None);
    check(
        &renderer,
        &chat(&[(User, "q"), (Assistant, "a")]),
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n",
    );
    check(
        &renderer,
        &chat(&[(System, "s"), (User, "q"), (Assistant, "two\nlines"), (User, "r"), (Assistant, "")]),
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦two\nlines<|im_end|>⟧\n\
         <|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n⟦<|im_end|>⟧\n",
    );
}

#[test]
fn weight_0_takes_an_answer_out() {
    let mut row = chat(&[
        (System, "s"),
        (Assistant, "a"),
        (User, "q"),
        (Assistant, "b"),
        (User, "r"),
        (Assistant, "c"),
    ]);
    messages(&mut row)[1].trained = false;
    messages(&mut row)[5].trained = false;
    check(
        &tiny(None),
        &row,
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nq<|im_end|>\n\
         <|im_start|>assistant\n⟦b<|im_end|>⟧\n",
    );
}

#[test]
fn a_row_that_is_too_long_is_left_out_however_it_is_rendered() {
    let row = chat(&[(User, "q"), (Assistant, "a"), (User, "r"), (Assistant, "b")]);
    let renderer = tiny(None);
    let samples = samples(&renderer, &row).expect("a sample");
    let len = samples[0].tokens.len();
    assert_eq!(renderer.render(&row, len), Ok(Rendered { samples, ..Rendered::default() }));
    assert_eq!(renderer.render(&row, len - 1), Ok(Rendered { too_long: vec![len], ..Rendered::default() }));
    let single = chat(&[(User, "q"), (Assistant, "a")]);
    assert_eq!(renderer.render(&single, 5).expect("it renders").samples, []);
}

#[test]
fn completions_end_with_the_end_token() {
    let content = RowContent::Completion { prompt: "The answer ".into(), completion: "is four".into() };
    let row = Row::new(9, content);
    check(&tiny(None), &row, "The answer ⟦is four<|im_end|>⟧");
    let tokenizer = |config: &str| {
        let config: Value = serde_json::from_str(config).expect("JSON");
        let text = include_str!("../../tests/fixtures/tiny/tokenizer.json");
        Tokenizer::from_parts(text, &config, &Value::Null).expect("it opens")
    };
    let with_bos =
        tokenizer(r#"{"bos_token": "<|endoftext|>", "add_bos_token": true, "eos_token": "<|im_end|>"}"#);
    check(
        &Renderer::new(with_bos, None).expect("it opens"),
        &row,
        "<|endoftext|>The answer ⟦is four<|im_end|>⟧",
    );
    check(
        &Renderer::new(tokenizer("{}"), None).expect("it opens"),
        &row,
        "line 9: the tokenizer has no eos_token, which must end a completion; use another base, or rows with messages",
    );
}

#[test]
fn the_mask_is_that_of_a_template_with_generation_tags() {
    let golden: Value =
        serde_json::from_str(include_str!("../../tests/fixtures/golden.json")).expect("the fixture is JSON");
    let renderer = tiny(golden["generation_template"].as_str());
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().expect("a list").iter().map(|n| n.as_u64().expect("a number") as u32).collect()
    };
    for case in golden["masks"].as_array().expect("a list") {
        let row = Row::from_text(1, &case.to_string()).expect("a row");
        let sample = samples(&renderer, &row).expect("a sample").remove(0);
        assert_eq!(sample.tokens, numbers(&case["ids"]));
        assert_eq!(sample.weights.iter().map(|w| *w as u32).collect::<Vec<_>>(), numbers(&case["mask"]));
    }
}

#[test]
fn an_answer_that_the_tokenizer_would_join_with_the_prompt() {
    let renderer = tiny(None);
    let tokenizer = renderer.tokenizer();
    let joined = tokenizer.encode("assistant\n\n\nyes").expect("it encodes");
    let apart = tokenizer.encode("assistant\n").expect("it encodes");
    assert!(!joined.starts_with(&apart), "the fixture joins line breaks");
    // As the last turn it is kept apart from the prompt, as it will be when the model writes it.
    let row = chat(&[(System, "s"), (User, "q"), (Assistant, "\n\nyes")]);
    check(
        &renderer,
        &row,
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦\n\nyes<|im_end|>⟧\n",
    );
    let mut row = row;
    let prompt = renderer.prompt(&messages(&mut row)[..2], &[]).expect("a prompt");
    assert!(samples(&renderer, &row).expect("a sample")[0].tokens.starts_with(&prompt));
    // Before another trained turn it stands in two forms, each where it is the model's: two samples.
    let start = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n";
    let mut row = chat(&[(System, "s"), (User, "q"), (Assistant, "\n\nyes"), (User, "r"), (Assistant, "no")]);
    check(
        &renderer,
        &row,
        &format!(
            "{start}⟦\n\nyes<|im_end|>⟧\n\n====\n{start}\n\nyes<|im_end|>\n<|im_start|>user\nr<|im_end|>\n\
             <|im_start|>assistant\n⟦no<|im_end|>⟧\n"
        ),
    );
    let prompt = renderer.prompt(&messages(&mut row)[..4], &[]).expect("a prompt");
    assert!(samples(&renderer, &row).expect("samples")[1].tokens.starts_with(&prompt));
}

#[test]
fn each_answer_is_learnt_in_the_text_that_serving_has_for_it() {
    // Earlier answers are shortened when more follows.
    let forgetful = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}...{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let first = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n";
    let second = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n...<|im_end|>\n<|im_start|>user\nr<|im_end|>\n\
                  <|im_start|>assistant\n⟦b<|im_end|>⟧\n";
    let mut row = chat(&[(User, "q"), (Assistant, "a"), (User, "r"), (Assistant, "b"), (User, "s")]);
    check(&tiny(Some(forgetful)), &row, &format!("{first}\n====\n{second}"));
    messages(&mut row)[1].trained = false;
    check(&tiny(Some(forgetful)), &row, second);
    // Of two samples, one may be too long.
    messages(&mut row)[1].trained = true;
    let whole = tiny(Some(forgetful)).render(&row, 1000).expect("it renders").samples;
    let rendered = tiny(Some(forgetful)).render(&row, whole[0].tokens.len()).expect("it renders");
    assert_eq!(
        rendered,
        Rendered { samples: vec![whole[0].clone()], too_long: vec![whole[1].tokens.len()], left_out: vec![] }
    );
}

/// As the thinking models of 2025 write it: thoughts only behind the last question, a switch, empty thoughts.
const THINKING: &str = "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}\
    {%- for m in messages %}{{- '[' + m.role + ']' }}{%- if m.role == 'assistant' and loop.index0 > ns.last and (loop.last or m.reasoning_content) %}{{- '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{%- endif %}{{- m.content }}\
    {%- if m.tool_calls %}{%- for call in m.tool_calls %}{{- '(' + call.function.name + (call.function.arguments | tojson) + ')' }}{%- endfor %}{%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}\
    {%- if add_generation_prompt %}{{- '[assistant]' }}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}";

#[test]
fn an_answer_ends_with_its_turn_though_the_conversation_ends_with_another_token() {
    let phi = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_start|>\n{% endfor %}\
        {% if add_generation_prompt %}[assistant]{% else %}{{ eos_token }}{% endif %}";
    let renderer = tiny(Some(phi));
    check(
        &renderer,
        &chat(&[(User, "q"), (Assistant, "a"), (User, "r"), (Assistant, "b")]),
        "[user]q<|im_start|>\n[assistant]⟦a<|im_start|>⟧\n[user]r<|im_start|>\n[assistant]⟦b<|im_start|>⟧\n<|im_end|>",
    );
    let stops: Vec<u32> =
        ["<|im_end|>", "<|im_start|>"].iter().filter_map(|t| renderer.tokenizer.token_id(t)).collect();
    assert_eq!(renderer.stop_ids(), stops);
    // What a template writes before the answer ends nothing.
    let thinking = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}{% endif %}";
    assert_eq!(tiny(Some(thinking)).stop_ids(), &stops[..1]);
}

#[test]
fn tokens_that_a_text_has_are_not_added_again() {
    let config =
        serde_json::json!({"bos_token": "<|endoftext|>", "add_bos_token": true, "eos_token": "<|im_end|>"});
    let text = include_str!("../../tests/fixtures/tiny/tokenizer.json");
    let tokenizer = Tokenizer::from_parts(text, &config, &Value::Null).expect("it opens");
    let renderer = Renderer::new(tokenizer, None).expect("it opens");
    let row = |prompt: &str, completion: &str| {
        Row::new(9, RowContent::Completion { prompt: prompt.into(), completion: completion.into() })
    };
    check(&renderer, &row("", "<|endoftext|>a<|im_end|>"), "<|endoftext|>⟦a<|im_end|>⟧");
    check(&renderer, &row("<|endoftext|>q", "a<|im_end|>"), "<|endoftext|>q⟦a<|im_end|>⟧");
    check(&renderer, &row("", "a"), "<|endoftext|>⟦a<|im_end|>⟧");
}

#[test]
fn a_long_row_of_many_answers_ends_soon() {
    let texts = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    let content = "x".repeat(1 << 20);
    let turns: Vec<(Role, &str)> = (0..64)
        .map(|index| if index % 2 == 0 { (User, content.as_str()) } else { (Assistant, "a") })
        .collect();
    let error = marked(&tiny(Some(texts)), &chat(&turns));
    let expect = "line 3: the row is too long for its 32 learnt answers: all that stands before each would be more than 1 GiB; \
                  divide the row";
    assert_eq!(error, expect);
}

#[test]
fn the_weight_of_a_row_is_that_of_its_tokens() {
    let mut row = chat(&[(User, "q"), (Assistant, "a")]);
    row.weight = Some(2.5);
    let sample = samples(&tiny(None), &row).expect("a sample").remove(0);
    let weights: Vec<f32> = sample.weights.into_iter().filter(|weight| *weight != 0.0).collect();
    assert_eq!(weights, [2.5, 2.5]);
}

#[test]
fn templates_whose_mask_cannot_be_told_are_refused() {
    // This template begins with a system message of its own, but only where there is a message.
    check(
        &tiny(None),
        &chat(&[(Assistant, "a"), (User, "q"), (Assistant, "b")]),
        "line 3, /messages/0: the chat template has no prompt for an answer to nothing; put a system or user message \
         before it, or give it weight 0",
    );
    let other = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[model]{% endif %}";
    check(
        &tiny(Some(other)),
        &chat(&[(User, "q"), (Assistant, "a")]),
        "line 3, /messages/1: the chat template does not write this turn behind the prompt that the model is given for \
         it, so the trained tokens cannot be told; change the template, or give the message weight 0",
    );
    let shortens = "{% for m in messages %}[{{ m.role }}]{{ m.content[:3] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    check(
        &tiny(Some(shortens)),
        &chat(&[(User, "question"), (Assistant, "answer")]),
        "line 3, /messages/1: the chat template does not write the text of this answer as it stands; remove it, or use a \
         template that writes it",
    );
    let endless = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    check(
        &tiny(Some(endless)),
        &chat(&[(User, "q"), (Assistant, "a")]),
        "line 3, /messages/1: the chat template writes no end-of-turn token after this turn, so the model would not \
         learn to stop; use a template that writes the eos_token there",
    );
    let strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}";
    check(
        &tiny(Some(strict)),
        &chat(&[(System, "s"), (User, "q"), (Assistant, "a")]),
        "line 3: chat template, line 1: refused the conversation: no system messages; change the row or the chat \
         template",
    );
}

#[test]
fn a_template_that_never_works_is_refused_at_once() {
    let open = |source: &str| Renderer::open(&tiny_dir(), Some(source)).err().expect("an error").to_string();
    assert_eq!(
        open("{{ raise_exception('never') }}"),
        "chat template, line 1: refused the conversation: never"
    );
    assert_eq!(
        open("{% for %}"),
        "chat template, line 1: syntax error: unexpected end of block, expected in"
    );
}

#[test]
fn the_end_of_turn_token_stops_generation() {
    assert_eq!(tiny(None).stop_ids(), [2]);
    let other_end = "{% for m in messages %}{{ m.content }}<|endoftext|>\n{% endfor %}";
    assert_eq!(tiny(Some(other_end)).stop_ids(), [2, 0]);
    check(
        &tiny(Some(other_end)),
        &chat(&[(User, "q"), (Assistant, "a")]),
        "q<|endoftext|>\n⟦a<|endoftext|>⟧\n",
    );
}

#[test]
fn the_template_is_found_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let copy = |name: &str| {
        std::fs::copy(tiny_dir().join(name), dir.path().join(name)).expect("the file is copied");
    };
    copy("tokenizer.json");
    let found = |template_override: Option<&str>| {
        let renderer = Renderer::open(dir.path(), template_override).expect("it opens");
        renderer.template().map(|template| template.source().chars().take(9).collect::<String>())
    };
    assert_eq!(found(None), None);
    copy("tokenizer_config.json");
    assert_eq!(found(None).as_deref(), Some("{% for me"));
    std::fs::write(dir.path().join("chat_template.jinja"), "from file").expect("the file is written");
    assert_eq!(found(None).as_deref(), Some("from file"));
    assert_eq!(found(Some("override")).as_deref(), Some("override"));
}

#[test]
fn without_a_template_there_is_no_chat() {
    let text = include_str!("../../tests/fixtures/tiny/tokenizer.json");
    let tokenizer = Tokenizer::from_parts(text, &Value::Null, &Value::Null).expect("it opens");
    let renderer = Renderer::new(tokenizer, None).expect("it opens");
    check(
        &renderer,
        &chat(&[(User, "q"), (Assistant, "a")]),
        "line 3: chat template: the model has none; give one, or use prompt and completion rows; change the row or the \
         chat template",
    );
    assert!(renderer.prompt(&[Message::new(User, "q")], &[]).is_err());
}

const GEMMA_LIKE: &str = "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}";

fn texts() -> impl Strategy<Value = String> {
    // White space, line breaks, digits, wide characters and special tokens inside contents.
    proptest::collection::vec(
        prop_oneof![
            "[a-z]{1,6}".prop_map(String::from),
            "\\PC{0,4}".prop_map(String::from),
            proptest::sample::select(vec![
                " ",
                "\n",
                "\n\n\n",
                "  ",
                "\t",
                "7",
                "🐎",
                "<|im_end|>",
                "<|im_start|>",
                "assistant\n"
            ])
            .prop_map(String::from),
        ],
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// For each trained answer, the serving prompt's ids stand before it in the sample; what follows, up to the
    /// end token, is what is trained.
    #[test]
    fn serving_prompts_are_prefixes_of_samples(
        turns in proptest::collection::vec((texts(), texts(), any::<bool>()), 1..4),
        system in proptest::option::of(texts()),
        own_template in any::<bool>(),
    ) {
        let renderer = tiny(own_template.then_some(GEMMA_LIKE));
        let mut messages: Vec<Message> = system.iter().map(|text| Message::new(System, text.as_str())).collect();
        for (question, answer, trained) in &turns {
            messages.push(Message::new(User, question.as_str()));
            messages.push(Message { trained: *trained, ..Message::new(Assistant, answer.as_str()) });
        }
        let trained: Vec<usize> =
            (0..messages.len()).filter(|i| messages[*i].role == Assistant && messages[*i].trained).collect();
        prop_assume!(!trained.is_empty());
        let row = chat_of(messages.clone());
        match samples(&renderer, &row) {
            Ok(samples) => {
                let template = renderer.template().expect("a template");
                let decode = |ids: &[u32]| renderer.tokenizer().decode(ids, false).expect("it decodes");
                let mut left = trained.iter().copied().peekable();
                for sample in &samples {
                    let mut expect = vec![0.0; sample.tokens.len()];
                    let mut text = String::new();
                    while let Some(index) = left.peek() {
                        let prompt = renderer.prompt(&messages[..*index], &[]).expect("a prompt");
                        let is_here = sample.tokens.starts_with(&prompt);
                        if !is_here || sample.weights.get(prompt.len()) != Some(&1.0) {
                            break;
                        }
                        text = template.render(&messages[..=*index], &[], false).expect("it renders");
                        let so_far = template.render(&messages[..*index], &[], true).expect("it renders");
                        let answer = text.strip_prefix(&so_far).expect("a prefix").trim_end_matches('\n');
                        let mut end = prompt.len();
                        while decode(&sample.tokens[prompt.len()..end]) != answer {
                            prop_assert!(end < sample.tokens.len());
                            expect[end] = 1.0;
                            end += 1;
                        }
                        prop_assert_eq!(sample.tokens[end - 1], 2);
                        left.next();
                    }
                    prop_assert_eq!(&sample.weights, &expect);
                    prop_assert_eq!(decode(&sample.tokens), text);
                }
                prop_assert!(left.next().is_none(), "each answer is learnt once");
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

/// What a template does with a row is told where the row, as it was written, has it.
#[test]
fn faults_point_into_other_spellings() {
    let template = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<{{ m.role }}>{{ m.content }}<|im_end|>\
        {% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    let pointers = |text: &str| -> Vec<String> {
        let row = Row::from_text(3, text).expect("a good row");
        match tiny(Some(template)).render(&row, usize::MAX) {
            Ok(rendered) => rendered.left_out.into_iter().map(|finding| finding.pointer).collect(),
            Err(finding) => vec![finding.pointer],
        }
    };
    let call =
        r#"{"from": "function_call", "value": "{\"name\": \"look\", \"arguments\": {}}", "weight": 0}"#;
    let rest = r#"{"from": "observation", "value": "found"}, {"from": "gpt", "value": "a"}"#;
    let share = format!(r#""conversations": [{{"from": "human", "value": "q"}}, {call}, {rest}]"#);
    assert_eq!(
        pointers(&format!(r#"{{"system": "be brief", {share}}}"#)),
        ["/system", "/conversations/1/value", "/conversations/2"]
    );
    let call = call.replace(r#", "weight": 0"#, "");
    assert_eq!(
        pointers(&format!(
            r#"{{"system": "be brief", "conversations": [{{"from": "human", "value": "q"}}, {call}]}}"#
        )),
        ["/conversations/1"]
    );
    assert_eq!(
        pointers(
            r#"{"functions": [{"name": "look"}], "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#
        ),
        ["/functions"]
    );
}

/// Large floats of a row's tools are written as Python writes them.
#[test]
fn large_numbers_are_written_as_python_writes_them() {
    let numbers =
        r#"{"a": 1e30, "b": 1.7976931348623157e308, "c": -9223372036854775809.0, "d": 18446744073709551615}"#;
    let row = format!(
        r#"{{"tools": [{{"name": "f", "parameters": {numbers}}}], "messages": [{{"role": "assistant", "content": "a"}}]}}"#
    );
    let row = Row::from_text(1, &row).expect("a good row");
    let RowContent::Chat(Conversation { messages, tools }) = &row.content else { unreachable!() };
    let template =
        ChatTemplate::compile("{{ tools[0].function.parameters | tojson }}", &SpecialTokens::default());
    assert_eq!(
        template.expect("it compiles").render(messages, tools, false).expect("it renders"),
        r#"{"a": 1e+30, "b": 1.7976931348623157e+308, "c": -9.223372036854776e+18, "d": 18446744073709551615}"#
    );
}

#[test]
fn the_special_tokens_reach_the_template() {
    let special = SpecialTokens { bos: Some("<|endoftext|>".into()), ..Default::default() };
    let template = ChatTemplate::compile("{{ bos_token }}{{ eos_token }}|", &special).expect("it compiles");
    assert_eq!(template.render(&[], &[], false).expect("it renders"), "<|endoftext|>|");
}

/// What a process of its own says gives the same ids as rendering here.
#[test]
fn texts_from_outside_give_the_same_ids() {
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}\
        {% else %}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    let inside = tiny(Some(template));
    let outside = Renderer::new(Tokenizer::open(&tiny_dir()).expect("it opens"), None).expect("it opens");
    let messages = [Message::new(System, "s"), Message::new(User, "a \"q\"\n\u{0}é")];
    let request = RenderRequest::new(template, inside.tokenizer().special_tokens(), &messages, &[]);
    let request = serde_json::to_vec(&request).expect("JSON");
    let reply = serde_json::from_slice::<RenderRequest>(&request).expect("a request").render();
    let RenderReply::Rendered { prompt, answer } = reply else { panic!("{reply:?}") };
    assert_eq!(outside.prompt_from_text(&prompt).expect("ids"), inside.prompt(&messages, &[]).expect("ids"));
    assert_eq!(outside.stop_ids_from_text(&answer).expect("ids"), inside.stop_ids());

    let refuses =
        RenderRequest::new("\n{{ raise_exception('no') }}", &SpecialTokens::default(), &messages, &[]);
    let message = "refused the conversation: no".to_owned();
    assert_eq!(refuses.render(), RenderReply::Error { message, line: Some(2) });
}

/// What another process writes makes the sample that the trainer makes in its own.
#[track_caller]
fn check_apart(template: &str, row: &Row, max_tokens: usize) {
    let inside = tiny(Some(template));
    let outside = Renderer::new(Tokenizer::open(&tiny_dir()).unwrap(), None).unwrap();
    let RowContent::Chat(conversation) = &row.content else { unreachable!() };
    let request = RenderRequest::for_training(template, outside.tokenizer().special_tokens(), conversation);
    let request: RenderRequest = serde_json::from_slice(&serde_json::to_vec(&request).unwrap()).unwrap();
    let reply = serde_json::to_vec(&request.render()).unwrap();
    let expect = inside.render(row, max_tokens);
    match serde_json::from_slice(&reply).unwrap() {
        RenderReply::Turns { turns, answer } => {
            assert!(turns.is_sound());
            let stop_ids = outside.stop_ids_from_text(&answer).unwrap();
            assert_eq!(stop_ids, inside.stop_ids());
            assert_eq!(outside.render_turns(row, &turns, &stop_ids, max_tokens), expect);
        }
        RenderReply::Fault { fault } => assert_eq!(fault.at(row), expect.unwrap_err()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn samples_are_the_same_from_another_process() {
    let own = crate::template::source_of(&tiny_dir()).unwrap().unwrap();
    // Writes the last turn in another way, refuses a word, and writes no end.
    let unstable = "{% for m in messages %}{{ m.role }}{% if not loop.last %}+{% endif %}{{ m.content }}<|im_end|>\
        {% endfor %}{% if add_generation_prompt %}assistant{% endif %}";
    let refuses = "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('not this') }}{% endif %}\
        [{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    let endless = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}\
        {% if add_generation_prompt %}[assistant]{% endif %}";
    let long = "word ".repeat(100);
    let mut rows = vec![
        chat(&[(User, "q"), (Assistant, "a")]),
        chat(&[(System, "s"), (User, "q"), (Assistant, "é\n"), (User, "🦀"), (Assistant, " b ")]),
        chat(&[(User, "q"), (Assistant, "a"), (User, "no"), (Assistant, "b")]),
        chat(&[(Assistant, "first"), (User, "q"), (Assistant, "a")]),
        chat(&[(User, "q"), (Assistant, &long), (User, "q"), (Assistant, "a")]),
        chat(&[(User, "q"), (Assistant, &long)]),
    ];
    messages(&mut rows[1])[2].trained = false;
    for template in [own.as_str(), unstable, refuses, endless] {
        for row in &rows {
            for max_tokens in [16, 64, 1000] {
                check_apart(template, row, max_tokens);
            }
        }
    }
}
