//! What the demo tells at its end.

use anyhow::Result;
use serde_json::{Value, json};

use super::{EPOCHS, Figures, score};
use crate::output;

/// The tuned model counts as better if two equally good models would differ as much, in its favour, less often
/// than this.
const CHANCE_MAX: f64 = 1e-6;
/// Answers that are shown side by side.
const SHOWN_ANSWERS: usize = 6;
/// Longest answer that is shown.
const SHOWN_CHARS: usize = 40;

/// How often the tuned model alone was right, and how often the base alone.
fn differences(figures: &Figures) -> (usize, usize) {
    let pairs = figures.base.answers.iter().zip(&figures.tuned.answers);
    let better = pairs.clone().filter(|(base, tuned)| !base.is_right() && tuned.is_right()).count();
    let worse = pairs.filter(|(base, tuned)| base.is_right() && !tuned.is_right()).count();
    (better, worse)
}

/// Whether the tuned model is better by a margin that chance does not give.
pub fn is_better(figures: &Figures) -> Result<bool> {
    let (better, worse) = differences(figures);
    Ok(score::chance(better, worse) < CHANCE_MAX)
}

/// Some answers, both scores, and where the adapter lies.
pub fn print(figures: &Figures) -> Result<()> {
    output::line("")?;
    for (base, tuned) in figures.base.answers.iter().zip(&figures.tuned.answers).take(SHOWN_ANSWERS) {
        let question = &tuned.question;
        let message = question.prompt.last().map(|message| message.content.as_str()).unwrap_or_default();
        let mark = if tuned.is_right() { "right" } else { "wrong" };
        output::line(&format!("  message   {message}"))?;
        output::line(&format!("  expected  {}", question.answer))?;
        output::line(&format!("  base      {}", shorten(&base.said)))?;
        output::line(&format!("  tuned     {}  ({mark})\n", shorten(&tuned.said)))?;
    }
    let count = figures.tuned.answers.len();
    let (better, worse) = differences(figures);
    output::table(
        &["MODEL", "RIGHT", "OF", "SCORE", "SECONDS"],
        &[("base", &figures.base), ("tuned", &figures.tuned)].map(|(name, score)| {
            vec![
                name.to_owned(),
                score.right().to_string(),
                count.to_string(),
                format!("{:.0} %", 100.0 * score.right() as f64 / count as f64),
                format!("{:.0}", score.seconds),
            ]
        }),
    )?;
    output::line(&format!(
        "\nOn {} questions only one of the two is right: {better} times the tuned model, {worse} times the base.\n\
         If both were equally good, so many would go to the tuned model with probability {:.1e} (sign test);\n\
         the demo asks for less than {CHANCE_MAX:.0e}.",
        better + worse,
        score::chance(better, worse),
    ))?;
    output::line(&format!("\nAdapter     {}", figures.adapter_dir.display()))?;
    output::line(&format!(
        "Time        {:.0} s, of which the job took {:.0} s",
        figures.total_seconds, figures.train_seconds
    ))
}

/// The same by hand, while the server runs.
pub fn print_how_to_go_on(figures: &Figures, url: &str, key: &str) -> Result<()> {
    let question = &figures.tuned.answers[0].question;
    let body = json!({
        "model": figures.tuned_model,
        "temperature": 0,
        "messages": question.prompt,
    });
    // Inside single quotes the shell needs only the single quote itself escaped.
    let body = body.to_string().replace('\'', r"'\''");
    let program = std::env::current_exe().map_or("hearth".into(), |path| path.display().to_string());
    output::line(&format!(
        "\nThe server runs until Ctrl-C. Ask the tuned model from another terminal:\n\n  \
         export HEARTH_URL={url} HEARTH_API_KEY={key}\n  \
         curl $HEARTH_URL/v1/chat/completions -H \"Authorization: Bearer $HEARTH_API_KEY\" \\\n    \
         -H 'Content-Type: application/json' -d '{body}'\n\nor with this program:\n\n  \
         {program} sftj list\n  {program} chat {}",
        figures.tuned_model
    ))
}

/// All figures as one object.
pub fn json(figures: &Figures) -> Result<Value> {
    let metrics = &figures.outcome.metrics;
    let steps: Vec<_> = metrics.iter().filter(|row| row.loss.is_some()).collect();
    let evals: Vec<f64> = metrics.iter().filter_map(|row| row.eval_loss).collect();
    let count = figures.tuned.answers.len();
    let share = |score: &score::Score| score.right() as f64 / count as f64;
    let (better, worse) = differences(figures);
    let last = steps.last();
    let mut rates: Vec<f64> = steps.iter().filter_map(|row| row.tokens_per_second).collect();
    rates.sort_by(f64::total_cmp);
    Ok(json!({
        "better": is_better(figures)?,
        "base_model": figures.base_model,
        "tuned_model": figures.tuned_model,
        "adapter_dir": figures.adapter_dir,
        "job": figures.outcome.job.name,
        "job_state": figures.outcome.job.state,
        "train_rows": figures.train_rows,
        "heldout_rows": count,
        "base_right": figures.base.right(),
        "tuned_right": figures.tuned.right(),
        "base_score": share(&figures.base),
        "tuned_score": share(&figures.tuned),
        "only_tuned_right": better,
        "only_base_right": worse,
        "chance": score::chance(better, worse),
        "epochs": EPOCHS,
        "steps": last.map(|row| row.step),
        "train_loss_first": steps.first().and_then(|row| row.loss),
        "train_loss_last": last.and_then(|row| row.loss),
        "eval_loss_first": evals.first(),
        "eval_loss_last": evals.last(),
        "total_tokens": last.and_then(|row| row.total_tokens),
        "tokens_per_second_median": rates.get(rates.len() / 2),
        "trainer_rss_bytes": steps.iter().filter_map(|row| row.rss_bytes).max(),
        "job_seconds": figures.train_seconds,
        "base_answer_seconds": figures.base.seconds,
        "tuned_answer_seconds": figures.tuned.seconds,
        "answer_tokens": figures.base.answers.iter().chain(&figures.tuned.answers).map(|a| a.tokens).sum::<u64>(),
        "total_seconds": figures.total_seconds,
    }))
}

fn shorten(text: &str) -> String {
    let line = output::one_line(text);
    if line.chars().count() <= SHOWN_CHARS {
        return line;
    }
    line.chars().take(SHOWN_CHARS).chain("...".chars()).collect()
}
