//! Thoughts: learnt once, wherever they stand.

use super::*;

fn thinking(thoughts: &str, answer: &str) -> Message {
    Message { reasoning_content: Some(thoughts.into()), ..Message::new(Assistant, answer) }
}

#[test]
fn thoughts_are_learnt_where_the_template_writes_them() {
    let renderer = tiny(Some(THINKING));
    // A call, its result and the answer belong to one question.
    let call = ToolCall { id: "1".into(), name: "f".into(), arguments: serde_json::Map::new() };
    let row = chat_of(vec![
        Message::new(User, "q"),
        thinking("hm", "a"),
        Message::new(User, "r"),
        Message { tool_calls: vec![call], ..thinking("call", "") },
        Message::new(Tool, "t"),
        thinking("so", "b"),
    ]);
    check(
        &renderer,
        &row,
        "[user]q<|im_end|>\n[assistant]⟦<think>\nhm\n</think>\n\na<|im_end|>⟧\n\n====\n\
         [user]q<|im_end|>\n[assistant]a<|im_end|>\n[user]r<|im_end|>\n\
         [assistant]⟦<think>\ncall\n</think>\n\n(f{})<|im_end|>⟧\n[tool]t<|im_end|>\n\
         [assistant]⟦<think>\nso\n</think>\n\nb<|im_end|>⟧\n",
    );
    // Empty thoughts are given, not learnt.
    check(
        &renderer,
        &chat(&[(User, "q"), (Assistant, "a")]),
        "[user]q<|im_end|>\n[assistant]<think>\n\n</think>\n\n⟦a<|im_end|>⟧\n",
    );
    // A template that drops thoughts does not do so silently.
    check(
        &tiny(None),
        &chat_of(vec![Message::new(User, "q"), thinking("hm", "a")]),
        "line 3, /messages/1: the chat template does not write the reasoning of this answer as it stands; write it \
         at the beginning of the content, between <think> and </think>, use a template that writes it, or remove it",
    );
}

#[test]
fn a_prompt_that_makes_the_model_think_stands_before_what_is_learnt() {
    let template = "{% for m in messages %}{% set content = m.content.split('</think>')[-1] if m.role == 'assistant' else m.content %}[{{ m.role }}]{{ content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]<think>\n{% endif %}";
    let renderer = tiny(Some(template));
    let rest = [Message::new(User, "r"), Message::new(Assistant, "b")];
    // Thoughts stand beside the answer or before it; what the template then leaves of them is what serving has too.
    let answers =
        [(thinking("hm", "a"), "a"), (Message::new(Assistant, "<think>\nhm\n</think>\n\na"), "\n\na")];
    for (answer, left) in answers {
        let messages = [vec![Message::new(User, "q"), answer], rest.to_vec()].concat();
        let expect = format!(
            "[user]q<|im_end|>[assistant]<think>\n⟦hm\n</think>\n\na<|im_end|>⟧\n====\n[user]q<|im_end|>\
             [assistant]{left}<|im_end|>[user]r<|im_end|>[assistant]<think>\n⟦\n</think>\n\nb<|im_end|>⟧"
        );
        check(&renderer, &chat_of(messages), &expect);
    }
}

#[test]
fn thoughts_are_learnt_once_however_the_template_parts_them() {
    // It writes an answer as it stands, and makes the model think.
    let verbatim = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}\
        {% if add_generation_prompt %}[assistant]<think>\n{% endif %}";
    for content in ["<think>hm</think>a", "\n<think>\nhm\n</think>\na", "<think>\nhm\n</think>\n\na"] {
        let row = chat(&[(User, "q"), (Assistant, content)]);
        let expect = "[user]q<|im_end|>[assistant]<think>\n⟦hm\n</think>\n\na<|im_end|>⟧";
        assert_eq!(
            marked(&tiny(Some(verbatim)), &row).replace("</think>\na", "</think>\n\na"),
            expect,
            "{content}"
        );
    }
    // It writes empty thoughts before those of the content.
    let empty = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}\
        {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]<think>\n{% endif %}";
    let error = marked(&tiny(Some(empty)), &chat(&[(User, "q"), (Assistant, "<think>hm</think>a")]));
    assert!(error.contains("once more or empty ones; put the thoughts into reasoning_content"), "{error}");
}
