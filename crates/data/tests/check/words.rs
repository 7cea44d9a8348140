//! Rows in the style of public datasets, made of words by a seed. No two say the same.

use serde_json::{Value, json};

const SUBJECTS: &[&str] = &[
    "gardener",
    "river",
    "library",
    "engine",
    "teacher",
    "lantern",
    "harbour",
    "orchard",
    "violin",
    "glacier",
    "bakery",
    "compass",
    "meadow",
    "sailor",
    "museum",
    "telescope",
    "village",
    "carpenter",
    "desert",
    "festival",
    "lighthouse",
    "mountain",
    "notebook",
    "painter",
    "railway",
    "shepherd",
    "theatre",
    "umbrella",
    "valley",
    "workshop",
];
const VERBS: &[&str] = &[
    "carries",
    "follows",
    "repairs",
    "measures",
    "describes",
    "protects",
    "remembers",
    "discovers",
    "explains",
    "builds",
    "crosses",
    "gathers",
    "illuminates",
    "observes",
    "paints",
    "questions",
    "reaches",
    "supports",
    "teaches",
    "visits",
];
const QUALITIES: &[&str] = &[
    "ancient",
    "bright",
    "careful",
    "distant",
    "elegant",
    "famous",
    "gentle",
    "hidden",
    "important",
    "joyful",
    "modern",
    "narrow",
    "ordinary",
    "patient",
    "quiet",
    "remarkable",
    "silent",
    "thoughtful",
    "unusual",
    "wooden",
];
const WRITTEN: &[(&str, &str)] = &[
    (
        "Erkläre bitte, warum",
        "Das geschieht, weil die Brücke größer als üblich ist: „schön“ und für alle da —",
    ),
    ("Explique pourquoi", "C’est parce que l’été est passé : « très bien » à côté de la forêt…"),
    ("Explica por qué", "Porque el niño y la señora están aquí, ¿verdad? ¡Sí!"),
    ("Объясни, почему", "Это происходит потому, что река широкая и дорога длинная."),
    ("なぜですか、", "それは東京の夏がとても暑いからです。"),
    ("왜 그런지 설명해 주세요:", "그것은 강이 넓고 길이 길기 때문입니다."),
    ("اشرح لماذا", "لأن الطريق طويل والنهر واسع جدا."),
    ("समझाइए क्यों", "क्योंकि नदी चौड़ी है और रास्ता लंबा है।"),
];
const EMOJI: &[&str] = &["🙂", "🎉🎉", "👩‍👩‍👧", "🇫🇷", "✓", "🚀", "❤️"];

/// A small generator of numbers: the same ones on every machine.
pub struct Numbers(pub u64);

impl Numbers {
    /// Below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    pub fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// Words that name one number, so that texts made of different ones differ in letters.
    pub fn tag(index: usize) -> String {
        let mut rest = index;
        let mut words = Vec::new();
        for _ in 0..4 {
            words.push(SUBJECTS[rest % SUBJECTS.len()]);
            rest /= SUBJECTS.len();
        }
        words.join(" ")
    }

    pub fn sentence(&mut self) -> String {
        let mut word = |list| self.pick(list);
        let (quality, subject, verb, other) = (word(QUALITIES), word(SUBJECTS), word(VERBS), word(SUBJECTS));
        match self.below(4) {
            0 => format!("The {quality} {subject} {verb} the {other}."),
            1 => format!("Does the {subject} that is {quality} know how it {verb} a {other}?"),
            2 => format!(
                "It {verb} the {other} (a {quality} one), 3 times; then the {subject} rests: \"good\"."
            ),
            _ => format!("- {quality} {subject}\n- {verb} {other}\n\n\tas {} % of them do", self.below(100)),
        }
    }

    pub fn text(&mut self, most: usize) -> String {
        let count = 1 + self.below(most);
        (0..count).map(|_| self.sentence()).collect::<Vec<_>>().join(" ")
    }
}

