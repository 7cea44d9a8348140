//! Chat templates of public models against transformers, byte for byte, and tokenizers against theirs, id for id.
//!
//! `conformance/golden_real_templates.py` and `conformance/golden_tokenizers.py` write what is compared; `cargo xtask ci`
//! runs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hearth_data::template::process::{RenderReply, RenderRequest};
use hearth_data::tokenizer::{GgufTokenizer, class_alone, config_from_gguf, from_gguf};
use hearth_data::{
    ChatTemplate, Conversation, Message, Renderer, Role, Row, RowContent, SpecialTokens, Tokenizer, ToolCall,
};
use serde_json::Value;

/// Fewest named families, and fewest conversations that each renders, that the golden files must have.
const NAMED_MIN: usize = 20;
const CONVERSATIONS_MIN: usize = 500;
/// Fewest tokenizers that the golden files must have.
const TOKENIZERS_MIN: usize = 20;
/// Differences that a failure shows of one template.
const SHOWN_MAX: usize = 2;

/// Where transformers refuses a conversation and this engine does not. A loop over `None` is over nothing: so the tools
/// of a request without tools. What a filter makes is a list, which has a JSON form.
const NOT_REFUSED: [&str; 2] = [
    "TypeError: 'NoneType' object is not iterable",
    "TypeError: Object of type generator is not JSON serializable",
];

/// Templates of no named family that differ, and why.
const KNOWN: [(&str, &str); 6] = [
    (
        "llama.cpp-cohereforai-c4ai-command-r-plus-tool-use",
        "finds the method items of an object, and not the member",
    ),
    ("npm-command-r-plus-tool-use", "the same"),
    ("llama.cpp-gigachat3-10b-a1.8b", "joins numbers that Python writes with an exponent to texts by ~"),
    ("llama.cpp-gigachat3.1-10b-a1.8b", "the same"),
    ("llama.cpp-meetkai-functionary-medium-v3.2", "the same"),
    (
        "llama.cpp-meetkai-functionary-medium-v3.1",
        "joins texts that are marked safe, so that Python escapes HTML",
    ),
];

