//! Users.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod update;

use hearth_domain::user::{DISPLAY_NAME_MAX_CHARS, email_problem};
use hearth_domain::{Account, AccountId, Code, Status, User, UserId, UserRole, user::RoleError};
use hearth_proto::gateway as pb;

use super::time::timestamp;
use crate::error::{FieldViolation, ServerError};

/// Fields of the user that are acted on.
const SUPPORTED_FIELDS: &[&str] =
    &["displayName", "firstName", "lastName", "statedRole", "serviceAccount", "role", "email"];

/// The admin that an account begins with: whoever its address belongs to.
pub(crate) fn admin_of(account: &Account, id: UserId, now_ms: i64) -> User {
    User {
        role: UserRole::Admin,
        display_name: account.display_name.clone(),
        ..of_email(&account.id, id, account.email.clone(), now_ms)
    }
}

/// A user of whom nothing but the address is known.
pub(super) fn of_email(account: &AccountId, id: UserId, email: String, now_ms: i64) -> User {
    User {
        account: account.clone(),
        id,
        role: UserRole::User,
        display_name: String::new(),
        email,
        service_account: false,
        first_name: String::new(),
        last_name: String::new(),
        stated_role: String::new(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    }
}

/// The record as clients see it.
fn to_pb(user: &User) -> pb::User {
    pb::User {
        name: user.name(),
        display_name: user.display_name.clone(),
        first_name: user.first_name.clone(),
        last_name: user.last_name.clone(),
        stated_role: user.stated_role.clone(),
        service_account: user.service_account,
        create_time: Some(timestamp(user.create_time_ms)),
        role: user.role.name().to_owned(),
        email: user.email.clone(),
        state: pb::user::State::Ready.into(),
        status: Some(super::status_to_pb(&Status::default())),
        update_time: Some(timestamp(user.update_time_ms)),
    }
}

/// Reads a role; without one it is `user`, as the hosted service has it.
fn role(text: &str) -> Result<UserRole, ServerError> {
    if text.is_empty() {
        return Ok(UserRole::User);
    }
    UserRole::from_name(text).map_err(|error| match error {
        RoleError::Unknown => ServerError::field("user.role", error.to_string()),
        RoleError::Unsupported(_) => {
            let description = error.to_string();
            let violations = vec![FieldViolation { field: "user.role".to_owned(), description }];
            ServerError::Refused { code: Code::Unimplemented, violations }
        }
    })
}

/// Refuses texts that are too long, and what is not an address.
fn check_texts(user: &pb::User) -> Result<(), ServerError> {
    let texts = [
        ("user.displayName", &user.display_name),
        ("user.firstName", &user.first_name),
        ("user.lastName", &user.last_name),
        ("user.statedRole", &user.stated_role),
    ];
    for (field, text) in texts {
        if text.chars().count() > DISPLAY_NAME_MAX_CHARS {
            let what = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
            return Err(ServerError::field(field, what));
        }
    }
    match email_problem(&user.email) {
        Some(problem) if !user.email.is_empty() => Err(ServerError::field("user.email", problem)),
        _ => Ok(()),
    }
}
