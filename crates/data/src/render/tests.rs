//! Masks, prefixes, and what is refused.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::row::Role;
use crate::row::Role::{Assistant, System, User};
use crate::template::process::{RenderReply, RenderRequest};
use crate::tokenizer::SpecialTokens;

fn tiny_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny")
}

fn tiny(template_override: Option<&str>) -> Renderer {
    Renderer::open(&tiny_dir(), template_override).expect("the fixture opens")
}

fn chat(messages: &[(Role, &str)]) -> Row {
    let messages = messages.iter().map(|(role, text)| Message::new(*role, *text)).collect();
    Row { line: 3, content: RowContent::Chat(messages) }
}

/// The sample's text with the trained spans in `⟦⟧`, or the error.
fn marked(renderer: &Renderer, row: &Row) -> String {
    let sample = match renderer.sample(row) {
        Ok(sample) => sample,
        Err(error) => return error.to_string(),
    };
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
    let RowContent::Chat(messages) = &mut row.content else { unreachable!() };
    messages[1].trained = false;
    messages[5].trained = false;
    check(
        &tiny(None),
        &row,
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nq<|im_end|>\n\
         <|im_start|>assistant\n⟦b<|im_end|>⟧\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n",
    );
    let RowContent::Chat(messages) = &mut row.content else { unreachable!() };
    messages[3].trained = false;
    check(&tiny(None), &row, "line 3: the row has no token to train");
}

#[test]
fn a_row_that_is_too_long_is_left_out_however_it_is_rendered() {
    let row = chat(&[(User, "q"), (Assistant, "a"), (User, "r"), (Assistant, "b")]);
    let renderer = tiny(None);
    let sample = renderer.sample(&row).expect("a sample");
    let len = sample.tokens.len();
    assert_eq!(renderer.sample_within(&row, len), Ok(Some(sample)));
    assert_eq!(renderer.sample_within(&row, len - 1), Ok(None));
    let single = chat(&[(User, "q"), (Assistant, "a")]);
    assert_eq!(renderer.sample_within(&single, 5), Ok(None));
}

#[test]
fn completions_end_with_the_end_token() {
    let row = Row {
        line: 9,
        content: RowContent::Completion { prompt: "The answer ".into(), completion: "is four".into() },
    };
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
        "line 9: the tokenizer has no eos_token, which must end a completion",
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
        let row = Row::from_value(1, case).expect("a row");
        let sample = renderer.sample(&row).expect("a sample");
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
    let RowContent::Chat(messages) = &row.content else { unreachable!() };
    let prompt = renderer.prompt(&messages[..2], &[]).expect("a prompt");
    assert!(renderer.sample(&row).expect("a sample").tokens.starts_with(&prompt));
    // Before another trained turn it would stand in two forms.
    check(
        &renderer,
        &chat(&[(User, "q"), (Assistant, "\n\nyes"), (User, "r"), (Assistant, "no")]),
        "line 3, /messages/3: an earlier answer begins with white space that the tokenizer joins with the text \
         before it; remove that white space",
    );
}

#[test]
fn templates_whose_mask_cannot_be_told_are_refused() {
    // Earlier answers are shortened when more follows.
    let forgetful = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}...{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let two = chat(&[(User, "q"), (Assistant, "a"), (User, "r"), (Assistant, "b")]);
    check(
        &tiny(Some(forgetful)),
        &two,
        "line 3, /messages/1: the chat template writes the conversation up to this turn differently when more follows, \
         so the trained tokens cannot be told; split the row so that this turn is the last, or change the template",
    );
    // This template begins with a system message of its own, but only where there is a message.
    check(
        &tiny(None),
        &chat(&[(Assistant, "a"), (User, "q"), (Assistant, "b")]),
        "line 3, /messages/0: the chat template has no prompt for an answer to nothing; put a system or user message \
         before it, or give it weight 0",
    );
    // Only the last turn trained is no problem.
    let mut last = two;
    let RowContent::Chat(messages) = &mut last.content else { unreachable!() };
    messages[1].trained = false;
    check(
        &tiny(Some(forgetful)),
        &last,
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n...<|im_end|>\n<|im_start|>user\nr<|im_end|>\n\
         <|im_start|>assistant\n⟦b<|im_end|>⟧\n",
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
        "line 3: chat template, line 1: refused the conversation: no system messages",
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
        "line 3: chat template: the model has none; give one, or use prompt and completion rows",
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
        let row = Row { line: 1, content: RowContent::Chat(messages.clone()) };
        match renderer.sample(&row) {
            Ok(sample) => {
                let mut expect = vec![0.0; sample.tokens.len()];
                for index in &trained {
                    let prompt = renderer.prompt(&messages[..*index], &[]).expect("a prompt");
                    prop_assert!(sample.tokens.starts_with(&prompt));
                    let template = renderer.template().expect("a template");
                    let answer = template.render(&messages[..=*index], &[], false).expect("it renders");
                    let so_far = template.render(&messages[..*index], &[], true).expect("it renders");
                    let answer = answer.strip_prefix(&so_far).expect("a prefix").trim_end_matches('\n');
                    let mut len = 0;
                    let mut text = String::new();
                    while text != answer {
                        prop_assert!(text.len() < answer.len() + 16 && prompt.len() + len < sample.tokens.len());
                        expect[prompt.len() + len] = 1.0;
                        len += 1;
                        text = renderer.tokenizer().decode(&sample.tokens[prompt.len()..prompt.len() + len], false).expect("it decodes");
                    }
                    prop_assert_eq!(sample.tokens[prompt.len() + len - 1], 2);
                }
                prop_assert_eq!(sample.weights, expect);
                if !own_template {
                    let all = renderer.template().expect("a template").render(&messages, &[], false).expect("it renders");
                    prop_assert_eq!(renderer.tokenizer().decode(&sample.tokens, false).expect("it decodes"), all);
                }
            }
            Err(error) => {
                // Only nothing to train, or two trained turns of which the first begins with white space.
                let may = trained.is_empty()
                    || trained.len() > 1 && trained.iter().any(|i| messages[*i].content.starts_with(char::is_whitespace));
                prop_assert!(may, "{error}");
            }
        }
    }
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
    let RowContent::Chat(messages) = &row.content else { unreachable!() };
    let request = RenderRequest::for_training(template, outside.tokenizer().special_tokens(), messages);
    let request: RenderRequest = serde_json::from_slice(&serde_json::to_vec(&request).unwrap()).unwrap();
    let reply = serde_json::to_vec(&request.render()).unwrap();
    let expect = inside.sample_within(row, max_tokens);
    match serde_json::from_slice(&reply).unwrap() {
        RenderReply::Turns { turns, answer } => {
            assert!(turns.is_sound());
            let stop_ids = outside.stop_ids_from_text(&answer).unwrap();
            assert_eq!(stop_ids, inside.stop_ids());
            assert_eq!(outside.sample_from_turns(row.line, &turns, &stop_ids, max_tokens), expect);
        }
        RenderReply::Error { message, line } => {
            assert_eq!(Error::Template { message, line }.to_string(), expect.unwrap_err().message);
        }
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
    let RowContent::Chat(messages) = &mut rows[1].content else { unreachable!() };
    messages[2].trained = false;
    for template in [own.as_str(), unstable, refuses, endless] {
        for row in &rows {
            for max_tokens in [16, 64, 1000] {
                check_apart(template, row, max_tokens);
            }
        }
    }
}
