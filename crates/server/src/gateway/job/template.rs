//! The chat template that a job brings, tried before there is a job.

use hearth_data::{Error as DataError, RowReader, source};
use hearth_domain::{Dataset, JobSettings};
use hearth_inference::InferenceError;
use hearth_store::installed;

use crate::error::ServerError;
use crate::gateway::Call;
use crate::gateway::dataset::check::uploaded_files;
use crate::gateway::dataset::preview::read_error;
use crate::gateway::dataset::render_preview::render_error;
use crate::limits::TEMPLATE_ROWS_TRIED;

const FIELD: &str = "jinjaTemplate";

/// Compiles the job's template and renders the first rows with it, in the limited process that renders templates of
/// strangers. INVALID_ARGUMENT with the template's line, and with the row's if a row is at fault.
pub(super) async fn try_out(
    call: &Call,
    dataset: Option<&Dataset>,
    settings: &JobSettings,
) -> Result<(), ServerError> {
    let (Some(template), Some(dataset)) = (settings.jinja_template.clone(), dataset) else { return Ok(()) };
    // Rows that lie elsewhere are not here yet; the template is compiled all the same.
    let files =
        if dataset.external_url.is_empty() { uploaded_files(&call.state, dataset)? } else { Vec::new() };
    let permit = call.state.template_permit().await;
    let (state, base) = (call.state.clone(), settings.base_model.clone());
    let max_tokens = settings.max_context_length as usize;
    let trying = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let base = installed::read(state.data_dir(), &base.account, &base.id)?;
        let sampler = state.inference().sampler(&base.dir, Some(&template)).map_err(render_error)?;
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
