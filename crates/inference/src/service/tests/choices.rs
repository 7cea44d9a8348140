//! Several choices, raw prompts, echoes, scores.

use hearth_data::tokenizer::TokenBytes;
use hearth_model::Packed;

use super::*;
use crate::Overflow;

fn text_request(fixture: &Fixture, text: &str) -> GenerateRequest {
    let request = GenerateRequest::new(fixture.model(), Input::Text(text.to_owned()));
    GenerateRequest { sampling: SamplingParams::greedy(), max_tokens: 8, ..request }
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

/// Log probabilities of `tokens[1..]` by the packed forward pass that training uses.
fn reference_logprobs(fixture: &Fixture, tokens: &[u32]) -> Vec<f64> {
    let decoder = Decoder::load(backend(), &fixture.base_dir()).unwrap();
    let mut packed = Packed::default();
    packed.push(tokens, &vec![0.0; tokens.len()]);
    let rows: Vec<u32> = (0..tokens.len() as u32 - 1).collect();
    let logits = decoder.logits(None, &packed, &rows, &mut Workspace::new(&decoder)).unwrap();
    let logprob = |(row, &id): (&[f32], &u32)| {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        f64::from(row[id as usize]) - sum.ln()
    };
    logits.chunks_exact(decoder.config().vocab_size).zip(&tokens[1..]).map(logprob).collect()
}

#[test]
fn each_choice_has_draws_of_its_own_and_the_same_ones_again() {
    let mut fixture = Fixture::new(Limits { max_batch: 3, ..Limits::default() });
    let many = GenerateRequest { n: 5, ..sampled(fixture.request("tell me"), 5) };
    let generation = fixture.submit(many.clone()).unwrap();
    assert_eq!((generation.choices(), generation.prompts().len()), (5, 1));
    let answers = fixture.finish_all(generation).unwrap();
    for (i, answer) in answers.iter().enumerate() {
        assert!(answers[..i].iter().all(|before| before.text() != answer.text()), "choice {i}");
    }
    assert_eq!(fixture.answer(GenerateRequest { n: 1, ..many.clone() }), answers[0]);
    let again = fixture.submit(many).unwrap();
    assert_eq!(fixture.finish_all(again).unwrap(), answers);
}

#[test]
fn prompts_of_one_request_are_answered_like_single_ones() {
    let mut fixture = Fixture::new(Limits::default());
    let inputs =
        [Input::Text("one".to_owned()), Input::Tokens(vec![7, 8, 9]), Input::Text("three".to_owned())];
    let request =
        |inputs: &[Input]| GenerateRequest { inputs: inputs.to_vec(), ..text_request(&fixture, "") };
    let (single, all) = (inputs.clone().map(|input| request(&[input])), request(&inputs));
    let generation = fixture.submit(GenerateRequest { n: 2, ..all }).unwrap();
    let prompts: Vec<usize> = generation.prompts().iter().map(|prompt| prompt.ids.len()).collect();
    let answers = fixture.finish_all(generation).unwrap();
    for (i, request) in single.into_iter().enumerate() {
        let alone = fixture.answer(request);
        assert_eq!(alone.usage.prompt_tokens, prompts[i]);
        // Greedy, so that both answers are the same.
        assert_eq!((&answers[2 * i], &answers[2 * i + 1]), (&alone, &alone));
    }
}

#[test]
fn a_request_with_many_choices_lets_others_in() {
    let mut fixture = Fixture::new(Limits { max_batch: 2, ..Limits::default() });
    let many = fixture.submit(GenerateRequest { n: 20, ..fixture.request("hello") }).unwrap();
    let one = fixture.submit(GenerateRequest { max_tokens: 1, ..fixture.request("hello") }).unwrap();
    fixture.finish(one).unwrap();
    assert!(many.events.len() < 4 * 24, "most of the choices have not begun");
    assert_eq!(fixture.finish_all(many).unwrap().len(), 20);
}

#[test]
fn choices_and_tokens_of_a_request_are_limited() {
    let fixture = Fixture::new(Limits { max_request_tokens: 100, ..Limits::default() });
    let check = |change: &dyn Fn(&mut GenerateRequest), expect: &str| {
        let mut request = text_request(&fixture, "four");
        change(&mut request);
        let result = fixture.submit(request).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(result.err().unwrap_or_default(), expect);
    };
    let tokens = Tokenizer::open(&fixture.base_dir()).unwrap().encode("four").unwrap().len();
    let fits = 100 / (8 + tokens);
    let too_many = "the request may take more than 100 tokens with all its choices, prompts included; lower n, \
                    max_tokens or the number of prompts";
    check(&|r| r.n = fits, "");
    check(&|r| r.n = fits + 1, too_many);
    check(&|r| r.inputs = vec![r.inputs[0].clone(); fits], "");
    check(&|r| r.inputs = vec![r.inputs[0].clone(); fits + 1], too_many);
    check(&|r| r.n = 0, "n must be from 1 to 128, not 0");
    check(&|r| r.n = 129, "n must be from 1 to 128, not 129");
    check(
        &|r| (r.n, r.inputs) = (65, vec![r.inputs[0].clone(); 2]),
        "prompt and n ask for 130 choices, the limit is 128",
    );
    check(&|r| r.inputs.clear(), "prompt must hold at least one prompt");
    check(&|r| r.max_tokens = 0, "max_tokens must be at least 1, or 0 together with echo");
    check(&|r| r.logprobs = Some(6), "top_logprobs must be from 0 to 5, not 6");
    check(&|r| r.inputs = vec![Input::Tokens(vec![])], "prompt must have at least one token");
    check(
        &|r| r.inputs = vec![Input::Tokens(vec![3, 427])],
        "prompt holds token 427, but the model's vocabulary has 427",
    );
    check(
        &|r| r.sampling.logit_bias = vec![(427, 1.0)],
        "logit_bias names token 427, but the model's vocabulary has 427",
    );
}

#[test]
fn scores_are_log_probabilities_of_the_models_distribution() {
    let mut fixture = Fixture::new(Limits::default());
    // Longer than a chunk of a prompt.
    let text = "caf\u{e9} x7 ".repeat(40);
    let request = GenerateRequest {
        echo_tokens: usize::MAX,
        logprobs: Some(3),
        // None of these changes the scores.
        sampling: SamplingParams {
            temperature: 0.7,
            top_k: 50,
            logit_bias: vec![(5, 3.0)],
            presence_penalty: 1.0,
            seed: 3,
            ..SamplingParams::default()
        },
        ..text_request(&fixture, &text)
    };
    let answer = fixture.answer(request.clone());
    assert!(answer.usage.prompt_tokens > PREFILL_CHUNK_TOKENS + 1);
    assert_eq!(answer.tokens.len(), answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert_eq!(answer.echo, text);

    let expect = reference_logprobs(&fixture, &ids(&answer.tokens));
    let whole: Vec<char> = (answer.echo.clone() + &answer.text()).chars().collect();
    let bytes = Tokenizer::open(&fixture.base_dir()).unwrap().token_bytes().unwrap();
    for (i, token) in answer.tokens.iter().enumerate() {
        let score = token.score.as_ref().unwrap();
        assert_eq!(bytes[token.id as usize], TokenBytes::Bytes(score.bytes.clone()));
        let rest: String = whole[score.text_offset..].iter().collect();
        if let Ok(bytes) = std::str::from_utf8(&score.bytes) {
            assert!(rest.starts_with(bytes), "{i}: {bytes:?} {rest:?}");
        }
        assert_eq!(score.sampling_logprob.is_some(), i >= answer.usage.prompt_tokens);
        if i == 0 {
            assert_eq!((score.logprob, score.top.len()), (0.0, 0));
            continue;
        }
        let difference = (f64::from(score.logprob) - expect[i - 1]).abs();
        // The two passes round in different places.
        assert!(difference <= 0.05 + 0.02 * expect[i - 1].abs(), "{i}: {} {}", score.logprob, expect[i - 1]);
        assert!(score.top.len() == 3 && score.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        assert!(score.top[0].logprob >= score.logprob);
        let same = score.top.iter().find(|top| top.id == token.id);
        assert!(same.is_none_or(|top| top.logprob == score.logprob && top.bytes == score.bytes));
    }

    // Asking for them changes nothing, and so does asking for a part.
    let plain = fixture.answer(GenerateRequest { echo_tokens: 0, logprobs: None, ..request.clone() });
    assert_eq!((plain.text(), &plain.tokens.len()), (answer.text(), &answer.usage.completion_tokens));
    for last in [1, 5, 200] {
        let part = fixture.answer(GenerateRequest { echo_tokens: last, ..request.clone() });
        assert!(answer.echo.ends_with(&part.echo), "{:?}", part.echo);
        let scores = |tokens: &[Token]| -> Vec<f32> {
            tokens.iter().map(|token| token.score.as_ref().unwrap().logprob).collect()
        };
        let skipped = answer.usage.prompt_tokens.saturating_sub(last);
        assert_eq!(scores(&part.tokens), scores(&answer.tokens[skipped..]), "{last}");
    }
}

#[test]
fn a_prompt_can_be_scored_without_an_answer() {
    let mut fixture = Fixture::new(Limits::default());
    let request =
        GenerateRequest { max_tokens: 0, echo_tokens: usize::MAX, ..text_request(&fixture, "some text") };
    let echo = fixture.answer(request.clone());
    assert_eq!(
        (echo.echo.as_str(), echo.text(), echo.reason),
        ("some text", String::new(), FinishReason::Length)
    );
    assert_eq!(echo.usage.completion_tokens, 0);
    let scored = fixture.answer(GenerateRequest { logprobs: Some(0), ..request.clone() });
    let expect = reference_logprobs(&fixture, &ids(&scored.tokens));
    for (token, expect) in scored.tokens[1..].iter().zip(expect) {
        let logprob = f64::from(token.score.as_ref().unwrap().logprob);
        assert!((logprob - expect).abs() <= 0.05 + 0.02 * expect.abs(), "{logprob} {expect}");
    }
    // A prompt that fills the context leaves no room, and needs none.
    let full = Input::Tokens(vec![9; CONTEXT]);
    let full = GenerateRequest { inputs: vec![full], logprobs: Some(0), ..request };
    assert_eq!(fixture.answer(full.clone()).tokens.len(), CONTEXT);
    assert!(matches!(
        fixture.submit(GenerateRequest { max_tokens: 1, ..full }),
        Err(InferenceError::PromptTooLong { .. })
    ));
}

#[test]
fn a_text_begins_with_the_beginning_token_and_its_echo_does_not() {
    let mut fixture = Fixture::new(Limits::default());
    let path = fixture.base_dir().join("tokenizer_config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let bos = config["bos_token"].as_str().unwrap().to_owned();
    config["add_bos_token"] = json!(true);
    fs::write(&path, config.to_string()).unwrap();
    let tokenizer = Tokenizer::open(&fixture.base_dir()).unwrap();
    let request =
        GenerateRequest { echo_tokens: usize::MAX, logprobs: Some(0), ..text_request(&fixture, "some text") };
    let generation = fixture.submit(request).unwrap();
    let prompt = generation.prompts()[0].clone();
    assert_eq!(prompt.ids.first(), tokenizer.token_id(&bos).as_ref());
    assert_eq!(prompt.ids.len(), tokenizer.encode("some text").unwrap().len() + 1);
    let answer = fixture.finish(generation).unwrap();
    assert_eq!(answer.echo, "some text");
    assert_eq!(ids(&answer.tokens[..prompt.ids.len() - 1]), prompt.ids[1..]);
    assert!(answer.tokens[0].score.as_ref().unwrap().logprob < 0.0, "the first token has a probability too");
}

#[test]
fn penalties_and_biases_act_on_whole_answers() {
    let mut fixture = Fixture::new(Limits::default());
    let request = text_request(&fixture, "hello");
    let plain = fixture.answer(request.clone());
    let first = plain.tokens[0].id;
    let with = |change: &dyn Fn(&mut SamplingParams)| {
        let mut request = request.clone();
        change(&mut request.sampling);
        request
    };
    let banned = fixture.answer(with(&|s| s.logit_bias = vec![(first, -100.0)]));
    assert!(!ids(&banned.tokens).contains(&first));
    let forced = fixture.answer(with(&|s| s.logit_bias = vec![(77, 100.0)]));
    assert_eq!(ids(&forced.tokens), [77; 8]);
    // Halved, it is less likely than others.
    let varied = fixture.answer(with(&|s| {
        s.logit_bias = vec![(77, 100.0)];
        s.repetition_penalty = 2.0;
    }));
    let varied = ids(&varied.tokens);
    assert!(varied[0] == 77 && varied[1..] != [77; 7], "{varied:?}");
}

#[test]
fn ignore_eos_goes_on_after_tokens_that_end_an_answer() {
    let mut fixture = Fixture::new(Limits::default());
    let request = sampled(text_request(&fixture, "hello"), 4);
    let full = fixture.answer(request.clone());
    let all = ids(&full.tokens);
    let at = (1..all.len()).find(|&at| !all[..at].contains(&all[at])).expect("not one token again and again");
    let end = all[at];
    let config = json!({"eos_token_id": [2, end]});
    fs::write(fixture.base_dir().join("generation_config.json"), config.to_string()).unwrap();
    let stopped = fixture.answer(request.clone());
    assert_eq!((stopped.reason, stopped.usage.completion_tokens), (FinishReason::Stop, at + 1));
    assert_eq!(ids(&stopped.tokens), all[..=at]);
    assert!(stopped.tokens.iter().enumerate().all(|(i, token)| token.is_shown == (i < at)));
    let ignored = fixture.answer(GenerateRequest { ignore_eos: true, ..request });
    assert_eq!(ids(&ignored.tokens), ids(&full.tokens));
}

#[test]
fn a_stop_string_hides_its_tokens_and_no_others() {
    let mut fixture = Fixture::new(Limits::default());
    let request = GenerateRequest { logprobs: Some(0), ..sampled(fixture.request("tell me"), 3) };
    let full = fixture.answer(request.clone());
    let text = full.text();
    let offset = |i: usize| full.tokens[i].score.as_ref().unwrap().text_offset;
    let at = (4..20).find(|&i| offset(i) + 1 < offset(i + 1)).expect("a token of two characters");
    // From the second character of that token on.
    let (cut, stop): (usize, String) = (offset(at) + 1, text.chars().skip(offset(at) + 1).take(3).collect());
    assert_eq!(
        text.chars().take(cut + 3).collect::<String>().find(&stop),
        text.char_indices().nth(cut).map(|c| c.0)
    );
    let got = fixture.answer(GenerateRequest { stop: vec![stop], ..request });
    assert_eq!(got.text(), text.chars().take(cut).collect::<String>());
    let shown: Vec<u32> = got.tokens.iter().filter(|token| token.is_shown).map(|token| token.id).collect();
    assert_eq!(shown, ids(&full.tokens[..=at]));
    assert_eq!(ids(&got.tokens), ids(&full.tokens[..got.usage.completion_tokens]));
}

#[test]
fn a_request_that_must_not_be_shortened_is_refused() {
    let mut fixture = Fixture::new(Limits::default());
    let request = GenerateRequest { max_tokens: 600, ..text_request(&fixture, "hello") };
    let shortened = fixture.answer(request.clone());
    let prompt_tokens = shortened.usage.prompt_tokens;
    assert_eq!(shortened.usage.completion_tokens, CONTEXT - prompt_tokens);
    let strict = GenerateRequest { overflow: Overflow::Refuse, ..request };
    let error = fixture.submit(strict.clone()).err().unwrap().to_string();
    assert_eq!(
        error,
        format!(
            "the prompt has {prompt_tokens} tokens and max_tokens is 600, but the model's context holds 512 together"
        )
    );
    let fits = GenerateRequest { max_tokens: CONTEXT - prompt_tokens, ..strict };
    assert_eq!(fixture.answer(fits), shortened);
}

#[test]
fn old_messages_are_left_out_to_fit_a_prompt() {
    let fixture = Fixture::new(Limits::default());
    let turn = |i: usize| {
        let text = |what: &str| format!("{what} {i} {}", "x".repeat(10));
        [Message::new(Role::User, text("q")), Message::new(Role::Assistant, text("a"))]
    };
    let mut all = vec![Message::new(Role::System, "s")];
    all.extend((0..6).flat_map(turn));
    all.push(Message::new(Role::User, "last"));
    let prompt = |messages: &[Message], truncate_tokens: Option<usize>| {
        let input = Input::Chat(ChatInput { messages: messages.to_vec(), tools: vec![], truncate_tokens });
        let request = GenerateRequest { inputs: vec![input], ..fixture.request("") };
        fixture.submit(request).unwrap().prompts()[0].clone()
    };
    let whole = prompt(&all, None);
    assert_eq!(prompt(&all, Some(whole.ids.len())), whole);
    for dropped in 1..=6 {
        let kept: Vec<Message> = all[..1].iter().chain(&all[1 + 2 * dropped..]).cloned().collect();
        let expect = prompt(&kept, None);
        assert_eq!(prompt(&all, Some(expect.ids.len())), expect, "{dropped}");
    }
    // What must stay is longer: it stays.
    let least = prompt(&[all[0].clone(), all[13].clone()], None);
    assert_eq!(prompt(&all, Some(1)), least);
    assert_eq!(prompt(&all[13..], Some(1)), prompt(&all[13..], None));
}
