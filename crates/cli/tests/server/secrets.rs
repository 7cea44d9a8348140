//! `hearth secret`: values come in by standard input or a file, and rotations that are killed lose nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hearth_domain::{AccountId, SecretId, SecretRef};
use hearth_store::{NewSecret, SecretKeys, Store};
use secrecy::ExposeSecret;

use crate::process::{Server, hearth, run};

#[test]
fn values_are_read_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data, &[]);
    let check = |args: &[&str], input: &str, code: i32, part: &str| {
        let answer = server.run(&data, args, input);
        let shown = format!("{}{}", answer.out, answer.error);
        assert!(answer.code == Some(code) && shown.contains(part), "{args:?}: {shown}");
        assert!(!shown.contains("hunter2"), "{args:?}: {shown}");
    };
    check(&["secret", "create", "s3", "--key-name", "S3_KEY"], "hunter2\n", 0, "accounts/default/secrets/s3");
    check(&["secret", "create", "s3", "--key-name", "S3_KEY"], "hunter2\n", 1, "exists already");
    check(&["secret", "create", "t", "--key-name", "K"], "\n", 1, "secret.value: is required");
    check(&["secret", "create", "t", "--key-name", "K"], &"hunter2".repeat(200_000), 1, "longer than");
    let file = dir.path().join("value.txt");
    std::fs::write(&file, "hunter2 from a file\r\n").unwrap();
    let file = file.to_str().unwrap();
    check(&["secret", "update", "s3", "--value-file", file], "", 0, "S3_KEY");
    check(&["secret", "update", "s3", "--value-file", "/nowhere/value"], "", 1, "/nowhere/value");
    check(&["secret", "update", "none"], "hunter2", 1, "does not exist");
    check(&["secret", "list"], "", 0, "accounts/default/secrets/s3  S3_KEY");
    // The value has no line end, and another process rotates the key of a running server.
    let rotate = run(hearth(&data).args(["secret", "rotate-key"]), "");
    assert_eq!((rotate.code, rotate.out.as_str()), (Some(0), "encrypted 1 secrets anew\n"));
    check(&["secret", "create", "u", "--key-name", "K"], "hunter2", 0, "accounts/default/secrets/u");
    assert_eq!(values(&data, SecretKeys::default()), ["hunter2 from a file", "hunter2"]);
    check(&["secret", "delete", "s3"], "", 0, "deleted accounts/default/secrets/s3");
    check(&["secret", "delete", "s3"], "", 1, "does not exist");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn name(id: &str) -> SecretRef {
    SecretRef { account: AccountId::new("default").unwrap(), id: SecretId::new(id).unwrap() }
}

/// Values of the secrets `s3` and `u`.
fn values(data: &Path, keys: SecretKeys) -> [String; 2] {
    runtime().block_on(async {
        let store = Store::open(data, 1).await.unwrap().with_secret_keys(keys);
        let mut values = [String::new(), String::new()];
        for (value, id) in values.iter_mut().zip(["s3", "u"]) {
            *value = store.secret_value(&name(id)).await.unwrap().expose_secret().to_owned();
        }
        values
    })
}

/// The rotation is killed after every few milliseconds of its work. Whenever that is, all opens afterwards.
#[test]
fn a_rotation_that_is_killed_loses_nothing() {
    const SECRETS: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let store = runtime().block_on(async {
        let store = Store::open(dir.path(), 1).await.unwrap();
        for i in 0..SECRETS {
            let account = AccountId::new("fireworks").unwrap();
            let name = SecretRef { account, id: SecretId::new(format!("s{i}")).unwrap() };
            let new = NewSecret { name, key_name: "K".to_owned(), value: format!("value {i}").into() };
            store.secret_create(&new, 1).await.unwrap();
        }
        store
    });
    let all_open = || {
        let closed = runtime().block_on(async {
            let store = Store::open(dir.path(), 1).await.unwrap();
            let closed = store.secrets_closed().await.unwrap();
            store.close().await;
            closed
        });
        assert!(closed.is_empty(), "{closed:?}");
    };
    drop(store);
    for step in 0..20 {
        let mut child = hearth(dir.path())
            .args(["secret", "rotate-key"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(4 * step));
        // It may have ended already.
        let _ = child.kill();
        child.wait().unwrap();
        all_open();
    }
    let rotate = run(hearth(dir.path()).args(["secret", "rotate-key", "--json"]), "");
    assert_eq!(
        (rotate.code, rotate.out),
        (Some(0), format!("{{\"encrypted\":{SECRETS}}}\n")),
        "{}",
        rotate.error
    );
    all_open();
    let keys = std::fs::read_to_string(dir.path().join("secrets-key")).unwrap();
    assert_eq!(keys.lines().count(), 1, "old keys are forgotten");
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("secrets-key") && name.ends_with(".tmp"))
        .collect();
    // A kill may leave the file that was being written; it is of no more use and has mode 0600.
    assert!(left.len() <= 20, "{left:?}");
}

#[test]
fn keys_from_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let key = |id: &str, byte: &str| format!("{id}:{}", byte.repeat(32));
    let (old, new) = (key("old", "01"), key("new", "02"));
    runtime().block_on(async {
        let keys = SecretKeys::given(old.clone().into()).unwrap();
        let store = Store::open(dir.path(), 1).await.unwrap().with_secret_keys(keys);
        for id in ["s3", "u"] {
            let name = SecretRef { account: AccountId::new("fireworks").unwrap(), ..name(id) };
            let new = NewSecret { name, key_name: "K".to_owned(), value: format!("value of {id}").into() };
            store.secret_create(&new, 1).await.unwrap();
        }
        store.close().await;
    });
    let rotate = |keys: &str| {
        run(hearth(dir.path()).args(["secret", "rotate-key"]).env("HEARTH_SECRETS_KEYS", keys), "")
    };
    let refused = |keys: &str, part: &str| {
        let answer = rotate(keys);
        assert!(answer.code == Some(1) && answer.error.contains(part), "{}", answer.error);
        assert!(!answer.error.contains("0101") && !answer.error.contains("0202"), "{}", answer.error);
    };
    refused("nonsense", "HEARTH_SECRETS_KEYS cannot be used");
    refused(&old[..40], "64 hex digits");
    refused(&new, "a key that this server does not have");
    refused(&key("old", "02"), "does not open with its key");
    refused("", "a key that this server does not have");
    let answer = rotate(&format!("{old},{new}"));
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (Some(0), "encrypted 2 secrets anew\n"),
        "{}",
        answer.error
    );
    assert_eq!(rotate(&new).code, Some(0));
    assert!(!dir.path().join("secrets-key").exists());
    let nowhere = run(hearth(&dir.path().join("none")).args(["secret", "rotate-key"]), "");
    assert!(nowhere.code == Some(1) && nowhere.error.contains("not the data directory"), "{}", nowhere.error);
}