fn families_dir() -> PathBuf {
    let help = "HEARTH_TEST_FAMILIES_DIR is not set: run `cargo xtask setup`, conformance/golden_real_templates.py and \
                conformance/golden_tokenizers.py, then set it to target/families";
    PathBuf::from(std::env::var_os("HEARTH_TEST_FAMILIES_DIR").expect(help))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn message(value: &Value) -> Message {
    let role = serde_json::from_value::<Role>(value["role"].clone()).expect("a role");
    let call = |call: &Value| ToolCall {
        id: text(&call["id"]).unwrap_or_default(),
        name: text(&call["function"]["name"]).expect("a name"),
        arguments: call["function"]["arguments"].as_object().expect("an object").clone(),
    };
    Message {
        reasoning_content: text(&value["reasoning_content"]),
        tool_calls: value["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        tool_call_id: text(&value["tool_call_id"]),
        name: text(&value["name"]),
        ..Message::new(role, text(&value["content"]).expect("a text"))
    }
}

/// What came of a template.
#[derive(Default)]
struct Compared {
    named: bool,
    conversations: usize,
    /// Those of which transformers makes a text.
    rendered: usize,
    /// What is wrong with each that differs.
    differences: Vec<String>,
}

fn compare(path: &Path) -> Compared {
    let lines = std::fs::read_to_string(path).expect("the golden file can be read");
    let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    let head = lines.next().expect("a first line");
    let named = head["named"] == true;
    let source = head["template"].as_str().expect("a template");
    let special = &head["special_tokens"];
    let special = SpecialTokens {
        bos: text(&special["bos_token"]),
        eos: text(&special["eos_token"]),
        ..Default::default()
    };
    let mut template = match ChatTemplate::compile(source, &special) {
        Ok(template) => template,
        Err(_) if head["compiles"] == false => return Compared { named, ..Compared::default() },
        Err(error) => {
            let differences = vec![format!("compiles for transformers: {error}")];
            return Compared { named, differences, ..Compared::default() };
        }
    };
    let (mut count, mut rendered, mut differences) = (0, 0, Vec::new());
    for (index, case) in lines.enumerate() {
        count += 1;
        rendered += usize::from(case["text"].is_string());
        template.set_now_ms(case["now_ms"].as_i64().expect("a time"));
        let messages: Vec<Message> =
            case["messages"].as_array().expect("a list").iter().map(message).collect();
        let tools = case["tools"].as_array().expect("a list");
        let ours = template.render(&messages, tools, case["add_generation_prompt"] == true);
        match (ours, case["text"].as_str()) {
            (Ok(ours), Some(theirs)) if ours == theirs => {}
            (Err(_), None) => {}
            (Ok(ours), Some(theirs)) => {
                let at = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count();
                let around = |text: &str| {
                    let (from, to) =
                        (text.floor_char_boundary(at.saturating_sub(60)), text.ceil_char_boundary(at + 40));
                    format!("{:?}", &text[from..to])
                };
                differences.push(format!("{index}: ours {} theirs {}", around(&ours), around(theirs)));
            }
            (Ok(_), None) if case["refusal"].as_str().is_some_and(|why| NOT_REFUSED.contains(&why)) => {}
            (Ok(_), None) => differences.push(format!("{index}: transformers refuses it")),
            (Err(error), Some(_)) => differences.push(format!("{index}: {error}")),
        }
    }
    Compared { named, conversations: count, rendered, differences }
}

#[test]
fn templates_of_public_models_are_rendered_as_transformers_does() {
    let dir = families_dir().join("golden/templates");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("the golden files are there: run conformance/golden_real_templates.py")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let (mut named_count, mut total, mut total_rendered, mut failed) = (0, 0, 0, BTreeMap::new());
    for path in &paths {
        let Compared { named, conversations, rendered, mut differences } = compare(path);
        if named {
            named_count += 1;
            assert!(rendered >= CONVERSATIONS_MIN, "{}: only {rendered} conversations", path.display());
        }
        total += conversations;
        total_rendered += rendered;
        let name = path.file_stem().unwrap_or_default().display().to_string();
        let known = !named && KNOWN.iter().any(|(known, _)| *known == name);
        if known {
            println!("{name}: {} of {rendered} differ, as is known", differences.len());
            // It takes rare values, or a member of a rare name.
            let too_many = differences.len() > conversations / 2;
            if !too_many {
                differences.clear();
            }
        }
        if !differences.is_empty() {
            failed.insert(name, differences);
        }
    }
    println!("{total} conversations with {} templates, {total_rendered} with a text", paths.len());
    for (name, differences) in &failed {
        println!("{name}: {} differ", differences.len());
        differences.iter().take(SHOWN_MAX).for_each(|difference| println!("    {difference}"));
    }
    assert!(failed.is_empty(), "{} templates differ", failed.len());
    assert!(named_count >= NAMED_MIN, "only {named_count} named families");
}

/// What ends a turn is what the model writes there, and not the line break that some templates write behind it.
#[test]
fn turns_of_public_models_end_with_their_marks() {
    let row = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\nc"}]}"#;
    let row = Row::from_text(1, row).expect("a row");
    for (name, mark) in [
        ("command-r-plus", "<|END_OF_TURN_TOKEN|>"),
        ("deepseek-v3", "<｜end▁of▁sentence｜>"),
        ("gemma-3", "<end_of_turn>"),
        ("llama-3", "<|eot_id|>"),
        ("mistral-nemo", "</s>"),
        ("qwen2.5", "<|im_end|>"),
    ] {
        let renderer =
            Renderer::open(&families_dir().join("golden/tokenizers").join(name), None).expect("it opens");
        let id = renderer.tokenizer().token_id(mark).expect("a token");
        let text = |id: &u32| renderer.tokenizer().decode(&[*id], false).expect("it decodes");
        let stops: Vec<String> = renderer.stop_ids().iter().map(text).collect();
        assert!(renderer.stop_ids().contains(&id), "{name}: {stops:?}");
        assert!(!stops.iter().any(|stop| stop.trim().is_empty()), "{name}: {stops:?}");
        let samples = renderer.render(&row, 100).expect("a sample").samples;
        let trained = samples[0].weights.iter().rposition(|weight| *weight > 0.0).expect("a trained token");
        assert_eq!(samples[0].tokens[trained], id, "{name}");
    }
}

/// In samples of several answers, the ids before each are those of its prompt, encoded alone.
#[test]
fn samples_begin_with_the_prompts_of_their_answers() {
    const CONVERSATIONS: usize = 150;
    const TURNS: usize = 3;
    const SOURCE: &str = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}\
        {% if add_generation_prompt %}[assistant] {% endif %}";
    let dir = families_dir().join("golden/tokenizers");
    let mut tokenizers = 0;
    for dir in std::fs::read_dir(&dir)
        .expect("the golden files are there")
        .map(|entry| entry.expect("an entry").path())
    {
        if !dir.join("tokenizer.json").exists() {
            continue;
        }
        let tokenizer = Tokenizer::open(&dir).expect("the tokenizer opens");
        if tokenizer.special_tokens().eos.is_none() {
            continue;
        }
        tokenizers += 1;
        let template = ChatTemplate::compile(SOURCE, tokenizer.special_tokens()).expect("it compiles");
        let renderer = Renderer::new(tokenizer, Some(template)).expect("it opens");
        let lines = std::fs::read_to_string(dir.join("lines.jsonl")).expect("the lines can be read");
        let lines: Vec<String> = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a text"))
            .take(2 * TURNS * CONVERSATIONS)
            .collect();
        for (number, texts) in lines.chunks_exact(2 * TURNS).enumerate() {
            let role = |index: usize| if index.is_multiple_of(2) { Role::User } else { Role::Assistant };
            let messages: Vec<Message> = texts
                .iter()
                .enumerate()
                .map(|(index, text)| Message::new(role(index), text.as_str()))
                .collect();
            let row =
                Row::new(1, RowContent::Chat(Conversation { messages: messages.clone(), tools: vec![] }));
            let samples = renderer.render(&row, usize::MAX).expect("it renders").samples;
            let mut answers = (1..2 * TURNS).step_by(2).peekable();
            for sample in &samples {
                while let Some(index) = answers.peek() {
                    let prompt = renderer.prompt(&messages[..*index], &[]).expect("a prompt");
                    if !sample.tokens.starts_with(&prompt) || sample.weights.get(prompt.len()) != Some(&1.0) {
                        break;
                    }
                    answers.next();
                }
            }
            assert_eq!(answers.next(), None, "{} conversation {number}", dir.display());
        }
    }
    assert!(tokenizers >= 8, "only {tokenizers} tokenizers");
}

/// An adapter's directory has no config.json.
#[test]
fn a_tokenizer_alone_is_that_of_its_base() {
    let dir = families_dir().join("golden/tokenizers/mistral-7b-as-it-is");
    let read = |name: &str| read_json(&dir.join(name)).expect("the file is there");
    let (mut config, model) = (read("tokenizer_config.json"), read("config.json"));
    assert_eq!(config["tokenizer_class"], "LlamaTokenizer");
    config["tokenizer_class"] = class_alone(&config, &model).expect("another class").into();
    let alone = tempfile::tempdir().expect("a directory");
    std::fs::copy(dir.join("tokenizer.json"), alone.path().join("tokenizer.json")).expect("it copies");
    std::fs::copy(dir.join("tokenizer_config.json"), alone.path().join("tokenizer_config.json"))
        .expect("it copies");
    let text = " [INST] q [/INST] a</s>";
    let ids =
        |tokenizer: Result<Tokenizer, _>| tokenizer.expect("it opens").encode(text).expect("it encodes");
    let expect = ids(Tokenizer::open(&dir));
    // As somebody else left it there, the base's file helps.
    assert_ne!(ids(Tokenizer::open(alone.path())), expect);
    assert_eq!(ids(Tokenizer::open_over(alone.path(), &dir)), expect);
    std::fs::write(alone.path().join("tokenizer_config.json"), config.to_string()).expect("it is written");
    assert_eq!(ids(Tokenizer::open(alone.path())), expect);
}

/// What is learnt is what stands in the row: no space is put before a completion.
#[test]
fn completions_are_learnt_as_they_stand() {
    for name in
        ["mistral-7b", "mistral-7b-legacy", "mistral-7b-as-it-is", "gemma-3", "llama-3", "unigram-bytes"]
    {
        let dir = families_dir().join("golden/tokenizers").join(name);
        let tokenizer = Tokenizer::open(&dir).expect("the tokenizer opens");
        let encode = |text: &str| tokenizer.encode(text).expect("it encodes");
        let config = read_json(&dir.join("tokenizer_config.json")).unwrap_or_default();
        if config["eos_token"].is_null() {
            continue;
        }
        let renderer = Renderer::open(&dir, None).or_else(|_| Renderer::new(Tokenizer::open(&dir)?, None));
        let renderer = renderer.expect("it opens");
        for (prompt, completion) in [
            ("The capital is", "Paris"),
            ("The capital is", " Paris"),
            ("return x", "+1"),
            ("[", "1, 2]"),
            ("a", "\nb"),
        ] {
            let content = RowContent::Completion { prompt: prompt.into(), completion: completion.into() };
            let samples = renderer.render(&Row::new(1, content), 100).expect("it renders").samples;
            let sample = &samples[0];
            let learnt = sample.weights.iter().position(|weight| *weight > 0.0).expect("a learnt token");
            let whole = renderer
                .tokenizer()
                .decode(&sample.tokens[..sample.tokens.len() - 1], true)
                .expect("it decodes");
            assert_eq!(whole, format!("{prompt}{completion}"), "{name}");
            let given = renderer.tokenizer().decode(&sample.tokens[..learnt], true).expect("it decodes");
            assert_eq!(given, prompt, "{name}");
        }
        assert!(!encode("Paris").is_empty());
    }
}

/// In every template: thoughts, wherever they stand in the row, are learnt once and whole, or the row is refused.
#[test]
fn thoughts_are_learnt_once_with_every_template() {
    let dir = families_dir().join("golden/templates");
    let beside = Message { reasoning_content: Some("TH1".into()), ..Message::new(Role::Assistant, "AN1") };
    let inside =
        ["<think>TH1</think>AN1", "<think>\nTH1\n</think>\n\nAN1", "\n<think>\nTH1\n</think>\nAN1", "AN1"];
    let mut answers = vec![beside];
    answers.extend(inside.map(|content| Message::new(Role::Assistant, content)));
    let (mut learnt_count, mut wrong) = (0, Vec::new());
    for path in
        std::fs::read_dir(&dir).expect("the golden files").map(|entry| entry.expect("an entry").path())
    {
        let text = std::fs::read_to_string(&path).expect("the golden file can be read");
        let head: Value = serde_json::from_str(text.lines().next().expect("a first line")).expect("JSON");
        let special = &head["special_tokens"];
        let special = SpecialTokens {
            bos: self::text(&special["bos_token"]),
            eos: self::text(&special["eos_token"]),
            ..Default::default()
        };
        let source = head["template"].as_str().expect("a template");
        for (number, answer) in answers.iter().enumerate() {
            let messages = vec![
                Message::new(Role::User, "QU1"),
                answer.clone(),
                Message::new(Role::User, "QU2"),
                Message::new(Role::Assistant, "AN2"),
            ];
            let conversation = Conversation { messages, tools: vec![] };
            let request = RenderRequest::for_training(source, &special, &conversation);
            let RenderReply::Turns { turns, .. } = request.render() else { continue };
            let turns = serde_json::to_value(&turns).expect("JSON");
            let mut full = String::new();
            for text in turns["texts"].as_array().expect("texts") {
                full.truncate(text["shared"].as_u64().expect("a number") as usize);
                full.push_str(text["rest"].as_str().expect("a text"));
                for turn in text["turns"].as_array().expect("turns") {
                    let bytes = |name: &str| turn[name].as_u64().expect("a number") as usize;
                    let learnt = &full[bytes("prompt_bytes")..bytes("turn_bytes")];
                    let count = |what: &str| learnt.matches(what).count();
                    let is_first = turn["index"] == 1;
                    let thoughts = usize::from(is_first && number < inside.len());
                    let (answer, other) = if is_first { ("AN1", "AN2") } else { ("AN2", "AN1") };
                    learnt_count += 1;
                    let is_right = count(answer) == 1
                        && count(other) == 0
                        && count("TH1") == thoughts
                        && count("QU") == 0
                        && count("<think>") <= 1
                        && count("</think>") <= 1;
                    if !is_right {
                        wrong.push(format!("{} {number}: {learnt:?}", path.display()));
                    }
                }
            }
        }
    }
    println!("{learnt_count} answers");
    wrong.iter().take(20).for_each(|what| println!("{what}"));
    assert!(wrong.is_empty(), "{} answers are learnt wrongly", wrong.len());
    assert!(learnt_count > 1000, "only {learnt_count} answers");
}

fn read_json(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).expect("the file is JSON"))
}

