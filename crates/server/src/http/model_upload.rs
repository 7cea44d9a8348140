//! Uploads of model files to signed URLs: in one PUT, or resumable as the storage of the hosted service has it.
//!
//! `POST` with `x-goog-resumable: start` begins a session: 201, with its URL in `location`. `PUT` there sends the next
//! bytes with `content-range: bytes FIRST-LAST/SIZE`: 308 with `range: bytes=0-LAST` while more are to come, 200 when all
//! are there. `content-range: bytes */SIZE` asks how far it is. Sizes that are not known are `*`. `DELETE` gives it up.

use std::fs::File;

use axum::body::{Body, Bytes};
use axum::extract::{Path as PathParams, Request, State};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, TryStreamExt};
use hearth_domain::{AccountId, Model, ModelFile, ModelId, ModelRef};
use hearth_store::{FilePart, SizeRule, StoreError};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::io::AsyncWriteExt;

use super::signed::{Signed, check_signed, model_session_url};
use super::upload::size_rule;
use crate::context::RequestContext;
use crate::error::ServerError;
use crate::gateway::model::files;
use crate::limits::{MODEL_FILE_MAX_BYTES, MODEL_PART_BUFFER_BYTES};
use crate::state::AppState;

/// Header that begins a resumable upload; its value is `start`.
const RESUMABLE_HEADER: &str = "x-goog-resumable";
/// Other name of the session in the reply that begins it.
const UPLOAD_ID_HEADER: &str = "x-guploader-uploadid";

type PathParts = (String, String, String);
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The file that a URL is for, as its model has it registered.
struct Target {
    model: ModelRef,
    file: ModelFile,
}

impl Target {
    async fn find(state: &AppState, (account, model, file): PathParts) -> Result<Self, ServerError> {
        let invalid = |error: &dyn std::error::Error| ServerError::invalid(error.to_string());
        let model = ModelRef {
            account: AccountId::new(account).map_err(|error| invalid(&error))?,
            id: ModelId::new(model).map_err(|error| invalid(&error))?,
        };
        let known = files::uploading(state, &model).await?;
        let file = registered(&known, &file)?;
        Ok(Self { model, file })
    }

    /// What the store says of it.
    async fn store<T: Send + 'static>(
        &self,
        state: &AppState,
        work: impl FnOnce(&hearth_store::ModelUploads, &ModelRef, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let (uploads, model, file) =
            (state.store().uploads().clone(), self.model.clone(), self.file.name.clone());
        blocking(move || work(&uploads, &model, &file)).await
    }

    /// The size that a request says, checked against the registered one.
    fn size(&self, said: Option<u64>) -> Result<Option<u64>, ServerError> {
        let registered = (self.file.size_bytes > 0).then_some(self.file.size_bytes);
        match (registered, said) {
            (Some(registered), Some(said)) if registered != said => Err(ServerError::invalid(format!(
                "file {:?} was announced with {registered} bytes and the request says {said}",
                self.file.name
            ))),
            (_, Some(said)) if said > MODEL_FILE_MAX_BYTES => {
                Err(ServerError::TooLarge { what: "the file", max_bytes: MODEL_FILE_MAX_BYTES })
            }
            (registered, said) => Ok(registered.or(said)),
        }
    }
}

fn registered(model: &Model, file: &str) -> Result<ModelFile, ServerError> {
    let files = model.upload.as_ref().map(|upload| upload.files.as_slice()).unwrap_or_default();
    files.iter().find(|known| known.name == file).cloned().ok_or_else(|| {
        ServerError::NotFound(format!(
            "file {file:?} is not registered with model {} any more; ask for new upload urls",
            model.name()
        ))
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|source| ServerError::internal("storing a part of a file", source))??)
}

/// `POST`: begins a resumable upload in place of an older one of the same file.
pub(crate) async fn start(
    State(state): State<AppState>,
    PathParams(parts): PathParams<PathParts>,
    request: Request,
) -> Result<Response, ServerError> {
    check_signed(&state, &request, &Method::POST, Signed::File)?;
    let starts = request.headers().get(RESUMABLE_HEADER).is_some_and(|value| value == "start");
    if !starts {
        return Err(ServerError::invalid(format!(
            "a POST begins a resumable upload and needs the header {RESUMABLE_HEADER}: start"
        )));
    }
    let target = Target::find(&state, parts).await?;
    let session = target.store(&state, |uploads, model, file| uploads.begin(model, file)).await?;
    let context = request
        .extensions()
        .get::<RequestContext>()
        .ok_or_else(|| ServerError::internal("beginning an upload", "the request has no context"))?;
    let url = model_session_url(&state, context, &target.model, &target.file.name, &session);
    let mut response = StatusCode::CREATED.into_response();
    let header = |text: &str| HeaderValue::from_str(text).expect("a url is a header's value");
    response.headers_mut().insert(header::LOCATION, header(&url));
    response.headers_mut().insert(UPLOAD_ID_HEADER, header(&session));
    Ok(response)
}

