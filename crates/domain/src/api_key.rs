//! API keys, without their secrets.

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, UserId};

/// What gives a key its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRights {
    /// The operator of the server: everything, in every account. Records call it `admin` since the first build.
    #[serde(rename = "admin")]
    Operator,
    /// A key that was made before there were users: everything in its account that [`UserRole::User`] may do.
    ///
    /// [`UserRole::User`]: crate::UserRole::User
    #[serde(rename = "user")]
    Account,
    /// The role that its user has when it is used.
    #[serde(rename = "of_user")]
    OfUser,
}

/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Id, unique on this server.
    pub key_id: String,
    /// The account that it opens.
    pub account: AccountId,
    /// Whose it is. Keys that were made before there were users have none.
    #[serde(default)]
    pub user: Option<UserId>,
    /// For people.
    pub display_name: String,
    /// Address of whose it was when it was made; may be empty.
    pub email: String,
    /// What gives it its rights.
    #[serde(rename = "role")]
    pub rights: KeyRights,
    /// First characters of the secret.
    pub prefix: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it stops working.
    pub expire_time_ms: Option<i64>,
}

impl ApiKey {
    /// Whether it works at this time.
    pub fn is_valid(&self, now_ms: i64) -> bool {
        self.expire_time_ms.is_none_or(|end_ms| now_ms < end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_builds_are_read() {
        let record = |role: &str| {
            format!(
                r#"{{"key_id":"0f","account":"default","display_name":"operator","email":"operator@localhost",
                "role":"{role}","prefix":"fw_abcde","create_time_ms":1,"expire_time_ms":null}}"#
            )
        };
        let check = |role: &str, expect: KeyRights| {
            let key: ApiKey = serde_json::from_str(&record(role)).unwrap();
            assert_eq!((key.rights, key.user), (expect, None), "{role}");
        };
        check("admin", KeyRights::Operator);
        check("user", KeyRights::Account);
    }
}
