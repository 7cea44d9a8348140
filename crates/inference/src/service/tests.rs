//! Whole answers of tiny random models. The scheduler is stepped by hand, so nothing depends on timing.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_data::template::process::{RenderReply, RenderRequest};
use hearth_data::template::source_of;
use hearth_data::{Message, Role, Tokenizer};
use hearth_kernels::CpuOptions;
use hearth_model::{DecodeSeq, Decoder, KvCache, Lora, Workspace};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::plan::DECODE_ROWS_PER_PASS;
use crate::tiny::{CONTEXT, KV_DIM, LAYERS, write_adapter, write_base};
use crate::{ChatInput, Event, FinishReason, Input, PREFILL_CHUNK_TOKENS, SamplingParams, Token, Usage};

mod choices;
mod constraints;

fn backend() -> Arc<Cpu> {
    Arc::new(Cpu::new(CpuOptions { threads: 2, ..CpuOptions::default() }).unwrap())
}

struct Fixture {
    dir: TempDir,
    service: Service,
    scheduler: Scheduler,
}

/// What one answer was: its pieces and its end.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    /// The echoed prompt.
    echo: String,
    /// Texts of the pieces that have one.
    pieces: Vec<String>,
    /// Of the echo and the answer.
    tokens: Vec<Token>,
    reason: FinishReason,
    usage: Usage,
}

impl Answer {
    fn text(&self) -> String {
        self.pieces.concat()
    }
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        Self::rendering_by(limits, |_| vec![])
    }

    /// The command may name files of the fixture's directory.
    fn rendering_by(limits: Limits, command: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let dir = TempDir::new().unwrap();
        write_base(&dir.path().join("base"), 1);
        let (service, scheduler) = Service::parts(backend(), limits, command(dir.path()));
        Self { dir, service, scheduler }
    }

    fn base_dir(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    fn adapter_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn model(&self) -> ModelRef {
        ModelRef { base_dir: self.base_dir(), adapter_dir: None }
    }

    fn adapted(&self, name: &str) -> ModelRef {
        ModelRef { adapter_dir: Some(self.adapter_dir(name)), ..self.model() }
    }

    fn request(&self, text: &str) -> GenerateRequest {
        GenerateRequest {
            sampling: SamplingParams::greedy(),
            max_tokens: 24,
            ..GenerateRequest::chat(self.model(), messages(text))
        }
    }

    fn submit(&self, request: GenerateRequest) -> Result<Generation, InferenceError> {
        request.check()?;
        self.service.enqueue(request, self.service.place()?, Instant::now())
    }

    /// Steps until the only choice is there.
    fn finish(&mut self, generation: Generation) -> Result<Answer, InferenceError> {
        self.finish_all(generation).map(|mut answers| answers.remove(0))
    }

    /// Steps until all choices are there.
    fn finish_all(&mut self, mut generation: Generation) -> Result<Vec<Answer>, InferenceError> {
        let empty = Answer {
            echo: String::new(),
            pieces: vec![],
            tokens: vec![],
            reason: FinishReason::Stop,
            usage: Usage::default(),
        };
        let (mut answers, mut ended) = (vec![empty; generation.choices()], 0);
        for _ in 0..2 * CONTEXT * answers.len() {
            while let Ok(event) = generation.events.try_recv() {
                match event? {
                    Event::Piece(piece) => {
                        let answer = &mut answers[piece.choice];
                        assert!(!piece.text.is_empty() || !piece.tokens.is_empty());
                        answer.tokens.extend(piece.tokens);
                        if piece.is_prompt {
                            answer.echo = piece.text;
                        } else if !piece.text.is_empty() {
                            answer.pieces.push(piece.text);
                        }
                    }
                    Event::Finish(finish) => {
                        let answer = &mut answers[finish.choice];
                        (answer.reason, answer.usage) = (finish.reason, finish.usage);
                        assert!(finish.times.joined <= finish.times.first_token);
                        assert!(finish.times.first_token <= finish.times.ended);
                        ended += 1;
                    }
                }
            }
            if ended == answers.len() {
                return Ok(answers);
            }
            assert!(self.scheduler.step());
        }
        panic!("no end");
    }

    fn answer(&mut self, request: GenerateRequest) -> Answer {
        let generation = self.submit(request).unwrap();
        self.finish(generation).unwrap()
    }
}

fn messages(text: &str) -> Vec<Message> {
    vec![Message::new(Role::System, "s"), Message::new(Role::User, text)]
}

