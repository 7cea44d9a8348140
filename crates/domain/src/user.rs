//! Users: whose a key is, and what their keys may do.

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, ID_MAX_CHARS, UserId};

/// Longest display name, in characters.
pub const DISPLAY_NAME_MAX_CHARS: usize = 63;
/// Longest email address, in bytes.
const EMAIL_MAX_BYTES: usize = 254;

/// What a user's keys may do in the user's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserRole {
    /// Everything, with the users and everybody's keys.
    Admin,
    /// Everything but users and other users' keys.
    User,
    /// Reads, and chats.
    ReadOnly,
    /// The hosted service's name for the same.
    InferenceUser,
}

/// Why a text is not a role of this server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// A role of the hosted service.
    #[error("{0:?} is not supported by this server yet; use \"user\" or \"read-only\"")]
    Unsupported(&'static str),
    /// No role.
    #[error("is not a role; roles are \"admin\", \"user\", \"read-only\" and \"inference-user\"")]
    Unknown,
}

impl UserRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::User, Self::ReadOnly, Self::InferenceUser];

    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::ReadOnly => "read-only",
            Self::InferenceUser => "inference-user",
        }
    }

    /// Reads what [`name`](Self::name) writes. The hosted service's roles that need an owner for each resource or a
    /// list of permissions are refused by name.
    pub fn from_name(name: &str) -> Result<Self, RoleError> {
        match name {
            "contributor" => Err(RoleError::Unsupported("contributor")),
            "custom" => Err(RoleError::Unsupported("custom")),
            _ => Self::ALL.into_iter().find(|role| role.name() == name).ok_or(RoleError::Unknown),
        }
    }

    /// Whether keys may make, change and delete resources.
    pub fn may_change(self) -> bool {
        match self {
            Self::Admin | Self::User => true,
            Self::ReadOnly | Self::InferenceUser => false,
        }
    }

    /// Whether keys may make and change users, and everybody's keys.
    pub fn may_administer(self) -> bool {
        match self {
            Self::Admin => true,
            Self::User | Self::ReadOnly | Self::InferenceUser => false,
        }
    }
}

/// A person or a program that uses an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The account.
    pub account: AccountId,
    /// Id in it.
    pub id: UserId,
    /// What its keys may do.
    pub role: UserRole,
    /// For people.
    pub display_name: String,
    /// Address; may be empty. No two users of an account have the same.
    pub email: String,
    /// True for a program.
    pub service_account: bool,
    /// Given name, for people.
    pub first_name: String,
    /// Family name, for people.
    pub last_name: String,
    /// What the user says that they do; it means nothing to the server.
    pub stated_role: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl User {
    /// `accounts/{account}/users/{user}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/users/{}", self.account, self.id)
    }
}

/// What is wrong with an email address, if something is. It may end up in a header, so it is plain ASCII.
pub fn email_problem(email: &str) -> Option<&'static str> {
    if email.len() > EMAIL_MAX_BYTES {
        return Some("is longer than 254 bytes");
    }
    if !email.bytes().all(|b| b.is_ascii_graphic()) {
        return Some("has a character that is not ASCII, or a space");
    }
    match email.split_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !domain.contains('@') => None,
        _ => Some("is not an address of the form name@domain"),
    }
}

/// The id of a user who was not given one: what stands before the `@`, with a hyphen for all that an id cannot have.
/// If others have that id, `taken` is how many were tried, and the id ends with a number.
pub fn user_id_of_email(email: &str, taken: usize) -> UserId {
    let local = email.split('@').next().unwrap_or_default().to_ascii_lowercase();
    let mut id: String =
        local.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    if !id.starts_with(|c: char| c.is_ascii_lowercase()) {
        id.insert_str(0, "u-");
    }
    let end = if taken == 0 { String::new() } else { format!("-{}", taken + 1) };
    id.truncate(ID_MAX_CHARS - end.len());
    let id = format!("{}{end}", id.trim_end_matches('-'));
    UserId::new(id).expect("what is not allowed was replaced")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_follow_the_address() {
        let check = |email: &str, taken: usize, expect: &str| {
            assert_eq!(user_id_of_email(email, taken).as_str(), expect);
        };
        check("ada@example.org", 0, "ada");
        check("Ada.Lovelace+x@example.org", 0, "ada-lovelace-x");
        check("ada@example.org", 1, "ada-2");
        check("42@example.org", 0, "u-42");
        check("_@example.org", 0, "u");
        check(&format!("{}@example.org", "a".repeat(80)), 9, &format!("{}-10", "a".repeat(60)));
    }

    #[test]
    fn addresses() {
        for good in ["a@b", "ada@example.org", "operator@localhost"] {
            assert_eq!(email_problem(good), None, "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a b@c", "a@b@c", "a@b\n", "\u{e4}@b"] {
            assert!(email_problem(bad).is_some(), "{bad:?}");
        }
        assert!(email_problem(&format!("{}@b", "a".repeat(300))).is_some());
    }

    #[test]
    fn roles_have_one_name_everywhere() {
        for role in UserRole::ALL {
            assert_eq!(UserRole::from_name(role.name()), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
            assert!(role.may_change() || !role.may_administer());
        }
        assert_eq!(UserRole::from_name("contributor"), Err(RoleError::Unsupported("contributor")));
        assert_eq!(UserRole::from_name("Admin"), Err(RoleError::Unknown));
    }

    proptest! {
        #[test]
        fn every_text_gives_an_id(email: String, taken in 0usize..2000) {
            user_id_of_email(&email, taken);
        }
    }
}
