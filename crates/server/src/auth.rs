//! Who calls: API keys in `Authorization: Bearer` or `x-api-key`, and what a key opens.

use std::net::IpAddr;

use hearth_domain::{Account, AccountId, Role};
use http::{HeaderMap, header};

use crate::error::ServerError;
use crate::note;
use crate::rate::Class;
use crate::state::AppState;

/// The other header that may hold a key. gRPC metadata can hold it twice.
const API_KEY_HEADER: &str = "x-api-key";

/// The bearer of a valid key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account that the key belongs to.
    pub account: AccountId,
    /// What the key may do there.
    pub role: Role,
    /// Whose key it is; may be empty.
    pub email: String,
    /// Id of the key, which is no secret.
    pub key_id: String,
}

impl Caller {
    /// True for the operator of the server, whose key opens every account.
    pub fn is_operator(&self) -> bool {
        match self.role {
            Role::Admin => true,
            Role::User => false,
        }
    }

    /// Refuses to change resources of other accounts.
    pub fn may_change(&self, account: &AccountId) -> Result<(), ServerError> {
        self.may_read(account)
    }

    /// Refuses resources of other accounts.
    pub fn may_read(&self, account: &AccountId) -> Result<(), ServerError> {
        if self.is_operator() || self.account == *account {
            return Ok(());
        }
        Err(ServerError::PermissionDenied(format!("this key does not open account {account}")))
    }

    /// Refuses models of other accounts, except those that everybody may use.
    pub fn may_read_models(&self, account: &AccountId) -> Result<(), ServerError> {
        if account.as_str() == Account::CATALOGUE { Ok(()) } else { self.may_read(account) }
    }

    /// Refuses everyone but the operator.
    pub fn must_be_operator(&self, to: &str) -> Result<(), ServerError> {
        if self.is_operator() {
            return Ok(());
        }
        Err(ServerError::PermissionDenied(format!("only the operator's key may {to}")))
    }
}

/// The key of a request: the first that is there.
fn key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get_all(header::AUTHORIZATION).into_iter().filter_map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let plain = headers.get_all(API_KEY_HEADER).into_iter().filter_map(|value| value.to_str().ok());
    bearer.chain(plain.map(str::trim)).find(|key| !key.is_empty())
}

/// Finds out who calls, notes it for the log, and counts the call. Without a key, or with an unknown or expired one:
/// UNAUTHENTICATED, or RESOURCE_EXHAUSTED after many wrong ones from one address. A valid key is never refused for the
/// wrong ones of others at its address: all clients behind a proxy have the same.
pub async fn authenticate(state: &AppState, headers: &HeaderMap) -> Result<Caller, ServerError> {
    let key = key(headers).ok_or(ServerError::Unauthenticated(
        "no API key; send it as \"Authorization: Bearer KEY\" or as \"x-api-key: KEY\"",
    ))?;
    let Some(found) = state.store().api_key_find(key, crate::now_ms()).await? else {
        if let Some(peer) = note::current().and_then(|note| note.peer) {
            count(state, Class::WrongKey, &network(peer))?;
        }
        return Err(ServerError::Unauthenticated("the API key is not valid"));
    };
    if let Some(note) = note::current() {
        note.set_who(found.account.as_str(), &found.key_id);
        count(state, note.class(), &found.key_id)?;
    }
    Ok(Caller { account: found.account, role: found.role, email: found.email, key_id: found.key_id })
}

/// Counts a call of a key or an address, or refuses it with RESOURCE_EXHAUSTED.
pub(crate) fn count(state: &AppState, class: Class, holder: &str) -> Result<(), ServerError> {
    state.rates().take(class, holder).map_err(|retry_after| {
        if let Some(note) = note::current() {
            note.set_limited(class, retry_after);
        }
        ServerError::RateLimited { what: class.what(), retry_after }
    })
}

/// An address as far as it tells clients apart: a household has 2^64 IPv6 addresses.
fn network(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => (u128::from(address) >> 64).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_either_header() {
        let check = |pairs: &[(&'static str, &'static str)], expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(key(&headers), expect, "{pairs:?}");
        };
        check(&[], None);
        check(&[("authorization", "Bearer k")], Some("k"));
        check(&[("authorization", "bearer  k ")], Some("k"));
        check(&[("authorization", "Basic k")], None);
        check(&[("authorization", "Bearer ")], None);
        check(&[("x-api-key", "k"), ("x-api-key", "k")], Some("k"));
        check(&[("authorization", "Basic x"), ("x-api-key", "k")], Some("k"));
    }
}
