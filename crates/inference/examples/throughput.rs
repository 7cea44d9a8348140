//! Tokens per second of a model directory: prompts, one answer, a full batch of answers.
//!
//! `cargo run --release -p hearth-inference --example throughput -- MODEL_DIR [ADAPTER_DIR]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_data::{Message, Role};
use hearth_inference::{
    Event, GenerateRequest, InferenceError, Limits, ModelRef, SamplingParams, Service, Usage,
};
use hearth_kernels::{Cpu, CpuOptions};

/// Tokens of each measured answer.
const ANSWER_TOKENS: usize = 64;
/// Answers at a time in the second measurement.
const BATCH: usize = 8;

/// What one request took.
struct Timing {
    usage: Usage,
    first: Duration,
    total: Duration,
    text: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let base_dir = args.next().ok_or("usage: throughput MODEL_DIR [ADAPTER_DIR]")?;
    let model = ModelRef { base_dir, adapter_dir: args.next() };
    let service = Service::start(Arc::new(Cpu::new(CpuOptions::default())?), Limits::default(), vec![])?;
    let start = Instant::now();
    service.load(&model)?;
    println!("load: {:.2} s", start.elapsed().as_secs_f64());

    let hello = run(&service, request(&model, "Tell me about the sea.", ANSWER_TOKENS)).await?;
    println!("answer: {}", hello.text);

    let long = "The quick brown fox jumps over the lazy dog. ".repeat(100);
    let prompt = run(&service, request(&model, &long, 1)).await?;
    let rate = prompt.usage.prompt_tokens as f64 / prompt.first.as_secs_f64();
    println!("prompt of {} tokens: {rate:.0} tokens/s", prompt.usage.prompt_tokens);

    let one =
        run(&service, request(&model, "Count from one to one hundred in words.", ANSWER_TOKENS)).await?;
    let decode = (one.total - one.first).as_secs_f64() / (one.usage.completion_tokens - 1) as f64;
    println!(
        "one answer: {:.1} tokens/s, {:.1} ms to the first",
        1.0 / decode,
        one.first.as_secs_f64() * 1e3
    );

    let start = Instant::now();
    let tasks: Vec<_> = (0..BATCH)
        .map(|i| {
            let (service, model) = (service.clone(), model.clone());
            let text = format!("Write a long story about {i} cats and a dog.");
            tokio::spawn(async move { run(&service, request(&model, &text, ANSWER_TOKENS)).await })
        })
        .collect();
    let mut tokens = 0;
    for task in tasks {
        tokens += task.await??.usage.completion_tokens;
    }
    let rate = tokens as f64 / start.elapsed().as_secs_f64();
    println!("{BATCH} answers at a time: {rate:.1} tokens/s in all, prompts included");
    Ok(())
}

fn request(model: &ModelRef, text: &str, max_tokens: usize) -> GenerateRequest {
    let request = GenerateRequest::chat(model.clone(), vec![Message::new(Role::User, text)]);
    GenerateRequest { sampling: SamplingParams::greedy(), max_tokens, ..request }
}

async fn run(service: &Service, request: GenerateRequest) -> Result<Timing, InferenceError> {
    let start = Instant::now();
    let mut generation = service.generate(request).await?;
    let (mut first, mut text) = (None, String::new());
    loop {
        match generation.next().await {
            Some(Ok(Event::Piece(piece))) => {
                first.get_or_insert_with(|| start.elapsed());
                text.push_str(&piece.text);
            }
            Some(Ok(Event::Finish(finish))) => {
                let total = start.elapsed();
                return Ok(Timing { usage: finish.usage, first: first.unwrap_or(total), total, text });
            }
            Some(Err(error)) => return Err(error),
            None => return Err(InferenceError::ShuttingDown),
        }
    }
}