/// `PUT`: a whole file, or a piece of a session's.
pub(crate) async fn put(
    State(state): State<AppState>,
    PathParams(parts): PathParams<PathParts>,
    request: Request,
) -> Result<Response, ServerError> {
    let session = super::signed::upload_id(&request);
    match session {
        None => check_signed(&state, &request, &Method::PUT, Signed::File)?,
        Some(_) => check_signed(&state, &request, &Method::PUT, Signed::Session)?,
    }
    let target = Target::find(&state, parts).await?;
    let Some(session) = session else {
        return whole(&state, &target, request).await;
    };
    let range = ContentRange::of(request.headers())?;
    let part = target.store(&state, {
        let session = session.clone();
        move |uploads, model, file| uploads.open(model, file, &session)
    });
    let Some(part) = part.await? else {
        return if is_there(&state, &target).await? { Ok(done()) } else { Err(gone()) };
    };
    piece(&state, &target, part, range, request).await
}

/// `DELETE` of a session: what came of the file is removed.
pub(crate) async fn give_up(
    State(state): State<AppState>,
    PathParams(parts): PathParams<PathParts>,
    request: Request,
) -> Result<Response, ServerError> {
    check_signed(&state, &request, &Method::PUT, Signed::Session)?;
    let session = super::signed::upload_id(&request).unwrap_or_default();
    let target = Target::find(&state, parts).await?;
    let part = target.store(&state, move |uploads, model, file| uploads.open(model, file, &session)).await?;
    let part = part.ok_or_else(gone)?;
    blocking(move || part.discard()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn gone() -> ServerError {
    ServerError::NotFound("this upload was given up, replaced or removed; begin it again".to_owned())
}

fn done() -> Response {
    Body::empty().into_response()
}

/// Whether the file is complete: the last answer to a session may have been lost.
async fn is_there(state: &AppState, target: &Target) -> Result<bool, ServerError> {
    let found = target.store(state, |uploads, model, file| uploads.size_bytes(model, file)).await?;
    let expected = target.file.size_bytes;
    Ok(found.is_some_and(|size| expected == 0 || size == expected))
}

/// What `content-range` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentRange {
    /// Nothing: all bytes from the first on.
    None,
    /// `bytes */SIZE`: a question.
    Question { size: Option<u64> },
    /// `bytes FIRST-LAST/SIZE`.
    Piece { first: u64, last: u64, size: Option<u64> },
}

impl ContentRange {
    fn of(headers: &HeaderMap) -> Result<Self, ServerError> {
        let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(Self::None) };
        value.to_str().ok().and_then(Self::parse).ok_or_else(|| {
            ServerError::invalid(
                "header content-range is not of the form bytes FIRST-LAST/SIZE or bytes */SIZE",
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (range, size) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
        let size = if size == "*" { None } else { Some(size.parse().ok()?) };
        if range == "*" {
            return Some(Self::Question { size });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let is_inside = first <= last && size.is_none_or(|size| last < size);
        is_inside.then_some(Self::Piece { first, last, size })
    }
}

/// Stores the body of one request behind what a session has already.
async fn piece(
    state: &AppState,
    target: &Target,
    mut part: FilePart,
    range: ContentRange,
    request: Request,
) -> Result<Response, ServerError> {
    let there = part.size_bytes();
    let (first, last, size) = match range {
        ContentRange::Question { size } => {
            let size = target.size(size)?;
            return if size == Some(there) {
                finish(state, target, part).await
            } else {
                Ok(incomplete(there))
            };
        }
        ContentRange::None => (0, None, target.size(None)?),
        ContentRange::Piece { first, last, size } => (first, Some(last), target.size(size)?),
    };
    if first > there {
        return Err(ServerError::invalid(format!(
            "bytes from {first} on were sent and {there} are there; ask for the state with content-range: bytes */*"
        )));
    }
    let end = last.map_or(size.unwrap_or(MODEL_FILE_MAX_BYTES), |last| last + 1);
    if size.is_some_and(|size| end > size) || end > MODEL_FILE_MAX_BYTES {
        return Err(ServerError::invalid(format!("bytes up to {end} are more than the file has")));
    }
    let _permit = state.upload_permit()?;
    part.truncate(first)?;
    let pieces = request.into_body().into_data_stream().map_err(axum::Error::into_inner);
    let written = append(part.writer()?, pieces, end - first).await;
    let (part, there) = blocking(move || part.sync().map(|there| (part, there))).await?;
    match written {
        // What came stays: the client asks how much it is and goes on.
        Err(AppendError::Broken(error)) => Err(StoreError::BrokenOff { source: error }.into()),
        Err(AppendError::Write(source)) => Err(written_badly(source)),
        Err(AppendError::TooLong) => {
            let mut part = part;
            blocking(move || part.truncate(first)).await?;
            Err(ServerError::invalid(format!("the body has more bytes than {}", end - first)))
        }
        Ok(()) if last.is_some() && there < end => {
            Err(ServerError::invalid(format!("the body has {} bytes of {}", there - first, end - first)))
        }
        Ok(()) if size == Some(there) || (size.is_none() && last.is_none()) => {
            finish(state, target, part).await
        }
        Ok(()) if last.is_none() => Err(ServerError::invalid(format!(
            "the body has {there} bytes and {} were announced",
            size.unwrap_or_default()
        ))),
        Ok(()) => Ok(incomplete(there)),
    }
}

/// A whole file in one request: all of it, or nothing.
async fn whole(state: &AppState, target: &Target, request: Request) -> Result<Response, ServerError> {
    let rule = size_rule(target.file.size_bytes, MODEL_FILE_MAX_BYTES, request.headers())?;
    let _permit = state.upload_permit()?;
    let session = target.store(state, |uploads, model, file| uploads.begin(model, file)).await?;
    let part = target.store(state, move |uploads, model, file| uploads.open(model, file, &session)).await?;
    let mut part = part.ok_or_else(gone)?;
    let pieces = request.into_body().into_data_stream().map_err(axum::Error::into_inner);
    let (SizeRule::Exactly(most) | SizeRule::AtMost(most)) = rule;
    let written = append(part.writer()?, pieces, most).await;
    let error = match written {
        Ok(()) => {
            let (synced, there) = blocking(move || part.sync().map(|there| (part, there))).await?;
            part = synced;
            match rule {
                SizeRule::Exactly(expected_bytes) if there != expected_bytes => {
                    StoreError::SizeDiffers { expected_bytes, found_bytes: there }.into()
                }
                _ => return finish(state, target, part).await,
            }
        }
        Err(AppendError::Broken(error)) => StoreError::BrokenOff { source: error }.into(),
        Err(AppendError::TooLong) => StoreError::TooLarge { limit_bytes: most }.into(),
        Err(AppendError::Write(source)) => written_badly(source),
    };
    blocking(move || part.discard()).await?;
    Err(error)
}

/// Puts a complete part in its place, if the model still waits for it.
async fn finish(state: &AppState, target: &Target, part: FilePart) -> Result<Response, ServerError> {
    let _lock = state.model_lock(&target.model).await;
    let known = files::uploading(state, &target.model).await?;
    if registered(&known, &target.file.name)? != target.file {
        return Err(ServerError::FailedPrecondition(format!(
            "file {:?} got another size meanwhile; ask for new upload urls",
            target.file.name
        )));
    }
    blocking(move || part.finish()).await?;
    Ok(done())
}

/// 308 in the sense of the storage: more bytes are to come.
fn incomplete(there: u64) -> Response {
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    if there > 0 {
        let range =
            HeaderValue::from_str(&format!("bytes=0-{}", there - 1)).expect("digits are a header's value");
        response.headers_mut().insert(header::RANGE, range);
    }
    response
}

pub(crate) fn written_badly(source: std::io::Error) -> ServerError {
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ServerError::ResourceExhausted("the server's disk is full".to_owned())
        }
        _ => ServerError::internal("writing an upload", source),
    }
}

/// Why a body was not stored to its end.
pub(crate) enum AppendError {
    Broken(BoxError),
    TooLong,
    Write(std::io::Error),
}

/// Writes a stream behind what a file has, gathered into larger pieces. Of a stream that breaks off, what came stays.
pub(crate) async fn append(
    file: File,
    mut pieces: impl Stream<Item = Result<Bytes, BoxError>> + Unpin,
    most_bytes: u64,
) -> Result<(), AppendError> {
    let mut file =
        tokio::io::BufWriter::with_capacity(MODEL_PART_BUFFER_BYTES, tokio::fs::File::from_std(file));
    let mut left = most_bytes;
    let result = loop {
        match pieces.next().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(AppendError::Broken(error)),
            Some(Ok(piece)) => match left.checked_sub(piece.len() as u64) {
                None => break Err(AppendError::TooLong),
                Some(rest) => {
                    left = rest;
                    file.write_all(&piece).await.map_err(AppendError::Write)?;
                }
            },
        }
    };
    file.flush().await.map_err(AppendError::Write)?;
    result
}

#[cfg(test)]
mod tests {
    use super::ContentRange;

    #[test]
    fn ranges_are_read() {
        let check = |text: &str, expect: Option<ContentRange>| {
            assert_eq!(ContentRange::parse(text), expect, "{text}");
        };
        let piece = |first, last, size| Some(ContentRange::Piece { first, last, size });
        check("bytes 0-9/20", piece(0, 9, Some(20)));
        check("bytes 5-5/*", piece(5, 5, None));
        check("bytes */20", Some(ContentRange::Question { size: Some(20) }));
        check("bytes */*", Some(ContentRange::Question { size: None }));
        for wrong in [
            "",
            "bytes",
            "bytes 0-20/20",
            "bytes 5-4/20",
            "bytes -4/20",
            "bytes 0-/20",
            "chars 0-1/2",
            "bytes 0-1",
        ] {
            check(wrong, None);
        }
    }
}