fn gguf(value: &Value) -> GgufTokenizer {
    let texts = |name: &str| {
        let list = value[name].as_array();
        list.into_iter().flatten().map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    let number = |name: &str| value[name].as_u64().and_then(|id| u32::try_from(id).ok());
    GgufTokenizer {
        model: text(&value["model"]).expect("a model"),
        architecture: text(&value["architecture"]).expect("an architecture"),
        pre: text(&value["pre"]).unwrap_or_default(),
        tokens: texts("tokens"),
        token_types: value["token_types"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|kind| kind.as_i64().expect("a type") as i32)
            .collect(),
        scores: value["scores"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|score| score.as_f64().expect("a score"))
            .collect(),
        merges: texts("merges"),
        bos_token_id: number("bos_token_id"),
        eos_token_id: number("eos_token_id"),
        padding_token_id: number("pad_token_id"),
        unknown_token_id: number("unk_token_id"),
        add_bos_token: value["add_bos_token"].as_bool(),
        add_space_prefix: value["add_space_prefix"].as_bool(),
        remove_extra_whitespaces: value["remove_extra_whitespaces"].as_bool(),
        precompiled_charsmap: value["precompiled_charsmap"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()).expect("a byte"))
            .collect(),
        chat_template: None,
    }
}

/// Ids of each line: a count, then so many.
fn ids(path: &Path) -> Vec<Vec<u32>> {
    let bytes = std::fs::read(path).expect("the ids can be read");
    let words: Vec<u32> =
        bytes.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().expect("four"))).collect();
    let (mut lines, mut rest) = (Vec::new(), words.as_slice());
    while let [count, after @ ..] = rest {
        let (line, after) = after.split_at(*count as usize);
        lines.push(line.to_vec());
        rest = after;
    }
    lines
}

