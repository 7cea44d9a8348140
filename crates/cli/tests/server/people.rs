//! `hearth user` and `hearth api-key`.

use crate::process::Server;

#[test]
fn users_and_keys_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let check = |args: &[&str], code: i32, part: &str| {
        let answer = server.run(dir.path(), args, "");
        let shown = format!("{}{}", answer.out, answer.error);
        assert!(answer.code == Some(code) && shown.contains(part), "{args:?}: {shown}");
        answer.out
    };
    check(&["user", "create", "ada@example.org", "--role", "read-only"], 0, "accounts/default/users/ada");
    check(&["user", "create", "ada@example.org"], 1, "exists already");
    check(&["user", "create", "bob@example.org", "--id", "builder"], 0, "accounts/default/users/builder");
    check(&["user", "create", "x@example.org", "--role", "boss"], 1, "is not a role");
    check(&["user", "update", "ada", "--role", "user"], 0, "ada@example.org");
    let list = check(&["user", "list"], 0, "accounts/default/users/operator");
    assert!(list.contains("builder") && list.contains("ada@example.org"), "{list}");
    let key = check(&["api-key", "create", "--email", "ada@example.org", "--json"], 0, "keyId");
    let key: serde_json::Value = serde_json::from_str(&key.lines().collect::<String>()).unwrap();
    let id = key["keyId"].as_str().unwrap();
    let list = check(&["api-key", "list"], 0, id);
    assert!(!list.contains(key["key"].as_str().unwrap()), "{list}");
    check(&["api-key", "delete", id], 0, &format!("deleted {id}"));
    check(&["api-key", "delete", id], 1, "does not exist");
    check(&["user", "delete", "ada"], 0, "deleted accounts/default/users/ada");
    check(&["user", "delete", "operator"], 1, "last admin");
}
