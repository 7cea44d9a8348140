//! The chat template that a job brings, tried before there is a job.

use hearth_data::template::history;
use hearth_data::{Error as DataError, Row, RowContent, RowReader, source};
use hearth_domain::job::ThinkingHistory;
use hearth_domain::{Dataset, JobSettings};
use hearth_inference::{InferenceError, Sampler};
use hearth_store::installed;

use crate::error::ServerError;
use crate::gateway::Call;
use crate::gateway::dataset::check::uploaded_files;
use crate::gateway::dataset::preview::read_error;
use crate::gateway::dataset::render_preview::render_error;
use crate::jobs::own_template;
use crate::limits::TEMPLATE_ROWS_TRIED;

const FIELD: &str = "jinjaTemplate";
const MODE_FIELD: &str = "thinkingTraceHistoryMode";

/// Compiles the job's template and renders the first rows with it, in the limited process that renders templates of
/// strangers. INVALID_ARGUMENT with the template's line, and with the row's if a row is at fault.
pub(super) async fn try_out(
    call: &Call,
    dataset: Option<&Dataset>,
    settings: &JobSettings,
) -> Result<(), ServerError> {
    let Some(dataset) = dataset else { return Ok(()) };
    let has_mode = settings.thinking_history != ThinkingHistory::OfTheTemplate;
    if settings.jinja_template.is_none() && !has_mode {
        return Ok(());
    }
    // Rows that lie elsewhere are not here yet; the template is compiled all the same.
    let files =
        if dataset.external_url.is_empty() { uploaded_files(&call.state, dataset)? } else { Vec::new() };
    let permit = call.state.template_permit().await;
    let (state, settings) = (call.state.clone(), settings.clone());
    let max_tokens = settings.max_context_length as usize;
    let trying = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let base = installed::read(state.data_dir(), &settings.base_model.account, &settings.base_model.id)?;
        let template = own_template(state.data_dir(), &(&settings).into(), &base.dir)
            .map_err(|status| ServerError::FailedPrecondition(status.message))?;
        let Some(template) = template else {
            let what = "the base has no chat template that could do so";
            return Err(ServerError::FailedPrecondition(format!("{MODE_FIELD}: {what}")));
        };
        let sampler = state.inference().sampler(&base.dir, Some(&template)).map_err(render_error)?;
        try_mode(&sampler, settings.thinking_history)?;
        let (mut left, mut kind) = (TEMPLATE_ROWS_TRIED, None);
        for (name, path) in &files {
            let mut rows = RowReader::new(source::open(path).map_err(read_error)?).expect_kind(kind);
            let place = |what: String| if files.len() > 1 { format!("{name} {what}") } else { what };
            for row in &mut rows {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                let row = match row {
                    Ok(row) => row,
                    // The dataset was READY; what is wrong with its files now is not the template's fault.
                    Err(DataError::Row(error)) => {
                        return Err(ServerError::field("dataset", place(error.to_string())));
                    }
                    Err(source) => return Err(ServerError::internal("reading rows", source)),
                };
                match sampler.render(&row, max_tokens) {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Err(ServerError::field(FIELD, place(error.to_string()))),
                    Err(InferenceError::TemplateLimits) => {
                        let what =
                            "needs more memory or time than is allowed here, or writes too long a text";
                        return Err(ServerError::field(FIELD, place(format!("line {}: {what}", row.line))));
                    }
                    Err(error) => return Err(render_error(error)),
                }
            }
            kind = rows.kind();
        }
        Ok(())
    });
    trying.await.map_err(|source| ServerError::internal("trying a chat template", source))?
}

/// Whether the template does with the thoughts of earlier answers what the job wants.
fn try_mode(sampler: &Sampler, wanted: ThinkingHistory) -> Result<(), ServerError> {
    if wanted == ThinkingHistory::OfTheTemplate {
        return Ok(());
    }
    let row = Row::new(1, RowContent::Chat(history::probe()));
    let what = match sampler.render(&row, usize::MAX).map_err(render_error)? {
        Err(_) => "the chat template does not write reasoning_content; use one that does",
        Ok(rendered) if wanted == ThinkingHistory::Preserved && rendered.samples.len() > 1 => {
            "the chat template leaves out the reasoning of earlier answers whatever it is told; give a jinjaTemplate that \
             keeps it"
        }
        Ok(rendered) if wanted == ThinkingHistory::Interleaved && rendered.samples.len() == 1 => {
            "the chat template writes the reasoning of earlier answers in a way that cannot be left out; give another \
             jinjaTemplate"
        }
        Ok(_) => return Ok(()),
    };
    Err(ServerError::FailedPrecondition(format!("{MODE_FIELD}: {what}")))
}