/// Compares, and says what differs.
fn compare_ids(what: &str, tokenizer: &Tokenizer, lines: &[String], expected: &[Vec<u32>]) -> Vec<String> {
    assert_eq!(lines.len(), expected.len(), "{what}");
    let differs = |(line, ids): (&String, &Vec<u32>)| {
        let ours = tokenizer.encode(line).expect("it encodes");
        let at = ours.iter().zip(ids).take_while(|(a, b)| a == b).count();
        let around = |ids: &[u32]| {
            let some = &ids[at.saturating_sub(2).min(ids.len())..ids.len().min(at + 6)];
            some.iter().map(|id| tokenizer.decode(&[*id], false).unwrap_or_default()).collect::<Vec<_>>()
        };
        (ours != *ids).then(|| format!("{what}: ours {:?} theirs {:?}", around(&ours), around(ids)))
    };
    lines.iter().zip(expected).filter_map(differs).collect()
}

/// Whether the beginning token is put before a text.
fn compare_bos(what: &str, tokenizer: &Tokenizer, dir: &Path) -> Option<String> {
    let expected = read_json(&dir.join("adds_bos.json"))?;
    let ours = tokenizer.bos_to_add().is_some();
    (expected != ours).then(|| format!("{what}: the beginning token is added: ours {ours} theirs {expected}"))
}

