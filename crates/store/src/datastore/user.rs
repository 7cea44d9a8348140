//! Users. An account that has an admin keeps one, and no two users of an account have the same address.

use hearth_domain::user::user_id_of_email;
use hearth_domain::{AccountId, ApiKey, KeyRights, User, UserId, UserRole};
use sqlx::{Sqlite, Transaction};

use super::Store;
use super::owned::{get_in, insert, put_in};
use crate::error::StoreError;
use crate::page::parse;

const KIND: &str = "user";
/// Ids that are tried for a user who was not given one.
const GENERATED_IDS_MAX: usize = 100;

/// What a new user is called.
#[derive(Clone, Debug)]
pub enum NewUserId {
    /// This.
    Given(UserId),
    /// What the address says, with a number behind it if others have that id.
    OfEmail,
}

/// The user with this address, if there is one.
async fn by_email(
    tx: &mut Transaction<'static, Sqlite>,
    account: &AccountId,
    email: &str,
) -> Result<Option<User>, StoreError> {
    // As the index says it.
    let found: Option<(String, String)> = sqlx::query_as(
        "SELECT id, record FROM user WHERE account = ?1 AND record ->> '$.email' = ?2 AND record ->> '$.email' <> ''",
    )
    .bind(account.as_str())
    .bind(email)
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    found.map(|(id, text)| parse(KIND, &id, &text)).transpose()
}

async fn email_is_free(tx: &mut Transaction<'static, Sqlite>, user: &User) -> Result<(), StoreError> {
    match by_email(tx, &user.account, &user.email).await? {
        Some(other) if other.id != user.id => Err(StoreError::AlreadyExists {
            kind: "a user with the email",
            name: format!("{:?} in {}", user.email, other.name()),
        }),
        _ => Ok(()),
    }
}

/// `FAILED_PRECONDITION` unless the account has an admin besides this one.
async fn another_admin(tx: &mut Transaction<'static, Sqlite>, user: &User) -> Result<(), StoreError> {
    let admins: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM user WHERE account = ?1 AND id <> ?2 AND record ->> '$.role' = ?3",
    )
    .bind(user.account.as_str())
    .bind(user.id.as_str())
    .bind(UserRole::Admin.name())
    .fetch_one(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    if admins > 0 {
        return Ok(());
    }
    let message = "is the last admin of its account; make another user an admin first";
    Err(StoreError::WrongState { kind: KIND, name: user.name(), message })
}

async fn add(
    tx: &mut Transaction<'static, Sqlite>,
    id: NewUserId,
    make: impl Fn(UserId) -> User,
) -> Result<User, StoreError> {
    let given = match id {
        NewUserId::Given(id) => make(id),
        NewUserId::OfEmail => {
            let email = make(user_id_of_email("", 0)).email;
            let mut taken = 0;
            loop {
                let user = make(user_id_of_email(&email, taken));
                taken += 1;
                let found = get_in::<User>(tx, &user.account, user.id.as_str()).await;
                match found {
                    Ok(_) if taken < GENERATED_IDS_MAX => {}
                    Err(error) if error.code() != hearth_domain::Code::NotFound => return Err(error),
                    _ => break user,
                }
            }
        }
    };
    // The address first: a caller that repeats itself learns which user it made.
    email_is_free(tx, &given).await?;
    insert(&mut **tx, &given).await?;
    Ok(given)
}

impl Store {
    /// Adds a user. `ALREADY_EXISTS` if the id or the address is taken, `NOT_FOUND` without the account.
    pub async fn user_create(
        &self,
        account: &AccountId,
        id: NewUserId,
        make: impl Fn(UserId) -> User,
    ) -> Result<User, StoreError> {
        self.account_get(account).await?;
        let mut tx = self.begin_write().await?;
        let user = add(&mut tx, id, make).await?;
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(user)
    }

    /// The user with this address, if there is one.
    pub async fn user_by_email(&self, account: &AccountId, email: &str) -> Result<Option<User>, StoreError> {
        by_email(&mut self.begin_read().await?, account, email).await
    }

    /// The user with this address, made if there is none. `NOT_FOUND` without the account.
    pub async fn user_of_email(
        &self,
        account: &AccountId,
        email: &str,
        make: impl Fn(UserId) -> User,
    ) -> Result<User, StoreError> {
        self.account_get(account).await?;
        let mut tx = self.begin_write().await?;
        let user = match by_email(&mut tx, account, email).await? {
            Some(user) => user,
            None => add(&mut tx, NewUserId::OfEmail, make).await?,
        };
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(user)
    }

    /// Changes a user: reads it, lets `change` decide, writes it, all in one transaction. `FAILED_PRECONDITION` if no
    /// admin of the account would be left, `ALREADY_EXISTS` if another user has the address.
    pub async fn user_update<E: From<StoreError>>(
        &self,
        account: &AccountId,
        id: &UserId,
        change: impl FnOnce(&mut User) -> Result<(), E> + Send,
    ) -> Result<User, E> {
        let mut tx = self.begin_write().await?;
        let before: User = get_in(&mut tx, account, id.as_str()).await?;
        let mut after = before.clone();
        change(&mut after)?;
        if before.role == UserRole::Admin && after.role != UserRole::Admin {
            another_admin(&mut tx, &before).await?;
        }
        if after.email != before.email {
            email_is_free(&mut tx, &after).await?;
        }
        put_in(&mut tx, &before, &after).await?;
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(after)
    }

    /// Removes a user and all keys of theirs. `FAILED_PRECONDITION` if no admin of the account would be left, or one of the
    /// keys is the operator's.
    pub async fn user_delete(&self, account: &AccountId, id: &UserId) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        let user: User = get_in(&mut tx, account, id.as_str()).await?;
        if user.role == UserRole::Admin {
            another_admin(&mut tx, &user).await?;
        }
        let keys: Vec<(String, String)> = sqlx::query_as(
            "SELECT key_id, record FROM api_key WHERE account = ?1 AND record ->> '$.user' = ?2",
        )
        .bind(account.as_str())
        .bind(id.as_str())
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::Database)?;
        for (key_id, text) in &keys {
            let key: ApiKey = parse("api key", key_id, text)?;
            if key.rights == KeyRights::Operator {
                let message = "has an operator's key, which opens every account; take that back first";
                return Err(StoreError::WrongState { kind: KIND, name: user.name(), message });
            }
        }
        for sql in [
            "DELETE FROM api_key WHERE account = ?1 AND record ->> '$.user' = ?2",
            "DELETE FROM user WHERE account = ?1 AND id = ?2",
        ] {
            sqlx::query(sql)
                .bind(account.as_str())
                .bind(id.as_str())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::Database)?;
        }
        tx.commit().await.map_err(StoreError::Database)
    }
}
