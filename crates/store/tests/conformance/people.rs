//! Users and API keys.

use hearth_domain::{Code, KeyRights, User, UserId, UserRole};
use hearth_store::{ListQuery, NewApiKey, NewUserId, StoreError};

use super::{account, acme, code, open};

fn user(id: UserId, email: &str) -> User {
    User {
        account: acme(),
        id,
        role: UserRole::User,
        display_name: String::new(),
        email: email.to_owned(),
        service_account: false,
        first_name: String::new(),
        last_name: String::new(),
        stated_role: String::new(),
        create_time_ms: 1,
        update_time_ms: 1,
    }
}

fn set_role(role: UserRole) -> impl FnOnce(&mut User) -> Result<(), StoreError> + Send {
    move |user| {
        user.role = role;
        Ok(())
    }
}

#[tokio::test]
async fn users_have_one_address_each_and_an_account_keeps_its_admin() {
    let (_dir, store) = open().await;
    let make = |email: &'static str| move |id| user(id, email);
    let created = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.org")).await;
    assert_eq!(code(created), Code::NotFound);
    store.account_create(&account()).await.unwrap();
    let ada = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.org")).await.unwrap();
    assert_eq!(ada.id.as_str(), "ada");
    let again = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.org")).await;
    assert_eq!(
        again.unwrap_err().to_string(),
        "a user with the email \"ada@example.org\" in accounts/acme/users/ada exists already"
    );
    let other = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.com")).await.unwrap();
    assert_eq!(other.id.as_str(), "ada-2");
    let given = |id: &str| NewUserId::Given(UserId::new(id).unwrap());
    assert_eq!(code(store.user_create(&acme(), given("ada"), make("x@y")).await), Code::AlreadyExists);
    // Without an address, any number of users.
    for id in ["bot", "bot-2"] {
        store.user_create(&acme(), given(id), make("")).await.unwrap();
    }
    assert_eq!(store.user_of_email(&acme(), "ada@example.com", make("?")).await.unwrap(), other);
    let made = store.user_of_email(&acme(), "eve@example.com", make("eve@example.com")).await.unwrap();
    assert_eq!(made.id.as_str(), "eve");

    store.user_update(&acme(), &ada.id, set_role(UserRole::Admin)).await.unwrap();
    let last = store.user_update(&acme(), &ada.id, set_role(UserRole::ReadOnly)).await;
    assert_eq!(code(last), Code::FailedPrecondition);
    store.user_update(&acme(), &other.id, set_role(UserRole::Admin)).await.unwrap();
    let ada = store.user_update(&acme(), &ada.id, set_role(UserRole::ReadOnly)).await.unwrap();
    assert_eq!(ada.role, UserRole::ReadOnly);
    let taken = |user: &mut User| {
        user.email = "ada@example.com".to_owned();
        Ok::<(), StoreError>(())
    };
    assert_eq!(code(store.user_update(&acme(), &ada.id, taken).await), Code::AlreadyExists);
}

#[tokio::test]
async fn keys_open_by_their_secret_until_they_expire() {
    let (_dir, store) = open().await;
    store.account_create(&account()).await.unwrap();
    let make = |id| user(id, "a@example.org");
    let user = store.user_create(&acme(), NewUserId::OfEmail, make).await.unwrap();
    let new = NewApiKey {
        user: user.clone(),
        display_name: "ci".into(),
        rights: KeyRights::OfUser,
        expire_time_ms: Some(100),
    };
    let (key, secret) = store.api_key_create(new, 5).await.unwrap();
    assert!(secret.starts_with("fw_") && secret.starts_with(&key.prefix) && key.prefix.len() < 12);
    let found = store.api_key_find(&secret, 99).await.unwrap().unwrap();
    assert_eq!((found.key, found.user), (key.clone(), Some(user.clone())));
    assert_eq!(store.api_key_find(&secret, 100).await.unwrap(), None);
    assert_eq!(store.api_key_find("fw_nobody", 99).await.unwrap(), None);
    let raw = std::fs::read(store.data_dir().join("hearth.db")).unwrap();
    let wal = std::fs::read(store.data_dir().join("hearth.db-wal")).unwrap_or_default();
    for file in [raw, wal] {
        assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()), "the secret is on disk");
    }

    // The key follows its user.
    let change = |user: &mut User| {
        user.email = "b@example.org".to_owned();
        set_role(UserRole::ReadOnly)(user)
    };
    let changed = store.user_update(&acme(), &user.id, change).await.unwrap();
    assert_eq!(store.api_key_find(&secret, 99).await.unwrap().unwrap().user, Some(changed));
    let query = ListQuery::default();
    let page = store.api_key_list(&acme(), Some(&user.id), &query).await.unwrap();
    assert_eq!((page.total_size, page.items[0].email.as_str()), (1, "b@example.org"));
    let nobody = UserId::new("nobody").unwrap();
    assert_eq!(store.api_key_list(&acme(), Some(&nobody), &query).await.unwrap().total_size, 0);
    assert_eq!(code(store.api_key_get(&acme(), Some(&nobody), &key.key_id).await), Code::NotFound);
    store.api_key_delete(&key).await.unwrap();
    assert_eq!(code(store.api_key_delete(&key).await), Code::NotFound);
    assert_eq!(store.api_key_find(&secret, 99).await.unwrap(), None);
}

/// Keys as the first builds wrote them, without users.
#[tokio::test]
async fn keys_of_earlier_builds_work() {
    use sha2::{Digest, Sha256};
    let (dir, store) = open().await;
    store.account_create(&account()).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("hearth.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for (role, rights) in [("admin", KeyRights::Operator), ("user", KeyRights::Account)] {
        let record = format!(
            r#"{{"key_id":"{role}","account":"acme","display_name":"","email":"old@example.org","role":"{role}","prefix":"fw_{role}","create_time_ms":1,"expire_time_ms":null}}"#
        );
        sqlx::query("INSERT INTO api_key (key_id, account, sha256, record) VALUES (?1, 'acme', ?2, ?3)")
            .bind(role)
            .bind(Sha256::digest(format!("fw_{role}")).to_vec())
            .bind(record)
            .execute(&pool)
            .await
            .unwrap();
        let found = store.api_key_find(&format!("fw_{role}"), 5).await.unwrap().unwrap();
        assert_eq!((found.key.rights, found.key.email.as_str()), (rights, "old@example.org"));
        assert_eq!(found.user, None);
    }
    let page = store.api_key_list(&acme(), None, &ListQuery::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|key| key.email.as_str()).collect::<Vec<_>>(), ["old@example.org"; 2]);
}