fn compare_tokenizer(dir: &Path) -> (usize, Vec<String>) {
    let name = dir.file_name().unwrap_or_default().display().to_string();
    let lines = std::fs::read_to_string(dir.join("lines.jsonl")).expect("the lines can be read");
    let lines: Vec<String> = lines.lines().map(|line| serde_json::from_str(line).expect("a text")).collect();
    let expected = ids(&dir.join("ids.bin"));
    let (mut count, mut differences) = (0, Vec::new());
    if dir.join("tokenizer.json").exists() {
        let tokenizer = Tokenizer::open(dir).expect("the tokenizer opens");
        differences.extend(compare_bos(&format!("{name} as a directory"), &tokenizer, dir));
        differences.extend(compare_ids(&format!("{name} as a directory"), &tokenizer, &lines, &expected));
        count += lines.len();
    }
    if let Some(metadata) = read_json(&dir.join("gguf.json")) {
        let gguf = gguf(&metadata);
        let config = config_from_gguf(&gguf).expect("a config");
        let config: Value = serde_json::from_str(&config).expect("the config is JSON");
        let made = from_gguf(&gguf).expect("a tokenizer");
        let tokenizer = Tokenizer::from_parts(&made, &config, &Value::Null).expect("the tokenizer opens");
        differences.extend(compare_bos(&format!("{name} from GGUF"), &tokenizer, dir));
        differences.extend(compare_ids(&format!("{name} from GGUF"), &tokenizer, &lines, &expected));
        count += lines.len();
    }
    assert!(count > 0, "{name} has no tokenizer");
    (count, differences)
}

