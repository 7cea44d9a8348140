//! Why a service could not be asked, in our words: other texts may repeat what was sent, or what came.

use std::error::Error;
use std::io::ErrorKind;

use crate::error::RemoteError;

/// How rustls begins what it says of a certificate that it does not accept.
const WRONG_CERTIFICATE: &str = "invalid peer certificate";

/// The error of a request that got no answer. `what` says what cannot be reached.
pub(crate) fn unreachable(what: &str, error: &(dyn Error + 'static)) -> RemoteError {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    match chain.find_map(|error| error.downcast_ref::<ureq::Error>()).map(cause) {
        // It will be the same the next time.
        Some(Cause::Certificate) => RemoteError::Refused(format!(
            "{what}: its certificate is not of an authority that this server trusts, or is for another name; the \
             operator must see to it"
        )),
        Some(Cause::Other(why)) => RemoteError::Unreachable(format!("{what} ({why})")),
        None => RemoteError::Unreachable(what.to_owned()),
    }
}

enum Cause {
    Certificate,
    Other(String),
}

fn cause(error: &ureq::Error) -> Cause {
    Cause::Other(match error {
        ureq::Error::Io(error)
            if error.kind() == ErrorKind::InvalidData && error.to_string().starts_with(WRONG_CERTIFICATE) =>
        {
            return Cause::Certificate;
        }
        ureq::Error::Io(error) => error.kind().to_string(),
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::HostNotFound => "there is no such host".to_owned(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "TLS failed".to_owned(),
        _ => "the request failed".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn causes_are_in_our_words() {
        let check = |error: ureq::Error, expect: &str| {
            assert_eq!(unreachable("S3 cannot be reached", &error).to_string(), expect);
        };
        check(
            io::Error::from(ErrorKind::ConnectionRefused).into(),
            "S3 cannot be reached (connection refused)",
        );
        check(ureq::Error::HostNotFound, "S3 cannot be reached (there is no such host)");
        check(io::Error::other("hush").into(), "S3 cannot be reached (other error)");
        let error = unreachable("S3", &io::Error::other("hush"));
        assert!(matches!(&error, RemoteError::Unreachable(text) if text == "S3"), "{error}");
        let wrong = io::Error::new(ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer");
        let error = unreachable("S3", &ureq::Error::from(wrong));
        assert!(
            matches!(&error, RemoteError::Refused(text) if text.starts_with("S3: its certificate")),
            "{error}"
        );
    }
}
