//! `GET /verifyApiKey`: whose key this is.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::ServerError;
use crate::state::AppState;

/// Header that names the account of the key.
const ACCOUNT_ID: HeaderName = HeaderName::from_static("x-fireworks-account-id");
/// Header that holds the address of the key's owner.
const DEVELOPER_EMAIL: HeaderName = HeaderName::from_static("x-fireworks-developer-email");

/// 200 with an empty body and the two headers, or 401.
pub(crate) async fn verify_api_key(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, ServerError> {
    let caller = crate::auth::authenticate(&state, &headers).await?;
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|source| ServerError::internal("writing a header", source))
    };
    let mut response = ().into_response();
    response.headers_mut().insert(ACCOUNT_ID, value(caller.account.as_str())?);
    response.headers_mut().insert(DEVELOPER_EMAIL, value(&caller.email)?);
    Ok(response)
}
