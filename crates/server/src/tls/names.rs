//! The names that a certificate of this server's own is good for.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use http::Uri;

use crate::error::ServerError;

/// Most names that an operator may add.
const NAMES_MAX: usize = 100;
/// Longest host name.
const NAME_MAX_CHARS: usize = 253;

/// The local names, the address that the server listens on, the machine's name, the public URL's host, and what the
/// operator adds. FAILED_PRECONDITION names what is neither a host name nor an address.
pub(super) fn all(
    added: &[String],
    listen: SocketAddr,
    public_url: Option<&str>,
) -> Result<Vec<String>, ServerError> {
    if added.len() > NAMES_MAX {
        return Err(ServerError::FailedPrecondition(format!(
            "--tls-name is given {} times; {NAMES_MAX} are the most",
            added.len()
        )));
    }
    let mut names: BTreeSet<String> =
        ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).collect();
    if !listen.ip().is_unspecified() {
        names.insert(listen.ip().to_string());
    }
    // A machine's name that cannot stand in a certificate is of no use to clients either.
    names.extend(normal(&rustix::system::uname().nodename().to_string_lossy()));
    if let Some(url) = public_url {
        let host = url.parse::<Uri>().ok().and_then(|url| url.host().and_then(normal));
        names.insert(host.ok_or_else(|| bad("--public-url", url))?);
    }
    for name in added {
        names.insert(normal(name).ok_or_else(|| bad("--tls-name", name))?);
    }
    Ok(names.into_iter().collect())
}

fn bad(flag: &str, name: &str) -> ServerError {
    let shown: String = name.chars().take(NAME_MAX_CHARS).collect();
    ServerError::FailedPrecondition(format!(
        "{flag}: {shown:?} has no host name or address for a certificate"
    ))
}

/// An address in its usual form, or a host name in lower case (with a star at most for its first part).
fn normal(name: &str) -> Option<String> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let valid =
        name.len() <= NAME_MAX_CHARS && name.strip_prefix("*.").unwrap_or(&name).split('.').all(is_part);
    valid.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let check = |name: &str, expect: Option<&str>| assert_eq!(normal(name).as_deref(), expect, "{name}");
        check("Example.ORG.", Some("example.org"));
        check("*.example.org", Some("*.example.org"));
        check("[::1]", Some("::1"));
        check("0:0:0:0:0:0:0:1", Some("::1"));
        check("10.0.0.1", Some("10.0.0.1"));
        for bad in ["", ".", "a..b", "-a", "a b", "a/b", "a*.org", "https://a", &"x".repeat(64)] {
            check(bad, None);
        }
    }

    #[test]
    fn what_the_server_knows_is_among_them() {
        let added = ["Models.example.org".to_owned()];
        let all =
            all(&added, "10.0.0.1:443".parse().unwrap(), Some("https://hearth.example.org:8443/")).unwrap();
        for name in ["localhost", "127.0.0.1", "::1", "10.0.0.1", "hearth.example.org", "models.example.org"]
        {
            assert!(all.iter().any(|one| one == name), "{name} is not in {all:?}");
        }
        let any = super::all(&[], "0.0.0.0:443".parse().unwrap(), None).unwrap();
        assert!(!any.contains(&"0.0.0.0".to_owned()));
        let error = super::all(&["a b".to_owned()], "[::]:443".parse().unwrap(), None).unwrap_err();
        assert!(error.to_string().contains("--tls-name"), "{error}");
    }
}
