//! Asking a model the held-out questions and comparing two models.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use hearth_client::{ChatRequest, Client, ClientError};

use super::rows::{self, Question};

/// Questions that wait for an answer at the same time.
const ASKERS: usize = 8;
/// Enough for every right answer; a model that talks on is cut off here.
const MAX_TOKENS: u32 = 20;

/// One model's answers.
pub struct Score {
    /// In the order of the questions.
    pub answers: Vec<Answer>,
    /// Time for all.
    pub seconds: f64,
}

/// One answer.
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// What the model said, without white space around it.
    pub said: String,
    /// Tokens that it said.
    pub tokens: u64,
}

impl Answer {
    /// Exactly right.
    pub fn is_right(&self) -> bool {
        self.said == self.question.answer
    }
}

impl Score {
    /// Number of right answers.
    pub fn right(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_right()).count()
    }
}

/// Asks all questions, several at a time, greedily.
pub fn ask_all(client: &Client, model: &str) -> Result<Score> {
    let started = Instant::now();
    let questions = rows::heldout()?;
    let next = AtomicUsize::new(0);
    let ask_some = || -> Result<Vec<(usize, Answer)>, ClientError> {
        let mut answers = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(question) = questions.get(index) else {
                return Ok(answers);
            };
            answers.push((index, ask(client, model, question)?));
        }
    };
    let mut answers = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let askers: Vec<_> = (0..ASKERS).map(|_| scope.spawn(ask_some)).collect();
        for asker in askers {
            answers.extend(asker.join().expect("an asker does not panic")?);
        }
        Ok(())
    })?;
    answers.sort_by_key(|(index, _)| *index);
    Ok(Score {
        answers: answers.into_iter().map(|(_, answer)| answer).collect(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn ask(client: &Client, model: &str, question: &Question) -> Result<Answer, ClientError> {
    let mut request = ChatRequest::new(model, question.prompt.clone());
    request.temperature = Some(0.0);
    request.max_tokens = Some(MAX_TOKENS);
    let answer = client.chat(&request)?;
    Ok(Answer {
        question: question.clone(),
        said: answer.content.trim().to_owned(),
        tokens: answer.usage.completion_tokens,
    })
}

/// Exact one-sided sign test (McNemar's, on pairs): the probability that of `better + worse` questions on which
/// two equally good models differ, at least `better` go to one named in advance. Questions on which both are right
/// or both are wrong say nothing about which is better and do not count.
pub fn chance(better: usize, worse: usize) -> f64 {
    let n = better + worse;
    // C(n, k) / 2^n for k = 0, 1, ..., each from the one before; n is at most the number of questions.
    let mut term = 0.5_f64.powi(n as i32);
    let mut sum = 0.0;
    for k in 0..=n {
        if k >= better {
            sum += term;
        }
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::chance;

    #[test]
    fn chance_is_the_upper_tail_of_a_fair_coin() {
        let check = |better, worse, expect: f64| {
            let found = chance(better, worse);
            assert!(
                (found - expect).abs() <= 1e-12 * expect,
                "{better} {worse}: {found} instead of {expect}"
            );
        };
        check(0, 0, 1.0);
        check(0, 5, 1.0);
        check(5, 0, 1.0 / 32.0);
        check(4, 1, 6.0 / 32.0);
        check(58, 0, 0.5_f64.powi(58));
        check(8, 2, 56.0 / 1024.0);
    }
}