fn sampled(request: GenerateRequest, seed: u64) -> GenerateRequest {
    let sampling = SamplingParams { top_p: 0.95, seed, ..SamplingParams::default() };
    GenerateRequest { sampling, ..request }
}

#[test]
fn what_else_is_in_the_batch_changes_nothing() {
    let mut fixture = Fixture::new(Limits { max_batch: 5, ..Limits::default() });
    for name in ["a", "b"] {
        write_adapter(&fixture.adapter_dir(name), name.as_bytes()[0].into());
    }
    let models = [fixture.model(), fixture.adapted("a"), fixture.adapted("b")];
    let requests: Vec<GenerateRequest> = (0..12)
        .map(|i| {
            // Prompts of one token more or less than a chunk, much longer, and short.
            let len = [3, PREFILL_CHUNK_TOKENS, 200, 40][i % 4] + i;
            let request = fixture.request(&"x7 ".repeat(len)[..len]);
            let request = GenerateRequest { model: models[i % 3].clone(), max_tokens: 10 + i, ..request };
            if i % 2 == 0 { request } else { sampled(request, i as u64) }
        })
        .collect();
    let alone: Vec<Answer> = requests.iter().map(|request| fixture.answer(request.clone())).collect();
    assert!(alone.iter().any(|a| a.usage.prompt_tokens > PREFILL_CHUNK_TOKENS));

    // A new request joins at every other step.
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
fn rows_of_a_decoding_pass_do_not_influence_one_another() {
    let fixture = Fixture::new(Limits::default());
    let decoder = Decoder::load(backend(), &fixture.base_dir()).unwrap();
    let loras: Vec<Lora<Cpu>> = ["a", "b"]
        .iter()
        .map(|name| {
            write_adapter(&fixture.adapter_dir(name), name.len() as u64);
            Lora::load_peft(&decoder, &fixture.adapter_dir(name)).unwrap()
        })
        .collect();
    let mut workspace = Workspace::new(&decoder);
    let prompts: Vec<Vec<u32>> = (0..DECODE_ROWS_PER_PASS)
        .map(|i| (0..10 + 7 * i).map(|j| (3 + i * 31 + j * 5) as u32 % 400).collect())
        .collect();
    let lora = |i: usize| match i % 3 {
        0 => None,
        k => Some(&loras[k - 1]),
    };
    let caches = |workspace: &mut Workspace<Cpu>| -> Vec<KvCache<Cpu>> {
        let fill = |(i, prompt): (usize, &Vec<u32>)| {
            let mut cache = decoder.new_cache(prompt.len() + 1);
            let seq = DecodeSeq { cache: &mut cache, tokens: prompt, lora: lora(i), logits: false };
            decoder.decode(&mut [seq], workspace).unwrap();
            cache
        };
        prompts.iter().enumerate().map(fill).collect()
    };
    let bits = |logits: Vec<Option<Vec<f32>>>| -> Vec<Vec<u32>> {
        logits.into_iter().map(|l| l.unwrap().into_iter().map(f32::to_bits).collect()).collect()
    };
    let mut filled = caches(&mut workspace);
    let mut seqs: Vec<DecodeSeq<'_, Cpu>> = filled
        .iter_mut()
        .enumerate()
        .map(|(i, cache)| DecodeSeq { cache, tokens: &[9], lora: lora(i), logits: true })
        .collect();
    let together = bits(decoder.decode(&mut seqs, &mut workspace).unwrap());
    for (i, mut cache) in caches(&mut workspace).into_iter().enumerate() {
        let seq = DecodeSeq { cache: &mut cache, tokens: &[9], lora: lora(i), logits: true };
        let alone = bits(decoder.decode(&mut [seq], &mut workspace).unwrap());
        assert!(alone[0] == together[i], "row {i}");
    }
}

#[test]
fn a_seed_fixes_the_answer() {
    let mut fixture = Fixture::new(Limits::default());
    let request = fixture.request("tell me");
    let one = fixture.answer(sampled(request.clone(), 5));
    assert_eq!(fixture.answer(sampled(request.clone(), 5)), one);
    assert_ne!(fixture.answer(sampled(request, 6)).text(), one.text());
    assert_eq!((one.reason, one.usage.completion_tokens), (FinishReason::Length, 24));
}

#[test]
fn a_stop_string_across_tokens_ends_the_answer_before_it() {
    let mut fixture = Fixture::new(Limits::default());
    let request = sampled(fixture.request("tell me"), 3);
    let full = fixture.answer(request.clone());
    for cut in 1..full.pieces.len() {
        // The last character of one piece and the first of the next.
        let last = full.pieces[cut - 1].chars().next_back().unwrap();
        let first = full.pieces[cut].chars().next().unwrap();
        let stop = format!("{last}{first}");
        let got = fixture
            .answer(GenerateRequest { stop: vec!["\u{1}".to_owned(), stop.clone()], ..request.clone() });
        let expect = &full.text()[..full.text().find(&stop).unwrap()];
        assert_eq!((got.text().as_str(), got.reason), (expect, FinishReason::Stop), "{stop:?}");
        assert!(got.usage.completion_tokens <= cut + 1 + full.usage.completion_tokens - full.pieces.len());
    }
    let never = fixture.answer(GenerateRequest { stop: vec!["\u{1}".to_owned()], ..request });
    assert_eq!((never.text(), never.reason), (full.text(), FinishReason::Length));
}

#[test]
fn an_end_token_of_the_generation_config_ends_the_answer() {
    let mut fixture = Fixture::new(Limits::default());
    let request = sampled(fixture.request("tell me"), 3);
    let full = fixture.answer(request.clone());
    let tokenizer = Tokenizer::open(&fixture.base_dir()).unwrap();
    let (at, id) = full
        .pieces
        .iter()
        .enumerate()
        .skip(3)
        .find_map(|(at, piece)| match tokenizer.encode(piece).unwrap()[..] {
            [id] if !full.pieces[..at].iter().any(|before| before.contains(piece)) => Some((at, id)),
            _ => None,
        })
        .unwrap();
    let config = json!({"eos_token_id": [2, id]});
    fs::write(fixture.base_dir().join("generation_config.json"), config.to_string()).unwrap();
    let got = fixture.answer(request);
    assert_eq!((got.text(), got.reason), (full.pieces[..at].concat(), FinishReason::Stop));
}

#[test]
fn adapters_change_answers_and_a_replaced_directory_is_another_adapter() {
    let mut fixture = Fixture::new(Limits::default());
    let base = fixture.answer(fixture.request("hello")).text();
    let request = GenerateRequest { model: fixture.adapted("a"), ..fixture.request("hello") };
    write_adapter(&fixture.adapter_dir("a"), 1);
    let first = fixture.answer(request.clone()).text();
    fs::remove_dir_all(fixture.adapter_dir("a")).unwrap();
    assert!(matches!(fixture.submit(request.clone()), Err(InferenceError::ModelDir { .. })));
    write_adapter(&fixture.adapter_dir("a"), 2);
    let second = fixture.answer(request).text();
    assert!(base != first && first != second && base != second, "{base:?} {first:?} {second:?}");
}

/// The process is one that says what a file holds.
#[test]
fn a_template_that_is_not_the_bases_is_rendered_by_a_process() {
    let mut fixture =
        Fixture::rendering_by(Limits::default(), |dir| vec!["/bin/cat".into(), dir.join("reply").into()]);
    for name in ["same", "own"] {
        write_adapter(&fixture.adapter_dir(name), 1);
    }
    let tokenizer = Tokenizer::open(&fixture.base_dir()).unwrap();
    let source = source_of(&fixture.base_dir()).unwrap().unwrap();
    fs::write(fixture.adapter_dir("same").join("chat_template.jinja"), &source).unwrap();
    let template = format!("{source}{{# another, though it says the same #}}");
    fs::write(fixture.adapter_dir("own").join("chat_template.jinja"), &template).unwrap();

    let same = GenerateRequest { model: fixture.adapted("same"), ..fixture.request("hello") };
    let own = GenerateRequest { model: fixture.adapted("own"), ..fixture.request("hello") };
    let expect = fixture.answer(same);
    fs::write(fixture.dir.path().join("reply"), "").unwrap();
    assert!(matches!(fixture.submit(own.clone()), Err(InferenceError::TemplateLimits)));
    let reply = RenderRequest::new(&template, tokenizer.special_tokens(), &messages("hello"), &[]).render();
    fs::write(fixture.dir.path().join("reply"), serde_json::to_vec(&reply).unwrap()).unwrap();
    assert_eq!(fixture.answer(own.clone()), expect);
    let reply = RenderReply::Error { message: "no".to_owned(), line: Some(2) };
    fs::write(fixture.dir.path().join("reply"), serde_json::to_vec(&reply).unwrap()).unwrap();
    let Err(InferenceError::Template(error)) = fixture.submit(own) else {
        panic!("an error of the template")
    };
    assert_eq!(error.to_string(), "chat template, line 2: no");
}

#[test]
fn the_queue_has_a_limit_and_abandoned_requests_leave_it() {
    let mut fixture = Fixture::new(Limits { max_batch: 1, max_waiting: 2, ..Limits::default() });
    let request = fixture.request("hello");
    let first = fixture.submit(request.clone()).unwrap();
    assert!(fixture.scheduler.step(), "the first is in the batch and gave its place back");
    let second = fixture.submit(request.clone()).unwrap();
    let third = fixture.submit(request.clone()).unwrap();
    assert!(matches!(fixture.submit(request.clone()), Err(InferenceError::QueueFull { limit: 2 })));

    drop(second);
    assert!(fixture.scheduler.step(), "the second's reader is gone");
    let fourth = fixture.submit(request.clone()).unwrap();
    assert!(matches!(fixture.submit(request.clone()), Err(InferenceError::QueueFull { limit: 2 })));

    drop(first);
    assert!(fixture.scheduler.step(), "the first's reader is gone: the third takes its place in the batch");
    let fifth = fixture.submit(request).unwrap();
    let third = fixture.finish(third).unwrap();
    assert_eq!(fixture.finish(fourth).unwrap(), third);
    assert_eq!(fixture.finish(fifth).unwrap(), third);
}

#[test]
fn running_sequences_share_the_cache_limit() {
    let mut fixture = Fixture::new(Limits::default());
    let request = fixture.request("hello");
    let answer = fixture.answer(request.clone());
    let tokens = answer.usage.prompt_tokens + request.max_tokens;
    let bytes = tokens * 2 * LAYERS * KV_DIM * size_of::<u16>();

    let mut fixture = Fixture::new(Limits { kv_cache_bytes: 2 * bytes - 1, ..Limits::default() });
    let first = fixture.submit(request.clone()).unwrap();
    let mut second = fixture.submit(request.clone()).unwrap();
    assert_eq!(fixture.finish(first).unwrap(), answer);
    assert!(second.events.try_recv().is_err(), "the second waits for the cache of the first");
    assert_eq!(fixture.finish(second).unwrap(), answer);

    let fixture = Fixture::new(Limits { kv_cache_bytes: bytes - 1, ..Limits::default() });
    let error = fixture.submit(GenerateRequest { model: fixture.model(), ..request }).err().unwrap();
    let expect = format!(
        "the request needs {bytes} bytes of key-value cache, the limit is {}; lower max_tokens",
        bytes - 1
    );
    assert_eq!(error.to_string(), expect);
}

#[test]
fn the_context_bounds_prompt_and_answer() {
    let mut fixture = Fixture::new(Limits::default());
    let request = GenerateRequest { max_tokens: 10_000, ..fixture.request(&"7".repeat(CONTEXT - 40)) };
    let answer = fixture.answer(request.clone());
    assert_eq!(answer.reason, FinishReason::Length);
    assert_eq!(answer.usage.prompt_tokens + answer.usage.completion_tokens, CONTEXT);

    let digits = CONTEXT - 40 + answer.usage.completion_tokens;
    let check = |digits: usize, expect: &str| {
        let result = fixture.submit(fixture.request(&"7".repeat(digits)));
        assert_eq!(result.err().map(|e| e.to_string()).unwrap_or_default(), expect);
    };
    check(digits - 1, "");
    check(
        digits,
        "the prompt has 512 tokens but the model's context holds 512, and at least one must remain for the answer",
    );
}

#[test]
fn a_running_service_answers_and_survives_readers_that_leave() {
    let fixture = Fixture::new(Limits::default());
    let service = Service::start(backend(), Limits { max_batch: 2, ..Limits::default() }, vec![]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let request = fixture.request("hello");
        for _ in 0..3 {
            let long = GenerateRequest { max_tokens: CONTEXT, ..request.clone() };
            drop(service.generate(long).await.unwrap());
        }
        let mut generation = service.generate(request).await.unwrap();
        let mut last = None;
        while let Some(event) = generation.next().await {
            last = Some(event.unwrap());
        }
        let Some(Event::Finish(finish)) = last else { panic!("{last:?}") };
        let expect = Usage { prompt_tokens: generation.prompt_tokens(), completion_tokens: 24 };
        assert_eq!((finish.reason, finish.usage), (FinishReason::Length, expect));
    });
}
