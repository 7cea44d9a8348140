//! Values in and out, keys that are gone, rows that were altered, and rotations that are killed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hearth_domain::{Account, AccountId, Code, SecretId};
use secrecy::ExposeSecret;

use super::*;
use crate::keyring::SecretKeys;

fn name(id: &str) -> SecretRef {
    SecretRef { account: AccountId::new("acme").unwrap(), id: SecretId::new(id).unwrap() }
}

async fn open(dir: &Path) -> Store {
    Store::open(dir, 1).await.unwrap()
}

/// A store with secrets `a` and `b`, whose values are `value of a` and `value of b`.
async fn filled(dir: &Path) -> Store {
    let store = open(dir).await;
    let account = Account::new(AccountId::new("acme").unwrap(), "", "", 1);
    store.account_create(&account).await.unwrap();
    add(&store, "a").await.unwrap();
    add(&store, "b").await.unwrap();
    store
}

async fn add(store: &Store, id: &str) -> Result<Secret, StoreError> {
    let value = SecretString::from(format!("value of {id}"));
    store.secret_create(&NewSecret { name: name(id), key_name: "K".to_owned(), value }, 5).await
}

async fn value(store: &Store, id: &str) -> Result<String, StoreError> {
    store.secret_value(&name(id)).await.map(|value| value.expose_secret().to_owned())
}

#[track_caller]
fn check_closed<T: std::fmt::Debug>(result: Result<T, StoreError>, part: &str) {
    let error = result.unwrap_err();
    assert!(error.code() == Code::FailedPrecondition && error.to_string().contains(part), "{error}");
}

fn key_file(dir: &Path) -> std::path::PathBuf {
    dir.join("secrets-key")
}

fn keys_in(dir: &Path) -> usize {
    std::fs::read_to_string(key_file(dir)).unwrap().lines().count()
}

#[tokio::test]
async fn values_come_back_and_stand_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert!(!key_file(dir.path()).exists(), "the key is made with the first secret");
    drop(store);
    let store = filled(dir.path()).await;
    let mode = std::fs::metadata(key_file(dir.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(add(&store, "a").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(value(&store, "none").await.unwrap_err().code(), Code::NotFound);
    let new = SecretString::from("value of c");
    let after = store.secret_update(&name("a"), None, Some(&new), 7).await.unwrap();
    assert_eq!((after.key_name.as_str(), after.create_time_ms, after.update_time_ms), ("K", 5, 7));
    let after = store.secret_update(&name("a"), Some("L".to_owned()), None, 8).await.unwrap();
    assert_eq!(after.key_name, "L");
    assert_eq!(value(&store, "a").await.unwrap(), "value of c");
    assert_eq!(value(&store, "b").await.unwrap(), "value of b");
    assert!(store.secrets_closed().await.unwrap().is_empty());
    store.close().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(8).any(|part| part == b"value of"), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_key_that_is_gone_or_another_one_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let kept = std::fs::read_to_string(key_file(dir.path())).unwrap();
    std::fs::remove_file(key_file(dir.path())).unwrap();
    check_closed(value(&store, "a").await, "a key that this server does not have");
    check_closed(add(&store, "c").await, "the operator has to put it back");
    check_closed(store.secrets_rotate().await, "a key that this server does not have");
    assert_eq!(store.secrets_closed().await.unwrap().len(), 2);
    assert!(!key_file(dir.path()).exists(), "no key is made in place of one that is needed");
    // The same id with other bytes, and another id.
    let id = kept.split(':').next().unwrap();
    let wrong = |id: &str| SecretKeys::given(format!("{id}:{}", "00".repeat(32)).into()).unwrap();
    let store = store.with_secret_keys(wrong(id));
    check_closed(value(&store, "a").await, "does not open with its key");
    check_closed(store.secrets_rotate().await, "secret accounts/acme/secrets/a does not open with its key");
    let store = store.with_secret_keys(wrong("other"));
    check_closed(value(&store, "a").await, "a key that this server does not have");
    // A new value needs no old key.
    store.secret_update(&name("a"), None, Some(&"new".into()), 9).await.unwrap();
    assert_eq!(value(&store, "a").await.unwrap(), "new");
    std::fs::write(key_file(dir.path()), kept).unwrap();
    let store = store.with_secret_keys(SecretKeys::default());
    assert_eq!(value(&store, "b").await.unwrap(), "value of b");
}

#[tokio::test]
async fn a_row_that_was_altered_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    // The value of another secret of the same account.
    sqlx::query(
        "UPDATE secret SET record = json_set(record, '$.sealed',
         (SELECT json(record -> '$.sealed') FROM secret WHERE id = 'b')) WHERE id = 'a'",
    )
    .execute(store.pool())
    .await
    .unwrap();
    check_closed(value(&store, "a").await, "what is stored is not what it was");
    let closed = store.secrets_closed().await.unwrap();
    assert!(closed.len() == 1 && closed[0].to_string().contains("accounts/acme/secrets/a"), "{closed:?}");
    check_closed(store.secrets_rotate().await, "accounts/acme/secrets/a");
    assert_eq!(value(&store, "b").await.unwrap(), "value of b");
    store.delete::<Secret>(&name("a").account, "a").await.unwrap();
    assert_eq!(store.secrets_rotate().await.unwrap(), 1);
    assert_eq!(value(&store, "b").await.unwrap(), "value of b");
}

