//! `RenderDatasetPreview`.

use hearth_data::read::parse_row;
use hearth_data::render::Piece;
use hearth_data::{Rendered, Sample};
use hearth_domain::job::{CONTEXT_LENGTH_MIN, JINJA_TEMPLATE_MAX_BYTES};
use hearth_domain::{AccountId, Model, ModelKind, ModelRef};
use hearth_inference::{InferenceError, Sampler};
use hearth_proto::gateway as pb;
use hearth_store::installed;
use prost::Message;

use super::check;
use super::lines::{Line, Lines, Pages, page_size, wrong_token};
use super::preview::{read_error, ready};
use crate::error::ServerError;
use crate::gateway::job::create::base_model;
use crate::gateway::job::request::thinking_history;
use crate::gateway::{Call, names, total_size};
use crate::jobs::{TemplateChoice, own_template};
use crate::limits::{PREVIEW_PAGE_MAX_BYTES, RENDER_ROWS_DEFAULT, RENDER_ROWS_MAX};

/// Shows rows as the tokens that a job with these settings would train on, with the loss weight of each: the same code
/// makes them. A page ends early when it has enough bytes; a row is never divided.
pub(in crate::gateway) async fn dataset_render_preview(
    call: &Call,
    request: pb::RenderDatasetPreviewRequest,
) -> Result<pb::RenderDatasetPreviewResponse, ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_read(&name.account)?;
    let rows = page_size(request.page_size, RENDER_ROWS_DEFAULT, RENDER_ROWS_MAX)?;
    if request.jinja_template.len() > JINJA_TEMPLATE_MAX_BYTES {
        let what = format!("is longer than {JINJA_TEMPLATE_MAX_BYTES} bytes");
        return Err(ServerError::field("jinjaTemplate", what));
    }
    crate::state::sync_models(call.state.store()).await?;
    let history = thinking_history(request.thinking_trace_history_mode)?;
    let warm_start = warm_start(call, &name.account, &request.warm_start_from).await?;
    let base = match &warm_start {
        Some((_, base)) if request.base_model.is_empty() => base.to_string(),
        Some(_) => {
            return Err(ServerError::field("baseModel", "is that of warmStartFrom; give one of the two"));
        }
        None => request.base_model.clone(),
    };
    let base = self::base(call, &name.account, &base).await?;
    let context_length = context_length(request.context_length, &base)?;
    let dataset = ready(&call.state, &name).await?;
    let question = format!(
        "render|{}|{}|{context_length}|{}|{}|{}",
        base.name(),
        base.create_time_ms,
        request.warm_start_from,
        request.thinking_trace_history_mode,
        request.jinja_template
    );
    let choice = TemplateChoice {
        jinja_template: Some(request.jinja_template).filter(|template| !template.is_empty()),
        warm_start_from: warm_start.map(|(adapter, _)| adapter),
        thinking_history: history,
    };
    let pages = Pages::new(&dataset, &question);
    let place = pages.read(&request.page_token)?;
    let files = check::uploaded_files(&call.state, &dataset)?.into_iter().map(|(_, path)| path).collect();
    let total_size = total_size(dataset.example_count);
    let permit = call.state.render_permit()?;
    let state = call.state.clone();
    let rendering = tokio::task::spawn_blocking(move || {
        // The work goes on when nobody waits any more, and counts until its end.
        let _permit = permit;
        let installed = installed::read(state.data_dir(), &base.account, &base.id)?;
        let template = own_template(state.data_dir(), &choice, &installed.dir)
            .map_err(|status| ServerError::FailedPrecondition(status.message))?;
        let sampler = state.inference().sampler(&installed.dir, template.as_deref()).map_err(render_error)?;
        let mut lines = Lines::open(files, place).map_err(read_error)?.ok_or_else(wrong_token)?;
        let mut reply = pb::RenderDatasetPreviewResponse { total_size, ..Default::default() };
        let mut bytes = 0;
        loop {
            let before = lines.place();
            let Some(line) = lines.next().map_err(read_error)? else { return Ok(reply) };
            let is_too_much =
                |more: usize| !reply.examples.is_empty() && bytes + more > PREVIEW_PAGE_MAX_BYTES;
            let rendered = if reply.examples.len() == rows || is_too_much(line.bytes.len()) {
                None
            } else {
                Some(example(&sampler, &line, context_length)?).filter(|one| !is_too_much(one.encoded_len()))
            };
            let Some(example) = rendered else {
                reply.next_page_token = pages.write(before);
                return Ok(reply);
            };
            bytes += example.encoded_len();
            reply.examples.push(example);
        }
    });
    rendering.await.map_err(|source| ServerError::internal("rendering rows", source))?
}

