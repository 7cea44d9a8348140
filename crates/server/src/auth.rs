//! Who calls: API keys in `Authorization: Bearer` or `x-api-key`, and what a key opens.

use std::net::IpAddr;

use hearth_domain::{Account, AccountId, KeyRights, UserId, UserRole};
use hearth_store::FoundKey;
use http::{HeaderMap, header};

use crate::error::ServerError;
use crate::note;
use crate::rate::Class;
use crate::state::AppState;

/// The other header that may hold a key. gRPC metadata can hold it twice.
const API_KEY_HEADER: &str = "x-api-key";

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// The operator of the server: everything, in every account.
    Operator,
    /// What this role may do in the caller's own account.
    Member(UserRole),
}

/// The bearer of a valid key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account that the key belongs to.
    pub account: AccountId,
    /// Id of the key, which is no secret.
    pub key_id: String,
    /// Whose key it is. Keys that were made before there were users have none.
    pub user: Option<UserId>,
    /// What the key may do.
    pub rights: Rights,
    /// Address of its user; may be empty.
    pub email: String,
    /// The account of the key is suspended.
    pub is_suspended: bool,
}

impl Caller {
    /// Of a valid key, as its user is now.
    fn new(found: FoundKey) -> Self {
        let FoundKey { key, user, is_suspended } = found;
        let rights = match (key.rights, &user) {
            (KeyRights::Operator, _) => Rights::Operator,
            (KeyRights::OfUser, Some(user)) => Rights::Member(user.role),
            // A key cannot say that it is its user's and have none; the least that a record may mean.
            (KeyRights::OfUser, None) => Rights::Member(UserRole::ReadOnly),
            (KeyRights::Account, _) => Rights::Member(UserRole::User),
        };
        let email = user.map_or(key.email, |user| user.email);
        Self { account: key.account, key_id: key.key_id, user: key.user, rights, email, is_suspended }
    }

    /// The server itself, which does something for an account.
    pub(crate) fn of_account(account: AccountId, email: String) -> Self {
        let rights = Rights::Member(UserRole::User);
        Self { account, key_id: String::new(), user: None, rights, email, is_suspended: false }
    }

    /// True for the operator of the server, whose key opens every account.
    pub fn is_operator(&self) -> bool {
        match self.rights {
            Rights::Operator => true,
            Rights::Member(_) => false,
        }
    }

    /// Refuses resources of other accounts.
    pub fn may_read(&self, account: &AccountId) -> Result<(), ServerError> {
        if self.is_operator() || self.account == *account {
            return Ok(());
        }
        Err(ServerError::PermissionDenied(format!("this key does not open account {account}")))
    }

    /// Refuses to make, change or delete resources of other accounts, and any with a key that only reads. Whoever may
    /// change something may also ask for URLs to upload to.
    pub fn may_change(&self, account: &AccountId) -> Result<(), ServerError> {
        self.may_read(account)?;
        match self.rights {
            Rights::Member(role) if !role.may_change() => Err(ServerError::PermissionDenied(format!(
                "this key only reads: its user has the role {:?}",
                role.name()
            ))),
            Rights::Member(_) | Rights::Operator => Ok(()),
        }
    }

    /// Refuses users and other users' keys to everyone but the admins of the account.
    pub fn may_administer(&self, account: &AccountId) -> Result<(), ServerError> {
        self.may_read(account)?;
        match self.rights {
            Rights::Member(role) if !role.may_administer() => Err(ServerError::PermissionDenied(format!(
                "only an admin of account {account} may do this; the user of this key has the role {:?}",
                role.name()
            ))),
            Rights::Member(_) | Rights::Operator => Ok(()),
        }
    }

    /// Whether this is the caller's own user.
    pub fn is_user(&self, account: &AccountId, user: &UserId) -> bool {
        self.account == *account && self.user.as_ref() == Some(user)
    }

    /// Refuses models of other accounts, except those that everybody may use.
    pub fn may_read_models(&self, account: &AccountId) -> Result<(), ServerError> {
        self.may_see(account)
    }

    /// Refuses accounts that the caller has nothing to do with; that of the shared models is everybody's.
    pub fn may_see(&self, account: &AccountId) -> Result<(), ServerError> {
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
    let caller = Caller::new(found);
    if let Some(note) = note::current() {
        note.set_who(caller.account.as_str(), &caller.key_id);
        count(state, note.class(), &caller.key_id)?;
    }
    Ok(caller)
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
    fn rights_of_each_role() {
        let (own, other) = (AccountId::new("a").unwrap(), AccountId::new("b").unwrap());
        let check = |rights: Rights, expect: [bool; 6]| {
            let caller = Caller {
                account: own.clone(),
                key_id: String::new(),
                user: None,
                rights,
                email: String::new(),
                is_suspended: false,
            };
            let got = [&own, &other].map(|account| {
                [caller.may_read(account), caller.may_change(account), caller.may_administer(account)]
                    .map(|allowed| allowed.is_ok())
            });
            assert_eq!(got.as_flattened(), expect, "{rights:?}");
        };
        check(Rights::Operator, [true; 6]);
        check(Rights::Member(UserRole::Admin), [true, true, true, false, false, false]);
        check(Rights::Member(UserRole::User), [true, true, false, false, false, false]);
        check(Rights::Member(UserRole::ReadOnly), [true, false, false, false, false, false]);
        check(Rights::Member(UserRole::InferenceUser), [true, false, false, false, false, false]);
    }

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
