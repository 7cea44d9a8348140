//! What is to be fetched, and what opens it.

use hearth_domain::Location;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::access::{AwsAccess, AzureAccess};
use crate::error::RemoteError;
use crate::services::Services;

/// Longest request, in bytes.
pub const REQUEST_MAX_BYTES: usize = 1 << 20;

/// What a process that fetches rows is told over its standard input, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Which rows.
    pub parts: Vec<Part>,
    /// What opens those in S3.
    pub aws: AwsAccess,
    /// What opens those in Azure.
    pub azure: AzureAccess,
    /// Where the services are.
    pub services: Services,
}

/// Rows of one use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `train` or `eval`; names of files begin with it.
    pub name: String,
    /// Where they lie.
    pub location: Location,
}

impl Request {
    /// For the pipe.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        serde_json::to_vec(self)
            .map(Zeroizing::new)
            .map_err(|source| RemoteError::internal("writing what is to be fetched", source))
    }

    /// From the pipe. The error says nothing of what it held.
    pub fn from_json(text: &[u8]) -> Result<Self, RemoteError> {
        serde_json::from_slice(text)
            .map_err(|_| RemoteError::internal("reading what is to be fetched", "it is no such request"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AccessKey;

    #[test]
    fn a_request_goes_through_a_pipe_and_is_not_shown() {
        let location = Location::parse("s3://bucket/rows.jsonl").unwrap();
        let request = Request {
            parts: vec![Part { name: "train".to_owned(), location }],
            aws: AwsAccess::Key(AccessKey {
                id: "id".to_owned(),
                secret: "hush".to_owned().into(),
                token: Some("hush-token".to_owned().into()),
            }),
            azure: AzureAccess::Sas { token: "sig=hush".to_owned().into() },
            services: Services::default().with_azure("http://127.0.0.1:1").unwrap(),
        };
        assert!(!format!("{request:?}").contains("hush"));
        let text = request.to_json().unwrap();
        let read = Request::from_json(&text).unwrap();
        assert_eq!((&read.parts, &read.services), (&request.parts, &request.services));
        assert_eq!(read.to_json().unwrap(), text);
        assert!(String::from_utf8_lossy(&text).contains("hush-token"));
        let error = Request::from_json(b"{\"hush\": 1}").unwrap_err();
        assert!(!format!("{error:?}").contains("hush"));
    }
}
