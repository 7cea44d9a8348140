//! What becomes of the thoughts of earlier turns, written into the template itself, so that whoever renders with it, in
//! training, in serving or elsewhere, does the same.

use super::tools::mentions;
use crate::row::{Conversation, Message, Role};

/// What becomes of the thoughts (`reasoning_content`) of earlier answers when a conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingHistory {
    /// Those behind the last question stay, between calls of tools; those before it are left out.
    Interleaved,
    /// All stay.
    Preserved,
}

/// Leaves thoughts before the last question out of what the rest of the template sees.
const INTERLEAVED: &str = "{%- set thoughts = namespace(question=-1, messages=[]) %}\
    {%- for message in messages %}{%- if message.role == 'user' %}{%- set thoughts.question = loop.index0 %}{%- endif %}{%- endfor %}\
    {%- for message in messages %}{%- if message.role == 'assistant' and loop.index0 < thoughts.question %}\
    {%- if message.reasoning_content is defined %}{%- set message = dict(message, reasoning_content='') %}{%- endif %}\
    {%- if message.thinking is defined %}{%- set message = dict(message, thinking='') %}{%- endif %}\
    {%- if message.content is string and '</think>' in message.content %}\
    {%- set message = dict(message, content=message.content.split('</think>')[-1].lstrip()) %}{%- endif %}{%- endif %}\
    {%- set thoughts.messages = thoughts.messages + [message] %}{%- endfor %}\
    {%- set messages = thoughts.messages %}";
/// Variables by which templates are told to keep thoughts, and their values for it.
const KEEPING: [(&str, &str); 2] = [("preserve_thinking", "true"), ("clear_thinking", "false")];

/// The template `source`, made to do so. Whether it can is seen when [`probe`] is rendered.
pub fn with_history(source: &str, history: ThinkingHistory) -> String {
    let mut prefix = String::new();
    match history {
        ThinkingHistory::Interleaved => prefix.push_str(INTERLEAVED),
        ThinkingHistory::Preserved => {
            for (name, value) in KEEPING.into_iter().filter(|(name, _)| mentions(source, name)) {
                prefix.push_str(&format!("{{%- set {name} = {value} %}}"));
            }
        }
    }
    prefix + source
}

/// Two questions whose answers have thoughts. Where all thoughts stay, its samples are one; a template that writes no
/// thoughts at all refuses it.
pub fn probe() -> Conversation {
    let thinking = |thoughts: &str, answer: &str| Message {
        reasoning_content: Some(thoughts.to_owned()),
        ..Message::new(Role::Assistant, answer)
    };
    let messages = vec![
        Message::new(Role::User, "a"),
        thinking("first thoughts", "b"),
        Message::new(Role::User, "c"),
        thinking("second thoughts", "d"),
    ];
    Conversation { messages, tools: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::ChatTemplate;
    use crate::tokenizer::SpecialTokens;

    /// Keeps all thoughts.
    const KEEPS: &str = "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }};{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    /// Keeps those of the last answer, unless it is told to keep all.
    const STRIPS: &str = "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content and (loop.last or preserve_thinking) %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }};{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

    fn texts(source: &str, messages: &[Message]) -> Vec<String> {
        let template = ChatTemplate::compile(source, &SpecialTokens::default()).expect("it compiles");
        let conversation = Conversation { messages: messages.to_vec(), tools: Vec::new() };
        let turns = template.turns(&conversation).expect("it renders");
        turns.texts.into_iter().map(|text| text.full).collect()
    }

    #[test]
    fn thoughts_before_the_last_question_are_left_out() {
        let mut messages = probe().messages;
        let tool = Message::new(Role::Tool, "t");
        messages.extend([
            tool,
            Message { reasoning_content: Some("third".into()), ..Message::new(Role::Assistant, "e") },
        ]);
        let kept = texts(KEEPS, &messages);
        assert_eq!(kept.len(), 1);
        let interleaved = texts(&with_history(KEEPS, ThinkingHistory::Interleaved), &messages);
        assert_eq!(
            interleaved,
            [
                "[user]a;[assistant]<think>first thoughts</think>b;",
                "[user]a;[assistant]b;[user]c;[assistant]<think>second thoughts</think>d;[tool]t;[assistant]<think>third</think>e;",
            ]
        );
        // Twice is once.
        let twice =
            with_history(&with_history(KEEPS, ThinkingHistory::Interleaved), ThinkingHistory::Interleaved);
        assert_eq!(texts(&twice, &messages), interleaved);
    }

    #[test]
    fn thoughts_under_other_names_and_in_the_content_are_left_out_too() {
        let under_another_name = KEEPS.replace("reasoning_content", "thinking");
        let interleaved = with_history(&under_another_name, ThinkingHistory::Interleaved);
        let found = texts(&interleaved, &probe().messages);
        assert_eq!(found.len(), 2);
        assert!(!found[1].contains("first thoughts"), "{found:?}");
        let messages = [
            Message::new(Role::User, "a"),
            Message::new(Role::Assistant, "<think>\nfirst\n</think>\n\nb"),
            Message::new(Role::User, "</think>c"),
            Message::new(Role::Assistant, "<think>\nsecond\n</think>\n\nd"),
        ];
        assert_eq!(
            texts(&with_history(KEEPS, ThinkingHistory::Interleaved), &messages)[1],
            "[user]a;[assistant]b;[user]</think>c;[assistant]<think>\nsecond\n</think>\n\nd;"
        );
    }

    #[test]
    fn thoughts_are_kept_where_the_template_can() {
        let count = |source: &str| texts(source, &probe().messages).len();
        assert_eq!((count(STRIPS), count(KEEPS)), (2, 1));
        assert_eq!(count(&with_history(STRIPS, ThinkingHistory::Preserved)), 1);
        assert_eq!(with_history(KEEPS, ThinkingHistory::Preserved), KEEPS);
    }
}
