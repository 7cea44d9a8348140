//! `GET /v1/accounts/{account}/users`.

use super::user_with_key;
use crate::server::Server;
use crate::snapshot;

#[test]
fn admins_see_everyone() {
    let server = Server::start();
    let user = user_with_key(&server, "ada", "user");
    let admin = user_with_key(&server, "grace", "admin");
    let path =
        "/v1/accounts/default/users?orderBy=role,name%20desc&filter=serviceAccount=false&readMask=name,role";
    snapshot!(server.send_as(Some(&admin), "GET", path, b""));
    assert_eq!(server.send_as(Some(&user), "GET", path, b"").error().1, 7);
}
