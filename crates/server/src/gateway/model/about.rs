//! What people write about a model.

use hearth_proto::gateway as pb;

use crate::error::ServerError;

/// Longest display name, in characters.
const DISPLAY_NAME_MAX_CHARS: usize = 63;
/// Longest description, in characters.
const DESCRIPTION_MAX_CHARS: usize = 999;
/// Longest URL, in characters.
const URL_MAX_CHARS: usize = 2000;

/// Refuses texts that are too long.
pub(super) fn check_texts(model: &pb::Model) -> Result<(), ServerError> {
    let texts = [
        ("displayName", &model.display_name, DISPLAY_NAME_MAX_CHARS),
        ("description", &model.description, DESCRIPTION_MAX_CHARS),
        ("githubUrl", &model.github_url, URL_MAX_CHARS),
        ("huggingFaceUrl", &model.hugging_face_url, URL_MAX_CHARS),
    ];
    for (field, text, limit) in texts {
        if text.chars().count() > limit {
            let what = format!("is longer than {limit} characters");
            return Err(ServerError::field(&format!("model.{field}"), what));
        }
    }
    Ok(())
}