#[test]
fn tokenizers_of_public_models_give_the_ids_of_hugging_face() {
    let dir = families_dir().join("golden/tokenizers");
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(&dir)
        .expect("the golden files are there: run conformance/golden_tokenizers.py")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    dirs.sort();
    assert!(dirs.len() >= TOKENIZERS_MIN, "only {} tokenizers", dirs.len());
    // Two at a time: CI has two processors, and each of them holds much memory.
    let (even, odd): (Vec<_>, Vec<_>) = dirs.iter().enumerate().partition(|(index, _)| index % 2 == 0);
    let half = |half: Vec<(usize, &PathBuf)>| {
        half.into_iter().map(|(_, dir)| compare_tokenizer(dir)).collect::<Vec<_>>()
    };
    let results = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(odd));
        let mut results = half(even);
        results.extend(other.join().expect("the other half ends"));
        results
    });
    let total: usize = results.iter().map(|(count, _)| count).sum();
    println!("{total} lines with {} tokenizers", dirs.len());
    let differences: Vec<&Vec<String>> =
        results.iter().map(|(_, differences)| differences).filter(|d| !d.is_empty()).collect();
    for differences in &differences {
        println!("{} differ", differences.len());
        differences.iter().take(3 * SHOWN_MAX).for_each(|difference| println!("    {difference}"));
    }
    assert!(differences.is_empty(), "{} tokenizers differ", differences.len());
}