/// The adapter that a job would go on from, and its base.
async fn warm_start(
    call: &Call,
    account: &AccountId,
    text: &str,
) -> Result<Option<(ModelRef, ModelRef)>, ServerError> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = names::model_in(account, "warmStartFrom", text)?;
    call.caller.may_read_models(&name.account)?;
    let model = call.state.store().model_find(&name).await?;
    match model.kind {
        ModelKind::Adapter { base_model, .. } if model.upload.is_none() => Ok(Some((name, base_model))),
        ModelKind::Adapter { .. } => Err(ServerError::field("warmStartFrom", "its files are not there")),
        ModelKind::Base { .. } => Err(ServerError::field("warmStartFrom", format!("{text} is no adapter"))),
    }
}

/// The base model whose tokenizer is used.
pub(in crate::gateway) async fn base(
    call: &Call,
    account: &AccountId,
    text: &str,
) -> Result<Model, ServerError> {
    if text.is_empty() {
        return Err(ServerError::field("baseModel", "is required"));
    }
    let found = base_model(call, account, text).await?;
    let model = found.ok_or_else(|| ServerError::NotFound(format!("baseModel: there is no model {text}")))?;
    match model.kind {
        ModelKind::Base { .. } => Ok(model),
        ModelKind::Adapter { base_model, .. } => {
            Err(ServerError::field("baseModel", format!("{text} is an adapter; give its base, {base_model}")))
        }
    }
}

/// Longest sample; a job has the same rules and the same default.
fn context_length(asked: i32, base: &Model) -> Result<usize, ServerError> {
    let most = i32::try_from(base.context_length).unwrap_or(i32::MAX);
    match asked {
        0 => Ok(base.context_length as usize),
        asked if (CONTEXT_LENGTH_MIN..=most).contains(&asked) => Ok(asked as usize),
        wrong => {
            let what = format!(
                "{wrong} is not between {CONTEXT_LENGTH_MIN} and {most}, the model's (0 is the default)"
            );
            Err(ServerError::field("contextLength", what))
        }
    }
}

fn example(
    sampler: &Sampler,
    line: &Line<'_>,
    context_length: usize,
) -> Result<pb::RenderedExample, ServerError> {
    let number = i64::try_from(line.number).unwrap_or(i64::MAX);
    let dropped = |reason: String| pb::RenderedExample {
        line: number,
        dropped_reason: reason,
        ..pb::RenderedExample::default()
    };
    // Such a row was not there when the dataset was checked.
    let row = match parse_row(line.number, line.bytes) {
        Ok(row) => row,
        Err(bad) => return Ok(dropped(bad.to_string())),
    };
    let Rendered { samples, too_long, left_out } = match sampler.render(&row, context_length) {
        Ok(Ok(rendered)) => rendered,
        Ok(Err(error)) => return Ok(dropped(format!("a job fails at this row: {error}"))),
        Err(InferenceError::TemplateLimits) => {
            let what = "the chat template needs more memory or time for this row than is allowed here";
            return Ok(dropped(format!("{what}, or writes too long a text")));
        }
        Err(error) => return Err(render_error(error)),
    };
    let dropped_reason = match too_long.as_slice() {
        [] => String::new(),
        lengths => {
            let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
            let (lengths, what) = (lengths.join(", "), if samples.is_empty() { "" } else { "a sample is " });
            format!("{what}longer than {context_length} tokens ({lengths}), so training leaves it out")
        }
    };
    let datums = samples.iter().map(|sample| datum(sampler, sample)).collect::<Result<Vec<_>, _>>()?;
    let renderings = if datums.is_empty() { vec![] } else { vec![pb::Rendering { rendered_datums: datums }] };
    let warnings = left_out.iter().map(ToString::to_string).collect();
    Ok(pb::RenderedExample { line: number, renderings, dropped_reason, warnings })
}

fn datum(sampler: &Sampler, sample: &Sample) -> Result<pb::RenderedDatum, ServerError> {
    let count = |tokens: usize| i32::try_from(tokens).unwrap_or(i32::MAX);
    let segment = |segment: Piece| pb::rendered_datum::Segment {
        text: segment.text,
        loss_weight: segment.weight,
        token_ids: segment.tokens.iter().map(|&id| i32::try_from(id).unwrap_or(i32::MAX)).collect(),
    };
    Ok(pb::RenderedDatum {
        token_count: count(sample.tokens.len()),
        trained_token_count: count(sample.trained_tokens()),
        segments: sampler.segments(sample).map_err(render_error)?.into_iter().map(segment).collect(),
    })
}

/// What the client can change is said to it.
pub(in crate::gateway) fn render_error(error: InferenceError) -> ServerError {
    match error {
        InferenceError::Template(cause) => ServerError::field("jinjaTemplate", cause.to_string()),
        InferenceError::TemplateLimits => ServerError::field(
            "jinjaTemplate",
            "needs more memory or time for a row of this page than is allowed here, or writes too long a text",
        ),
        InferenceError::QueueFull { .. } => ServerError::ResourceExhausted(error.to_string()),
        other => ServerError::internal("rendering rows", other),
    }
}