#[tokio::test]
async fn a_rotation_that_is_killed_anywhere_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let first = std::fs::read_to_string(key_file(dir.path())).unwrap();
    let all_open = async |store: &Store| {
        assert!(store.secrets_closed().await.unwrap().is_empty());
        assert_eq!(value(store, "a").await.unwrap(), "value of a");
        assert_eq!(value(store, "b").await.unwrap(), "value of b");
    };
    // Before a row was changed.
    store.rotation_adds_a_key().await.unwrap();
    let store = open(dir.path()).await;
    all_open(&store).await;
    // A server that works meanwhile encrypts with the new key.
    let c = add(&store, "c").await.unwrap();
    assert!(!first.starts_with(&c.sealed.key_id));
    // When all rows were changed.
    store.rotation_adds_a_key().await.unwrap();
    assert_eq!(store.rotation_encrypts().await.unwrap(), 3);
    let store = open(dir.path()).await;
    all_open(&store).await;
    assert_eq!(keys_in(dir.path()), 3);
    // To the end.
    assert_eq!(store.secrets_rotate().await.unwrap(), 3);
    let store = open(dir.path()).await;
    all_open(&store).await;
    assert_eq!(value(&store, "c").await.unwrap(), "value of c");
    assert_eq!(keys_in(dir.path()), 1);
    let mode = std::fs::metadata(key_file(dir.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The old key opens nothing any more.
    let store = store.with_secret_keys(SecretKeys::given(first.into()).unwrap());
    assert_eq!(store.secrets_closed().await.unwrap().len(), 3);
}

#[tokio::test]
async fn keys_of_the_operator_are_used_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (format!("old:{}", "01".repeat(32)), format!("new:{}", "02".repeat(32)));
    let given = |text: &str| SecretKeys::given(text.into()).unwrap();
    drop(filled(dir.path()).await);
    let store = open(dir.path()).await;
    // From the file to the operator's keys: the file's key stands first.
    let file = std::fs::read_to_string(key_file(dir.path())).unwrap();
    let store = store.with_secret_keys(given(&format!("{file}{old}")));
    assert_eq!(store.secrets_rotate().await.unwrap(), 2);
    std::fs::remove_file(key_file(dir.path())).unwrap();
    let store = store.with_secret_keys(given(&format!("{old},{new}")));
    assert_eq!(add(&store, "c").await.unwrap().sealed.key_id, "new");
    assert_eq!(store.secrets_rotate().await.unwrap(), 3);
    let store = store.with_secret_keys(given(&new));
    assert!(store.secrets_closed().await.unwrap().is_empty());
    assert_eq!(value(&store, "a").await.unwrap(), "value of a");
    assert!(!key_file(dir.path()).exists());
}