fn message(role: &str, content: impl Into<String>) -> Value {
    json!({"role": role, "content": content.into()})
}

/// Conversations of several turns, some with a system message or an answer that is not learnt.
pub fn chat(index: usize, numbers: &mut Numbers) -> Value {
    let mut messages = Vec::new();
    if numbers.below(3) == 0 {
        messages.push(message("system", "You are a helpful assistant. Be brief."));
    }
    let turns = 1 + numbers.below(4);
    for turn in 0..turns {
        let about = if turn == 0 { format!("Tell me of {}. ", Numbers::tag(index)) } else { String::new() };
        messages.push(message("user", format!("{about}{}", numbers.text(3))));
        let mut answer = message("assistant", format!("{} {}", numbers.text(5), numbers.pick(EMOJI)));
        if turn + 1 < turns && numbers.below(6) == 0 {
            answer["weight"] = 0.into();
        }
        messages.push(answer);
    }
    json!({"id": format!("row-{index}"), "messages": messages})
}

/// Conversations in which tools are called, one or two at a time, with their answers.
pub fn tools(index: usize, numbers: &mut Numbers) -> Value {
    let tool = |name: &str, parameter: &str| {
        json!({"type": "function", "function": {"name": name, "description": format!("Gives the {name}."),
            "parameters": {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}}})
    };
    let call = |id: usize, name: &str, arguments: Value| {
        json!({"id": format!("call_{index}_{id}"), "type": "function",
            "function": {"name": name, "arguments": arguments.to_string()}})
    };
    let place = Numbers::tag(index);
    let mut calls = vec![call(0, "get_weather", json!({"city": place, "days": numbers.below(7)}))];
    if numbers.below(2) == 0 {
        calls.push(call(1, "find_route", json!({"to": place, "by": ["foot", "train"]})));
    }
    let mut messages = vec![
        message("user", format!("How do I get to {place}, and what is the weather? {}", numbers.text(2))),
        json!({"role": "assistant", "content": null, "tool_calls": calls}),
    ];
    for id in 0..calls.len() {
        messages.push(json!({"role": "tool", "tool_call_id": format!("call_{index}_{id}"),
            "content": json!({"temperature": numbers.below(30), "text": numbers.sentence()}).to_string()}));
    }
    messages.push(message("assistant", numbers.text(3)));
    json!({"tools": [tool("get_weather", "city"), tool("find_route", "to")], "messages": messages})
}

/// Instructions and answers: code, several languages, emoji, with weights.
pub fn instruction(index: usize, numbers: &mut Numbers) -> Value {
    let about = Numbers::tag(index);
    let (prompt, completion) = match numbers.below(3) {
        0 => (
            format!("Write a function for {about}. {}", numbers.sentence()),
            format!(
                "```rust\nfn value_{}(x: &[u8]) -> Option<u32> {{\n    // {}\n    x.iter().map(|b| u32::from(*b) << 2).max()\n}}\n```\nUse `sk-learn` or see https://example.org/a?b=c&d=%20 <br> {}",
                numbers.below(1000),
                about,
                numbers.pick(EMOJI)
            ),
        ),
        1 => {
            let (question, answer) = WRITTEN[numbers.below(WRITTEN.len())];
            (format!("{question} {about}?"), answer.repeat(3))
        }
        _ => (
            format!("### Instruction:\nSummarise: {} {about}\n\n### Response:\n", numbers.text(4)),
            format!("{} {about} {}", numbers.text(2), numbers.pick(EMOJI)),
        ),
    };
    json!({"prompt": prompt, "completion": completion, "weight": 0.5 + numbers.below(3) as f64, "source": "made"})
}

/// Lines of `count` rows.
pub fn lines(count: usize, seed: u64, row: fn(usize, &mut Numbers) -> Value) -> Vec<String> {
    let mut numbers = Numbers(seed);
    (0..count).map(|index| row(index, &mut numbers).to_string()).collect()
}
