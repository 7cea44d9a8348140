//! `GET /v1/accounts/{account}/apiKeys` and `.../users/{user}/apiKeys`.

use crate::server::Server;
use crate::user::user_with_key;

#[test]
fn keys_are_listed_without_their_secrets() {
    let server = Server::start();
    let ada = user_with_key(&server, "ada", "user");
    let grace = user_with_key(&server, "grace", "admin");
    let list = |key: &str, path: &str| {
        server.send_as(Some(key), "GET", &format!("/v1/accounts/default/{path}"), b"")
    };
    let emails = |key: &str, path: &str| {
        let page = list(key, path).ok();
        let keys = page["apiKeys"].as_array().unwrap().clone();
        for key in &keys {
            assert_eq!(key["key"], "");
            assert_eq!(key["secure"], true);
            assert_eq!(key["prefix"].as_str().unwrap().len(), 8);
        }
        let mut emails: Vec<_> = keys.iter().map(|key| key["email"].as_str().unwrap().to_owned()).collect();
        emails.sort();
        assert_eq!(page["totalSize"], emails.len());
        emails.join(" ")
    };
    let all = "ada@example.org grace@example.org operator@localhost";
    assert_eq!(emails(&server.key, "apiKeys"), all);
    assert_eq!(emails(&grace, "apiKeys"), all);
    assert_eq!(emails(&grace, "apiKeys?filter=email=%22ada*%22"), "ada@example.org");
    assert_eq!(emails(&grace, "users/ada/apiKeys"), "ada@example.org");
    assert_eq!(emails(&grace, "users/nobody/apiKeys"), "");
    // Others see their own.
    assert_eq!(emails(&ada, "apiKeys"), "ada@example.org");
    assert_eq!(emails(&ada, "users/ada/apiKeys"), "ada@example.org");
    assert_eq!(list(&ada, "users/grace/apiKeys").error().1, 7);
}
